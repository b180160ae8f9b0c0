"""Events in words for people: one line each, the same on a terminal and in a log."""

from collections import Counter
from typing import Literal

import msgspec

from suno_cover_cli.base.events import (
    CallbackReceived,
    CallbackRefused,
    CallbackRejected,
    Event,
    ImageFailed,
    ImageRetried,
    ImageSaved,
    JobEnded,
    JobEvent,
    JobFound,
    JobPolled,
    JobStarted,
    JobSubmitted,
    NoteRaised,
    RequestRetried,
    TunnelFailed,
    TunnelLost,
    TunnelOpened,
    TunnelRestored,
    WarningRaised,
    WokenUp,
)
from suno_cover_cli.base.models import JobResult, JobState, SavedImage, Via
from suno_cover_cli.base.text import clean, fold

LABEL_CHARS = 10
HANG_CHARS = LABEL_CHARS + 1
"""Columns before a line's text."""

_BATCH_JOBS = 6
"""Above this, only the ends of jobs and what is wrong are worth a line each."""

_MAX_NAMED_FAILURES = 20

Tone = Literal["plain", "good", "warning", "bad", "faint"]


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


class EventLines:
    """Says the events of one command in words. Every line of one of several jobs begins with the job's name.

    Args:
        job_count: Jobs of the command. Of more than a handful only the ends are said, and what is wrong.
        is_verbose: Every step of many jobs is said, and every read.
        waits: Jobs are waited for: polled, or called back.
        needs_tunnel: Without a tunnel the command ends, so no line speaks of checking instead.
        poll_interval_s: Seconds between reads of one job.
        sums_up: The failed jobs of several stand at the end once more, with their next steps.

    Attributes:
        summary: Of the jobs that have ended.
    """

    def __init__(
        self,
        job_count: int,
        *,
        is_verbose: bool = False,
        waits: bool = True,
        needs_tunnel: bool = False,
        poll_interval_s: float = 30.0,
        sums_up: bool = True,
    ) -> None:
        self.summary = BatchSummary(job_count, waits=waits)
        self._names_jobs = job_count > 1
        self._is_brief = job_count > _BATCH_JOBS and not is_verbose
        self._is_verbose = is_verbose
        self._waits = waits
        self._needs_tunnel = needs_tunnel
        self._poll_interval_s = poll_interval_s
        self._sums_up = sums_up and job_count > 1
        self._names: dict[int, str] = {}
        self._states: dict[int, str] = {}

    def lines_of(self, event: Event) -> list[Line]:  # noqa: PLR0911 -- one case an event
        """Return the lines for an event; none for what only a live display shows."""
        match event:
            case JobStarted():
                self._names[event.job] = clean(event.name or event.music_task_id or event.task_id or "job", 128)
            case JobEnded():
                self._states.pop(event.job, None)
                name = self._name_of(event)
                self._names.pop(event.job, None)
                self.summary.add(event, name)
                say_end = _brief_end_lines if self._sums_up else _end_lines
                return say_end(name, event.result)
            case WarningRaised():
                return _with_hint(Line("warning", clean(event.message), "warning"), event.hint)
            case NoteRaised():
                return _with_hint(Line("note", clean(event.message), "faint"), event.hint)
            case RequestRetried():
                delay = format_duration(event.delay_s)
                return [Line("service", f"{clean(event.reason)}; trying again in {delay}", "warning")]
            case ImageFailed():
                return [self._line("failed", event, f"image {event.n}: {clean(event.error)}", "bad")]
            case JobEvent() if not self._is_brief:
                return self._job_lines(event)
            case _:
                return self._tunnel_lines(event)
        return []

    def _tunnel_lines(self, event: Event) -> list[Line]:  # noqa: PLR0911 -- one case an event
        every = format_duration(self._poll_interval_s)
        match event:
            case TunnelOpened():
                return [Line("callback", f"reachable at {clean(event.url)}", "good")]
            case TunnelRestored():
                return [Line("callback", f"reachable again at {clean(event.url)}", "good")]
            case TunnelFailed() if self._needs_tunnel:
                return []  # the command ends with it and says so
            case TunnelFailed():
                text = f"{clean(event.message)}: checking every {every} instead"
                if event.is_expected:
                    return [Line("callback", text, "faint")]
                return _with_hint(Line("callback", text, "warning"), event.hint)
            case TunnelLost():
                text = f"lost ({clean(event.reason)}): checking every {every} until it is back"
                return [Line("callback", text, "warning")]
        return []

    def _job_lines(self, event: JobEvent) -> list[Line]:  # noqa: PLR0911 -- one case an event
        match event:
            case JobSubmitted() if event.is_existing:
                return [Line("found", f"{self._name_of(event)} as {event.task_id}, made before")]
            case JobSubmitted():
                how = "; waiting for its callback" if event.callback else "; polling"
                then = how if self._waits else ""
                return [Line("submitted", f"{self._name_of(event)} as {event.task_id}{then}")]
            case JobFound():
                self._states[event.job] = _FOUND
                name = self._name_of(event)
                cover = f" as {event.task_id}" if event.task_id != name else ""
                return [Line("waiting", f"for {name}{cover}")]
            case JobPolled():
                before, self._states[event.job] = self._states.get(event.job), event.state
                # Right after the submit a service may not list a job yet. An id that was typed may be mistyped.
                is_news = event.state != before and (event.state != "absent" or before == _FOUND)
                if not is_news and not self._is_verbose:
                    return []
                then = "" if event.next_s is None else f"; next check in {format_duration(event.next_s)}"
                return [
                    Line("state", f"{self._name_of(event)} is {_STATE_WORDS.get(event.state, event.state)}{then}")
                ]
            case CallbackReceived() | CallbackRejected() | CallbackRefused() | WokenUp():
                return self._callback_lines(event)
            case ImageRetried():
                text = f"image {event.n}: {clean(event.reason)}; trying again"
                return [self._line("retry", event, text, "warning")]
            case ImageSaved():
                known = ", already there" if event.is_existing else ""
                text = f"{event.image.path} ({describe_image(event.image)}{known})"
                return [self._line("saved", event, text, "good")]
        return []

    def _callback_lines(
        self, event: CallbackReceived | CallbackRejected | CallbackRefused | WokenUp
    ) -> list[Line]:
        if isinstance(event, CallbackReceived):
            return [self._line("callback", event, f"received (code {event.code}); asking the service")]
        if isinstance(event, CallbackRefused):
            text = f"refused with 401, signature {event.signature}: {clean(event.reason)}"
            return [self._line("callback", event, text, "warning")] if self._is_verbose else []
        what = "odd" if isinstance(event, CallbackRejected) else "not readable"
        return [self._line("callback", event, f"{what} ({clean(event.reason)}); asking the service", "warning")]

    def _name_of(self, event: JobEvent) -> str:
        return self._names.get(event.job, "") or clean(event.music_task_id or event.task_id or "job", 128)

    def _line(self, label: str, event: JobEvent, text: str, tone: Tone = "plain") -> Line:
        return Line(label, f"{self._name_of(event)}: {text}" if self._names_jobs else text, tone)


_FOUND = "found"
_STATE_WORDS = {"absent": "not listed by the service yet", "succeeded": "done"}


def _brief_end_lines(name: str, result: JobResult) -> list[Line]:
    """Say the end of one of several jobs: why it failed, and what to do, stands in the summary alone."""
    if result.error is None:
        return _end_lines(name, result)
    what: str = result.state
    if result.state is JobState.PARTIAL:
        saved, failed = len(result.images), len(result.failed_images)
        what = f"{saved} of {format_count(saved + failed, 'cover')} saved"
    return [Line(_END_LABELS[result.state], f"{name}: {what}", _END_TONES[result.state])]


def _end_lines(name: str, result: JobResult) -> list[Line]:
    if result.error is not None:
        line = Line(_END_LABELS[result.state], f"{name}: {clean(result.error.message)}", _END_TONES[result.state])
        return _with_hint(line, result.error.hint)
    if result.state is JobState.PENDING:
        return []
    covers = format_count(len(result.images), "cover")
    how = "made before" if result.via is Via.EXISTING else f"via {result.via}"
    return [Line("done", f"{name}: {covers} in {format_duration(result.elapsed_s)} ({how})", "good")]


_END_LABELS = {
    JobState.SUCCEEDED: "done",
    JobState.PENDING: "pending",
    JobState.PARTIAL: "partial",
    JobState.FAILED: "error",
    JobState.REJECTED: "error",
}
_END_TONES: dict[JobState, Tone] = {
    JobState.SUCCEEDED: "good",
    JobState.PENDING: "warning",
    JobState.PARTIAL: "bad",
    JobState.FAILED: "bad",
    JobState.REJECTED: "bad",
}


class BatchSummary:
    """What became of the jobs of a batch: counts, and the jobs that need another step.

    Args:
        job_count: Jobs of the command.
        waits: The command waits for their covers, and does not only submit them.

    Attributes:
        ends: How many jobs ended in each state.
    """

    def __init__(self, job_count: int, *, waits: bool = True) -> None:
        self._job_count = job_count
        self._waits = waits
        self.ends: Counter[str] = Counter()
        self._covers = 0
        self._failures: dict[int, list[Line]] = {}
        self._unnamed_failures = 0

    def add(self, event: JobEnded, name: str) -> None:
        """Take in one job that has ended."""
        self.ends[event.result.state] += 1
        self._covers += len(event.result.images)
        if event.result.error is None:
            return
        if len(self._failures) < _MAX_NAMED_FAILURES:
            self._failures[event.job] = _end_lines(name, event.result)
        else:
            self._unnamed_failures += 1

    def counts(self) -> list[str]:
        """Count the jobs that have ended by state. Those that were only to be submitted are that, not pending."""
        words = {} if self._waits else {JobState.PENDING: "submitted"}
        return [f"{self.ends[state]} {words.get(state, state)}" for state in JobState if self.ends[state]]

    def lines(self, elapsed_s: float) -> list[Line]:
        """Sum up: ``12 jobs: 11 succeeded, 1 failed; 22 covers in 1.4 s``, then the failed ones in their order."""
        left = self._job_count - self.ends.total()
        counts = [*self.counts(), *([f"{left} not ended"] if left else [])]
        wanted = JobState.SUCCEEDED if self._waits else JobState.PENDING
        is_good = self.ends[wanted] == self._job_count and not self._failures
        jobs, covers = format_count(self._job_count, "job"), format_count(self._covers, "cover")
        made = f"; {covers}" if self._waits else ""
        text = f"{jobs}: {', '.join(counts)}{made} in {format_duration(elapsed_s)}"
        total = Line("total", text, "good" if is_good else "warning")
        failures = [line for _, lines in sorted(self._failures.items()) for line in lines]
        if self._unnamed_failures:
            failures += [Line("", f"and {self._unnamed_failures} more; see them all with: suno-cover history")]
        return [total, *failures]


def _with_hint(line: Line, hint: str) -> list[Line]:
    return [line, Line("", clean(hint), line.tone)] if hint else [line]
