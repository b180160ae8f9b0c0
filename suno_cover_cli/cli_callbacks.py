"""Commands for people who build a receiver of callbacks."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
