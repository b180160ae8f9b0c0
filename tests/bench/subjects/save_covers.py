"""Saves the images named on standard input, as a running job does, and prints the seconds that took.

``save_covers.py FOLDER CONNECTIONS [AT_ONCE]``; the interpreter's start and the imports are not counted.
AT_ONCE is how many of the images are fetched at a time, as those of one job are.
"""

import asyncio
import sys
import time
from pathlib import Path

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.images.downloader import Downloader


async def main(folder: Path, connections: int, at_once: int, urls: list[str]) -> None:
    """Save all, so many at a time."""
    async with Downloader(
        allow_loopback=True,
        clock=SystemClock(),
        user_agent="suno-cover-bench",
        environ=ChildEnviron({}),
        max_concurrent=connections,
    ) as downloader:
        turn = asyncio.Semaphore(at_once)
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n, url in enumerate(urls, 1):
                group.create_task(downloader.save(url, folder, f"cover_{n}", turn=turn))
        sys.stdout.write(f"{time.perf_counter() - begun}\n")


if __name__ == "__main__":
    connections, at_once = int(sys.argv[2]), int(sys.argv[-1])
    asyncio.run(main(Path(sys.argv[1]), connections, at_once, sys.stdin.read().split()))
