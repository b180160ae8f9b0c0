"""What happens while a job runs, as facts in the past tense. Sinks decide what to show of it.

``--events`` prints each as one JSON line, ``{"v": 1, "type": ..., "ts": <epoch seconds>, ...}``; the sink
stamps them. The reference's table of events is made of these classes, their first paragraphs included.
"""

from typing import Protocol

import msgspec

from suno_cover_cli.base.models import JobResult, SavedImage


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all events."""


class JobEvent(Event, frozen=True, kw_only=True):
    """Base of events that belong to one job. ``job`` counts from 1 in the order of the command line."""

    job: int
    music_task_id: str | None = None
    task_id: str | None = None


class JobStarted(JobEvent, frozen=True, kw_only=True, tag="job_started"):
    """A job is about to be submitted or waited for. ``name``: how the command calls it, as you typed it."""

    name: str = ""


class JobFound(JobEvent, frozen=True, kw_only=True, tag="job_found"):
    """A job that is asked for by its cover task id: this run submits nothing for it."""


class JobSubmitted(JobEvent, frozen=True, kw_only=True, tag="job_submitted"):
    """The cover task id of a music task is known.

    ``is_existing``: it was submitted before; ``callback``: the service can call.
    """

    is_existing: bool = False
    callback: bool = False


class JobPolled(JobEvent, frozen=True, kw_only=True, tag="job_polled"):
    """The service was read.

    ``next_s``: seconds until the next read, null after the last; ``images``: how many the record names.
    """

    state: str
    next_s: float | None = None
    images: int = 0


class CallbackReceived(JobEvent, frozen=True, kw_only=True, tag="callback_received"):
    """The service called. Its word counts once a read confirms it."""

    code: int
    message: str = ""
    signature: str = "unchecked"


class WokenUp(JobEvent, frozen=True, kw_only=True, tag="wake_up"):
    """A request that cannot be read as a callback came to the job's secret path, and the service is read once.

    ``reason`` says what was wrong with it; ``bytes`` is the size of its body.
    """

    reason: str
    bytes: int


class CallbackRejected(JobEvent, frozen=True, kw_only=True, tag="callback_rejected"):
    """A callback about something else came to a job's path; the service is still read once."""

    reason: str


class CallbackRefused(JobEvent, frozen=True, kw_only=True, tag="callback_refused"):
    """A callback came whose signature is not right: it was answered with 401 and wakes nothing.

    ``signature``: ``missing``, ``bad`` or ``stale``; ``reason`` says what is wrong with it. Of a job, ten at most.
    """

    signature: str
    reason: str


class ImageProgressed(JobEvent, frozen=True, kw_only=True, tag="image_progressed"):
    """Bytes of one image so far. ``total_bytes`` is null when the server does not say."""

    n: int
    received_bytes: int
    total_bytes: int | None = None


class ImageRetried(JobEvent, frozen=True, kw_only=True, tag="image_retried"):
    """A download attempt failed and another follows."""

    n: int
    reason: str


class ImageSaved(JobEvent, frozen=True, kw_only=True, tag="image_saved"):
    """A checked file is in place. ``is_existing``: it was there from an earlier run."""

    n: int
    image: SavedImage
    is_existing: bool = False


class ImageFailed(JobEvent, frozen=True, kw_only=True, tag="image_failed"):
    """An image could not be saved."""

    n: int
    url: str
    error: str


class JobEnded(JobEvent, frozen=True, kw_only=True, tag="job_ended"):
    """The job is over for this run; printed as the job object."""

    result: JobResult


class TunnelOpened(Event, frozen=True, kw_only=True, tag="tunnel_opened"):
    """A probe came back through ``url``. ``inspector`` is the agent's local page, when it has one."""

    url: str
    inspector: str | None = None


class TunnelFailed(Event, frozen=True, kw_only=True, tag="tunnel_failed"):
    """There is no tunnel: jobs are polled, unless a callback is required.

    ``is_expected``: nothing failed, no tunnel has been set up, which is a normal way to work.
    """

    code: str
    message: str
    hint: str = ""
    is_expected: bool = False


class TunnelLost(Event, frozen=True, kw_only=True, tag="tunnel_lost"):
    """The tunnel dropped while jobs were waiting; they are read at once."""

    reason: str


class TunnelRestored(Event, frozen=True, kw_only=True, tag="tunnel_restored"):
    """The tunnel works again."""

    url: str


class RequestRetried(Event, frozen=True, kw_only=True, tag="request_retried"):
    """A call to the service failed and will be repeated in ``delay_s`` seconds."""

    call: str
    reason: str
    delay_s: float


class NoteRaised(Event, frozen=True, kw_only=True, tag="note"):
    """Something worth a line, with nothing wrong about it."""

    code: str
    message: str
    hint: str = ""


class WarningRaised(Event, frozen=True, kw_only=True, tag="warning"):
    """Something you should know that stops nothing."""

    code: str
    message: str
    hint: str = ""


class Sink(Protocol):
    """Where events go. ``emit`` must not block and must not raise."""

    def emit(self, event: Event) -> None:
        """Take one event."""
        ...


class NullSink:
    """A sink that drops everything."""

    def emit(self, event: Event) -> None:
        """Drop the event."""
