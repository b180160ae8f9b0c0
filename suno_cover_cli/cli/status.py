"""``status``: one read of the service, nothing else."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JsonOptions, ServiceOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.models import JobRecord
    from suno_cover_cli.base.settings import Settings
    from suno_cover_cli.base.text import Secret
    from suno_cover_cli.ui.output import Output
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class StatusOptions(ServiceOptions, JsonOptions):
    """Options of the command."""

    task_id: Annotated[str, typer.Argument(metavar="COVER_TASK_ID", show_default=False)]


def status(options: StatusOptions) -> None:
    """Read one job from the service once: its state, then the addresses of its images.

    Exit code: 0 done, 8 still running, 6 failed, 3 unknown.
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: read_status(options, context), is_json=options.json)


COMMAND = Command(status)


def read_status(options: StatusOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check id, settings and key, and return the rest: the read, whose outcome becomes the exit code.

    Raises:
        SunoCoverError: No key, a bad id, or the service cannot be read.
    """
    from suno_cover_cli.base.task_ids import checked_cover_task_id
    from suno_cover_cli.journal.known_ids import find_covers
    from suno_cover_cli.wiring.origins import are_of_sandbox

    task_id = checked_cover_task_id(options.task_id)
    settings, sources = context.settings(options)
    known = find_covers(settings.journal_path, [task_id]).get(task_id)
    if known is not None:
        context.output.write_words(f"{task_id} is a music task id; its cover task is {known}")
        task_id = known
    key = None if are_of_sandbox([task_id], settings) else context.api_key(settings, sources, options)
    return _read_status(task_id, settings, key, context)


async def _read_status(task_id: str, settings: "Settings", key: "Secret | None", context: "Context") -> "ExitCode":
    from contextlib import AsyncExitStack

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.models import RecordState

    is_sandbox = key is None
    async with AsyncExitStack() as stack:
        if key is None:
            from suno_cover_cli.wiring.jobs import open_sandbox

            settings, key = await open_sandbox(stack, context, settings)
        api = await stack.enter_async_context(context.open_api(settings, key))
        record = await api.fetch_job(task_id)
    _print(record, context.output)
    if is_sandbox and record.image_urls:
        context.output.write_words(
            f"These addresses end with the sandbox, which is now. What was saved: suno-cover history {task_id}"
        )
    return {
        RecordState.SUCCEEDED: ExitCode.OK,
        RecordState.WAITING: ExitCode.PENDING,
        RecordState.RUNNING: ExitCode.PENDING,
        RecordState.FAILED: ExitCode.JOB_FAILED,
        RecordState.ABSENT: ExitCode.REFUSED,
    }[record.state]


def _print(record: "JobRecord", output: "Output") -> None:
    from suno_cover_cli.base.models import RecordState, json_text
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.service.codes import job_failed

    if output.is_json:
        output.write_line(
            json_text(
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
