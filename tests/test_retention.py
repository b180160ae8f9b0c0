"""How much of the past the journal keeps, and that its file gives back the room of what it forgets."""

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.models import JobState
from suno_cover_cli.base.settings import Retention
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.journal_file import JournalFile
from suno_cover_cli.journal.opening import prepare_shrinking
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.journal.salvage import SalvagedFile
from tests.cli_fixtures import Cli
from tests.clocks import ManualClock
from tests.journal_fixtures import Listening, ended, journal_in, music
from tests.listener_fixtures import PATIENCE_S
from tests.test_recordings import entry

_DAY_S = 24 * 3600.0


def file_of(folder: Path) -> Path:
    """Return the file of a journal."""
    return folder / "journal.sqlite3"


async def fill(journal: Journal, names: list[str]) -> None:
    """Take jobs to their end."""

    async def take_to_its_end(name: str) -> None:
        row = (await journal.claim(music(name))).row
        await journal.record_end(row, ended(JobState.SUCCEEDED, f"cover-of-{name}"), None)

    # At once: they share commits.
    for start in range(0, len(names), 100):
        await asyncio.gather(*map(take_to_its_end, names[start : start + 100]))


async def grow(journal: Journal) -> None:
    """Write 800 ended jobs that take 8,000 bytes each."""
    await fill(journal, ["one"])
    copy = (
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 799)"
        " INSERT INTO jobs (service, provider, music_task_id, task_id, state, message, output, options,"
        " created_at, updated_at) SELECT service, provider, 'job-' || i, 'cover-' || i, state,"
        " hex(zeroblob(4000)), output, options, created_at, updated_at FROM jobs, n"
    )
    await journal.database.run(lambda c: c.execute(copy).rowcount)


def known_jobs(folder: Path) -> set[str]:
    """Return the music tasks in a journal."""
    with contextlib.closing(sqlite3.connect(file_of(folder))) as connection:
        return {name for (name,) in connection.execute("SELECT music_task_id FROM jobs")}


def pick(folder: Path, *names: str) -> None:
    """Pick from jobs, as ``pick`` would."""
    with contextlib.closing(sqlite3.connect(file_of(folder))) as connection, connection:
        for name in names:
            connection.execute(
                "INSERT INTO picks VALUES ('https://service.test', ?, 1, 'p', 's', 1)", (f"cover-of-{name}",)
            )


async def test_the_settings_say_how_many_jobs_stay_and_for_how_long(tmp_path: Path) -> None:
    """Of ended jobs the newest so many stay, for so many days; picked ones stay in any case, however many."""
    clock = ManualClock()
    old = [f"old-{n}" for n in range(700)]

    def opened(retention: Retention) -> Journal:
        return Journal(tmp_path, clock=clock, sink=Listening(), retention=retention)

    async with opened(Retention()) as journal:
        await fill(journal, old)
    # More than are looked at in one go, and all in front of what is to be forgotten.
    await asyncio.to_thread(pick, tmp_path, *old[:600])
    clock.advance(3 * _DAY_S)
    async with opened(Retention(days=4)) as journal:
        await fill(journal, ["young-1", "young-2", "young-3"])
    assert len(await asyncio.to_thread(known_jobs, tmp_path)) == 703
    async with opened(Retention(days=2)):
        pass
    assert await asyncio.to_thread(known_jobs, tmp_path) == {*old[:600], "young-1", "young-2", "young-3"}
    async with opened(Retention(jobs=2)):
        pass
    assert await asyncio.to_thread(known_jobs, tmp_path) == {*old[:600], "young-2", "young-3"}


async def test_a_run_of_months_forgets_while_it_goes_on(tmp_path: Path) -> None:
    """Jobs beyond the bound go while the run that made them is still open, not at its end."""
    async with Journal(tmp_path, clock=ManualClock(), sink=Listening(), retention=Retention(jobs=50)) as journal:
        await fill(journal, [f"job-{n}" for n in range(400)])
        left = await journal.database.run(lambda c: c.execute("SELECT count(*) FROM jobs").fetchone()[0])
    assert left == 50
    assert len(await asyncio.to_thread(known_jobs, tmp_path)) == 50


async def test_events_go_by_age_and_number(tmp_path: Path) -> None:
    """With a newer event, older ones than the bound go, and those beyond the number."""
    async with journal_in(tmp_path) as journal:
        store = RecordingStore(journal.database, retention=Retention(events=5, days=2))
        request, answer = entry()

        def at(day: float) -> tuple[object, object]:
            return msgspec.structs.replace(request, id=f"evt_{day}", ts=request.ts + day * _DAY_S), answer

        await store.add([at(0.0), at(1.0), at(1.5)])  # type: ignore[list-item]
        assert [one.n for one in await store.load_newest()] == [1, 2, 3]
        await store.add([at(3.2)])  # type: ignore[list-item]
        assert [one.n for one in await store.load_newest()] == [3, 4]
        await store.add([at(3.3 + n / 100) for n in range(6)])  # type: ignore[misc]
        assert [one.n for one in await store.load_newest()] == [6, 7, 8, 9, 10]


@pytest.mark.parametrize("is_old_file", [False, True])
async def test_a_journal_shrinks_with_what_it_holds(tmp_path: Path, is_old_file: bool) -> None:
    """A file that held many jobs is small again once they are forgotten, also one of an earlier version."""
    file = file_of(tmp_path)
    if is_old_file:
        # What earlier versions made: a file that does not note where its pages belong.
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA user_version = 1")
            connection.execute("PRAGMA user_version = 0")
    async with journal_in(tmp_path) as journal:
        await grow(journal)
    assert file.stat().st_size > 6_000_000
    async with Journal(tmp_path, clock=ManualClock(), sink=Listening(), retention=Retention(jobs=3)):
        pass
    assert await asyncio.to_thread(known_jobs, tmp_path) == {"job-797", "job-798", "job-799"}
    assert file.stat().st_size < 1_500_000
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_the_map_of_pages_is_not_taken_for_rows(tmp_path: Path) -> None:
    """A file that can give room back is read as any other when it is damaged: each row once and nothing else."""
    file = tmp_path / "file"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        prepare_shrinking(connection)
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
        connection.executemany("INSERT INTO t (body) VALUES (?)", [("y" * 9000 + str(n),) for n in range(2500)])
        assert connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    with SalvagedFile(file) as salvaged:
        found = list(salvaged.rows())
    assert [row.cells[0] for row in found if len(row.cells) != 2] == ["table"]
    bodies = [str(row.cells[1]) for row in found if len(row.cells) == 2]
    assert sorted(bodies) == sorted("y" * 9000 + str(n) for n in range(2500))


@pytest.mark.parametrize("value", ["5", '"5"'])
def test_a_number_stands_in_the_settings_file_with_or_without_quotes(cli: Cli, value: str) -> None:
    """``history-jobs = 5`` is in force, and shown by ``config show``."""
    Path(cli.environ["SUNO_COVER_CONFIG"]).write_text(f"history-jobs = {value}\n", encoding="utf-8")
    shown = cli.run("config", "show", "--json")
    rows = {row["key"]: row["value"] for row in shown.objects[0]["settings"]}
    assert (rows["history-jobs"], rows["history-events"], rows["history-days"]) == ("5", "1000", "400")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "true", "9999999999", "1_000", "٣"])
def test_what_is_not_a_number_of_things_to_keep_is_refused(cli: Cli, value: str) -> None:
    """A bound that cannot be is exit 2 with the key and what to write; nothing is forgotten because of it."""
    Path(cli.environ["SUNO_COVER_CONFIG"]).write_text(f'history-days = "{value}"\n', encoding="utf-8")
    refused = cli.run("history")
    assert refused.code == 2
    assert "not a whole number" in refused.stderr
    assert "such as 1000" in refused.stderr


async def test_a_journal_in_use_is_not_waited_for(tmp_path: Path) -> None:
    """Giving room back at the end of a run waits for no other process; a later run gives it back."""
    async with journal_in(tmp_path) as journal:
        await grow(journal)
    with contextlib.closing(
        sqlite3.connect(file_of(tmp_path), isolation_level=None, check_same_thread=False)
    ) as other:
        file = JournalFile(file_of(tmp_path), clock=SystemClock(), report=lambda _: None)
        await asyncio.to_thread(file.run, lambda c: c.execute("DELETE FROM jobs WHERE id > 3"))
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        began = time.monotonic()
        await asyncio.to_thread(file.close, gives_back_room=True)
        assert time.monotonic() - began < PATIENCE_S
        await asyncio.to_thread(other.execute, "COMMIT")
    assert file_of(tmp_path).stat().st_size > 6_000_000
    async with journal_in(tmp_path):
        pass
    assert file_of(tmp_path).stat().st_size < 1_500_000
