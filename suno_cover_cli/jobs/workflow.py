"""The order of things: claim, open an inbox, submit, wait, save, write down. The only place that knows it.

Each step that changes what a restart must do is on disk before the next one is taken. Ctrl-C and deadlines never
cancel the job at the service; whatever was begun is found again by ``resume``.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Self

from suno_cover_cli.base.clock import Clock, SuspendAwareClock
from suno_cover_cli.base.errors import AccountError, RefusedError, SunoCoverError
from suno_cover_cli.base.events import (
    CallbackReceived,
    CallbackRefused,
    CallbackRejected,
    JobEnded,
    JobFound,
    JobPolled,
    JobStarted,
    JobSubmitted,
    Sink,
    WarningRaised,
    WokenUp,
)
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobRecord, JobResult, JobState, RecordState, Submission, Via
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.jobs.batch import SubmitGate
from suno_cover_cli.jobs.covers import CoverSaver, SavedCovers
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest, JobRun
from suno_cover_cli.jobs.poller import Poller, Timing, WakeUp, spread_s
from suno_cover_cli.jobs.ports import AddLabel, Channel, CoverService, ImageSaver, Inbox, JobJournal
from suno_cover_cli.journal.rows import Claim, JobRow, RowState
from suno_cover_cli.service.codes import job_failed

PLACEHOLDER_URL = "https://example.com/noop"
"""``callBackUrl`` is mandatory but need not work (recorded); what is posted here reaches no inbox."""

_MAX_REFUSED = 10
_SAVE_GRACE_S = 15.0
"""What saving may still take at the deadline: covers that are ready are not left lying."""


class CoverWorkflow:
    """Runs jobs, one or thousands at a time, over parts it is given.

    An async context manager: entering starts the watch over the channel and the machine's sleep.

    Args:
        service: The API.
        journal: The record of jobs.
        saver: The downloader.
        add_label: Adds the AI label to saved covers, where a job asks for it.
        sink: Hears everything.
        clock: Time.
        timing: Durations.
        channel: Public way to the listener, or ``None`` where the service cannot call.
        open_inbox: Makes an inbox on the listener behind the channel.
        wait: ``False`` ends each job once its cover task id is known.
    """

    def __init__(
        self,
        *,
        service: CoverService,
        journal: JobJournal,
        saver: ImageSaver,
        add_label: AddLabel | None = None,
        sink: Sink,
        clock: Clock,
        timing: Timing,
        channel: Channel | None = None,
        open_inbox: Callable[[], Inbox] | None = None,
        wait: bool = True,
    ) -> None:
        self._service = service
        self._journal = journal
        self._covers = CoverSaver(saver=saver, service=service, add_label=add_label, sink=sink, clock=clock)
        self._sink = sink
        self._clock = clock
        self._timing = timing
        self._channel = channel
        self._make_inbox = open_inbox
        self._wait = wait
        self._gate = SubmitGate(sink)
        # A dict keeps the order of arrival, and with it the order of reads when all are requested at once.
        self._wake_ups: dict[WakeUp, None] = {}
        self._awake = SuspendAwareClock(clock, self._request_reads)
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
        await self._journal.enqueue(request.wanted_row() for request in requests)

    async def run_job(self, request: JobRequest) -> JobOutcome:
        """Run one job to its end, its deadline or the error that ends it. Never raises a SunoCoverError."""
        run = JobRun(request, awake=self._awake, timeout_s=self._timing.timeout_s)
        self._sink.emit(JobStarted(**run.ids, name=request.name))
        try:
            outcome = await self._run_steps(run)
        except TimeoutError as error:
            outcome = run.at_deadline(str(error) or self._service.trouble)
        except SunoCoverError as error:
            if isinstance(error, AccountError):
                self._gate.close(error)
            outcome = run.ended_by(error)
        finally:
            run.close_inbox()
        if run.row is not None:
            same = await self._journal.record_end(
                run.row, outcome.result, run.completed_at, key_mark=run.known_under
            )
            self._warn_of_same(outcome.result, same)
        self._sink.emit(JobEnded(**run.ids, result=outcome.result))
        return outcome

    async def _run_steps(self, run: JobRun) -> JobOutcome:
        await self._awake.run_until(run.deadline, self._begin(run))
        # Before the job is reported as submitted: whatever is lost from then on leads to a read.
        self._wake_ups[run.wake_up] = None
        try:
            self._report_begun(run)
            if not self._wait:
                return JobOutcome(result=run.result(JobState.PENDING), exit_code=ExitCode.OK)
            return await self._finish(run)
        finally:
            del self._wake_ups[run.wake_up]

    async def _finish(self, run: JobRun) -> JobOutcome:
        if (covers := await self._find_saved(run)) is not None:
            run.end_with(JobRecord(task_id=run.known_task_id, state=RecordState.SUCCEEDED), Via.EXISTING)
            return run.ended_with(covers)
        record, via = await self._poll_known(run)
        run.end_with(record, via)
        if record.state is RecordState.FAILED:
            raise job_failed(record.error_code, record.message)
        until = max(run.deadline, self._awake.now() + _SAVE_GRACE_S)
        covers = await self._covers.save(
            run.ids,
            record,
            run.request.output,
            row=run.known_row,
            options=run.request.options,
            in_time=partial(self._awake.run_until, until),
        )
        return run.ended_with(covers)

    # --- steps ------------------------------------------------------------------------------------

    async def _begin(self, run: JobRun) -> None:
        """Claim the job and see to it that the service has it."""
        run.take(await self._claim(run.request))
        if run.task_id is None:
            await self._submit(run, run.known_row)
        else:
            run.is_existing = run.request.music_task_id is not None and not run.request.row_id

    def _report_begun(self, run: JobRun) -> None:
        if run.request.task_id is not None and run.task_id == run.request.task_id:
            self._sink.emit(JobFound(**run.ids))
            return
        has_callback = run.inbox is not None
        self._sink.emit(JobSubmitted(**run.ids, is_existing=run.is_existing, callback=has_callback))

    async def _claim(self, request: JobRequest) -> Claim:
        wanted = request.wanted_row()
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
        run.task_id, run.is_submitted_here = submission.task_id, True
        recorded = await self._journal.record_submitted(row, submission.task_id)
        run.row = recorded.row
        run.is_existing = submission.is_existing or recorded.is_known
        # A job that may be over already is read at once; its callback went elsewhere.
        run.is_new = not run.is_existing and not run.may_exist

    async def _open_inbox(self, run: JobRun) -> str:
        """Return the address for the service to call, a harmless one when it cannot reach us."""
        if self._channel is None or self._make_inbox is None or run.request.options.callback == "off":
            return PLACEHOLDER_URL
        public_url = await self._channel.wait_open()
        if public_url is None:
            return PLACEHOLDER_URL
        # The inbox is there before the service hears of it: its callback may come before its answer.
        run.inbox = self._make_inbox()
        run.inbox.on_refused = partial(self._report_refused, run)
        return public_url + run.inbox.path

    def _report_refused(self, run: JobRun, request: ReceivedRequest) -> None:
        run.refused_count += 1
        if run.refused_count <= _MAX_REFUSED:
            signature, reason = request.signature, request.signature_reason
            self._sink.emit(CallbackRefused(**run.ids, signature=signature, reason=reason))

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
        is_same_wish = (
            earlier.output,
            earlier.options.name,
            earlier.options.write_metadata,
            earlier.options.label,
        ) == (wanted.output, wanted.options.name, wanted.options.write_metadata, wanted.options.label)
        if not is_same_wish or wanted.options.overwrite or not earlier.result.images:
            return None
        return await self._covers.find_all(run.ids, run.known_task_id, earlier.result.images, run.request.output)

    async def _poll_known(self, run: JobRun) -> tuple[JobRecord, Via]:
        """Wait for the end of the job, under another cover task id where the service does not know this one.

        The journal may have a wrong id, by damage for example. A repeated submit is answered with the right one
        and charges nothing (documented), so it is worth one try.

        Raises:
            RefusedError: The service knows neither the job nor a better id for it.
        """
        try:
            return await self._poll(run)
        except RefusedError as error:
            if error.code != "unknown_cover_task":
                raise
            if run.is_foreign:
                raise run.unknown_to_key() from None
            if not run.may_submit_again:
                raise run.explained(error) from None
            await self._awake.run_until(run.deadline, self._submit_again(run, error))
        self._report_begun(run)
        return await self._poll(run)

    async def _submit_again(self, run: JobRun, unknown: RefusedError) -> None:
        task_id, row = run.known_task_id, run.known_row
        self._sink.emit(
            WarningRaised(
                code="submitted_again",
                message=f"the service does not know cover task {task_id}: submitting {row.music_task_id} again",
                hint="It answers with the job it has for that music task and charges nothing.",
            )
        )
        try:
            await self._submit(run, row)
        except RefusedError as error:
            unknown.message += f", and {row.music_task_id} cannot be submitted again: {error.message}"
            unknown.hint = error.hint
            raise unknown from error

    async def _poll(self, run: JobRun) -> tuple[JobRecord, Via]:
        def report_read(record: JobRecord, next_s: float | None) -> None:
            run.state = record.state
            images = len(record.image_urls)
            self._sink.emit(JobPolled(**run.ids, state=record.state, next_s=next_s, images=images))

        def report_callback(request: ReceivedRequest, is_ours: bool) -> None:  # noqa: FBT001 -- called by position
            content = request.content
            if content is None:
                self._sink.emit(WokenUp(**run.ids, reason=request.reason, bytes=len(request.body)))
            elif not is_ours:
                reason = f"it names another task ({clean(content.task_id, 60)})"
                self._sink.emit(CallbackRejected(**run.ids, reason=reason))
            else:
                said, signature = clean(content.message), request.signature
                self._sink.emit(CallbackReceived(**run.ids, code=content.code, message=said, signature=signature))

        poller = Poller(
            run.known_task_id,
            fetch=self._service.fetch_job,
            inbox=run.inbox,
            wake_up=run.wake_up,
            timing=self._timing,
            clock=self._clock,
            awake=self._awake,
            deadline=run.deadline,
            on_read=report_read,
            on_callback=report_callback,
            known_for_s=run.known_for_s(self._clock.time()),
        )
        # A folder that is there was made when the job had ended: covers may only be missing in it.
        folder = run.request.output / run.known_task_id
        may_be_over = not run.is_new or await asyncio.to_thread(folder.exists)
        return await poller.wait_until_terminal(0.0 if may_be_over else self._timing.poll_interval_s)

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

    # --- reads that do not wait for their turn ----------------------------------------------------

    async def _watch_channel(self, channel: Channel) -> None:
        """Have all jobs read each time the channel is lost: the service cannot call them then."""
        if await channel.wait_open() is None:
            return
        is_open = True
        while is_open:
            await channel.wait_lost()
            self._request_reads()
            is_open = await channel.wait_restored() is not None

    def _request_reads(self) -> None:
        waiting = len(self._wake_ups)
        for place, wake_up in enumerate(self._wake_ups):
            wake_up.request_read(spread_s(place, waiting, self._timing.poll_interval_s))
