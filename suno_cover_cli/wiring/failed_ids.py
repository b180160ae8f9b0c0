"""``--failed-to``: the ids worth another try, one a line, written as jobs end; the others as comments."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.events import Sink, WarningRaised
from suno_cover_cli.base.text import clean
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest
from suno_cover_cli.ui.output import LineWriter

_LAST_LINES_S = 1.0


def open_failed_to(path: Path | None) -> BinaryIO | None:
    """Open the list before anything is submitted.

    Raises:
        UsageError: It cannot be written.
    """
    if path is None:
        return None
    try:
        return path.expanduser().open("wb", buffering=0)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Give --failed-to another path.") from None


@asynccontextmanager
async def failed_ids(
    stream: BinaryIO | None, sink: Sink
) -> AsyncIterator[Callable[[JobRequest, JobOutcome], None] | None]:
    """Yield what takes a job that did not end well, or ``None`` when no list was asked for.

    Args:
        stream: As opened by :func:`open_failed_to`; written to until the end, and left open.
        sink: Hears when the list cannot be written any more.
    """
    if stream is None:
        yield None
        return
    loop = asyncio.get_running_loop()

    def report_unwritable() -> None:
        warning = WarningRaised(
            code="failed_to_unwritable",
            message="the list of failed ids cannot be written any more",
            hint="suno-cover history shows them.",
        )
        loop.call_soon_threadsafe(sink.emit, warning)

    # A thread of its own writes: a disk that takes its time must not stop callbacks from being answered.
    writer = LineWriter(stream, report_unwritable)
    try:
        yield lambda request, outcome: writer.write_line(failed_line(request, outcome))
    finally:
        await asyncio.to_thread(writer.finish, _LAST_LINES_S)


def failed_line(request: JobRequest, outcome: JobOutcome) -> str:
    """Return the line for one job: its id, with its title if it has one, or a comment with the reason."""
    task_id = request.music_task_id or request.task_id or ""
    if outcome.is_lasting:
        error = outcome.result.error
        return f"# {task_id}: {clean(error.message) if error is not None else outcome.result.state}"
    if request.options.title is None:
        return task_id
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([task_id, request.options.title])
    return line.getvalue()
