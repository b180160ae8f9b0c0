"""The SQLite file: one thread, one connection, commits shared by whoever writes at the same moment.

Nothing is reported as kept before it is on disk (WAL, ``synchronous=FULL``). A commit costs one fsync however
many steps it carries, so steps that arrive while one is under way go together into the next.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from suno_cover_cli.base.errors import SunoCoverError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.schema import migrate, refuse_newer

_BUSY_TIMEOUT_S = 30.0
_LEAVE_TIMEOUT_S = 1.2
_MAX_GROUP = 500

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


class DatabaseError(SunoCoverError):
    """The file cannot be read or written: disk full, read-only, damaged, locked for too long."""

    exit_code = ExitCode.FAILURE
    code = "journal_unavailable"
    hint = "Check the permissions of the folder, or set SUNO_COVER_STATE_DIR to another one."


_FULL_HINT = "Free some space, or set SUNO_COVER_STATE_DIR to a folder on another disk."
_DAMAGED_HINT = "Move the file away, the next run makes a new one; or set SUNO_COVER_STATE_DIR to another folder."
_HINTS = {
    sqlite3.SQLITE_FULL: _FULL_HINT,
    sqlite3.SQLITE_CORRUPT: _DAMAGED_HINT,
    sqlite3.SQLITE_NOTADB: _DAMAGED_HINT,
    sqlite3.SQLITE_BUSY: "Another suno-cover is holding it for unusually long; see whether one hangs.",
}


class _Step:
    """One operation on its way to the thread, and where its result goes; nowhere for a posted one."""

    __slots__ = ("future", "operation")

    def __init__(self, operation: Operation[Any], future: "asyncio.Future[Any] | None") -> None:
        self.operation = operation
        self.future = future


class _Failure:
    """What a step raised, so that it can be told from what a step returned."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Database:
    """The journal's file. An async context manager: entering opens and migrates, leaving commits and closes.

    Leaving takes at most about a second; what could not be committed by then is committed by nobody.

    Args:
        path: The file; its folder is made (mode 0700) when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps: queue.SimpleQueue[_Step | None] = queue.SimpleQueue()
        self._is_open = False
        self._ended: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        self._ended = loop.create_future()
        # A daemon: a disk that never answers must not keep the process from ending.
        threading.Thread(target=self._serve, args=(loop, opened, self._ended), name="journal", daemon=True).start()
        await opened
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        self._steps.put(None)
        if self._ended is not None:
            await asyncio.wait({self._ended}, timeout=_LEAVE_TIMEOUT_S)

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation inside a transaction and return when its effect is on disk.

        An operation may be run twice, so it must have no effect but on the database.

        Raises:
            DatabaseError: It is not on disk.
            Exception: Whatever the operation raises; its effect is undone.
        """
        if not self._is_open:
            raise RuntimeError("the database is used outside its context")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._steps.put(_Step(operation, future))
        return await future

    def post(self, operation: Operation[Any]) -> None:
        """Run an operation when its turn comes, without waiting; nobody hears of its failure."""
        self._steps.put(_Step(operation, None))

    # --- the thread -------------------------------------------------------------------------------

    def _serve(
        self, loop: asyncio.AbstractEventLoop, opened: "asyncio.Future[Any]", ended: "asyncio.Future[Any]"
    ) -> None:
        try:
            connection = _open(self.path)
        except (sqlite3.Error, OSError, SunoCoverError) as error:
            _settle_from_thread(loop, [(opened, _Failure(_explained(self.path, error))), (ended, None)])
            return
        _settle_from_thread(loop, [(opened, None)])
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            outcomes = self._run_group(connection, group) if group else []
            pairs = zip(group, outcomes, strict=True)
            _settle_from_thread(
                loop, [(step.future, outcome) for step, outcome in pairs if step.future is not None]
            )
        try:
            connection.close()
        finally:
            _settle_from_thread(loop, [(ended, None)])

    def _next_group(self) -> tuple[list[_Step], bool]:
        """Wait for a step and take along whatever else has arrived. ``False``: it is time to close."""
        group: list[_Step] = []
        step = self._steps.get()
        while step is not None:
            group.append(step)
            if len(group) == _MAX_GROUP:
                return group, True
            try:
                step = self._steps.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _run_group(self, connection: sqlite3.Connection, group: list[_Step]) -> list[Any]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [step.operation(connection) for step in group]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 -- whatever a step raises is its caller's; the thread must live
            _roll_back(connection)
            if len(group) == 1:
                return [_Failure(_explained(self.path, error))]
            # One bad step must not take its neighbours down: each has another go by itself.
            return [outcome for step in group for outcome in self._run_group(connection, [step])]
        return outcomes


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        # SQLite has rolled back by itself, which it does on I/O errors; the next BEGIN will tell.
        return


def _settle_from_thread(
    loop: asyncio.AbstractEventLoop, outcomes: "list[tuple[asyncio.Future[Any], Any]]"
) -> None:
    try:
        loop.call_soon_threadsafe(_settle, outcomes)
    except RuntimeError:
        # The loop closed while this thread was still committing: what was handed in is on disk all the same.
        return


def _settle(outcomes: "list[tuple[asyncio.Future[Any], Any]]") -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, _Failure):
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)


def _explained(path: Path, error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        # The primary code is the low byte of the extended one; errors of the Python module have none.
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return DatabaseError(f"the journal {path} cannot be used: {clean(error, 200)}", hint=_HINTS.get(primary))
    if isinstance(error, OSError):
        return DatabaseError(f"the journal {path} cannot be used: {clean(error.strerror or error, 200)}")
    return error


# --- opening --------------------------------------------------------------------------------------------


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Made by us first, so that nobody else may read it: SQLite would follow the umask.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    refuse_newer(path)
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # macOS: its fsync leaves the data in the drive's cache. Elsewhere this changes nothing.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection
