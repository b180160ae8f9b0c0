"""Takes the places of calls through the limiter that processes share, one after the other, for a while.

``limiter_calls.py SECONDS``. A line of input names a file for the window, and is answered when the limiter is
there; the next one is the word to begin, and is answered with the places a second. So it goes on until the input
ends.
"""

import asyncio
import sys
import time
from pathlib import Path

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.service.limiter import Priority, RequestLimiter
from suno_cover_cli.service.shared_window import SharedWindow

# So many that the limit itself never binds, and so short that the file holds as much as with the usual rate.
LIMIT, WINDOW_S = 1000, 0.01


async def main(seconds: float) -> None:
    """Open a limiter, wait for the word, take places for a while; again and again."""
    clock = SystemClock()
    while name := (await asyncio.to_thread(sys.stdin.readline)).rstrip("\n"):
        shared = SharedWindow(Path(name), clock)
        async with RequestLimiter(LIMIT, WINDOW_S, clock=clock, shared=shared) as limiter:
            print("open", flush=True)  # noqa: T201 -- the answer
            await asyncio.to_thread(sys.stdin.readline)
            count, begun = 0, time.perf_counter()
            while time.perf_counter() - begun < seconds:
                async with limiter.slot(Priority.READ):
                    count += 1
            print(count / (time.perf_counter() - begun), flush=True)  # noqa: T201 -- the answer


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
