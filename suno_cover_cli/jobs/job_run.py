"""One job while it runs: what is known of it, what is told of it, what came of it."""

from pathlib import Path

import msgspec

from suno_cover_cli.base.errors import AccountError, JobFailedError, RefusedError, SunoCoverError
from suno_cover_cli.base.events import (
    CallbackReceived,
    CallbackRejected,
    JobEnded,
    JobPolled,
    JobStarted,
    JobSubmitted,
    Sink,
)
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobError, JobRecord, JobResult, JobState, RecordState, Via
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.jobs.covers import SavedCovers
from suno_cover_cli.jobs.ports import JobInbox
from suno_cover_cli.jobs.suspend_aware_clock import SuspendAwareClock
from suno_cover_cli.journal.rows import Claim, JobOptions, JobRow

_CODE_OK = 200


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a command: by music task (submit it) or by cover task (wait for it).

    Attributes:
        n: Its number in the command, counted from 1.
        service: Base URL, or ``sandbox``: ids mean nothing without it.
        provider: For the journal.
        output: Folder that receives the folder of the job, as shown to the user.
        absolute_output: The same for the journal, which is read from elsewhere.
        options: Kept in the journal for a restart.
        music_task_id: Set for a job to be submitted.
        task_id: Set for a job that is known by its cover task id.
        row_id: Of the journal's row when an earlier run began the job, else 0.
    """

    n: int
    service: str
    provider: str
    output: Path
    absolute_output: str
    options: JobOptions
    music_task_id: str | None = None
    task_id: str | None = None
    row_id: int = 0


class JobOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The job object together with what it means for the exit code."""

    result: JobResult
    exit_code: ExitCode


class JobRun:
    """What is known of one job while it runs, and how that is told.

    Args:
        request: The job.
        sink: Hears of each step.
        awake: Awake time.
        timeout_s: Seconds the whole job may take.
    """

    def __init__(self, request: JobRequest, *, sink: Sink, awake: SuspendAwareClock, timeout_s: float) -> None:
        self.request = request
        self._sink = sink
        self._awake = awake
        self._timeout_s = timeout_s
        self._started = awake.now()
        self.deadline = self._started + timeout_s
        self.row: JobRow | None = None
        self.earlier: JobRow | None = None
        self.may_exist = True
        self.task_id: str | None = request.task_id
        self.is_new = False
        self.is_existing = False
        self.inbox: JobInbox | None = None
        self.record: JobRecord | None = None
        self.via: Via | None = None
        self.completed_at: float | None = None

    @property
    def known_task_id(self) -> str:
        """The cover task id, once it must be known."""
        if self.task_id is None:
            raise RuntimeError("the cover task id is not known yet")
        return self.task_id

    @property
    def known_row(self) -> JobRow:
        """The journal's row, once the job is claimed."""
        if self.row is None:
            raise RuntimeError("the job is not claimed yet")
        return self.row

    @property
    def _music_task_id(self) -> str | None:
        if self.row is not None and self.row.music_task_id is not None:
            return self.row.music_task_id
        if self.record is not None and self.record.music_task_id is not None:
            return clean(self.record.music_task_id, 128)
        return self.request.music_task_id

    def take(self, claim: Claim) -> None:
        """Take over what the journal knows of the job."""
        self.row, self.earlier = claim.row, claim.earlier
        self.may_exist = not claim.is_new
        self.task_id = claim.row.task_id

    def close_inbox(self) -> None:
        """Answer 404 to callbacks from now on."""
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None

    # --- ends -------------------------------------------------------------------------------------

    def result(
        self, state: JobState, covers: SavedCovers | None = None, error: JobError | None = None
    ) -> JobResult:
        """Make the job object from what is known now."""
        code, record = None, self.record
        if record is not None:
            code = _CODE_OK if record.state is RecordState.SUCCEEDED else record.error_code
        return JobResult(
            music_task_id=self._music_task_id,
            task_id=self.task_id,
            state=state,
            code=code,
            message=clean(record.message) if record is not None else "",
            via=self.via,
            images=covers.saved if covers is not None else (),
            failed_images=covers.failed if covers is not None else (),
            picked=self.row.pick.picked if self.row is not None and self.row.pick is not None else None,
            elapsed_s=round(self._awake.now() - self._started, 3),
            error=error,
        )

    @property
    def resume_command(self) -> str:
        """The command that goes on with this job; ``resume`` knows only what the journal knows."""
        if self.row is not None and self.row.id:
            return "suno-cover resume"
        return f"suno-cover wait {self.task_id}" if self.task_id is not None else "the same command again"

    def at_deadline(self, last_fault: str) -> JobOutcome:
        """Say that the time is up, which ends nothing at the service; ``last_fault`` may be empty."""
        what = f"not submitted within {self._timeout_s:g} s"
        if self.task_id is not None:
            what = f"still running after {self._timeout_s:g} s; the job goes on at the service"
        fault = f" ({clean(last_fault)})" if last_fault else ""
        error = JobError(code="deadline", message=what + fault, hint=f"Go on with: {self.resume_command}")
        return JobOutcome(result=self.result(JobState.PENDING, error=error), exit_code=ExitCode.PENDING)

    def ended_by(self, error: SunoCoverError) -> JobOutcome:
        """Say what an error means for the job: failed, refused for good, or merely out of reach for now.

        A key or an account that is refused says nothing of a job the service may have from an earlier run.
        """
        is_refused = self.task_id is None and (
            isinstance(error, RefusedError) or (isinstance(error, AccountError) and not self.may_exist)
        )
        if isinstance(error, JobFailedError):
            state = JobState.FAILED
        elif is_refused or error.code == "unknown_cover_task":
            state = JobState.REJECTED
        else:
            state = JobState.PENDING
        shown = JobError(code=error.code, message=clean(error.message), hint=error.hint)
        return JobOutcome(result=self.result(state, error=shown), exit_code=error.exit_code)

    # --- news -------------------------------------------------------------------------------------

    def report_started(self) -> None:
        """The job is about to be claimed."""
        self._sink.emit(
            JobStarted(job=self.request.n, music_task_id=self.request.music_task_id, task_id=self.request.task_id)
        )

    def report_submitted(self) -> None:
        """The cover task id is known."""
        self._sink.emit(
            JobSubmitted(
                job=self.request.n,
                music_task_id=self._music_task_id,
                task_id=self.task_id,
                is_existing=self.is_existing,
                callback=self.inbox is not None,
            )
        )

    def report_read(self, record: JobRecord, next_s: float | None) -> None:
        """The service was read; the next read follows in ``next_s`` seconds."""
        self._sink.emit(
            JobPolled(
                job=self.request.n,
                music_task_id=self._music_task_id,
                task_id=self.task_id,
                state=record.state,
                next_s=next_s,
            )
        )

    def report_callback(self, callback: ReceivedCallback, is_ours: bool) -> None:  # noqa: FBT001 -- called by position
        """Something arrived on the job's path."""
        if is_ours:
            self._sink.emit(
                CallbackReceived(
                    job=self.request.n,
                    music_task_id=self._music_task_id,
                    task_id=self.task_id,
                    code=callback.code,
                    message=clean(callback.message),
                    signature=callback.signature,
                )
            )
        else:
            self._sink.emit(
                CallbackRejected(
                    job=self.request.n,
                    music_task_id=self._music_task_id,
                    task_id=self.task_id,
                    reason=f"it names another task ({clean(callback.task_id, 60)})",
                )
            )

    def report_ended(self, result: JobResult) -> None:
        """The job is over for this run."""
        self._sink.emit(
            JobEnded(
                job=self.request.n,
                music_task_id=result.music_task_id,
                task_id=result.task_id,
                result=result,
            )
        )
