"""The order of things: claim, open an inbox, submit, wait, save, write down. The only place that knows it.

Each step that changes what a restart must do is on disk before the next one is taken. Ctrl-C and deadlines never
cancel the job at the service; whatever was begun is found again by ``resume``.
"""

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Self, TypeVar

from suno_cover_cli.awake import AwakeClock
from suno_cover_cli.clock import Clock
from suno_cover_cli.codes import job_failed
from suno_cover_cli.covers import CoverSaver, SavedCovers
from suno_cover_cli.errors import SunoCoverError
from suno_cover_cli.events import Sink, WarningRaised
from suno_cover_cli.exits import ExitCode
from suno_cover_cli.job_run import JobOutcome, JobRequest, JobRun
from suno_cover_cli.journal_rows import Claim, JobRow, RowState
from suno_cover_cli.models import JobError, JobRecord, JobState, RecordState, Via
from suno_cover_cli.poller import Doorbell, Poller, Timing, spread_s
from suno_cover_cli.ports import Channel, CoverService, ImageSaver, InboxMaker, JobJournal
from suno_cover_cli.text import clean

PLACEHOLDER_URL = "https://example.com/noop"
"""``callBackUrl`` is mandatory but need not work (recorded); nobody's inbox receives this."""

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
        overwrite: Replace files that are there.
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
        overwrite: bool = False,
    ) -> None:
        self._service = service
        self._journal = journal
        self._covers = CoverSaver(saver=saver, service=service, sink=sink, overwrite=overwrite)
        self._sink = sink
        self._clock = clock
        self._timing = timing
        self._listener = listener
        self._channel = channel
        self._wait = wait
        self._bells: set[Doorbell] = set()
        self._awake = AwakeClock(clock, self._ring_all)
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

    async def run_job(self, request: JobRequest) -> JobOutcome:
        """Run one job to its end, its deadline or the error that ends it. Never raises a SunoCoverError."""
        run = JobRun(request, sink=self._sink, awake=self._awake, timeout_s=self._timing.timeout_s)
        run.tell_started()
        try:
            outcome = await self._run_steps(run)
        except TimeoutError as error:
            outcome = run.at_deadline(str(error))
        except SunoCoverError as error:
            outcome = run.ended_by(error)
        if run.row is not None:
            await self._journal.record_end(run.row, outcome.result, run.completed_at)
        run.tell_ended(outcome.result)
        return outcome

    async def _run_steps(self, run: JobRun) -> JobOutcome:
        await self._before(run.deadline, self._claim(run))
        if run.task_id is None:
            await self._before(run.deadline, self._submit(run))
        else:
            run.is_existing = run.request.row is None and run.request.music_task_id is not None
            run.tell_submitted()
        try:
            if not self._wait:
                return JobOutcome(result=run.result(JobState.PENDING), exit_code=ExitCode.OK)
            record, via = await self._poll(run)
        finally:
            if run.inbox is not None:
                run.inbox.close()
        run.record = record
        run.via = Via.EXISTING if run.is_existing else via
        run.completed_at = record.completed_at
        if record.state is RecordState.FAILED:
            raise job_failed(record.error_code, record.message)
        return await self._save(run, record)

    # --- steps ------------------------------------------------------------------------------------

    async def _claim(self, run: JobRun) -> None:
        request = run.request
        if request.row is not None:
            run.row = request.row
        else:
            wanted = _new_row(request)
            claim = await self._claim_once(wanted)
            while claim.is_busy:
                self._sink.emit(
                    WarningRaised(
                        code="job_busy",
                        message=f"another run is working on {clean(claim.row.music_task_id or claim.row.task_id)}",
                        hint="Waiting for it.",
                    )
                )
                await self._journal.wait_released(claim.row.id)
                claim = await self._claim_once(wanted)
            run.row = claim.row
        run.task_id = run.row.task_id

    async def _claim_once(self, wanted: JobRow) -> Claim:
        if wanted.music_task_id is not None:
            return await self._journal.claim_music(wanted)
        return await self._journal.claim_cover(wanted)

    async def _submit(self, run: JobRun) -> None:
        if run.row is None or run.row.music_task_id is None:
            raise RuntimeError("a job without a music task cannot be submitted")
        url = PLACEHOLDER_URL
        if self._channel is not None and self._listener is not None:
            # The inbox is there before the service hears of it: its callback may come before its answer.
            run.inbox = self._listener.open_inbox()
            public_url = await self._channel.wait_open()
            if public_url is None:
                run.inbox.close()
                run.inbox = None
            else:
                url = public_url + run.inbox.path
        submission = await self._service.submit(run.row.music_task_id, url)
        run.task_id = submission.task_id
        run.is_existing = submission.is_existing
        run.is_new = not submission.is_existing
        run.row = await self._journal.record_submitted(run.row, submission.task_id)
        run.tell_submitted()

    async def _poll(self, run: JobRun) -> tuple[JobRecord, Via]:
        task_id = run.known_task_id
        bell = Doorbell()
        poller = Poller(
            task_id,
            fetch=self._service.fetch_job,
            inbox=run.inbox,
            bell=bell,
            timing=self._timing,
            clock=self._clock,
            awake=self._awake,
            deadline=run.deadline,
            on_read=run.tell_read,
            on_callback=run.tell_callback,
        )
        self._bells.add(bell)
        try:
            return await poller.wait_until_terminal(self._timing.poll_interval_s if run.is_new else 0.0)
        finally:
            self._bells.discard(bell)

    async def _save(self, run: JobRun, record: JobRecord) -> JobOutcome:
        covers = await self._covers.save(run.request.n, record, run.request.output, run.request.options)
        await self._warn_of_same(run, covers)
        if not covers.failed and covers.saved:
            return JobOutcome(result=run.result(JobState.SUCCEEDED, covers), exit_code=ExitCode.OK)
        if not covers.failed:
            error = JobError(
                code="no_images",
                message="the service says the job is done but names no images",
                hint="Try again later with: suno-cover resume",
            )
        else:
            error = JobError(
                code="images_missing",
                message=f"{len(covers.failed)} of {len(record.image_urls)} images could not be saved: "
                f"{covers.failed[0].error}",
                hint=covers.hint or "Try again with: suno-cover resume",
            )
        result = run.result(JobState.PARTIAL, covers, error)
        return JobOutcome(result=result, exit_code=ExitCode.IMAGES_MISSING)

    async def _warn_of_same(self, run: JobRun, covers: SavedCovers) -> None:
        if run.row is None or not covers.saved:
            return
        same = await self._journal.find_same_images(run.row, [image.sha256 for image in covers.saved])
        for image in covers.saved:
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
        if await channel.wait_open() is None:
            return
        while True:
            await channel.wait_lost()
            self._ring_all()
            if await channel.wait_open() is None:
                return

    def _ring_all(self) -> None:
        for bell in self._bells:
            bell.ring(spread_s(len(self._bells), self._timing.poll_interval_s))

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


def _new_row(request: JobRequest) -> JobRow:
    return JobRow(
        id=0,
        service=request.service,
        provider=request.provider,
        music_task_id=request.music_task_id,
        task_id=request.task_id,
        state=RowState.SUBMITTING if request.task_id is None else RowState.SUBMITTED,
        output=str(request.output.absolute()),
        options=request.options,
        result=None,
        owner=None,
        created_at=0.0,
        submitted_at=None,
        completed_at=None,
    )
