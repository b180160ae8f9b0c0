"""A listener in a process of its own, so that its memory and its stderr can be watched from outside.

Prints one JSON line, ``{"port", "path", "pid"}``, and ends when its standard input does.
"""

import asyncio
import json
import os
import sys
from urllib.parse import urlsplit

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.callbacks.exchanges import CallbackInbox, Exchange
from suno_cover_cli.callbacks.listener import CallbackListener


async def main() -> None:
    """Serve until standard input ends."""
    counts: dict[int, int] = {}

    def count(exchange: Exchange) -> None:
        counts[exchange.status] = counts.get(exchange.status, 0) + 1

    async with CallbackListener(clock=SystemClock(), on_exchange=count) as listener:
        inbox = listener.open_inbox()
        reading = asyncio.create_task(read_all(inbox))
        ready = {"port": urlsplit(listener.local_url).port, "path": inbox.path, "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        reading.cancel()
    sys.stdout.write(json.dumps(counts) + "\n")


async def read_all(inbox: CallbackInbox) -> None:
    """Read callbacks as a job would."""
    while True:
        await inbox.receive()


if __name__ == "__main__":
    asyncio.run(main())
