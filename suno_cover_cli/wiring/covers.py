"""Covers in the journal: as the commands of a release name them, and as the gallery asks for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import ImageError, UsageError
from suno_cover_cli.base.models import Picked
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.history import JobHistory, RowFilter, Stamp, links_expire_at
from suno_cover_cli.journal.picks import OvertakenError, PickStore
from suno_cover_cli.journal.rows import JobRow
from suno_cover_cli.journal.run_locks import RunLocks
from suno_cover_cli.options.groups import ProfileOptions
from suno_cover_cli.release.choosing import Source, find_job, find_picked, is_file_name, path_of, variants_of
from suno_cover_cli.release.marks import marks_of
from suno_cover_cli.web.covers import Changes, Cover, Job, PickConflictError
from suno_cover_cli.wiring.context import Context

_WITH_COVERS = RowFilter(has_covers=True)


class CoverJournal(msgspec.Struct, frozen=True):
    """Jobs and choices, open for reading and writing, for the commands from a cover to a release."""

    jobs: JobHistory
    picks: PickStore
    seen: Callable[[Path], Path]

    async def find_source(self, word: str) -> Source:
        """Return the picture that an argument means: a file, or the picked cover of a job.

        Raises:
            SunoCoverError: See :func:`~suno_cover_cli.release.choosing.find_picked`.
        """
        if "://" not in word and await asyncio.to_thread(is_file_name, word):
            return Source(path=Path(word))
        source = await find_picked(self.jobs, word)
        return msgspec.structs.replace(source, path=self.seen(source.path))

    async def find_twin(self, source: Source, sha256: str) -> str:
        """Say that another job has the same picture; empty when none does, or none is asked about."""
        if source.row is None:
            return ""
        twin = await self.picks.find_twin(source.row, sha256)
        if twin is None:
            return ""
        return f"the same picture belongs to {clean(twin, 128)} too: stores refuse one cover for several releases"


@asynccontextmanager
async def open_covers(context: Context, state_dir: Path) -> AsyncIterator[CoverJournal]:
    """Open the journal.

    Raises:
        DatabaseError: It cannot be used.
        UsageError: A newer version of the program wrote it.
    """
    async with context.open_journal(state_dir) as database:
        jobs = JobHistory(database, RunLocks(state_dir / "runs"))
        yield CoverJournal(jobs, PickStore(database, clock=context.clock), context.output.seen)


def state_folder_of(context: Context) -> Path:
    """Return the folder of the journal. Blocks: it reads the settings file.

    Raises:
        UsageError: A setting that cannot be.
    """
    settings, _ = context.settings(ProfileOptions())
    return settings.state_dir


class JournalJobs:
    """Jobs of the journal; see :class:`~suno_cover_cli.web.covers.JobSource`. Made by :meth:`open`.

    Args:
        database: The journal's, entered.
        state_dir: Its folder.
        clock: Stamps choices.
    """

    def __init__(self, database: Database, state_dir: Path, *, clock: Clock) -> None:
        self._history = JobHistory(database, RunLocks(state_dir / "runs"))
        self._picks = PickStore(database, clock=clock)
        # Rows that were named; ``None``: all there are, also those to come.
        self._named: frozenset[int] | None = None
        self._stamps: dict[int, Stamp] = {}
        self._writes = 0
        # What this process picks has to be in the stamps before they are held against the journal.
        self._stamping = asyncio.Lock()

    async def open(self, task_ids: Iterable[str]) -> None:
        """Find the jobs that are meant: those of some music or cover task ids, or all when none is given.

        Raises:
            UsageError: An id is not known, or its job has no covers.
            DatabaseError: The journal cannot be used.
        """
        rows = [await find_job(self._history, task_id) for task_id in dict.fromkeys(task_ids)]
        if rows:
            self._named = frozenset(row.id for row in rows)
        self._writes = await self._history.look_for_writes()
        self._stamps = await self._load_stamps()

    async def _load_stamps(self) -> dict[int, Stamp]:
        stamps = await self._history.stamps(_WITH_COVERS)
        return {row_id: stamp for row_id, stamp in stamps.items() if self._named is None or row_id in self._named}

    @property
    def count(self) -> int:
        """How many jobs there are."""
        return len(self._stamps)

    async def load(self, *, before: int | None, limit: int) -> Sequence[Job]:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        below = 2**62 if before is None else min(before, 2**62)
        if self._named is None:
            return [_job_of(row) async for row in self._history.find(_WITH_COVERS, limit=limit, below=below)]
        wanted = sorted((row_id for row_id in self._named if row_id < below), reverse=True)[:limit]
        found = [await self.find(row_id) for row_id in wanted]
        return [job for job in found if job is not None]

    async def find(self, job_id: int) -> Job | None:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        row = await self._find_row(job_id)
        return None if row is None else _job_of(row)

    async def _find_row(self, job_id: int) -> JobRow | None:
        if job_id >= 2**62 or (self._named is not None and job_id not in self._named):
            return None
        async for row in self._history.find(_WITH_COVERS, limit=1, below=job_id + 1):
            return row if row.id == job_id else None
        return None

    async def look_for_changes(self) -> Changes:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        async with self._stamping:
            return await self._look_for_changes()

    async def _look_for_changes(self) -> Changes:
        writes = await self._history.look_for_writes()
        if writes == self._writes:
            return Changes()
        before, self._writes = self._stamps, writes
        self._stamps = await self._load_stamps()
        changed = [row_id for row_id, stamp in self._stamps.items() if before.get(row_id) != stamp]
        found = [await self.find(row_id) for row_id in changed]
        return Changes(
            jobs=[job for job in found if job is not None],
            decided=frozenset(row_id for row_id in changed if _choice(before.get(row_id)) != self._choice(row_id)),
            gone=[row_id for row_id in before if row_id not in self._stamps],
        )

    def _choice(self, row_id: int) -> tuple[object, ...]:
        return _choice(self._stamps.get(row_id))

    async def count_undecided(self) -> int:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        return sum(stamp.picked_at is None for stamp in self._stamps.values())

    async def pick(self, job: Job, picked: Picked, *, was: Picked) -> None:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        async with self._stamping:
            await self._pick(job, picked, was=was)

    async def _pick(self, job: Job, picked: Picked, *, was: Picked) -> None:
        row = await self._find_row(job.id)
        if row is None:
            raise UsageError(f"the journal knows no job {job.task_id} any more", code="unknown_job")
        try:
            if picked is None:
                await self._picks.clear(row, was=was)
                pick = None
            elif picked == "none":
                pick = await self._picks.record_none(row, was=was)
            else:
                cover = next(cover for cover in job.covers if cover.n == picked)
                pick = await self._picks.record(row, picked, path=cover.path, sha256=cover.sha256, was=was)
        except OvertakenError as error:
            raise PickConflictError(error.picked) from None
        if (stamp := self._stamps.get(row.id)) is not None:
            picked_at, n = (None, None) if pick is None else (pick.picked_at, pick.n)
            self._stamps[row.id] = stamp._replace(picked_at=picked_at, n=n)


def read_marks(content: bytes) -> list[str]:
    """Say in words which labels and credentials a picture file carries."""
    try:
        marks = marks_of(BytesIO(content)).found
    except ImageError:
        return []
    # That there is XMP or EXIF at all is not news for a user who looks at pictures.
    return [mark.describe() for mark in marks if mark.kind in {"digital_source_type", "aigc", "c2pa"}]


def _choice(stamp: Stamp | None) -> tuple[object, ...]:
    return (None, None) if stamp is None else (stamp.picked_at, stamp.n)


def _job_of(row: JobRow) -> Job:
    return Job(
        id=row.id,
        task_id=row.task_id or "",
        music_task_id=row.music_task_id,
        title=row.result.title if row.result is not None else None,
        covers=_covers_of(row),
        picked=None if row.pick is None else row.pick.picked,
        is_sandbox=row.is_of_sandbox,
        created_at=row.created_at,
        links_expire_at=links_expire_at(row),
    )


def _covers_of(row: JobRow) -> tuple[Cover, ...]:
    return tuple(
        Cover(
            n=n,
            path=str(path_of(row, image)),
            size_bytes=image.bytes,
            width=image.width,
            height=image.height,
            sha256=image.sha256,
        )
        for n, image in sorted(variants_of(row).items())
    )
