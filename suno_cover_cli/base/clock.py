"""Time as a parameter: whoever waits or stamps takes a :class:`Clock`, so tests need not wait or patch."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Protocol, TypeVar

_Result = TypeVar("_Result")


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


async def within(clock: Clock, delay_s: float, work: Awaitable[_Result]) -> _Result:
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
