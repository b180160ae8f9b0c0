"""Which variant of a job was chosen: kept with the job in the journal, found again by every later run.

A choice belongs to a cover task of a service. There are three cases: a variant was chosen (:class:`Pick` with its
number, file and hash), none of them will do (:class:`Pick` with ``n`` ``None``), or it is open (no pick at all).
Every :class:`~suno_cover_cli.journal.rows.JobRow` brings its own as ``row.pick``; here choices are changed::

    async with Database(state_dir / JOURNAL_NAME) as database:
        history = JobHistory(database, RunLocks(state_dir / "runs"))
        picks = PickStore(database, clock=clock)
        row = await history.find_job(task_id)  # music or cover task id
        if row is not None and row.pick is None:
            await picks.record(row, 2, path=path, sha256=sha256)
        async for row in history.find(RowFilter(has_covers=True, is_decided=True)):
            ...

Any number of processes may do so at once; the last choice counts. A choice goes when the last row of its job is
pruned.
"""

import sqlite3
from types import EllipsisType

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import Picked
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.reading import PICK_COLUMNS, pick_of
from suno_cover_cli.journal.rows import JobRow, Pick, path_cell

_RECORD = (
    "INSERT OR REPLACE INTO picks (service, task_id, picked_at, n, path, sha256)"
    " SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM jobs WHERE service = ? AND task_id = ?)"
)
_FIND_TWIN = (
    "SELECT jobs.task_id FROM images JOIN jobs ON jobs.id = images.job_id"
    " WHERE images.sha256 = ? AND jobs.task_id <> ? ORDER BY jobs.id DESC LIMIT 1"
)
_FIND = f"SELECT {PICK_COLUMNS} FROM picks WHERE service = ? AND task_id = ?"  # noqa: S608 -- a constant


class OvertakenError(Exception):
    """Another choice counts by now than the one that was to be replaced.

    Attributes:
        picked: The choice that counts.
    """

    def __init__(self, picked: Picked) -> None:
        super().__init__("decided elsewhere meanwhile")
        self.picked = picked


class PickStore:
    """The choices of the journal. What returns is on disk.

    Args:
        database: The journal's, entered.
        clock: Stamps choices.
    """

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def record(
        self, row: JobRow, n: int, *, path: str, sha256: str, was: Picked | EllipsisType = ...
    ) -> Pick:
        """Choose a variant of a job; an earlier choice is replaced.

        Args:
            row: Any row of the job.
            n: The variant, counted from 1 as in the service's list.
            path: Its file, absolute.
            sha256: Of that file as it is now, in hex.
            was: The choice that is to be replaced; when another one counts by now, nothing is.

        Raises:
            UsageError: The journal does not know the job (any more), or the service never had it.
            OvertakenError: Another choice counts than the one to be replaced.
            DatabaseError: It is not on disk.
        """
        if n < 1:
            raise ValueError("variants are counted from 1")
        return await self._record(row, Pick(n=n, path=path, sha256=sha256, picked_at=self._clock.time()), was)

    async def record_none(self, row: JobRow, *, was: Picked | EllipsisType = ...) -> Pick:
        """Decide that no variant of a job will do; an earlier choice is replaced.

        Raises:
            UsageError: As with :meth:`record`.
            OvertakenError: As with :meth:`record`.
            DatabaseError: It is not on disk.
        """
        return await self._record(row, Pick(n=None, picked_at=self._clock.time()), was)

    async def _record(self, row: JobRow, pick: Pick, was: Picked | EllipsisType) -> Pick:
        path = None if pick.path is None else path_cell(pick.path)
        values = (row.service, row.task_id, pick.picked_at, pick.n, path, pick.sha256)

        def operation(connection: sqlite3.Connection) -> bool:
            _refuse_overtaken(connection, row, was)
            return connection.execute(_RECORD, (*values, *values[:2])).rowcount == 1

        if not await self._database.run(operation):
            raise UsageError(
                f'the journal knows no job "{clean(row.task_id or row.music_task_id, 128)}" that has covers',
                code="unknown_job",
                hint="suno-cover history lists those it knows.",
            )
        return pick

    async def clear(self, row: JobRow, *, was: Picked | EllipsisType = ...) -> Pick | None:
        """Take a choice back; return what it was, ``None`` when there was none.

        Raises:
            OvertakenError: As with :meth:`record`.
            DatabaseError: The choice is still there.
        """

        def operation(connection: sqlite3.Connection) -> Pick | None:
            _refuse_overtaken(connection, row, was)
            key = (row.service, row.task_id)
            found = connection.execute(_FIND, key).fetchone()
            connection.execute("DELETE FROM picks WHERE service = ? AND task_id = ?", key)
            return None if found is None else pick_of(found)

        return await self._database.run(operation)

    async def find(self, row: JobRow) -> Pick | None:
        """Read the choice anew: another process may have decided since the row was read.

        Raises:
            DatabaseError: The journal cannot be used.
        """

        def operation(connection: sqlite3.Connection) -> Pick | None:
            found = connection.execute(_FIND, (row.service, row.task_id)).fetchone()
            return None if found is None else pick_of(found)

        return await self._database.run(operation)

    async def find_twin(self, row: JobRow, sha256: str) -> str | None:
        """Return the cover task id of another job that has the same picture, byte for byte.

        Raises:
            DatabaseError: The journal cannot be used.
        """

        def operation(connection: sqlite3.Connection) -> str | None:
            found = connection.execute(_FIND_TWIN, (sha256, row.task_id)).fetchone()
            return None if found is None else str(found[0])

        return await self._database.run(operation)


def _refuse_overtaken(connection: sqlite3.Connection, row: JobRow, was: Picked | EllipsisType) -> None:
    if was is ...:
        return
    found = connection.execute(_FIND, (row.service, row.task_id)).fetchone()
    pick = None if found is None else pick_of(found)
    picked = None if pick is None else pick.picked
    if picked != was:
        raise OvertakenError(picked)
