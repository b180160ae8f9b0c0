"""Many jobs at once: the channel is lost, the machine sleeps, the account is refused, the limit holds."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from suno_cover_cli.base.events import JobEnded, JobPolled, JobSubmitted, RequestRetried, TunnelLost
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobState
from suno_cover_cli.jobs.batch import BatchRunner
from suno_cover_cli.jobs.poller import Timing
from suno_cover_cli.sandbox.app import Sandbox
from tests.clocks import ScaledClock
from tests.workflow_fixtures import Rig, rig

SPEED = 30.0
# Reads come from the test's own events only: nothing is due by itself for a long time.
PATIENT = Timing(poll_interval_s=30.0, timeout_s=3000.0)
COVER_PATH = "/cover/generate"
RECORD_PATH = "/record-info"


class SleepyClock(ScaledClock):
    """A clock of a machine that can be sent to sleep, after which only the wall clock has gone on, or both."""

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self._slept_s = 0.0
        self._counted_s = 0.0

    def sleep_machine(self, for_s: float, *, is_counted: bool) -> None:
        """Let ``for_s`` seconds pass while nobody runs; ``is_counted`` by the monotonic clock too."""
        self._slept_s += for_s
        self._counted_s += for_s if is_counted else 0.0

    def monotonic(self) -> float:
        """Seconds, the sleep included if it is counted."""
        return super().monotonic() + self._counted_s

    def time(self) -> float:
        """Epoch seconds, the sleep included."""
        return super().time() + self._slept_s


async def start_stuck(it: Rig, group: asyncio.TaskGroup, count: int) -> list["asyncio.Task[object]"]:
    """Begin jobs that never end, and wait until all are submitted."""
    running: list[asyncio.Task[object]] = [
        group.create_task(it.run(f"sandbox-stuck-{n}", n=n)) for n in range(1, count + 1)
    ]
    await it.heard.wait_for(JobSubmitted, count)
    return running


def spread_of(moments: list[float], parts: int, length_s: float) -> list[int]:
    """Count moments by equal parts of a length that begins with the first."""
    counts = Counter(min(int((moment - moments[0]) / length_s * parts), parts - 1) for moment in moments)
    return [counts[part] for part in range(parts)]


async def test_when_the_channel_is_lost_every_waiting_job_polls_without_a_burst(tmp_path: Path) -> None:
    """A loss wakes all jobs at once, and their reads are spread over one interval."""
    jobs, clock = 60, ScaledClock(SPEED)
    async with rig(tmp_path, clock=clock, callbacks=True, timing=PATIENT) as it, asyncio.TaskGroup() as group:
        running = await start_stuck(it, group, jobs)
        assert it.channel is not None
        it.channel.lose()
        await it.heard.wait_for(JobPolled, jobs)
        reads = it.calls(RECORD_PATH)[:jobs]
        # How even they are is the poller's, and tested there; a busy machine bunches some of them, a burst is all.
        assert max(spread_of(reads, 4, 30.0 / SPEED)) <= jobs * 0.7
        # Where the machine stood still, the next read of one job may come before the first of another.
        while {event.job for event in it.heard.of(JobPolled)} != set(range(1, jobs + 1)):
            await it.heard.wait_for(JobPolled, len(it.heard.of(JobPolled)) + 1)
        for task in running:
            task.cancel()


async def test_every_further_loss_wakes_the_jobs_again(tmp_path: Path) -> None:
    """A channel that comes back and is lost once more is noticed, long before the next read is due."""
    jobs, interval_s, clock = 4, 120.0, ScaledClock(SPEED)
    timing = Timing(poll_interval_s=interval_s, timeout_s=9000.0)
    async with rig(tmp_path, clock=clock, callbacks=True, timing=timing) as it, asyncio.TaskGroup() as group:
        running = await start_stuck(it, group, jobs)
        assert it.channel is not None
        for loss in (1, 2):
            began = clock.monotonic()
            it.channel.lose()
            await it.heard.wait_for(JobPolled, loss * jobs)
            assert clock.monotonic() - began < interval_s / 2, f"loss {loss}"
            it.channel.restore()
            await it.channel.watched.wait()
        for task in running:
            task.cancel()


@pytest.mark.parametrize("is_counted", [False, True])
async def test_a_machine_that_slept_wakes_to_one_read_a_job(tmp_path: Path, *, is_counted: bool) -> None:
    """Eight hours asleep cost one read for each job and no deadline, whichever way the system counts sleep."""
    # Slow enough that a busy machine's pauses are not taken for sleep.
    jobs, interval_s, clock = 2, 200.0, SleepyClock(12)
    timing = Timing(poll_interval_s=interval_s, timeout_s=3000.0)
    async with rig(tmp_path, clock=clock, timing=timing) as it, asyncio.TaskGroup() as group:
        running = await start_stuck(it, group, jobs)
        assert it.calls(RECORD_PATH) == []
        clock.sleep_machine(8 * 3600.0, is_counted=is_counted)
        woke = clock.monotonic()
        await it.heard.wait_for(JobPolled, jobs)
        assert clock.monotonic() - woke < interval_s / 2
        await clock.sleep(10.0)
        assert Counter(event.job for event in it.heard.of(JobPolled)) == dict.fromkeys(range(1, jobs + 1), 1)
        assert it.heard.of(JobEnded) == []
        for task in running:
            task.cancel()


async def test_without_credits_nothing_more_is_submitted_and_the_rest_is_finished(tmp_path: Path) -> None:
    """Once the account cannot pay, jobs at the service are finished, the others are not asked for."""
    names = [f"song-{n}" for n in range(20)] + ["sandbox-credits-402"] + [f"late-{n}" for n in range(100)]
    async with Sandbox(generation_s=0.3) as sandbox, rig(tmp_path, sandbox=sandbox) as it:
        batch = BatchRunner(it.workflow.run_job, concurrency=80)
        code = await batch.run(it.request(name, n=n) for n, name in enumerate(names, 1))
        assert code is ExitCode.ACCOUNT
        results = {event.result.music_task_id: event.result for event in it.heard.of(JobEnded)}
        assert all(results[f"song-{n}"].state is JobState.SUCCEEDED for n in range(20))
        # At most a gateful of submits was on its way when the refusal came, and one had gone through meanwhile.
        assert len(sandbox.jobs) <= 20 + 2 * 16
        held = [result for name, result in results.items() if result.state is JobState.REJECTED]
        assert len(held) == len(names) - len(sandbox.jobs)
        assert all(result.error is not None and result.error.code == "out_of_credits" for result in held)
    assert [warning.code for warning in it.heard.warnings] == ["submits_stopped"]


@pytest.mark.parametrize(
    ("scenario", "pause_s"),
    [("sandbox-busy-429", 2.5), ("sandbox-busy-405", 2.5), ("sandbox-maintenance-455", 30.0)],
)
async def test_a_service_that_asks_to_slow_down_slows_everybody_down(
    tmp_path: Path, scenario: str, pause_s: float
) -> None:
    """After a 429, 405 or 455 nobody calls for a while, whoever was told."""
    clock = ScaledClock(SPEED)
    async with rig(tmp_path, clock=clock) as it, asyncio.TaskGroup() as group:
        group.create_task(it.run(scenario))
        await it.heard.wait_for(RequestRetried)
        told = it.calls("")[-1]
        for n in range(30):
            group.create_task(it.run(f"song-{n}", n=n))
        await it.heard.wait_for(JobEnded, 31)
        following = [moment for moment in it.calls("") if moment > told]
        assert min(following) - told >= pause_s / SPEED * 0.9
        assert all(event.result.state is JobState.SUCCEEDED for event in it.heard.of(JobEnded))


async def test_the_service_never_sees_more_than_the_limit(tmp_path: Path) -> None:
    """However many jobs run, no window at the service holds more requests than the rate allows."""
    limit, window_s = 20, 0.6
    async with rig(
        tmp_path, clock=ScaledClock(1), rate=(limit, window_s), timing=Timing(poll_interval_s=0.3)
    ) as it:
        batch = BatchRunner(it.workflow.run_job, concurrency=40)
        assert await batch.run(it.request(f"song-{n}", n=n) for n in range(40)) is ExitCode.OK
        moments = sorted(it.calls(COVER_PATH) + it.calls(RECORD_PATH))
        assert len(moments) >= 80
        busiest = max(sum(start <= moment < start + window_s for moment in moments) for start in moments)
        assert busiest <= limit
    assert not it.heard.of(TunnelLost)


async def test_submits_go_first(tmp_path: Path) -> None:
    """While both wait for their turn, the jobs not yet submitted go before the reads of the others."""
    async with rig(tmp_path, clock=ScaledClock(1), rate=(4, 0.2), timing=Timing(poll_interval_s=0.05)) as it:
        batch = BatchRunner(it.workflow.run_job, concurrency=24)
        assert await batch.run(it.request(f"song-{n}", n=n) for n in range(24)) is ExitCode.OK
        order = sorted(
            [(at, "submit") for at in it.calls(COVER_PATH)] + [(at, "read") for at in it.calls(RECORD_PATH)]
        )
        last_submit = max(place for place, (_, kind) in enumerate(order) if kind == "submit")
        assert last_submit < 24 + 8


async def test_identical_covers_of_different_jobs_are_pointed_out(tmp_path: Path) -> None:
    """Two jobs with the same picture, byte for byte, raise a warning that names the other job."""
    async with rig(tmp_path) as it:
        first = await it.run("sandbox-image-same-a")
        assert it.heard.warnings == []
        await it.run("sandbox-image-same-b", n=2)
        assert [warning.code for warning in it.heard.warnings] == ["identical_cover", "identical_cover"]
        assert str(first.result.task_id) in it.heard.warnings[0].message
