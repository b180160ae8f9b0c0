"""``wait``: wait for and save jobs that were submitted before, by anyone."""

from typing import NoReturn

from suno_cover_cli.ui.output import Output
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.job_options import JobCommandOptions
from suno_cover_cli.wiring.jobs import Unfinished
from suno_cover_cli.wiring.listed_jobs import prepare_listed_jobs
from suno_cover_cli.wiring.runner import run as run_command


def run(arguments: list[str], input_path: str | None, options: JobCommandOptions, output: Output) -> NoReturn:
    """Run the command and leave the process. ``options.submits`` is off: the ids are those of cover tasks."""
    unfinished = Unfinished()
    context = Context(output=output)
    run_command(
        lambda: prepare_listed_jobs(arguments, input_path, options, context, unfinished),
        output,
        on_interrupt=unfinished.describe,
    )
