"""What a job needs of the adapters, which this layer does not import: commands hand the real ones in."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypedDict

from suno_cover_cli.base.models import JobRecord, JobResult, SavedImage, Submission
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.journal.rows import Claim, JobRow, Recorded


class CoverService(Protocol):
    """The service; see :mod:`suno_cover_cli.service.api`."""

    trouble: str

    async def submit(self, music_task_id: str, callback_url: str) -> Submission:
        """Ask for a cover."""
        ...

    async def fetch_job(self, task_id: str) -> JobRecord:
        """Read a job once."""
        ...

    async def fetch_title(self, music_task_id: str) -> str | None:
        """Read the title of a piece of music."""
        ...


class JobIds(TypedDict):
    """What every event of a job says: its number in the command, and its ids as far as they are known."""

    job: int
    music_task_id: str | None
    task_id: str | None


class Inbox(Protocol):
    """Where the callbacks of one job arrive; see :mod:`suno_cover_cli.callbacks.exchanges`.

    Attributes:
        path: Secret path of its own on the listener.
        on_refused: Told of each callback that a signature refused.
    """

    path: str
    on_refused: Callable[[ReceivedRequest], None]

    async def receive(self) -> ReceivedRequest:
        """Return the next request that wakes the job, a callback or not."""
        ...

    def close(self) -> None:
        """Answer 404 from now on."""
        ...


class Channel(Protocol):
    """Listener and tunnel together; see :mod:`suno_cover_cli.tunnels.channel`."""

    async def wait_open(self) -> str | None:
        """Return the public URL, or ``None`` when there is none."""
        ...

    async def wait_lost(self) -> str:
        """Return the reason once the open channel is lost."""
        ...

    async def wait_restored(self) -> str | None:
        """Return the public URL once a lost channel is back, or ``None`` once that is given up."""
        ...


class ImageSaver(Protocol):
    """The downloader; see :mod:`suno_cover_cli.images.downloader`."""

    async def save(
        self,
        url: str,
        folder: Path,
        stem: str,
        *,
        overwrite: bool = False,
        on_progress: Callable[[int, int | None], None] | None = None,
        on_retry: Callable[[str], None] | None = None,
        turn: AbstractAsyncContextManager[object] | None = None,
    ) -> SavedImage:
        """Save one checked image."""
        ...

    async def find_saved(self, folder: Path, stem: str, url: str) -> SavedImage | None:
        """Return a whole image that is already there."""
        ...


AddLabel = Callable[[SavedImage], tuple[SavedImage, str]]
"""Adds the AI label to a saved file. Blocks. Returns the file as it stands then, and why nothing was added."""


class JobJournal(Protocol):
    """The journal; see :mod:`suno_cover_cli.journal.journal`."""

    async def enqueue(self, rows: Iterable[JobRow]) -> None:
        """Write jobs down whose turn has not come."""
        ...

    async def claim(self, wanted: JobRow) -> Claim:
        """Take or make a job."""
        ...

    async def wait_released(self, job_id: int) -> None:
        """Wait until no live run holds the job."""
        ...

    async def record_submitted(self, row: JobRow, task_id: str) -> Recorded:
        """Write the cover task id down."""
        ...

    async def record_end(
        self, row: JobRow, result: JobResult, completed_at: float | None, *, key_mark: str | None = None
    ) -> dict[str, str]:
        """Write down what came of this run of the job; tell which of its images another job has too."""
        ...

    async def find_task_id(self, row: JobRow) -> str | None:
        """Return a cover task id that an earlier run was given for the music task, other than the row's own."""
        ...
