"""A damaged journal costs what is damaged: the file is kept, the rest goes on, and nothing hangs.

The short form is part of the suite; ``pytest -m long tests/test_journal_damage.py`` damages 400 journals.
"""

import asyncio
import contextlib
import os
import random
import shutil
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from suno_cover_cli.base.models import JobState
from suno_cover_cli.journal.history import JobHistory, RowFilter
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.journal.rows import RowState
from suno_cover_cli.journal.run_locks import RunLocks
from suno_cover_cli.sandbox.app import Sandbox
from tests.cli_fixtures import Cli, Run
from tests.crash_fixtures import POLL, environ_of
from tests.journal_fixtures import Listening, ended, journal_in, music
from tests.test_recordings import entry

NAME = "journal.sqlite3"
JOBS = 24
# In the file's header: a byte that turns this version's number into a newer one's.
_VERSION_BYTE = 63
# What hangs does so for good: a busy machine is not that.
_MAX_COMMAND_S = 40.0


def kept_files(folder: Path) -> list[Path]:
    """Return the damaged files that were kept."""
    return sorted(folder.glob("journal.damaged-*.sqlite3"))


def damage(path: Path, seed: int) -> int:
    """Change one byte of a file, in every fourth case one of its first page, and return where."""
    chance = random.Random(seed)  # noqa: S311 -- no secret
    content = bytearray(path.read_bytes())
    place = chance.randrange(min(len(content), 4096) if seed % 4 == 0 else len(content))
    content[place] ^= chance.randrange(1, 256)
    path.write_bytes(content)
    return place


async def fill(folder: Path) -> None:
    """Make a journal with jobs in several states, pairs of images and events."""
    async with journal_in(folder) as journal:
        for n in range(JOBS):
            claim = await journal.claim(music(f"{n:032x}"))
            row = (await journal.record_submitted(claim.row, f"c{n:031x}")).row
            if n % 3 == 0:
                result = ended(JobState.SUCCEEDED, row.task_id, f"{n}a", f"{n}b", music_task_id=row.music_task_id)
                await journal.record_end(row, result, 1_700_000_000.0)
        await RecordingStore(journal.database).add([entry() for _ in range(20)])


UNFINISHED = {f"c{n:031x}" for n in range(JOBS) if n % 3}


async def taken(folder: Path, sink: Listening) -> tuple[set[str | None], list[str]]:
    """Open a journal as ``resume`` and ``history`` do; return what is to be resumed, and all music tasks."""
    async with journal_in(folder, sink, required=True) as journal:
        claims = await journal.claim_unfinished()
        history = JobHistory(journal.database, RunLocks(folder / "runs"))
        rows = [row async for row in history.find(RowFilter())]
        await RecordingStore(journal.database).load_newest()
        for claim in claims:
            await journal.record_end(claim.row, ended(JobState.PARTIAL, claim.row.task_id), None)
    return {claim.row.task_id for claim in claims}, [str(row.music_task_id) for row in rows]


async def damage_and_open(template: Path, folder: Path, name: str, seed: int) -> set[str]:
    """Damage a copy of a journal, open it, and return the cover tasks that were lost without a word."""
    shutil.copytree(template, folder)
    place = damage(folder / name, seed)
    if (name, place) == (NAME, _VERSION_BYTE):
        return set()
    sink = Listening()
    async with asyncio.timeout(_MAX_COMMAND_S):
        found, _ = await taken(folder, sink)
        words = " ".join(warning.message for warning in sink.warnings)
        lost = UNFINISHED - found
        # A second look finds nothing to mend.
        again = Listening()
        assert (await taken(folder, again))[0] == found
        assert again.warnings == []
    return {task_id for task_id in lost if f"{int(task_id[1:], 16):032x}" not in words}


# A log that cannot be read to its end is waited for: a second a journal.
@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        (NAME, range(16)),
        (f"{NAME}-wal", range(5)),
        *(pytest.param(f"{NAME}{end}", range(5, 100), marks=pytest.mark.long) for end in ("", "-wal")),
    ],
)
@pytest.mark.timeout(600)
async def test_one_damaged_byte_costs_at_most_one_job(tmp_path: Path, name: str, seeds: range) -> None:
    """Wherever the byte is, in the file or in the log a kill left, the other jobs are found, and in time."""
    template = tmp_path / "template"
    await fill(template)
    if name != NAME:
        await asyncio.to_thread(leave_log, template)
    for seed in seeds:
        folder = tmp_path / f"{seed}"
        assert len(await damage_and_open(template, folder, name, seed)) <= 1, f"seed {seed}"
        await asyncio.to_thread(shutil.rmtree, folder)


def leave_log(folder: Path) -> None:
    """Make a journal look like one whose run was killed: the last changes are in the log only."""
    path, copy = folder / NAME, folder / "copy"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE jobs SET updated_at = updated_at + 1")
        connection.execute("UPDATE recordings SET ts = ts + 1")
        shutil.copyfile(path, copy)
        shutil.copyfile(f"{path}-wal", f"{copy}-wal")
    copy.replace(path)
    Path(f"{copy}-wal").replace(f"{path}-wal")


async def test_a_file_with_holes_gives_what_is_left(tmp_path: Path) -> None:
    """A journal with whole pages zeroed or cut off still gives its other rows, once."""
    await fill(tmp_path / "template")
    for place, hole in ((0, 4096), (4096, 8192), (20000, 9000)):
        folder = tmp_path / f"{place}"
        await asyncio.to_thread(shutil.copytree, tmp_path / "template", folder)
        content = bytearray((folder / NAME).read_bytes())
        content[place : place + hole] = bytes(hole)
        (folder / NAME).write_bytes(content[:-4096])
        sink = Listening()
        _, music_tasks = await taken(folder, sink)
        assert len(music_tasks) == len(set(music_tasks)) >= JOBS // 3
        assert len(kept_files(folder)) == 1


# --- single rows ------------------------------------------------------------------------------------------

BAD_CELLS = {
    "options": ("'junk'", "repaired"),
    "result": ("CAST(X'7bff' AS TEXT)", "repaired"),
    "state": ("'subm\u0007tted'", "repaired"),
    "created_at": ("1e308", "repaired"),
    "updated_at": ("X'00'", "repaired"),
    "owner": ("'../../etc/passwd'", None),
    "music_task_id": ("CAST(X'6dff' AS TEXT)", "repaired"),
    "task_id": ("'../up'", "repaired"),
    "service": ("''", "set aside"),
    "output": ("'relative'", "set aside"),
    "provider": ("X'0102'", "set aside"),
}


@pytest.mark.parametrize("column", BAD_CELLS)
async def test_one_bad_row_is_named_and_the_others_go_on(tmp_path: Path, column: str) -> None:
    """What can be mended is, what cannot is set aside with a copy; either way the other jobs are taken."""
    value, outcome = BAD_CELLS[column]
    async with journal_in(tmp_path) as journal:
        for name in ("first", "second", "third"):
            await journal.record_submitted((await journal.claim(music(name))).row, f"cover-of-{name}")
        change = f"UPDATE jobs SET {column} = {value} WHERE id = 2"  # noqa: S608 -- from the table above
        await journal.database.run(lambda connection: connection.execute(change))
    sink = Listening()
    async with journal_in(tmp_path, sink, required=True) as journal:
        claims = await journal.claim_unfinished()
        rows = {claim.row.music_task_id: claim.row for claim in claims}
        assert {"first", "third"} <= set(rows)
        assert not any(claim.is_busy for claim in claims)
        assert len(claims) == (2 if outcome == "set aside" else 3)
        kept = await journal.database.run(
            lambda c: c.execute("SELECT source, reason FROM damaged_rows").fetchall()
        )
    if outcome is None:
        assert sink.warnings == []
        return
    (warning,) = sink.warnings
    assert warning.code == "row_damaged"
    assert outcome in warning.message
    assert column in warning.message
    assert "second" in warning.message
    assert kept == [("jobs", column)]
    if column == "task_id":
        # Submitted once more: the service answers with the id it gave before.
        assert (rows["second"].task_id, rows["second"].state) == (None, RowState.SUBMITTING)
    if column == "state":
        assert rows["second"].state is RowState.SUBMITTED


async def test_a_bad_choice_is_set_aside_alone(tmp_path: Path) -> None:
    """A pick that is damaged is named and goes; its job stays as it is."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(music("m"))
        await journal.record_end(claim.row, ended(JobState.SUCCEEDED, "c", "a"), None)
        await journal.database.run(
            lambda c: c.execute("INSERT INTO picks VALUES ('https://service.test', 'c', -3, 'p', 's', 1.0)")
        )
    sink = Listening()
    async with journal_in(tmp_path, sink) as journal:
        row = await JobHistory(journal.database, RunLocks(tmp_path / "runs")).find_job("m")
        assert row is not None
        assert (row.pick, row.state) == (None, RowState.SUCCEEDED)
    assert ["choose again" in warning.message for warning in sink.warnings] == [True]


async def test_a_bad_event_is_set_aside(tmp_path: Path) -> None:
    """Of recorded events too, one that is damaged is named, and the others are listed."""
    sink = Listening()
    async with journal_in(tmp_path, sink) as journal:
        store = RecordingStore(journal.database)
        await store.add([entry() for _ in range(3)])
        await journal.database.run(lambda c: c.execute("UPDATE recordings SET headers = 'junk' WHERE n = 1"))
        await journal.database.run(
            lambda c: c.execute("UPDATE recordings SET path = CAST(X'ff' AS TEXT) WHERE n = 3")
        )
        assert [event.n for event in await store.load_newest()] == [2]
        await asyncio.sleep(0)
    assert [warning.message.split(" of ")[0] for warning in sink.warnings] == ["event 3", "event 1"]


# --- the file is replaced ---------------------------------------------------------------------------------


async def damaged(folder: Path) -> None:
    """Make a journal with jobs and damage its schema."""
    await fill(folder)
    await asyncio.to_thread(damage_schema, folder)


def damage_schema(folder: Path) -> None:
    """Put a byte that is not UTF-8 into the schema, where SQLite quotes it in its message."""
    path = folder / NAME
    content = path.read_bytes()
    place = content.index(b"CREATE TABLE jobs")
    path.write_bytes(content[: place + 7] + b"\xfe" + content[place + 8 :])


async def test_processes_that_find_the_damage_at_once_mend_it_once(cli: Cli) -> None:
    """Several commands at the same moment all succeed, and one damaged file is kept."""
    state = Path(cli.environ["SUNO_COVER_STATE_DIR"])
    await damaged(state)
    runs = await asyncio.gather(*(cli.run_beside("history", "--json") for _ in range(4)))
    assert [run.code for run in runs] == [0] * 4, [run.stderr for run in runs]
    assert {len(run.objects) for run in runs} == {JOBS}
    assert len(kept_files(state)) == 1
    assert sum("was damaged" in run.stderr for run in runs) == 1
    assert set(await asyncio.to_thread(os.listdir, state)) == {NAME, kept_files(state)[0].name, "runs"}


@pytest.mark.skipif(os.name != "posix", reason="Windows does not let an open file be replaced or removed")
@pytest.mark.parametrize("has_written", [True, False])
async def test_of_the_logs_only_what_was_written_is_kept(tmp_path: Path, *, has_written: bool) -> None:
    """A log of a run that has the damaged file open is carried over and kept; an empty one leaves no trace."""
    await fill(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as open_still:
        open_still.execute("SELECT * FROM jobs").fetchall()
        if has_written:
            open_still.execute("UPDATE jobs SET updated_at = updated_at + 1, music_task_id = 'late' WHERE id = 1")
        await asyncio.to_thread(damage_schema, tmp_path)
        sink = Listening()
        _, music_tasks = await taken(tmp_path, sink)
    assert [warning.code for warning in sink.warnings] == ["journal_mended"]
    (kept,) = kept_files(tmp_path)
    log = {f"{kept.name}-wal"} if has_written else set()
    assert set(await asyncio.to_thread(os.listdir, tmp_path)) == {NAME, kept.name, "runs", *log}
    assert len(music_tasks) == JOBS
    assert ("late" in music_tasks) is has_written


@pytest.mark.skipif(os.name != "posix", reason="Windows does not let an open file be replaced or removed")
@pytest.mark.parametrize("is_mended", [True, False])
async def test_a_run_notices_that_its_file_is_another_one(tmp_path: Path, *, is_mended: bool) -> None:
    """A run whose journal another process mends, or a person removes, goes on in the new one."""
    await fill(tmp_path)
    sink = Listening()
    async with journal_in(tmp_path, sink) as journal:
        row = (await journal.claim(music("before"))).row
        if is_mended:
            await asyncio.to_thread(damage_schema, tmp_path)
            async with journal_in(tmp_path) as other:
                assert len(await other.claim_unfinished()) >= len(UNFINISHED)
        else:
            for name in await asyncio.to_thread(os.listdir, tmp_path):
                if name.startswith(NAME):
                    (tmp_path / name).unlink()
        await journal.record_submitted(row, "cover-of-before")
        assert (await journal.claim(music("after"))).row.id
    assert sink.warnings == []
    async with journal_in(tmp_path) as later:
        assert not (await later.claim(music("after"))).is_new


async def test_damage_in_the_middle_of_a_run_is_mended(tmp_path: Path) -> None:
    """A step that meets damage is done in the mended file, and so is what follows."""
    await fill(tmp_path)
    sink = Listening()
    async with journal_in(tmp_path, sink) as journal:
        # Beyond what SQLite holds in its memory already.
        await journal.database.run(lambda connection: connection.execute("PRAGMA cache_size = 1").fetchall())
        await journal.database.run(lambda c: c.execute("PRAGMA shrink_memory").fetchall())
        path = tmp_path / NAME
        root = await journal.database.run(
            lambda c: c.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs_by_music'").fetchone()[0]
        )
        with path.open("r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(b"\xff" * 64)
        claims = await asyncio.gather(*(journal.claim(music(f"{n:032x}")) for n in range(JOBS)))
        assert [claim.is_new for claim in claims] == [False] * JOBS
    assert [warning.code for warning in sink.warnings] == ["journal_mended"]


async def test_a_repair_that_was_killed_is_done_again_with_all_there_is(tmp_path: Path) -> None:
    """Killed after the log was moved and before the new file had its name, nothing of the log is lost."""
    await fill(tmp_path)
    await asyncio.to_thread(leave_log, tmp_path)
    path, kept = tmp_path / NAME, tmp_path / "journal.damaged-20260101-000000.sqlite3"
    damage_schema(tmp_path)
    os.link(path, kept)
    (tmp_path / f"{path.name}-wal").replace(tmp_path / f"{kept.name}-wal")
    sink = Listening()
    assert (await taken(tmp_path, sink))[0] == UNFINISHED
    assert kept_files(tmp_path) == [kept]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT min(ts) FROM recordings").fetchone() == (1_700_000_001.5,)


async def test_a_disk_that_goes_bad_is_not_filled_with_copies(tmp_path: Path) -> None:
    """Of many damaged files the newest five are kept."""
    await fill(tmp_path)
    for _ in range(7):
        await asyncio.to_thread(damage_schema, tmp_path)
        await taken(tmp_path, Listening())
    assert len(kept_files(tmp_path)) == 5


async def test_numbers_of_events_are_not_given_twice_after_a_repair(tmp_path: Path) -> None:
    """The count of events goes on where it was, although the last of them were dropped."""
    async with journal_in(tmp_path) as journal:
        store = RecordingStore(journal.database)
        await store.add([entry() for _ in range(5)])
        await journal.database.run(lambda c: c.execute("DELETE FROM recordings WHERE n > 2"))
    await asyncio.to_thread(damage_schema, tmp_path)
    async with journal_in(tmp_path) as journal:
        assert await RecordingStore(journal.database).add([entry()]) == 6


# --- what is not a file -----------------------------------------------------------------------------------


def make_pipe(path: Path) -> None:
    """Put a named pipe there."""
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    """Put a socket there."""
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(path.parent):
        bound.bind(path.name)  # the whole path may be too long for a socket


def make_device(path: Path) -> None:
    """Put a link to a device there that never ends."""
    path.symlink_to("/dev/zero")


@pytest.mark.skipif(os.name != "posix", reason="POSIX has such files")
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-wal-damaged"])
@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device, Path.mkdir], ids=lambda make: make.__name__)
def test_what_is_not_a_file_hangs_no_command(cli: Cli, make: Callable[[Path], None], suffix: str) -> None:
    """A job goes on without history and says so; what needs the journal ends with what is in its place."""
    state = Path(cli.environ["SUNO_COVER_STATE_DIR"])
    state.mkdir()
    make(state / f"{NAME}{suffix}")
    made = cli.run("generate", "--sandbox", "sandbox-instant")
    assert made.code == 0, made.stderr
    assert "history is not kept" in made.stderr
    assert "SUNO_COVER_STATE_DIR" in made.stderr
    for words in (("history",), ("history", "--callbacks"), ("resume",)):
        run = cli.run(*words)
        assert run.code == 1, run.stderr
        assert f"{NAME}{suffix} is a" in run.stderr
        assert "unexpected" not in run.stderr


# --- locks ------------------------------------------------------------------------------------------------


def odd_locks(folder: Path, run: str) -> dict[str, Callable[[], object]]:
    """Return ways to spoil the lock file of a run that is dead."""
    path = folder / f"{run}.lock"
    return {
        "missing": lambda: None,
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "unreadable": lambda: path.touch(mode=0o000),
        "link": lambda: path.symlink_to("/dev/zero"),
    }


@pytest.mark.skipif(os.name != "posix", reason="POSIX has such files")
@pytest.mark.parametrize("kind", ["missing", "pipe", "folder", "unreadable", "link"])
async def test_a_lock_that_is_none_holds_no_job(tmp_path: Path, kind: str) -> None:
    """A job whose run left something else than a lock is taken, and what is there is not touched in anger."""
    run = "0123456789abcdef"
    async with journal_in(tmp_path) as journal:
        await journal.claim(music("m"))
        await journal.database.run(lambda c: c.execute("UPDATE jobs SET owner = ?", (run,)))
        odd_locks(tmp_path / "runs", run)[kind]()
        assert not (await journal.claim(music("m"))).is_busy


async def test_a_run_that_cannot_lock_still_keeps_its_jobs(tmp_path: Path) -> None:
    """Without a place for its lock a run writes everything down, and says what that means."""
    (tmp_path / "runs").write_text("a file")
    sink = Listening()
    async with journal_in(tmp_path, sink, required=True) as journal:
        assert (await journal.claim(music("m"))).row.id
    assert [warning.code for warning in sink.warnings] == ["run_unlocked"]
    async with journal_in(tmp_path) as later:
        assert len(await later.claim_unfinished()) == 1


# --- whole commands ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def service(cli: Cli) -> AsyncIterator[tuple[Sandbox, dict[str, str]]]:
    """Run a service with jobs that have succeeded and that the journal does not know to have."""
    async with Sandbox(generation_s=0.0, image_bytes=20_000) as sandbox:
        environ = environ_of(sandbox)
        made = await cli.run_beside("generate", "--no-wait", *(f"song-{n}" for n in range(6)), **environ)
        assert made.code == 0, made.stderr
        yield sandbox, environ


async def run_damaged(cli: Cli, environ: dict[str, str], template: Path, seed: int) -> tuple[int, str]:
    """Damage the journal, run what reads it, and return how many jobs have covers and all that was said."""
    state = Path(cli.environ["SUNO_COVER_STATE_DIR"])
    for folder in (state, cli.cwd / "covers"):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    await asyncio.to_thread(shutil.copytree, template, state)
    place = damage(state / NAME, seed)
    said = ""
    for words in (
        ("history", "--json"),
        ("resume", "--json", *POLL),
        ("history", "--callbacks"),
        ("doctor", "--offline"),
    ):
        begun = time.monotonic()
        run: Run = await cli.run_beside(*words, **environ)
        assert time.monotonic() - begun < _MAX_COMMAND_S, f"seed {seed}: {words}"
        assert "unexpected" not in run.stderr, f"seed {seed}: {words}: {run.stderr}"
        said += run.stdout + run.stderr
    if place == _VERSION_BYTE:
        assert "newer" in said
        return 6, said
    finished = sum(1 for folder in (cli.cwd / "covers").glob("*") if len(list(folder.iterdir())) == 2)
    return finished, said


async def check_damaged(cli: Cli, seeds: range) -> None:
    """Damage a journal at many places, one after the other; at most one of the jobs may not be finished."""
    async with service(cli) as (_, environ):
        template = cli.cwd.parent / "template"
        await asyncio.to_thread(Path(cli.environ["SUNO_COVER_STATE_DIR"]).rename, template)
        for seed in seeds:
            finished, said = await run_damaged(cli, environ, template, seed)
            assert finished >= 5, f"seed {seed}: {said}"


async def test_commands_finish_what_can_be_read(cli: Cli) -> None:
    """No command hangs on a damaged journal or calls it unexpected; the jobs in it are finished."""
    await check_damaged(cli, range(8))


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("begin", range(0, 400, 50))
async def test_commands_finish_what_can_be_read_wherever_the_damage_is(cli: Cli, begin: int) -> None:
    """The same for 400 journals."""
    await check_damaged(cli, range(begin, begin + 50))
