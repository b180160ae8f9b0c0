"""The listener with one inbox and a job that reads it. Prints the address of the inbox; ends with its input."""

import asyncio
import sys

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.callbacks.exchanges import CallbackInbox
from suno_cover_cli.callbacks.listener import CallbackListener


async def main() -> None:
    """Serve until standard input ends."""
    async with CallbackListener(clock=SystemClock()) as listener:
        with listener.open_inbox() as inbox:
            reading = asyncio.create_task(read_all(inbox))
            sys.stdout.write(f"{listener.local_url}{inbox.path}\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)
            reading.cancel()


async def read_all(inbox: CallbackInbox) -> None:
    """Read callbacks as a waiting job does."""
    while True:
        await inbox.receive()


if __name__ == "__main__":
    asyncio.run(main())
