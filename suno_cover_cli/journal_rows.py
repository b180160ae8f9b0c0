"""What the journal keeps of a job, and in which states a restart may find it."""

from enum import StrEnum

import msgspec

from suno_cover_cli.models import JobResult


class RowState(StrEnum):
    """How far a job got, as far as a restart must know."""

    SUBMITTING = "submitting"
    """Written before the POST: the service may or may not have the job. Submitting again is safe."""
    SUBMITTED = "submitted"
    """The cover task id is known."""
    PARTIAL = "partial"
    """The job is done; images are missing."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        """Whether ``resume`` has nothing left to do."""
        return self in {RowState.SUCCEEDED, RowState.FAILED, RowState.REJECTED}


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart takes over from the first run of a job."""

    callback: str = "auto"
    name: str = "cover_{n}"
    write_metadata: bool = False


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the journal. ``id`` is 0 for a job that could not be written down.

    Times are epoch seconds; ``output`` is the absolute folder that receives the folder of the job.
    """

    id: int
    service: str
    provider: str
    music_task_id: str | None
    task_id: str | None
    state: RowState
    output: str
    options: JobOptions
    result: JobResult | None
    owner: str | None
    created_at: float
    submitted_at: float | None
    completed_at: float | None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim: the row, and whether another live run holds it (then it is not ours)."""

    row: JobRow
    is_busy: bool = False
