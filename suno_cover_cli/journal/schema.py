"""The shape of the journal's file: its tables, the version it has, and the way from an older one."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from suno_cover_cli.base.errors import UsageError

# Where the file format keeps user_version (https://www.sqlite.org/fileformat2.html, section 1.3).
_MAGIC = b"SQLite format 3\0"
_VERSION_OFFSET = 60

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
    # A pick belongs to the cover task, not to a row: a music task that is submitted anew may lead to a second row
    # of the same cover task. It goes with the last of its rows, whoever deletes that.
    """
    CREATE TABLE picks (
        service TEXT NOT NULL,
        task_id TEXT NOT NULL,
        n INTEGER,
        path TEXT,
        sha256 TEXT,
        picked_at REAL NOT NULL,
        PRIMARY KEY (service, task_id)
    ) WITHOUT ROWID;
    CREATE TRIGGER picks_go_with_jobs AFTER DELETE ON jobs WHEN old.task_id IS NOT NULL BEGIN
        DELETE FROM picks WHERE service = old.service AND task_id = old.task_id
            AND NOT EXISTS (SELECT 1 FROM jobs WHERE task_id = old.task_id AND service = old.service);
    END;
    """,
)

SCHEMA_VERSION = len(_MIGRATIONS)
"""What ``user_version`` of a file is that this program has written."""


def refuse_newer(path: Path) -> None:
    """Look at the version of a file and change nothing: an ordinary connection would tidy up when it is closed.

    Raises:
        UsageError: A newer version of the program wrote it.
        sqlite3.Error: Its log cannot be read.
        OSError: The file cannot be read.
    """
    _refuse_newer(path, _version_before_opening(path))


def migrate(path: Path, connection: sqlite3.Connection) -> None:
    """Take a file to this program's version, one version after the other, each whole or not at all.

    Raises:
        UsageError: Another process has just taken it to a newer one.
        sqlite3.Error: The file cannot be read or written.
    """
    while _version_of(connection) != SCHEMA_VERSION:
        _migrate_once(path, connection)


def _migrate_once(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have migrated meanwhile.
        version = _version_of(connection)
        _refuse_newer(path, version)
        if version < SCHEMA_VERSION:
            for statement in _statements(_MIGRATIONS[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Take a script apart; a trigger is one statement, whatever semicolons are in it."""
    statement = ""
    for part in script.strip().removesuffix(";").split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version_before_opening(path: Path) -> int:
    with path.open("rb") as file:
        header = file.read(_VERSION_OFFSET + 4)
    if len(header) < _VERSION_OFFSET + 4 or not header.startswith(_MAGIC):
        return 0
    if path.with_name(f"{path.name}-wal").exists():
        # What was written last is there, and only SQLite can read it.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            return _version_of(reader)
    return int.from_bytes(header[_VERSION_OFFSET:])


def _version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_newer(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"the journal {path} was written by a newer suno-cover (version {version} of its shape)",
            code="journal_newer",
            hint="Upgrade suno-cover, or set SUNO_COVER_STATE_DIR to another folder. The file was not touched.",
        )
