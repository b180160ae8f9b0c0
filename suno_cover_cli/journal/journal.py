"""The record of jobs (users say history): who owns which job, how far it got, what came of it.

A row exists before the service hears of a job. Every write is on disk when its call returns. A row is owned by
the run that works on it, and a run that is dead owns nothing.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import Sink, WarningRaised
from suno_cover_cli.base.folders import JOURNAL_NAME
from suno_cover_cli.base.models import JobResult, JobState, json_text
from suno_cover_cli.base.settings import USUAL_RETENTION, Retention
from suno_cover_cli.journal.database import Database, DatabaseError
from suno_cover_cli.journal.history import forget_old, usual_duration_s
from suno_cover_cli.journal.journal_file import Operation, T
from suno_cover_cli.journal.opening import JournalConnection
from suno_cover_cli.journal.reading import PICK_COLUMNS, SELECT_JOBS, pick_of, read_jobs
from suno_cover_cli.journal.rows import (
    Claim,
    JobRow,
    Pick,
    Recorded,
    RowState,
    insert_job,
    options_text,
    path_cell,
    record_images,
)
from suno_cover_cli.journal.run_locks import RunLocks

_BUSY_POLL_S = 1.0
_CHUNK = 2000
_FORGET_EVERY = 200

_FIND_BY_ID = f"{SELECT_JOBS} WHERE id = ?"
_FIND_BY_MUSIC = f"{SELECT_JOBS} WHERE service = ? AND music_task_id = ? ORDER BY id DESC LIMIT 1"
_FIND_BY_COVER = f"{SELECT_JOBS} WHERE service = ? AND task_id = ? ORDER BY id DESC LIMIT 1"
_FIND_OTHER = (
    f"SELECT {PICK_COLUMNS} FROM jobs LEFT JOIN picks USING (service, task_id)"  # noqa: S608 -- constants
    " WHERE task_id = ? AND service = ? AND id <> ? LIMIT 1"
)
# Not by the index, and not by the states that are meant: what damage has done to either must not hide a job.
_FIND_UNFINISHED = f"{SELECT_JOBS} WHERE +state NOT IN ('succeeded', 'failed', 'rejected') ORDER BY id"


class Journal:
    """Jobs of one user on one machine, safe with several processes at once.

    An async context manager. When the file cannot be used it says so through the sink, together with what
    would have been kept, and the job goes on; with ``required=True`` (``resume``, ``history``) entering raises.

    Args:
        state_dir: Folder of the journal and of run locks.
        clock: Time.
        sink: Hears warnings.
        required: Whether a journal that cannot be opened is an error.
        retention: How much of the past is kept.

    Raises:
        UsageError: On entering: the file was written by a newer version.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        clock: Clock,
        sink: Sink,
        required: bool = False,
        retention: Retention = USUAL_RETENTION,
    ) -> None:
        self.database = Database(state_dir / JOURNAL_NAME, clock=clock, sink=sink)
        self._locks = RunLocks(state_dir / "runs")
        self._clock = clock
        self._sink = sink
        self._required = required
        self._retention = retention
        self._ended = 0
        self._is_usable = False
        self._reported: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.database)
            except DatabaseError as error:
                if self._required:
                    raise
                self._report_unkept(error)
            else:
                self._is_usable = True
                await self._lock(stack)
            self._stack = stack.pop_all()
        return self

    async def _lock(self, stack: AsyncExitStack) -> None:
        """Show that this run is alive; without that its jobs may be run twice, which makes none twice."""
        stack.push_async_callback(asyncio.to_thread, self._locks.release)
        try:
            await asyncio.to_thread(self._locks.acquire)
        except (OSError, NotImplementedError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the file system has no locks"
            self._sink.emit(
                WarningRaised(
                    code="run_unlocked",
                    message=f"other runs cannot see that this one is alive: {self._locks.folder}: {reason}",
                    hint="They may work on the same jobs, which only costs time.",
                )
            )

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_usable:
            # Only a courtesy to those who look before the lock file is gone: a dead run owns nothing.
            self.database.post(self._disown_all)
            self._forget_old()
        await self._stack.aclose()

    # --- claims -----------------------------------------------------------------------------------

    async def enqueue(self, rows: Iterable[JobRow]) -> None:
        """Write a whole batch down before its first job is begun, so that ``resume`` knows all of it.

        A job the journal knows keeps its row: one that is unfinished and has no owner becomes ours.
        """
        waiting = iter(rows)
        while chunk := list(islice(waiting, _CHUNK)):
            await self._try(partial(self._enqueue_chunk, chunk), None)

    def _enqueue_chunk(self, chunk: list[JobRow], connection: JournalConnection) -> None:
        is_alive: dict[str, bool] = {}
        for wanted in chunk:
            row = self._find(connection, wanted)
            if row is None or row.state in {RowState.FAILED, RowState.REJECTED}:
                state = RowState.QUEUED if wanted.task_id is None else wanted.state
                self._insert(connection, msgspec.structs.replace(wanted, state=state))
            elif not row.state.is_terminal and not self._is_busy(row, is_alive):
                connection.execute("UPDATE jobs SET owner = ? WHERE id = ?", (self._locks.run, row.id))

    async def claim(self, wanted: JobRow) -> Claim:
        """Take a job, found by row, music task or cover task, or make it as ``wanted`` describes it.

        A job that failed or was rejected is made anew; any other is continued, no matter which run began it. A job
        to be submitted is ``submitting`` from here on.
        """

        def operation(connection: JournalConnection) -> Claim:
            row = self._find(connection, wanted)
            if row is None or row.state in {RowState.FAILED, RowState.REJECTED}:
                return Claim(row=self._insert(connection, wanted), is_new=True)
            if self._is_busy(row, {}):
                return Claim(row=row, is_busy=True)
            now = self._clock.time()
            # One that was submitted stays one of its own key until the service knows it under another.
            marks = (wanted.key_mark, row.key_mark) if row.task_id is None else (row.key_mark, wanted.key_mark)
            state = RowState.SUBMITTING if row.state is RowState.QUEUED else row.state
            connection.execute(
                "UPDATE jobs SET owner = ?, state = ?, output = ?, options = ?, key_mark = ?, updated_at = ?"
                " WHERE id = ?",
                (
                    self._locks.run,
                    state,
                    path_cell(wanted.output),
                    options_text(wanted.options),
                    marks[0] or marks[1],
                    now,
                    row.id,
                ),
            )
            ours = msgspec.structs.replace(
                row,
                owner=self._locks.run,
                state=state,
                output=wanted.output,
                options=wanted.options,
                updated_at=now,
            )
            return Claim(row=ours, is_new=row.state is RowState.QUEUED, earlier=row)

        return await self._try(operation, Claim(row=wanted, is_new=not wanted.id))

    def _find(self, connection: JournalConnection, wanted: JobRow) -> JobRow | None:
        if wanted.id:
            found = read_jobs(connection, _FIND_BY_ID, (wanted.id,))
        elif wanted.music_task_id is not None:
            found = read_jobs(connection, _FIND_BY_MUSIC, (wanted.service, wanted.music_task_id))
        else:
            found = read_jobs(connection, _FIND_BY_COVER, (wanted.service, wanted.task_id))
        return found[0] if found else None

    def _is_busy(self, row: JobRow, is_alive: dict[str, bool]) -> bool:
        """Tell whether another live run holds a job; ``is_alive`` remembers what was asked before."""
        if row.owner is None or row.owner == self._locks.run:
            return False
        if row.owner not in is_alive:
            is_alive[row.owner] = self._locks.is_alive(row.owner)
        return is_alive[row.owner]

    def _insert(self, connection: JournalConnection, row: JobRow) -> JobRow:
        now = self._clock.time()
        made = msgspec.structs.replace(row, created_at=now, updated_at=now, owner=self._locks.run)
        return msgspec.structs.replace(made, id=insert_job(connection, made))

    async def claim_unfinished(
        self, choose: Callable[[list[JobRow]], list[JobRow]] = lambda rows: rows
    ) -> list[Claim]:
        """Take jobs that are not at their end and that no live run holds, oldest first.

        Jobs that a live run holds are in the list too, marked busy.

        Args:
            choose: Gets all that are not at their end, in another thread, and returns those that are meant.

        Raises:
            DatabaseError: The journal cannot be used.
        """

        def operation(connection: JournalConnection) -> list[Claim]:
            rows = choose(read_jobs(connection, _FIND_UNFINISHED, ()))
            is_alive: dict[str, bool] = {}
            claims = [Claim(row=row, is_busy=self._is_busy(row, is_alive)) for row in rows]
            connection.executemany(
                "UPDATE jobs SET owner = ? WHERE id = ?",
                [(self._locks.run, claim.row.id) for claim in claims if not claim.is_busy],
            )
            return claims

        return await self.database.run(operation)

    async def release(self, rows: list[JobRow]) -> None:
        """Let go of jobs that were claimed and are not worked on after all."""

        def operation(connection: JournalConnection) -> None:
            connection.executemany(
                "UPDATE jobs SET owner = NULL WHERE id = ? AND owner = ?",
                [(row.id, self._locks.run) for row in rows],
            )

        await self._try(operation, None)

    async def wait_released(self, job_id: int) -> None:
        """Wait until no live run holds the job; looks once a second."""

        def operation(connection: JournalConnection) -> bool:
            found = connection.execute("SELECT owner FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return found is None or found[0] is None or not self._locks.is_alive(found[0])

        # A journal that fails meanwhile does not block the run: the service itself makes no job twice.
        while not await self._try(operation, fallback=True):
            await self._clock.sleep(_BUSY_POLL_S)

    # --- steps ------------------------------------------------------------------------------------

    async def record_submitted(self, row: JobRow, task_id: str) -> Recorded:
        """Write the cover task id down, the moment it is known; what was written of another id goes."""
        now = self._clock.time()

        def operation(connection: JournalConnection) -> list[Pick | None]:
            connection.execute(
                "UPDATE jobs SET result = CASE WHEN coalesce(task_id, :task_id) = :task_id THEN result END,"
                " task_id = :task_id, state = :state, submitted_at = :now, updated_at = :now WHERE id = :id",
                {"task_id": task_id, "state": RowState.SUBMITTED, "now": now, "id": row.id},
            )
            return [pick_of(found) for found in connection.execute(_FIND_OTHER, (task_id, row.service, row.id))]

        picks_of_others = await self._try(operation, None) if row.id else None
        # Where no history is kept at all, that was said once.
        if picks_of_others is None and self._is_usable:
            self._sink.emit(
                WarningRaised(
                    code="not_written_down",
                    message=f"the journal does not know that {row.music_task_id} became cover task {task_id}",
                    hint=f"Keep it. If this run is interrupted, go on with: suno-cover wait {task_id}",
                )
            )
        submitted = msgspec.structs.replace(
            row,
            task_id=task_id,
            state=RowState.SUBMITTED,
            submitted_at=now,
            pick=picks_of_others[0] if picks_of_others else None,
        )
        return Recorded(row=submitted, is_known=bool(picks_of_others))

    async def record_end(
        self, row: JobRow, result: JobResult, completed_at: float | None, *, key_mark: str | None = None
    ) -> dict[str, str]:
        """Write what came of a run of the job, let go of it, and look for its images among other jobs'.

        A pending result leaves the state as it is: a restart goes on from there. It says less than what is
        known of a job that has ended before, so there it changes nothing.

        Args:
            row: The job.
            result: What came of it.
            completed_at: Epoch seconds, the service's word.
            key_mark: Of a key under which the service knows the job.

        Returns:
            SHA-256 of each image that another job has byte for byte -> the cover task id of that job.
        """
        is_pending = result.state is JobState.PENDING
        is_news = not is_pending or row.state.is_pending
        now = self._clock.time()

        def operation(connection: JournalConnection) -> dict[str, str]:
            connection.execute(
                "UPDATE jobs SET owner = NULL, key_mark = coalesce(?, key_mark), updated_at = ? WHERE id = ?",
                (key_mark, now, row.id),
            )
            if is_news:
                connection.execute(
                    "UPDATE jobs SET state = coalesce(?, state), code = ?, message = ?, result = ?,"
                    " music_task_id = coalesce(music_task_id, ?), task_id = coalesce(task_id, ?),"
                    " completed_at = coalesce(?, completed_at) WHERE id = ?",
                    (
                        None if is_pending else result.state.value,
                        result.code,
                        result.message,
                        json_text(result),
                        result.music_task_id,
                        result.task_id,
                        completed_at,
                        row.id,
                    ),
                )
            return record_images(connection, row.id, result) if result.images else {}

        nothing: dict[str, str] = {}
        same = await self._try(operation, nothing) if row.id else nothing
        self._ended += 1
        if self._is_usable and self._ended % _FORGET_EVERY == 0:
            # A run may last for months.
            self._forget_old()
        return same

    async def usual_duration_s(self, service: str) -> float | None:
        """Return the median of how many seconds the newest jobs at a service took; ``None`` for too few."""
        return await self._try(partial(usual_duration_s, service), None)

    async def find_task_id(self, row: JobRow) -> str | None:
        """Return a cover task id that an earlier run was given for this music task, other than the row's own."""

        def operation(connection: JournalConnection) -> str | None:
            found = connection.execute(
                "SELECT task_id FROM jobs WHERE service = ? AND music_task_id = ? AND task_id IS NOT NULL"
                " AND task_id IS NOT ? ORDER BY id DESC LIMIT 1",
                (row.service, row.music_task_id, row.task_id),
            ).fetchone()
            return None if found is None else str(found[0])

        return await self._try(operation, None)

    def _forget_old(self) -> None:
        self.database.post(partial(forget_old, self._clock.time(), self._retention))

    def _disown_all(self, connection: JournalConnection) -> None:
        connection.execute("UPDATE jobs SET owner = NULL WHERE owner = ?", (self._locks.run,))

    # --- a file that fails ------------------------------------------------------------------------

    async def _try(self, operation: Operation[T], fallback: T) -> T:
        """Run an operation; when the file fails, tell why and return ``fallback``: the job goes on."""
        if not self._is_usable:
            return fallback
        try:
            return await self.database.run(operation)
        except DatabaseError as error:
            self._report_trouble(error)
            return fallback

    def _report_unkept(self, error: DatabaseError) -> None:
        self._sink.emit(
            WarningRaised(
                code="journal_unavailable",
                message=f"history is not kept: {error.message}; SUNO_COVER_STATE_DIR can name another folder",
                hint="Keep the ids that are printed. To go on with one: suno-cover wait ID",
            )
        )

    def _report_trouble(self, error: DatabaseError) -> None:
        # A full disk refuses every write of a batch of thousands: once is enough.
        if error.message not in self._reported:
            self._reported.add(error.message)
            hint = f"Jobs go on, but a restart may not know all of them. {error.hint}"
            self._sink.emit(WarningRaised(code="journal_unavailable", message=error.message, hint=hint))
