"""The journal's file as its thread sees it: transactions, and what is done when the file fails. Blocks.

A file that is damaged is repaired on the spot and the step is run again; one that was replaced or removed under
us, by a repair in another process or by a person, is opened again. Each at most a few times.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import SunoCoverError, disk_code, disk_hint
from suno_cover_cli.base.events import WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.opening import (
    Identity,
    JournalConnection,
    find_shortage,
    identity_of,
    is_damage,
    open_file,
    prepare_file,
    shrink,
)
from suno_cover_cli.journal.repair import Repair, repair
from suno_cover_cli.journal.schema import has_shape

T = TypeVar("T")
Operation = Callable[[JournalConnection], T]

_MOST_RECOVERIES = 3


class DatabaseError(SunoCoverError):
    """The file cannot be read or written: disk full, read-only, locked for too long, damaged beyond repair."""

    exit_code = ExitCode.FAILURE
    code = "journal_unavailable"
    hint = "Check the permissions of the folder, or set SUNO_COVER_STATE_DIR to another one."


_FULL_HINT = "Free some space, or set SUNO_COVER_STATE_DIR to a folder on another disk."
_ODD_HINT = "Move it away, or set SUNO_COVER_STATE_DIR to another folder."
_DAMAGED_HINT = "It was left as it is. suno-cover doctor tries again to repair it."
_HINTS = {
    sqlite3.SQLITE_FULL: _FULL_HINT,
    sqlite3.SQLITE_CORRUPT: _DAMAGED_HINT,
    sqlite3.SQLITE_NOTADB: _DAMAGED_HINT,
    sqlite3.SQLITE_BUSY: "Another suno-cover has held it for unusually long: check whether one hangs.",
}
_UNSAID = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR})
"""Codes by which SQLite keeps the reason to itself."""


class Failure:
    """What a step raised, to keep it apart from what a step returned."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class _ReplacedError(Exception):
    """Another file has the journal's name now, or none."""


class JournalFile:
    """The file, opened when it is needed. Everything here belongs to one thread.

    Args:
        path: Of the file.
        clock: Stamps what is kept of a damaged file.
        report: Takes what was met and repaired.
    """

    def __init__(self, path: Path, *, clock: Clock, report: Callable[[WarningRaised], None]) -> None:
        self._path = path
        self._clock = clock
        self._report = report
        self._connection: JournalConnection | None = None
        self._identity: Identity | None = None
        self._recoveries = 0

    def open(self) -> JournalConnection:
        """Open the file, repaired if necessary.

        Raises:
            UsageError: A newer version wrote it.
            DatabaseError: It cannot be used.
        """
        if self._connection is not None:
            return self._connection
        try:
            self._connection = self._open()
        except Exception as error:
            raise self._explained(error) from error
        return self._connection

    def _open(self) -> JournalConnection:
        while True:
            prepare_file(self._path)
            self._identity = identity_of(self._path)
            try:
                return open_file(self._path)
            except Exception as error:
                if not is_damage(error) or not self._may_recover():
                    raise
            self._repair()

    def _may_recover(self) -> bool:
        self._recoveries += 1
        return self._recoveries <= _MOST_RECOVERIES

    def _repair(self) -> None:
        done = repair(self._path, self._identity, self._clock.time())
        if done is not None:
            self._report(_describe(self._path, done))

    def repair_if_damaged(self) -> None:
        """Let SQLite look at every page, and repair the file when it finds a fault or tables are missing.

        Raises:
            DatabaseError: It cannot be repaired.
        """
        try:
            connection = self.open()
            if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok" and has_shape(connection):
                return
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise self._explained(error) from error
        self.close()
        try:
            self._repair()
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error

    def run(self, operation: Operation[T]) -> T:
        """Run one operation in a transaction.

        Raises:
            DatabaseError: The file cannot be used.
        """
        (outcome,) = self.transact([operation])
        if isinstance(outcome, Failure):
            raise outcome.error
        return cast("T", outcome)

    def transact(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        """Run operations in one transaction and return what they return, each a :class:`Failure` if it failed."""
        try:
            return self._attempt(operations)
        except Exception as error:  # noqa: BLE001 -- whatever a step raises is its caller's; the thread must live
            if not self._recovers(error) and len(operations) == 1:
                return [Failure(self._explained(error))]
        # One bad step must not take its neighbours down: each has another go by itself.
        return [self._run_alone(operation) for operation in operations]

    def _run_alone(self, operation: Operation[Any]) -> Any:
        while True:
            try:
                return self._attempt([operation])[0]
            except Exception as error:  # noqa: BLE001 -- the same
                if not self._recovers(error):
                    return Failure(self._explained(error))

    def _attempt(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        connection = self.open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._refuse_replaced()
            outcomes = [operation(connection) for operation in operations]
            connection.execute("COMMIT")
        except BaseException:
            connection.notes.clear()
            # Where it fails SQLite has rolled back by itself, as it does on I/O errors; the next BEGIN will tell.
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise
        if connection.notes:
            notes, connection.notes = connection.notes, []
            for note in notes:
                self._report(note)
        return outcomes

    def _refuse_replaced(self) -> None:
        """Look under the lock whether the file still has its name: it is replaced under the same lock.

        Windows does not let an open file be replaced.
        """
        if os.name == "posix" and identity_of(self._path) != self._identity:
            raise _ReplacedError

    def _recovers(self, error: Exception) -> bool:
        """Do something about a failure; tell whether it is worth another go."""
        is_replaced = isinstance(error, _ReplacedError)
        if not (is_replaced or is_damage(error, self._connection)) or not self._may_recover():
            return False
        self.close()
        if not is_replaced:
            # Opening reports why it cannot be repaired.
            with suppress(OSError, sqlite3.Error):
                self._repair()
        return True

    def close(self, *, gives_back_room: bool = False) -> None:
        """Close the file.

        Args:
            gives_back_room: It is sound, and there is half a second to make it smaller where a lot of it is empty.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            if gives_back_room:
                with suppress(sqlite3.Error, UnicodeDecodeError):
                    shrink(connection)
            with suppress(sqlite3.Error):
                connection.close()

    def _explained(self, error: Exception) -> Exception:
        """Say what a failure means for users of the journal; what is not the file's is returned as it is."""
        if (found := _reason_of(error, self._path.parent)) is None:
            return error
        reason, hint = found
        return DatabaseError(f"the journal {self._path} cannot be used: {clean(reason, 300)}", hint=hint)


def _reason_of(error: Exception, folder: Path) -> tuple[object, str | None] | None:
    """Return why the file cannot be used and what to do about it."""
    if isinstance(error, sqlite3.Error):
        # The primary code is the low byte of the extended one; errors of the Python module have none.
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        shortage = find_shortage(folder) if primary in _UNSAID else None
        return (error, _HINTS.get(primary)) if shortage is None else _reason_of(shortage, folder)
    if isinstance(error, OSError):
        usual = _ODD_HINT if error.errno == errno.EEXIST else DatabaseError.hint
        hint = _FULL_HINT if disk_code(error, "") == "disk_full" else disk_hint(error, usual)
        return error.strerror or error, hint
    if isinstance(error, MemoryError):
        return "out of memory", disk_hint(OSError(errno.ENOMEM, ""), "")
    if isinstance(error, _ReplacedError):
        return "it is replaced or removed again and again", None
    return ("it is damaged", _DAMAGED_HINT) if is_damage(error) else None


def _describe(path: Path, done: Repair) -> WarningRaised:
    jobs, events = done.rows["jobs"], done.rows["recordings"]
    carried = f"{jobs} {'job' if jobs == 1 else 'jobs'} and {events} {'event' if events == 1 else 'events'}"
    return WarningRaised(
        code="journal_mended",
        message=f"the journal {path} was damaged: {carried} could be read and were carried over into a new one",
        hint=f"The damaged file is kept as {done.kept_as}",
    )
