"""Which kind of callback a body is, and which stage of a job it reports.

The provider posts the callbacks of all its calls to the same kind of receiver; their shapes are those its pages
document. A shape that is none of them is of an unknown kind, and still shown.
"""

import re
from contextlib import suppress
from enum import StrEnum

import msgspec

from suno_cover_cli.base.models import WireCallbackData, WireItem, WireResponse

_CODE_OK = 200


class CallbackKind(StrEnum):
    """What was asked for; the names are part of the event lines."""

    COVER = "cover"
    MUSIC = "music"
    LYRICS = "lyrics"
    WAV = "wav"
    VIDEO = "video"
    VOCAL = "vocal"
    MARKET = "market"
    UNKNOWN = "unknown"


class CallbackStage(StrEnum):
    """How far the job is. Music comes in three stages, everything else in one."""

    TEXT = "text"
    FIRST = "first"
    COMPLETE = "complete"
    ERROR = "error"

    @property
    def is_final(self) -> bool:
        """Whether no other callback of the job follows."""
        return self in {CallbackStage.COMPLETE, CallbackStage.ERROR}


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why a job failed, where a callback says so beside an envelope in which all is well.

    Attributes:
        code: As text, for it may be a word; empty without one. Untrusted, like ``message``.
        message: The service's words; may be empty.
    """

    code: str
    message: str


class Classified(msgspec.Struct, gc=False):
    """The kind of a callback.

    Attributes:
        kind: See :class:`CallbackKind`.
        stage: ``None`` where it is not known.
        items: Tracks of music, texts of lyrics, images of a cover.
        images: ``images`` as they came, of a cover.
        failure: See :class:`Failure`.
        state: The sender's word for how far the job is, such as ``generating``; untrusted.
    """

    kind: CallbackKind
    stage: CallbackStage | None
    items: int = 0
    images: object = None
    failure: Failure | None = None
    state: str = ""


def classify(code: int, data: WireCallbackData, raw: bytes) -> Classified:
    """Tell the kind of a callback by the fields that only this kind has.

    Args:
        code: Of the envelope.
        data: Its ``data``, or all of a flat one.
        raw: The same as JSON.
    """
    found = _of_fields(data)
    if found is None and _BARE.fullmatch(raw):
        # Of all kinds, covers alone are documented to fail with nothing but the id.
        found = Classified(CallbackKind.COVER, CallbackStage.COMPLETE)
    found = found or Classified(CallbackKind.UNKNOWN, None)
    if code != _CODE_OK and found.kind is not CallbackKind.UNKNOWN:
        found.stage = CallbackStage.ERROR
    found.failure = _failure(data, found)
    for word in (data.state, data.status, data.successFlag):
        if isinstance(word, str):
            found.state = word[:_MAX_STATE_CHARS]
            break
    return found


def _of_fields(data: WireCallbackData) -> Classified | None:
    if data.images is not msgspec.UNSET:
        return _cover(data.images)
    if isinstance(data.callbackType, str) and data.callbackType in _STAGES:
        return _staged(data, CallbackStage(data.callbackType))
    for kind, fields in _KINDS_OF_FIELDS:
        if any(getattr(data, field) is not msgspec.UNSET for field in fields):
            stage = _MARKET_STATES.get(str(data.state)) if kind is CallbackKind.MARKET else CallbackStage.COMPLETE
            return Classified(kind, stage)
    if isinstance(data.status, str):
        return _like_a_record(data, data.status)
    return None


def _failure(data: WireCallbackData, found: Classified) -> Failure | None:
    """Read why the job failed. Such fields may be filled while it still runs, and a code stand beside success."""
    if found.stage is not CallbackStage.ERROR and found.kind is not CallbackKind.UNKNOWN:
        return None
    code = _plain(data.failCode) or _plain(data.errorCode)
    message = _plain(data.failMsg) or _plain(data.errorMessage)
    if code in _NO_FAILURES and not message:
        return None
    return Failure("" if code in _NO_FAILURES else code[:_MAX_STATE_CHARS], message[:_MAX_WORDS_CHARS])


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and abs(value) <= _MAX_CODE else ""


def _cover(images: object) -> Classified:
    items = len(images) if isinstance(images, list) else 0
    return Classified(CallbackKind.COVER, CallbackStage.COMPLETE, items, images)


def _staged(data: WireCallbackData, stage: CallbackStage) -> Classified:
    """Tell music from lyrics: both come in stages, and in the last one their fields differ."""
    items = _items(data.data)
    has_text = any(item.text is not msgspec.UNSET for item in items)
    # An error has no items. Then the spelling of the id is what tells them apart.
    is_lyrics = has_text or (not items and stage.is_final and not data.task_id)
    return Classified(CallbackKind.LYRICS if is_lyrics else CallbackKind.MUSIC, stage, len(items))


def _like_a_record(data: WireCallbackData, status: str) -> Classified | None:
    """Read a callback that has the shape of a read: ``status`` in words and ``response``."""
    response = WireResponse()
    if data.response is not msgspec.UNSET:
        with suppress(msgspec.MsgspecError, ValueError):
            response = msgspec.json.decode(data.response, type=WireResponse)
    if response.images is not msgspec.UNSET:
        return _cover(response.images)
    if response.sunoData is msgspec.UNSET and status not in _MUSIC_STATES:
        return None
    stage = CallbackStage.COMPLETE if status == "SUCCESS" else _MUSIC_STATES.get(status)
    return Classified(CallbackKind.MUSIC, stage, len(_items(response.sunoData)))


def _items(raw: msgspec.Raw | msgspec.UnsetType) -> list[WireItem]:
    try:
        return _ITEMS.decode(raw) if raw is not msgspec.UNSET else []
    except (msgspec.MsgspecError, ValueError):
        return []


_ITEMS = msgspec.json.Decoder(list[WireItem])
_STAGES = frozenset(CallbackStage)
# The provider's words for music, without the one that every kind uses.
_MUSIC_STATES = {
    "TEXT_SUCCESS": CallbackStage.TEXT,
    "FIRST_SUCCESS": CallbackStage.FIRST,
    "GENERATE_AUDIO_FAILED": CallbackStage.ERROR,
    "SENSITIVE_WORD_ERROR": CallbackStage.ERROR,
    "CALLBACK_EXCEPTION": CallbackStage.ERROR,
    "CREATE_TASK_FAILED": CallbackStage.ERROR,
}
# Of the kinds that come in one stage, the fields that no other kind has.
_KINDS_OF_FIELDS = (
    (CallbackKind.WAV, ("audioWavUrl",)),
    (CallbackKind.VIDEO, ("video_url", "videoUrl")),
    (CallbackKind.VOCAL, ("vocal_removal_info",)),
    (CallbackKind.MARKET, ("resultJson", "failCode", "failMsg")),
)
_MARKET_STATES = {"success": CallbackStage.COMPLETE, "fail": CallbackStage.ERROR}
UNDER_WAY = frozenset({"waiting", "queued", "queuing", "pending", "processing", "running", "generating"})
"""Words of senders for a job that is not over, in lower case."""
_NO_FAILURES = {"", "0", str(_CODE_OK)}
_MAX_CODE = 999_999
_MAX_STATE_CHARS = 60
_MAX_WORDS_CHARS = 2000
_BARE = re.compile(rb'\s*\{\s*"taskId"\s*:\s*"?[\w-]{1,200}"?\s*\}\s*')
