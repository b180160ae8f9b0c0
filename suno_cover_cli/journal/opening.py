"""Opens the journal's file: made where there is none, migrated, refused where it cannot be one. Blocks."""

import errno
import os
import sqlite3
import stat
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from suno_cover_cli.base.events import WarningRaised
from suno_cover_cli.base.files import replace_file, sync_folder
from suno_cover_cli.journal.rows import is_sandbox_service
from suno_cover_cli.journal.salvage import count_committed
from suno_cover_cli.journal.schema import SchemaDamagedError, has_shape, migrate, refuse_newer

_BUSY_TIMEOUT_S = 30.0
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
LOG_SUFFIXES = ("-wal-damaged", "-wal")
"""Of the logs of a journal, the older first: one that SQLite cannot read to its end is kept by the first name."""
_LOG_PATIENCE_S = 1.0
_LOG_PAUSE_S = 0.02
# What SQLite opens: the database, its log, the memory shared with other processes, their folder.
_FILES_AT_ONCE = 4
_PROBE_BYTES = 8192
_NEW_FOLDERS = 2

# Room that rows left is used again by the next ones. What is more than this, and more than a quarter of the
# file, is given back to the system.
_SPARE_PAGES = 256
_LOG_KEPT_BYTES = 4 * 1024 * 1024
_INCREMENTAL = 2
_GIVE_BACK_S = 0.5
_GIVEN_BACK_AT_ONCE = 1024
_REWRITTEN_PAGES = 8192

Identity = tuple[int, int]
"""Device and number of a file: what has the same name may be another one."""


class JournalConnection(sqlite3.Connection):
    """A connection on which operations leave word of damage they met.

    Attributes:
        notes: To be reported once the transaction is on the disk.
    """

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.notes: list[WarningRaised] = []


class LogDamagedError(Exception):
    """SQLite does not see all that was committed."""


def is_damage(error: Exception, connection: sqlite3.Connection | None = None) -> bool:
    """Tell whether an error means that the file itself is damaged.

    Args:
        error: What SQLite or this module raised.
        connection: Open, when a statement of ours failed: statements are right, so tables that they do not fit are
            not what this program made.
    """
    if isinstance(error, SchemaDamagedError | LogDamagedError | UnicodeDecodeError):
        return True  # where SQLite quotes a damaged schema, Python cannot even read its message
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code == sqlite3.SQLITE_ERROR and connection is not None:
        try:
            return not has_shape(connection)
        except (sqlite3.Error, UnicodeDecodeError):
            return True
    return code & 0xFF in _DAMAGE_CODES


def identity_of(path: Path) -> Identity | None:
    """Return which file has a name now, ``None`` when none has."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return None
    return there.st_dev, there.st_ino


def prepare_file(path: Path) -> None:
    """Make the folder and an empty file where there is none.

    Raises:
        OSError: It cannot be made or written, or what is there is not a file.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for suffix in ("", "-shm", "-journal", *LOG_SUFFIXES):
        refuse_odd_file(path.with_name(path.name + suffix))
    # Made by us, so that only its owner may read it: SQLite would follow the umask.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        os.close(os.open(path, os.O_RDWR))
    else:
        # Its name, and those of the folders above it, which are new with it as a rule.
        for folder in (path.parent, *islice(path.parent.absolute().parents, _NEW_FOLDERS)):
            sync_folder(folder)


def refuse_odd_file(path: Path) -> None:
    """Refuse what would block on opening.

    Raises:
        OSError: It is a folder, a pipe, a socket, a device; or it cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = _KINDS.get(stat.S_IFMT(mode), "not a file")
        raise OSError(errno.EEXIST, f"{path} is {what}")


def open_file(path: Path) -> JournalConnection:
    """Open the file, in the shape of this program's version.

    Raises:
        UsageError: A newer version wrote it.
        sqlite3.Error: It cannot be used; :func:`is_damage` tells why.
        UnicodeDecodeError: The same.
        SchemaDamagedError: The same.
        LogDamagedError: The same.
        OSError: It cannot be made.
    """
    if path.with_name(path.name + LOG_SUFFIXES[0]).exists():
        raise LogDamagedError("a repair was interrupted")
    refuse_newer(path)
    connection = sqlite3.connect(
        path,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
        factory=JournalConnection,
    )
    try:
        if not _read_pragma(connection, "page_count"):  # in one that is there it would be a write
            prepare_shrinking(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # macOS: its fsync leaves the data in the drive's cache. Elsewhere this changes nothing.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_function("is_sandbox", 1, lambda service: is_sandbox_service(str(service)))
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT_BYTES}")
        _check_log(path, connection)
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_shrinking(connection: sqlite3.Connection) -> None:
    """Have a file that is still empty note where each of its pages belongs, so that it can give room back."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def give_back_pages(connection: sqlite3.Connection) -> bool:
    """Give room that rows left back to the system, if it is a lot: 4 MiB at most. Tell whether there is more.

    Args:
        connection: In a transaction, to any file; one that was made without :func:`prepare_shrinking` keeps its
            size.
    """
    if not _has_much_room(connection) or _read_pragma(connection, "auto_vacuum") != _INCREMENTAL:
        return False
    for _ in range(_GIVEN_BACK_AT_ONCE):
        # However many pages are asked for, Python's module goes one step of this statement, which is one page.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return _has_much_room(connection)


def shrink(connection: sqlite3.Connection) -> None:
    """Give room back before the file is closed, for half a second at most; never waits for another process.

    A file from before :func:`prepare_shrinking` is written anew, if what is in it is little.

    Raises:
        sqlite3.Error: It is in use or fails; it is as it was.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    if not _has_much_room(connection):
        return
    if _read_pragma(connection, "auto_vacuum") != _INCREMENTAL:
        held = _read_pragma(connection, "page_count") - _read_pragma(connection, "freelist_count")
        if held <= _REWRITTEN_PAGES:
            prepare_shrinking(connection)
            connection.execute("VACUUM")
        return
    until, is_more = time.monotonic() + _GIVE_BACK_S, True
    while is_more and time.monotonic() < until:
        connection.execute("BEGIN IMMEDIATE")
        is_more = give_back_pages(connection)
        connection.execute("COMMIT")


def _has_much_room(connection: sqlite3.Connection) -> bool:
    free = _read_pragma(connection, "freelist_count")
    return free > max(_SPARE_PAGES, _read_pragma(connection, "page_count") // 4)


def _read_pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _check_log(path: Path, connection: sqlite3.Connection) -> None:
    """See to it that SQLite has read all of the log that a killed run left.

    It reads up to the first page with a wrong checksum and forgets what was committed behind it without a word.

    Raises:
        LogDamagedError: It did.
    """
    damaged, log = (path.with_name(path.name + suffix) for suffix in LOG_SUFFIXES)
    until = time.monotonic() + _LOG_PATIENCE_S
    while (committed := count_committed(log)) > 0:
        _, known, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if known >= committed or count_committed(log) < committed:
            return
        # What another process is committing this moment is in the file a little earlier than SQLite tells of it.
        if time.monotonic() > until:
            # Closing the connection removes the log.
            replace_file(damaged, log.read_bytes(), mode=0o600)
            raise LogDamagedError("the log of what was written last is damaged")
        time.sleep(_LOG_PAUSE_S)


def find_shortage(folder: Path | None = None) -> OSError | None:
    """Return what keeps the process from opening as many files as SQLite does, ``None`` when nothing does.

    SQLite says "unable to open database file", or "disk I/O error", to whatever it is.

    Args:
        folder: Something is to be written there, too.
    """
    opened = list[int]()
    try:
        for _ in range(_FILES_AT_ONCE):
            opened.append(os.open(os.devnull, os.O_RDONLY))
        if folder is not None:
            with tempfile.TemporaryFile(dir=folder) as probe:
                if sys.platform != "win32":
                    os.pwrite(probe.fileno(), bytes(_PROBE_BYTES), 0)  # as SQLite does
                os.fsync(probe.fileno())
    except OSError as error:
        return error
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return None
