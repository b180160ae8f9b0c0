"""Bounds on waiting: each piece of work has its own time, whoever else is under way."""

import asyncio

import pytest

from suno_cover_cli.base.clock import SharedLimit
from tests.clocks import ManualClock

LIMIT_S = 10.0


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def forever() -> None:
    """Never end."""
    await asyncio.Event().wait()


async def test_what_is_done_in_time_returns_what_it_made() -> None:
    """The result comes back, an error too, and nothing sleeps on when all is done."""
    clock = ManualClock()
    limit = SharedLimit(clock, LIMIT_S)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("on purpose")

    assert await limit.run(asyncio.sleep(0, "made")) == "made"
    with pytest.raises(ValueError, match="on purpose"):
        await limit.run(fail())
    await turns()
    assert len(asyncio.all_tasks()) == 1


async def test_each_has_its_own_time() -> None:
    """What began later ends later, each after the whole limit, and its clean-up is waited for."""
    clock = ManualClock()
    limit = SharedLimit(clock, LIMIT_S)
    ended: list[tuple[str, float]] = []

    async def work(name: str) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append((name, clock.monotonic() - began_s))

    began_s = clock.monotonic()
    first = asyncio.create_task(limit.run(work("first")))
    await turns()
    clock.advance(4)
    second = asyncio.create_task(limit.run(work("second")))
    await turns()
    clock.advance(5.5)
    await turns()
    assert ended == []
    clock.advance(0.5)
    await turns()
    assert ended == [("first", 10.0)]
    assert not second.done()
    clock.advance(4)
    await turns()
    assert ended == [("first", 10.0), ("second", 14.0)]
    for task in (first, second):
        with pytest.raises(TimeoutError):
            await task
        assert task.cancelling() == 0


async def test_the_end_of_one_leaves_the_others_their_time() -> None:
    """One that is done, while the next waits, takes nothing of the next one's time and gives it none."""
    clock = ManualClock()
    limit = SharedLimit(clock, LIMIT_S)
    done = asyncio.Event()
    first = asyncio.create_task(limit.run(done.wait()))
    await turns()
    clock.advance(6)
    second = asyncio.create_task(limit.run(forever()))
    await turns()
    done.set()
    assert await first
    clock.advance(9)
    await turns()
    assert not second.done()
    clock.advance(1)
    with pytest.raises(TimeoutError):
        await second


async def test_who_is_cancelled_from_outside_is_cancelled() -> None:
    """A cancellation is none of the limit's, also when time is up in the same moment."""
    clock = ManualClock()
    limit = SharedLimit(clock, LIMIT_S)
    tasks = [asyncio.create_task(limit.run(forever())) for _ in range(2)]
    await turns()
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    clock.advance(LIMIT_S)
    for _ in range(3):
        await asyncio.sleep(0)
        if tasks[1].cancelling():
            break
    assert tasks[1].cancelling() == 1
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, True]
