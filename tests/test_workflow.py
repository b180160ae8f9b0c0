"""The order of a job's steps, over real parts: what is asked of the service, what is kept, what is let go."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from suno_cover_cli.base.events import JobFound, JobPolled, JobSubmitted
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobState, SavedImage, Via
from suno_cover_cli.jobs.poller import Timing
from suno_cover_cli.sandbox.app import Sandbox
from tests.clocks import ScaledClock
from tests.journal_fixtures import ended, rows_in
from tests.workflow_fixtures import rig

COVER_PATH = "/cover/generate"
RECORD_PATH = "/record-info"


async def test_a_job_leaves_nothing_open_and_everything_written_down(tmp_path: Path) -> None:
    """After a job its inbox is closed, its row has ended, and the covers are there."""
    async with rig(tmp_path, callbacks=True) as it:
        outcome = await it.run("song")
        assert (outcome.exit_code, outcome.result.state) == (ExitCode.OK, JobState.SUCCEEDED)
        assert outcome.result.via is Via.CALLBACK
        assert it.listener is not None
        assert (len(it.listener.opened), await it.listener.still_open()) == (1, 0)
        ((state, task_id, owner),) = await asyncio.to_thread(rows_in, tmp_path / "state")
        assert (state, task_id, owner) == ("succeeded", outcome.result.task_id, None)


async def test_a_job_that_wants_no_callback_opens_no_path(tmp_path: Path) -> None:
    """A job whose first run was told to use no callback is submitted without one, although others have them."""
    async with rig(tmp_path, callbacks=True) as it:
        outcome = await it.workflow.run_job(it.request("song", callback="off"))
        assert (outcome.exit_code, outcome.result.via) == (ExitCode.OK, Via.POLL)
        assert it.listener is not None
        assert it.listener.opened == []


@pytest.mark.parametrize("music", ["sandbox-unknown-422", "sandbox-auth-401", "sandbox-http-502-always"])
async def test_a_submit_that_fails_leaves_no_inbox_open(tmp_path: Path, music: str) -> None:
    """However the submit ends, nobody can call on the job's path any more."""
    async with rig(tmp_path, callbacks=True) as it:
        assert (await it.run(music)).exit_code is not ExitCode.OK
        assert it.listener is not None
        assert (len(it.listener.opened), await it.listener.still_open()) == (1, 0)


async def test_a_cancelled_job_leaves_no_inbox_open_and_no_owner(tmp_path: Path) -> None:
    """Ctrl-C closes the inbox; the row stays as far as it got and is nobody's."""
    async with rig(tmp_path, callbacks=True) as it:
        running = asyncio.create_task(it.run("sandbox-stuck"))
        await it.heard.wait_for(JobSubmitted)
        running.cancel()
        await asyncio.wait({running})
        assert it.listener is not None
        assert await it.listener.still_open() == 0
    ((state, _, owner),) = await asyncio.to_thread(rows_in, tmp_path / "state")
    assert (state, owner) == ("submitted", None)


async def test_finished_jobs_are_found_without_asking_the_service(tmp_path: Path) -> None:
    """A job whose covers are all here costs no request when it is run again."""
    async with Sandbox(generation_s=0.05) as sandbox:
        async with rig(tmp_path, sandbox=sandbox) as it:
            first = (await it.run("song")).result
            asked = len(sandbox.request_log)
        async with rig(tmp_path, sandbox=sandbox) as it:
            again = (await it.run("song")).result
            assert len(sandbox.request_log) == asked
            assert (again.state, again.via, again.code) == (JobState.SUCCEEDED, Via.EXISTING, 200)
            assert [image.path for image in again.images] == [image.path for image in first.images]
            assert (again.task_id, again.music_task_id) == (first.task_id, "song")


@pytest.mark.parametrize("change", ["missing", "renamed", "moved", "overwrite"])
async def test_what_is_not_as_wished_is_fetched_again(tmp_path: Path, change: str) -> None:
    """A missing cover, another name, another folder or ``--overwrite``: the service is asked."""
    async with Sandbox(generation_s=0.05) as sandbox, rig(tmp_path, sandbox=sandbox) as it:
        first = (await it.run("song")).result
        path = Path(first.images[1].path)
        options: dict[str, object] = {}
        if change == "missing":
            await asyncio.to_thread(path.unlink)
        elif change == "renamed":
            options["name"] = "front_{n}"
        elif change == "moved":
            it.output = tmp_path / "elsewhere"
        else:
            options["overwrite"] = True
        asked = len(sandbox.request_log)
        again = await it.run("song", **options)
        assert again.exit_code is ExitCode.OK
        assert len(sandbox.request_log) > asked
        assert all([await asyncio.to_thread(Path(image.path).exists) for image in again.result.images])
        assert len(it.calls(COVER_PATH)) == 1


async def test_a_refused_key_does_not_write_off_a_job_the_service_may_have(tmp_path: Path) -> None:
    """A submit whose answer was lost stays to be resumed, whatever a later run with a wrong key is told."""
    async with Sandbox(generation_s=0.05) as sandbox:
        async with rig(tmp_path, sandbox=sandbox) as it:
            lost = await it.run("sandbox-answer-lost-always")
            assert (lost.exit_code, lost.result.state) == (ExitCode.UNAVAILABLE, JobState.PENDING)
        async with rig(tmp_path, sandbox=sandbox, key="wrong-key") as it:
            refused = await it.run("sandbox-answer-lost-always")
            assert (refused.exit_code, refused.result.state) == (ExitCode.ACCOUNT, JobState.PENDING)
        assert [state for state, _, _ in await asyncio.to_thread(rows_in, tmp_path / "state")] == ["submitting"]


async def test_a_refused_key_ends_a_new_job(tmp_path: Path) -> None:
    """A job the service cannot have is rejected, so that a later run makes it anew."""
    async with rig(tmp_path, key="wrong-key") as it:
        refused = await it.run("song")
        assert (refused.exit_code, refused.result.state) == (ExitCode.ACCOUNT, JobState.REJECTED)


async def test_a_failed_job_that_is_made_anew_goes_on_with_its_earlier_id(tmp_path: Path) -> None:
    """Where the service says "made before" without an id, that of an earlier run counts, even one that failed."""
    async with Sandbox(generation_s=0.05) as sandbox, rig(tmp_path, sandbox=sandbox) as it:
        bare = "sandbox-duplicate-409-bare"
        await it.run(bare)
        made = next(job for job in sandbox.jobs.values() if job.music_task_id == bare)
        claim = await it.journal.claim(it.request(bare).wanted_row())
        recorded = await it.journal.record_submitted(claim.row, made.task_id)
        await it.journal.record_end(recorded.row, ended(JobState.FAILED, made.task_id), None)
        known = await it.run(bare)
    assert (known.exit_code, known.result.task_id) == (ExitCode.OK, made.task_id)


async def test_an_id_that_the_service_keeps_to_itself_is_taken_from_the_journal(tmp_path: Path) -> None:
    """Where the service says "made before" without an id, the job goes on with the one an earlier run knew."""
    async with Sandbox(generation_s=0.05) as sandbox, rig(tmp_path, sandbox=sandbox) as it:
        bare = "sandbox-duplicate-409-bare"
        unknown = await it.run(bare)
        assert unknown.result.error is not None
        assert unknown.result.error.code == "already_made"
        # The same music, waited for by the id from the provider's task log, is known from then on.
        made = next(job for job in sandbox.jobs.values() if job.music_task_id == bare)
        assert (await it.run(None, task_id=made.task_id)).exit_code is ExitCode.OK
        known = await it.run(bare)
        assert (known.exit_code, known.result.task_id) == (ExitCode.OK, made.task_id)


async def test_an_old_id_in_a_plain_answer_is_an_existing_job(tmp_path: Path) -> None:
    """A repeat that the service answers like a new job is known by its id, and read at once."""
    timing = Timing(poll_interval_s=3000.0, timeout_s=9000.0)
    async with Sandbox(generation_s=0.05) as sandbox, rig(tmp_path, sandbox=sandbox, callbacks=True) as it:
        assert (await it.run("sandbox-failed-501")).result.via is Via.CALLBACK
        async with rig(tmp_path, sandbox=sandbox, timing=timing) as later:
            again = (await later.run("sandbox-failed-501")).result
    assert (again.state, again.via) == (JobState.FAILED, Via.EXISTING)


async def test_a_folder_that_is_there_means_that_the_job_may_be_over(tmp_path: Path) -> None:
    """A cover task whose folder exists is read at once, also when its submit is answered like a new one."""
    timing = Timing(poll_interval_s=3000.0, timeout_s=9000.0)
    async with Sandbox(generation_s=0.05) as sandbox:
        async with rig(tmp_path / "first", sandbox=sandbox, wait=False) as it:
            task_id = (await it.run("sandbox-stuck")).result.task_id
        async with rig(tmp_path / "second", sandbox=sandbox, timing=timing) as it:
            await asyncio.to_thread((it.output / str(task_id)).mkdir, parents=True)
            running = asyncio.create_task(it.run("sandbox-stuck"))
            await it.heard.wait_for(JobPolled)
            running.cancel()
            await asyncio.wait({running})
            assert not it.heard.of(JobSubmitted)[0].is_existing


async def test_a_job_asked_for_by_its_cover_task_is_not_said_to_be_submitted(tmp_path: Path) -> None:
    """``wait`` finds a job; only what was submitted, or would have been, is reported as submitted."""
    async with Sandbox(generation_s=0.05) as sandbox, rig(tmp_path, sandbox=sandbox) as it:
        task_id = (await it.run("song")).result.task_id
        assert (len(it.heard.of(JobSubmitted)), len(it.heard.of(JobFound))) == (1, 0)
        assert (await it.run(None, task_id=task_id)).exit_code is ExitCode.OK
        assert (len(it.heard.of(JobSubmitted)), len(it.heard.of(JobFound))) == (1, 1)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("sandbox-stuck", "still running after 20 s; the job goes on at the service"),
        ("0123456789abcdef0123456789abcdef", "does not know the cover task 0123456789abcdef0123456789abcdef"),
    ],
)
async def test_the_deadline_says_of_a_job_what_the_service_said(tmp_path: Path, known: str, said: str) -> None:
    """Only a job that the service knows is said to run; of one it does not know that is said."""
    timing = Timing(poll_interval_s=5.0, timeout_s=20.0)
    async with rig(tmp_path, clock=ScaledClock(60), timing=timing) as it:
        by_music = known.startswith("sandbox-")
        outcome = await (it.run(known) if by_music else it.run(None, task_id=known))
        assert (outcome.exit_code, outcome.result.state) == (ExitCode.PENDING, JobState.PENDING)
        assert outcome.result.error is not None
        assert said in outcome.result.error.message
        assert ("still running" in outcome.result.error.message) == by_music


async def test_without_waiting_the_job_is_left_to_a_restart(tmp_path: Path) -> None:
    """``--no-wait`` ends with the cover task id; the row is free, and no image was asked for."""
    async with rig(tmp_path, wait=False) as it:
        outcome = await it.run("song")
        assert (outcome.exit_code, outcome.result.state) == (ExitCode.OK, JobState.PENDING)
        assert it.calls(RECORD_PATH) == []
        assert await asyncio.to_thread(rows_in, tmp_path / "state") == [
            ("submitted", outcome.result.task_id, None)
        ]


class NeverSaver:
    """A downloader that never comes to an end."""

    async def save(
        self,
        url: str,
        folder: Path,
        stem: str,
        *,
        overwrite: bool = False,
        on_progress: Callable[[int, int | None], None] | None = None,
        on_retry: Callable[[str], None] | None = None,
        turn: AbstractAsyncContextManager[object] | None = None,
    ) -> SavedImage:
        """Hang."""
        del url, folder, stem, overwrite, on_progress, on_retry, turn
        never: asyncio.Future[SavedImage] = asyncio.get_running_loop().create_future()
        return await never

    async def find_saved(self, folder: Path, stem: str, url: str) -> SavedImage | None:
        """Find nothing."""
        del folder, stem, url
        return None


async def test_the_deadline_bounds_the_saving_too(tmp_path: Path) -> None:
    """An image host that never answers does not keep a job beyond its deadline and a short grace."""
    clock = ScaledClock(60)
    timing = Timing(poll_interval_s=1.0, timeout_s=20.0)
    async with rig(tmp_path, clock=clock, saver=NeverSaver(), timing=timing) as it:
        began = clock.monotonic()
        outcome = await it.run("song")
        assert (outcome.exit_code, outcome.result.state) == (ExitCode.IMAGES_MISSING, JobState.PARTIAL)
        assert [image.error for image in outcome.result.failed_images] == [
            "it had not arrived at the end of the time limit"
        ] * 2
        assert 19.0 < clock.monotonic() - began < 60.0
        assert outcome.result.error is not None
        assert "suno-cover resume" in outcome.result.error.hint


async def test_covers_that_are_ready_at_the_deadline_are_saved(tmp_path: Path) -> None:
    """Whoever asks with a short timeout for a job that is done gets its covers."""
    async with Sandbox(generation_s=0.0) as sandbox:
        async with rig(tmp_path, sandbox=sandbox, wait=False) as it:
            task_id = (await it.run("song")).result.task_id
        timing = Timing(poll_interval_s=3.0, timeout_s=0.5)
        async with rig(tmp_path, sandbox=sandbox, timing=timing, clock=ScaledClock(1)) as it:
            assert (await it.run(None, task_id=task_id)).exit_code is ExitCode.OK


async def test_a_read_that_hangs_does_not_outlive_the_deadline(tmp_path: Path) -> None:
    """A service that takes minutes to refuse each read ends the job as pending, soon after its deadline."""
    clock = ScaledClock(60)
    timing = Timing(poll_interval_s=1.0, timeout_s=20.0)
    async with rig(tmp_path, clock=clock, timing=timing, rate=(1, 3600.0)) as it:
        began = clock.monotonic()
        outcome = await it.run("song")
        assert outcome.exit_code is ExitCode.PENDING
        assert clock.monotonic() - began < 60.0
