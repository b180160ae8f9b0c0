"""One job: what is asked for, what is known of it while it runs, what came of it."""

from pathlib import Path

import msgspec

from suno_cover_cli.base.clock import SuspendAwareClock
from suno_cover_cli.base.errors import AccountError, JobFailedError, RefusedError, SunoCoverError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobError, JobRecord, JobResult, JobState, RecordState, Via
from suno_cover_cli.base.text import clean
from suno_cover_cli.jobs.covers import SavedCovers
from suno_cover_cli.jobs.poller import WakeUp
from suno_cover_cli.jobs.ports import Inbox, JobIds
from suno_cover_cli.journal.rows import Claim, JobOptions, JobRow, RowState, are_of_two_keys

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
        typed: What the user typed, where that is not the id the job is asked for by.
        key_mark: Of the key the job is run with; see :mod:`suno_cover_cli.journal.key_marks`.
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
    typed: str = ""
    key_mark: str | None = None

    @property
    def name(self) -> str:
        """What the user calls the job."""
        return self.typed or self.music_task_id or self.task_id or ""

    def wanted_row(self) -> JobRow:
        """Describe the job for the journal, which may know it already."""
        return JobRow(
            id=self.row_id,
            service=self.service,
            provider=self.provider,
            music_task_id=self.music_task_id,
            task_id=self.task_id,
            state=RowState.SUBMITTING if self.task_id is None else RowState.SUBMITTED,
            output=self.absolute_output,
            options=self.options,
            key_mark=self.key_mark,
        )


class JobOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a job.

    Attributes:
        result: The job object.
        exit_code: What it means for the exit code of the command.
        is_lasting: The same command would end the same way: nothing is gained by trying again.
    """

    result: JobResult
    exit_code: ExitCode
    is_lasting: bool = False


class JobRun:
    """What is known of one job while it runs.

    Args:
        request: The job.
        awake: Awake time.
        timeout_s: Seconds the whole job may take.

    Attributes:
        deadline: In awake time.
        row: The journal's, once the job is claimed.
        earlier: The row as the run before left it, if there was one.
        may_exist: The service may have the job from an earlier run.
        task_id: Cover task id, once it is known.
        is_new: Submitted by this run: the service cannot have finished it yet.
        is_submitted_here: This run was given the cover task id by the service, and not by the journal.
        is_existing: Asked for by its music task, and made before.
        wake_up: Asks for a read outside the interval.
        inbox: Where its callbacks arrive, while they can.
        refused_count: Callbacks that a signature refused.
        state: What the last read said.
        record: What the service says of the job that has ended.
        via: How that was learnt.
        completed_at: Epoch seconds, the service's word.
    """

    def __init__(self, request: JobRequest, *, awake: SuspendAwareClock, timeout_s: float) -> None:
        self.request = request
        self._awake = awake
        self._timeout_s = timeout_s
        self._started = awake.now()
        self.deadline = self._started + timeout_s
        self.row: JobRow | None = None
        self.earlier: JobRow | None = None
        self.may_exist = True
        self.task_id: str | None = request.task_id
        self.is_new = False
        self.is_submitted_here = False
        self.is_existing = False
        self.wake_up = WakeUp()
        self.inbox: Inbox | None = None
        self.refused_count = 0
        self.state: RecordState | None = None
        self.record: JobRecord | None = None
        self.via: Via | None = None
        self.completed_at: float | None = None

    @property
    def ids(self) -> JobIds:
        """Number and ids, for events."""
        return JobIds(job=self.request.n, music_task_id=self._music_task_id, task_id=self.task_id)

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

    @property
    def resume_command(self) -> str:
        """The command that goes on with this job; ``resume`` knows only what the journal knows."""
        if self.row is not None and self.row.id:
            return f"suno-cover resume {self.request.name}"
        return f"suno-cover wait {self.task_id}" if self.task_id is not None else "the same command again"

    @property
    def is_foreign(self) -> bool:
        """Whether the job is known to have been submitted with another key: this one's account may not see it."""
        return self.earlier is not None and are_of_two_keys(self.earlier.key_mark, self.request.key_mark)

    @property
    def known_under(self) -> str | None:
        """The mark of this run's key, once the service knew the job under it."""
        is_known = self.record is not None or self.state not in {None, RecordState.ABSENT}
        return self.request.key_mark if is_known else None

    @property
    def may_submit_again(self) -> bool:
        """Whether a cover task id that the service does not know may be asked for anew, by the music task.

        Once only, and not for a job that was asked for by its cover task: that promises to submit nothing.
        """
        return self.request.music_task_id is not None and not self.is_submitted_here

    def known_for_s(self, now: float) -> float:
        """Return how long the cover task id has been known ``now``, epoch seconds; 0 when that is not known."""
        row = self.known_row
        since = row.submitted_at if row.submitted_at is not None else row.created_at or now
        # A clock that was set back, or a damaged row, must not make the grace longer.
        return max(now - since, 0.0)

    def explained(self, unknown: RefusedError) -> RefusedError:
        """Add to the refusal of a cover task id what the journal knows of it."""
        music_task_id = self.row.music_task_id if self.row is not None else None
        if self.request.music_task_id is None and music_task_id is not None:
            unknown.hint = f"Ask for the job of its music task: suno-cover generate {music_task_id}"
        return unknown

    def unknown_to_key(self) -> RefusedError:
        """Say that the service does not know the job, which says nothing of it under its own key."""
        return RefusedError(
            f"the service does not know the cover task {self.task_id} under this key; "
            "it was submitted with another one",
            code="unknown_to_key",
            hint=f"Use that key: {self.resume_command}",
        )

    def advice(self, hint: str) -> str:
        """Return a hint as it holds for this job: where history is not kept, another command goes on with it."""
        is_kept = self.row is not None and self.row.id
        return hint if is_kept else hint.replace("suno-cover resume", self.resume_command)

    def take(self, claim: Claim) -> None:
        """Take over what the journal knows of the job."""
        self.row, self.earlier = claim.row, claim.earlier
        self.may_exist = not claim.is_new
        self.task_id = claim.row.task_id

    def end_with(self, record: JobRecord, via: Via) -> None:
        """Take the record of a job that has ended at the service; callbacks are not needed any more."""
        self.close_inbox()
        self.record = record
        self.via = Via.EXISTING if self.is_existing else via
        self.completed_at = record.completed_at

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
        earlier = self.earlier.result if self.earlier is not None else None
        title = self.request.options.title
        given = clean(title, 200) if title else None
        return JobResult(
            music_task_id=self._music_task_id,
            task_id=self.task_id,
            state=state,
            code=code,
            message=clean(record.message) if record is not None else "",
            via=self.via,
            images=covers.saved if covers is not None else (),
            failed_images=covers.failed if covers is not None else (),
            title=(covers.title if covers else None) or given or (earlier.title if earlier is not None else None),
            picked=self.row.pick.picked if self.row is not None and self.row.pick is not None else None,
            elapsed_s=round(self._awake.now() - self._started, 3),
            error=error,
        )

    def ended_with(self, covers: SavedCovers) -> JobOutcome:
        """Say what was saved of a job that the service has done."""
        if not covers.failed and covers.saved:
            return JobOutcome(result=self.result(JobState.SUCCEEDED, covers), exit_code=ExitCode.OK)
        if not covers.failed:
            error = JobError(
                code="no_images",
                message="the service says the job is done but names no images",
                hint=f"Try again later with: {self.resume_command}",
            )
        else:
            error = JobError(
                code="images_missing",
                message=f"{len(covers.failed)} of {len(covers.failed) + len(covers.saved)} images could not be "
                f"saved: {covers.failed[0].error}",
                hint=self.advice(covers.hint) or f"Try again with: {self.resume_command}",
            )
        result = self.result(JobState.PARTIAL, covers, error)
        return JobOutcome(result=result, exit_code=ExitCode.IMAGES_MISSING)

    def at_deadline(self, last_fault: str) -> JobOutcome:
        """Say that the time is up, which ends nothing at the service; ``last_fault`` may be empty."""
        time = f"{self._timeout_s:g} s"
        if self.task_id is None:
            what = f"not submitted within {time}"
        elif self.state is None:
            what = f"the service did not say within {time} what became of the job"
        elif self.state is RecordState.ABSENT:
            what = f"the service does not know the cover task {self.task_id} after {time}"
        else:
            what = f"still running after {time}; the job goes on at the service"
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
        return JobOutcome(
            result=self.result(state, error=shown), exit_code=error.exit_code, is_lasting=error.is_lasting
        )
