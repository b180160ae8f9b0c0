"""What a log sees on stderr: one line per change and one heartbeat a minute, no drawing."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import Event, JobEnded, JobPolled, JobStarted
from suno_cover_cli.ui.words import BatchTotals, Line, format_duration, lines_of

_HEARTBEAT_S = 60.0
_BATCH_JOBS = 6


class PlainScreen:
    """A sink that writes lines.

    An async context manager, because of the heartbeat.

    Args:
        write: Prints one line.
        clock: Time.
        job_count: Jobs of the command; above a handful only their ends are told.
        is_quiet: Only what is wrong is told.
        is_verbose: Every read is a line, not only those that bring news; and so is every step of many jobs.
    """

    def __init__(
        self,
        write: Callable[[Line], None],
        *,
        clock: Clock,
        job_count: int,
        is_quiet: bool = False,
        is_verbose: bool = False,
    ) -> None:
        self._write = write
        self._clock = clock
        self._is_batch = job_count > _BATCH_JOBS and not is_verbose
        self._is_verbose = is_verbose
        self._is_quiet = is_quiet
        self._job_count = job_count
        self._started = clock.monotonic()
        self._states: dict[int, str] = {}
        self._totals = BatchTotals(job_count)
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._is_quiet:
            self._beating = asyncio.create_task(self._beat(), name="heartbeat")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        if self._job_count > _BATCH_JOBS and not self._is_quiet:
            self._write(self._totals.line(self._clock.monotonic() - self._started))

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobStarted):
            self._states[event.job] = "started"
        elif isinstance(event, JobEnded):
            self._states.pop(event.job, None)
            self._totals.add(event.result)
        elif isinstance(event, JobPolled):
            if self._states.get(event.job) == event.state and not self._is_verbose:
                return
            self._states[event.job] = event.state
        for line in lines_of(event, is_batch=self._is_batch, names_jobs=self._job_count > 1):
            if not self._is_quiet or line.tone in {"warning", "bad"}:
                self._write(line)

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(_HEARTBEAT_S)
            elapsed = format_duration(self._clock.monotonic() - self._started)
            ends = self._totals.ends
            told = ", ".join(f"{count} {state}" for state, count in sorted(ends.items()))
            done = f"{ends.total()} of {self._job_count} jobs ended ({told})" if ends else "no job has ended yet"
            self._write(Line("waiting", f"{elapsed}; {done}; {len(self._states)} under way"))
