"""What ``trigger`` and ``replay`` share: the receiver, a body of one's own, what is printed, how it ends."""

import re
from collections.abc import Iterable
from typing import BinaryIO

import msgspec

from suno_cover_cli.base.errors import UsageError, reason_of
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.files import read_given
from suno_cover_cli.base.models import json_text
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import OF_ONE_BODY, WORD_CHAR, Headers
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Delivery, Outcome
from suno_cover_cli.callbacks.samples import Expectation, is_expected
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.callbacks.sending.targets import parse_header, parse_target
from suno_cover_cli.journal.recordings import Recording
from suno_cover_cli.listen.words import said_by, without_tags
from suno_cover_cli.options.groups import ReceiverOptions
from suno_cover_cli.ui.output import Output
from suno_cover_cli.wiring.context import Context

_MAX_BODY_BYTES = 64 * 1024 * 1024
_SHOWN_BODY_CHARS = 500

_WORD = re.compile(f"{WORD_CHAR}+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_USUALLY_BODILESS = {"GET", "HEAD", "OPTIONS", "DELETE"}


class SentLine(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery as scripts read it.

    Attributes:
        v: Version of this shape.
        type: Always ``delivery``.
        name: Of the sample, or ``event-N`` of a recorded one.
        task_id: In the body; empty when there is none.
        url: Where to.
        outcome: ``answered``, ``unreachable``, ``timed_out``, or ``failed``: reached, but no whole answer came.
        status: Of the answer, whole or not.
        latency_ms: Until its end, or until it was given up.
        body: The start of the receiver's answer, cleaned.
        error: Why there is no answer, or no end of it.
        advice: What helps, where there is something to say.
        expected: What a receiver may answer, such as ``401`` or ``4xx``.
        is_expected: Whether it did.
    """

    v: int = 1
    type: str = "delivery"
    name: str
    task_id: str
    url: str
    outcome: Outcome
    status: int | None
    latency_ms: float
    body: str
    error: str
    advice: str
    expected: Expectation
    is_expected: bool


def make_sender(options: ReceiverOptions, context: Context) -> CallbackSender:
    """Make what sends to the receiver of a command, not entered yet.

    Raises:
        UsageError: A receiver or a header that cannot be.
    """
    target = parse_target(options.to)
    context.output.redactor.add(target.login)
    headers = tuple(map(parse_header, options.headers or ()))
    return CallbackSender(target, clock=context.clock, headers=headers, is_insecure=options.is_insecure)


def read_body_file(path: str, stdin: BinaryIO) -> bytes:
    """Read the file of ``--body``, or standard input when it is ``-``.

    Raises:
        UsageError: It cannot be read, or is larger than 64 MiB.
    """
    try:
        body = read_given(path, stdin, _MAX_BODY_BYTES)
    except OSError as error:
        hint = "Give --body a file, or - for standard input."
        raise UsageError(f"cannot read {clean(path, 200)}: {reason_of(error)}", hint=hint) from None
    if len(body) > _MAX_BODY_BYTES:
        raise UsageError(f"{clean(path, 200)} is larger than 64 MiB", hint="A callback has a few hundred bytes.")
    return body


def write_delivery(
    output: Output, name: str, task_id: str, delivery: Delivery, expectation: Expectation, *, advised: set[str]
) -> None:
    """Print one delivery: an object under ``--json``, else status, latency and the answer's first words.

    ``advised`` collects the hints that were given: of many deliveries that fail alike, one hint is enough.
    """
    body = said_by(delivery, 8 * _SHOWN_BODY_CHARS)
    is_right = is_expected(delivery.answered, expectation)
    if output.is_json:
        line = SentLine(
            name=name,
            task_id=task_id,
            url=clean(delivery.url, 500),
            outcome=delivery.outcome,
            status=delivery.status,
            latency_ms=round(delivery.latency_ms, 3),
            body=clean(body, _SHOWN_BODY_CHARS),
            error=delivery.error,
            advice=delivery.advice,
            expected=expectation,
            is_expected=is_right,
        )
        output.write_line(json_text(line))
        return
    said = f"{delivery.url}: {delivery.error}"
    if delivery.answered is not None:
        said = clean(without_tags(body), _SHOWN_BODY_CHARS)
    status = str(delivery.answered or delivery.outcome.replace("_", " "))
    if not is_right and delivery.answered is not None:
        status += f" (expected {' or '.join(expectation)})"
    output.write_row(f"{name}  {task_id or '-'}  {status}  {delivery.latency_ms:.0f} ms  {said}".rstrip(), hang=4)
    if not is_right and delivery.advice and delivery.advice not in advised:
        advised.add(delivery.advice)
        output.write_labelled("hint", delivery.advice)


def exit_code_of(deliveries: Iterable[tuple[Delivery, Expectation]]) -> ExitCode:
    """Say in one code whether the receiver did what it should each time."""
    sent = list(deliveries)
    if all(is_expected(delivery.answered, expectation) for delivery, expectation in sent):
        return ExitCode.OK
    if all(delivery.outcome is not Outcome.ANSWERED for delivery, _ in sent):
        return ExitCode.UNAVAILABLE
    return ExitCode.FAILURE


async def replay_recording(
    recording: Recording,
    sender: CallbackSender,
    *,
    method: str | None = None,
    query: str | None = None,
    headers: Headers | None = None,
    body: bytes | None = None,
) -> Delivery:
    """Send a recorded request to a receiver, old signature included: that is what a replay is for.

    Args:
        recording: What to send.
        sender: Entered.
        method: Instead of the recorded one, like all that follows.
        query: Without its question mark.
        headers: All of them.
        body: As it is to be sent.

    Raises:
        UsageError: Its method is not one of HTTP, or the body may be recorded in part and there is no other.
    """
    method = recording.method if method is None else method
    if _WORD.fullmatch(method) is None:
        raise UsageError(
            f"event {recording.n} cannot be sent again: its method is not one of HTTP", code="method_not_http"
        )
    if headers is None:
        headers = headers_to_send(recording)
        if body is not None:
            headers = tuple(pair for pair in headers if pair[0].lower() not in OF_ONE_BODY)
    if body is None and (body := body_to_send(recording)) is None:
        raise UsageError(
            f"event {recording.n} may lack a part of its body: {recording.reason}",
            code="event_not_whole",
            hint="Say what its body is: --body FILE.",
        )
    return await sender.deliver(
        body,
        headers,
        method=method,
        query=recording.query if query is None else query,
    )


def headers_to_send(request: Recording | ReceivedRequest) -> Headers:
    """Return the headers to send again: of a head that could not be read, those that can stand in another."""
    if request.is_whole:
        return request.headers
    return tuple(
        (name.strip(" \t"), value)
        for name, value in request.headers
        if _WORD.fullmatch(name.strip(" \t")) and not _CONTROL.search(value)
    )


def body_to_send(request: Recording | ReceivedRequest) -> bytes | None:
    """Return the body to send again; ``None`` where it is not certain that it is all there.

    A head that could not be read, for its address or for one of its fields, may still say how long the body is.
    """
    if request.is_whole:
        return request.body
    fields = [(name.lower(), value.strip().removeprefix("+")) for name, value in headers_to_send(request)]
    lengths = [value for name, value in fields if name == "content-length"]
    is_chunked = any(name == "transfer-encoding" for name, _ in fields)
    if not lengths and not is_chunked and not request.body and request.method in _USUALLY_BODILESS:
        return b""
    if lengths and not is_chunked and all(_LENGTH.fullmatch(value) for value in lengths):
        # Of two that differ, the longer one: with it the body is all there by either.
        length = max(map(int, lengths))
        if length <= len(request.body):
            return request.body[:length]
    return None
