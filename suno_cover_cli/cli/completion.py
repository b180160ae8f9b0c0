"""``completion``: the script that makes TAB work in a shell."""

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of the command."""

    shell: Annotated[
        str, typer.Argument(metavar="bash|zsh|fish|powershell", help="Your shell.", show_default=False)
    ]


def completion(options: CompletionOptions) -> None:
    """Print the script that makes TAB work in a shell.

    bash: suno-cover completion bash > ~/.local/share/bash-completion/completions/suno-cover

    zsh: suno-cover completion zsh > a folder of $fpath, as _suno-cover

    fish: suno-cover completion fish > ~/.config/fish/completions/suno-cover.fish

    PowerShell: suno-cover completion powershell >> $PROFILE
    """
    from suno_cover_cli.completion.scripts import SCRIPTS, script_of

    if options.shell not in SCRIPTS:
        raise typer.BadParameter(f"there is no script for {options.shell}; use {', '.join(SCRIPTS)}")
    typer.echo(script_of(options.shell), nl=False)
