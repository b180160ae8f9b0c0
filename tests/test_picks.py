"""Picks: which variant was chosen, kept with its job and told by every later run."""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import JobState
from suno_cover_cli.jobs.metadata import metadata_of
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.history import JobHistory, RowFilter
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.journal_file import Operation, T
from suno_cover_cli.journal.picks import PickStore
from suno_cover_cli.journal.rows import JobRow
from suno_cover_cli.journal.run_locks import RunLocks
from suno_cover_cli.journal.schema import SCHEMA_VERSION
from suno_cover_cli.wiring.covers import JournalJobs
from tests.clocks import ScaledClock
from tests.journal_fixtures import cover, ended, journal_in, music
from tests.workflow_fixtures import rig


class Opened:
    """A journal, its history and its picks."""

    def __init__(self, journal: Journal, folder: Path) -> None:
        self.journal = journal
        self.history = JobHistory(journal.database, RunLocks(folder / "runs"))
        self.picks = PickStore(journal.database, clock=ScaledClock(20))

    async def make(self, name: str, *hashes: str, task_id: str | None = None) -> JobRow:
        """Write down a job that ended; without hashes it failed."""
        claim = await self.journal.claim(music(name))
        state = JobState.SUCCEEDED if hashes else JobState.FAILED
        await self.journal.record_end(claim.row, ended(state, task_id or f"cover-of-{name}", *hashes), None)
        return await self.known(name)

    async def known(self, task_id: str) -> JobRow:
        """Find a job."""
        row = await self.history.find_job(task_id)
        assert row is not None
        return row


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Opened]:
    """Open all of it, as one process would."""
    async with journal_in(folder) as journal:
        yield Opened(journal, folder)


async def test_a_choice_is_found_by_either_id_and_by_a_later_run(tmp_path: Path) -> None:
    """Number, file, hash and time come back with the job, by its music and its cover task id, from the disk."""
    async with opened(tmp_path) as here:
        row = await here.make("m", "one", "two")
        assert row.pick is None
        made = await here.picks.record(row, 2, path="/covers/2.png", sha256="two")
    async with opened(tmp_path) as here:
        for task_id in ("m", "cover-of-m"):
            row = await here.known(task_id)
            assert row.pick == made
            assert (made.n, made.path, made.sha256, made.picked) == (2, "/covers/2.png", "two", 2)
            assert row.result is not None
            assert row.result.picked == 2


async def test_choices_are_changed_and_taken_back(tmp_path: Path) -> None:
    """The last choice counts, none of them is a choice too, and what is taken back is told."""
    async with opened(tmp_path) as here:
        row = await here.make("m", "one", "two")
        await here.picks.record(row, 1, path="/1", sha256="one")
        none = await here.picks.record_none(row)
        assert (await here.picks.find(row)) == none
        assert (none.picked, none.path) == ("none", None)
        assert await here.picks.clear(row) == none
        assert await here.picks.clear(row) is None
        assert await here.picks.find(row) is None


async def test_jobs_are_listed_by_whether_somebody_has_decided(tmp_path: Path) -> None:
    """Decided, undecided and jobs with covers are told apart; a cover task with two rows is listed once."""
    async with opened(tmp_path) as here:
        picked = await here.make("picked", "a")
        await here.make("open", "b")
        await here.make("failed")
        waited = await here.journal.claim(cover("cover-of-picked"))
        await here.journal.record_end(waited.row, ended(JobState.SUCCEEDED, "cover-of-picked", "a"), None)
        await here.make("other", "a", task_id="cover-of-picked")
        await here.picks.record(picked, 1, path="/1", sha256="a")

        async def ids(**wanted: bool) -> list[str | None]:
            return [row.task_id async for row in here.history.find(RowFilter(**wanted))]  # type: ignore[arg-type]

        assert await ids(has_covers=True) == ["cover-of-picked", "cover-of-open"]
        assert await ids(has_covers=True, is_decided=True) == ["cover-of-picked"]
        assert await ids(has_covers=True, is_decided=False) == ["cover-of-open"]
        assert await ids(is_decided=False) == ["cover-of-failed", "cover-of-open"]


async def test_a_job_with_covers_goes_before_a_later_one_without(tmp_path: Path) -> None:
    """A music task that was submitted again in vain still means the covers it has."""
    async with opened(tmp_path) as here:
        await here.make("m", task_id="first")
        await here.make("m", "a", task_id="second")
        row = await here.known("m")
        assert row.task_id == "second"
        await here.journal.database.run(lambda c: c.execute("UPDATE jobs SET state = 'failed'"))
        await here.make("m", task_id="third")
        assert (await here.known("m")).task_id == "second"
        assert await here.history.find_job("unknown") is None


async def test_a_job_that_is_not_known_cannot_be_picked_for(tmp_path: Path) -> None:
    """A job that was pruned meanwhile, or has no cover task, is an error and leaves nothing behind."""
    async with opened(tmp_path) as here:
        row = await here.make("m", "a")
        await here.history.prune(RowFilter(task_id="m"))
        for unknown in (row, music("never")):
            with pytest.raises(UsageError) as caught:
                await here.picks.record(unknown, 1, path="/1", sha256="a")
            assert caught.value.code == "unknown_job"
        assert await here.journal.database.run(lambda c: c.execute("SELECT count(*) FROM picks").fetchone()) == (
            0,
        )
        with pytest.raises(ValueError, match="from 1"):
            await here.picks.record(row, 0, path="/1", sha256="a")


async def test_a_choice_goes_with_the_last_row_of_its_job(tmp_path: Path) -> None:
    """Pruning one of two rows of a cover task keeps the choice; pruning both forgets it, and only it."""
    async with opened(tmp_path) as here:
        first = await here.make("m", task_id="c")
        await here.make("m", "a", task_id="c")
        other = await here.make("other", "b")
        for row in (first, other):
            await here.picks.record(row, 1, path="/1", sha256="a")
        await here.history.prune(RowFilter(states=frozenset({first.state}), task_id="c"))
        assert await here.picks.find(first) is not None
        await here.history.prune(RowFilter(task_id="c"))
        assert await here.picks.find(first) is None
        assert await here.picks.find(other) is not None


class HeldDatabase(Database):
    """A journal whose answer to one step can be held back: what was asked is on disk, and not known here yet."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.steps_until_held = 0
        self.is_on_disk, self.is_let_go = asyncio.Event(), asyncio.Event()

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation; hold the answer of the one that was counted down to."""
        self.steps_until_held -= 1
        is_held = self.steps_until_held == 0
        found = await super().run(operation)
        if is_held:
            self.is_on_disk.set()
            await self.is_let_go.wait()
        return found


async def test_a_choice_of_our_own_is_never_taken_for_one_made_elsewhere(tmp_path: Path) -> None:
    """Changes that are looked for while a choice is on its way to the disk, and back, do not hold it."""
    async with opened(tmp_path) as here, HeldDatabase(here.journal.database.path) as database:
        ours, theirs = [await here.make(name, "one", "two") for name in ("ours", "theirs")]
        jobs = JournalJobs(database, tmp_path, clock=ScaledClock(20))
        await jobs.open(())
        job = await jobs.find(ours.id)
        assert job is not None
        await here.picks.record(theirs, 1, path="/one.png", sha256="one")
        database.steps_until_held = 2  # the first one looks for the row
        async with asyncio.TaskGroup() as group:
            group.create_task(jobs.pick(job, 2, was=None))
            await database.is_on_disk.wait()
            looking = group.create_task(jobs.look_for_changes())
            # Each round through the journal's thread lets the other task go one step of its own.
            for _ in range(20):
                await database.run(lambda connection: connection.total_changes)
            database.is_let_go.set()
        assert looking.result().decided == {theirs.id}
        assert await jobs.count_undecided() == 0


async def test_later_runs_tell_the_choice(tmp_path: Path) -> None:
    """The job object of a run that finds an earlier choice has it, also when the service leads it to the job."""
    async with rig(tmp_path) as first:
        made = await first.run("m")
        here = Opened(first.journal, tmp_path / "state")
        row = await here.known("m")
        assert made.result.picked is None
        await here.picks.record(row, 2, path="/2", sha256="b")
        again = await first.run("m")
        assert again.result.picked == 2
        await here.picks.record_none(row)
        waited = await first.run(None, task_id=made.result.task_id)
        assert waited.result.picked == "none"
        # The service answers a second submit with the id it gave before; the journal knows that one.
        await first.journal.database.run(lambda c: c.execute("UPDATE jobs SET music_task_id = 'another'"))
        led = await first.run("m")
        assert led.result.task_id == made.result.task_id
        assert led.result.picked == "none"


async def test_a_later_end_keeps_the_choice(tmp_path: Path) -> None:
    """A run that writes its own job object, made before the choice, does not undo the choice."""
    async with opened(tmp_path) as here:
        row = await here.make("m", "a", "b")
        claim = await here.journal.claim(music("m"))
        await here.picks.record(row, 1, path="/1", sha256="a")
        await here.journal.record_end(claim.row, ended(JobState.SUCCEEDED, row.task_id, "a", "b"), None)
        again = await here.known("m")
        assert again.result is not None
        assert again.result.picked == 1


def test_the_metadata_tells_the_choice() -> None:
    """``metadata.json`` has the number, ``none`` or null, as the job object has."""
    from suno_cover_cli.base.models import JobRecord, RecordState
    from suno_cover_cli.journal.rows import Pick

    record = JobRecord(task_id="c", state=RecordState.SUCCEEDED)
    told = [
        metadata_of(record, music("m", pick=pick), saved=(), failed=(), title=None, now=0.0)["picked"]
        for pick in (None, Pick(n=None), Pick(n=3))
    ]
    assert told == [None, "none", 3]


VERSION_1 = """
CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, provider TEXT NOT NULL,
    music_task_id TEXT, task_id TEXT, state TEXT NOT NULL, code INTEGER, message TEXT NOT NULL DEFAULT '',
    output TEXT NOT NULL, options TEXT NOT NULL, result TEXT, owner TEXT, created_at REAL NOT NULL,
    submitted_at REAL, completed_at REAL, updated_at REAL NOT NULL);
CREATE INDEX jobs_by_music ON jobs (service, music_task_id);
CREATE INDEX jobs_by_task ON jobs (task_id);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE TABLE images (job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, n INTEGER NOT NULL,
    path TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (job_id, n));
CREATE INDEX images_by_hash ON images (sha256);
CREATE TABLE recordings (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, ts REAL NOT NULL,
    task_id TEXT NOT NULL, code INTEGER NOT NULL, path TEXT NOT NULL, signature TEXT NOT NULL,
    headers TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX recordings_by_task ON recordings (task_id);
INSERT INTO jobs (service, provider, music_task_id, task_id, state, output, options, result, created_at,
    updated_at)
    VALUES ('https://service.test', 'sunoapi', 'm', 'c', 'succeeded', '/covers', '{}', RESULT, 1, 1);
INSERT INTO images VALUES (1, 1, '/covers/1.png', 'a');
PRAGMA user_version = 1;
"""


async def test_a_journal_of_the_first_version_survives(tmp_path: Path) -> None:
    """A file from before there were picks is taken along: its jobs are there and can be picked for."""

    def make() -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as connection:
            result = '{"v":1,"type":"job","state":"succeeded","task_id":"c"}'
            connection.executescript(VERSION_1.replace("RESULT", f"'{result}'"))

    await asyncio.to_thread(make)
    async with opened(tmp_path) as here:
        row = await here.known("m")
        assert (row.pick, row.result is not None) == (None, True)
        await here.picks.record(row, 1, path="/covers/1.png", sha256="a")
        assert (await here.known("c")).pick is not None
        version = await here.journal.database.run(lambda c: c.execute("PRAGMA user_version").fetchone()[0])
        assert version == SCHEMA_VERSION


PICKER = """
import asyncio, pathlib, sys
from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.history import JobHistory
from suno_cover_cli.journal.picks import PickStore
from suno_cover_cli.journal.run_locks import RunLocks

async def main():
    state, n = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    async with Database(state / "journal.sqlite3") as database:
        row = await JobHistory(database, RunLocks(state / "runs")).find_job("m")
        picks = PickStore(database, clock=SystemClock())
        for _ in range(50):
            await picks.record(row, n, path=f"/{n}.png", sha256=str(n))

asyncio.run(main())
"""


async def test_two_processes_pick_at_once(tmp_path: Path) -> None:
    """Processes that pick for the same job at the same time all succeed, and what is left is one whole choice."""
    async with opened(tmp_path) as here:
        row = await here.make("m", "a", "b")
        children = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", PICKER, str(tmp_path), str(n))
            for n in (1, 2)
        ]
        assert [await child.wait() for child in children] == [0, 0]
        pick = await here.picks.find(row)
        assert pick is not None
        assert msgspec.structs.asdict(pick) | {"picked_at": 0} == {
            "n": pick.n,
            "path": f"/{pick.n}.png",
            "sha256": str(pick.n),
            "picked_at": 0,
        }
