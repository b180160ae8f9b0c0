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

from suno_cover_cli.errors import SunoCoverError, UsageError
from suno_cover_cli.exits import ExitCode
from suno_cover_cli.text import clean

_BUSY_TIMEOUT_S = 30.0
_LEAVE_TIMEOUT_S = 1.5

# Version n of the schema is what the first n scripts have made of an empty file.
_MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        service TEXT NOT NULL,
        provider TEXT NOT NULL,
        music_task_id TEXT,
        task_id TEXT,
        state TEXT NOT NULL,
        code INTEGER,
        message TEXT NOT NULL DEFAULT '',
        output TEXT NOT NULL,
        options TEXT NOT NULL,
        result TEXT,
        owner TEXT,
        created_at REAL NOT NULL,
        submitted_at REAL,
        completed_at REAL,
        updated_at REAL NOT NULL
    );
    CREATE INDEX jobs_by_music ON jobs (service, music_task_id);
    CREATE INDEX jobs_by_task ON jobs (task_id);
    CREATE INDEX jobs_by_state ON jobs (state);
    CREATE TABLE images (
        job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        n INTEGER NOT NULL,
        path TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        PRIMARY KEY (job_id, n)
    );
    CREATE INDEX images_by_hash ON images (sha256);
    CREATE TABLE recordings (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        ts REAL NOT NULL,
        task_id TEXT NOT NULL,
        code INTEGER NOT NULL,
        path TEXT NOT NULL,
        signature TEXT NOT NULL,
        headers TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX recordings_by_task ON recordings (task_id);
    """,
)

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


class DatabaseError(SunoCoverError):
    """The file cannot be read or written: disk full, read-only, damaged, locked for too long."""

    exit_code = ExitCode.FAILURE
    code = "journal_unavailable"
    hint = "Check the free space and the permissions of the folder, or set SUNO_COVER_STATE_DIR to another one."


class _Step:
    """One operation on its way to the thread, and where its result goes."""

    __slots__ = ("future", "loop", "operation")

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()


class Database:
    """The journal's file. An async context manager: entering opens and migrates, leaving commits and closes.

    Args:
        path: The file; its folder is made (mode 0700) when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps: queue.SimpleQueue[_Step | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        self._thread = threading.Thread(
            target=self._serve, args=(loop, opened, self._ended), name="journal", daemon=True
        )
        self._thread.start()
        await opened
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._steps.put(None)
        if self._ended is not None:
            await asyncio.wait({self._ended}, timeout=_LEAVE_TIMEOUT_S)

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation inside a transaction and return when its effect is on disk.

        Raises:
            DatabaseError: It is not on disk.
        """
        step = _Step(operation)
        self._steps.put(step)
        result: T = await step.future
        return result

    def _serve(
        self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None], ended: asyncio.Future[None]
    ) -> None:
        try:
            connection = _open(self.path)
        except (sqlite3.Error, OSError, SunoCoverError) as error:
            loop.call_soon_threadsafe(_settle, opened, None, _as_error(self.path, error))
            loop.call_soon_threadsafe(_settle, ended, None, None)
            return
        loop.call_soon_threadsafe(_settle, opened, None, None)
        while self._commit_group(connection):
            pass
        connection.close()
        _call_if_running(loop, _settle, ended, None, None)

    def _commit_group(self, connection: sqlite3.Connection) -> bool:
        """Wait for a step, take along whatever else has arrived, commit once. False: time to close."""
        group: list[_Step] = []
        step = self._steps.get()
        while step is not None:
            group.append(step)
            try:
                step = self._steps.get_nowait()
            except queue.Empty:
                break
        if group:
            outcomes = self._run_group(connection, group)
            _call_if_running(group[0].loop, _settle_all, group, outcomes)
        return step is not None

    def _run_group(self, connection: sqlite3.Connection, group: list[_Step]) -> list[Any]:
        outcomes: list[Any] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [step.operation(connection) for step in group]
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = _as_error(self.path, error)
            return [failure] * len(group)
        return outcomes


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _settle_all(group: list[_Step], outcomes: list[Any]) -> None:
    for step, outcome in zip(group, outcomes, strict=True):
        if isinstance(outcome, DatabaseError):
            _settle(step.future, None, DatabaseError(outcome.message, hint=outcome.hint))
        else:
            _settle(step.future, outcome, None)


def _call_if_running(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # The loop closed while this thread was still committing: what was handed in is on disk all the same.
        return


def _as_error(path: Path, error: BaseException) -> SunoCoverError:
    if isinstance(error, SunoCoverError):
        return error
    return DatabaseError(f"the journal {path} cannot be used: {clean(error, 200)}")


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Made by us first, so that nobody else may read it: SQLite would follow the umask.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        _refuse_newer(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_newer(path: Path, connection: sqlite3.Connection) -> None:
    version = _version_of(connection)
    if version > len(_MIGRATIONS):
        raise UsageError(
            f"the journal {path} was written by a newer suno-cover (version {version} of its shape)",
            code="journal_newer",
            hint="Upgrade suno-cover, or set SUNO_COVER_STATE_DIR to another folder. The file was not touched.",
        )


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again under the lock: another process may have migrated meanwhile.
            _refuse_newer(path, connection)
            version = _version_of(connection)
            if version == len(_MIGRATIONS):
                return
            for statement in _MIGRATIONS[version].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        finally:
            connection.execute("COMMIT" if connection.in_transaction else "SELECT 1")
