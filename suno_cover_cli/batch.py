"""Many jobs: so many at a time, one exit code for all, a list of what to try again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TextIO

from suno_cover_cli.events import JobEnded, Sink, WarningRaised
from suno_cover_cli.exits import ExitCode
from suno_cover_cli.job_run import JobOutcome, JobRequest
from suno_cover_cli.models import JobError, JobResult, JobState


class BatchRunner:
    """Runs jobs through a fixed number of places.

    Args:
        run_job: Runs one; never raises a SunoCoverError.
        sink: Hears of jobs that are never begun.
        concurrency: Places.
        failed_to: Open file that receives the ids to try again, one a line, or ``None``.
    """

    def __init__(
        self,
        run_job: Callable[[JobRequest], Awaitable[JobOutcome]],
        *,
        sink: Sink,
        concurrency: int,
        failed_to: TextIO | None = None,
    ) -> None:
        self._run_job = run_job
        self._sink = sink
        self._concurrency = concurrency
        self._failed_to = failed_to
        self._stop: JobOutcome | None = None
        self._codes: Counter[ExitCode] = Counter()

    async def run(self, requests: Iterable[JobRequest]) -> ExitCode:
        """Run all jobs and return the code of the whole: 0, the one way in which jobs failed, or 1."""
        waiting = iter(requests)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                # A place for a job that does not exist would only cost memory.
                if (first := next(waiting, None)) is None:
                    break
                group.create_task(self._fill_place(first, waiting))
        bad = [code for code, count in self._codes.items() if count and code is not ExitCode.OK]
        if not bad:
            return ExitCode.OK
        return bad[0] if len(bad) == 1 else ExitCode.FAILURE

    async def _fill_place(self, first: JobRequest, waiting: Iterator[JobRequest]) -> None:
        request: JobRequest | None = first
        while request is not None:
            needs_submit = request.music_task_id is not None and request.task_id is None
            if self._stop is not None and needs_submit:
                outcome = self._leave_out(request, self._stop)
            else:
                outcome = await self._run_job(request)
            if outcome.stops_submits and self._stop is None:
                self._stop = outcome
                self._tell_stop(outcome)
            self._codes[outcome.exit_code] += 1
            if outcome.exit_code is not ExitCode.OK:
                self._note_failed(request)
            request = next(waiting, None)

    def _leave_out(self, request: JobRequest, why: JobOutcome) -> JobOutcome:
        """End a job that is not begun, because the account cannot pay for or reach the service."""
        error = why.result.error or JobError(code="stopped", message="not submitted")
        result = JobResult(
            music_task_id=request.music_task_id,
            state=JobState.REJECTED,
            error=JobError(code=error.code, message=f"not submitted: {error.message}", hint=error.hint),
        )
        self._sink.emit(JobEnded(job=request.n, music_task_id=request.music_task_id, result=result))
        return JobOutcome(result=result, exit_code=why.exit_code)

    def _tell_stop(self, outcome: JobOutcome) -> None:
        error = outcome.result.error
        self._sink.emit(
            WarningRaised(
                code="submits_stopped",
                message=f"no more jobs are submitted: {error.message if error else 'the account was refused'}",
                hint="Jobs that were submitted are finished.",
            )
        )

    def _note_failed(self, request: JobRequest) -> None:
        if self._failed_to is None:
            return
        try:
            self._failed_to.write(f"{request.music_task_id or request.task_id}\n")
            self._failed_to.flush()
        except OSError as error:
            self._failed_to = None
            self._sink.emit(
                WarningRaised(
                    code="failed_to_unwritable",
                    message=f"the list of failed ids cannot be written: {error.strerror}",
                    hint="suno-cover history shows them.",
                )
            )
