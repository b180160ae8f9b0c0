"""Cover task ids of the journal that the service does not know: asked for anew once, and by the right key."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from suno_cover_cli.base.models import JobState
from suno_cover_cli.cli.status import StatusOptions, read_status
from suno_cover_cli.sandbox.app import RECORD_PATH, SUBMIT_PATH, Sandbox
from tests.cli_fixtures import Cli, Run
from tests.command_fixtures import Commands
from tests.counting_service import CountingService
from tests.crash_fixtures import POLL, Crash, Moment, WatchedSandbox, environ_of
from tests.journal_fixtures import Listening, ended, journal_in, music

WRONG = "f" * 32
ONE, OTHER = "one-key-0123456789abcdef", "other-key-0123456789abcdef"


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """One user on one machine."""
    return Commands(tmp_path)


def change(state: Path, columns: str) -> None:
    """Change all jobs of a journal, as damage or a killed run would."""
    with contextlib.closing(sqlite3.connect(state / "journal.sqlite3")) as connection, connection:
        connection.execute(f"UPDATE jobs SET {columns}")  # noqa: S608 -- from below


def rows_of(state: Path, columns: str) -> list[tuple[Any, ...]]:
    """Read columns of all jobs of a journal."""
    with contextlib.closing(sqlite3.connect(state / "journal.sqlite3")) as connection:
        return connection.execute(f"SELECT {columns} FROM jobs ORDER BY id").fetchall()  # noqa: S608 -- the same


async def leave(
    commands: Commands, sandbox: Sandbox, music_task_id: str = "song", *, age_s: float = 3600.0
) -> str:
    """Leave a job that a killed run submitted ``age_s`` seconds ago, under a wrong id; return the right one."""
    (task_id,) = (await commands.leave(music_task_id, environ=environ_of(sandbox))).lines
    columns = f"task_id = '{WRONG}', result = NULL, submitted_at = submitted_at - {age_s}"
    await asyncio.to_thread(change, state_of(commands), columns)
    return task_id


def state_of(commands: Commands | Cli) -> Path:
    """Return the state folder."""
    return Path(commands.environ["SUNO_COVER_STATE_DIR"])


def count_calls(sandbox: Sandbox, path: str) -> int:
    """Count the calls that the service got."""
    return sum(logged.path == path for logged in sandbox.request_log)


async def test_an_id_the_service_does_not_know_is_asked_for_anew(commands: Commands) -> None:
    """One read, one submit, which makes no second job: the covers are saved under the right id, which is kept."""
    async with Sandbox(generation_s=0.0) as sandbox:
        task_id = await leave(commands, sandbox)
        run = await commands.resume(environ=environ_of(sandbox))
        assert run.code == 0, run.stderr
        assert [job["task_id"] for job in run.objects] == [task_id]
        assert [(job.music_task_id, job.submits) for job in sandbox.jobs.values()] == [("song", 2)]
        assert count_calls(sandbox, RECORD_PATH) == 2
    assert run.stderr.count(f"does not know cover task {WRONG}: submitting song again") == 1
    assert await asyncio.to_thread(rows_of, state_of(commands), "task_id, state") == [(task_id, "succeeded")]


async def test_a_first_run_of_the_same_song_finds_it_too(commands: Commands) -> None:
    """``generate`` goes on with the job that the journal knows, and with the right id for it."""
    async with Sandbox(generation_s=0.0) as sandbox:
        task_id = await leave(commands, sandbox)
        run = await commands.begin("song", environ=environ_of(sandbox))
        assert (run.code, run.objects[0]["task_id"]) == (0, task_id), run.stderr
        assert len(sandbox.jobs) == 1


async def test_the_grace_counts_from_the_submit(commands: Commands) -> None:
    """A job that is young may not be known yet: nothing is submitted before it is 90 s old, and then at once."""
    async with Sandbox(generation_s=0.0) as sandbox:
        await leave(commands, sandbox, age_s=75.0)
        ((submitted_at,),) = await asyncio.to_thread(rows_of, state_of(commands), "submitted_at")
        begun = commands.clock.time()
        run = await commands.resume(environ=environ_of(sandbox))
        assert run.code == 0, run.stderr
        ((again_at,),) = await asyncio.to_thread(rows_of, state_of(commands), "submitted_at")
        assert again_at - submitted_at >= 90.0
        assert again_at - begun < 90.0


@pytest.mark.parametrize(
    ("music_task_id", "words"),
    [
        ("sandbox-unknown-422", "Original music record does not exist"),
        ("sandbox-duplicate-409-bare", "already"),
    ],
)
async def test_a_job_that_cannot_be_asked_for_is_given_up(
    commands: Commands, music_task_id: str, words: str
) -> None:
    """Where the music task is damaged too, or is answered without an id, both facts are told, and it ends."""
    async with Sandbox(generation_s=0.0) as sandbox:
        await leave(commands, sandbox)
        await asyncio.to_thread(change, state_of(commands), f"music_task_id = '{music_task_id}'")
        submits = count_calls(sandbox, SUBMIT_PATH)
        run = await commands.resume(environ=environ_of(sandbox))
        assert (run.code, run.objects[0]["state"]) == (3, "rejected"), run.stderr
        error = run.objects[0]["error"]
        assert error["code"] == "unknown_cover_task"
        assert WRONG in error["message"]
        assert words in error["message"]
        assert count_calls(sandbox, SUBMIT_PATH) == submits + 1
        again = await commands.resume(environ=environ_of(sandbox))
    assert "Nothing to resume" in again.stderr


async def test_a_job_is_asked_for_anew_once(commands: Commands) -> None:
    """When the service names the same id again, it has one more grace to know it; then that is the end."""
    async with Sandbox(generation_s=0.0) as sandbox:
        await commands.leave("sandbox-unknown-record", environ=environ_of(sandbox))
        await asyncio.to_thread(change, state_of(commands), "submitted_at = submitted_at - 3600")
        run = await commands.resume(environ=environ_of(sandbox))
        assert (run.code, run.objects[0]["error"]["code"]) == (3, "unknown_cover_task"), run.stderr
        assert count_calls(sandbox, SUBMIT_PATH) == 2


async def test_an_outage_leaves_the_job_for_later(commands: Commands) -> None:
    """A submit that is not answered ends nothing: the next ``resume`` does it."""
    async with Sandbox(generation_s=0.0) as sandbox:
        await leave(commands, sandbox)
        await asyncio.to_thread(change, state_of(commands), "music_task_id = 'sandbox-http-502-always'")
        run = await commands.resume(environ=environ_of(sandbox))
        assert (run.code, run.objects[0]["state"]) == (5, "pending"), run.stderr
        await asyncio.to_thread(change, state_of(commands), "music_task_id = 'song'")
        assert (await commands.resume(environ=environ_of(sandbox))).code == 0


async def test_who_only_waits_submits_nothing(commands: Commands) -> None:
    """``wait`` and ``status`` by such an id end with exit 3, and ``wait`` names the command that may submit."""
    async with Sandbox(generation_s=0.0) as sandbox:
        task_id = await leave(commands, sandbox)
        run = await commands.wait(WRONG, environ=environ_of(sandbox))
        assert run.code == 3, run.stderr
        assert "suno-cover generate song" in run.objects[0]["error"]["hint"]
        seen = await commands.run(
            lambda context: read_status(StatusOptions(task_id=WRONG), context), environ=environ_of(sandbox)
        )
        assert (seen.code, seen.lines) == (3, ["absent"])
        assert count_calls(sandbox, SUBMIT_PATH) == 1
        hinted = await commands.begin("song", environ=environ_of(sandbox))
        assert (hinted.code, hinted.objects[0]["task_id"]) == (0, task_id)


async def test_jobs_of_the_built_in_sandbox_are_made_anew(commands: Commands) -> None:
    """A trial whose sandbox was forgotten is run again by ``resume --sandbox``."""
    await commands.leave("song", environ={}, sandbox=True)
    (state_of(commands) / "sandbox.jsonl").unlink()
    await asyncio.to_thread(change, state_of(commands), "submitted_at = submitted_at - 3600")
    run = await commands.resume(environ={}, sandbox=True)
    assert (run.code, run.objects[0]["state"]) == (0, "succeeded"), run.stderr


@pytest.mark.parametrize(
    "moment", [Moment("before", "submit"), Moment("after", "submit"), Moment("after", "read")]
)
async def test_a_kill_in_between_costs_nothing(cli: Cli, moment: Moment) -> None:
    """Killed before the submit, before its answer or after it, the next ``resume`` finishes the one job."""
    async with WatchedSandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        (task_id,) = (await cli.run_beside("generate", "--no-wait", "song", **environ)).lines
        change(state_of(cli), f"task_id = '{WRONG}', result = NULL, submitted_at = submitted_at - 3600")
        crash = Crash(cli, environ, moment)
        sandbox.watch = crash.watch
        assert await crash.run("resume", *POLL)
        sandbox.watch = None
        run = await cli.run_beside("resume", "--json", *POLL, **environ)
        assert (run.code, [job["task_id"] for job in run.objects]) == (0, [task_id]), run.stderr
        assert len(sandbox.jobs) == 1


# --- another account --------------------------------------------------------------------------------------


async def resume_with(cli: Cli, service: CountingService, key: str, *words: str) -> Run:
    """Run ``resume`` with a key."""
    environ = {"SUNO_BASE_URL": service.url, "SUNO_API_KEY": key}
    return await cli.run_beside("resume", *words, "--json", *POLL, **environ)


async def test_a_job_of_another_account_is_never_submitted_with_this_one(cli: Cli) -> None:
    """Named by its id with the wrong key, it stays as it is, each time; its own key finishes it."""
    async with CountingService(10**6, 1.0, generation_s=0.0, has_accounts=True) as service:
        left = await cli.run_beside("generate", "--no-wait", "song", SUNO_BASE_URL=service.url, SUNO_API_KEY=ONE)
        assert left.code == 0, left.stderr
        await asyncio.to_thread(change, state_of(cli), "submitted_at = submitted_at - 3600")
        service.arrivals.clear()
        for _ in range(2):
            run = await resume_with(cli, service, OTHER, "song")
            assert run.code == 3, run.stderr
            assert run.objects[0]["state"] == "pending"
            assert "another one" in run.objects[0]["error"]["message"]
        assert {about for _, about in service.arrivals} == {"c-song"}
        assert (await resume_with(cli, service, OTHER)).objects == []
        own = await resume_with(cli, service, ONE)
        assert (own.code, own.objects[0]["state"]) == (0, "succeeded"), own.stderr


async def test_a_job_is_one_of_a_new_key_once_the_service_says_so(tmp_path: Path) -> None:
    """A claim alone does not change whose job a submitted one is; an end under another key does."""
    sink = Listening()
    async with journal_in(tmp_path, sink) as journal:
        row = (await journal.claim(music("m", key_mark="saltsalt11111111"))).row
        row = (await journal.record_submitted(row, "c")).row
        again = (await journal.claim(music("m", key_mark="saltsalt22222222"))).row
        assert rows_of(tmp_path, "key_mark") == [("saltsalt11111111",)]
        await journal.record_end(again, ended(JobState.PENDING, "c"), None, key_mark="saltsalt22222222")
        assert rows_of(tmp_path, "key_mark") == [("saltsalt22222222",)]


# --- what the journal can see by itself -------------------------------------------------------------------


async def test_a_row_that_names_two_cover_tasks_is_repaired(tmp_path: Path) -> None:
    """A damaged id that could be one is noticed where the last result has another, and is asked for anew."""
    async with journal_in(tmp_path) as journal:
        row = (await journal.record_submitted((await journal.claim(music("m"))).row, "right")).row
        await journal.record_end(row, ended(JobState.PENDING, "right"), None)
    change(tmp_path, "task_id = 'wrong'")
    sink = Listening()
    async with journal_in(tmp_path, sink, required=True) as journal:
        (claim,) = await journal.claim_unfinished()
        assert claim.row.task_id is None
        assert claim.row.result is None
    assert ["result, task_id" in warning.message for warning in sink.warnings] == [True]


async def test_a_job_with_a_new_id_is_no_damaged_one(tmp_path: Path) -> None:
    """What was written of the id before goes with it: a run that is killed then leaves a sound row."""
    async with journal_in(tmp_path) as journal:
        row = (await journal.record_submitted((await journal.claim(music("m"))).row, "old")).row
        await journal.record_end(row, ended(JobState.PENDING, "old"), None)
        await journal.record_submitted((await journal.claim(music("m"))).row, "new")
    sink = Listening()
    async with journal_in(tmp_path, sink, required=True) as journal:
        (claim,) = await journal.claim_unfinished()
        assert claim.row.task_id == "new"
    assert sink.warnings == []
