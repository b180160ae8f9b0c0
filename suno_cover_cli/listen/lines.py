"""What ``listen`` prints for people: a pair of lines for every event, what came and what was answered.

Everything foreign is cleaned before it gets here and printed as it stands.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.text import clean, fold
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.exchanges import Exchange
from suno_cover_cli.journal.recordings import Recording
from suno_cover_cli.listen.events import Forwarded, ListenEvent
from suno_cover_cli.service.codes import CODE_OK, describe_code
from suno_cover_cli.ui.choice import Paint
from suno_cover_cli.ui.words import Tone, format_bytes, format_duration

_INDENT = " " * 13
_SECRET_NAME = re.compile(r"auth|cookie|token|secret|password|api-?key", re.IGNORECASE)
_AUTH_SCHEME = re.compile(r"(?:basic|bearer|digest|negotiate)(?= )", re.IGNORECASE)
_MAX_STRANGERS_PER_S = 10
_MAX_BODY_LINES = 400
_MAX_SAID_BYTES = 500


class LinesView:
    """Prints events in words.

    Args:
        write: Prints lines.
        paint: Colours a text for a tone.
        clock: Keeps strangers from flooding the screen.
        verbosity: 1 adds headers and strangers, 2 bodies.
        columns: Tells how many columns there are to fit in; 0 where it does not matter.
    """

    def __init__(
        self,
        write: Callable[[str, int], None],
        *,
        paint: Paint,
        clock: Clock,
        verbosity: int = 0,
        columns: Callable[[], int] = lambda: 0,
    ) -> None:
        self._write = write
        self._paint = paint
        self._clock = clock
        self._verbosity = verbosity
        self._columns = columns
        self._lines: list[str] = []
        self._stamp = (-1, "")
        self._strangers_second = 0.0
        self._strangers_shown = 0

    def show_arrival(self, event: ListenEvent) -> None:
        """See :class:`EventView`."""
        callback = event.callback
        is_good = callback.code == CODE_OK and not event.is_refused
        tone: Tone = "warning" if callback.duplicate_of is not None else "good" if is_good else "bad"
        self._add(callback.ts, "-->", tone, _number(event), describe_arrival(event))
        self._add_details(callback.headers, callback.body)

    def show_answer(self, event: ListenEvent, exchange: Exchange) -> None:
        """See :class:`EventView`."""
        is_good = 200 <= exchange.status < 300 and not exchange.is_answer_lost  # noqa: PLR2004 -- HTTP's own
        ended_at = exchange.ts + exchange.latency_ms / 1000
        self._add(ended_at, "<--", "good" if is_good else "bad", _number(event), describe_answer(event, exchange))
        if event.forwarded is not None:
            self._lines += _forward_details(event.forwarded)

    def show_stranger(self, exchange: Exchange) -> None:
        """See :class:`EventView`."""
        if not self._verbosity or not self._may_show_stranger():
            return
        what = f"{clean(exchange.method, 20)} {clean(exchange.path, 200)}, {format_bytes(len(exchange.body))}"
        self._add(exchange.ts, "-->", "faint", "-", what if exchange.method else "bytes that are no request")
        self._add_details(exchange.headers, exchange.body)
        answer = f"{exchange.status}: {exchange.reason}" if exchange.status else f"cut off: {exchange.reason}"
        self._add(exchange.ts + exchange.latency_ms / 1000, "<--", "faint", "-", answer)

    def flush(self) -> None:
        """See :class:`EventView`."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._write("\n".join(lines), len(lines))

    def _add(self, ts: float, arrow: str, tone: Tone, number: str, text: str) -> None:
        second = int(ts)
        if second != self._stamp[0]:
            self._stamp = second, self._paint(time.strftime("%H:%M:%S", time.localtime(second)), "faint")
        first, *more = fold(f"{_INDENT}{number} {text}", self._columns(), _INDENT)
        self._lines.append(f"{self._stamp[1]} {self._paint(arrow, tone)} {first.removeprefix(_INDENT)}")
        self._lines += more

    def _add_details(self, headers: Headers, body: bytes) -> None:
        if self._verbosity > 0:
            self._lines += [_INDENT + self._paint(line, "faint") for line in header_lines(headers)]
        if self._verbosity > 1 and body:
            self._lines += [_INDENT + line for line in body_lines(body)]

    def _may_show_stranger(self) -> bool:
        now = self._clock.monotonic()
        if now - self._strangers_second >= 1:
            self._strangers_second, self._strangers_shown = now, 0
        self._strangers_shown += 1
        if self._strangers_shown == _MAX_STRANGERS_PER_S + 1:
            self._lines.append(f"{_INDENT}(more of them within this second are only counted)")
        return self._strangers_shown <= _MAX_STRANGERS_PER_S


def describe_arrival(event: ListenEvent) -> str:
    """Say what came: task, code with its meaning, images, size; on one line of 80 characters as a rule."""
    callback = event.callback
    parts = [f"{callback.task_id} {_describe_code(callback.code)}"]
    if callback.code == CODE_OK or callback.image_urls:
        parts.append("1 image" if len(callback.image_urls) == 1 else f"{len(callback.image_urls)} images")
    parts.append(format_bytes(len(callback.body)))
    if callback.code != CODE_OK and callback.message:
        parts.append(f'"{clean(callback.message, 120)}"')
    return ", ".join(parts)


def describe_answer(event: ListenEvent, exchange: Exchange) -> str:
    """Say what it was answered, how fast, whether it was here before, and what its signature is worth."""
    callback = event.callback
    by = f" from {event.forwarded.url}" if event.forwarded is not None and event.forwarded.status else ""
    parts = [f"{exchange.status}{by} in {_describe_latency(exchange.latency_ms)}"]
    if exchange.is_answer_lost:
        parts.append("but the sender had hung up")
    if callback.duplicate_of is not None:
        parts.append("a duplicate" if event.duplicate_of is None else f"a duplicate of {event.duplicate_of}")
    parts.append(f"signature {callback.signature}")
    parts.append(exchange.reason or callback.id)
    return ", ".join(parts)


def describe_recording(recording: Recording) -> str:
    """Say in one line what was recorded."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(recording.ts))
    return (
        f"{recording.n:>5}  {stamp}  {recording.task_id}  {_describe_code(recording.code)}, "
        f"{format_bytes(len(recording.body))}, signature {recording.signature}, {recording.id}"
    )


def header_lines(headers: Headers) -> Iterator[str]:
    """Write headers one by one; the values of those that let somebody in are masked."""
    for name, value in headers:
        shown = clean(value, 300)
        if _SECRET_NAME.search(name):
            scheme = _AUTH_SCHEME.match(shown)
            shown = f"{scheme[0]} ***" if scheme else "***"
        yield f"{clean(name, 100)}: {shown}"


def body_lines(body: bytes) -> Iterator[str]:
    """Write a body indented where it is JSON, as it stands where not; so many lines at most."""
    text, is_cut = _readable(body)
    lines = text.splitlines()
    for line in lines[:_MAX_BODY_LINES]:
        # Cleaning takes the indentation off.
        yield " " * min(len(line) - len(line.lstrip(" ")), 40) + clean(line, 500)
    if is_cut or len(lines) > _MAX_BODY_LINES:
        yield f"... {format_bytes(len(body))} in all"


def _readable(body: bytes) -> tuple[str, bool]:
    """Return a body as text, or its beginning, and whether that is not all."""
    try:
        # Written piece by piece: a small body that is deeply nested has an enormous indented form.
        pieces = json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(msgspec.json.decode(body))
        text = "".join(islice(pieces, 4 * _MAX_BODY_LINES))
        return text, next(pieces, None) is not None
    except (ValueError, RecursionError):
        most = 200 * _MAX_BODY_LINES
        return body[:most].decode("utf-8", "replace"), len(body) > most


def _number(event: ListenEvent) -> str:
    return "-" if event.n is None else str(event.n)


def _describe_code(code: int) -> str:
    meaning = describe_code(code)
    return meaning if meaning.startswith("code") else f"{code} {meaning}"


def _describe_latency(latency_ms: float) -> str:
    if latency_ms < 10:  # noqa: PLR2004 -- below ten, tenths are news
        return f"{latency_ms:.1f} ms"
    return f"{latency_ms:.0f} ms" if latency_ms < 1000 else format_duration(latency_ms / 1000)  # noqa: PLR2004


def _forward_details(forwarded: Forwarded) -> Iterator[str]:
    if forwarded.trouble:
        yield f"{_INDENT}{forwarded.url}: {clean(forwarded.trouble, 300)}"
    said = forwarded.said[:_MAX_SAID_BYTES].decode("utf-8", "replace")
    for line in said.splitlines():
        if shown := clean(line, _MAX_SAID_BYTES):
            yield f"{_INDENT}| {shown}"
