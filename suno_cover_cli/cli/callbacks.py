"""Commands for people who build a receiver of callbacks."""

import typer

from suno_cover_cli.cli import listening


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    # What follows the first word that is no option belongs to the command that is to be run.
    app.command(context_settings={"allow_interspersed_args": False})(listening.listen)
