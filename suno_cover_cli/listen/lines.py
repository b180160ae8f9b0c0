"""Prints for people what happens: a pair of lines for a callback, a dim one for what is none.

Everything foreign is cleaned before it gets here and printed as it stands.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.text import clean, fold
from suno_cover_cli.callbacks.bodies import Headers, UnreadableError, is_too_deep, read_body
from suno_cover_cli.callbacks.exchanges import Delivery, Exchange, decoded
from suno_cover_cli.listen.events import ListenEvent
from suno_cover_cli.listen.words import (
    describe_answer,
    describe_arrival,
    describe_delivery,
    describe_request,
    describe_said,
    describe_trouble,
    describe_unmatched,
    said_by,
    text_of,
)
from suno_cover_cli.ui.choice import Paint
from suno_cover_cli.ui.words import Tone, format_bytes

_INDENT = " " * 13
_SECRET_NAME = re.compile(r"auth|cookie|token|secret|password|api-?key", re.IGNORECASE)
_AUTH_SCHEME = re.compile(r"(?:basic|bearer|digest|negotiate)(?= )", re.IGNORECASE)
_MAX_UNMATCHED_PER_S = 10
_MAX_HEADER_LINES = 200
_MAX_BODY_LINES = 400
_MAX_BODY_BYTES = 200 * _MAX_BODY_LINES
_MAX_SAID_BYTES = 500
_CUT_OFF = "not answered: cut off by the end"


class LinesView:
    """Prints events in words.

    Args:
        write: Prints lines.
        paint: Colours a text for a tone.
        clock: Keeps what is not a callback from flooding the screen.
        verbosity: 1 adds headers, of receivers' answers too, and requests to other paths, 2 bodies.
        columns: Tells how many columns there are to fit in; 0 where it does not matter.
        sends_on: Requests go to receivers, whose answers take time and lines of their own.
        names_receiver: There are several of them, so an answer needs to name its own.
    """

    def __init__(
        self,
        write: Callable[[str, int], None],
        *,
        paint: Paint,
        clock: Clock,
        verbosity: int = 0,
        columns: Callable[[], int] = lambda: 0,
        sends_on: bool = False,
        names_receiver: bool = False,
    ) -> None:
        self._write = write
        self._paint = paint
        self._clock = clock
        self._verbosity = verbosity
        self._columns = columns
        self._sends_on = sends_on
        self._names_receiver = names_receiver
        self._lines: list[str] = []
        self._stamp = (-1, "")
        self._unmatched_second = 0.0
        self._unmatched_shown = 0

    def show_arrival(self, event: ListenEvent) -> None:
        """See :class:`EventView`. What is not a callback has one line, with its answer, unless that takes time."""
        content = event.request.content
        if content is None:
            event.is_only_counted = not self._may_show_unmatched()
            if self._sends_on and not event.is_only_counted:
                self._show_request(event, describe_arrival(event))
            return
        is_good = content.is_good and not event.request.is_refused
        tone: Tone = "warning" if event.request.duplicate_of is not None else "good" if is_good else "bad"
        self._add(event.request.ts, "-->", tone, _number(event), describe_arrival(event, self._room(event)))
        self._add_details(event.request.headers, event.request.body)

    def show_answer(self, event: ListenEvent, exchange: Exchange) -> None:
        """See :class:`EventView`."""
        if event.is_only_counted:
            return
        if event.request.content is None and not self._sends_on:
            self._show_request(event, describe_request(event, exchange))
            return
        is_good = 200 <= exchange.status < 300 and not exchange.is_answer_lost  # noqa: PLR2004 -- HTTP's own
        ended_at = exchange.ts + exchange.latency_ms / 1000
        delivery, quote = event.delivery, ""
        if delivery is not None and self._is_brief and describe_trouble(delivery):
            quote = describe_said(delivery)
        said = describe_answer(
            event, exchange, self._room(event), names_receiver=self._names_receiver, quote=quote
        )
        self._add(ended_at, "<--", "good" if is_good else "bad", _number(event), said)
        if delivery is not None:
            whose = f"{delivery.url}: " if self._names_receiver else ""
            self._add_delivery(delivery, whose, quotes=not self._is_brief)

    def show_cut_off(self, event: ListenEvent) -> None:
        """See :class:`EventView`."""
        if event.is_only_counted:
            return
        if event.request.content is None and not self._sends_on:
            self._show_request(event, f"{describe_arrival(event)}; {_CUT_OFF}")
        else:
            self._add(self._clock.time(), "<--", "bad", _number(event), _CUT_OFF)

    def show_delivery(self, event: ListenEvent, delivery: Delivery) -> None:
        """See :class:`EventView`."""
        if event.is_only_counted:
            return
        tone: Tone = "faint" if delivery.is_accepted else "warning"
        self._add(self._clock.time(), "<--", tone, _number(event), describe_delivery(delivery))
        self._add_delivery(delivery)

    def show_unmatched(self, exchange: Exchange) -> None:
        """See :class:`EventView`."""
        if not self._verbosity or not self._may_show_unmatched():
            return
        what, answer = describe_unmatched(exchange)
        self._add(exchange.ts, "-->", "faint", "-", what)
        self._add_details(exchange.headers, b"")
        self._add(exchange.ts + exchange.latency_ms / 1000, "<--", "faint", "-", answer)

    def flush(self) -> None:
        """See :class:`EventView`."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._write("\n".join(lines), len(lines))

    def _show_request(self, event: ListenEvent, said: str) -> None:
        stamp = time.strftime("%H:%M:%S", time.localtime(event.request.ts))
        lines = fold(f"{stamp} --> {_number(event)} {said}", self._columns(), _INDENT)
        self._lines += [self._paint(line, "faint") for line in lines]
        self._add_details(event.request.headers, event.request.body)

    def _room(self, event: ListenEvent) -> int:
        """Return the columns a line has for its text, 0 where there is no edge."""
        columns = self._columns()
        return max(columns - 2 - len(_INDENT) - len(_number(event)), 1) if columns else 0

    def _add(self, ts: float, arrow: str, tone: Tone, number: str, text: str) -> None:
        second = int(ts)
        if second != self._stamp[0]:
            self._stamp = second, self._paint(time.strftime("%H:%M:%S", time.localtime(second)), "faint")
        first, *more = fold(f"{_INDENT}{number} {text}", self._columns(), _INDENT)
        self._lines.append(f"{self._stamp[1]} {self._paint(arrow, tone)} {first.removeprefix(_INDENT)}")
        self._lines += more

    def _add_details(self, headers: Headers, body: bytes) -> None:
        if self._verbosity > 0:
            self._lines += [self._paint(line, "faint") for line in self._below(header_lines(headers))]
        if self._verbosity > 1 and body:
            self._lines += self._below(body_lines(body, headers))

    def _below(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield lines below an event, folded where there is an edge."""
        for line in lines:
            yield from fold(_INDENT + line, self._columns(), f"{_INDENT}  ")

    def _add_delivery(self, delivery: Delivery, whose: str = "", *, quotes: bool = False) -> None:
        """Add what is wrong with a receiver's answer; what was asked for of it; else its first words, if wrong."""
        if trouble := describe_trouble(delivery):
            self._lines += fold(f"{_INDENT}{whose}{trouble}", self._columns(), _INDENT)
        self._add_details(decoded(delivery.headers), b"")
        if self._verbosity > 1 or (trouble and quotes):
            most = _MAX_BODY_BYTES if self._verbosity > 1 else _MAX_SAID_BYTES
            said = [line for line in map(_cleaned, said_by(delivery, most).splitlines()) if line.strip()]
            self._lines += self._below(f"| {line}" for line in said[:_MAX_BODY_LINES])
            size = delivery.size or len(delivery.body)
            # An answer may say how long a body is that it does not have.
            is_part = bool(delivery.body) and (len(said) > _MAX_BODY_LINES or size > len(delivery.body))
            if self._verbosity > 1 and is_part:
                self._lines.append(f"{_INDENT}| ... {format_bytes(size)} in all")

    @property
    def _is_brief(self) -> bool:
        """Whether there is an edge to fit in, and no more was asked for."""
        return bool(self._columns()) and not self._verbosity

    def _may_show_unmatched(self) -> bool:
        now = self._clock.monotonic()
        if now - self._unmatched_second >= 1:
            self._unmatched_second, self._unmatched_shown = now, 0
        self._unmatched_shown += 1
        if self._unmatched_shown == _MAX_UNMATCHED_PER_S + 1:
            self._lines.append(f"{_INDENT}(more of them within this second are only counted)")
        return self._unmatched_shown <= _MAX_UNMATCHED_PER_S


def header_lines(headers: Headers) -> Iterator[str]:
    """Write headers one by one, so many at most; the values of those that are credentials are masked."""
    for name, value in headers[:_MAX_HEADER_LINES]:
        yield f"{clean(name, 100)}: {masked(name, clean(value, 300))}"
    if len(headers) > _MAX_HEADER_LINES:
        yield f"... {len(headers)} header lines in all"


def masked(name: str, value: str) -> str:
    """Return the value of a header, or what stands for it where it is a credential."""
    if not _SECRET_NAME.search(name):
        return value
    scheme = _AUTH_SCHEME.match(value)
    return f"{scheme[0]} ***" if scheme else "***"


def body_lines(body: bytes, headers: Headers) -> Iterator[str]:
    """Write a body unpacked, indented where it is JSON, as it stands where not; so many lines at most."""
    text, is_cut = _readable(body, headers)
    lines = text.splitlines()
    yield from map(_cleaned, lines[:_MAX_BODY_LINES])
    if is_cut or len(lines) > _MAX_BODY_LINES:
        yield f"... {format_bytes(len(body))} in all"


def _cleaned(line: str) -> str:
    # Cleaning takes the indentation off.
    return " " * min(len(line) - len(line.lstrip(" ")), 40) + clean(line, _MAX_SAID_BYTES)


def _readable(body: bytes, headers: Headers) -> tuple[str, bool]:
    """Return a body as text, or its beginning, and whether that is not all."""
    is_cut = len(body) > _MAX_BODY_BYTES
    try:
        plain = read_body(body, headers).json
    except UnreadableError:
        return text_of(body[:_MAX_BODY_BYTES], headers, _MAX_BODY_BYTES), is_cut
    with suppress(ValueError):
        if not is_too_deep(plain):
            # Written piece by piece: a small body that is deeply nested has an enormous indented form.
            pieces = json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(msgspec.json.decode(plain))
            return "".join(islice(pieces, 4 * _MAX_BODY_LINES)), next(pieces, None) is not None
    if plain.isascii():
        return plain[:_MAX_BODY_BYTES].decode(), len(plain) > _MAX_BODY_BYTES
    # The charset of JSON was guessed by its first bytes; what is none may be no text either.
    return text_of(body[:_MAX_BODY_BYTES], headers, _MAX_BODY_BYTES), is_cut


def _number(event: ListenEvent) -> str:
    return "-" if event.n is None else str(event.n)
