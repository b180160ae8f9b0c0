"""The race of callback and polling, with time in the test's hand."""

import asyncio
from collections.abc import Callable

import pytest

from suno_cover_cli.base.clock import SuspendAwareClock
from suno_cover_cli.base.errors import KeyRefusedError, RefusedError, SunoCoverError, UnavailableError
from suno_cover_cli.base.models import JobRecord, RecordState, Via
from suno_cover_cli.callbacks.content import CallbackContent, ReceivedRequest
from suno_cover_cli.callbacks.kinds import CallbackKind
from suno_cover_cli.jobs.poller import Poller, Timing, WakeUp, spread_s
from tests.clocks import ManualClock

TASK = "cover-1"
TIMING = Timing(poll_interval_s=30.0, timeout_s=900.0)


def callback(code: int = 200, task_id: str = TASK, kind: CallbackKind = CallbackKind.COVER) -> ReceivedRequest:
    """Make a callback as the listener hands it over."""
    return ReceivedRequest(
        n=1,
        id="abc",
        ts=0.0,
        path="/callback/x",
        content=CallbackContent(task_id, code, "said", (), kind),
        headers=(),
        body=b"",
    )


def unreadable() -> ReceivedRequest:
    """Make a request that is no callback, as the listener hands it over."""
    return ReceivedRequest(
        n=1, id="abc", ts=0.0, path="/callback/x", content=None, reason="not JSON", headers=(), body=b"hello"
    )


class QueueInbox:
    """An inbox the test puts callbacks into."""

    path = "/callback/test"

    def __init__(self) -> None:
        self.queue: asyncio.Queue[ReceivedRequest] = asyncio.Queue()
        self.on_refused: Callable[[ReceivedRequest], None] = lambda _: None

    async def receive(self) -> ReceivedRequest:
        """Return the next one."""
        return await self.queue.get()

    def close(self) -> None:
        """Take nothing more; the test puts nothing more in."""


class Waiting:
    """One poller under test: a service that answers from a script, and a log of its reads."""

    def __init__(self, clock: ManualClock, timing: Timing = TIMING, *, with_inbox: bool = True) -> None:
        self.clock = clock
        self.inbox = QueueInbox()
        self.wake_up = WakeUp()
        self.reads: list[float] = []
        self.pauses: list[float | None] = []
        self.strangers = 0
        self.answer: Callable[[], JobRecord] = lambda: JobRecord(task_id=TASK, state=RecordState.RUNNING)
        self._start = clock.monotonic()
        self.awake = SuspendAwareClock(clock, self.wake_up.request_read)
        self.poller = Poller(
            TASK,
            fetch=self._fetch,
            inbox=self.inbox if with_inbox else None,
            wake_up=self.wake_up,
            timing=timing,
            clock=clock,
            awake=self.awake,
            deadline=self.awake.now() + timing.timeout_s,
            on_read=lambda _record, next_s: self.pauses.append(next_s),
            on_callback=self._note_callback,
        )

    async def begin(self, first_read_s: float = 30.0) -> "asyncio.Task[tuple[JobRecord, Via]]":
        """Start to wait."""
        task = asyncio.create_task(self.poller.wait_until_terminal(first_read_s))
        await self.advance(0.0)
        return task

    def says(self, state: RecordState, *urls: str, **fields: object) -> None:
        """Let the service answer with this from now on."""
        self.answer = lambda: JobRecord(task_id=TASK, state=state, image_urls=urls, **fields)  # type: ignore[arg-type]

    def fails(self, error: SunoCoverError) -> None:
        """Let reads fail from now on."""

        def fail() -> JobRecord:
            raise error

        self.answer = fail

    async def _fetch(self, task_id: str) -> JobRecord:
        assert task_id == TASK
        self.reads.append(round(self.clock.monotonic() - self._start, 3))
        return self.answer()

    def _note_callback(self, _callback: ReceivedRequest, is_ours: bool) -> None:
        self.strangers += not is_ours

    async def advance(self, by_s: float, step_s: float = 1.0) -> None:
        """Let time pass in small steps, as it does."""
        passed = 0.0
        await self._settle()
        while passed < by_s:
            step = min(step_s, by_s - passed)
            self.clock.advance(step)
            self.awake.now()
            passed += step
            await self._settle()

    async def _settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)


@pytest.fixture
def waiting() -> Waiting:
    """A job that was just submitted."""
    return Waiting(ManualClock())


async def end(task: "asyncio.Task[tuple[JobRecord, Via]]") -> None:
    """Wait no more for a job, and until that is so."""
    task.cancel()
    await asyncio.wait({task})


async def test_without_a_callback_the_first_read_comes_after_one_interval(waiting: Waiting) -> None:
    """Reads come at 30, 60, 90 s and the end is known by polling."""
    task = await waiting.begin()
    await waiting.advance(61)
    assert waiting.reads == [30.0, 60.0]
    waiting.says(RecordState.SUCCEEDED, "https://a/1")
    await waiting.advance(30)
    record, via = await task
    assert waiting.reads == [30.0, 60.0, 90.0]
    assert (record.state, via) == (RecordState.SUCCEEDED, Via.POLL)


async def test_a_callback_leads_to_a_read_at_once(waiting: Waiting) -> None:
    """The callback's word is not the result: the read it wakes is."""
    task = await waiting.begin()
    await waiting.advance(10)
    assert waiting.reads == []
    waiting.says(RecordState.SUCCEEDED, "https://a/1")
    waiting.inbox.queue.put_nowait(callback())
    await waiting.advance(1)
    _, via = await task
    assert waiting.reads[0] <= 11.0
    assert via is Via.CALLBACK


async def test_a_record_that_lags_behind_its_callback_is_read_again_soon(waiting: Waiting) -> None:
    """After a callback, reads follow after 1, 2, 4 ... seconds, not only after the whole interval."""
    task = await waiting.begin()
    await waiting.advance(10)
    waiting.inbox.queue.put_nowait(callback())
    await waiting.advance(9)
    assert [round(b - a) for a, b in zip(waiting.reads, waiting.reads[1:], strict=False)] == [1, 2, 4]
    waiting.says(RecordState.SUCCEEDED, "https://a/1")
    await waiting.advance(10)
    assert (await task)[1] is Via.CALLBACK


async def test_a_forged_success_changes_nothing(waiting: Waiting) -> None:
    """A callback the record does not confirm never ends the job."""
    task = await waiting.begin()
    waiting.inbox.queue.put_nowait(callback())
    await waiting.advance(200)
    assert not task.done()
    await end(task)


async def test_a_failure_that_is_not_confirmed_ends_the_job_after_a_minute(waiting: Waiting) -> None:
    """A failure callback is checked for 60 s; then its code stands."""
    task = await waiting.begin()
    await waiting.advance(5)
    waiting.inbox.queue.put_nowait(callback(501))
    await waiting.advance(58)
    assert not task.done()
    await waiting.advance(5)
    record, via = await task
    assert (record.state, record.error_code, via) == (RecordState.FAILED, 501, Via.CALLBACK)


async def test_a_failure_that_the_record_contradicts_is_not_believed(waiting: Waiting) -> None:
    """A forged failure followed by a record that says done ends in success."""
    task = await waiting.begin()
    waiting.inbox.queue.put_nowait(callback(531))
    await waiting.advance(20)
    waiting.says(RecordState.SUCCEEDED, "https://a/1")
    await waiting.advance(20)
    assert (await task)[0].state is RecordState.SUCCEEDED


@pytest.mark.parametrize(
    "request_of", [unreadable, lambda: callback(task_id="other")], ids=["unreadable", "foreign"]
)
async def test_any_request_on_the_secret_path_leads_to_one_read(
    waiting: Waiting, request_of: Callable[[], ReceivedRequest]
) -> None:
    """A body that cannot be read, or names another task, costs one read at once and no more."""
    task = await waiting.begin()
    await waiting.advance(3)
    waiting.inbox.queue.put_nowait(request_of())
    await waiting.advance(26)
    assert (waiting.strangers, waiting.reads) == (1, [3.0])
    await end(task)


async def test_requests_that_cannot_be_read_cost_at_most_one_read_in_five_seconds(waiting: Waiting) -> None:
    """A flood of them, two a second for 20 seconds, leads to a read each 5 s, and callbacks are read at once."""
    task = await waiting.begin()
    for _ in range(40):
        waiting.inbox.queue.put_nowait(unreadable())
        await waiting.advance(0.5, step_s=0.5)
    assert waiting.strangers == 40
    assert waiting.reads == [0.0, 5.0, 10.0, 15.0, 20.0]
    waiting.inbox.queue.put_nowait(callback())
    await waiting.advance(0.5, step_s=0.5)
    assert waiting.reads[-1] == 20.0
    await end(task)


async def test_an_unreadable_request_may_bring_the_end(waiting: Waiting) -> None:
    """When the read it leads to says that the job is done, that is the end: nothing of it was announced."""
    task = await waiting.begin()
    waiting.says(RecordState.SUCCEEDED, "https://a/1")
    waiting.inbox.queue.put_nowait(unreadable())
    await waiting.advance(1)
    record, via = await task
    assert (record.state, via, waiting.reads) == (RecordState.SUCCEEDED, Via.POLL, [0.0])


async def test_a_failure_of_another_kind_ends_no_cover(waiting: Waiting) -> None:
    """A music callback with an error code and this task's id is read as news, not as the end of the cover."""
    task = await waiting.begin()
    waiting.inbox.queue.put_nowait(callback(400, kind=CallbackKind.MUSIC))
    await waiting.advance(100)
    assert not task.done()
    await end(task)


async def test_an_unknown_id_is_unknown_only_after_the_grace(waiting: Waiting) -> None:
    """``data: null`` is a moment's lag for 90 s and an unknown id afterwards."""
    waiting.says(RecordState.ABSENT)
    task = await waiting.begin(0.0)
    await waiting.advance(89)
    assert not task.done()
    await waiting.advance(5)
    with pytest.raises(RefusedError) as caught:
        await task
    assert caught.value.code == "unknown_cover_task"


async def test_the_deadline_is_a_pending_end_not_a_failure(waiting: Waiting) -> None:
    """A job that runs beyond the deadline is read one last time and reported as still running."""
    task = await waiting.begin()
    await waiting.advance(899)
    assert not task.done()
    await waiting.advance(2)
    with pytest.raises(TimeoutError):
        await task
    assert waiting.reads[-1] == 900.0


async def test_reads_that_fail_lose_nothing(waiting: Waiting) -> None:
    """An outage of the service during the wait is sat out; the deadline tells its cause."""
    waiting.fails(UnavailableError("down"))
    task = await waiting.begin()
    await waiting.advance(300)
    assert not task.done()
    waiting.says(RecordState.SUCCEEDED, "https://a/1")
    await waiting.advance(31)
    assert (await task)[0].state is RecordState.SUCCEEDED


async def test_a_refused_key_ends_the_wait(waiting: Waiting) -> None:
    """What waiting cannot mend is told at once."""
    waiting.fails(KeyRefusedError("no"))
    task = await waiting.begin(0.0)
    await waiting.advance(1)
    with pytest.raises(KeyRefusedError):
        await task


async def test_done_without_images_is_read_again_for_a_minute(waiting: Waiting) -> None:
    """An empty list beside a done flag may be lag; one that stays is the answer."""
    waiting.says(RecordState.SUCCEEDED)
    task = await waiting.begin(0.0)
    await waiting.advance(10)
    assert not task.done()
    waiting.says(RecordState.SUCCEEDED, "https://a/1")
    await waiting.advance(30)
    assert (await task)[0].image_urls == ("https://a/1",)


async def test_a_requested_read_comes_at_once(waiting: Waiting) -> None:
    """Losing the tunnel makes a waiting job read at once instead of at its next turn."""
    task = await waiting.begin()
    await waiting.advance(5)
    waiting.wake_up.request_read()
    await waiting.advance(1)
    assert waiting.reads == [5.0]
    await waiting.advance(30)
    assert len(waiting.reads) == 2
    await end(task)


async def test_a_read_requested_for_later_comes_then(waiting: Waiting) -> None:
    """Many jobs that lose their channel together do not all read in the same second."""
    task = await waiting.begin()
    waiting.wake_up.request_read(12.0)
    await waiting.advance(11)
    assert waiting.reads == []
    await waiting.advance(3)
    assert len(waiting.reads) == 1
    await end(task)


async def test_sleep_is_not_waiting(waiting: Waiting) -> None:
    """A machine that slept for hours wakes to one read, not to a deadline that fired."""
    task = await waiting.begin()
    await waiting.advance(40)
    assert waiting.reads == [30.0]
    # The lid was closed: ten hours in one step, with a monotonic clock that ran on.
    await waiting.advance(36_000, step_s=36_000)
    await waiting.advance(1)
    assert len(waiting.reads) == 2
    assert not task.done()
    await waiting.advance(850)
    assert not task.done()
    await waiting.advance(30)
    with pytest.raises(TimeoutError):
        await task


def test_a_wall_clock_that_jumps_is_a_wake_up() -> None:
    """Where the monotonic clock stands still during sleep, the wall clock gives it away."""

    class TwoClocks(ManualClock):
        asleep_s = 0.0

        def time(self) -> float:
            return super().time() + self.asleep_s

    rings = 0

    def count() -> None:
        nonlocal rings
        rings += 1

    clock = TwoClocks()
    awake = SuspendAwareClock(clock, count)
    clock.advance(5)
    before = awake.now()
    clock.asleep_s = 3600
    assert awake.now() == before
    assert rings == 1


def test_reads_are_spread_by_how_many_wait() -> None:
    """One job reads at once; hundreds use the whole interval, as many in each third of it."""
    assert spread_s(0, 1, 30.0) == 0.0
    assert [spread_s(place, 4, 30.0) for place in range(4)] == [0.0, 1.5, 3.0, 4.5]
    delays = [spread_s(place, 300, 30.0) for place in range(300)]
    assert [sum(start <= delay < start + 10.0 for delay in delays) for start in (0.0, 10.0, 20.0)] == [100] * 3
