"""Shapes: what the service sends (wire), what the package passes around, what scripts read (job object).

Wire structs keep the service's camelCase; nothing outside this module does. Decoding is tolerant
(``strict=False``, unknown fields ignored) because recorded answers differ from the documented ones:
string-typed numbers, epoch times beside ISO text, ``null`` where a number is promised, extra fields.
"""

import json
import re
from enum import StrEnum
from typing import Any, Literal

import msgspec

_SAFE_ID = re.compile(r"(?!-)[A-Za-z0-9_-]{1,128}")
_DEVICE = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)
_DEVICE_CHARS = 4


def is_safe_task_id(task_id: str) -> bool:
    """Tell whether an id may be a path component and a query value as it stands.

    A folder whose name begins with ``-`` is an option to whatever command is given it.
    """
    if _SAFE_ID.fullmatch(task_id) is None:
        return False
    return len(task_id) > _DEVICE_CHARS or not is_device_name(task_id)


def is_device_name(name: str) -> bool:
    """Tell whether Windows opens a device for a name, whatever extension it has.

    https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    """
    return _DEVICE.fullmatch(name.partition(".")[0].rstrip(" ")) is not None


def json_text(value: Any) -> str:
    """Encode a value as JSON on one line.

    A path that is not UTF-8, as Linux allows, has lone surrogates in it (:func:`os.fsdecode`). They are escaped,
    as Python's own ``json`` does and reads.
    """
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":"))


# --- the package's own words -------------------------------------------------------------------------


class RecordState(StrEnum):
    """What one read of the service says about a cover job."""

    ABSENT = "absent"
    """``data`` was null: an unknown id, or one created a moment ago."""
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether the service will not change this any more."""
        return self in {RecordState.SUCCEEDED, RecordState.FAILED}


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One read of ``record-info``, made plain.

    Attributes:
        task_id: Cover task id that was asked for.
        music_task_id: ``parentTaskId`` when the service tells it.
        state: See :class:`RecordState`.
        image_urls: Every entry of the service's list, in its order; what is not text is there as JSON. Untrusted
            until the downloader has checked each.
        error_code: The service's number; explains a failure, never decides it.
        message: The service's words, untrusted text.
        created_at: Epoch seconds or ``None``.
        completed_at: Epoch seconds or ``None``.
    """

    task_id: str
    state: RecordState
    music_task_id: str | None = None
    image_urls: tuple[str, ...] = ()
    error_code: int | None = None
    message: str = ""
    created_at: float | None = None
    completed_at: float | None = None


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a submit came to: the cover task id, and whether the service had made that job before."""

    task_id: str
    is_existing: bool = False


class JobState(StrEnum):
    """State of a job as scripts see it in the job object."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PENDING = "pending"
    PARTIAL = "partial"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing is left to wait for; a partial job has images left to fetch."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.REJECTED}


class Via(StrEnum):
    """How the end of a job was learnt."""

    CALLBACK = "callback"
    POLL = "poll"
    EXISTING = "existing"


class SignatureState(StrEnum):
    """What is known about a callback's signature."""

    OK = "ok"
    MISSING = "missing"
    BAD = "bad"
    STALE = "stale"
    UNCHECKED = "unchecked"

    def __init__(self, value: str) -> None:
        # Asked for several times a request, so it is worked out once.
        self.is_acceptable = value in {"ok", "unchecked"}
        """Whether a callback in this state is taken; without a key every one is."""


class SavedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One checked file.

    Attributes:
        url: Where it came from.
        path: Of the file.
        bytes: Its size.
        format: ``png``, ``jpeg``, ``webp`` or ``avif``.
        width: Pixels.
        height: Pixels.
        sha256: Of the file, hex.
        n: Which variant it is, from 1 as in the service's list; 0 in results of versions that did not keep it.
    """

    url: str
    path: str
    bytes: int
    format: str
    width: int
    height: int
    sha256: str
    n: int = 0


class FailedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image that could not be saved, and why in one line."""

    url: str
    error: str


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """An error as scripts read it."""

    code: str
    message: str
    hint: str = ""


Picked = int | Literal["none"] | None
"""The variant that was chosen of a job, counted from 1; ``none`` of them; ``None`` while that is not decided."""


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """The job object, version 1: new keys may be added, none removed or changed.

    Attributes:
        v: Version of this shape.
        type: Always ``job``.
        music_task_id: What the user passed; ``None`` for a job known by its cover task id alone.
        task_id: Cover task id; ``None`` when the service never gave one.
        state: See :class:`JobState`.
        code: The service's last word as a number, or ``None``.
        message: The service's last words, cleaned.
        via: How the end was learnt, or ``None`` while pending.
        images: Saved and checked files.
        failed_images: What could not be saved.
        title: Of the piece of music, cleaned, where you gave it or it was asked for.
        picked: What was chosen of the images before this run ended; see :data:`Picked`.
        elapsed_s: Seconds from the start of this run of the job to its end.
        error: ``None`` when all went well.
    """

    v: Literal[1] = 1
    type: Literal["job"] = "job"
    music_task_id: str | None = None
    task_id: str | None = None
    state: JobState
    code: int | None = None
    message: str = ""
    via: Via | None = None
    images: tuple[SavedImage, ...] = ()
    failed_images: tuple[FailedImage, ...] = ()
    title: str | None = None
    picked: Picked = None
    elapsed_s: float = 0.0
    error: JobError | None = None

    @property
    def variants(self) -> dict[int, SavedImage]:
        """Saved images by the number of the variant; where that was not kept, they count from 1."""
        return {image.n or place: image for place, image in enumerate(self.images, 1)}


# --- the wire ---------------------------------------------------------------------------------------


class Envelope(msgspec.Struct, kw_only=True):
    """Every answer: ``{code, msg, data}``. The verdict is ``code``, not the HTTP status (recorded).

    ``retry_after_s`` is what the answer's header asked for; set by the code that decodes the body.
    """

    code: int
    msg: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    retry_after_s: Any = None


class WireSubmission(msgspec.Struct, kw_only=True):
    """``data`` of a submit's answer."""

    taskId: str | int | None = None  # noqa: N815 -- the service's spelling
    task_id: str | int | None = None


class WireImages(msgspec.Struct, kw_only=True):
    """``data.response`` of record-info; ``images`` is looked at entry by entry, because it is untrusted."""

    images: Any = None


class WireRecord(msgspec.Struct, kw_only=True):
    """``data`` of record-info. Everything is optional and loosely typed; :mod:`api` makes sense of it."""

    taskId: Any = None  # noqa: N815
    parentTaskId: Any = None  # noqa: N815
    createTime: Any = None  # noqa: N815
    completeTime: Any = None  # noqa: N815
    response: Any = None
    successFlag: Any = None  # noqa: N815
    status: Any = None
    """Some resellers document words here instead."""
    errorCode: Any = None  # noqa: N815
    errorMessage: Any = None  # noqa: N815


class WireMusic(msgspec.Struct, kw_only=True):
    """``data`` of the music call's record-info, as far as a title may stand in it (both providers' docs).

    ``response`` is ``{sunoData: [{title, ...}]}``; ``param`` repeats the order as JSON text, its title included.
    """

    response: Any = None
    param: Any = None


_Field = msgspec.Raw | msgspec.UnsetType
"""A field that is kept as it stands: whether it is there is what counts, or it is read later."""


class WireCallbackData(msgspec.Struct, kw_only=True):
    """``data`` of a callback, of whichever kind; of a flat one, all of it.

    Only these are built: a hostile body pays for its other fields itself. Cover callbacks spell ``taskId``; music
    callbacks and kie.ai's signature sample spell ``task_id``. The others are what tells the kinds apart.
    """

    taskId: Any = None  # noqa: N815
    task_id: Any = None
    images: Any = msgspec.UNSET
    callbackType: Any = None  # noqa: N815
    """Music and lyrics: ``text``, ``first``, ``complete``, ``error``."""
    data: _Field = msgspec.UNSET
    """Music: tracks. Lyrics: texts."""
    audioWavUrl: _Field = msgspec.UNSET  # noqa: N815
    video_url: _Field = msgspec.UNSET
    videoUrl: _Field = msgspec.UNSET  # noqa: N815
    vocal_removal_info: _Field = msgspec.UNSET
    state: Any = None
    """Jobs of the market: ``success``, ``fail``, or still under way."""
    resultJson: _Field = msgspec.UNSET  # noqa: N815
    status: Any = None
    """Where a callback has the shape of a read: words such as ``FIRST_SUCCESS``."""
    successFlag: Any = None  # noqa: N815
    """The same, of other calls."""
    response: _Field = msgspec.UNSET
    failCode: Any = msgspec.UNSET  # noqa: N815
    failMsg: Any = msgspec.UNSET  # noqa: N815
    """With ``failCode``, why a job of the market failed; both null as long as it has not."""
    errorCode: Any = None  # noqa: N815
    errorMessage: Any = None  # noqa: N815
    """With ``errorCode``, the same where a callback has the shape of a read."""


class WireItem(msgspec.Struct, kw_only=True):
    """One entry of ``data.data``: a text of lyrics has ``text``, a track of music has not."""

    text: _Field = msgspec.UNSET


class WireResponse(msgspec.Struct, kw_only=True):
    """``response`` where a callback has the shape of a read."""

    sunoData: _Field = msgspec.UNSET  # noqa: N815
    images: Any = msgspec.UNSET


class WireCallback(msgspec.Struct, kw_only=True):
    """The POST to ``callBackUrl``: ``{code, msg, data: {taskId | task_id, ...}}``; some leave ``data`` out.

    ``data`` is read by itself, because some senders put it there as JSON text.
    """

    code: int
    data: _Field = msgspec.UNSET
    msg: Any = None
