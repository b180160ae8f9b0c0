"""``listen --save``: each announced job is read with the key, and its covers are saved as by any other command."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from suno_cover_cli.base.events import Sink, WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.jobs.workflow import CoverWorkflow
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.ui.sinks import TeeSink
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.jobs import JobStart, Unfinished, kept_options, open_workflow

# Any sender that knows the path can announce jobs that do not exist; each is asked for with the user's key.
_MAX_JOBS = 200
# A run may last for months. What is forgotten here is known to the journal.
_MAX_REMEMBERED = 10_000


class CoverSaves:
    """Runs a job for each cover task that is announced, once however often that happens.

    Args:
        workflow: Runs them.
        sink: Hears of jobs that are left out.
        start: Settings and keys.
        options: Of the jobs.
        unfinished: Learns how many jobs there are.
        group: Owns the running jobs.
    """

    def __init__(
        self,
        workflow: CoverWorkflow,
        sink: Sink,
        start: JobStart,
        options: JobCommandOptions,
        *,
        unfinished: Unfinished,
        group: asyncio.TaskGroup,
    ) -> None:
        self._workflow = workflow
        self._sink = sink
        self._start = start
        self._kept = kept_options(start.settings, options)
        self._unfinished = unfinished
        self._group = group
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._codes: OrderedDict[str, ExitCode] = OrderedDict()
        self._forgotten_codes: set[ExitCode] = set()
        self._count = 0

    def save(self, task_id: str) -> None:
        """Begin to read and save a job, unless that is under way or has succeeded."""
        if task_id in self._jobs or self._codes.get(task_id) is ExitCode.OK:
            return
        if len(self._jobs) >= _MAX_JOBS:
            self._sink.emit(
                WarningRaised(
                    code="too_many_jobs",
                    message=f"{_MAX_JOBS} jobs are being saved already; {task_id} is left out",
                    hint=f"Save it later with: suno-cover wait {task_id}",
                )
            )
            return
        self._count += 1
        self._unfinished.job_count = self._count
        self._jobs[task_id] = self._group.create_task(self._run(task_id, self._count))

    async def wait_idle(self) -> ExitCode:
        """Wait until no job is under way; return 0, the one way in which jobs failed, or 1."""
        while self._jobs:
            await asyncio.wait(set(self._jobs.values()))
        return ExitCode.of_all([*self._codes.values(), *self._forgotten_codes])

    def cancel(self) -> None:
        """End the jobs under way."""
        for job in self._jobs.values():
            job.cancel()

    async def _run(self, task_id: str, n: int) -> None:
        request = self._start.request(n, self._kept, task_id=task_id)
        try:
            self._codes[task_id] = (await self._workflow.run_job(request)).exit_code
            if len(self._codes) > _MAX_REMEMBERED:
                self._forgotten_codes.add(self._codes.popitem(last=False)[1])
        finally:
            del self._jobs[task_id]


@asynccontextmanager
async def open_saves(
    context: Context, start: JobStart, options: JobCommandOptions, *, sink: Sink, unfinished: Unfinished
) -> AsyncIterator[CoverSaves]:
    """Open what jobs need. Leaving ends the jobs under way: the journal knows them.

    Args:
        context: Streams and time.
        start: Settings and keys.
        options: Of the jobs; ``submits`` is off.
        sink: Hears of the jobs.
        unfinished: Told of starts and ends.
    """
    async with AsyncExitStack() as stack:
        sinks = TeeSink(unfinished, sink)
        journal = await stack.enter_async_context(context.open_job_journal(start.settings, sinks))
        workflow = await open_workflow(stack, context, options, start, sink=sinks, journal=journal)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        saves = CoverSaves(workflow, sinks, start, options, unfinished=unfinished, group=group)
        try:
            yield saves
        finally:
            saves.cancel()
