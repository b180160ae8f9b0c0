"""The order of things: claim, open an inbox, submit, wait, save, write down. The only place that knows it.

Each step that changes what a restart must do is on disk before the next one is taken. Ctrl-C and deadlines never
cancel the job at the service; whatever was begun is found again by ``resume``.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Self, TypeVar

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import AccountError, RefusedError, SunoCoverError
from suno_cover_cli.base.events import Sink, WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobError, JobRecord, JobResult, JobState, RecordState, Submission, Via
from suno_cover_cli.base.text import clean
from suno_cover_cli.jobs.covers import CoverSaver, SavedCovers
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest, JobRun
from suno_cover_cli.jobs.poller import Poller, Timing, WakeUp, spread_s
from suno_cover_cli.jobs.ports import Channel, CoverService, ImageSaver, InboxMaker, JobJournal
from suno_cover_cli.jobs.submits import SubmitGate
from suno_cover_cli.jobs.suspend_aware_clock import SuspendAwareClock
from suno_cover_cli.journal.rows import Claim, JobRow, RowState
from suno_cover_cli.service.codes import job_failed

PLACEHOLDER_URL = "https://example.com/noop"
"""``callBackUrl`` is mandatory but need not work (recorded); nobody's inbox receives this."""

_SAVE_GRACE_S = 15.0
"""What saving may still take at the deadline: covers that are ready are not left lying."""

T = TypeVar("T")


class CoverWorkflow:
    """Runs jobs, one or thousands at a time, over parts it is given.

    An async context manager: entering starts the watch over the channel and the machine's sleep.

    Args:
        service: The API.
        journal: The record of jobs.
        saver: The downloader.
        sink: Hears everything.
        clock: Time.
        timing: Durations.
        listener: Makes inboxes, or ``None`` when nobody can call us.
        channel: Public way to the listener, or ``None``.
        wait: ``False`` ends each job once its cover task id is known.
    """

    def __init__(
        self,
        *,
        service: CoverService,
        journal: JobJournal,
        saver: ImageSaver,
        sink: Sink,
        clock: Clock,
        timing: Timing,
        listener: InboxMaker | None = None,
        channel: Channel | None = None,
        wait: bool = True,
    ) -> None:
        self._service = service
        self._journal = journal
        self._covers = CoverSaver(saver=saver, service=service, sink=sink, clock=clock)
        self._sink = sink
        self._clock = clock
        self._timing = timing
        self._listener = listener
        self._channel = channel
        self._wait = wait
        self._gate = SubmitGate(sink)
        # A dict keeps the order of arrival, and with it the order of reads when all are rung at once.
        self._bells: dict[WakeUp, None] = {}
        self._awake = SuspendAwareClock(clock, self._ring_all)
        self._watches: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._watches.append(asyncio.create_task(self._awake.watch(), name="awake"))
        if self._channel is not None:
            self._watches.append(asyncio.create_task(self._watch_channel(self._channel), name="channel"))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def enqueue(self, requests: Iterable[JobRequest]) -> None:
        """Write a batch down before its first job is run."""
        await self._journal.enqueue(map(_wanted_row, requests))

    async def run_job(self, request: JobRequest) -> JobOutcome:
        """Run one job to its end, its deadline or the error that ends it. Never raises a SunoCoverError."""
        run = JobRun(request, sink=self._sink, awake=self._awake, timeout_s=self._timing.timeout_s)
        run.report_started()
        try:
            outcome = await self._run_steps(run)
        except TimeoutError as error:
            outcome = run.at_deadline(str(error))
        except SunoCoverError as error:
            if isinstance(error, AccountError):
                self._gate.close(error)
            outcome = run.ended_by(error)
        finally:
            run.close_inbox()
        if run.row is not None:
            same = await self._journal.record_end(run.row, outcome.result, run.completed_at)
            self._warn_of_same(outcome.result, same)
        run.report_ended(outcome.result)
        return outcome

    async def _run_steps(self, run: JobRun) -> JobOutcome:
        await self._before(run.deadline, self._begin(run))
        run.report_submitted()
        if not self._wait:
            return JobOutcome(result=run.result(JobState.PENDING), exit_code=ExitCode.OK)
        if (covers := await self._find_saved(run)) is not None:
            run.via = Via.EXISTING
            run.record = JobRecord(task_id=run.known_task_id, state=RecordState.SUCCEEDED)
            return JobOutcome(result=run.result(JobState.SUCCEEDED, covers), exit_code=ExitCode.OK)
        record, via = await self._poll(run)
        run.close_inbox()
        run.record = record
        run.via = Via.EXISTING if run.is_existing else via
        run.completed_at = record.completed_at
        if record.state is RecordState.FAILED:
            raise job_failed(record.error_code, record.message)
        until = max(run.deadline, self._awake.now() + _SAVE_GRACE_S)
        return await self._before(until, self._save(run, record))

    # --- steps ------------------------------------------------------------------------------------

    async def _begin(self, run: JobRun) -> None:
        """Claim the job and see to it that the service has it."""
        run.take(await self._claim(run.request))
        if run.task_id is None:
            await self._submit(run, run.known_row)
        else:
            run.is_existing = run.request.music_task_id is not None and not run.request.row_id

    async def _claim(self, request: JobRequest) -> Claim:
        wanted = _wanted_row(request)
        while (claim := await self._journal.claim(wanted)).is_busy:
            self._sink.emit(
                WarningRaised(
                    code="job_busy",
                    message=f"another run is working on {clean(claim.row.music_task_id or claim.row.task_id)}",
                    hint="Waiting for it.",
                )
            )
            await self._journal.wait_released(claim.row.id)
        return claim

    async def _submit(self, run: JobRun, row: JobRow) -> None:
        if row.music_task_id is None:
            raise RuntimeError("a job without a music task cannot be submitted")
        url = await self._open_inbox(run)
        async with self._gate.passing():
            submission = await self._submit_once(row, row.music_task_id, url)
        run.task_id = submission.task_id
        recorded = await self._journal.record_submitted(row, submission.task_id)
        run.row = recorded.row
        run.is_existing = submission.is_existing or recorded.is_known
        # A job that may be over already is read at once; its callback went elsewhere.
        run.is_new = not run.is_existing and not run.may_exist

    async def _open_inbox(self, run: JobRun) -> str:
        """Return the address the service shall call, a harmless one when it cannot reach us."""
        if self._channel is None or self._listener is None or run.request.options.callback == "off":
            return PLACEHOLDER_URL
        public_url = await self._channel.wait_open()
        if public_url is None:
            return PLACEHOLDER_URL
        # The inbox is there before the service hears of it: its callback may come before its answer.
        run.inbox = self._listener.open_inbox()
        return public_url + run.inbox.path

    async def _submit_once(self, row: JobRow, music_task_id: str, url: str) -> Submission:
        try:
            return await self._service.submit(music_task_id, url)
        except RefusedError as error:
            if error.code != "already_made":
                raise
            # The service made a cover before and does not say under which id; an earlier run of ours may know.
            task_id = await self._journal.find_task_id(row)
            if task_id is None:
                raise
            return Submission(task_id=task_id, is_existing=True)

    async def _find_saved(self, run: JobRun) -> SavedCovers | None:
        """Return the covers of a job that an earlier run finished, if nothing of it is missing here."""
        earlier, wanted = run.earlier, run.known_row
        if earlier is None or earlier.state is not RowState.SUCCEEDED or earlier.result is None:
            return None
        is_same_wish = (earlier.output, earlier.options.name, earlier.options.write_metadata) == (
            wanted.output,
            wanted.options.name,
            wanted.options.write_metadata,
        )
        if not is_same_wish or wanted.options.overwrite or not earlier.result.images:
            return None
        return await self._covers.find_all(
            run.request.n, run.known_task_id, earlier.result.images, run.request.output
        )

    async def _poll(self, run: JobRun) -> tuple[JobRecord, Via]:
        bell = WakeUp()
        poller = Poller(
            run.known_task_id,
            fetch=self._service.fetch_job,
            inbox=run.inbox,
            bell=bell,
            timing=self._timing,
            clock=self._clock,
            awake=self._awake,
            deadline=run.deadline,
            on_read=run.report_read,
            on_callback=run.report_callback,
        )
        self._bells[bell] = None
        try:
            return await poller.wait_until_terminal(self._timing.poll_interval_s if run.is_new else 0.0)
        finally:
            del self._bells[bell]

    async def _save(self, run: JobRun, record: JobRecord) -> JobOutcome:
        covers = await self._covers.save(
            run.request.n, record, run.request.output, row=run.known_row, options=run.request.options
        )
        if not covers.failed and covers.saved:
            return JobOutcome(result=run.result(JobState.SUCCEEDED, covers), exit_code=ExitCode.OK)
        if not covers.failed:
            error = JobError(
                code="no_images",
                message="the service says the job is done but names no images",
                hint=f"Try again later with: {run.resume_command}",
            )
        else:
            error = JobError(
                code="images_missing",
                message=f"{len(covers.failed)} of {len(record.image_urls)} images could not be saved: "
                f"{covers.failed[0].error}",
                hint=covers.hint or f"Try again with: {run.resume_command}",
            )
        result = run.result(JobState.PARTIAL, covers, error)
        return JobOutcome(result=result, exit_code=ExitCode.IMAGES_MISSING)

    def _warn_of_same(self, result: JobResult, same: dict[str, str]) -> None:
        for image in result.images:
            if image.sha256 in same:
                self._sink.emit(
                    WarningRaised(
                        code="identical_cover",
                        message=f"{image.path} is byte for byte a cover of {same[image.sha256]}",
                        hint="Distributors refuse a cover that is used twice.",
                    )
                )

    # --- waiting ----------------------------------------------------------------------------------

    async def _watch_channel(self, channel: Channel) -> None:
        """Ring for everybody each time the channel is lost: nobody can be called then."""
        if await channel.wait_open() is None:
            return
        is_open = True
        while is_open:
            await channel.wait_lost()
            self._ring_all()
            is_open = await channel.wait_restored() is not None

    def _ring_all(self) -> None:
        waiting = len(self._bells)
        for place, bell in enumerate(self._bells):
            bell.ring(spread_s(place, waiting, self._timing.poll_interval_s))

    async def _before(self, deadline: float, step: Awaitable[T]) -> T:
        """Await a step, but not beyond the deadline.

        Raises:
            TimeoutError: The deadline came first.
        """
        doing = asyncio.ensure_future(step)
        try:
            while not doing.done():
                left_s = deadline - self._awake.now()
                if left_s <= 0:
                    raise TimeoutError
                sleeping = asyncio.ensure_future(self._clock.sleep(left_s))
                try:
                    await asyncio.wait({doing, sleeping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    sleeping.cancel()
            return doing.result()
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})


def _wanted_row(request: JobRequest) -> JobRow:
    """Describe the job as the journal shall know it, should it not know it yet."""
    return JobRow(
        id=request.row_id,
        service=request.service,
        provider=request.provider,
        music_task_id=request.music_task_id,
        task_id=request.task_id,
        state=RowState.SUBMITTING if request.task_id is None else RowState.SUBMITTED,
        output=request.absolute_output,
        options=request.options,
    )
