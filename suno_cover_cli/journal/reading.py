"""Reads jobs out of the journal. A row that is damaged is repaired or set aside, and the others go on.

What is set aside or repaired is kept as it was in the table ``damaged_rows``, the newest of it only.
"""

import json
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from suno_cover_cli.base.events import WarningRaised
from suno_cover_cli.base.models import JobResult, is_safe_task_id
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.journal_file import DatabaseError
from suno_cover_cli.journal.opening import JournalConnection
from suno_cover_cli.journal.rows import JobRow, Pick, RowState, read_options

R = TypeVar("R")

_KEEP_DAMAGED = 1000
_RESULT = msgspec.json.Decoder(JobResult)
_STATES = frozenset(RowState)
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LATEST_S = 250_000_000_000.0  # later times are in no calendar


class DamagedRowError(Exception):
    """A row holds something that no suno-cover has written."""


# --- what the columns hold -------------------------------------------------------------------------------


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str) and "\0" not in cell and _SURROGATE.search(cell) is None


def _is_word(cell: Any) -> bool:
    return isinstance(cell, str) and cell != "" and cell.isprintable()


def _is_id(cell: Any) -> bool:
    return isinstance(cell, str) and _ID.fullmatch(cell) is not None


def _is_folder(cell: Any) -> bool:
    # A folder whose name is not text, as Linux allows, is kept as bytes.
    return (isinstance(cell, bytes) and b"\0" not in cell) or (_is_text(cell) and Path(cell).is_absolute())


def is_moment(cell: Any) -> bool:
    """Tell whether a cell can be epoch seconds."""
    return isinstance(cell, int | float) and 0 <= cell <= _LATEST_S


def _or_none(is_sound: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda cell: cell is None or is_sound(cell)


# Column of a job -> whether a cell of it may be from this program; in the order in which they are read.
_COLUMNS: dict[str, Callable[[Any], bool]] = {
    "id": lambda cell: isinstance(cell, int),
    "service": _is_word,
    "provider": _is_word,
    "music_task_id": _or_none(_is_id),
    "task_id": _or_none(lambda cell: isinstance(cell, str) and is_safe_task_id(cell)),
    "state": _STATES.__contains__,
    "output": _is_folder,
    "options": _is_text,
    "result": _or_none(_is_text),
    "owner": _or_none(_is_word),
    "created_at": is_moment,
    "submitted_at": _or_none(is_moment),
    "completed_at": _or_none(is_moment),
    "updated_at": is_moment,
    "key_mark": _or_none(_is_word),
}
_CHECKS = tuple(_COLUMNS.values())

PICK_COLUMNS = "picked_at, n, path, sha256"
"""What :func:`pick_of` reads, in its order."""

SELECT_JOBS = f"SELECT {', '.join(_COLUMNS)}, {PICK_COLUMNS} FROM jobs LEFT JOIN picks USING (service, task_id)"  # noqa: S608 -- constants
"""What :func:`read_jobs` reads; goes on with ``WHERE`` and columns of ``jobs``."""


def _row_of(found: tuple[Any, ...]) -> JobRow:
    for is_sound, cell in zip(_CHECKS, found, strict=False):
        if not is_sound(cell):
            raise DamagedRowError
    pick = pick_of(found[len(_CHECKS) :])
    try:
        row = JobRow(
            id=found[0],
            service=found[1],
            provider=found[2],
            music_task_id=found[3],
            task_id=found[4],
            state=RowState(found[5]),
            output=os.fsdecode(found[6]),
            options=read_options(found[7]),
            result=_result_of(found[8], pick) if found[8] else None,
            owner=found[9],
            created_at=found[10],
            submitted_at=found[11],
            completed_at=found[12],
            updated_at=found[13],
            key_mark=found[14],
            pick=pick,
        )
    except (ValueError, RecursionError) as error:
        raise DamagedRowError from error
    if _names_two_jobs(row.state, row.music_task_id, row.task_id, row.result):
        raise DamagedRowError
    return row


def _names_two_jobs(state: Any, music_task_id: Any, task_id: Any, result: JobResult | None) -> bool:
    """Tell whether a row that is not at its end has one cover task id, and its last result another.

    One of the two is damaged, although each can be an id. The music task leads to the right one.
    """
    if state not in {RowState.SUBMITTED, RowState.PARTIAL} or None in {music_task_id, task_id} or result is None:
        return False
    return result.task_id not in {None, task_id}


def _result_of(text: str, pick: Pick | None) -> JobResult:
    """Read a job object; what was chosen since it was written counts."""
    result = read_result(text)
    picked = None if pick is None else pick.picked
    return result if result.picked == picked else msgspec.structs.replace(result, picked=picked)


def read_result(text: str) -> JobResult:
    """Read a job object.

    Raises:
        ValueError: It holds something that no suno-cover has written.
    """
    try:
        return _RESULT.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Paths that are not UTF-8 are escaped in a way that only Python's own module reads.
        return msgspec.convert(json.loads(text), JobResult)


def pick_of(found: tuple[Any, ...]) -> Pick | None:
    """Read the columns of a pick; there is none where they are empty.

    Raises:
        DamagedRowError: They hold something that no suno-cover has written.
    """
    picked_at, n, path, sha256 = found
    if picked_at is None:
        return None
    is_sound = is_moment(picked_at) and (n is None or (isinstance(n, int) and n > 0))
    is_path = path is None or isinstance(path, bytes) or _is_text(path)
    if not is_sound or not is_path or not (sha256 is None or _is_text(sha256)):
        raise DamagedRowError
    return Pick(n=n, path=None if path is None else os.fsdecode(path), sha256=sha256, picked_at=picked_at)


# --- reading ---------------------------------------------------------------------------------------------


def read_jobs(connection: JournalConnection, query: str, values: Sequence[Any]) -> list[JobRow]:
    """Read jobs inside a transaction; what damage is met is noted on the connection.

    Args:
        connection: In a transaction.
        query: :data:`SELECT_JOBS` and what narrows it.
        values: For its question marks.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    return read_rows(connection, query, values, make=_row_of, repair=_repair_job)


def read_rows(
    connection: JournalConnection,
    query: str,
    values: Sequence[Any],
    *,
    make: Callable[[tuple[Any, ...]], R],
    repair: Callable[[JournalConnection, Any], None],
) -> list[R]:
    """Read rows of any table inside a transaction.

    Args:
        connection: In a transaction.
        query: Its first column is the key of the row.
        values: For its question marks.
        make: Makes one row; raises :class:`DamagedRowError`.
        repair: Repairs or removes the row with a key, so that it is sound or gone.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    try:
        return [make(found) for found in connection.execute(query, values)]
    except DamagedRowError:
        pass
    except sqlite3.OperationalError as error:
        if hasattr(error, "sqlite_errorcode"):
            raise
        # Python's own: text that is not UTF-8.
    connection.text_factory = _decode_leniently
    try:
        for found in connection.execute(query, values).fetchall():
            if not _is_sound(found, make):
                repair(connection, found[0])
    finally:
        connection.text_factory = str
    try:
        return [make(found) for found in connection.execute(query, values)]
    except DamagedRowError as error:
        raise DatabaseError("a damaged row of the journal could not be repaired") from error


def count_damaged(connection: sqlite3.Connection) -> int:
    """Count the jobs that would have to be repaired. Leaves the connection with lenient text.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    connection.text_factory = _decode_leniently
    return sum(not _is_sound(found, _row_of) for found in connection.execute(SELECT_JOBS))


def _is_sound(found: tuple[Any, ...], make: Callable[[tuple[Any, ...]], R]) -> bool:
    try:
        make(found)
    except DamagedRowError:
        return False
    return not any(isinstance(cell, str) and _SURROGATE.search(cell) for cell in found)


def _decode_leniently(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


# --- repair ------------------------------------------------------------------------------------------------


def set_aside(
    connection: JournalConnection, source: str, cells: dict[str, Any], reason: str, *, what: str, outcome: str
) -> None:
    """Keep a copy of a damaged row, and note that it was met.

    Args:
        connection: In a transaction.
        source: Its table.
        cells: By the names of its columns.
        reason: What is wrong with it.
        what: Which it is, in words.
        outcome: What became of it, in words.
    """
    shown = {name: _shown(cell) for name, cell in cells.items()}
    connection.execute(
        "INSERT INTO damaged_rows (source, reason, cells, set_aside_at) VALUES (?, ?, ?, strftime('%s', 'now'))",
        (source, reason, msgspec.json.encode(shown)),
    )
    connection.execute(
        "DELETE FROM damaged_rows WHERE id <= (SELECT max(id) FROM damaged_rows) - ?", (_KEEP_DAMAGED,)
    )
    connection.notes.append(
        WarningRaised(
            code="row_damaged",
            message=f"{what} of the journal was damaged ({reason}) and has been {outcome}",
            hint="What it was is kept in the journal's table damaged_rows.",
        )
    )


def _bound(cell: Any) -> Any:
    """Make a cell something that a statement takes; damaged text finds nothing then, which is right."""
    return cell.encode("utf-8", "surrogateescape") if isinstance(cell, str) and _SURROGATE.search(cell) else cell


def _shown(cell: Any) -> Any:
    """Make a cell something that JSON can hold; bytes become base64."""
    if isinstance(cell, str):
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return repr(cell) if isinstance(cell, float) else cell


def _repair_job(connection: JournalConnection, job_id: int) -> None:
    cursor = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,))
    cells = dict(zip((name for name, *_ in cursor.description), cursor.fetchone(), strict=True))
    _repair_pick(connection, cells)
    faults = _faults_of(cells)
    if not faults:
        return
    repaired = _repaired(cells, faults)
    what = ", ".join(
        f"{name} {clean(cells[column], 128)}"
        for name, column in (("music task", "music_task_id"), ("cover task", "task_id"))
        if cells[column] is not None and column not in faults
    )
    set_aside(
        connection,
        "jobs",
        cells,
        ", ".join(sorted(faults)),
        what=f"job {job_id} ({what})" if what else f"job {job_id}",
        outcome="set aside" if repaired is None else "repaired",
    )
    if repaired is None:
        connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        return
    changes = ", ".join(f"{name} = ?" for name in repaired)
    connection.execute(f"UPDATE jobs SET {changes} WHERE id = ?", [*repaired.values(), job_id])  # noqa: S608 -- our columns


def _faults_of(cells: dict[str, Any]) -> set[str]:
    faults = {name for name, is_sound in _COLUMNS.items() if not is_sound(cells[name])}
    result: JobResult | None = None
    try:
        if "result" not in faults and cells["result"]:
            result = read_result(cells["result"])
    except (ValueError, RecursionError):
        faults.add("result")
    try:
        if "options" not in faults:
            read_options(cells["options"])
    except (ValueError, RecursionError):
        faults.add("options")
    # As the state will be repaired.
    state = RowState.SUBMITTED if "state" in faults else cells["state"]
    if not faults & {"music_task_id", "task_id"} and _names_two_jobs(
        state, cells["music_task_id"], cells["task_id"], result
    ):
        faults |= {"task_id", "result"}
    return faults


def _repaired(cells: dict[str, Any], faults: set[str]) -> dict[str, Any] | None:
    """Return what to write into the damaged columns, ``None`` when too much is lost to go on with the job.

    A job whose state or cover task id is lost is submitted or read once more, which makes no second job.
    """
    known = {column for column in ("music_task_id", "task_id") if cells[column] is not None} - faults
    if not known or faults & {"service", "provider", "output"}:
        return None
    moments = ("completed_at", "updated_at", "submitted_at", "created_at")
    moment = next((cells[name] for name in moments if name not in faults and cells[name] is not None), 0.0)
    replacements: dict[str, Any] = {
        "options": "{}",
        "state": RowState.SUBMITTED if "task_id" in known else RowState.SUBMITTING,
        "created_at": moment,
        "updated_at": moment,
    }
    repaired = {name: replacements.get(name) for name in sorted(faults)}
    if "task_id" in faults and cells["state"] in {RowState.SUBMITTED, RowState.PARTIAL}:
        repaired["state"] = RowState.SUBMITTING
    return repaired


def _repair_pick(connection: JournalConnection, job: dict[str, Any]) -> None:
    """Set the pick of a job aside, when that is what is damaged."""
    key = tuple(_bound(job[name]) for name in ("service", "task_id"))
    query = f"SELECT {PICK_COLUMNS} FROM picks WHERE service = ? AND task_id = ?"  # noqa: S608 -- constants
    found = connection.execute(query, key).fetchone()
    try:
        if found is None or pick_of(found) is not None:
            return
    except DamagedRowError:
        pass
    cells = dict(zip(PICK_COLUMNS.split(", "), found, strict=True))
    set_aside(
        connection,
        "picks",
        cells,
        "it is not a valid choice",
        what=f"the choice between the covers of {clean(job['task_id'], 128)}",
        outcome="set aside: choose again",
    )
    connection.execute("DELETE FROM picks WHERE service = ? AND task_id = ?", key)
