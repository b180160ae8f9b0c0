"""The shape of the journal's file: its tables, the version it has, and the way from an older one."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from suno_cover_cli.base.errors import UsageError

_HIGHEST_BELIEVED = 1000

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
    # of the same cover task. It goes with the last of its rows, no matter what deletes that.
    """
    CREATE TABLE picks (
        service TEXT NOT NULL,
        task_id TEXT NOT NULL,
        n INTEGER,
        path TEXT,
        sha256 TEXT,
        picked_at REAL NOT NULL,
        PRIMARY KEY (service, task_id)
    );
    CREATE TRIGGER picks_go_with_jobs AFTER DELETE ON jobs WHEN old.task_id IS NOT NULL BEGIN
        DELETE FROM picks WHERE service = old.service AND task_id = old.task_id
            AND NOT EXISTS (SELECT 1 FROM jobs WHERE task_id = old.task_id AND service = old.service);
    END;
    CREATE TABLE damaged_rows (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        reason TEXT NOT NULL,
        cells BLOB NOT NULL,
        set_aside_at REAL NOT NULL
    );
    """,
    # Whatever arrives is recorded: also what is not a callback, which has no kind and an empty task id, and what
    # it was answered. Rows from before are callbacks of covers.
    """
    ALTER TABLE recordings ADD COLUMN method TEXT NOT NULL DEFAULT 'POST';
    ALTER TABLE recordings ADD COLUMN remote TEXT NOT NULL DEFAULT '';
    ALTER TABLE recordings ADD COLUMN kind TEXT DEFAULT 'cover';
    ALTER TABLE recordings ADD COLUMN stage TEXT;
    ALTER TABLE recordings ADD COLUMN reason TEXT NOT NULL DEFAULT '';
    ALTER TABLE recordings ADD COLUMN signature_reason TEXT NOT NULL DEFAULT '';
    ALTER TABLE recordings ADD COLUMN is_whole INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE recordings ADD COLUMN answered INTEGER;
    ALTER TABLE recordings ADD COLUMN latency_ms REAL;
    ALTER TABLE recordings ADD COLUMN forward TEXT;
    UPDATE recordings SET stage = CASE code WHEN 200 THEN 'complete' ELSE 'error' END;
    """,
    # Jobs from before count as submitted with whatever key there is.
    """
    ALTER TABLE jobs ADD COLUMN key_mark TEXT;
    """,
)

SCHEMA_VERSION = len(_MIGRATIONS)
"""What ``user_version`` of a file is that this program has written."""


class Column(NamedTuple):
    """A column of a table: the type it was declared with, whether a value is needed, whether it is the rowid."""

    name: str
    kind: str
    is_needed: bool
    is_rowid: bool


class SchemaDamagedError(Exception):
    """The tables are not those that the file's version has."""


def refuse_newer(path: Path) -> None:
    """Look at the version of a file and change nothing: an ordinary connection would tidy up when it is closed.

    Raises:
        UsageError: A newer version of the program wrote it.
        SchemaDamagedError: It has tables but no version.
        sqlite3.Error: Its log cannot be read, or the file is damaged.
        OSError: The file cannot be read.
    """
    # Only SQLite can read what was written last, which is in the log. Without a log no process has the file open,
    # and nothing need be locked.
    has_log = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}"
    with closing(sqlite3.connect(uri, uri=True)) as reader:
        version = _version_of(reader)
        if version == 0 and _objects_of(reader):
            raise SchemaDamagedError("it is not a journal")
    if is_newer(version):
        raise UsageError(
            f"the journal {path} was written by a newer suno-cover (version {version} of its shape)",
            code="journal_newer",
            hint="Upgrade suno-cover, or set SUNO_COVER_STATE_DIR to another folder. The file was not touched.",
        )


def is_newer(version: int) -> bool:
    """Tell whether a version is one that this program does not know yet; one out of reach is damage."""
    return SCHEMA_VERSION < version <= _HIGHEST_BELIEVED


def migrate(connection: sqlite3.Connection) -> None:
    """Take a file to this program's version, one version after the other, each whole or not at all.

    Raises:
        SchemaDamagedError: Its tables are not those of its version.
        sqlite3.Error: The file cannot be read or written.
    """
    for _ in _MIGRATIONS:
        if _version_of(connection) != SCHEMA_VERSION:
            _migrate_once(connection)


def _migrate_once(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have migrated meanwhile.
        version = _version_of(connection)
        if version != SCHEMA_VERSION:
            for statement in _statements(_script_after(version)):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException as error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:
            # The statements are right, so what they meet is not what a file of that version has.
            raise SchemaDamagedError("its tables are not those of its version") from error
        raise


def _script_after(version: int) -> str:
    if not 0 <= version < SCHEMA_VERSION:
        raise SchemaDamagedError(f"there is no version {version}")
    return _MIGRATIONS[version]


def has_shape(connection: sqlite3.Connection) -> bool:
    """Tell whether a file has all that this program's version makes; more is fine. Takes milliseconds.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    with closing(sqlite3.connect(":memory:")) as model:
        for script in _MIGRATIONS:
            model.executescript(f"BEGIN; {script} COMMIT;")
        return _objects_of(model) <= _objects_of(connection)


def columns_by_table(connection: sqlite3.Connection) -> dict[str, list[Column]]:
    """Return the columns of each table, in their order."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: _columns_of(connection, name) for name in names}


def _columns_of(connection: sqlite3.Connection, table: str) -> list[Column]:
    query = 'SELECT name, type, "notnull" AND dflt_value IS NULL, pk FROM pragma_table_info(?)'
    found = connection.execute(query, (table,)).fetchall()
    has_key_of_one = sum(1 for *_, key in found if key) == 1
    return [
        Column(name, kind, is_needed=bool(needed), is_rowid=has_key_of_one and bool(key) and kind == "INTEGER")
        for name, kind, needed, key in found
    ]


def _statements(script: str) -> Iterator[str]:
    """Take a script apart; a trigger is one statement, whatever semicolons are in it."""
    statement = ""
    for part in script.strip().removesuffix(";").split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _objects_of(connection: sqlite3.Connection) -> frozenset[str]:
    """Return how each table, index and trigger is made."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return frozenset(sql for (sql,) in found)
