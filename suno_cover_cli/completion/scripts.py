"""The scripts that teach a shell to ask us: printed by ``completion``, kept as files in ``completions/``."""

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

FILE_NAMES = {
    "bash": "suno-cover.bash",
    "zsh": "_suno-cover",
    "fish": "suno-cover.fish",
    "powershell": "suno-cover.ps1",
}
"""Shell -> name in ``completions/``; bash and zsh find them by these names."""


def script_of(shell: str) -> str:
    """Return the script for a shell."""
    return SCRIPTS[shell].replace("VARIABLE", VARIABLE)
