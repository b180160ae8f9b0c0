"""Repairs a damaged journal: keeps the file under another name and carries its rows over into a new one. Blocks.

Nothing is thrown away. The new file takes the old one's name in one step, complete and on the disk; until then the
old one stays where it was. Processes that have the old one open notice that it was replaced.
"""

import math
import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import msgspec
from filelock import FileLock

from suno_cover_cli.base.files import PendingFile, sync_folder
from suno_cover_cli.journal.opening import LOG_SUFFIXES, Identity, identity_of, prepare_shrinking
from suno_cover_cli.journal.salvage import Cell, Row, SalvagedFile
from suno_cover_cli.journal.schema import Column, columns_by_table, migrate

_LOCK_TIMEOUT_S = 30.0
# Should a disk go bad slowly, copies of large journals must not fill it.
_MOST_KEPT = 5
_LAST_NUMBER = 1 << 62
_SEQUENCES = "sqlite_sequence"
_TYPES: dict[str, tuple[type, ...]] = {
    "INTEGER": (int,),
    "REAL": (int, float),
    "TEXT": (str,),
    "BLOB": (bytes,),
}


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a damaged journal.

    Attributes:
        kept_as: The damaged file.
        rows: Table -> rows that were carried over.
    """

    kept_as: Path
    rows: dict[str, int]


def repair(path: Path, damaged: Identity | None, now: float) -> Repair | None:
    """Repair a journal that nothing in this process has open.

    Args:
        path: Of the journal.
        damaged: Which file was found damaged.
        now: Epoch seconds, for the name of the file that is kept.

    Returns:
        What was done; ``None`` when another process was quicker.

    Raises:
        OSError: It cannot be done, and nothing has changed.
        sqlite3.Error: The same.
    """
    lock = path.with_name(f"{path.name}-repair.lock")
    with FileLock(lock, timeout=_LOCK_TIMEOUT_S):
        try:
            return _repair(path, now) if identity_of(path) == damaged else None
        finally:
            # Still held: a process that waits for it looks for a new one, and then whether the file is another
            # one.
            with suppress(OSError):
                lock.unlink()


def _repair(path: Path, now: float) -> Repair:
    with PendingFile(path, mode=0o600) as part:
        kept = _keep(path, now)
        rows = _carry_over(path, kept, part.path)
        # The logs belong to the old file: beside the new one they would be read into it.
        _move_logs(path, kept)
        part.publish()
    _drop_oldest(path)
    return Repair(kept_as=kept, rows=rows)


def _keep(path: Path, now: float) -> Path:
    """Give the file a second name; one it was given by a repair that was killed will do."""
    for kept in _kept_files(path):
        if kept.samefile(path):
            return kept
    moment = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    kept = path.with_name(f"{path.stem}.damaged-{moment}{path.suffix}")
    place = 1
    while kept.exists():
        place += 1
        kept = path.with_name(f"{path.stem}.damaged-{moment}-{place}{path.suffix}")
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copy2(path, kept)
    sync_folder(path.parent)
    return kept


def _kept_files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}.damaged-*{path.suffix}"))


def _drop_oldest(path: Path) -> None:
    for kept in _kept_files(path)[:-_MOST_KEPT]:
        for suffix in ("", "-shm", *LOG_SUFFIXES):
            with suppress(OSError):
                kept.with_name(kept.name + suffix).unlink()


def _move_logs(path: Path, kept: Path) -> None:
    """Leave nothing beside the old file's name, and what was written to a log beside the name that is kept.

    A process that has the old file open goes on with the logs it has open, and leaves them there when it closes
    them: SQLite removes none of a file that was moved. An index of a log (``-shm``) is made anew from the log.
    """
    for suffix in LOG_SUFFIXES:
        beside = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            if beside.stat().st_size:
                beside.replace(kept.with_name(kept.name + suffix))
            else:
                beside.unlink()
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def _carry_over(path: Path, kept: Path, new: Path) -> dict[str, int]:
    """Write all rows that can be read into a new file."""
    # A repair that was killed after it had moved the logs finds them beside the name that is kept.
    logs = [name.with_name(name.name + suffix) for name in (kept, path) for suffix in LOG_SUFFIXES]
    with SalvagedFile(path, [log for log in logs if log.exists()]) as old, closing(_connect(new)) as connection:
        migrate(connection)
        connection.execute("BEGIN")
        writer = _Writer(connection)
        for row in old.rows():
            writer.write(row)
        connection.execute("DELETE FROM images WHERE job_id NOT IN (SELECT id FROM jobs)")
        connection.execute("COMMIT")
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 -- from the schema
            for table in writer.tables
        }


def _connect(new: Path) -> sqlite3.Connection:
    """Open a file that has no name yet: only we know it, and it is put on the disk as a whole."""
    connection = sqlite3.connect(f"{new.absolute().as_uri()}?nolock=1", uri=True, isolation_level=None)
    prepare_shrinking(connection)
    connection.execute("PRAGMA journal_mode = MEMORY")
    connection.execute("PRAGMA synchronous = OFF")
    return connection


class _Writer:
    """Puts rows into the table whose shape they have.

    Args:
        connection: To a file with all tables of this program's version.

    Attributes:
        tables: Names of those that rows are put into.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        columns = columns_by_table(connection)
        self._columns = {name: columns[name] for name in columns if name != _SEQUENCES}
        self.tables = tuple(self._columns)

    def write(self, row: Row) -> None:
        """Put a row into its table; what fits none, or is there in a newer form, is left out."""
        table = self._table_of(row)
        if table is None:
            self._write_sequence(row)
            return
        cells = {
            column.name: row.rowid if column.is_rowid else cell
            for column, cell in zip(self._columns[table], row.cells, strict=False)
        }
        is_newer = self._is_newer(table, cells)
        if is_newer is False:
            return
        # Text that is not UTF-8 is carried over as it is: the reader of the row sets it aside.
        values = ", ".join("CAST(? AS TEXT)" if isinstance(cell, str) else "?" for cell in cells.values())
        statement = (
            f"INSERT OR {'REPLACE' if is_newer else 'IGNORE'} INTO {table} ({', '.join(cells)})"  # noqa: S608 -- the schema's
            f" VALUES ({values})"
        )
        self._connection.execute(statement, [_bound(cell) for cell in cells.values()])

    def _is_newer(self, table: str, cells: dict[str, Cell]) -> bool | None:
        """Tell whether a row is a newer form of one that is there; ``None`` when there is none."""
        if "updated_at" not in cells:
            return None
        query = f"SELECT updated_at FROM {table} WHERE id = ?"  # noqa: S608 -- from the schema
        found = self._connection.execute(query, (cells["id"],)).fetchone()
        return None if found is None else _moment(cells["updated_at"]) > _moment(found[0])

    def _table_of(self, row: Row) -> str | None:
        """Return the table whose shape a row has; of an older version, it may lack the columns added since.

        In a row that has all its columns one may be of the wrong type: that is what damage does to a row.
        """
        for name, columns in self._columns.items():
            if len(row.cells) == len(columns) and _misfits(row, columns) <= 1:
                return name
        fitting = [
            name
            for name, columns in self._columns.items()
            if len(row.cells) < len(columns) and not _misfits(row, columns)
        ]
        return min(fitting, key=lambda name: len(self._columns[name]), default=None)

    def _write_sequence(self, row: Row) -> None:
        """Go on with the numbers of a table where they had got to, so that none is given twice."""
        match row.cells:
            case [str() as table, int() as last] if table in self._columns and 0 <= last < _LAST_NUMBER:
                query = f"SELECT coalesce(max(seq), 0) FROM {_SEQUENCES} WHERE name = ?"  # noqa: S608 -- a constant
                (known,) = self._connection.execute(query, (table,)).fetchone()
                self._connection.execute(f"DELETE FROM {_SEQUENCES} WHERE name = ?", (table,))  # noqa: S608 -- the same
                insert = f"INSERT INTO {_SEQUENCES} VALUES (?, ?)"  # noqa: S608 -- the same
                self._connection.execute(insert, (table, max(known, last)))


def _bound(cell: Cell) -> Cell:
    return cell.encode("utf-8", "surrogateescape") if isinstance(cell, str) else cell


def _moment(cell: object) -> float:
    return float(cell) if isinstance(cell, int | float) else -math.inf


def _misfits(row: Row, columns: list[Column]) -> int:
    """Count the cells that are not what their columns take."""
    cells = [*row.cells, *[None] * (len(columns) - len(row.cells))]
    return sum(not _fits(cell, column) for cell, column in zip(cells, columns, strict=True))


def _fits(cell: Cell, column: Column) -> bool:
    if cell is None:
        return column.is_rowid or not column.is_needed
    return not column.is_rowid and isinstance(cell, _TYPES[column.kind])
