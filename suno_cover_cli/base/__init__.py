"""What everybody may import: errors, exit codes, events, models, settings, time, text, files."""
