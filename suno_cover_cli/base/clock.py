"""Time as a parameter: code that waits or stamps takes a :class:`Clock`, so tests need not wait or patch.

And how to wait no longer than wanted: for what can be cancelled, for what cannot, and over a sleep of the machine.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_TICK_S = 5.0
_TOLERANCE_S = 30.0
"""A loop that was merely busy, or a small correction of the wall clock, is not a sleep."""


class Clock(Protocol):
    """The three things this package asks of time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait ``delay_s`` seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """See :meth:`Clock.monotonic`."""
        return time.monotonic()

    def time(self) -> float:
        """See :meth:`Clock.time`."""
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        """See :meth:`Clock.sleep`."""
        await asyncio.sleep(delay_s)


async def within(clock: Clock, delay_s: float, work: Awaitable[T]) -> T:
    """Await ``work``, but no longer than ``delay_s`` seconds of ``clock``'s time.

    ``work`` is cancelled when time is up, and its clean-up awaited. ``asyncio.timeout`` would count the event
    loop's own seconds instead.

    Raises:
        TimeoutError: Time was up first.
    """
    job = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(delay_s))
    both = {job, timer}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise TimeoutError
    finally:
        for future in both:
            future.cancel()
        await asyncio.wait(both)
        if not job.cancelled():
            job.exception()  # marks it as seen: what a cancelled job says while it cleans up is not the result


class SharedLimit:
    """The same bound for each of many pieces of work: what :func:`within` does, for the price of one sleeper.

    Args:
        clock: Time.
        delay_s: For each.
    """

    def __init__(self, clock: Clock, delay_s: float) -> None:
        self._clock = clock
        self._delay_s = delay_s
        # In the order they began, which is the order they are due.
        self._under_way: OrderedDict[_Bounded, None] = OrderedDict()
        self._sleeper: asyncio.Task[None] | None = None

    async def run(self, work: Awaitable[T]) -> T:
        """Await ``work``, in the task that calls, but no longer than the limit.

        Raises:
            TimeoutError: Time was up first.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be cancelled")
        bounded = _Bounded(task, self._clock.monotonic() + self._delay_s)
        self._under_way[bounded] = None
        if self._sleeper is None:
            self._sleeper = asyncio.create_task(self._watch())
        try:
            return await work
        except asyncio.CancelledError:
            # Whoever else cancels the task is not held up by a time-out.
            if bounded.is_due and task.cancelling() <= bounded.cancelled_before + 1:
                raise TimeoutError from None
            raise
        finally:
            if bounded.is_due:
                task.uncancel()
            else:
                del self._under_way[bounded]
            if not self._under_way and self._sleeper is not None:
                self._sleeper.cancel()
                self._sleeper = None

    async def _watch(self) -> None:
        while self._under_way:
            first = next(iter(self._under_way))
            left_s = first.deadline_s - self._clock.monotonic()
            if left_s > 0:
                await self._clock.sleep(left_s)
            else:
                del self._under_way[first]
                first.is_due = True
                first.task.cancel()
        self._sleeper = None


class _Bounded:
    """One piece of work under a :class:`SharedLimit`."""

    __slots__ = ("cancelled_before", "deadline_s", "is_due", "task")

    def __init__(self, task: asyncio.Task[Any], deadline_s: float) -> None:
        self.task = task
        self.deadline_s = deadline_s
        self.cancelled_before = task.cancelling()
        self.is_due = False


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """Run what may block for longer than any caller should wait: an abandoned thread delays neither loop nor exit.

    ``asyncio.to_thread`` is for what is known to return: the end of the program waits for its threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        try:
            result = call()
            outcome = lambda: future.set_result(result)  # noqa: E731 -- the two ways it can go
        except Exception as error:  # noqa: BLE001 -- handed to the waiting caller
            fault = error
            outcome = lambda: future.set_exception(fault)  # noqa: E731
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:
            return  # the loop is closed: the outcome is of interest no more

    threading.Thread(target=run, name="suno-cover-blocking", daemon=True).start()
    return await future


class SuspendAwareClock:
    """Counts the seconds the machine was awake. :meth:`watch` must run for as long as it is used.

    A laptop that slept through a deadline has not waited: the job gets one read on waking, not a time-out. Some
    systems stop their monotonic clock during sleep, others do not: it is compared with the wall clock.

    Args:
        clock: Time.
        on_wake: Called once after each sleep that was noticed.
    """

    def __init__(self, clock: Clock, on_wake: Callable[[], None]) -> None:
        self._clock = clock
        self._on_wake = on_wake
        self._asleep_s = 0.0
        self._last_monotonic = clock.monotonic()
        self._last_time = clock.time()

    def now(self) -> float:
        """Return awake seconds since an arbitrary point."""
        self._observe()
        return self._last_monotonic - self._asleep_s

    async def run_until(self, deadline: float, work: Awaitable[T]) -> T:
        """Await work, but not beyond a deadline, which a sleep of the machine puts off.

        Raises:
            TimeoutError: The deadline came first.
        """
        doing = asyncio.ensure_future(work)
        try:
            while not doing.done():
                left_s = deadline - self.now()
                if left_s <= 0:
                    raise TimeoutError
                sleeping = asyncio.ensure_future(self._clock.sleep(left_s))
                try:
                    await asyncio.wait({doing, sleeping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    sleeping.cancel()
            return doing.result()
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})

    async def watch(self) -> None:
        """Look at both clocks every few seconds, until cancelled."""
        while True:
            await self._clock.sleep(_TICK_S)
            self._observe()

    def _observe(self) -> None:
        monotonic, wall = self._clock.monotonic(), self._clock.time()
        passed_s, wall_passed_s = monotonic - self._last_monotonic, wall - self._last_time
        self._last_monotonic, self._last_time = monotonic, wall
        if passed_s > _TICK_S + _TOLERANCE_S:
            # The monotonic clock ran on during the sleep: what it counted was not waiting.
            self._asleep_s += passed_s - _TICK_S
            self._on_wake()
        elif wall_passed_s - passed_s > _TOLERANCE_S:
            self._on_wake()
