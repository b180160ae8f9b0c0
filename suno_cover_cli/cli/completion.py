"""``completion``: TAB in a shell."""

from dataclasses import dataclass
from typing import Annotated

import typer

from suno_cover_cli.base.text import did_you_mean
from suno_cover_cli.options.declare import Command


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of the command."""

    what: Annotated[
        str,
        typer.Argument(
            metavar="install|bash|zsh|fish|powershell", help="Install it, or print a script.", show_default=False
        ),
    ]
    shell: Annotated[
        str | None,
        typer.Option("--shell", metavar="bash|zsh|fish", help="For install: which shell. (default: yours)"),
    ] = None


def completion(options: CompletionOptions) -> None:
    """Make TAB work in your shell, or print the script that does.

    suno-cover completion install puts the script where your shell finds it,
    and adds a line to your shell's start-up file where it needs one.

    PowerShell: suno-cover completion powershell >> $PROFILE
    """
    from suno_cover_cli.completion.scripts import SCRIPTS, script_of

    if options.what == "install":
        _install(options.shell)
    elif options.shell is not None:
        raise typer.BadParameter("--shell is an option of install alone")
    elif options.what not in SCRIPTS:
        words = ("install", *SCRIPTS)
        near = did_you_mean(options.what, words)
        raise typer.BadParameter(f"there is no script for {options.what}. {near}Use {', '.join(words)}.")
    else:
        typer.echo(script_of(options.what), nl=False)


COMMAND = Command(completion)


def _install(shell: str | None) -> None:
    import os

    from suno_cover_cli.completion.scripts import INSTALLERS, install

    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119 -- a name, not a file
    if chosen not in INSTALLERS:
        raise typer.BadParameter(
            f"cannot install for {chosen or 'an unknown shell'}; name one with --shell {'|'.join(INSTALLERS)}"
        )
    try:
        for line in install(chosen, os.environ):
            typer.echo(line, err=True)
    except OSError as error:
        typer.echo(f"error: cannot write {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
