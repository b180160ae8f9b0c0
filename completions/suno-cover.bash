# bash completion for suno-cover
_suno_cover() {
    local cur="${COMP_WORDS[COMP_CWORD]}" line also="" IFS=$'\n'
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $also ]]; then
            also=$line
        else
            COMPREPLY+=("${line%%$'\t'*}")
        fi
    done < <(_SUNO_COVER_COMPLETE=bash "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    [[ $cur == "=" ]] && cur=""
    case $also in
        :files) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
        :dirs) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")) ;;
    esac
}
complete -F _suno_cover suno-cover
