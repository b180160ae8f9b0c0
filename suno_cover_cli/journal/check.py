"""Whether the journal is sound, looked at without changing or making anything. Blocks."""

import sqlite3
from pathlib import Path

import msgspec

from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.history import LINKS_LIVE_S
from suno_cover_cli.journal.schema import SCHEMA_VERSION

_BUSY_S = 2.0


class JournalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        is_there: Whether there is a journal at all.
        trouble: What is wrong with it, in SQLite's words; empty when it is sound.
        jobs: How many it knows.
        unfinished: Of these, how many have not ended.
        expired: Of these, how many miss images whose links are past their time.
        events: Recorded callbacks.
    """

    is_there: bool
    trouble: str = ""
    jobs: int = 0
    unfinished: int = 0
    expired: int = 0
    events: int = 0


def check_journal(path: Path, now: float) -> JournalReport:
    """Open the journal read-only, let SQLite look at every page, and count.

    Args:
        path: Of the journal.
        now: Epoch seconds.
    """
    if not path.exists():
        return JournalReport(is_there=False)
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                return JournalReport(is_there=True, trouble="written by a newer suno-cover: upgrade this one")
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                return JournalReport(is_there=True, trouble=clean(verdict, 200))
            jobs, unfinished, expired = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE state NOT IN ('succeeded', 'failed', 'rejected')),"
                " count(*) FILTER (WHERE state = 'partial' AND coalesce(completed_at, created_at) < ?) FROM jobs",
                (now - LINKS_LIVE_S,),
            ).fetchone()
            (events,) = connection.execute("SELECT count(*) FROM recordings").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return JournalReport(is_there=True, trouble=clean(error, 200))
    return JournalReport(is_there=True, jobs=jobs, unfinished=unfinished, expired=expired, events=events)
