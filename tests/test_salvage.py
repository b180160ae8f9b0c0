"""Rows read out of a database file page by page, against what SQLite itself reads from it."""

import contextlib
import math
import sqlite3
from pathlib import Path

import pytest

from suno_cover_cli.journal.salvage import Cell, SalvagedFile, count_committed

TEXTS = ("", "plain", "ü 漢 \U0001f3b5", "x" * 500, "y" * 5000, "z" * 300_000)
NUMBERS = (0, 1, -1, 127, -129, 40_000, -9_000_000, 2**31, -(2**47), 2**62, None)
FLOATS = (0.5, -1e300, 1.0, math.pi, None)


def make(path: Path, page_bytes: int, *, rows: int = 200) -> sqlite3.Connection:
    """Make a database with rows of all kinds, some of them deleted and some changed."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {page_bytes}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c REAL, d BLOB)")
    connection.execute("CREATE INDEX things_by_b ON things (b)")
    connection.execute("BEGIN")
    for n in range(rows):
        values = (TEXTS[n % 5], NUMBERS[n % 11], FLOATS[n % 5], bytes([n % 256]) * (n * 7))
        connection.execute("INSERT INTO things (a, b, c, d) VALUES (?, ?, ?, ?)", values)
    connection.execute("INSERT INTO things (id, a) VALUES (?, ?)", (2**62, TEXTS[5]))
    connection.execute("INSERT INTO things (id, a) VALUES (-7, 'below')")
    connection.execute("COMMIT")
    connection.execute("DELETE FROM things WHERE id BETWEEN 50 AND 90")
    connection.execute("UPDATE things SET a = 'changed' WHERE id % 3 = 0")
    return connection


def read_back(path: Path, *logs: Path) -> dict[int, list[Cell]]:
    """Read the rows of the table page by page."""
    with SalvagedFile(path, logs) as file:
        # Rows of the schema have five cells too; their first is text.
        return {row.rowid: row.cells[1:] for row in file.rows() if len(row.cells) == 5 and row.cells[0] is None}


def as_sqlite_reads(connection: sqlite3.Connection) -> dict[int, list[Cell]]:
    """Read the same with SQLite."""
    return {row[0]: list(row[1:]) for row in connection.execute("SELECT id, a, b, c, d FROM things")}


@pytest.mark.parametrize("page_bytes", [512, 4096, 65536])
def test_a_sound_file_is_read_as_sqlite_reads_it(tmp_path: Path, page_bytes: int) -> None:
    """Every row, whatever its size and kind, and none that was deleted; with all of it in the file itself."""
    path = tmp_path / "file"
    with contextlib.closing(make(path, page_bytes)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert read_back(path) == as_sqlite_reads(connection)


def test_what_is_in_the_log_counts(tmp_path: Path) -> None:
    """What was committed and not moved into the file yet is read; what was not committed is not."""
    path, log = tmp_path / "file", tmp_path / "file-wal"
    with contextlib.closing(make(path, 4096)) as connection:
        wanted = as_sqlite_reads(connection)
        assert read_back(path, log) == wanted
        # More than the cache holds goes to the log before it is committed.
        connection.execute("PRAGMA cache_size = 5")
        connection.execute("BEGIN")
        connection.execute("UPDATE things SET d = zeroblob(20000)")
        assert log.stat().st_size > 200 * 20000
        assert read_back(path, log) == wanted
        connection.execute("ROLLBACK")


def test_the_frames_of_a_log_are_counted_up_to_the_last_commit(tmp_path: Path) -> None:
    """The count is SQLite's own, also once the log has begun anew over an older one."""
    path, log = tmp_path / "file", tmp_path / "file-wal"
    assert count_committed(log) == 0
    with contextlib.closing(make(path, 4096)) as connection:
        for _ in range(2):
            _, known, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            assert count_committed(log) == known > 0
            connection.execute("UPDATE things SET b = b + 1 WHERE id < 20")


@pytest.mark.parametrize(
    "content",
    [b"", b"SQLite format 3\0", b"\0" * 5000, b"\x0d" * 9000, bytes(range(256)) * 64, b"\x0d\xff" * 70_000],
)
def test_bytes_of_any_kind_are_read_to_their_end(tmp_path: Path, content: bytes) -> None:
    """A file that is no database, or a log that is none, is looked through to its end and raises nothing."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with SalvagedFile(path, [path]) as file:
        # What looks like a row by chance fits no table.
        assert [row for row in file.rows() if isinstance(row.cells[-1], float)] == []
    assert 0 <= count_committed(path) <= len(content) // 512
