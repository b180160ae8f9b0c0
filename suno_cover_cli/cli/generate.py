"""``generate``: submit, wait, save."""

from collections.abc import Coroutine
from typing import Any, NoReturn

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.ui.output import Output
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.job_options import JobCommandOptions
from suno_cover_cli.wiring.jobs import Unfinished
from suno_cover_cli.wiring.listed_jobs import prepare_listed_jobs
from suno_cover_cli.wiring.runner import run as run_command


def run(arguments: list[str], input_path: str | None, options: JobCommandOptions, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    unfinished = Unfinished()
    context = Context(output=output)
    run_command(
        lambda: generate(arguments, input_path, options, context, unfinished),
        output,
        on_interrupt=unfinished.describe,
    )


def generate(
    arguments: list[str],
    input_path: str | None,
    options: JobCommandOptions,
    context: Context,
    unfinished: Unfinished,
) -> Coroutine[Any, Any, ExitCode]:
    """Check everything that can be checked without a network, and return the rest of the command.

    The rest submits a cover job for each music task, waits for all and saves their images.

    Raises:
        SunoCoverError: Whatever stops the command before there is a job.
    """
    if options.callback == "required" and not options.wait:
        raise UsageError(
            "--no-wait leaves before a callback can come, so --callback required cannot be kept",
            hint="Leave one of the two out.",
        )
    return prepare_listed_jobs(arguments, input_path, options, context, unfinished)
