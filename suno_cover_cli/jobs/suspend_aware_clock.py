"""Time that stands still while the machine sleeps, and the news that it woke.

A laptop that slept through a deadline has not waited: the job gets one read on waking, not a time-out. Some
systems stop their monotonic clock during sleep, some do not; both are seen by comparing it with the wall clock.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from suno_cover_cli.base.clock import Clock

_TICK_S = 5.0
_TOLERANCE_S = 30.0
"""A loop that was merely busy, or a small correction of the wall clock, is not a sleep."""

T = TypeVar("T")


class SuspendAwareClock:
    """Counts the seconds the machine was awake. :meth:`watch` must run for as long as it is used.

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
