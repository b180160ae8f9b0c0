"""Time as a parameter: whoever waits or stamps takes a :class:`Clock`, so tests need not wait or patch."""

import asyncio
import time
from typing import Protocol


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
