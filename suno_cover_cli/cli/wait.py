"""``wait``: wait for and save jobs that were submitted before, by anyone."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import CallbackOptions, JobCommandOptions


@dataclass(frozen=True, kw_only=True)
class WaitOptions(JobCommandOptions):
    """Options of the command. Who submits nothing cannot be called."""

    NOT_OFFERED: ClassVar = frozenset({*CallbackOptions.__dataclass_fields__, "webhook_key_file", "no_wait"})

    submits: bool = False
    task_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="COVER_TASK_ID...", help="Ids that a submit returned.", show_default=False),
    ] = None
    sandbox: Annotated[bool, typer.Option("--sandbox", help="The jobs are those of generate --sandbox.")] = False


def wait(options: WaitOptions) -> None:
    """Wait for jobs that were submitted before, by anyone, and save their images.

    Example: id=$(suno-cover generate --no-wait MUSIC_TASK_ID); suno-cover wait "$id"
    """
    from suno_cover_cli.wiring.listed_jobs import run_listed_jobs

    run_listed_jobs(options)


COMMAND = Command(wait)
