"""One limiter for all calls to the service: submits first, never more than the account allows.

The service counts requests when they *arrive*, we know only when they were sent and answered. A slot therefore
stays taken from before a request is sent until one full window after its answer: whatever the network did in
between, no window at the service holds more than the limit. Ready-made limiters count from acquisition
and know no priorities, which is why this one is our own.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count
from types import TracebackType
from typing import Self

from suno_cover_cli.base.clock import Clock


class Priority(IntEnum):
    """Who goes first when slots are short."""

    SUBMIT = 0
    READ = 1


class RequestLimiter:
    """At most ``limit`` requests in any ``window_s`` seconds, as the service sees them.

    An async context manager: entering starts the task that hands out slots, leaving ends it.

    Args:
        limit: Requests per window, or ``None`` for no limit (pauses are still kept).
        window_s: Length of the window in seconds.
        clock: Time.
    """

    def __init__(self, limit: int | None, window_s: float, *, clock: Clock) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._in_flight = 0
        self._cooling: deque[float] = deque()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._paused_until = float("-inf")
        self._changed = asyncio.Event()
        self._pump_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._pump_task = asyncio.create_task(self._pump(), name="request-limiter")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pump_task is not None:
            self._pump_task.cancel()
            await asyncio.wait({self._pump_task})

    @asynccontextmanager
    async def slot(self, priority: Priority) -> AsyncIterator[None]:
        """Hold one request's place; waits until there is one."""
        if self._waiters or self._delay_s() > 0:
            await self._wait_turn(priority)
        else:
            self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            if self._limit is not None:
                self._cooling.append(self._clock.monotonic() + self._window_s)
            self._changed.set()

    def pause(self, delay_s: float) -> None:
        """Let nobody start for ``delay_s`` seconds: the service asked everybody to slow down."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + delay_s)
        self._changed.set()

    async def _wait_turn(self, priority: Priority) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (priority, next(self._order), turn))
        self._changed.set()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place was handed over in the very moment we gave up: pass it on.
                self._in_flight -= 1
                self._changed.set()
            raise

    def _delay_s(self) -> float:
        """Seconds until a slot may be free; 0 when one is, infinity when only an answer can free one."""
        now = self._clock.monotonic()
        while self._cooling and self._cooling[0] <= now:
            self._cooling.popleft()
        wait_s = max(0.0, self._paused_until - now)
        if self._limit is not None and self._in_flight + len(self._cooling) >= self._limit:
            wait_s = max(wait_s, self._cooling[0] - now) if self._cooling else float("inf")
        return wait_s

    async def _pump(self) -> None:
        while True:
            self._changed.clear()
            delay_s = self._delay_s()
            if self._waiters and delay_s == 0:
                _, _, turn = heapq.heappop(self._waiters)
                if not turn.done():
                    self._in_flight += 1
                    turn.set_result(None)
            elif self._waiters and delay_s != float("inf"):
                await self._sleep_or_change(delay_s)
            else:
                await self._changed.wait()

    async def _sleep_or_change(self, delay_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(self._clock.sleep(delay_s))
            changed = group.create_task(self._changed.wait())
            await asyncio.wait({sleeping, changed}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            changed.cancel()
