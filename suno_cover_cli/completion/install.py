"""Puts a shell's completion script where the shell finds it. Running it again changes nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from suno_cover_cli.base.files import replace_file
from suno_cover_cli.completion.scripts import script_of

_MARK = "# suno-cover completion"


class Place(NamedTuple):
    """Where a shell's script goes.

    Attributes:
        script: The file.
        startup: Start-up file that has to name it, or ``None`` when the shell looks there by itself.
        line: What stands in the start-up file.
    """

    script: Path
    startup: Path | None = None
    line: str = ""


def _folder(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """Return a folder of the XDG kind; a relative value counts as none, as its specification says."""
    named = Path(environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / default


def _bash(environ: Mapping[str, str]) -> Place:
    script = _folder(environ, "XDG_DATA_HOME", ".local/share") / "bash-completion/completions/suno-cover"
    # bash-completion finds the file by its name, but not everybody has that package.
    return Place(script, Path.home() / ".bashrc", f'[ -r "{script}" ] && . "{script}"')


def _zsh(environ: Mapping[str, str]) -> Place:
    folder = _folder(environ, "XDG_DATA_HOME", ".local/share") / "zsh/site-functions"
    startup = Path(environ.get("ZDOTDIR") or Path.home()) / ".zshrc"
    return Place(folder / "_suno-cover", startup, f'fpath=("{folder}" $fpath); autoload -Uz compinit && compinit')


def _fish(environ: Mapping[str, str]) -> Place:
    return Place(_folder(environ, "XDG_CONFIG_HOME", ".config") / "fish/completions/suno-cover.fish")


INSTALLERS: dict[str, Callable[[Mapping[str, str]], Place]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""Shell -> where its script goes. PowerShell's profile has no fixed place."""


def install(shell: str, environ: Mapping[str, str]) -> list[str]:
    """Write a shell's script, and name it in the start-up file where that is needed.

    Args:
        shell: Key of :data:`INSTALLERS`.
        environ: Says where the shell looks.

    Returns:
        What was done, a line each.

    Raises:
        OSError: As the system says; what was there before is untouched.
    """
    place = INSTALLERS[shell](environ)
    replace_file(place.script, script_of(shell).encode())
    done = [f"wrote {place.script}"]
    if place.startup is not None and _add_line(place.startup, f"{place.line}  {_MARK}"):
        done.append(f"added a line to {place.startup}")
    return [*done, f"TAB works in each {shell} that you start from now on."]


def _add_line(path: Path, line: str) -> bool:
    """Put a line at the end of a file unless it stands there; tell whether that was needed."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        text = b""
    if line.encode() in text.splitlines():
        return False
    with path.open("ab") as stream:
        stream.write((b"\n" if text and not text.endswith(b"\n") else b"") + line.encode() + b"\n")
    return True
