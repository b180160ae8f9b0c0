"""Ends a job with the given pictures, as a command does, and prints on stdout what the terminal was taken for.

``python -m tests.standins.afterwards_process PICTURE...``
"""

import asyncio
import os
import sys
import time

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.events import JobEnded
from suno_cover_cli.base.models import JobResult, JobState, SavedImage
from suno_cover_cli.ui.output import Output, standard_streams
from suno_cover_cli.ui.terminal import ask_terminal
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.post_actions import PostActions


def _image(path: str) -> SavedImage:
    return SavedImage(url="https://i.example/1", path=path, bytes=1, format="png", width=1, height=1, sha256="0")


async def main(paths: list[str]) -> None:
    """Show the pictures."""
    output = Output(standard_streams(), clock=SystemClock())
    context = Context(output=output)
    async with PostActions(
        context, job_count=1, shows_pictures=True, opens_folder=False, notifies=False
    ) as afterwards:
        images = tuple(_image(path) for path in paths)
        afterwards.emit(JobEnded(job=1, result=JobResult(state=JobState.SUCCEEDED, images=images)))
        if os.environ.get("ASK_FIRST"):
            began = time.monotonic()
            facts = ask_terminal(2, os.environ)
            output.write_line(f"{facts.protocol} {facts.cell} {time.monotonic() - began:.2f}")
    output.finish()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
