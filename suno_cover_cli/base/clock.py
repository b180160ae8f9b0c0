"""Time as a parameter: code that waits or stamps takes a :class:`Clock`, so tests need not wait or patch.

And the two ways to wait no longer than wanted: for what can be cancelled, and for what cannot.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
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


async def in_daemon_thread(call: Callable[[], _Result]) -> _Result:
    """Run what may block for longer than any caller should wait: an abandoned thread delays neither loop nor exit.

    ``asyncio.to_thread`` is for what is known to return: the end of the program waits for its threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

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
