"""Clocks for tests: time is handed in, so nothing has to be patched and nobody has to wait."""

import asyncio
import time


class ScaledClock:
    """The machine's clock, running ``speed`` times faster for whoever holds it.

    Real servers keep their own pace; only our waits shrink.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._start_monotonic = time.monotonic()
        self._start_time = time.time()

    def monotonic(self) -> float:
        """Scaled seconds since an arbitrary point."""
        return self._start_monotonic + (time.monotonic() - self._start_monotonic) * self.speed

    def time(self) -> float:
        """Scaled epoch seconds."""
        return self._start_time + (time.monotonic() - self._start_monotonic) * self.speed

    async def sleep(self, delay_s: float) -> None:
        """Wait ``delay_s`` scaled seconds."""
        await asyncio.sleep(delay_s / self.speed)


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
