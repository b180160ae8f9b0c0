"""The record of jobs (users say history): who owns which job, how far it got, what came of it.

A row exists before the service hears of a job. Every write is on disk when its call returns. A row is owned by
the run that works on it; a run is alive as long as it holds its lock file, which the system frees with the
process however that ends.
"""

import asyncio
import secrets
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from filelock import FileLock, Timeout

from suno_cover_cli.clock import Clock
from suno_cover_cli.database import Database, DatabaseError, Operation, T
from suno_cover_cli.events import Sink, WarningRaised
from suno_cover_cli.journal_rows import Claim, JobOptions, JobRow, RowState
from suno_cover_cli.models import JobResult, JobState

_BUSY_POLL_S = 1.0
_COLUMNS = (
    "id, service, provider, music_task_id, task_id, state, output, options, result, owner,"
    " created_at, submitted_at, completed_at"
)


class Journal:
    """Jobs of one user on one machine, safe with several processes at once.

    An async context manager. When the file cannot be used it says so through the sink, together with what
    would have been kept, and the job goes on; with ``required=True`` (``resume``, ``history``) it raises.

    Args:
        state_dir: Folder of the journal and of run locks.
        clock: Time.
        sink: Hears warnings.
        required: Whether a journal that cannot be used is an error.
    """

    def __init__(self, state_dir: Path, *, clock: Clock, sink: Sink, required: bool = False) -> None:
        self._runs_dir = state_dir / "runs"
        self.database = Database(state_dir / "journal.sqlite3")
        self._clock = clock
        self._sink = sink
        self._required = required
        self._run = secrets.token_hex(8)
        self._is_usable = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.database)
                lock = await asyncio.to_thread(self._take_run_lock)
            except (DatabaseError, OSError) as error:
                if self._required:
                    raise
                message = error.message if isinstance(error, DatabaseError) else str(error)
                self._warn(message, "Jobs of this run are not written down: keep the ids that are printed.")
            else:
                stack.push_async_callback(asyncio.to_thread, self._drop_run_lock, lock)
                self._is_usable = True
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_usable:
            await self._write("release", self._release_all, None)
        await self._stack.aclose()

    # --- claims -----------------------------------------------------------------------------------

    async def claim_music(self, row: JobRow) -> Claim:
        """Take the job of a music task, or make it. ``row`` says what a new one looks like.

        A job that failed or was rejected is made anew; any other is gone on with, whoever began it.
        """

        def operation(connection: sqlite3.Connection) -> Claim:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE service = ? AND music_task_id = ? ORDER BY id DESC LIMIT 1",  # noqa: S608 -- a constant
                (row.service, row.music_task_id),
            ).fetchone()
            return self._claim_found(connection, found, row)

        return await self._write(f"job of music task {row.music_task_id}", operation, Claim(row=row))

    async def claim_cover(self, row: JobRow) -> Claim:
        """Take a job by its cover task id, or make a row for it."""

        def operation(connection: sqlite3.Connection) -> Claim:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE service = ? AND task_id = ? ORDER BY id DESC LIMIT 1",  # noqa: S608 -- a constant
                (row.service, row.task_id),
            ).fetchone()
            return self._claim_found(connection, found, row)

        return await self._write(f"cover task {row.task_id}", operation, Claim(row=row))

    def _claim_found(self, connection: sqlite3.Connection, found: Any, wanted: JobRow) -> Claim:
        row = _row_of(found) if found is not None else None
        if row is None or row.state in {RowState.FAILED, RowState.REJECTED}:
            return Claim(row=self._insert(connection, wanted))
        if row.owner is not None and row.owner != self._run and self._is_alive(row.owner):
            return Claim(row=row, is_busy=True)
        connection.execute(
            "UPDATE jobs SET owner = ?, output = ?, options = ?, updated_at = ? WHERE id = ?",
            (self._run, wanted.output, _json(wanted.options), self._clock.time(), row.id),
        )
        return Claim(row=msgspec.structs.replace(row, output=wanted.output, options=wanted.options))

    def _insert(self, connection: sqlite3.Connection, row: JobRow) -> JobRow:
        now = self._clock.time()
        cursor = connection.execute(
            "INSERT INTO jobs (service, provider, music_task_id, task_id, state, output, options, owner,"
            " created_at, submitted_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.service,
                row.provider,
                row.music_task_id,
                row.task_id,
                row.state,
                row.output,
                _json(row.options),
                self._run,
                now,
                row.submitted_at,
                now,
            ),
        )
        return msgspec.structs.replace(row, id=cursor.lastrowid or 0, created_at=now, owner=self._run)

    async def claim_unfinished(self) -> list[Claim]:
        """Take every job that is not at its end and that no live run holds, oldest first.

        Jobs that a live run holds are in the list too, marked busy.
        """

        def operation(connection: sqlite3.Connection) -> list[Claim]:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state IN ('submitting', 'submitted', 'partial') ORDER BY id"  # noqa: S608 -- a constant
            ).fetchall()
            claims, alive = [], {self._run: False}
            for row in map(_row_of, found):
                if row.owner is not None and row.owner not in alive:
                    alive[row.owner] = self._is_alive(row.owner)
                if row.owner is not None and alive[row.owner]:
                    claims.append(Claim(row=row, is_busy=True))
                    continue
                connection.execute("UPDATE jobs SET owner = ? WHERE id = ?", (self._run, row.id))
                claims.append(Claim(row=row))
            return claims

        return await self.database.run(operation)

    async def wait_released(self, job_id: int) -> None:
        """Wait until no live run holds the job; looks once a second."""

        def operation(connection: sqlite3.Connection) -> bool:
            found = connection.execute("SELECT owner FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return found is None or found[0] is None or not self._is_alive(found[0])

        while not await self.database.run(operation):
            await self._clock.sleep(_BUSY_POLL_S)

    # --- steps ------------------------------------------------------------------------------------

    async def record_submitted(self, row: JobRow, task_id: str) -> JobRow:
        """Write the cover task id down, the moment it is known."""
        now = self._clock.time()

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE jobs SET task_id = ?, state = ?, submitted_at = ?, updated_at = ? WHERE id = ?",
                (task_id, RowState.SUBMITTED, now, now, row.id),
            )

        if row.id:
            await self._write(f"music task {row.music_task_id} -> cover task {task_id}", operation, None)
        return msgspec.structs.replace(row, task_id=task_id, state=RowState.SUBMITTED, submitted_at=now)

    async def record_end(self, row: JobRow, result: JobResult, completed_at: float | None) -> None:
        """Write what came of a run of the job, and let go of it.

        A pending result leaves the state as it is: a restart goes on from there.
        """
        state = row.state if result.state is JobState.PENDING else RowState(result.state.value)
        now = self._clock.time()

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE jobs SET state = ?, code = ?, message = ?, result = ?, owner = NULL, updated_at = ?,"
                " music_task_id = coalesce(music_task_id, ?), completed_at = coalesce(?, completed_at)"
                " WHERE id = ?",
                (
                    state,
                    result.code,
                    result.message,
                    _json(result),
                    now,
                    result.music_task_id,
                    completed_at,
                    row.id,
                ),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO images (job_id, n, path, sha256) VALUES (?, ?, ?, ?)",
                [(row.id, n, image.path, image.sha256) for n, image in enumerate(result.images, 1)],
            )

        if row.id:
            await self._write(f"cover task {row.task_id}: {result.state}", operation, None)

    async def find_same_images(self, row: JobRow, hashes: list[str]) -> dict[str, str]:
        """Tell which of these SHA-256 sums a cover of *another* job has: sum -> that job's cover task id."""

        def operation(connection: sqlite3.Connection) -> dict[str, str]:
            same: dict[str, str] = {}
            for sha256 in hashes:
                found = connection.execute(
                    "SELECT jobs.task_id FROM images JOIN jobs ON jobs.id = images.job_id"
                    " WHERE images.sha256 = ? AND jobs.task_id <> ? LIMIT 1",
                    (sha256, row.task_id or ""),
                ).fetchone()
                if found is not None:
                    same[sha256] = found[0]
            return same

        nothing: dict[str, str] = {}
        return await self._write("look-up of identical covers", operation, nothing) if row.id else nothing

    # --- liveness ---------------------------------------------------------------------------------

    def _lock_path(self, run: str) -> Path:
        return self._runs_dir / f"{run}.lock"

    def _take_run_lock(self) -> FileLock:
        self._runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self._lock_path(self._run), timeout=0, thread_local=False)
        lock.acquire()
        return lock

    def _drop_run_lock(self, lock: FileLock) -> None:
        lock.release()
        self._lock_path(self._run).unlink(missing_ok=True)

    def _is_alive(self, run: str) -> bool:
        if run == self._run:
            return True
        path = self._lock_path(run)
        if not path.exists():
            return False
        probe = FileLock(path, timeout=0, thread_local=False)
        try:
            probe.acquire()
        except Timeout:
            return True
        probe.release()
        path.unlink(missing_ok=True)
        return False

    def _release_all(self, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE jobs SET owner = NULL WHERE owner = ?", (self._run,))

    # --- a file that fails ------------------------------------------------------------------------

    async def _write(self, what: str, operation: Operation[T], fallback: T) -> T:
        if not self._is_usable:
            return fallback
        try:
            return await self.database.run(operation)
        except DatabaseError as error:
            if self._required:
                raise
            self._warn(error.message, f"Keep this yourself: {what}")
            return fallback

    def _warn(self, message: str, hint: str) -> None:
        self._sink.emit(WarningRaised(code="journal_unavailable", message=message, hint=hint))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _row_of(found: Any) -> JobRow:
    return JobRow(
        id=found[0],
        service=found[1],
        provider=found[2],
        music_task_id=found[3],
        task_id=found[4],
        state=RowState(found[5]),
        output=found[6],
        options=msgspec.json.decode(found[7], type=JobOptions),
        result=msgspec.json.decode(found[8], type=JobResult) if found[8] else None,
        owner=found[9],
        created_at=found[10],
        submitted_at=found[11],
        completed_at=found[12],
    )
