"""``--failed-to``: the ids to try again, one a line, written as jobs end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.events import Sink, WarningRaised
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
async def failed_ids(stream: BinaryIO | None, sink: Sink) -> AsyncIterator[Callable[[str], None] | None]:
    """Yield what takes one id, or ``None`` when nobody wants them.

    Args:
        stream: As opened by :func:`open_failed_to`; written to until the end, and left open.
        sink: Told when the list cannot be written any more.
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
        yield writer.write_line
    finally:
        await asyncio.to_thread(writer.finish, _LAST_LINES_S)
