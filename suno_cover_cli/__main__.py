"""``python -m suno_cover_cli``."""

from suno_cover_cli.cli.main import main

main()
