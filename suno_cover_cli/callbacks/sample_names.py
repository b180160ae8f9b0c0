"""The samples of ``trigger`` by name. Nothing heavy is imported here: every TAB reads these names."""

from enum import StrEnum


class SampleName(StrEnum):
    """The samples by the names that users type."""

    SUCCESS = "success"
    FAILED_501 = "failed-501"
    REFUNDED_531 = "refunded-531"
    ERROR_500 = "error-500"
    VALIDATION_400 = "validation-400"
    TIMEOUT_408 = "timeout-408"
    DUPLICATE = "duplicate"
    LATE = "late"
    MALFORMED = "malformed"
    EMPTY = "empty"
    HUGE = "huge"
    WRONG_TASK = "wrong-task"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad-signature"
    STALE_SIGNATURE = "stale-signature"

    @property
    def description(self) -> str:
        """What is sent, in a few words."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    SampleName.SUCCESS: "a cover that was made, with its images",
    SampleName.FAILED_501: "cover generation failed",
    SampleName.REFUNDED_531: "generation failed, credits were returned",
    SampleName.ERROR_500: "the service's own fault",
    SampleName.VALIDATION_400: "the request was refused",
    SampleName.TIMEOUT_408: "the generator was silent for too long",
    SampleName.DUPLICATE: "a success, announced twice 50 ms apart",
    SampleName.LATE: "a success, a minute late, as after one failed attempt",
    SampleName.MALFORMED: "JSON that breaks off",
    SampleName.EMPTY: "no body at all",
    SampleName.HUGE: "a success of 2 MiB",
    SampleName.WRONG_TASK: "a success of a task nobody knows",
    SampleName.UNSIGNED: "a success without signature, even when a key is given",
    SampleName.BAD_SIGNATURE: "a success signed with another key",
    SampleName.STALE_SIGNATURE: "a success whose right signature is an hour old; needs the key",
}
