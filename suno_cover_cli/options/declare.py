"""Makes a command of a dataclass and a function: the dataclass's fields are its options.

A field whose annotation carries ``typer.Option`` or ``typer.Argument`` is an option; a field without one is only
for the code. A class that inherits more than its command offers names the rest in ``NOT_OFFERED``.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from operator import itemgetter
from typing import Annotated, Any, NamedTuple, TypeVar, get_origin

import typer
from typer.models import OptionInfo, ParameterInfo

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.settings_table import SETTINGS, parse_duration_s
from suno_cover_cli.base.text import clean, did_you_mean

T = TypeVar("T")

# Panels of --help, in the order in which they stand there; what is in none comes first.
OUTPUT = "Output"
# Alone, as a choice of two names makes the help beside its neighbours a third narrower.
TUNNEL = "Tunnel"
CALLBACK = "Callback"
SERVICE = "Service"
_PANELS = (None, "When it ends", "What it answers", OUTPUT, "Behaviour", TUNNEL, CALLBACK, SERVICE)


def duration(text: str | float) -> float:
    """Read an option such as ``30s`` as seconds; Typer reports what is wrong with it."""
    if isinstance(text, int | float):
        return float(text)
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def setting_option(name: str, *short: str, panel: str, hidden: bool = False) -> OptionInfo:
    """Return the option that overrides a setting; its field must bear the setting's name.

    Args:
        name: Key of :data:`~suno_cover_cli.base.settings_table.SETTINGS`.
        *short: Short spellings, such as ``-o``.
        panel: Of ``--help``.
        hidden: It is an old spelling that still works.
    """
    setting = SETTINGS[name]
    default = f" (default: {setting.default})" if setting.default else ""
    variable = f" (env: {setting.variable})" if setting.variable else ""
    found: OptionInfo = typer.Option(
        f"--{setting.key}",
        *short,
        metavar=setting.values,
        help=f"{setting.help}.{default}{variable}",
        show_default=False,
        rich_help_panel=panel,
        hidden=hidden,
    )
    return found


def verbose_option(help_text: str) -> OptionInfo:
    """Return ``--verbose``, which counts how often it is given; ``help_text`` says what there is more of."""
    found: OptionInfo = typer.Option(
        "--verbose", "-v", count=True, metavar="", help=help_text, show_default=False, rich_help_panel=OUTPUT
    )
    return found


class Command(NamedTuple):
    """What a command is; its name is that of its module.

    Attributes:
        body: Does the work. Its only parameter, if it has one, is called ``options`` and annotated with the
            dataclass of its options; its docstring is the help.
        runs_program: What follows the first word that is not an option belongs to the program that it runs.
    """

    body: Callable[..., None]
    runs_program: bool = False


class CommandGroup(NamedTuple):
    """Commands below one name, such as ``config set``.

    Attributes:
        help: Of all of them.
        commands: By their names, in the order of ``--help``.
    """

    help: str
    commands: Mapping[str, Command]


def add_command(app: typer.Typer, name: str, command: Command | CommandGroup) -> None:
    """Add a command, or a group of them, to an application."""
    if isinstance(command, CommandGroup):
        group = typer.Typer(name=name, no_args_is_help=True, help=command.help)
        for below, one in command.commands.items():
            add_command(group, below, one)
        app.add_typer(group)
        return
    body = command.body
    declared = body.__annotations__.get("options")

    def run(**given: Any) -> None:
        if declared is None:
            body()
        else:
            body(declared(**given))

    parameters = [] if declared is None else _parameters_of(declared)
    run.__name__ = body.__name__
    run.__doc__ = body.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    app.command(name, context_settings={"allow_interspersed_args": not command.runs_program})(run)


def _parameters_of(declared: type) -> list[inspect.Parameter]:
    """Return a parameter for each option, in the order of ``--help``: arguments first, then panel by panel."""
    hidden: frozenset[str] = getattr(declared, "NOT_OFFERED", frozenset())
    found: list[tuple[int, inspect.Parameter]] = []
    for field in fields(declared):
        info = _info_of(field.type)
        if info is None or field.name in hidden:
            continue
        place = _PANELS.index(info.rich_help_panel) + 1 if isinstance(info, OptionInfo) else 0
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        found.append(
            (
                place,
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, annotation=field.type, default=default
                ),
            )
        )
    return [parameter for _, parameter in sorted(found, key=itemgetter(0))]


def _info_of(annotation: Any) -> ParameterInfo | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next((one for one in annotation.__metadata__ if isinstance(one, ParameterInfo)), None)


def options_as(wanted: type[T], options: Any, *groups: type, **changes: Any) -> T:
    """Make the options of one kind from those of another, as ``listen --save`` runs jobs.

    Args:
        wanted: A dataclass of options.
        options: Their fields are taken over as far as they belong to ``groups``.
        *groups: Dataclasses that both kinds inherit.
        **changes: Other fields.
    """
    shared = {field.name: getattr(options, field.name) for group in groups for field in fields(group)}
    return wanted(**shared, **changes)


def checked_choice(value: str, option: str, words: Sequence[str]) -> str:
    """Return the word that an option was given.

    Raises:
        UsageError: It is none of those that it takes.
    """
    word = value.strip().lower()
    if word in words:
        return word
    *most, last = words
    hint = f"{did_you_mean(value, words)}Use {', '.join(most)} or {last}."
    raise UsageError(f'{option} does not take "{clean(value, 40)}"', hint=hint)
