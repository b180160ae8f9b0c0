"""Whether the journal is sound, looked at without a change; and repaired when it is not. Blocks."""

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import WarningRaised
from suno_cover_cli.base.models import is_safe_task_id
from suno_cover_cli.base.providers import LINKS_LIVE_S
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.journal_file import JournalFile
from suno_cover_cli.journal.opening import LOG_SUFFIXES, JournalConnection, is_damage, refuse_odd_file
from suno_cover_cli.journal.reading import SELECT_JOBS, count_damaged, read_jobs
from suno_cover_cli.journal.schema import is_newer

_BUSY_S = 2.0
_PAGE = 500
_BEGUN = (
    "SELECT output, task_id FROM jobs WHERE task_id IS NOT NULL"
    " AND (owner IS NOT NULL OR state IN ('submitted', 'partial')) ORDER BY id DESC LIMIT 1000"
)


class JournalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        is_there: Whether there is a journal at all.
        trouble: What is wrong with it, in SQLite's words; empty when it is sound.
        is_damaged: Whether that can be repaired; see :func:`repair_journal`.
        jobs: How many it knows.
        unfinished: Of these, how many have not ended.
        unfinished_at: Service -> how many of them.
        expired: Of these, how many miss images whose links are past their time.
        events: Recorded callbacks.
    """

    is_there: bool
    trouble: str = ""
    is_damaged: bool = False
    jobs: int = 0
    unfinished: int = 0
    unfinished_at: dict[str, int] = {}
    expired: int = 0
    events: int = 0


def check_journal(path: Path, now: float) -> JournalReport:
    """Open the journal read-only, let SQLite look at every page, read every job, and count.

    Args:
        path: Of the journal.
        now: Epoch seconds.
    """
    try:
        refuse_odd_file(path)
        if not path.exists():
            return JournalReport(is_there=False)
        if path.with_name(path.name + LOG_SUFFIXES[0]).exists():
            return JournalReport(is_there=True, trouble="a repair was interrupted", is_damaged=True)
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S, factory=JournalConnection)) as connection:
            return _look(connection, now)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return JournalReport(is_there=True, trouble=clean(error, 200), is_damaged=is_damage(error))
    except OSError as error:
        return JournalReport(is_there=True, trouble=clean(error.strerror or error, 200))


def _look(connection: JournalConnection, now: float) -> JournalReport:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if is_newer(version):
        return JournalReport(is_there=True, trouble="written by a newer suno-cover: upgrade this one")
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        return JournalReport(is_there=True, trouble=clean(verdict, 200), is_damaged=True)
    try:
        jobs, unfinished, expired = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE state NOT IN ('succeeded', 'failed', 'rejected')),"
            " count(*) FILTER (WHERE state = 'partial' AND coalesce(completed_at, created_at) < ?) FROM jobs",
            (now - LINKS_LIVE_S,),
        ).fetchone()
        services = connection.execute(
            "SELECT service, count(*) FROM jobs WHERE state NOT IN ('succeeded', 'failed', 'rejected')"
            " GROUP BY service"
        ).fetchall()
        (events,) = connection.execute("SELECT count(*) FROM recordings").fetchone()
        damaged = count_damaged(connection)
    except sqlite3.Error as error:
        return JournalReport(is_there=True, trouble=clean(error, 200), is_damaged=is_damage(error, connection))
    trouble = f"{damaged} {'job is' if damaged == 1 else 'jobs are'} damaged" if damaged else ""
    return JournalReport(
        is_there=True,
        trouble=trouble,
        is_damaged=damaged > 0,
        jobs=jobs,
        unfinished=unfinished,
        unfinished_at={str(service): count for service, count in services},
        expired=expired,
        events=events,
    )


def find_begun_folders(path: Path) -> list[Path]:
    """Return the folders that runs may have been writing covers into when they were killed, the newest first.

    A journal that cannot be read knows none: this must not keep a command from running.
    """
    try:
        refuse_odd_file(path)
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as connection:
            found = connection.execute(_BEGUN).fetchall()
    except (sqlite3.Error, OSError, UnicodeDecodeError):
        return []
    return [
        Path(os.fsdecode(output)) / task_id
        for output, task_id in found
        if isinstance(output, str | bytes) and isinstance(task_id, str) and is_safe_task_id(task_id)
    ]


def repair_journal(path: Path, clock: Clock) -> list[WarningRaised]:
    """Repair a damaged journal: its file if that is damaged, and every job in it that is.

    Returns:
        What was found and done, in words.

    Raises:
        DatabaseError: It cannot be repaired; it is as it was.
        UsageError: A newer version wrote it.
    """
    notes: list[WarningRaised] = []
    file = JournalFile(path, clock=clock, report=notes.append)
    try:
        file.repair_if_damaged()
        last_id: int | None = 0
        while last_id is not None:
            last_id = file.run(partial(_read_page, last_id))
    finally:
        file.close()
    return notes


def _read_page(after: int, connection: JournalConnection) -> int | None:
    """Read some jobs, which repairs them; return the id of the last one."""
    page = read_jobs(connection, f"{SELECT_JOBS} WHERE id > ? ORDER BY id LIMIT ?", (after, _PAGE))
    return page[-1].id if page else None
