"""Takes jobs through their three durable steps: claimed, submitted, ended.

``journal_steps.py FOLDER JOBS AT_ONCE``; prints ``ready``; for each line of input takes so many jobs more through
and prints ``done``; ends with its input.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from suno_cover_cli.clock import SystemClock
from suno_cover_cli.events import NullSink
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.rows import JobOptions, JobRow, RowState
from suno_cover_cli.models import JobResult, JobState, Via


async def main(folder: Path, jobs: int, at_once: int) -> None:
    """Open the journal, wait for the word, take jobs through, again and again."""
    async with Journal(folder, clock=SystemClock(), sink=NullSink(), required=True) as journal:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        numbers = itertools.count()
        while await asyncio.to_thread(sys.stdin.readline):
            round_numbers = itertools.islice(numbers, jobs)
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(take_through(journal, folder, round_numbers))
            sys.stdout.write("done\n")
            sys.stdout.flush()


async def take_through(journal: Journal, folder: Path, numbers: Iterator[int]) -> None:
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
            output=str(folder),
            options=JobOptions(),
        )
        claim = await journal.claim(wanted)
        await journal.record_submitted(claim.row, f"cover-{name}")
        result = JobResult(
            music_task_id=name, task_id=f"cover-{name}", state=JobState.SUCCEEDED, code=200, via=Via.CALLBACK
        )
        await journal.record_end(claim.row, result, None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
