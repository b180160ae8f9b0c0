"""What a log sees on stderr: one line per change and one heartbeat a minute, no drawing."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import Event, ImageSaved, JobEnded, JobStarted
from suno_cover_cli.ui.words import EventLines, Line, format_count, format_duration

_HEARTBEAT_S = 60.0


class PlainScreen:
    """A sink that writes lines.

    An async context manager, because of the heartbeat.

    Args:
        write: Prints one line.
        lines: Says events in words.
        clock: Time.
        job_count: Jobs of the command.
        is_quiet: Only what is wrong is said.
        shows_product: Saved paths are printed on the same terminal.
    """

    def __init__(
        self,
        write: Callable[[Line], None],
        lines: EventLines,
        *,
        clock: Clock,
        job_count: int,
        is_quiet: bool = False,
        shows_product: bool = False,
    ) -> None:
        self._write = write
        self._lines = lines
        self._clock = clock
        self._job_count = job_count
        self._is_quiet = is_quiet
        self._shows_product = shows_product
        self._started = clock.monotonic()
        self._running: set[int] = set()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._is_quiet:
            self._beating = asyncio.create_task(self._beat(), name="heartbeat")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._beating is None:
            return
        self._beating.cancel()
        await asyncio.wait({self._beating})
        if self._job_count > 1:
            for line in self._lines.summary.lines(self._clock.monotonic() - self._started):
                self._write(line)

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobStarted):
            self._running.add(event.job)
        elif isinstance(event, JobEnded):
            self._running.discard(event.job)
        lines = self._lines.lines_of(event)
        if self._shows_product and isinstance(event, ImageSaved):
            return
        for line in lines:
            if not self._is_quiet or line.tone in {"warning", "bad"}:
                self._write(line)

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(_HEARTBEAT_S)
            self._write(Line("waiting", self._describe()))

    def _describe(self) -> str:
        elapsed = format_duration(self._clock.monotonic() - self._started)
        if self._job_count == 1:
            return elapsed
        ends = self._lines.summary.ends
        counts = self._lines.summary.counts()
        counts += [f"{len(self._running)} under way"] if self._running else []
        left = self._job_count - ends.total() - len(self._running)
        counts += [f"{left} to come"] if left else []
        return f"{elapsed}; {format_count(self._job_count, 'job')}: {', '.join(counts)}"
