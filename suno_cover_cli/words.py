"""Events in words for people: one line each, the same on a terminal and in a log."""

from typing import Literal

import msgspec

from suno_cover_cli.events import (
    CallbackReceived,
    CallbackRejected,
    Event,
    ImageFailed,
    ImageRetried,
    ImageSaved,
    JobEnded,
    JobPolled,
    JobSubmitted,
    RequestRetried,
    TunnelFailed,
    TunnelLost,
    TunnelOpened,
    TunnelRestored,
    WarningRaised,
)
from suno_cover_cli.models import JobResult, JobState, SavedImage
from suno_cover_cli.text import clean

Tone = Literal["plain", "good", "warning", "bad"]


class Line(msgspec.Struct, frozen=True):
    """One line: a short label, the text behind it, and how it is meant."""

    label: str
    text: str
    tone: Tone = "plain"

    def __str__(self) -> str:
        return f"{self.label:<10} {self.text}"


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


def lines_of(event: Event, *, is_batch: bool = False) -> list[Line]:  # noqa: PLR0911 -- one case an event
    """Say an event in words; nothing for events that only a live display shows.

    Args:
        event: What happened.
        is_batch: Many jobs run: only their ends and what is wrong are worth a line each.
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
            return [Line("failed", f"image {event.n}: {clean(event.error)}", "bad")]
        case _ if not is_batch:
            return _job_lines(event)
    return []


def _job_lines(event: Event) -> list[Line]:  # noqa: PLR0911 -- one case an event
    match event:
        case JobSubmitted() if event.is_existing:
            return [Line("found", f"{event.task_id}, made before for {clean(event.music_task_id)}")]
        case JobSubmitted() if event.music_task_id is not None:
            how = "waiting for its callback" if event.callback else "polling"
            return [Line("submitted", f"{clean(event.music_task_id)} as {event.task_id}; {how}")]
        case JobSubmitted():
            return [Line("waiting", f"for {event.task_id}")]
        case JobPolled():
            then = "" if event.next_s is None else f"; next check in {format_duration(event.next_s)}"
            return [Line("state", f"{event.task_id} is {event.state}{then}")]
        case CallbackReceived():
            return [Line("callback", f"received (code {event.code}); asking the service")]
        case CallbackRejected():
            return [Line("callback", f"ignored: {clean(event.reason)}", "warning")]
        case ImageRetried():
            return [Line("image", f"{event.n}: {clean(event.reason)}; trying again", "warning")]
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


def _with_hint(line: Line, hint: str) -> list[Line]:
    return [line, Line("", clean(hint), "plain")] if hint else [line]
