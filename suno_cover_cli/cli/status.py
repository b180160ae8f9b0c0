"""``status``: one read of the service, nothing else."""

from collections.abc import Coroutine
from typing import Any, NoReturn

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.events import NullSink
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobRecord, RecordState, is_safe_task_id
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.service.api import SunoApi
from suno_cover_cli.service.codes import job_failed
from suno_cover_cli.service.limiter import RequestLimiter
from suno_cover_cli.ui.output import Output, json_line
from suno_cover_cli.wiring.context import Context, ServiceOptions
from suno_cover_cli.wiring.runner import run as run_command

_EXIT_CODES = {
    RecordState.SUCCEEDED: ExitCode.OK,
    RecordState.WAITING: ExitCode.PENDING,
    RecordState.RUNNING: ExitCode.PENDING,
    RecordState.FAILED: ExitCode.JOB_FAILED,
    RecordState.ABSENT: ExitCode.REFUSED,
}


def run(task_id: str, options: ServiceOptions, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    run_command(lambda: status(task_id, options, Context(output=output)), output)


def status(task_id: str, options: ServiceOptions, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Check id, settings and key, and return the rest: the read, whose outcome becomes the exit code.

    Raises:
        SunoCoverError: No key, a bad id, or the service cannot be read.
    """
    if not is_safe_task_id(task_id):
        raise UsageError(
            f'not a cover task id: "{clean(task_id, 60)}"',
            code="bad_id",
            hint="Ids have letters, digits, - and _, at most 128.",
        )
    settings, where = context.settings(options)
    key = context.api_key(settings, where, options)
    return _status(task_id, settings, key, context)


async def _status(task_id: str, settings: Settings, key: Secret, context: Context) -> ExitCode:
    async with (
        RequestLimiter(None, 1.0, clock=context.clock) as limiter,
        SunoApi(
            base_url=settings.base_url,
            key=key,
            provider=settings.provider,
            limiter=limiter,
            clock=context.clock,
            sink=NullSink(),
            user_agent=context.user_agent,
        ) as api,
    ):
        record = await api.fetch_job(task_id)
    _print(record, context.output)
    return _EXIT_CODES[record.state]


def _print(record: JobRecord, output: Output) -> None:
    if output.is_json:
        output.write_line(
            json_line(
                {
                    "v": 1,
                    "type": "status",
                    "music_task_id": clean(record.music_task_id, 128) if record.music_task_id else None,
                    "task_id": record.task_id,
                    "state": record.state,
                    "code": record.error_code,
                    "message": record.message,
                    "image_urls": record.image_urls,
                    "created_at": record.created_at,
                    "completed_at": record.completed_at,
                }
            )
        )
    else:
        output.write_line(record.state)
        for url in record.image_urls:
            output.write_line(clean(url, 4096))
    if record.state is RecordState.ABSENT:
        output.write_words("The service does not know this id, or the job was created a moment ago.")
    elif record.state is RecordState.FAILED:
        error = job_failed(record.error_code, record.message)
        output.write_words(error.message)
        output.write_labelled("hint", error.hint)
