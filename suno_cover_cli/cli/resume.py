"""``resume``: finish what earlier runs left unfinished."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import CallbackOptions, JobCommandOptions, OutputOptions


@dataclass(frozen=True, kw_only=True)
class ResumeOptions(JobCommandOptions):
    """Options of the command; folder, names and callbacks are those of the run that began a job."""

    NOT_OFFERED: ClassVar = frozenset(
        {
            *CallbackOptions.__dataclass_fields__,
            *OutputOptions.__dataclass_fields__,
            *("input_file", "no_wait", "failed_to", "name", "write_metadata", "overwrite"),
        }
    )

    task_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK_ID...]", help="Only these jobs, by music or cover task id.", show_default=False
        ),
    ] = None
    sandbox: Annotated[bool, typer.Option("--sandbox", help="The jobs are those of generate --sandbox.")] = False


def resume(options: ResumeOptions) -> None:
    """Finish the jobs that earlier runs left unfinished, however they ended.

    Service, folder, file names and callbacks are those of the run that began the job.

    --provider and --base-url say which service your key is for; jobs of other services are left alone.
    """
    from suno_cover_cli.wiring.jobs import Unfinished
    from suno_cover_cli.wiring.resume import prepare_resumption
    from suno_cover_cli.wiring.runner import run_command

    unfinished = Unfinished()
    run_command(
        lambda context: prepare_resumption(options, context, unfinished),
        is_json=options.json or options.events,
        is_quiet=options.quiet,
        on_interrupt=unfinished.describe,
    )


COMMAND = Command(resume)
