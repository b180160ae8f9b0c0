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
    MUSIC_TEXT = "music-text"
    MUSIC_FIRST = "music-first"
    MUSIC_COMPLETE = "music-complete"
    MUSIC_ERROR = "music-error"
    LYRICS = "lyrics"
    WAV = "wav"
    VIDEO = "video"
    VOCAL = "vocal"
    MARKET = "market"
    FLAT = "flat"
    FORM = "form"
    GZIP = "gzip"
    DEFLATE = "deflate"
    GBK = "gbk"
    UTF_16 = "utf-16"

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
    SampleName.WRONG_TASK: "a success of a task that does not exist",
    SampleName.UNSIGNED: "a success without signature, even when a key is given",
    SampleName.BAD_SIGNATURE: "a success signed with another key",
    SampleName.STALE_SIGNATURE: "a success whose right signature is an hour old; needs the key",
    SampleName.MUSIC_TEXT: "music, the first of three stages: its text",
    SampleName.MUSIC_FIRST: "music, the second stage: the first track",
    SampleName.MUSIC_COMPLETE: "music, the last stage: both tracks",
    SampleName.MUSIC_ERROR: "music that was refused",
    SampleName.LYRICS: "lyrics that were written",
    SampleName.WAV: "a song as WAV",
    SampleName.VIDEO: "a music video",
    SampleName.VOCAL: "a song split into vocals and instruments",
    SampleName.MARKET: "a job of the market",
    SampleName.FLAT: "a success without data, its fields beside the code",
    SampleName.FORM: "a success as a form",
    SampleName.GZIP: "a success compressed with gzip",
    SampleName.DEFLATE: "a success compressed with deflate",
    SampleName.GBK: "a success with Chinese words in GBK",
    SampleName.UTF_16: "a success in UTF-16",
}
