"""The limiter: what the service would count, who goes first, who waits for whom."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from suno_cover_cli.service.limiter import Priority, RequestLimiter
from tests.clocks import ManualClock


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves only when told."""
    return ManualClock()


@pytest.fixture
async def limiter(clock: ManualClock) -> AsyncIterator[RequestLimiter]:
    """Three requests in ten seconds."""
    async with RequestLimiter(3, 10.0, clock=clock) as limiter:
        yield limiter


async def take(limiter: RequestLimiter, log: list[str], name: str, priority: Priority = Priority.READ) -> None:
    """Make one request that is answered at once."""
    async with limiter.slot(priority):
        log.append(name)


async def test_a_full_window_lets_nobody_in_until_it_has_passed(
    limiter: RequestLimiter, clock: ManualClock
) -> None:
    """The fourth request waits until ten seconds after the first was answered."""
    log: list[str] = []
    async with asyncio.TaskGroup() as group:
        for n in range(4):
            group.create_task(take(limiter, log, str(n)))
        await settle()
        assert log == ["0", "1", "2"]
        clock.advance(9.9)
        await settle()
        assert log == ["0", "1", "2"]
        clock.advance(0.2)
        await settle()
        assert log == ["0", "1", "2", "3"]


async def test_a_slot_is_counted_from_the_answer_not_from_the_start(
    limiter: RequestLimiter, clock: ManualClock
) -> None:
    """Three slow requests hold their slots for a window after their answers: the service saw them late."""
    log: list[str] = []
    answered = asyncio.Event()

    async def slow() -> None:
        async with limiter.slot(Priority.READ):
            await answered.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(slow())
        await settle()
        group.create_task(take(limiter, log, "late"))
        clock.advance(60)
        await settle()
        assert log == []
        answered.set()
        await settle()
        clock.advance(9.9)
        await settle()
        assert log == []
        clock.advance(0.2)
        await settle()
        assert log == ["late"]


async def test_submits_overtake_reads_that_wait(limiter: RequestLimiter, clock: ManualClock) -> None:
    """When a slot comes free, a submit that came last goes before reads that came first."""
    log: list[str] = []
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(take(limiter, log, f"first-{n}"))
        await settle()
        group.create_task(take(limiter, log, "read"))
        await settle()
        group.create_task(take(limiter, log, "submit", Priority.SUBMIT))
        await settle()
        clock.advance(10.1)
        await settle()
    assert log[3:] == ["submit", "read"]


async def test_a_pause_holds_everybody_even_without_a_limit(clock: ManualClock) -> None:
    """After the service asked to slow down nobody starts until the pause is over."""
    log: list[str] = []
    async with RequestLimiter(None, 10.0, clock=clock) as limiter, asyncio.TaskGroup() as group:
        limiter.pause(5.0)
        group.create_task(take(limiter, log, "a"))
        await settle()
        clock.advance(4.9)
        await settle()
        assert log == []
        limiter.pause(5.0)
        clock.advance(0.2)
        await settle()
        assert log == []
        clock.advance(5.0)
        await settle()
    assert log == ["a"]


async def test_a_request_that_gives_up_waiting_takes_no_slot(limiter: RequestLimiter, clock: ManualClock) -> None:
    """A cancelled waiter, even one that was handed its slot in that moment, leaves the slot to the next."""
    log: list[str] = []
    for n in range(3):
        await take(limiter, log, str(n))
    waiting = asyncio.create_task(take(limiter, log, "gives up"))
    await settle()
    waiting.cancel()
    await settle()
    clock.advance(10.1)
    for n in range(3):
        await take(limiter, log, f"again-{n}")
    assert log == ["0", "1", "2", "again-0", "again-1", "again-2"]


async def test_a_slot_handed_over_while_its_waiter_is_cancelled_is_passed_on(
    limiter: RequestLimiter, clock: ManualClock
) -> None:
    """Cancelling between the hand-over and the waking does not lose the place for ever."""
    log: list[str] = []
    for n in range(3):
        await take(limiter, log, str(n))
    waiters = [asyncio.create_task(take(limiter, log, f"w{n}")) for n in range(3)]
    await settle()
    clock.advance(10.1)
    # One turn of the loop: the pump hands out slots, the waiters have not run yet.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    clock.advance(10.1)
    before = len(log)
    for n in range(3):
        await asyncio.wait_for(take(limiter, log, f"after-{n}"), 1)
    assert len(log) == before + 3
