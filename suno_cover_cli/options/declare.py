"""Makes a command of a dataclass and a function: the dataclass's fields are its options.

A field whose annotation carries ``typer.Option`` or ``typer.Argument`` is an option; a field without one is only
for the code. A class that inherits more than its command offers names the rest in ``NOT_OFFERED``.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from operator import itemgetter
from typing import Annotated, Any, TypeVar, get_origin

import typer
from typer.models import OptionInfo, ParameterInfo

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.settings_table import SETTINGS, parse_duration_s
from suno_cover_cli.base.text import clean, did_you_mean

T = TypeVar("T")

# Panels of --help, in the order in which they stand there; what is in none comes first.
OUTPUT = "Output"
CALLBACK = "Callback"
SERVICE = "Service"
_PANELS = (None, "When it ends", "What it answers", OUTPUT, "Behaviour", CALLBACK, SERVICE)


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


def add_command(
    app: typer.Typer, body: Callable[[Any], None], *, name: str | None = None, **settings: Any
) -> None:
    """Add a command to an application.

    Args:
        app: The application.
        body: Does the work. Its only parameter is called ``options`` and annotated with the dataclass of its
            options; its docstring is the help.
        name: Of the command, when it is not the function's.
        **settings: For ``typer.Typer.command``.
    """
    declared = body.__annotations__["options"]

    def run(**given: Any) -> None:
        body(declared(**given))

    parameters = _parameters_of(declared)
    run.__name__ = body.__name__
    run.__doc__ = body.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    app.command(name or body.__name__, **settings)(run)


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
