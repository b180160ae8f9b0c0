"""``generate``: submit, wait, save."""

from dataclasses import dataclass
from typing import Annotated

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JobCommandOptions


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(JobCommandOptions):
    """Options of the command."""

    task_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MUSIC_TASK_ID...", help="Task ids of generated music (data.taskId).", show_default=False
        ),
    ] = None


def generate(options: GenerateOptions) -> None:
    """Make covers: submit a job for each piece of music, wait for it, save the images.

    Saved paths go to stdout, one a line; everything for people goes to stderr.

    Example: suno-cover generate 5c79be8e10f14bb28a4a5e5fd5b1f3a0
    """
    from suno_cover_cli.wiring.listed_jobs import run_listed_jobs

    run_listed_jobs(options)


COMMAND = Command(generate)
