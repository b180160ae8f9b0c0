"""The journal: who owns which job, and what of it survives."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import pytest

from suno_cover_cli.base.models import JobState
from suno_cover_cli.journal.rows import RowState
from tests.journal_fixtures import cover, ended, journal_in, music, rows_in

# --- steps ------------------------------------------------------------------------------------------------


async def test_a_claim_is_on_disk_before_it_returns(tmp_path: Path) -> None:
    """The row of a job exists before anybody could speak to the service."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(music("m"))
        assert (claim.is_new, claim.is_busy) == (True, False)
        ((state, task_id, owner),) = await asyncio.to_thread(rows_in, tmp_path)
        assert (state, task_id) == ("submitting", None)
        assert owner is not None


async def test_the_cover_task_id_is_on_disk_before_the_next_step(tmp_path: Path) -> None:
    """The moment the cover task id is known, it is written down."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(music("m"))
        recorded = await journal.record_submitted(claim.row, "c")
        assert (recorded.row.task_id, recorded.row.state) == ("c", RowState.SUBMITTED)
        ((state, task_id, _),) = await asyncio.to_thread(rows_in, tmp_path)
        assert (state, task_id) == ("submitted", "c")


async def test_a_job_that_goes_on_is_found_again(tmp_path: Path) -> None:
    """A second run of the same music task goes on with the job of the first, whose wishes are replaced."""
    async with journal_in(tmp_path) as journal:
        first = await journal.claim(music("m"))
        await journal.record_submitted(first.row, "c")
    async with journal_in(tmp_path) as journal:
        again = await journal.claim(music("m", output="/elsewhere"))
        assert (again.row.id, again.row.task_id, again.is_new) == (first.row.id, "c", False)
        assert again.row.output == "/elsewhere"
        assert again.earlier is not None
        assert again.earlier.output == "/covers"


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.REJECTED])
async def test_a_job_that_failed_is_made_anew(tmp_path: Path, state: JobState) -> None:
    """After a failure the same music task gets a new row, and the old one stays in the history."""
    async with journal_in(tmp_path) as journal:
        first = await journal.claim(music("m"))
        await journal.record_end(first.row, ended(state), None)
        again = await journal.claim(music("m"))
        assert again.is_new
        assert again.row.id != first.row.id


async def test_services_do_not_share_jobs(tmp_path: Path) -> None:
    """The same id at another service is another job."""
    async with journal_in(tmp_path) as journal:
        await journal.claim(music("m"))
        other = await journal.claim(music("m", service="https://other.test"))
        assert other.is_new


async def test_a_pending_end_leaves_the_state_for_a_restart(tmp_path: Path) -> None:
    """A run that gives up leaves the job as far as it got, and lets go of it."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(music("m"))
        row = (await journal.record_submitted(claim.row, "c")).row
        await journal.record_end(row, ended(JobState.PENDING, "c"), None)
        assert await asyncio.to_thread(rows_in, tmp_path) == [("submitted", "c", None)]


async def test_a_pending_rerun_does_not_undo_a_success(tmp_path: Path) -> None:
    """What is known of a finished job outlives a later run that could not reach the service."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(music("m"))
        await journal.record_end(claim.row, ended(JobState.SUCCEEDED, "c", "hash"), 5.0)
        again = await journal.claim(music("m"))
        await journal.record_end(again.row, ended(JobState.PENDING, "c"), None)
        third = await journal.claim(music("m"))
        assert third.row.state is RowState.SUCCEEDED
        assert third.row.result is not None
        assert len(third.row.result.images) == 1
        assert third.row.completed_at == 5.0


async def test_when_a_job_was_done_is_not_forgotten(tmp_path: Path) -> None:
    """A later run that fetches what is missing and does not learn when the job was done leaves that as it is."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(music("m"))
        await journal.record_end(claim.row, ended(JobState.PARTIAL, "c", "hash"), 5.0)
        again = await journal.claim(music("m"))
        await journal.record_end(again.row, ended(JobState.PARTIAL, "c", "hash"), None)
        assert (await journal.claim(music("m"))).row.completed_at == 5.0


async def test_a_cover_task_id_that_could_not_be_written_is_written_with_the_end(tmp_path: Path) -> None:
    """A step that was lost is made good by the next one that is not."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(music("m"))
        await journal.record_end(claim.row, ended(JobState.PARTIAL, "c"), None)
        assert await asyncio.to_thread(rows_in, tmp_path) == [("partial", "c", None)]


async def test_the_music_task_of_a_waited_job_is_learnt(tmp_path: Path) -> None:
    """A job known by its cover task alone is found by its music task once the service has told it."""
    async with journal_in(tmp_path) as journal:
        claim = await journal.claim(cover("c"))
        await journal.record_end(claim.row, ended(JobState.SUCCEEDED, "c", music_task_id="m"), None)
        assert (await journal.claim(music("m"))).row.task_id == "c"


async def test_an_old_cover_task_is_recognised(tmp_path: Path) -> None:
    """A submit that is answered with the id of an earlier job is told from one that made a job."""
    async with journal_in(tmp_path) as journal:
        first = await journal.claim(music("m"))
        assert not (await journal.record_submitted(first.row, "c")).is_known
        await journal.record_end(first.row, ended(JobState.FAILED, "c"), None)
        again = await journal.claim(music("m"))
        assert (await journal.record_submitted(again.row, "c")).is_known


async def test_an_earlier_id_is_remembered(tmp_path: Path) -> None:
    """The id an earlier job was given is found, for a service that says "made before" without saying where."""
    async with journal_in(tmp_path) as journal:
        first = await journal.claim(music("m"))
        await journal.record_end(first.row, ended(JobState.FAILED, "c"), None)
        again = await journal.claim(music("m"))
        assert await journal.find_task_id(again.row) == "c"
        other = await journal.claim(music("other"))
        assert await journal.find_task_id(other.row) is None


async def test_identical_images_of_other_jobs_are_found(tmp_path: Path) -> None:
    """A cover that another job has byte for byte is told with that job's id; a job's own are not."""
    async with journal_in(tmp_path) as journal:
        one = await journal.claim(music("one"))
        assert await journal.record_end(one.row, ended(JobState.SUCCEEDED, "c1", "x", "y"), None) == {}
        two = await journal.claim(music("two"))
        assert await journal.record_end(two.row, ended(JobState.SUCCEEDED, "c2", "y", "z"), None) == {"y": "c1"}
        again = await journal.claim(music("one"))
        assert await journal.record_end(again.row, ended(JobState.SUCCEEDED, "c1", "x"), None) == {}


# --- batches and owners -----------------------------------------------------------------------------------


async def test_a_batch_is_written_down_before_its_first_job(tmp_path: Path) -> None:
    """Every job of a batch is known to a restart, and told from those the service may have heard of."""
    async with journal_in(tmp_path) as journal:
        await journal.enqueue(music(f"m{n}") for n in range(5000))
        states = await asyncio.to_thread(rows_in, tmp_path)
        assert len(states) == 5000
        assert {state for state, _, _ in states} == {"queued"}
        claim = await journal.claim(music("m1"))
        assert (claim.is_new, claim.row.state) == (True, RowState.SUBMITTING)
    async with journal_in(tmp_path) as journal:
        again = await journal.claim(music("m1"))
        assert not again.is_new
        assert len(await journal.claim_unfinished()) == 5000


async def test_a_batch_does_not_touch_what_is_done(tmp_path: Path) -> None:
    """Jobs that have ended keep their row and state when a list names them again."""
    async with journal_in(tmp_path) as journal:
        done = await journal.claim(music("done"))
        await journal.record_end(done.row, ended(JobState.SUCCEEDED, "c"), None)
        await journal.enqueue([music("done"), music("new")])
        states = await asyncio.to_thread(rows_in, tmp_path)
        assert [(state, owner is None) for state, _, owner in states] == [("succeeded", True), ("queued", False)]


async def test_a_job_of_a_live_run_is_not_taken(tmp_path: Path) -> None:
    """While another run lives, its job is busy for everybody else, and free the moment that run is over."""
    async with journal_in(tmp_path) as mine:
        async with journal_in(tmp_path) as other:
            row = (await other.claim(music("m"))).row
            assert (await mine.claim(music("m"))).is_busy
            assert [claim.is_busy for claim in await mine.claim_unfinished()] == [True]
            waiting = asyncio.create_task(mine.wait_released(row.id))
            await asyncio.sleep(0.1)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)
        assert not (await mine.claim(music("m"))).is_busy


async def test_a_job_that_ended_is_free_while_its_run_lives(tmp_path: Path) -> None:
    """A batch that still runs holds only the jobs it has not ended."""
    async with journal_in(tmp_path) as mine, journal_in(tmp_path) as other:
        row = (await other.claim(music("m"))).row
        await other.record_end(row, ended(JobState.PARTIAL, "c"), None)
        assert [claim.is_busy for claim in await mine.claim_unfinished()] == [False]


async def test_a_job_let_go_of_is_free(tmp_path: Path) -> None:
    """What ``resume`` cannot run after all is left to the next."""
    async with journal_in(tmp_path) as mine, journal_in(tmp_path) as other:
        row = (await other.claim(music("m"))).row
        await other.release([row])
        assert not (await mine.claim(music("m"))).is_busy


HOLDER = """
import asyncio, pathlib, sys
from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.events import NullSink
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.rows import JobOptions, JobRow, RowState

async def main():
    async with Journal(pathlib.Path(sys.argv[1]), clock=SystemClock(), sink=NullSink()) as journal:
        await journal.claim(JobRow(id=0, service="https://service.test", provider="sunoapi", music_task_id="m",
            task_id=None, state=RowState.SUBMITTING, output="/covers", options=JobOptions()))
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_job_of_a_killed_process_is_taken(tmp_path: Path) -> None:
    """The job of a process that was killed is nobody's; as long as the process lived, it was busy."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"held\n"
    async with journal_in(tmp_path) as journal:
        assert (await journal.claim(music("m"))).is_busy
        child.send_signal(signal.SIGKILL)
        await child.wait()
        claim = await journal.claim(music("m"))
        assert (claim.is_busy, claim.is_new) == (False, False)
    assert list((tmp_path / "runs").iterdir()) == []


async def test_two_runs_that_claim_at_once_get_one_job(tmp_path: Path) -> None:
    """Of many claims of the same music task, one makes the job and the others find it busy."""
    async with contextlib.AsyncExitStack() as stack:
        journals = [await stack.enter_async_context(journal_in(tmp_path)) for _ in range(4)]
        claims = await asyncio.gather(*(journal.claim(music("m")) for journal in journals))
        assert sorted((claim.is_new, claim.is_busy) for claim in claims) == [(False, True)] * 3 + [(True, False)]


async def test_jobs_that_ended_long_ago_are_forgotten(tmp_path: Path) -> None:
    """After 400 days, or behind 100,000 later ones, an ended job goes; an unfinished or picked one never."""
    async with journal_in(tmp_path) as journal:
        for name in ("old", "picked", "unfinished", "young"):
            row = (await journal.claim(music(name))).row
            state = JobState.PARTIAL if name == "unfinished" else JobState.SUCCEEDED
            await journal.record_end(row, ended(state, f"cover-of-{name}"), None)
        await journal.database.run(
            lambda c: c.execute("UPDATE jobs SET created_at = 1.0, updated_at = 1.0 WHERE id < 4")
        )
        await journal.database.run(
            lambda c: c.execute(
                "INSERT INTO picks VALUES ('https://service.test', 'cover-of-picked', 1, 'p', 's', 1)"
            )
        )
    left = [task_id for _, task_id, _ in await asyncio.to_thread(rows_in, tmp_path)]
    assert left == ["cover-of-picked", "cover-of-unfinished", "cover-of-young"]
    async with journal_in(tmp_path) as journal:
        await journal.claim(music("late"))
        await journal.database.run(lambda c: c.execute("UPDATE jobs SET id = 200000 WHERE music_task_id = 'late'"))
    left = [task_id for _, task_id, _ in await asyncio.to_thread(rows_in, tmp_path)]
    assert left == ["cover-of-picked", "cover-of-unfinished", None]
