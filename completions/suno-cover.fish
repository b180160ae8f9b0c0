# fish completion for suno-cover
function __suno_cover_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer (env _SUNO_COVER_COMPLETE=fish $words[1] $words[2..-1] "$current" 2>/dev/null)
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
            test (count $answer) -gt 1; and printf '%s\n' $answer[2..-1]
    end
end
complete --command suno-cover --no-files --keep-order --arguments '(__suno_cover_complete)'
