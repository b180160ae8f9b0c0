"""Clocks for tests: time is handed in, so nothing has to be patched and nobody has to wait."""

import asyncio
import time


class ScaledClock:
    """The machine's clock for whoever holds it, but what is slept takes ``speed`` times less.

    Each sleep ends at the moment it was to end, by this clock. What the machine needs for anything else counts as
    itself: a busy machine adds to a measured time what it took, not ``speed`` times that.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._skipped_s = 0.0

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, those that were skipped included."""
        return time.monotonic() + self._skipped_s

    def time(self) -> float:
        """Epoch seconds, those that were skipped included."""
        return time.time() + self._skipped_s

    async def sleep(self, delay_s: float) -> None:
        """Wait ``delay_s / speed`` seconds and skip the rest of ``delay_s``."""
        end_s = self.monotonic() + delay_s
        await asyncio.sleep(delay_s / self.speed)
        self._skipped_s += max(0.0, end_s - self.monotonic())


class ManualClock:
    """Time that moves only when the test says so; sleepers wake in order."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds, as set."""
        return self._now

    def time(self) -> float:
        """Epoch seconds, as set."""
        return self._now

    async def sleep(self, delay_s: float) -> None:
        """Wait until :meth:`advance` has passed the moment."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + delay_s, future))
        await future

    def advance(self, by_s: float) -> None:
        """Move time on and wake whoever is due."""
        self._now += by_s
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._now]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now]
        for _, future in sorted(due, key=lambda sleeper: sleeper[0]):
            if not future.done():
                future.set_result(None)


class JumpingClock(ManualClock):
    """Time that moves by itself, from sleeper to sleeper, whenever a loop has nothing else left to do.

    For tests in which all happens in one loop: how long the machine takes is not counted at all. What waits for
    a socket, a process or a thread looks idle, and time would run away from it: that is for :class:`ScaledClock`.
    """

    _QUIET_TURNS = 50
    """Of the loop; waking a task that wakes another one, with all their timeouts, takes a few."""

    _is_counting = False

    async def sleep(self, delay_s: float) -> None:
        """Wait until all who sleep less long have been woken and have nothing left to do."""
        if delay_s > 0 and not self._is_counting:
            self._is_counting = True
            self._count(0)
        await super().sleep(delay_s)

    def _count(self, turns: int) -> None:
        if turns < self._QUIET_TURNS:
            asyncio.get_running_loop().call_soon(self._count, turns + 1)
            return
        self._sleepers = sorted((s for s in self._sleepers if not s[1].done()), key=lambda sleeper: sleeper[0])
        self._is_counting = bool(self._sleepers)
        if self._is_counting:
            self._now, future = self._sleepers[0]
            future.set_result(None)
            self._count(0)
