"""Many jobs: so many at a time, one exit code for all, a list of what to try again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest


class BatchRunner:
    """Runs jobs through a fixed number of places.

    Args:
        run_job: Runs one; never raises a SunoCoverError.
        concurrency: Places.
        on_failed: Hears of each job that did not end well.
    """

    def __init__(
        self,
        run_job: Callable[[JobRequest], Awaitable[JobOutcome]],
        *,
        concurrency: int,
        on_failed: Callable[[JobRequest, JobOutcome], None] | None = None,
    ) -> None:
        self._run_job = run_job
        self._concurrency = concurrency
        self._on_failed = on_failed
        self._codes: set[ExitCode] = set()

    def note(self, code: ExitCode) -> None:
        """Count the end of a job, also of one that ended before it could be run."""
        self._codes.add(code)

    async def run(self, requests: Iterable[JobRequest]) -> ExitCode:
        """Run all jobs and return the code of the whole: 0, the one way in which jobs failed, or 1."""
        waiting = iter(requests)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                # A place for a job that does not exist would only cost memory.
                if (first := next(waiting, None)) is None:
                    break
                group.create_task(self._fill_place(first, waiting))
        return ExitCode.of_all(self._codes)

    async def _fill_place(self, first: JobRequest, waiting: Iterator[JobRequest]) -> None:
        request: JobRequest | None = first
        while request is not None:
            outcome = await self._run_job(request)
            self.note(outcome.exit_code)
            if outcome.exit_code is not ExitCode.OK and self._on_failed is not None:
                self._on_failed(request, outcome)
            request = next(waiting, None)
