"""Takes jobs through their three durable steps: claimed, submitted, ended.

``journal_steps.py JOBS AT_ONCE``. A line of input names a folder, and is answered when the journal there is open;
the next one is the word to begin, and is answered when all jobs are through. So it goes on until the input ends.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from suno_cover_cli.clock import SystemClock
from suno_cover_cli.events import NullSink
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.rows import JobOptions, JobRow, RowState
from suno_cover_cli.models import JobResult, JobState, Via


async def main(jobs: int, at_once: int) -> None:
    """Open a journal, wait for the word, take all jobs through; again and again."""
    while folder := (await next_line()).rstrip("\n"):
        async with Journal(Path(folder), clock=SystemClock(), sink=NullSink(), required=True) as journal:
            answer()
            await next_line()
            numbers = iter(range(jobs))
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(take_through(journal, folder, numbers))
            answer()


async def next_line() -> str:
    """Wait for a line of input."""
    return await asyncio.to_thread(sys.stdin.readline)


def answer() -> None:
    """Say that it is done."""
    sys.stdout.write("done\n")
    sys.stdout.flush()


async def take_through(journal: Journal, folder: str, numbers: Iterator[int]) -> None:
    """Take one job after the other from what there is."""
    for n in numbers:
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
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
