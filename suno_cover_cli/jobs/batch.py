"""Many jobs: so many at a time, one exit code for all.

Submits pass a gate: a few at a time, and none once the account cannot pay for more.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

from suno_cover_cli.base.errors import AccountError
from suno_cover_cli.base.events import Sink, WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest

_MAX_AT_ONCE = 16
"""More than the service's rate needs, and no more than may be refused for nothing when the credits run out."""


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


class SubmitGate:
    """Lets submits through until the account is refused.

    Args:
        sink: Hears once that submits are held back.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._places = asyncio.Semaphore(_MAX_AT_ONCE)
        self._refusal: AccountError | None = None
        self._is_reported = False

    def close(self, refusal: AccountError) -> None:
        """Hold all submits back from now on; the first reason stays."""
        self._refusal = self._refusal or refusal

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Hold one place; waits until there is one.

        Raises:
            AccountError: The gate is closed; says so in the words of the refusal that closed it.
        """
        self._check()
        async with self._places:
            self._check()
            try:
                yield
            except AccountError as refusal:
                # Before the place is free: the next in line is not to learn the same.
                self.close(refusal)
                raise

    def _check(self) -> None:
        refusal = self._refusal
        if refusal is None:
            return
        if not self._is_reported:
            self._is_reported = True
            self._sink.emit(
                WarningRaised(
                    code="submits_stopped",
                    message=f"no more jobs are submitted: {refusal.message}",
                    hint="Jobs that were submitted are finished.",
                )
            )
        raise type(refusal)(f"not submitted: {refusal.message}", code=refusal.code, hint=refusal.hint)
