"""The command line: the application, its version and its usage errors. Each module beside this one is a command.

A command is added by its file alone, whose ``COMMAND`` says what it is. Nothing here, nor at the top of such a
file, imports more than Typer, the options and light parts of the base: ``--help``, ``--version`` and TAB answer
before any command's parts are loaded. Its body imports the rest.
"""

import atexit
import gc
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

if TYPE_CHECKING:
    import typer

    from suno_cover_cli.options.mistakes import UsageMistake

PROGRAM = "suno-cover"
_ORDER = (
    *("generate", "wait", "resume", "status", "history", "gallery", "credits", "pick", "export", "embed"),
    *("listen", "trigger", "replay", "verify", "sandbox", "doctor", "completion", "config"),
)
"""The commands in the order of ``--help``; one that is not named here stands at the end."""

_PANELS_COLUMNS = 80
_HYPHEN = "\ue000"  # stands for one at which no line is broken


def main() -> NoReturn:
    """Run the program named on the command line."""
    _open_closed_streams()
    if shell := os.environ.get("_SUNO_COVER_COMPLETE"):
        # Asked at every TAB: not worth loading a parser for either.
        from suno_cover_cli.completion import engine

        engine.main(shell, sys.argv[1:])
        sys.exit(0)
    if sys.argv[1:] in (["--version"], ["-V"], ["version"]):
        # Asked by scripts in every run: not worth loading a parser for.
        try:
            _print_version()
            sys.stdout.flush()
        except OSError as error:
            _report_unwritten(error)
        sys.exit(0)
    # What is imported now stays to the end. Looking for garbage in it meanwhile took a tenth of a whole command;
    # the runner switches the collector on again.
    gc.disable()
    quick_end = QuickEnd()
    try:
        sys.exit(_run_parser(_words()))
    except OSError as error:
        # The words of the parser, such as its help: everything else is written by the runner's output.
        _report_unwritten(error)
    except SystemExit as end:
        if isinstance(end.code, int):
            quick_end.code = end.code
        raise


def _words() -> list[str]:
    """Return the command line after the program's name; ``help`` is a word as well as an option."""
    words = sys.argv[1:]
    return [*words[1:], "--help"] if words[:1] == ["help"] else words


def _run_parser(words: list[str]) -> int:
    """Run the command that is named; return the exit code of what ends without leaving the process itself."""
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.text import columns_of
    from suno_cover_cli.options import mistakes, typed

    words, old_names = typed.renew_names(words)
    for said in old_names:
        mistakes.write_line("hint", said)
    try:
        is_narrow = columns_of(sys.stdout, os.environ) < _PANELS_COLUMNS
        # The others' options need not be read for a command that is named.
        only = words[0] if words and words[0] in _command_names() else ""
        run = narrow_command(only) if is_narrow else build_app(only)
        code = run(words, prog_name=PROGRAM, standalone_mode=False)
    except mistakes.ParserError as error:
        if not str(error) or str(error).startswith(f"Usage: {PROGRAM}"):
            # The program alone, or a group of commands alone: the parser has printed its help, or brings it.
            sys.stdout.write(f"{error}\n" if str(error) else "")
            return ExitCode.OK
        mistake = mistakes.explain(error, words)
        is_json = bool({"--json", "--events"} & set(words))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            return _report_in_actions(mistake, is_json=is_json)
        if is_json:
            _print_usage_object(mistake)
        mistakes.report(mistake)
        return ExitCode.USAGE
    return code if isinstance(code, int) else ExitCode.OK


def build_app(only: str = "", *, has_panels: bool = True) -> "typer.Typer":
    """Put the application together from its commands.

    Args:
        only: Name of the one that is to be run; empty for all of them.
        has_panels: The help has columns in panels; without them every name is whole on the narrowest terminal.
    """
    from importlib import import_module

    import typer

    from suno_cover_cli.options.declare import add_command

    app = typer.Typer(
        name=PROGRAM,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        **({} if has_panels else {"rich_markup_mode": None}),  # type: ignore[arg-type]
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

    for name in [only] if only else _command_names():
        add_command(app, name, import_module(f"suno_cover_cli.cli.{name}").COMMAND)
    return app


def _command_names() -> list[str]:
    """Return the commands, each a module beside this one, in the order of ``--help``."""
    from pkgutil import iter_modules

    from suno_cover_cli import cli

    found = {module.name for module in iter_modules(cli.__path__)} - {"main"}
    return [name for name in _ORDER if name in found] + sorted(found - set(_ORDER))


def narrow_command(only: str = "") -> Any:
    """Return the application as a command whose help is whole on a narrow terminal: no panels, no broken words.

    Args:
        only: See :func:`build_app`.
    """
    import typer

    root = typer.main.get_command(build_app(only, has_panels=False))
    context_class: Any = root.context_class
    formatter_class: Any = context_class.formatter_class

    class Formatter(formatter_class):  # type: ignore[misc]
        """Wraps at blanks alone: hyphens stand in names."""

        def write_text(self, text: str) -> None:
            super().write_text(text.replace("-", _HYPHEN))

        def write_dl(self, rows: Any, *args: Any, **kwargs: Any) -> None:
            super().write_dl([tuple(cell.replace("-", _HYPHEN) for cell in row) for row in rows], *args, **kwargs)

        def getvalue(self) -> str:
            return str(super().getvalue()).replace(_HYPHEN, "-")

    context = type("Context", (context_class,), {"formatter_class": Formatter})
    commands: list[Any] = [root]
    while commands:
        command = commands.pop()
        command.context_class = context
        # Otherwise the list of commands cuts what there is to say of each.
        command.short_help = " ".join((command.help or "").partition("\n\n")[0].split())
        commands += getattr(command, "commands", {}).values()
    return root


def _open_closed_streams() -> None:
    """Open the standard streams that the caller closed, before a file of ours gets their number.

    stdout cannot be written then: a product that is lost is an error where it is written, no silent success.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            flags = os.O_RDONLY if name != "stderr" else os.O_WRONLY
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))


def _report_unwritten(error: OSError) -> NoReturn:
    from suno_cover_cli.base.errors import describe_unwritten

    null = os.open(os.devnull, os.O_WRONLY)
    # What is left in the buffer is flushed once more at the very end.
    os.dup2(null, sys.stdout.fileno())
    sys.stderr.write(f"error: {describe_unwritten(error)}\n")
    sys.exit(1)


def _print_version() -> None:
    from suno_cover_cli import __version__

    sys.stdout.write(f"{PROGRAM} {__version__}\n")


def _print_usage_object(mistake: "UsageMistake") -> None:
    """Keep the promise of ``--json`` for what the parser refused."""
    import json

    line = json.dumps({"v": 1, "type": "error", "code": "usage", **mistake._asdict()})
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


def _report_in_actions(mistake: "UsageMistake", *, is_json: bool) -> int:
    """Report a mistake where every line is read for commands: guarded, annotated and in the run's summary."""
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.runner import report_end

    output = Output(standard_streams(), clock=SystemClock(), is_json=is_json)
    code = report_end(UsageError(mistake.message, hint=mistake.hint), output)
    output.finish()
    return code


class QuickEnd:
    """Ends the process without taking every loaded library to pieces, which is a tenth of a short command.

    Make it before anything else can ask to be called at the end: who asked first is called last.

    Attributes:
        code: The exit code, once it is known. Without one the process ends as ever.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is None:
            return
        if sys.warnoptions:
            # With Python's warnings on, what was left open is reported.
            gc.collect()
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # closed before the program was started
                    stream.flush()
        except (OSError, ValueError):
            return  # Python itself tells of a stream that cannot be written, and ends with 120
        os._exit(self.code)
