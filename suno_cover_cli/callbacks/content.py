"""What a callback says, read from bytes that any program may have sent."""

import re
from urllib.parse import quote

import msgspec

from suno_cover_cli.base.models import SignatureState, WireCallback, WireCallbackData, is_safe_task_id
from suno_cover_cli.base.text import with_whole_characters
from suno_cover_cli.callbacks.bodies import (
    Headers,
    TooLargeError,
    UnreadableError,
    is_too_deep,
    read_body,
)
from suno_cover_cli.callbacks.kinds import UNDER_WAY, CallbackKind, CallbackStage, Failure, classify

# The longest list and text worth keeping: a body of 1 MiB could name hundreds of thousands of images.
_MAX_IMAGES = 100
_MAX_MESSAGE_CHARS = 2000
_MAX_CODE = 999_999
_CODE_OK = 200


class NotACallbackError(Exception):
    """The bytes are not a callback; the text says why, in words of our own.

    Attributes:
        is_too_large: They are more than will be read, packed or unpacked.
    """

    def __init__(self, reason: str, *, is_too_large: bool = False) -> None:
        super().__init__(reason)
        self.is_too_large = is_too_large


class CallbackContent(msgspec.Struct, frozen=True, gc=False):
    """The body of a callback, made plain and still not believed.

    Attributes:
        task_id: Task id, of a cover task if it is about one; safe as a path component, which says nothing about
            whose it is.
        code: The service's verdict, 200 when all went well.
        message: The service's words, untrusted text.
        image_urls: The covers it names, untrusted; only the service's own record is downloaded from.
        kind: What was asked for.
        stage: How far that is; ``None`` where it is not known.
        items: How many images, tracks or texts it brings.
        packing: How the body came, such as ``gzip`` or ``form, gbk``; empty for plain JSON in UTF-8.
        failure: Why the job failed, where that is said beside ``code`` and ``message``.
        state: The sender's word for how far the job is; untrusted, mostly empty.
    """

    task_id: str
    code: int
    message: str
    image_urls: tuple[str, ...]
    kind: CallbackKind = CallbackKind.COVER
    stage: CallbackStage | None = CallbackStage.COMPLETE
    items: int = 0
    packing: str = ""
    failure: Failure | None = None
    state: str = ""

    @property
    def is_final(self) -> bool:
        """Whether no other callback of this task follows, as far as is known."""
        if self.stage is not None:
            return self.stage.is_final
        return self.kind is CallbackKind.UNKNOWN and not self.is_under_way

    @property
    def is_under_way(self) -> bool:
        """Whether the sender says that the job is not over."""
        return self.failure is None and self.state.lower() in UNDER_WAY

    @property
    def is_good(self) -> bool:
        """Whether it reports nothing that failed."""
        return self.code == _CODE_OK and self.failure is None and self.stage is not CallbackStage.ERROR

    @property
    def words(self) -> str:
        """The service's words on a failure, untrusted; empty where nothing failed."""
        if self.is_good:
            return ""
        said = self.failure.message if self.failure is not None else ""
        return said or (self.message if self.code != _CODE_OK else "")


class ReceivedRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request on an open path, a callback or not.

    Attributes:
        n: Its number on this path, counted from 1.
        id: Random and short, to name it by in a record; never all digits.
        ts: Epoch seconds at arrival.
        method: As sent.
        path: As requested, query included.
        headers: As sent; see :data:`~suno_cover_cli.callbacks.bodies.Headers`.
        body: As sent, byte for byte.
        remote: Address of the sender, as far as it is known: else of the peer, the tunnel's agent as a rule.
        content: What the callback says, or ``None`` when it is not a callback.
        reason: Why it is not a callback, in our own words; empty for a callback.
        signature: What is known about a callback's signature.
        signature_reason: What is wrong with it, in words of our own; empty when nothing is.
        duplicate_of: ``n`` of the first accepted callback with the same task, code and body, or ``None``.
        is_whole: All of the body is here: it neither broke off nor was it too large to be read.
    """

    n: int
    id: str
    ts: float
    method: str = "POST"
    path: str
    headers: Headers
    body: bytes
    remote: str = ""
    content: CallbackContent | None
    reason: str = ""
    signature: SignatureState = SignatureState.UNCHECKED
    signature_reason: str = ""
    duplicate_of: int | None = None
    is_whole: bool = True

    @property
    def query(self) -> str:
        """What follows the first ``?`` of the path."""
        return self.path.partition("?")[2]

    @property
    def task_id(self) -> str:
        """The task that the callback is about; empty when it is none."""
        return "" if self.content is None else self.content.task_id

    @property
    def why_refused(self) -> str:
        """Why it does not count as a callback; empty for one that does."""
        return self.reason or self.signature_reason

    @property
    def is_refused(self) -> bool:
        """Whether it is a callback whose signature is not acceptable."""
        return not self.signature.is_acceptable


_VISIBLE = re.compile(r"[!-~]*", re.ASCII)
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))
_CALLBACK = msgspec.json.Decoder(WireCallback, strict=False)
_DATA = msgspec.json.Decoder(WireCallbackData, strict=False)


def parse_callback(body: bytes, headers: Headers = ()) -> CallbackContent:
    """Read the body of a callback, of whichever kind and however it was packed.

    Tolerated: compression, any charset, forms, ``data`` as JSON text or left out, either spelling of the id, ids
    and codes of the other type, missing ``msg``, unknown fields, images that are not a list of texts (they count
    as none).

    Args:
        body: As sent.
        headers: As sent; they are hints and may be wrong.

    Raises:
        NotACallbackError: It cannot be read as JSON, or has no numeric code or no usable task id.
    """
    try:
        body, packing = read_body(body, headers)
    except UnreadableError as error:
        raise NotACallbackError(str(error), is_too_large=isinstance(error, TooLargeError)) from error
    if is_too_deep(body):
        raise NotACallbackError("nested too deeply")
    try:
        wire = _CALLBACK.decode(body)
        raw = _raw_data(wire, body)
        data = _DATA.decode(raw)
    except msgspec.ValidationError as error:
        # Without the decoder's words: they may quote a key of the sender's.
        shape = "a form" if packing.endswith("form") else "JSON"
        raise NotACallbackError(f"{shape}, but not {{code, data: {{taskId}}}}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise NotACallbackError("not JSON") from error
    if not -_MAX_CODE <= wire.code <= _MAX_CODE:
        raise NotACallbackError("its code is not a valid code")
    task_id = _plain_id(data.taskId) or _plain_id(data.task_id)
    if not is_safe_task_id(task_id):
        raise NotACallbackError("no task id, or one that cannot be the service's")
    found = classify(wire.code, data, raw)
    message = wire.msg if isinstance(wire.msg, str) else ""
    return CallbackContent(
        task_id,
        wire.code,
        message[:_MAX_MESSAGE_CHARS],
        _plain_images(found.images),
        found.kind,
        found.stage,
        found.items,
        packing,
        found.failure,
        found.state,
    )


def quoted(target: str) -> str:
    """Percent-encode whatever of a request's target is not visible ASCII: as it is, it cannot be sent again."""
    if _VISIBLE.fullmatch(target):
        return target
    return quote(target.encode("utf-8", "surrogateescape"), safe=_PRINTABLE)


def _raw_data(wire: WireCallback, body: bytes) -> bytes:
    """Return ``data`` as JSON; of a flat callback, all of it."""
    raw = b"null" if wire.data is msgspec.UNSET else bytes(wire.data)
    if raw == b"null":
        return body
    if raw.startswith(b'"'):
        raw = with_whole_characters(msgspec.json.decode(raw, type=str).encode())
        if is_too_deep(raw):
            raise NotACallbackError("nested too deeply")
    return raw


def _plain_id(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _plain_images(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple([url for url in value[:_MAX_IMAGES] if isinstance(url, str)])
