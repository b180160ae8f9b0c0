"""Recorded events: every accepted callback with its headers and its bytes, to look at and to send again.

They live in the journal's database, the newest of them only: a record that anybody can grow from outside has to
have an end.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.opening import JournalConnection
from suno_cover_cli.journal.reading import DamagedRowError, is_moment, read_rows, set_aside

KEEP_EVENTS = 1000
KEEP_BYTES = 64 * 1024 * 1024
"""A callback has a few hundred bytes; a thousand hostile ones of 1 MiB each would be a gigabyte."""

_COLUMNS = "n, id, ts, task_id, code, path, signature, headers, body"
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
# One statement for many rows: SQLite's module gives the interpreter lock away once a statement, and under load
# each return of it costs more than the row. Two sizes, because each statement is parsed once and kept.
_CHUNKS = (50, 1)
# SQLite itself keeps the highest number ever given here, so that none is given twice.
_LAST_NUMBER = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'recordings'"
_HEADERS = msgspec.json.Decoder(Headers)


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded event.

    Attributes:
        n: Its number in the record, never given twice.
        id: See :class:`~suno_cover_cli.callbacks.content.ReceivedCallback`, like all that follows.
        ts: Epoch seconds at arrival.
        task_id: Cover task id.
        code: The service's verdict.
        path: As requested, query included.
        signature: What was known about it on arrival.
        headers: As sent.
        body: As sent.
    """

    n: int
    id: str
    ts: float
    task_id: str
    code: int
    path: str
    signature: SignatureState
    headers: Headers
    body: bytes


class RecordingStore:
    """The record of events.

    Args:
        database: The journal's, entered.
        keep_events: Newest events that are kept.
        keep_bytes: Bytes of bodies that are kept, roughly.
    """

    def __init__(
        self, database: Database, *, keep_events: int = KEEP_EVENTS, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self._database = database
        self._keep_events = keep_events
        self._keep_bytes = keep_bytes
        # What is there already is measured with the first addition.
        self._unmeasured_bytes = keep_bytes

    async def add(self, callbacks: Sequence[ReceivedCallback]) -> int:
        """Write callbacks down, in their order. All get numbers, also those that the later ones displace at once.

        Returns:
            The number of the first one; the others follow it without a gap.

        Raises:
            DatabaseError: They are not on disk, none of them.
        """
        kept = callbacks[-self._keep_events :]
        self._unmeasured_bytes += sum(len(callback.body) for callback in kept)
        measures = self._unmeasured_bytes > self._keep_bytes // 16

        def operation(connection: sqlite3.Connection) -> int:
            before = connection.execute(_LAST_NUMBER).fetchone()[0]
            last = before + len(callbacks)
            _insert(connection, [_row_of(n, one) for n, one in enumerate(kept, last - len(kept) + 1)])
            connection.execute("DELETE FROM recordings WHERE n <= ?", (last - self._keep_events,))
            if measures:
                self._drop_beyond_room(connection)
            return int(before) + 1

        first = await self._database.run(operation)
        if measures:
            self._unmeasured_bytes = 0
        return first

    async def load_newest(self, limit: int | None = None, *, task_id: str | None = None) -> list[Recording]:
        """Return what is kept, oldest first; with a limit, the newest so many.

        Raises:
            DatabaseError: The database cannot be read.
        """

        def operation(connection: JournalConnection) -> list[Recording]:
            query = f"SELECT {_COLUMNS} FROM recordings WHERE ?1 IS NULL OR task_id = ?1 ORDER BY n DESC LIMIT ?2"  # noqa: S608 -- a constant
            values = (task_id, self._keep_events if limit is None else limit)
            return read_rows(connection, query, values, make=_recording_of, mend=_set_aside)[::-1]

        return await self._database.run(operation)

    async def find(self, name: str) -> Recording:
        """Return the event of a number, of an id, or the ``last`` one.

        Raises:
            UsageError: There is none, or none any more.
            DatabaseError: The database cannot be read.
        """
        key: tuple[int | str, ...]
        if name == "last":
            where, key = "n = (SELECT max(n) FROM recordings)", ()
        elif name.isascii() and name.isdecimal():
            where, key = "n = ?", (min(int(name[:19]), 2**63 - 1),)
        else:
            where, key = "id = ?", (clean(name, 100),)

        def operation(connection: JournalConnection) -> Recording | None:
            query = f"SELECT {_COLUMNS} FROM recordings WHERE {where}"  # noqa: S608 -- constants
            found = read_rows(connection, query, key, make=_recording_of, mend=_set_aside)
            return found[0] if found else None

        recording = await self._database.run(operation)
        if recording is None:
            if name == "last":
                what = "no event has been recorded"
                hint = "suno-cover listen records what it accepts; let it take a callback first."
            else:
                what = f'no recorded event is "{clean(name, 60)}"'
                hint = "suno-cover listen --list shows what is kept; give a number, an id or last."
            raise UsageError(what, code="no_such_event", hint=hint)
        return recording

    def _drop_beyond_room(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM recordings WHERE n <= (SELECT max(n) FROM (SELECT n, sum(length(body))"
            " OVER (ORDER BY n DESC) AS held_bytes FROM recordings) WHERE held_bytes > ?)"
            # The newest stays, however large.
            " AND n < (SELECT max(n) FROM recordings)",
            (self._keep_bytes,),
        )


def _insert(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    for size in _CHUNKS:
        # An id is 32 random bits: should one come up again, the older event gives way.
        statement = f"INSERT OR REPLACE INTO recordings ({_COLUMNS}) VALUES {', '.join([_ROW] * size)}"  # noqa: S608 -- constants
        while len(rows) >= size:
            chunk, rows = rows[:size], rows[size:]
            connection.execute(statement, [value for row in chunk for value in row])


def _row_of(n: int, callback: ReceivedCallback) -> tuple[object, ...]:
    return (
        n,
        callback.id,
        callback.ts,
        callback.task_id,
        callback.code,
        # The bytes of a query that are no UTF-8 arrive as lone surrogates, which no column takes.
        callback.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        callback.signature.value,
        msgspec.json.encode(callback.headers).decode(),
        callback.body,
    )


def _recording_of(row: tuple[object, ...]) -> Recording:
    n, event_id, ts, task_id, code, path, signature, headers, body = row
    if not is_moment(ts):
        raise DamagedRowError
    try:
        return msgspec.convert(
            {
                "n": n,
                "id": event_id,
                "ts": ts,
                "task_id": task_id,
                "code": code,
                "path": path,
                "signature": signature,
                "headers": _HEADERS.decode(str(headers)),
                "body": body,
            },
            Recording,
        )
    except (ValueError, RecursionError) as error:
        raise DamagedRowError from error


def _set_aside(connection: JournalConnection, n: int) -> None:
    cursor = connection.execute("SELECT * FROM recordings WHERE n = ?", (n,))
    cells = dict(zip((name for name, *_ in cursor.description), cursor.fetchone(), strict=True))
    set_aside(connection, "recordings", cells, "it is no event", what=f"event {n}", outcome="set aside")
    connection.execute("DELETE FROM recordings WHERE n = ?", (n,))
