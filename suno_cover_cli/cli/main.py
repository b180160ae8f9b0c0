"""The command line: the application, its version and its usage errors. Commands live in the other cli modules.

Nothing here imports more than Typer and the base: ``--help``, ``--version`` and TAB answer before any command's
parts are loaded. Each command's body imports and calls its module in ``commands``.
"""

import gc
import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

if TYPE_CHECKING:
    import typer

PROGRAM = "suno-cover"


def main() -> NoReturn:
    """Run the program named on the command line."""
    if shell := os.environ.get("_SUNO_COVER_COMPLETE"):
        # Asked at every TAB: not worth loading a parser for either.
        from suno_cover_cli.completion import engine

        engine.main(shell, sys.argv[1:])
        sys.exit(0)
    if sys.argv[1:] in (["--version"], ["-V"]):
        # Asked by scripts in every run: not worth loading a parser for.
        _print_version()
        sys.exit(0)
    # What is imported now stays to the end. Looking for garbage in it meanwhile took a tenth of a whole command;
    # the runner switches the collector on again.
    gc.disable()
    from suno_cover_cli.base.exits import ExitCode, ToldExit
    from suno_cover_cli.cli.quick_end import QuickEnd

    quick_end = QuickEnd()
    try:
        build_app()(prog_name=PROGRAM)
    except SystemExit as end:
        is_told = isinstance(end, ToldExit)
        if end.code == ExitCode.USAGE and not is_told and {"--json", "--events"} & set(sys.argv[1:]):
            _print_usage_object()
        if isinstance(end.code, int):
            quick_end.code = end.code
        raise
    sys.exit(0)


def build_app() -> "typer.Typer":
    """Put the application together from its groups of commands."""
    import typer

    from suno_cover_cli.cli import callbacks, jobs, senders, settings, setup

    app = typer.Typer(
        name=PROGRAM,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Make cover artwork for a piece of music through a Suno API.\n\n"
        "Try it without a key: suno-cover generate --sandbox my-song",
    )

    @app.callback()
    def _root(
        version: Annotated[
            bool, typer.Option("--version", "-V", help="Print the version and exit.", is_eager=True)
        ] = False,
    ) -> None:
        if version:
            _print_version()
            raise typer.Exit

    jobs.register(app)
    callbacks.register(app)
    senders.register(app)
    setup.register(app)
    settings.register(app)
    return app


def _print_version() -> None:
    from suno_cover_cli import __version__

    sys.stdout.write(f"{PROGRAM} {__version__}\n")


def _print_usage_object() -> None:
    """Keep the promise of ``--json`` for what the parser refused; its words are on stderr already."""
    import json

    line = json.dumps(
        {
            "v": 1,
            "type": "error",
            "code": "usage",
            "message": "wrong usage; stderr says what is wrong",
            "hint": f"{PROGRAM} COMMAND --help",
        }
    )
    os.write(sys.stdout.fileno(), line.encode() + b"\n")
