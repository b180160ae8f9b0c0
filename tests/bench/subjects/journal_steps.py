"""Takes jobs through their three durable steps: claimed, submitted, ended.

``journal_steps.py SECONDS AT_ONCE``. A line of input names a folder, and is answered when the journal
there is open; the next one is the word to begin, and is answered with the steps a second. So it goes on until the
input ends.
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.events import NullSink
from suno_cover_cli.base.models import JobResult, JobState, Via
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.rows import JobOptions, JobRow, RowState

STEPS = 3


async def main(seconds: float, at_once: int) -> None:
    """Open a journal, wait for the word, take jobs through for a while; again and again."""
    while folder := (await next_line()).rstrip("\n"):
        async with Journal(Path(folder), clock=SystemClock(), sink=NullSink(), required=True) as journal:
            answer("open")
            await next_line()
            numbers = itertools.count()
            begun = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(take_through(journal, folder, numbers, begun + seconds))
            answer(str(next(numbers) * STEPS / (time.perf_counter() - begun)))


async def next_line() -> str:
    """Wait for a line of input."""
    return await asyncio.to_thread(sys.stdin.readline)


def answer(word: str) -> None:
    """Print a line now."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def take_through(journal: Journal, folder: str, numbers: Iterator[int], end: float) -> None:
    """Take one job after the other through, and begin none after the end."""
    while time.perf_counter() < end:
        n = next(numbers)
        name = f"{os.getpid()}-{n}"
        wanted = JobRow(
            id=0,
            service="https://api.example",
            provider="sunoapi",
            music_task_id=name,
            task_id=None,
            state=RowState.SUBMITTING,
            output=folder,
            options=JobOptions(),
        )
        claim = await journal.claim(wanted)
        await journal.record_submitted(claim.row, f"cover-{name}")
        result = JobResult(
            music_task_id=name, task_id=f"cover-{name}", state=JobState.SUCCEEDED, code=200, via=Via.CALLBACK
        )
        await journal.record_end(claim.row, result, None)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
