# PowerShell completion for suno-cover
Register-ArgumentCompleter -Native -CommandName suno-cover -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.StartOffset -lt $cursorPosition } |
        ForEach-Object { $_.ToString().Trim("'", '"') })
    if ($wordToComplete) { $words = @($words | Select-Object -SkipLast 1) }
    # A dot goes before the last word, because an empty one would be lost on its way.
    $words += ".$wordToComplete"
    $env:_SUNO_COVER_COMPLETE = 'powershell'
    try { $answer = @(& suno-cover @words 2>$null) } finally { Remove-Item Env:_SUNO_COVER_COMPLETE }
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
