"""What ``listen --json`` prints: one object a line, the shapes of which scripts rely on.

Lines are ASCII: whatever a body holds, no terminal draws it and no newline breaks the line.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.text import clean, with_whole_characters
from suno_cover_cli.callbacks.bodies import Headers, UnreadableError, is_too_deep, read_body
from suno_cover_cli.callbacks.content import CallbackContent, ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Delivery, Exchange
from suno_cover_cli.callbacks.kinds import CallbackKind, CallbackStage
from suno_cover_cli.journal.recordings import ForwardReport, RecordedAnswer, Recording
from suno_cover_cli.listen.events import ListenEvent, in_thousandths, joined_headers, report_delivery
from suno_cover_cli.listen.words import content_of

# The only newlines in JSON of msgspec's making are those between the lines.
_NOT_ASCII = re.compile(r"[^\n -~]")
_ENCODER = msgspec.json.Encoder()


class ReadyLine(msgspec.Struct, frozen=True, kw_only=True):
    """Callbacks get through; comes again after each loss. ``url`` is what to give to the service."""

    v: Literal[1] = 1
    type: Literal["ready"] = "ready"
    url: str
    local: str
    inspector: str | None


class PageLine(msgspec.Struct, frozen=True, kw_only=True):
    """Where ``--inspect`` shows requests; before the first ``ready``. The address alone lets a user see them."""

    v: Literal[1] = 1
    type: Literal["page"] = "page"
    url: str


class ArrivalLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the lines of callbacks and of other requests share.

    Attributes:
        v: Version of this shape.
        type: ``event`` or ``request``.
        n: Its number in the record, which ``replay`` takes; ``None`` when it is not recorded.
        id: Names it as well.
        ts: Epoch seconds at arrival.
        method: As sent.
        path: As requested.
        query: What followed the ``?``; empty without one.
        remote: Address of the sender, where the tunnel's agent tells it.
        headers: Name in lower case -> value; what came several times is joined with commas, cookies with newlines.
        body_b64: The bytes as sent; printed as base64.
        answered: Status of the answer; ``None`` when it is not known.
        latency_ms: From the end of the request's head to the end of the answer.
        forward: What the receiver behind us did; ``None`` when it was not sent on.
    """

    v: Literal[1] = 1
    type: str
    n: int | None
    id: str
    ts: float
    method: str
    path: str
    query: str
    remote: str
    headers: dict[str, str]
    body_b64: bytes
    answered: int | None = None
    latency_ms: float | None = None
    forward: ForwardReport | None = None


class FailureReport(msgspec.Struct, frozen=True, gc=False):
    """What ``failCode`` and ``failMsg``, or ``errorCode`` and ``errorMessage``, of a callback say, cleaned."""

    code: str
    message: str


class EventLine(ArrivalLine, frozen=True, kw_only=True, gc=False):
    """One callback.

    Attributes:
        body: Unpacked and parsed, a form as an object of its fields; ``None`` when a part of it is beyond JSON.
        kind: ``cover``, ``music``, ``lyrics``, ``wav``, ``video``, ``vocal``, ``market`` or ``unknown``.
        stage: ``text``, ``first``, ``complete``, ``error``; ``None`` where it is not known.
        task_id: The task that it is about.
        code: The service's verdict.
        message: The service's words, cleaned.
        images: The addresses of the covers that it names.
        duplicate_of: ``n`` of the first one of its like, or ``None``.
        signature: ``ok``, ``missing``, ``bad``, ``stale`` or ``unchecked``.
        signature_reason: What is wrong with it; ``None`` when nothing is.
        failure: Why the job failed, ``{code, message}``; only there where the callback says so beside ``code`` and
            ``message``.
    """

    type: Literal["event"] = "event"
    body: Any
    kind: CallbackKind
    stage: CallbackStage | None
    task_id: str
    code: int
    message: str
    images: tuple[str, ...]
    duplicate_of: int | None = None
    signature: SignatureState
    signature_reason: str | None = None
    failure: FailureReport | msgspec.UnsetType = msgspec.UNSET


class RequestLine(ArrivalLine, frozen=True, kw_only=True, gc=False):
    """One request that is not a callback; ``reason`` says why not."""

    type: Literal["request"] = "request"
    reason: str


class ForwardedLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a further receiver did with the event or request of this number; the sender does not see it."""

    v: Literal[1] = 1
    type: Literal["forwarded"] = "forwarded"
    n: int | None
    id: str
    forward: ForwardReport


class ReconnectingLine(msgspec.Struct, frozen=True, kw_only=True):
    """Callbacks do not get through just now."""

    v: Literal[1] = 1
    type: Literal["reconnecting"] = "reconnecting"
    reason: str


class EndLine(msgspec.Struct, frozen=True, kw_only=True):
    """The last line. ``events`` counts the event lines."""

    v: Literal[1] = 1
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


def event_line(event: ListenEvent) -> EventLine | RequestLine:
    """Make the line of an event, answered or not yet."""
    request = event.request
    return _line(event.n, request, request.content, event.answer, duplicate_of=event.duplicate_of)


def recording_line(recording: Recording) -> EventLine | RequestLine:
    """Make the same line of a recorded event; of which one it is a duplicate is not recorded."""
    content = None
    if recording.kind is not None:
        content = content_of(recording, recording.kind)
    return _line(recording.n, recording, content, recording.answer)


def _line(
    n: int | None,
    request: ReceivedRequest | Recording,
    content: CallbackContent | None,
    answer: RecordedAnswer | None,
    *,
    duplicate_of: int | None = None,
) -> EventLine | RequestLine:
    path, _, query = request.path.partition("?")
    if content is None:
        return RequestLine(
            n=n,
            id=request.id,
            ts=in_thousandths(request.ts),
            method=request.method,
            path=path,
            query=query,
            remote=request.remote,
            headers=joined_headers(request.headers),
            body_b64=request.body,
            answered=None if answer is None else answer.status,
            latency_ms=None if answer is None else answer.latency_ms,
            forward=None if answer is None else answer.forward,
            reason=request.reason,
        )
    # Written out once more: handing the shared fields on as a dict takes as long as parsing the callback.
    return EventLine(
        n=n,
        id=request.id,
        ts=in_thousandths(request.ts),
        method=request.method,
        path=path,
        query=query,
        remote=request.remote,
        headers=joined_headers(request.headers),
        body_b64=request.body,
        answered=None if answer is None else answer.status,
        latency_ms=None if answer is None else answer.latency_ms,
        forward=None if answer is None else answer.forward,
        body=_parsed(request.body, request.headers, content.packing),
        kind=content.kind,
        stage=content.stage,
        task_id=content.task_id,
        code=content.code,
        message=clean(content.message),
        images=content.image_urls,
        duplicate_of=duplicate_of,
        signature=request.signature,
        signature_reason=request.signature_reason or None,
        failure=_report_failure(content),
    )


def _report_failure(content: CallbackContent) -> FailureReport | msgspec.UnsetType:
    failure = content.failure
    return msgspec.UNSET if failure is None else FailureReport(clean(failure.code), clean(failure.message))


class JsonView:
    """Prints each request on the path once it was answered. Those to other paths are counted on stderr."""

    def __init__(self, write: Callable[[str, int], None]) -> None:
        self._write = write
        self._lines: list[EventLine | RequestLine | ForwardedLine] = []

    def show_arrival(self, event: ListenEvent) -> None:
        """See :class:`EventView`; the line comes with the answer."""

    def show_answer(self, event: ListenEvent, exchange: Exchange) -> None:  # noqa: ARG002 -- the event knows it
        """See :class:`EventView`."""
        self._lines.append(event_line(event))

    def show_cut_off(self, event: ListenEvent) -> None:
        """See :class:`EventView`; what it was answered is not known."""
        self._lines.append(event_line(event))

    def show_delivery(self, event: ListenEvent, delivery: Delivery) -> None:
        """See :class:`EventView`."""
        self._lines.append(ForwardedLine(n=event.n, id=event.request.id, forward=report_delivery(delivery)))

    def show_unmatched(self, exchange: Exchange) -> None:
        """See :class:`EventView`."""

    def flush(self) -> None:
        """See :class:`EventView`."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(ascii_lines(lines), len(lines))


def _parsed(body: bytes, headers: Headers, packing: str) -> Any:
    try:
        if not packing and body.isascii():
            return msgspec.json.decode(with_whole_characters(body))  # its depth was looked at when it was judged
        plain = read_body(body, headers).json
        return None if is_too_deep(plain) else msgspec.json.decode(plain)
    except (UnreadableError, ValueError):
        return None
