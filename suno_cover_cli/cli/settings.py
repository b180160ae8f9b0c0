"""``config`` and its commands."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from suno_cover_cli.cli import options as opt

if TYPE_CHECKING:
    from suno_cover_cli.wiring.context import Context


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(
        name="config",
        no_args_is_help=True,
        help="Look at the settings file, and change it.\n\n"
        "A flag goes before an environment variable, that before the file, that before the default.",
    )
    group.command()(show)
    group.command()(path)
    group.command()(init)
    group.command("set")(set_)
    group.command()(unset)
    app.add_typer(group)


KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="Such as provider, output or api-key.", show_default=False)
]


def show(profile: opt.ProfileOption = None, as_json: opt.JsonOption = False) -> None:
    """Show every setting in force and where it comes from; keys are never shown."""
    from suno_cover_cli.cli import config as command

    _run(lambda context: command.show(context, profile), is_json=as_json)


def path() -> None:
    """Print where the settings file is."""
    from suno_cover_cli.cli import config as command

    _run(command.print_path)


def init() -> None:
    """Make a settings file in which everything is explained and nothing is set."""
    from suno_cover_cli.cli import config as command

    _run(command.init)


def set_(
    key: KeyArgument,
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE|-", help="A key is read from stdin only: -", show_default=False),
    ] = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Check one setting and write it down.

    Example: suno-cover config set api-key - < key.txt
    """
    from suno_cover_cli.cli import config as command

    _run(lambda context: command.set_one(context, key, value, profile))


def unset(key: KeyArgument, profile: opt.ProfileOption = None) -> None:
    """Take one setting out of the file again."""
    from suno_cover_cli.cli import config as command

    _run(lambda context: command.unset_one(context, key, profile))


def _run(step: "Callable[[Context], None]", *, is_json: bool = False) -> NoReturn:
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import config as command
    from suno_cover_cli.ui.output import Output, standard_streams

    command.run(step, Output(standard_streams(), clock=SystemClock(), is_json=is_json))
