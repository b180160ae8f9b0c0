"""``wait``: wait for and save jobs that were submitted before, by anyone."""

from typing import NoReturn

from suno_cover_cli.commands.context import Context
from suno_cover_cli.commands.job_options import JobCommandOptions
from suno_cover_cli.commands.job_parts import Unfinished
from suno_cover_cli.commands.listed_jobs import prepare_listed_jobs
from suno_cover_cli.runner import run as run_command
from suno_cover_cli.screens.output import Output


def run(arguments: list[str], input_path: str | None, options: JobCommandOptions, output: Output) -> NoReturn:
    """Run the command and leave the process. ``options.submits`` is off: the ids are those of cover tasks."""
    unfinished = Unfinished()
    context = Context(output=output)
    run_command(
        lambda: prepare_listed_jobs(arguments, input_path, options, context, unfinished),
        output,
        on_interrupt=unfinished.describe,
    )
