"""What the journal knows of ids that were typed, looked up before anything starts. Blocks, a moment at most.

A cover task id typed where a music task id is wanted would be submitted for nothing; the other way round the
service would be asked for a job that it does not know.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from suno_cover_cli.journal.opening import refuse_odd_file

_BUSY_S = 0.5
# SQLite's own limit of parameters in one statement was 999 for long.
_AT_ONCE = 900


def find_covers(path: Path, music_task_ids: Iterable[str]) -> dict[str, str | None]:
    """Return the cover task of each music task that the journal knows, the newest where there are several.

    Args:
        path: Of the journal. One that is missing, busy or damaged knows nothing: the run says what is wrong.
        music_task_ids: As typed.

    Returns:
        Music task id -> cover task id, or ``None`` for a job that was not submitted yet.
    """
    rows = _select(
        path, "SELECT music_task_id, task_id FROM jobs WHERE music_task_id IN ({}) ORDER BY id", music_task_ids
    )
    return {str(music): None if cover is None else str(cover) for music, cover in rows}


def find_cover_tasks(path: Path, task_ids: Iterable[str]) -> set[str]:
    """Return those ids that the journal knows as cover tasks and not as music tasks; see :func:`find_covers`."""
    known = {str(found) for (found,) in _select(path, "SELECT task_id FROM jobs WHERE task_id IN ({})", task_ids)}
    return known - find_covers(path, known).keys() if known else known


class Origin(NamedTuple):
    """Which service made a cover task, and whether its covers were saved."""

    service: str
    is_saved: bool


def find_origins(path: Path, task_ids: Iterable[str]) -> dict[str, Origin]:
    """Return the origin of each cover task that the journal knows; see :func:`find_covers`."""
    rows = _select(path, "SELECT task_id, service, state FROM jobs WHERE task_id IN ({}) ORDER BY id", task_ids)
    return {str(task_id): Origin(str(service), state == "succeeded") for task_id, service, state in rows}


def _select(path: Path, statement: str, ids: Iterable[str]) -> list[tuple[str | None, ...]]:
    """Run a statement over ids, some at a time; ``{}`` in it stands for their parameters."""
    rows: list[tuple[str | None, ...]] = []
    try:
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            refuse_odd_file(path.with_name(name))  # a pipe there would keep us waiting
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        ) as connection:
            for some in _batched(ids):
                rows += connection.execute(statement.format(", ".join("?" * len(some))), some).fetchall()
    except (sqlite3.Error, OSError, ValueError):
        return []
    return rows


def _batched(ids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(ids)
    while some := list(islice(left, _AT_ONCE)):
        yield some
