"""Looking back: what the journal says of jobs, and what of it may be forgotten."""

import sqlite3
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec

from suno_cover_cli.base.providers import LINKS_LIVE_S
from suno_cover_cli.base.settings import Retention
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.opening import JournalConnection, give_back_pages
from suno_cover_cli.journal.reading import SELECT_JOBS, read_jobs
from suno_cover_cli.journal.rows import JobRow, RowState
from suno_cover_cli.journal.run_locks import RunLocks

_PAGE = 500
# A step that others wait behind, done again and again: what one leaves, the next one takes.
_FORGOTTEN_AT_ONCE = 1000
# Ids grow with time, so what is old comes first: what is young ends the search. Picked jobs that are passed on the
# way cost a look each.
_FORGET_OLD = (
    "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs"
    " WHERE id < max(coalesce((SELECT id FROM jobs WHERE created_at >= ? ORDER BY id LIMIT 1), 1 << 62),"
    " (SELECT max(id) FROM jobs) - ? + 1)"
    " AND state IN ('succeeded', 'failed', 'rejected') AND owner IS NULL"
    " AND (updated_at < ? OR id <= (SELECT max(id) FROM jobs) - ?)"
    " AND NOT EXISTS (SELECT 1 FROM picks WHERE task_id = jobs.task_id AND service = jobs.service)"
    " ORDER BY id LIMIT ?)"
)
# Counts commits of other connections (https://www.sqlite.org/pragma.html#pragma_data_version).
_WRITES = "PRAGMA data_version"
_HAS_PICK = "EXISTS (SELECT 1 FROM picks WHERE service = jobs.service AND task_id = jobs.task_id)"
_HAS_COVERS = (
    "EXISTS (SELECT 1 FROM images WHERE job_id = jobs.id) AND NOT EXISTS (SELECT 1 FROM jobs AS later"
    " WHERE later.task_id = jobs.task_id AND later.service = jobs.service AND later.id > jobs.id"
    " AND EXISTS (SELECT 1 FROM images WHERE job_id = later.id))"
)

# By the service's clock and ours; what they disagree on by hours says nothing.
_FIND_DURATIONS = (
    "SELECT completed_at - submitted_at AS duration FROM jobs WHERE service = ? AND state = 'succeeded'"
    " AND duration BETWEEN 0.5 AND 3600 ORDER BY id DESC LIMIT 25"
)
_LEAST_DURATIONS = 3


class RowFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are meant; what is ``None`` or empty does not matter.

    Attributes:
        states: Any of these.
        task_id: Music or cover task id.
        is_sandbox: Of a sandbox, or of any other service; see :func:`~journal.rows.is_sandbox_service`.
        changed_before: Epoch seconds; rows that have not changed since.
        is_decided: Whether a variant was chosen, or all were rejected.
        has_covers: Only jobs of which covers were saved, each cover task once; whether the files are
            still there is another question.
        cover_sha256: Only jobs with a cover that had this checksum when it was saved, in hex.
    """

    states: frozenset[RowState] = frozenset()
    task_id: str | None = None
    is_sandbox: bool | None = None
    changed_before: float | None = None
    is_decided: bool | None = None
    has_covers: bool = False
    cover_sha256: str | None = None

    def sql(self) -> tuple[str, list[Any]]:
        """Return a condition and its values."""
        terms, values = ["1"], list[Any]()
        if self.states:
            terms.append(f"state IN ({', '.join('?' * len(self.states))})")
            values += sorted(self.states)
        if self.task_id is not None:
            terms.append("(music_task_id = ? OR task_id = ?)")
            values += [self.task_id, self.task_id]
        if self.is_sandbox is not None:
            terms.append(f"{'' if self.is_sandbox else 'NOT '}is_sandbox(service)")
        if self.changed_before is not None:
            terms.append("updated_at <= ?")
            values.append(self.changed_before)
        if self.is_decided is not None:
            terms.append(f"{'' if self.is_decided else 'NOT '}{_HAS_PICK}")
        if self.has_covers:
            terms.append(_HAS_COVERS)
        if self.cover_sha256 is not None:
            terms.append("id IN (SELECT job_id FROM images WHERE sha256 = ?)")
            values.append(self.cover_sha256)
        return " AND ".join(terms), values


class Stamp(NamedTuple):
    """When a row last changed, when its job was decided on, and for which variant."""

    updated_at: float
    picked_at: float | None
    n: int | None


class JobHistory:
    """The journal as a person looks at it.

    Args:
        database: Open.
        locks: Tell which jobs are being run.
    """

    def __init__(self, database: Database, locks: RunLocks) -> None:
        self._database = database
        self._locks = locks

    async def find(
        self, wanted: RowFilter, *, limit: int | None = None, below: int = 2**62
    ) -> AsyncIterator[JobRow]:
        """Yield jobs, newest first, a page at a time: a hundred thousand of them fit on no heap.

        Args:
            wanted: Which.
            limit: How many at most.
            below: Only rows with smaller ids.

        Raises:
            DatabaseError: The journal cannot be used.
        """
        condition, values = wanted.sql()
        query = f"{SELECT_JOBS} WHERE {condition} AND id < ? ORDER BY id DESC LIMIT ?"
        before, left = below, limit
        while left is None or left > 0:
            page = await self._fetch(query, [*values, before, min(_PAGE, left or _PAGE)])
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            before = page[-1].id
            left = None if left is None else left - len(page)

    async def find_job(self, task_id: str) -> JobRow | None:
        """Return the job that a music or cover task id means, its pick included, or ``None``.

        Of several it is the newest that has covers: a music task may have been submitted again without success.
        Without any covers it is the newest.

        Raises:
            DatabaseError: The journal cannot be used.
        """
        for wanted in (RowFilter(task_id=task_id, has_covers=True), RowFilter(task_id=task_id)):
            async for row in self.find(wanted, limit=1):
                return row
        return None

    async def _fetch(self, query: str, values: list[Any]) -> list[JobRow]:
        def operation(connection: JournalConnection) -> list[JobRow]:
            return read_jobs(connection, query, values)

        return await self._database.run(operation)

    async def look_for_writes(self) -> int:
        """Return a number that is another one once another process has written into the journal.

        Raises:
            DatabaseError: The journal cannot be used.
        """
        return await self._database.run(lambda connection: int(connection.execute(_WRITES).fetchone()[0]))

    async def stamps(self, wanted: RowFilter) -> dict[int, Stamp]:
        """Return for each job by its id what is otherwise once it has changed: much less than its row.

        Raises:
            DatabaseError: The journal cannot be used.
        """
        condition, values = wanted.sql()

        def operation(connection: sqlite3.Connection) -> dict[int, Stamp]:
            query = (
                "SELECT id, updated_at, picked_at, n FROM jobs LEFT JOIN picks USING (service, task_id)"  # noqa: S608 -- made of constants and question marks
                f" WHERE {condition}"
            )
            return {found[0]: Stamp(*found[1:]) for found in connection.execute(query, values)}

        return await self._database.run(operation)

    async def count(self, wanted: RowFilter) -> int:
        """Count jobs.

        Raises:
            DatabaseError: The journal cannot be used.
        """
        condition, values = wanted.sql()

        def operation(connection: sqlite3.Connection) -> int:
            query = f"SELECT count(*) FROM jobs WHERE {condition}"  # noqa: S608 -- made of constants and question marks
            return int(connection.execute(query, values).fetchone()[0])

        return await self._database.run(operation)

    async def count_expiring(self, *, now: float, within_s: float) -> int:
        """Count jobs whose covers are not all saved and whose links expire in less than ``within_s`` seconds.

        Raises:
            DatabaseError: The journal cannot be used.
        """

        def operation(connection: sqlite3.Connection) -> int:
            query = (
                "SELECT count(*) FROM jobs WHERE state IN ('submitted', 'partial')"
                " AND coalesce(completed_at, submitted_at, created_at) BETWEEN ? AND ?"
            )
            born = (now - LINKS_LIVE_S, now - LINKS_LIVE_S + within_s)
            return int(connection.execute(query, born).fetchone()[0])

        return await self._database.run(operation)

    async def prune(self, wanted: RowFilter) -> int:
        """Forget jobs, but none that a live run holds; return how many.

        Raises:
            DatabaseError: The journal cannot be used.
        """
        condition, values = wanted.sql()

        def operation(connection: sqlite3.Connection) -> int:
            owners = connection.execute("SELECT DISTINCT owner FROM jobs WHERE owner IS NOT NULL").fetchall()
            living = [owner for (owner,) in owners if self._locks.is_alive(owner)]
            spared = f"coalesce(owner, '') NOT IN ({', '.join('?' * len(living))})"
            return connection.execute(
                f"DELETE FROM jobs WHERE {condition} AND {spared}",  # noqa: S608 -- made of constants and question marks
                [*values, *living],
            ).rowcount

        return await self._database.run(operation)


def links_expire_at(row: JobRow) -> float | None:
    """Return when the service forgets a job's images, in epoch seconds; ``None`` when it never had any."""
    if row.state in {RowState.QUEUED, RowState.SUBMITTING, RowState.FAILED, RowState.REJECTED}:
        return None
    born = row.completed_at or row.submitted_at or row.created_at
    return born + LINKS_LIVE_S


def usual_duration_s(service: str, connection: JournalConnection) -> float | None:
    """Return the median of how many seconds the newest jobs at a service took; ``None`` for too few. Blocks."""
    durations = sorted(float(duration_s) for (duration_s,) in connection.execute(_FIND_DURATIONS, (service,)))
    return durations[len(durations) // 2] if len(durations) >= _LEAST_DURATIONS else None


def forget_old(now: float, retention: Retention, connection: sqlite3.Connection) -> None:
    """Keep the journal of years bounded: jobs that ended long ago go, none unfinished or picked from.

    Args:
        now: Epoch seconds.
        retention: What stays.
        connection: In a transaction.
    """
    oldest = retention.oldest(now)
    connection.execute(_FORGET_OLD, (oldest, retention.jobs, oldest, retention.jobs, _FORGOTTEN_AT_ONCE))
    give_back_pages(connection)
