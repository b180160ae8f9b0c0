"""``resume``: finish what earlier runs left unfinished."""

from dataclasses import dataclass
from typing import ClassVar

from suno_cover_cli.options.groups import CallbackOptions, OutputOptions
from suno_cover_cli.options.jobs import JobCommandOptions


@dataclass(frozen=True, kw_only=True)
class ResumeOptions(JobCommandOptions):
    """Options of the command; folder, names and callbacks are those of the run that began a job."""

    NOT_OFFERED: ClassVar = frozenset(
        {
            *CallbackOptions.__dataclass_fields__,
            *OutputOptions.__dataclass_fields__,
            *("input_file", "no_wait", "failed_to", "name", "write_metadata", "overwrite", "sandbox"),
        }
    )


def resume(options: ResumeOptions) -> None:
    """Finish every job that an earlier run left unfinished, however that run ended.

    Service, folder, file names and callbacks are those of the run that began the job.

    --provider and --base-url say which service your key is for.
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
