"""``listen --inspect``: hands what is shown on the terminal to a local page, and sends requests again for it."""

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import (
    BrokenOffError,
    Headers,
    UnreadableError,
    codings_of,
    header_value,
    unpack,
)
from suno_cover_cli.callbacks.charsets import declared_charset, decode_text
from suno_cover_cli.callbacks.exchanges import Delivery, Exchange, decoded
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.callbacks.sending.reading import KEPT_BYTES
from suno_cover_cli.listen.deliveries import body_to_send, headers_to_send
from suno_cover_cli.listen.events import EventView, ListenEvent
from suno_cover_cli.listen.lines import masked
from suno_cover_cli.listen.presenter import ListenPresenter
from suno_cover_cli.listen.words import describe_in_list
from suno_cover_cli.web.inspector import SEARCHED_CHARS, Again, Answer, Inspected, Inspector
from suno_cover_cli.web.server import PageServer
from suno_cover_cli.wiring.context import Context

_MAX_TEXT_BYTES = 1024 * 1024
_SEARCHED_BYTES = 4 * SEARCHED_CHARS  # in UTF-8, that many characters at least
_MAX_KNOWN = 500
_BINARY = re.compile("[\x00-\x08\x0b\x0e-\x1f]")


class InspectedView:
    """Shows events as another view does, and on a page once there is one.

    Args:
        view: The other one.

    Attributes:
        inspector: Of the page, once it is open.
    """

    def __init__(self, view: EventView) -> None:
        self._view = view
        # Of the last requests: the number on the page, or answers of receivers quicker than the first one.
        self._pages: OrderedDict[str, int | list[Answer]] = OrderedDict()
        self.inspector: Inspector | None = None

    def show_arrival(self, event: ListenEvent) -> None:
        """See :class:`EventView`."""
        self._view.show_arrival(event)

    def show_answer(self, event: ListenEvent, exchange: Exchange) -> None:
        """See :class:`EventView`."""
        self._view.show_answer(event, exchange)
        if self.inspector is not None:
            early = self._pages.pop(event.request.id, None)
            page_id = self.inspector.show(_inspected(event, exchange))
            self._note(event.request.id, page_id)
            for answer in early if isinstance(early, list) else ():
                self.inspector.add_answer(page_id, answer)

    def show_cut_off(self, event: ListenEvent) -> None:
        """See :class:`EventView`; the page is closed by then."""
        self._view.show_cut_off(event)

    def show_delivery(self, event: ListenEvent, delivery: Delivery) -> None:
        """See :class:`EventView`."""
        self._view.show_delivery(event, delivery)
        if self.inspector is None:
            return
        known, answer = self._pages.get(event.request.id), _answer_of(delivery)
        if isinstance(known, int):
            self.inspector.add_answer(known, answer)
        else:
            self._note(event.request.id, [*(known or ()), answer])

    def _note(self, name: str, known: int | list[Answer]) -> None:
        self._pages[name] = known
        if len(self._pages) > _MAX_KNOWN:
            self._pages.popitem(last=False)

    def show_unmatched(self, exchange: Exchange) -> None:
        """See :class:`EventView`."""
        self._view.show_unmatched(exchange)

    def flush(self) -> None:
        """See :class:`EventView`."""
        self._view.flush()


@asynccontextmanager
async def open_inspector(
    context: Context, presenter: ListenPresenter, senders: Mapping[str, CallbackSender]
) -> AsyncIterator[Inspector]:
    """Serve the page.

    Args:
        context: Time.
        presenter: Says where the page is.
        senders: Entered, by what the page calls them: ``listener``, ``forward``, ``forward 2`` and so on.

    Raises:
        UsageError: No port can be had.
    """

    async def send_again(to: str, again: Again) -> Answer:
        delivery = await senders[to].deliver(again.body, again.headers, method=again.method, query=again.query)
        return _answer_of(delivery)

    targets = {name: sender.target.url for name, sender in senders.items()}
    inspector = Inspector(send_again, read_text=_text_of, targets=targets)
    async with PageServer(inspector.page, clock=context.clock, on_trouble=presenter.report_trouble) as server:
        presenter.report_page(server.url)
        yield inspector


def _inspected(event: ListenEvent, exchange: Exchange) -> Inspected:
    request = event.request
    if event.delivery is not None:
        answer = _answer_of(event.delivery)
    else:
        answer = Answer(status=exchange.status or None, latency_ms=exchange.latency_ms, error=exchange.reason)
    return Inspected(
        ts=request.ts,
        n=event.n,
        method=request.method,
        path=request.path.partition("?")[0],
        query=request.query,
        remote=request.remote,
        headers=request.headers,
        masked=_masked(request.headers),
        body=request.body,
        sendable_headers=headers_to_send(request),
        sendable_body=body_to_send(request),
        words=_words_of(request.body, request.headers),
        summary=describe_in_list(event),
        is_callback=request.content is not None and not request.is_refused,
        answer=answer,
    )


def _answer_of(delivery: Delivery) -> Answer:
    headers = decoded(delivery.headers)
    return Answer(
        status=delivery.status,
        latency_ms=delivery.latency_ms,
        by=delivery.url,
        headers=_masked(headers),
        body=delivery.body,
        error="; ".join(filter(None, (delivery.error, delivery.advice))),
    )


def _masked(headers: Headers) -> Headers:
    return tuple((clean(name, 200), masked(name, clean(value, 4000))) for name, value in headers)


def _text_of(body: bytes, headers: Headers) -> str | None:
    """Unpack and decode a body for reading; ``None`` when it is not text, or too long to be read as one.

    Of one that breaks off, as a long answer does that is kept in part, the text is what comes before that.
    """
    return None if len(body) > _MAX_TEXT_BYTES else _read(body, headers, is_cut=len(body) == KEPT_BYTES)


def _words_of(body: bytes, headers: Headers) -> str:
    """Return the beginning of a body as :func:`_text_of` reads it, quickly however long it is."""
    return (_read(body[:_SEARCHED_BYTES], headers, is_cut=len(body) > _SEARCHED_BYTES) or "")[:SEARCHED_CHARS]


def _read(body: bytes, headers: Headers, *, is_cut: bool) -> str | None:
    try:
        plain, _ = unpack(body, codings_of(headers))
    except BrokenOffError as error:
        plain, is_cut = error.plain, True
    except UnreadableError:
        return None
    text, _ = decode_text(plain, declared_charset(header_value(headers, "content-type")), is_cut=is_cut)
    # A text may have been cut within a character here and there; of what is none, most are no characters.
    is_text = not _BINARY.search(text) and text.count("\ufffd") <= 1 + len(text) // 10
    return text if is_text else None
