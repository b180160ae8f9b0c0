"""The scripts that teach a shell to ask us, and where each goes: printed or installed by ``completion``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from suno_cover_cli.base.files import replace_file
from suno_cover_cli.completion.shapes import VARIABLE

_BASH = """\
# bash completion for suno-cover
_suno_cover() {
    local cur="${COMP_WORDS[COMP_CWORD]}" line also="" IFS=$'\\n'
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $also ]]; then
            also=$line
        else
            COMPREPLY+=("${line%%$'\\t'*}")
        fi
    done < <(VARIABLE=bash "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    [[ $cur == "=" ]] && cur=""
    case $also in
        :files) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
        :dirs) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")) ;;
    esac
}
complete -F _suno_cover suno-cover
"""

_ZSH = """\
#compdef suno-cover
# zsh completion for suno-cover
_suno_cover() {
    local -a answer shown
    local line value
    answer=("${(@f)$(VARIABLE=zsh "${(Q)words[1]}" "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${(@)answer[2,-1]}"; do
        value=${line%%$'\\t'*}
        if [[ $line == *$'\\t'* ]]; then
            shown+=("${value//:/\\\\:}:${line#*$'\\t'}")
        else
            shown+=("${value//:/\\\\:}")
        fi
    done
    case $answer[1] in
        :files) compset -P '--[^=]#='; _files ;;
        :dirs) compset -P '--[^=]#='; _files -/ ;;
        *) (( $#shown )) && _describe -V suno-cover shown ;;
    esac
}
# Called by its file's name it was found in $fpath; otherwise it was sourced.
if [[ $funcstack[1] == _suno-cover ]]; then
    _suno_cover "$@"
else
    compdef _suno_cover suno-cover
fi
"""

_FISH = """\
# fish completion for suno-cover
function __suno_cover_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer (env VARIABLE=fish $words[1] $words[2..-1] "$current" 2>/dev/null)
    set -l name (string match -r -- '^--[^=]*=' "$current"; or echo "")
    switch "$answer[1]"
        case :files
            for path in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' "$current"))
                echo -- $name$path
            end
        case :dirs
            for path in (__fish_complete_directories (string replace -r -- '^--[^=]*=' '' "$current") '')
                echo -- $name$path
            end
        case '*'
            test (count $answer) -gt 1; and printf '%s\\n' $answer[2..-1]
    end
end
complete --command suno-cover --no-files --keep-order --arguments '(__suno_cover_complete)'
"""

_POWERSHELL = """\
# PowerShell completion for suno-cover
Register-ArgumentCompleter -Native -CommandName suno-cover -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.StartOffset -lt $cursorPosition } |
        ForEach-Object { $_.ToString().Trim("'", '"') })
    if ($wordToComplete) { $words = @($words | Select-Object -SkipLast 1) }
    # A dot goes before the last word, because an empty one would be lost on its way.
    $words += ".$wordToComplete"
    $env:VARIABLE = 'powershell'
    try { $answer = @(& suno-cover @words 2>$null) } finally { Remove-Item Env:VARIABLE }
    if ($answer[0] -in ':files', ':dirs') {
        $name = if ($wordToComplete -match '^(--[^=]*=)') { $Matches[1] } else { '' }
        Get-ChildItem -Path "$($wordToComplete.Substring($name.Length))*" -Directory:($answer[0] -eq ':dirs') |
            ForEach-Object {
                $path = $name + (Resolve-Path -Relative $_.FullName)
                [System.Management.Automation.CompletionResult]::new($path, $_.Name, 'ProviderItem', $path)
            }
        return
    }
    $answer | Select-Object -Skip 1 | ForEach-Object {
        $value, $meaning = $_ -split "`t", 2
        if (-not $meaning) { $meaning = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $meaning)
    }
}
"""

SCRIPTS = {
    "bash": _BASH,
    "zsh": _ZSH,
    "fish": _FISH,
    "powershell": _POWERSHELL,
}

_MARK = "# suno-cover completion"


def script_of(shell: str) -> str:
    """Return the script for a shell."""
    return SCRIPTS[shell].replace("VARIABLE", VARIABLE)


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
