"""Rows, results and journals for the tests of the journal."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec

from suno_cover_cli.base.events import Event, WarningRaised
from suno_cover_cli.base.models import JobResult, JobState, SavedImage
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.rows import JobOptions, JobRow, RowState
from tests.clocks import ScaledClock

T = TypeVar("T", bound=Event)


class Listening:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()

    def emit(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[Event], count: int = 1) -> None:
        """Wait until so many events of a kind were heard."""
        async with asyncio.timeout(10):
            while len(self.of(kind)) < count:
                self._changed.clear()
                await self._changed.wait()

    @property
    def warnings(self) -> list[WarningRaised]:
        """The warnings among them."""
        return self.of(WarningRaised)


def music(name: str, **more: object) -> JobRow:
    """Describe a job to be submitted."""
    row = JobRow(
        id=0,
        service="https://service.test",
        provider="sunoapi",
        music_task_id=name,
        task_id=None,
        state=RowState.SUBMITTING,
        output="/covers",
        options=JobOptions(),
    )
    return msgspec.structs.replace(row, **more)


def cover(task_id: str) -> JobRow:
    """Describe a job to be waited for."""
    return music("", music_task_id=None, task_id=task_id, state=RowState.SUBMITTED)


def ended(
    state: JobState, task_id: str | None = None, *hashes: str, music_task_id: str | None = None
) -> JobResult:
    """Make the job object of a run that ended."""
    images = tuple(
        SavedImage(url="u", path=f"p{n}", bytes=1, format="png", width=1, height=1, sha256=sha256)
        for n, sha256 in enumerate(hashes, 1)
    )
    return JobResult(state=state, task_id=task_id, images=images, music_task_id=music_task_id)


@contextlib.asynccontextmanager
async def journal_in(
    folder: Path, sink: Listening | None = None, *, required: bool = False
) -> AsyncIterator[Journal]:
    """Open a journal, as one process would."""
    journal = Journal(folder, clock=ScaledClock(20), sink=sink or Listening(), required=required)
    async with journal:
        yield journal


def rows_in(folder: Path) -> list[tuple[str, str | None, str | None]]:
    """Read state, cover task and owner of every job with plain SQLite."""
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite3")) as connection:
        return connection.execute("SELECT state, task_id, owner FROM jobs ORDER BY id").fetchall()
