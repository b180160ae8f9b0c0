"""What ``listen`` says of events, in words: what came, what it was answered, what is recorded."""

import re
import time
import unicodedata
from html import unescape

import msgspec

from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.text import cells_of, clean, cut
from suno_cover_cli.callbacks.bodies import (
    BrokenOffError,
    Headers,
    UnreadableError,
    codings_of,
    header_value,
    unpack,
)
from suno_cover_cli.callbacks.charsets import declared_charset, decode_text
from suno_cover_cli.callbacks.content import CallbackContent, NotACallbackError, ReceivedRequest, parse_callback
from suno_cover_cli.callbacks.exchanges import Delivery, Exchange, Outcome, decoded
from suno_cover_cli.callbacks.kinds import CallbackKind, CallbackStage
from suno_cover_cli.journal.recordings import RecordedAnswer, Recording
from suno_cover_cli.listen.events import ListenEvent
from suno_cover_cli.service.codes import CODE_OK, describe_code
from suno_cover_cli.ui.words import format_bytes, format_count, format_duration

_MAX_MESSAGE_CHARS = 120
_MAX_WORD_CHARS = 40
_MAX_SAID_BYTES = 500
# Pages of errors begin with what is not shown.
_MAX_PAGE_BYTES = 4096
_PAGE = re.compile(r"\s*<(!doctype html|html|head|title|body|h1|pre|p)\b", re.IGNORECASE)
_UNSEEN = re.compile(r"<(style|script)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]*(>|\Z)")
_LEAST_QUOTED_CELLS = 16
_LAYOUT = "\t\n\r\f\x1b"
_ODD_CATEGORIES = {"Cc", "Cn", "Co", "Cs"}  # controls, and what no character is assigned to
_MOST_ODD = 0.05
_USUAL_CELLS = 60  # of a line's text, on a terminal of 80 columns
# What the provider's pages say of the codes that callbacks of other kinds than covers come with.
_SISTER_MEANINGS = {
    400: "the request was refused",
    408: "it took too long at the service",
    413: "it matches an existing work",
    500: "server fault",
    501: "generation failed",
    531: "generation failed, credits were returned",
}
_ITEMS = {CallbackKind.COVER: "image", CallbackKind.MUSIC: "track", CallbackKind.LYRICS: "text"}
_IN_STAGES = {CallbackKind.MUSIC, CallbackKind.LYRICS}


def describe_arrival(event: ListenEvent, cells: int = 0) -> str:
    """Say what came.

    Args:
        event: A callback or not.
        cells: Columns of one line, 0 for any: long words of the service are cut for it, and how much there is of
            a good callback is left out where all the rest has room then.
    """
    request = event.request
    query, size = clean(request.query, 200), format_bytes(len(request.body))
    if request.content is None:
        method = clean(request.method, 20)
        why = _describe_reason(request)
        return f"{method}{f' ?{query}' if query else ''}, {size}{f': {why}' if why else ''}"
    content = request.content
    behind = "".join(f", {part}" for part in (content.packing, f"?{query}" if query else "") if part)
    what = f"{content.task_id} {describe_content(content)}, {size}"
    said = clean(content.words, _MAX_MESSAGE_CHARS)
    if said:
        # A failure takes two lines of a usual terminal, and the service's words get what is left of them.
        lines = 2 if cells >= _USUAL_CELLS else 3
        room = max(lines * cells - cells_of(what) - 8, 20) if cells else len(said) + _MAX_MESSAGE_CHARS
        what += f', "{cut_at_word(said, room)}"'
    elif cells and cells_of(what + behind) > cells:
        shorter = (f"{content.task_id} {part}" for part in (describe_content(content), describe_kind(content)))
        what = next((one for one in shorter if cells_of(one + behind) <= cells), what)
    return what + behind


def _describe_reason(request: ReceivedRequest | Recording) -> str:
    """Say why a request does not count as a callback; nothing where its method, which stands beside, says so."""
    return "" if request.reason.endswith(", not POST") else request.reason


def describe_in_list(event: ListenEvent) -> str:
    """Say what came where a list shows method and query and cuts the line: what it is stands first."""
    request = event.request
    content, size = request.content, format_bytes(len(request.body))
    if content is None:
        return ", ".join(filter(None, [_describe_reason(request), size]))
    message = clean(content.words, _MAX_MESSAGE_CHARS)
    said = f'"{message}"' if message else ""
    return ", ".join(filter(None, [describe_content(content), said, content.task_id, size, content.packing]))


def describe_content(content: CallbackContent) -> str:
    """Say what a callback announces: its kind and stage, the meaning of its code, how much it brings."""
    has_items = content.items or (content.kind is CallbackKind.COVER and content.code == CODE_OK)
    items = f", {format_count(content.items, _ITEMS.get(content.kind, 'item'))}" if has_items else ""
    return describe_kind(content) + items


def describe_kind(content: CallbackContent) -> str:
    """Say the same without how much."""
    if content.kind is CallbackKind.COVER:
        return _describe_code(content)
    what = "of a kind unknown here" if content.kind is CallbackKind.UNKNOWN else content.kind.value
    if content.stage is not None and (content.kind in _IN_STAGES or content.stage is CallbackStage.ERROR):
        what += f" {content.stage}"
    if content.code != CODE_OK:
        what += f", {_describe_code(content)}"
    if content.failure is not None and content.failure.code not in {"", str(content.code)}:
        what += f", code {clean(content.failure.code, _MAX_WORD_CHARS)}"
    if content.kind is CallbackKind.UNKNOWN and content.is_good:
        # That its envelope says 200 does not mean that the job is done.
        what += f', "{clean(content.state, _MAX_WORD_CHARS)}"' if content.state else ", code 200"
    return what


def _describe_code(content: CallbackContent) -> str:
    code = content.code
    if content.kind is CallbackKind.COVER:
        meaning = describe_code(code)
        return meaning if meaning.startswith("code") else f"{code} {meaning}"
    return f"{code} {_SISTER_MEANINGS[code]}" if code in _SISTER_MEANINGS else f"code {code}"


def describe_answer(
    event: ListenEvent, exchange: Exchange, cells: int = 0, *, names_receiver: bool = False, quote: str = ""
) -> str:
    """Say what it was answered, how fast, whether it was here before, and what its signature is worth.

    Args:
        event: It.
        exchange: The answer.
        cells: Columns of one line, 0 for any: that a signature was not checked gets no line of its own, nor does
            the id of an event that has a number, where a usual line has room for all the rest.
        names_receiver: There are several receivers: say which one's answer it is.
        quote: Of the receiver's words, as :func:`describe_said` returns it; cut to what a line has room for.
    """
    request = event.request
    parts = [f"in {_describe_latency(exchange.latency_ms)}"]
    if exchange.is_answer_lost:
        parts.append("but the answer did not get through")
    if request.duplicate_of is not None:
        parts.append("a duplicate" if event.duplicate_of is None else f"a duplicate of {event.duplicate_of}")
    unchecked = ""
    if request.content is not None:
        if request.signature is SignatureState.UNCHECKED:
            unchecked = f", signature {request.signature}"
        else:
            parts.append(f"signature {request.signature}")
        parts += [request.signature_reason] if request.signature_reason else []
    by = ""
    if names_receiver and event.delivery is not None and event.delivery.answered is not None:
        by = f"from {event.delivery.url} "
    said, name = f"{exchange.status} {by}{', '.join(parts)}", f", {request.id}"
    behind = f", {quote}" if quote else ""
    if cells and cells_of(f"{said}{unchecked}{name}{behind}") > cells:
        unchecked = ""
        least = _LEAST_QUOTED_CELLS + 2 if quote else 0
        is_usual = cells >= _USUAL_CELLS and event.n is not None
        if is_usual and cells_of(said + name) + least > cells >= cells_of(said) + least:
            name = ""
        room = cells - cells_of(f"{said}{name}, ")
        # A quote that has no room beside the answer has a line of its own.
        behind = f", {_cut_quote(quote, room if room >= _LEAST_QUOTED_CELLS else cells)}" if quote else ""
    return f"{said}{unchecked}{name}{behind}"


def describe_request(event: ListenEvent, exchange: Exchange) -> str:
    """Say what is not a callback, and what it was answered."""
    lost = ", but that did not get through" if exchange.is_answer_lost else ""
    return f"{describe_arrival(event)}; {exchange.status} in {_describe_latency(exchange.latency_ms)}{lost}"


def describe_unmatched(exchange: Exchange) -> tuple[str, str]:
    """Say what came to another path, or was no request, and what it was answered."""
    what = "bytes that are not a request"
    if exchange.method:
        length = next((value for name, value in exchange.headers if name.lower() == "content-length"), "0")
        size = f", {format_bytes(int(length))}" if length.isdecimal() and len(length) < 20 else ""  # noqa: PLR2004
        what = f"{clean(exchange.method, 20)} {clean(exchange.path, 200)}{size}"
    answer = f"{exchange.status}: {exchange.reason}" if exchange.status else f"cut off: {exchange.reason}"
    return what, answer


def describe_delivery(delivery: Delivery) -> str:
    """Say what a further receiver did."""
    latency = _describe_latency(delivery.latency_ms)
    if delivery.answered is None:
        return f"no answer from {delivery.url}"  # why is on the line below
    return f"{delivery.answered} from {delivery.url} in {latency}, which the sender does not see"


def describe_trouble(delivery: Delivery) -> str:
    """Say what is wrong with what the receiver behind us did, and what helps; empty when nothing is."""
    advice = clean(delivery.advice, 300)
    if delivery.outcome is Outcome.TIMED_OUT:
        return f"{delivery.error}; the service itself waits 15 s, so {advice}"
    if delivery.answered is None:
        return f"{clean(delivery.error, 300)}{f'; {advice}' if advice else ''}"
    if delivery.is_accepted:
        return ""
    if delivery.answered < 300:  # noqa: PLR2004 -- HTTP's own
        return f"answered {delivery.answered}; the service is documented to want 200"
    return advice or "the service would try again after 1, 5 and 15 minutes"


def cut_at_word(text: str, cells: int) -> str:
    """Cut what does not fit, behind a whole word where there is one beyond the indentation."""
    line = cut(text, cells)
    whole, space, _ = line.rpartition(" ")
    return f"{whole} …" if line != text and space and whole.strip() else line


def _cut_quote(quote: str, cells: int) -> str:
    if cells_of(quote) <= cells or not quote.endswith('"'):
        return quote
    return f'{cut(quote[:-1], cells - 1)}"'


def describe_said(delivery: Delivery) -> str:
    """Return the first words of a receiver's answer between quotation marks, or in brackets what it is instead."""
    text = without_tags(said_by(delivery, _MAX_PAGE_BYTES))
    lines = (clean(line, _MAX_SAID_BYTES) for line in text.splitlines())
    line = next(filter(None, lines), "")
    return line if not line or (line[0], line[-1]) == ("(", ")") else f'"{line}"'


def without_tags(text: str) -> str:
    """Return what a reader of a page of HTML sees, in one line; any other text as it is."""
    if not _PAGE.match(text):
        return text
    return " ".join(unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text))).split())


def said_by(delivery: Delivery, most_bytes: int) -> str:
    """Return the beginning of a receiver's answer as text, or in brackets why that cannot be."""
    return text_of(delivery.body, decoded(delivery.headers), most_bytes, size=delivery.size)


def text_of(body: bytes, headers: Headers, most_bytes: int, *, size: int | None = None) -> str:
    """Return the beginning of a body as text, or in brackets why that cannot be.

    Args:
        body: As sent, or its beginning.
        headers: That came with it.
        most_bytes: So much of it at most.
        size: Of all of it, where that is more.
    """
    try:
        plain, _ = unpack(body, codings_of(headers))
    except BrokenOffError as error:  # what is kept of a long answer has no end
        plain = error.plain
    except UnreadableError as error:
        return f"({error})"
    is_cut = len(plain) > most_bytes
    declared = declared_charset(header_value(headers, "content-type"))
    text, _ = decode_text(plain[:most_bytes], declared, is_cut=is_cut)
    return text if _is_text(text) else f"({format_bytes(size or len(body))}, not text)"


def _is_text(text: str) -> bool:
    """Whether it looks like words.

    Any bytes can be decoded as something; what is not text makes odd characters. A few may come of a broken line
    of a log, or of a character that was cut.
    """
    odd = sum(unicodedata.category(char) in _ODD_CATEGORIES and char not in _LAYOUT for char in text)
    return "\0" not in text and odd + text.count("\ufffd") <= 1 + len(text) * _MOST_ODD


def describe_recording(recording: Recording) -> str:
    """Say in one line what was recorded."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(recording.ts))
    parts = [format_bytes(len(recording.body))]
    query = clean(recording.query, 100)
    if recording.kind is None:
        what = f"{clean(recording.method, 20)}{f' ?{query}' if query else ''}"
        parts += filter(None, [_describe_reason(recording)])
    else:
        content = content_of(recording, recording.kind)
        what = f"{recording.task_id}  {describe_kind(content)}{f', ?{query}' if query else ''}"
        parts.append(f"signature {recording.signature}")
    if recording.answer is not None:
        parts.append(_describe_recorded_answer(recording.answer))
    return f"{recording.n:>5}  {stamp}  {what}, {', '.join([*parts, recording.id])}"


def content_of(recording: Recording, kind: CallbackKind) -> CallbackContent:
    """Read a recorded callback again; kind and stage are those it was recorded with."""
    try:
        content = parse_callback(recording.body, recording.headers)
    except NotACallbackError:  # a later version may read more strictly than the one that recorded it
        content = CallbackContent(recording.task_id, recording.code, "", (), packing="unknown")
    return msgspec.structs.replace(content, kind=kind, stage=recording.stage)


def _describe_recorded_answer(answer: RecordedAnswer) -> str:
    """Say what was answered, and by the receiver only where the answer was its own and whole."""
    said, forward = f"answered {answer.status}", answer.forward
    if forward is None:
        return said
    if forward.error is None:
        return f"{said} by {forward.url}"
    # The advice behind it was for the moment it happened in.
    why = clean(forward.error, 200).partition("; ")[0]
    if why.startswith(said):
        return f"{said}: {forward.url} {why}"
    return f"{said}: no answer from {forward.url}{f' ({why})' if why else ''}"


def _describe_latency(latency_ms: float) -> str:
    if latency_ms < 10:  # noqa: PLR2004 -- below ten, tenths are news
        return f"{latency_ms:.1f} ms"
    return f"{latency_ms:.0f} ms" if latency_ms < 1000 else format_duration(latency_ms / 1000)  # noqa: PLR2004
