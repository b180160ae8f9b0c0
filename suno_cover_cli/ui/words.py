"""Events in words for people: one line each, the same on a terminal and in a log."""

from collections import Counter
from typing import Literal

import msgspec

from suno_cover_cli.base.events import (
    CallbackReceived,
    CallbackRejected,
    Event,
    ImageFailed,
    ImageRetried,
    ImageSaved,
    JobEnded,
    JobEvent,
    JobFound,
    JobPolled,
    JobSubmitted,
    RequestRetried,
    TunnelFailed,
    TunnelLost,
    TunnelOpened,
    TunnelRestored,
    WarningRaised,
)
from suno_cover_cli.base.models import JobResult, JobState, SavedImage
from suno_cover_cli.base.text import clean, fold

LABEL_CHARS = 10
HANG_CHARS = LABEL_CHARS + 1
"""Columns before a line's text."""

Tone = Literal["plain", "good", "warning", "bad"]


class Line(msgspec.Struct, frozen=True):
    """One line: a short label, the text behind it, and how it is meant."""

    label: str
    text: str
    tone: Tone = "plain"

    def __str__(self) -> str:
        return f"{self.label:<{LABEL_CHARS}} {self.text}"

    def folded(self, columns: int) -> list[str]:
        """Break it for a terminal of so many columns (0: of any), the text below itself."""
        return fold(str(self), columns, " " * HANG_CHARS)


def format_duration(seconds: float) -> str:
    """Write seconds as ``4.2 s``, ``47 s``, ``2 min 5 s`` or ``1 h 3 min``."""
    if seconds < 10:  # noqa: PLR2004 -- below ten seconds, tenths are news
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 -- a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004 -- an hour
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_bytes(size: int) -> str:
    """Write bytes as ``312 B``, ``64.0 KiB``, ``1.9 MiB`` or ``78.5 GiB``."""
    if size < 1024:  # noqa: PLR2004 -- one KiB
        return f"{size} B"
    if size < 1024**2:
        return f"{size / 1024:.1f} KiB"
    if size < 1024**3:
        return f"{size / 1024**2:.1f} MiB"
    return f"{size / 1024**3:.1f} GiB"


def format_count(count: int, noun: str) -> str:
    """Write ``1 cover`` or ``2 covers``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def describe_image(image: SavedImage) -> str:
    """Say what an image is: ``1024x1024 PNG, 1.9 MiB``."""
    return f"{image.width}x{image.height} {image.format.upper()}, {format_bytes(image.bytes)}"


def lines_of(  # noqa: PLR0911 -- one case an event
    event: Event, *, is_batch: bool = False, names_jobs: bool = False
) -> list[Line]:
    """Say an event in words; nothing for events that only a live display shows.

    Args:
        event: What happened.
        is_batch: Many jobs run: only their ends and what is wrong are worth a line each.
        names_jobs: There are several jobs, so each line has to say which one it is about.
    """
    match event:
        case JobEnded():
            return _end_lines(event.result)
        case WarningRaised():
            return _with_hint(Line("warning", clean(event.message), "warning"), event.hint)
        case TunnelOpened():
            return [Line("callback", f"reachable at {clean(event.url)}", "good")]
        case TunnelFailed():
            return _with_hint(
                Line("callback", f"{clean(event.message)}; going on by polling", "warning"), event.hint
            )
        case TunnelLost():
            return [Line("callback", f"lost ({clean(event.reason)}); going on by polling", "warning")]
        case TunnelRestored():
            return [Line("callback", f"reachable again at {clean(event.url)}", "good")]
        case RequestRetried():
            delay = format_duration(event.delay_s)
            return [Line("service", f"{clean(event.reason)}; trying again in {delay}", "warning")]
        case ImageFailed():
            of = _name_of(event, " of ") if names_jobs else ""
            return [Line("failed", f"image {event.n}{of}: {clean(event.error)}", "bad")]
        case _ if not is_batch:
            return _job_lines(event, names_jobs=names_jobs)
    return []


def _name_of(event: JobEvent, before: str) -> str:
    name = event.music_task_id or event.task_id
    return f"{before}{clean(name, 128)}" if name else ""


def _job_lines(event: Event, *, names_jobs: bool) -> list[Line]:  # noqa: PLR0911 -- one case an event
    match event:
        case JobSubmitted() if event.is_existing:
            return [Line("found", f"{event.task_id}, made before for {clean(event.music_task_id)}")]
        case JobSubmitted():
            how = "waiting for its callback" if event.callback else "polling"
            return [Line("submitted", f"{clean(event.music_task_id)} as {event.task_id}; {how}")]
        case JobFound():
            return [Line("waiting", f"for {event.task_id}")]
        case JobPolled():
            then = "" if event.next_s is None else f"; next check in {format_duration(event.next_s)}"
            return [Line("state", f"{event.task_id} is {event.state}{then}")]
        case CallbackReceived():
            of = _name_of(event, " for ") if names_jobs else ""
            return [Line("callback", f"received{of} (code {event.code}); asking the service")]
        case CallbackRejected():
            of = _name_of(event, " for ") if names_jobs else ""
            return [Line("callback", f"ignored{of}: {clean(event.reason)}", "warning")]
        case ImageRetried():
            of = _name_of(event, " of ") if names_jobs else ""
            return [Line("image", f"{event.n}{of}: {clean(event.reason)}; trying again", "warning")]
        case ImageSaved():
            said = ", already there" if event.is_existing else ""
            return [Line("saved", f"{event.image.path} ({describe_image(event.image)}{said})", "good")]
    return []


def _end_lines(result: JobResult) -> list[Line]:
    name = clean(result.music_task_id or result.task_id or "job")
    if result.error is not None:
        tone: Tone = "warning" if result.state is JobState.PENDING else "bad"
        label = {JobState.PENDING: "pending", JobState.PARTIAL: "partial"}.get(result.state, "error")
        return _with_hint(Line(label, f"{name}: {clean(result.error.message)}", tone), result.error.hint)
    if result.state is JobState.PENDING:
        return []
    covers = format_count(len(result.images), "cover")
    return [Line("done", f"{name}: {covers} in {format_duration(result.elapsed_s)} (via {result.via})", "good")]


class BatchTotals:
    """Counts what became of the jobs of a batch, for its last line."""

    def __init__(self, job_count: int) -> None:
        self._job_count = job_count
        self.ends: Counter[str] = Counter()
        self._covers = 0

    def add(self, result: JobResult) -> None:
        """Count one job that has ended."""
        self.ends[result.state] += 1
        self._covers += len(result.images)

    def line(self, elapsed_s: float) -> Line:
        """Sum up: ``12 jobs: 11 succeeded, 1 failed; 22 covers in 1.4 s``."""
        told = [f"{count} {state}" for state, count in sorted(self.ends.items(), reverse=True)]
        left = self._job_count - self.ends.total()
        told += [f"{left} under way"] if left else []
        is_good = self.ends[JobState.SUCCEEDED] == self._job_count
        jobs, covers = format_count(self._job_count, "job"), format_count(self._covers, "cover")
        return Line(
            "total",
            f"{jobs}: {', '.join(told)}; {covers} in {format_duration(elapsed_s)}",
            "good" if is_good else "warning",
        )


def _with_hint(line: Line, hint: str) -> list[Line]:
    return [line, Line("", clean(hint), "plain")] if hint else [line]
