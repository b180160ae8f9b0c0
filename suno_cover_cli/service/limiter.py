"""One limiter for all calls to the service: submits first, never more than the account allows.

A slot stays taken from before a request is sent until one full window after its answer: see :mod:`window`, which
decides between the processes of a user. Ready-made limiters count from acquisition, know no priorities and no
other process, which is why this one is our own.
"""

import asyncio
import heapq
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count
from types import TracebackType
from typing import Self

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.service.shared_window import SharedWindow
from suno_cover_cli.service.window import LEASE_S, Ask, Grant, Rate

_LOOK_AGAIN_S = LEASE_S / 4
"""How long a shared window is left alone while a call waits or is under way: others may have died meanwhile, and
must not take this process for dead."""


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
        shared: The window that other processes keep, too; ``None`` for one of our own.

    Attributes:
        window_s: As given.
    """

    def __init__(
        self, limit: int | None, window_s: float, *, clock: Clock, shared: SharedWindow | None = None
    ) -> None:
        self._limit = limit
        self.window_s = window_s
        self._clock = clock
        self._shared = shared if limit is not None else None
        self._user = secrets.token_hex(4)
        self._in_flight = 0
        # Moments at which slots come free, and moments of answers that the shared window has not been told yet.
        self._cooling: deque[float] = deque()
        self._answered: list[float] = []
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._paused_until = float("-inf")
        self._changed = asyncio.Event()
        self._has_asked = False
        self._is_leaving = False
        self._pump_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._pump_task = asyncio.create_task(self._pump(), name="request-limiter")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pump_task is not None:
            self._is_leaving = True
            self._changed.set()
            await asyncio.wait({self._pump_task})
        if self._shared is not None:
            # What was cut off half-way may have reached the service until now.
            now = self._clock.monotonic()
            self._answered += [now] * self._in_flight
            self._in_flight = 0
            await asyncio.to_thread(self._shared.leave, self._make_ask(now, 0))

    @asynccontextmanager
    async def slot(self, priority: Priority) -> AsyncIterator[None]:
        """Hold one request's place; waits until there is one."""
        if self._shared is None and not self._waiters and self._wait_s(self._clock.monotonic()) == 0:
            self._in_flight += 1
        else:
            await self._wait_turn(priority)
        try:
            yield
        finally:
            self._in_flight -= 1
            if self._limit is not None:
                now = self._clock.monotonic()
                self._cooling.append(now + self.window_s)
                if self._shared is not None:
                    self._answered.append(now)
            self._changed.set()

    def pause(self, delay_s: float) -> None:
        """Start no call for ``delay_s`` seconds: the service asked all users to slow down.

        Other processes are held for one window at most: how long this one waits is between it and the service.
        """
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

    async def _pump(self) -> None:
        while not self._is_leaving:
            self._changed.clear()
            wait_s = await self._hand_out()
            if wait_s is None:
                await self._changed.wait()
            elif wait_s > 0:
                await self._sleep_or_change(wait_s)

    async def _hand_out(self) -> float | None:
        """Start what may start; return the seconds until the next look, or ``None`` when there is no need."""
        while self._waiters and self._waiters[0][2].done():
            heapq.heappop(self._waiters)
        now = self._clock.monotonic()
        wait_s = self._wait_s(now)
        wanted = min(len(self._waiters), self._free_count) if wait_s == 0 else 0
        grant = Grant(wanted) if self._shared is None else await self._ask(self._shared, now, wanted)
        left = grant.count
        while left and self._waiters:
            _, _, turn = heapq.heappop(self._waiters)
            if not turn.done():
                left -= 1
                self._in_flight += 1
                turn.set_result(None)
        if left:
            # Some gave up meanwhile: the next look says so.
            self._changed.set()
        if not self._waiters:
            wait_s = float("inf")
        elif wanted:
            wait_s = grant.wait_s
        if self._shared is not None and (self._waiters or self._in_flight):
            wait_s = min(wait_s, _LOOK_AGAIN_S)
        return wait_s if wait_s != float("inf") else None

    @property
    def _free_count(self) -> int:
        taken = self._in_flight + len(self._cooling)
        return max(self._limit - taken, 0) if self._limit is not None else len(self._waiters)

    def _wait_s(self, now: float) -> float:
        """Seconds until a slot of our own is free; 0 when one is, infinity when only an answer can free one."""
        while self._cooling and self._cooling[0] <= now:
            self._cooling.popleft()
        wait_s = max(0.0, self._paused_until - now)
        if self._limit is not None and self._in_flight + len(self._cooling) >= self._limit:
            wait_s = max(wait_s, self._cooling[0] - now) if self._cooling else float("inf")
        return wait_s

    async def _ask(self, shared: SharedWindow, now: float, wanted: int) -> Grant:
        ask = self._make_ask(now, wanted)
        if not (wanted or ask.answered or self._in_flight or self._has_asked):
            return Grant(0)
        self._has_asked = bool(wanted or self._in_flight)
        return await asyncio.to_thread(shared.settle, ask)

    def _make_ask(self, now: float, wanted: int) -> Ask:
        answered, self._answered = self._answered, []
        return Ask(
            user=self._user,
            rate=Rate(self._limit or 0, self.window_s),
            now=now,
            answered=answered,
            in_flight=self._in_flight,
            wanted=wanted,
            submits=bool(self._waiters) and self._waiters[0][0] == Priority.SUBMIT,
            paused_until=self._paused_until,
        )

    async def _sleep_or_change(self, delay_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(self._clock.sleep(delay_s))
            changed = group.create_task(self._changed.wait())
            await asyncio.wait({sleeping, changed}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            changed.cancel()
