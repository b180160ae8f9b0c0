"""What events go to where nothing is drawn: the product, line by line; warnings; and what a log sees of jobs.

A log gets one line per change and one heartbeat a minute.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import Event, ImageSaved, JobEnded, JobStarted, JobSubmitted, Sink, WarningRaised
from suno_cover_cli.base.models import JobResult, json_text
from suno_cover_cli.base.text import clean
from suno_cover_cli.ui.output import Output
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


class PathSink:
    """Prints the paths of a job's saved images when it ends, in the order of the variants."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobEnded):
            for image in event.result.images:
                # A folder may be called anything, but a line that begins so is a command to some readers.
                self._write_line(f"./{image.path}" if image.path.startswith("::") else image.path)


class TaskIdSink:
    """Prints the cover task id of each submitted job, for ``--no-wait``."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobSubmitted) and event.task_id is not None:
            self._write_line(event.task_id)


class JsonSink:
    """Prints one job object per job, as it ends.

    Args:
        write_line: Takes the lines.
        complete: See :class:`Output`.
    """

    def __init__(self, write_line: Callable[[str], None], complete: Callable[[str], str] = str) -> None:
        self._write_line = write_line
        self._complete = complete

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobEnded):
            self._write_line(json_text(_completed(event.result, self._complete)))


class EventsSink:
    """Prints every event as one JSON line, stamped; a job's end is its job object. See :class:`JsonSink`."""

    def __init__(
        self, write_line: Callable[[str], None], clock: Clock, complete: Callable[[str], str] = str
    ) -> None:
        self._write_line = write_line
        self._clock = clock
        self._complete = complete

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobEnded):
            self._write_line(json_text(_completed(event.result, self._complete)))
            return
        fields = msgspec.to_builtins(event)
        kind, ts = fields.pop("type"), round(self._clock.time(), 3)
        self._write_line(json_text({"v": 1, "type": kind, "ts": ts, **fields}))


class WarningSink:
    """Writes the warnings of commands that run no jobs, as lines for people."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, WarningRaised):
            self._output.write_labelled("warning", clean(event.message))
            if event.hint:
                self._output.write_labelled("hint", clean(event.hint))


class TeeSink:
    """Hands each event to several sinks, in order."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        for sink in self._sinks:
            sink.emit(event)


def _completed(result: JobResult, complete: Callable[[str], str]) -> JobResult:
    """Return a job object whose hint is what you would have to type."""
    if result.error is None or not result.error.hint:
        return result
    error = msgspec.structs.replace(result.error, hint=complete(result.error.hint))
    return msgspec.structs.replace(result, error=error)
