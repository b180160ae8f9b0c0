"""What the journal does when its file fails: full, read-only, damaged, newer, half made."""

import asyncio
import contextlib
import os
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import JobState
from suno_cover_cli.journal.database import Database, DatabaseError
from tests.cli_fixtures import Cli
from tests.journal_fixtures import Listening, ended, journal_in, music, rows_in


async def test_one_bad_step_does_not_take_its_neighbours_down(tmp_path: Path) -> None:
    """Steps share a commit, not a fate."""

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO nowhere VALUES (1)")

    def insert(connection: sqlite3.Connection) -> int:
        return connection.execute(
            "INSERT INTO recordings (id, ts, task_id, code, path, signature, headers, body)"
            " VALUES (hex(randomblob(8)), 0, '', 0, '', '', '', '')"
        ).rowcount

    async with Database(tmp_path / "journal.sqlite3") as database:
        results = await asyncio.gather(
            *(database.run(insert) for _ in range(20)),
            database.run(fail),
            *(database.run(insert) for _ in range(20)),
            return_exceptions=True,
        )
        assert [result for result in results if not isinstance(result, Exception)] == [1] * 40
        assert isinstance(results[20], DatabaseError)
        assert await database.run(lambda c: c.execute("SELECT count(*) FROM recordings").fetchone()[0]) == 40


async def test_a_fault_in_a_step_reaches_its_caller_and_nobody_else(tmp_path: Path) -> None:
    """An unexpected exception neither hangs the caller nor ends the thread."""

    def fault(_connection: sqlite3.Connection) -> None:
        raise KeyError("a fault of ours")

    async with Database(tmp_path / "journal.sqlite3") as database:
        with pytest.raises(KeyError):
            await asyncio.wait_for(database.run(fault), 5)
        assert await asyncio.wait_for(database.run(lambda _: 1), 5) == 1


@pytest.mark.parametrize("is_in_use", [False, True])
async def test_a_newer_journal_is_refused_and_not_touched(tmp_path: Path, *, is_in_use: bool) -> None:
    """A file of a newer version is told with exit 2 and stays as it is, its last writes included."""
    path, wal = tmp_path / "journal.sqlite3", tmp_path / "journal.sqlite3-wal"

    def make() -> None:
        newer = tmp_path / "newer.sqlite3"
        with contextlib.closing(sqlite3.connect(newer)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE future (x)")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA user_version = 99")
            connection.execute("INSERT INTO future VALUES (1)")
            connection.commit()
            # As a crash leaves it: the last writes are in the log only.
            path.write_bytes(newer.read_bytes())
            wal.write_bytes(newer.with_name("newer.sqlite3-wal").read_bytes())
        if not is_in_use:
            path.write_bytes(newer.read_bytes())
            wal.unlink()

    def state() -> list[tuple[str, int, bytes]]:
        files = [file for file in sorted(tmp_path.iterdir()) if file.is_file() and not file.name.endswith("-shm")]
        return [(file.name, file.stat().st_mtime_ns, file.read_bytes()) for file in files]

    await asyncio.to_thread(make)
    before = await asyncio.to_thread(state)
    with pytest.raises(UsageError) as caught:
        async with journal_in(tmp_path):
            pass
    assert caught.value.code == "journal_newer"
    assert await asyncio.to_thread(state) == before


@pytest.mark.parametrize("content", ["not a database at all, " * 50, "CREATE TABLE recordings (mine)"])
async def test_a_file_that_is_no_journal_is_kept_and_a_new_one_made(tmp_path: Path, content: str) -> None:
    """Text, or a database of something else, keeps every byte under another name; the job is written down."""
    path = tmp_path / "journal.sqlite3"

    def make() -> bytes:
        if content.startswith("CREATE"):
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute(content)
        else:
            path.write_text(content)
        return path.read_bytes()

    before = await asyncio.to_thread(make)
    sink = Listening()
    async with journal_in(tmp_path, sink, required=True) as journal:
        assert (await journal.claim(music("m"))).row.id
    (warning,) = sink.warnings
    assert warning.code == "journal_mended"
    kept = Path(warning.hint.rpartition(" ")[2])
    assert await asyncio.to_thread(kept.read_bytes) == before
    assert [state for state, _, _ in await asyncio.to_thread(rows_in, tmp_path)] == ["submitting"]


async def test_a_journal_that_cannot_be_opened_is_told_and_the_job_goes_on(tmp_path: Path) -> None:
    """A folder in its place costs a warning with the way out; claims and steps answer as if it were there."""
    path = tmp_path / "journal.sqlite3"
    path.mkdir()
    sink = Listening()
    async with journal_in(tmp_path, sink) as journal:
        await journal.enqueue([music("m")])
        claim = await journal.claim(music("m"))
        row = (await journal.record_submitted(claim.row, "c")).row
        assert await journal.record_end(row, ended(JobState.SUCCEEDED, "c"), None) == {}
        assert await journal.find_task_id(row) is None
        await journal.wait_released(1)
    (unavailable,) = sink.warnings
    assert unavailable.code == "journal_unavailable"
    assert "history is not kept" in unavailable.message
    assert f"{path} is a folder" in unavailable.message
    assert "SUNO_COVER_STATE_DIR" in unavailable.message
    # What would have been kept is printed anyway.
    assert "suno-cover wait ID" in unavailable.hint
    with pytest.raises(DatabaseError):
        async with journal_in(tmp_path, required=True):
            pass


async def test_a_journal_that_fails_on_the_way_is_told_once(tmp_path: Path) -> None:
    """A file that is lost in the middle of a run costs one warning, and one line for each id that it misses."""
    sink = Listening()

    def sabotage(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")

    async with journal_in(tmp_path, sink) as journal:
        rows = [(await journal.claim(music(f"m{n}"))).row for n in range(3)]
        await journal.database.run(sabotage)
        for n, row in enumerate(rows):
            await journal.record_submitted(row, f"c{n}")
            await journal.record_end(row, ended(JobState.SUCCEEDED, f"c{n}"), None)
    codes = [warning.code for warning in sink.warnings]
    assert codes == ["journal_unavailable", *["not_written_down"] * 3]


def dropped_rights() -> None:
    """Make root ordinary: without this capability, its files' permissions count for root too (Linux)."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


def test_a_read_only_journal_is_told(cli: Cli) -> None:
    """A journal that cannot be written ends what needs it, with its path; a job goes on and prints its id."""
    state = Path(cli.environ["SUNO_COVER_STATE_DIR"])
    assert cli.run("generate", "--sandbox", "--no-wait", "first").code == 0
    for path in (state / "journal.sqlite3", state):
        path.chmod(0o500 if path.is_dir() else 0o400)

    def run(*args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            cli.command(*args),
            cwd=cli.cwd,
            env=cli.environ,
            preexec_fn=dropped_rights if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    try:
        history, made = run("history"), run("generate", "--sandbox", "--no-wait", "second")
    finally:
        state.chmod(0o700)
    assert history.returncode == 1
    assert str(state / "journal.sqlite3") in history.stderr
    assert made.returncode == 0
    assert str(state / "journal.sqlite3") in made.stderr
    assert made.stderr.count("suno-cover wait --sandbox ID") == 1
    assert f"submitted  second as {made.stdout.strip()}" in made.stderr
    assert "Traceback" not in history.stderr + made.stderr


def test_a_disk_too_full_for_the_journal_costs_no_cover(cli: Cli) -> None:
    """Where the journal finds no room, it is said, the ids are printed, and the covers are saved."""
    # Python would keep half of what it compiles: without that.
    run = cli.shell("ulimit -f 28; PYTHONDONTWRITEBYTECODE=1 suno-cover generate --sandbox a b")
    assert run.code == 0, run.stderr
    assert len(run.lines) == 4
    assert "journal" in run.stderr
    assert run.stderr.count("suno-cover wait") == 1
    assert len(re.findall(r"^submitted  [ab] as [0-9a-f]{32};", run.stderr, re.MULTILINE)) == 2


async def test_leaving_is_bounded_and_commits_what_was_handed_in(tmp_path: Path) -> None:
    """A step that was handed in before the end is on disk after it, also when nobody waits for it any more."""
    async with journal_in(tmp_path) as journal:
        claims = [asyncio.create_task(journal.claim(music(f"m{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        for claim in claims:
            claim.cancel()
    assert len(await asyncio.to_thread(rows_in, tmp_path)) == 50
    assert {owner for _, _, owner in await asyncio.to_thread(rows_in, tmp_path)} == {None}


def test_files_are_private(cli: Cli) -> None:
    """Nobody else may read which music a user works on."""
    cli.run("generate", "--sandbox", "sandbox-instant")
    state = Path(cli.environ["SUNO_COVER_STATE_DIR"])
    for path in (state, state / "runs", state / "journal.sqlite3"):
        assert path.stat().st_mode & 0o077 == 0, path
