"""What ``listen --json`` prints: one object a line, the shapes of which scripts rely on.

Lines are ASCII: whatever a body holds, no terminal draws it and no newline breaks the line.
"""

import binascii
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import NotACallbackError, parse_callback
from suno_cover_cli.callbacks.exchanges import Exchange
from suno_cover_cli.journal.recordings import Recording
from suno_cover_cli.listen.events import ListenEvent

# The only newlines in JSON of msgspec's making are those between the lines.
_NOT_ASCII = re.compile(r"[^\n -~]")
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()


class ReadyLine(msgspec.Struct, frozen=True, kw_only=True):
    """Callbacks get through; comes again after each loss. ``url`` is what to give to the service."""

    v: Literal[1] = 1
    type: Literal["ready"] = "ready"
    url: str
    local: str
    inspector: str | None


class ForwardLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the receiver behind us did; ``status`` is ``None`` when it did not answer."""

    url: str
    status: int | None
    latency_ms: float


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """One event.

    Attributes:
        v: Version of this shape.
        type: Always ``event``.
        n: Its number in the record, which ``replay`` takes; ``None`` when it is not recorded (refused ones are
            not).
        id: Names it as well.
        ts: Epoch seconds at arrival.
        task_id: Cover task id.
        code: The service's verdict.
        message: The service's words, cleaned.
        images: The addresses it names.
        signature: ``ok``, ``missing``, ``bad``, ``stale`` or ``unchecked``.
        duplicate_of: ``n`` of the first one of its like, or ``None``.
        headers: Name in lower case -> value; what came several times is joined with commas.
        body: Parsed, or ``None`` when a part of it is beyond JSON.
        body_b64: The bytes as sent.
        answered: Status of the answer; ``None`` when it is not known any more.
        latency_ms: From the end of the request's head to the end of the answer.
        forward: See :class:`ForwardLine`; ``None`` when it was not sent on.
    """

    v: Literal[1] = 1
    type: Literal["event"] = "event"
    n: int | None
    id: str
    ts: float
    task_id: str
    code: int
    message: str
    images: tuple[str, ...]
    signature: SignatureState
    duplicate_of: int | None = None
    headers: dict[str, str]
    body: Any
    body_b64: str
    answered: int | None = None
    latency_ms: float | None = None
    forward: ForwardLine | None = None


class ReconnectingLine(msgspec.Struct, frozen=True, kw_only=True):
    """Callbacks do not get through just now."""

    type: Literal["reconnecting"] = "reconnecting"
    reason: str


class EndLine(msgspec.Struct, frozen=True, kw_only=True):
    """The last line. ``events`` counts the event lines."""

    type: Literal["end"] = "end"
    events: int
    reason: str


def ascii_line(value: Any) -> str:
    """Encode a value as one line of JSON in ASCII."""
    return ascii_lines([value])


def ascii_lines(values: Sequence[Any]) -> str:
    """Encode values as lines of JSON in ASCII; no newline follows the last one."""
    text = _ENCODER.encode_lines(values)[:-1].decode()
    return text if text.isascii() and "\x7f" not in text else _NOT_ASCII.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFFFF:  # noqa: PLR2004 -- beyond it, JSON writes two halves as UTF-16 does
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def event_line(event: ListenEvent, exchange: Exchange) -> EventLine:
    """Make the line of an event that was answered."""
    callback, forwarded = event.callback, event.forwarded
    return EventLine(
        n=event.n,
        id=callback.id,
        ts=round(callback.ts, 3),
        task_id=callback.task_id,
        code=callback.code,
        message=clean(callback.message),
        images=callback.image_urls,
        signature=callback.signature,
        duplicate_of=event.duplicate_of,
        headers=_joined(callback.headers),
        body=_parsed(callback.body),
        body_b64=binascii.b2a_base64(callback.body, newline=False).decode(),
        answered=exchange.status,
        latency_ms=round(exchange.latency_ms, 3),
        forward=None
        if forwarded is None
        else ForwardLine(url=forwarded.url, status=forwarded.status, latency_ms=round(forwarded.latency_ms, 3)),
    )


def recording_line(recording: Recording) -> EventLine:
    """Make the same line of a recorded event; what it was answered is not recorded."""
    message = ""
    images: tuple[str, ...] = ()  # a later version may read more strictly than the one that recorded it
    with suppress(NotACallbackError):
        content = parse_callback(recording.body)
        message, images = content.message, content.image_urls
    return EventLine(
        n=recording.n,
        id=recording.id,
        ts=round(recording.ts, 3),
        task_id=recording.task_id,
        code=recording.code,
        message=clean(message),
        images=images,
        signature=recording.signature,
        headers=_joined(recording.headers),
        body=_parsed(recording.body),
        body_b64=binascii.b2a_base64(recording.body, newline=False).decode(),
    )


class JsonView:
    """Prints each event once it was answered. Strangers have no line: they are counted on stderr."""

    def __init__(self, write: Callable[[str, int], None]) -> None:
        self._write = write
        self._lines: list[EventLine] = []

    def show_arrival(self, event: ListenEvent) -> None:
        """See :class:`EventView`; the line comes with the answer."""

    def show_answer(self, event: ListenEvent, exchange: Exchange) -> None:
        """See :class:`EventView`."""
        self._lines.append(event_line(event, exchange))

    def show_stranger(self, exchange: Exchange) -> None:
        """See :class:`EventView`."""

    def flush(self) -> None:
        """See :class:`EventView`."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(ascii_lines(lines), len(lines))


def _joined(headers: Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _parsed(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None
