"""What a callback says, read from bytes that anybody may have sent."""

import msgspec

from suno_cover_cli.base.models import SignatureState, WireCallback, is_safe_task_id

MAX_BODY_BYTES = 1024 * 1024
"""A real callback has a few hundred bytes; the listener answers 413 above this."""

# The longest list and text worth keeping: a body of 1 MiB could name hundreds of thousands of images.
_MAX_IMAGES = 100
_MAX_MESSAGE_CHARS = 2000
_MAX_CODE = 999_999
# Counted, not decoded: a decoder that goes down to the interpreter's limit fails whatever is called meanwhile,
# such as the finalizers of connections, and that would be seen on the terminal.
_MAX_BRACKETS = 500
_BOM = b"\xef\xbb\xbf"

Headers = tuple[tuple[str, str], ...]
"""Header lines in the order and spelling they were sent."""


class NotACallbackError(Exception):
    """The bytes are not a callback; the text says why, in words of our own."""


class CallbackContent(msgspec.Struct, frozen=True, gc=False):
    """The body of a callback, made plain and still not believed.

    Attributes:
        task_id: Cover task id; safe as a path component, which says nothing about whose it is.
        code: The service's verdict, 200 for a cover that was made.
        message: The service's words, untrusted text.
        image_urls: What it names, untrusted; only the service's own record is downloaded from.
    """

    task_id: str
    code: int
    message: str
    image_urls: tuple[str, ...]


class ReceivedCallback(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request that was a callback.

    Attributes:
        n: Its number on this path, counted from 1.
        id: Random and short, to name it by in a record; never all digits.
        ts: Epoch seconds at arrival.
        path: As requested, query included.
        task_id: See :class:`CallbackContent`.
        code: See :class:`CallbackContent`.
        message: See :class:`CallbackContent`.
        image_urls: See :class:`CallbackContent`.
        signature: What is known about its signature.
        headers: As sent; see :data:`Headers`.
        body: As sent, byte for byte.
        duplicate_of: ``n`` of the first accepted one with the same task, code and body, or ``None``.
        remote: Address of the peer: the tunnel's agent, as a rule.
    """

    n: int
    id: str
    ts: float
    path: str
    task_id: str
    code: int
    message: str
    image_urls: tuple[str, ...]
    signature: SignatureState
    headers: Headers
    body: bytes
    duplicate_of: int | None
    remote: str


_DECODER = msgspec.json.Decoder(WireCallback, strict=False)


def parse_callback(body: bytes) -> CallbackContent:
    """Read the body of a callback.

    Tolerated: either spelling of the id, ids and codes of the other type, missing ``msg``, unknown fields,
    a byte order mark, images that are no list of texts (they count as none).

    Raises:
        NotACallbackError: It is not JSON, or has no numeric code or no usable task id.
    """
    if body.count(b"[") + body.count(b"{") > _MAX_BRACKETS:
        raise NotACallbackError("nested too deeply")
    try:
        wire = _DECODER.decode(body.removeprefix(_BOM))
    except msgspec.ValidationError as error:
        # Without the decoder's words: they may quote a key of the sender's.
        raise NotACallbackError("JSON, but not {code, data: {taskId}}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise NotACallbackError("not JSON in UTF-8") from error
    if not -_MAX_CODE <= wire.code <= _MAX_CODE:
        raise NotACallbackError("its code is no code")
    task_id = _plain_id(wire.data.taskId) or _plain_id(wire.data.task_id)
    if not is_safe_task_id(task_id):
        raise NotACallbackError("no task id, or one that cannot be the service's")
    message = wire.msg if isinstance(wire.msg, str) else ""
    return CallbackContent(task_id, wire.code, message[:_MAX_MESSAGE_CHARS], _plain_images(wire.data.images))


def _plain_id(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _plain_images(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple([url for url in value[:_MAX_IMAGES] if isinstance(url, str)])
