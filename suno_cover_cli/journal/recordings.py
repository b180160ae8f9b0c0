"""Recorded requests: each with its headers, its bytes and its answer, to look at and to send again.

They live in the journal's database, the newest of them only: a record that any sender can grow has to
have an end.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.settings import USUAL_RETENTION, Retention
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.kinds import CallbackKind, CallbackStage
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.opening import JournalConnection
from suno_cover_cli.journal.reading import DamagedRowError, is_moment, read_rows, set_aside

KEEP_BYTES = 64 * 1024 * 1024
"""A callback has a few hundred bytes; a thousand hostile ones of 4 MiB each would be gigabytes."""

# SQLite itself keeps the highest number ever given here, so that none is given twice.
_LAST_NUMBER = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'recordings'"
_HEADERS = msgspec.json.Decoder(Headers)


class ForwardReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the receiver behind us did; part of the event lines.

    Attributes:
        url: Where to, without user and password.
        status: Of its answer, also of one that did not come to its end; ``None`` when there was none.
        latency_ms: Until its answer, or until that was given up.
        headers: Of its answer; names in lower case, several values joined with commas, cookies with newlines.
        body_b64: Of its answer, 64 KiB at most.
        error: Why there is no answer, or no end of it, in words; ``None`` when there is a whole one.
    """

    url: str
    status: int | None
    latency_ms: float
    headers: dict[str, str] = {}
    body_b64: str = ""
    error: str | None = None


class RecordedAnswer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request was answered: the status, after how long, and what the receiver behind us did."""

    status: int
    latency_ms: float
    forward: ForwardReport | None = None


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded request.

    Attributes:
        n: Its number in the record, never given twice.
        id: See :class:`~suno_cover_cli.callbacks.content.ReceivedRequest`, like all that follows.
        ts: Epoch seconds at arrival.
        method: As sent.
        path: As requested, query included.
        remote: Address of the sender.
        kind: Of the callback, or ``None`` when it is none.
        stage: Of the callback.
        task_id: Of the callback; empty without one.
        code: Of the callback; 0 without one.
        reason: Why it is not a callback.
        signature: What was known about it on arrival.
        signature_reason: What was wrong with it.
        headers: As sent.
        body: As sent.
        is_whole: All of the body is here.
        answer: What it was answered, as far as that is known.
    """

    n: int
    id: str
    ts: float
    method: str
    path: str
    remote: str
    kind: CallbackKind | None
    stage: CallbackStage | None
    task_id: str
    code: int
    reason: str
    signature: SignatureState
    signature_reason: str
    headers: Headers
    body: bytes
    is_whole: bool
    answer: RecordedAnswer | None

    @property
    def query(self) -> str:
        """What follows the first ``?`` of the path."""
        return self.path.partition("?")[2]


_COLUMNS = (
    *("n", "id", "ts", "method", "path", "remote", "kind", "stage", "task_id", "code", "reason", "signature"),
    *("signature_reason", "headers", "body", "is_whole", "answered", "latency_ms", "forward"),
)
_COLUMN_NAMES = ", ".join(_COLUMNS)
_SELECT = f"SELECT {_COLUMN_NAMES} FROM recordings"  # noqa: S608 -- constants
_ROW = f"({', '.join('?' * len(_COLUMNS))})"
# One statement for many rows: SQLite's module gives the interpreter lock away once a statement, and under load
# each return of it costs more than the row. Few sizes, because each statement is parsed once and kept.
_CHUNKS = (50, 7, 1)
_ROWS_A_TURN = 50
# Numbers grow with time: the first that is young ends the search. The newest one is always young.
_FORGET_OLD = "DELETE FROM recordings WHERE n < (SELECT n FROM recordings WHERE ts >= ? ORDER BY n LIMIT 1)"
_ANSWERED = "UPDATE recordings SET answered = ?, latency_ms = ?, forward = ? WHERE n = ?"

Entry = tuple[ReceivedRequest, RecordedAnswer | None]
"""A request, and what it was answered if it was already."""


class RecordingStore:
    """The record of requests.

    Args:
        database: The journal's, entered.
        retention: How many are kept, and for how long.
        keep_bytes: Bytes of bodies that are kept, roughly.
    """

    def __init__(
        self, database: Database, *, retention: Retention = USUAL_RETENTION, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self._database = database
        self._retention = retention
        self._keep_bytes = keep_bytes
        # What is there already is measured with the first addition.
        self._unmeasured_bytes = keep_bytes

    async def add(self, entries: Sequence[Entry], answers: Sequence[tuple[int, RecordedAnswer]] = ()) -> int:
        """Write requests down, in their order. All get numbers, also those that the later ones displace at once.

        Args:
            entries: New ones.
            answers: Number of one that was added before -> what it was answered since.

        Returns:
            The number of the first one; the others follow it without a gap.

        Raises:
            DatabaseError: They are not on disk, none of them.
        """
        keep_events = self._retention.events
        kept = entries[-keep_events:]
        rows = []
        for n, entry in enumerate(kept, 1):
            rows.append(_row_of(*entry))
            # Here and not in the thread: while it held the interpreter's lock, no answer would go out.
            if n % _ROWS_A_TURN == 0:
                await asyncio.sleep(0)
        oldest = self._retention.oldest(entries[-1][0].ts) if entries else None
        self._unmeasured_bytes += sum(len(request.body) for request, _ in kept)
        self._unmeasured_bytes += sum(len(answer.forward.body_b64) for _, answer in answers if answer.forward)
        measures = self._unmeasured_bytes > self._keep_bytes // 16

        def operation(connection: sqlite3.Connection) -> int:
            before = connection.execute(_LAST_NUMBER).fetchone()[0]
            last = before + len(entries)
            _insert(connection, rows, last - len(rows) + 1)
            connection.executemany(_ANSWERED, [(*_answer_row(answer), n) for n, answer in answers])
            connection.execute("DELETE FROM recordings WHERE n <= ?", (last - keep_events,))
            if oldest is not None:
                connection.execute(_FORGET_OLD, (oldest,))
            if measures:
                self._drop_beyond_room(connection)
            return int(before) + 1

        first = await self._database.run(operation)
        if measures:
            self._unmeasured_bytes = 0
        return first

    async def load_newest(self, limit: int | None = None, *, task_id: str | None = None) -> list[Recording]:
        """Return what is kept, oldest first; with a limit, the newest so many.

        Args:
            limit: ``None`` for all.
            task_id: Callbacks of this task alone.

        Raises:
            DatabaseError: The database cannot be read.
        """

        def operation(connection: JournalConnection) -> list[Recording]:
            query = f"{_SELECT} WHERE ? IS NULL OR task_id = ? ORDER BY n DESC LIMIT ?"
            values = (task_id, task_id, -1 if limit is None else limit)
            return read_rows(connection, query, values, make=_recording_of, repair=_set_aside)[::-1]

        return await self._database.run(operation)

    async def find(self, name: str) -> Recording:
        """Return the request of a number, of an id, or the ``last`` one.

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
            found = read_rows(connection, f"{_SELECT} WHERE {where}", key, make=_recording_of, repair=_set_aside)
            return found[0] if found else None

        recording = await self._database.run(operation)
        if recording is None:
            if name == "last":
                what = "no event has been recorded"
                hint = "suno-cover listen records what arrives: receive a callback first."
            else:
                what = f'no recorded event is "{clean(name, 60)}"'
                hint = "suno-cover listen --list shows what is kept; give a number, an id or last."
            raise UsageError(what, code="no_such_event", hint=hint)
        return recording

    def _drop_beyond_room(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM recordings WHERE n <= (SELECT max(n) FROM (SELECT n,"
            " sum(length(body) + length(coalesce(forward, '')))"
            " OVER (ORDER BY n DESC) AS held_bytes FROM recordings) WHERE held_bytes > ?)"
            # The newest stays, however large.
            " AND n < (SELECT max(n) FROM recordings)",
            (self._keep_bytes,),
        )


def _insert(connection: sqlite3.Connection, rows: list[tuple[object, ...]], first: int) -> None:
    """Insert rows of consecutive numbers, of which ``first`` is the lowest."""
    for size in _CHUNKS:
        # An id is 32 random bits: should one come up again, the older event gives way.
        statement = f"INSERT OR REPLACE INTO recordings ({_COLUMN_NAMES}) VALUES {', '.join([_ROW] * size)}"  # noqa: S608 -- constants
        while len(rows) >= size:
            chunk, rows = rows[:size], rows[size:]
            connection.execute(statement, [value for n, row in enumerate(chunk, first) for value in (n, *row)])
            first += size


def _row_of(request: ReceivedRequest, answer: RecordedAnswer | None) -> tuple[object, ...]:
    """Return the cells of a request, but for its number."""
    content = request.content
    return (
        request.id,
        request.ts,
        # What is not UTF-8 arrives as lone surrogates, which no column takes.
        request.method.encode("utf-8", "backslashreplace").decode(),
        request.path,
        request.remote,
        None if content is None else str(content.kind),
        None if content is None or content.stage is None else str(content.stage),
        "" if content is None else content.task_id,
        0 if content is None else content.code,
        request.reason,
        str(request.signature),
        request.signature_reason,
        msgspec.json.encode(request.headers).decode(),
        request.body,
        # A bool would be looked up among the converters of the sqlite3 module, which takes longer than the row.
        int(request.is_whole),
        *_answer_row(answer),
    )


def _answer_row(answer: RecordedAnswer | None) -> tuple[int | None, float | None, str | None]:
    if answer is None:
        return None, None, None
    forward = None if answer.forward is None else msgspec.json.encode(answer.forward).decode()
    return answer.status, answer.latency_ms, forward


def _recording_of(row: tuple[Any, ...]) -> Recording:
    found = dict(zip(_COLUMNS, row, strict=True))
    if not is_moment(found["ts"]):
        raise DamagedRowError
    status, latency_ms, forward = found.pop("answered"), found.pop("latency_ms"), found.pop("forward")
    try:
        answer = None
        if status is not None:
            report = None if forward is None else msgspec.json.decode(forward, type=ForwardReport)
            answer = msgspec.convert(
                {"status": status, "latency_ms": latency_ms, "forward": report}, RecordedAnswer
            )
        headers, is_whole = _HEADERS.decode(found.pop("headers")), bool(found.pop("is_whole"))
        return msgspec.convert({**found, "headers": headers, "is_whole": is_whole, "answer": answer}, Recording)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedRowError from error


def _set_aside(connection: JournalConnection, n: int) -> None:
    cursor = connection.execute("SELECT * FROM recordings WHERE n = ?", (n,))
    cells = dict(zip((name for name, *_ in cursor.description), cursor.fetchone(), strict=True))
    set_aside(connection, "recordings", cells, "it is not a valid event", what=f"event {n}", outcome="set aside")
    connection.execute("DELETE FROM recordings WHERE n = ?", (n,))
