"""Handing requests to a receiver: ``listen --forward-to``, ``trigger`` and ``replay``.

Bytes go out as they came in. What belongs to one connection (hop-by-hop headers, Host, the framing) is made
anew, and everything else of the sender's headers is kept, because signatures and receivers depend on it. The same
is true of the answer on its way back.
"""

import asyncio
import base64
import io
import re
import ssl
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from suno_cover_cli.base.clock import Clock, SharedLimit, within
from suno_cover_cli.base.proxies import Proxy, find_proxy
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import quoted
from suno_cover_cli.callbacks.exchanges import Answer, Delivery, Outcome, RawHeaders, decoded
from suno_cover_cli.callbacks.sending.faults import advise, describe_fault, describe_interim, describe_slowness
from suno_cover_cli.callbacks.sending.habits import Habits
from suno_cover_cli.callbacks.sending.kept import KeptConnections
from suno_cover_cli.callbacks.sending.reading import (
    KEPT_BYTES,
    READING,
    AnswerReader,
    ConnectionLostError,
    KeptAnswer,
    NoTunnelError,
)
from suno_cover_cli.callbacks.sending.targets import Target, is_this_machine

ANSWER_S = 15.0
"""The service waits this long for a receiver's 200 (documented)."""

FORWARD_S = 14.0
"""A forwarded callback gets a second less, so that the sender still hears the outcome."""

_LEAST_STATUS = 200
# RFC 9110, 7.6.1, and what each side makes anew.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HOP_BY_HOP_RAW = frozenset(name.encode() for name in _HOP_BY_HOP)
_LINE_BREAK = re.compile(rb"[\r\n\0]")
_NOTHING_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_BODILESS_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}


class CallbackSender:
    """Delivers requests to one receiver, each on a connection of its own, as unrelated senders do.

    In a burst connections are used again, where :class:`~suno_cover_cli.callbacks.sending.habits.Habits` allows
    it: that takes a third of the time. What is lost on one of those without a word of an answer is sent once more;
    on a connection of its own a request is sent once, whatever its method.

    An async context manager: leaving closes what is open. Redirects are an answer, not followed. Proxies from
    the environment are used unless the receiver is on this machine, by whichever name; entering raises
    ``UsageError`` where the address of the proxy is malformed.

    Args:
        target: The receiver.
        clock: Time.
        timeout_s: For one delivery, from connecting to the end of the answer.
        headers: Sent with each request, instead of the sender's own of the same name.
        is_insecure: Accept any certificate of the receiver.

    Attributes:
        target: See above.
        proxy: On the way to the receiver, once entered.
    """

    def __init__(
        self,
        target: Target,
        *,
        clock: Clock,
        timeout_s: float = ANSWER_S,
        headers: Headers = (),
        is_insecure: bool = False,
    ) -> None:
        self.target = target
        self.proxy: Proxy | None = None
        self._clock = clock
        self._timeout_s = timeout_s
        self._extra = headers
        if target.login is not None and not any(name.lower() == "authorization" for name, _ in headers):
            login = base64.b64encode(target.login.reveal().encode()).decode("ascii")
            self._extra = (*headers, ("Authorization", f"Basic {login}"))
        self._is_insecure = is_insecure
        self._is_secure = target.url.startswith("https:")
        self._limit = SharedLimit(clock, timeout_s)
        self._habits = Habits()
        self._url = URL(target.url, encoded=True)

    async def __aenter__(self) -> Self:
        # Reading a machine's certificates takes tens of milliseconds of a loop that others need.
        tls = await asyncio.to_thread(_make_tls, self._is_insecure) if self._is_secure else True
        self.proxy = await asyncio.to_thread(find_proxy, self.target.url)
        if self.proxy is not None and await is_this_machine(self._url.host or "", self._url.port or 0):
            self.proxy = None
        self._fresh = _open_session(_Connector(self._habits, ssl=tls))
        self._kept = None
        # What has come on a connection, or its end, is seen ahead only where nothing lies between.
        if not self._is_secure and self.proxy is None:
            self._kept = KeptConnections(self._url, self._habits, self._timeout_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._fresh.close()
        if self._kept is not None:
            await self._kept.close()

    async def deliver(self, body: bytes, headers: Headers, *, method: str = "POST", query: str = "") -> Delivery:
        """Send one request and wait for the answer. Whatever goes wrong is in the result, not raised.

        Args:
            body: As it is to be sent.
            headers: Of the sender; those of its connection are left out.
            method: Of the request.
            query: Put behind the receiver's own.
        """
        delivery, answer = await self.relay(body, headers, method=method, query=query)
        if answer is not None and answer.rest is not None:
            await answer.rest.aclose()
        return delivery

    async def relay(
        self, body: bytes, headers: Headers, *, method: str, query: str
    ) -> tuple[Delivery, Answer | None]:
        """Send one request as :meth:`deliver` does; also return the answer as it is to go back, if there is any.

        Its rest, where it has one, must be closed. One that breaks off or takes too long raises ``OSError``, so
        that what breaks off here breaks off for the sender too.
        """
        began_s = self._clock.monotonic()
        attempt = _Attempt(self._clock, began_s + self._timeout_s)
        fault = None
        try:
            await self._limit.run(self._send(attempt, body, headers, method, query))
        except TimeoutError:
            is_tls_new = self._is_secure and not self._habits.has_answered
            fault = describe_slowness(attempt.status, self._timeout_s, self.proxy, is_tls_new=is_tls_new)
            outcome = Outcome.TIMED_OUT
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            fault = describe_fault(
                error,
                status=attempt.status,
                received_bytes=len(attempt.body),
                proxy=self.proxy,
                is_secure=self._is_secure,
                has_answered=self._habits.has_answered,
            )
            outcome = Outcome.FAILED if fault.is_reached else Outcome.UNREACHABLE
            attempt.is_cut = (attempt.status or 0) >= _LEAST_STATUS
        except BaseException:
            attempt.close()
            raise
        latency_ms = (self._clock.monotonic() - began_s) * 1000
        if fault is None and attempt.status is not None and attempt.status < _LEAST_STATUS:
            outcome, fault = Outcome.FAILED, describe_interim(attempt.status)
        delivery = attempt.delivery(self.target.url, latency_ms)
        if fault is None:
            if advice := self._advise(delivery, headers, query):
                delivery = msgspec.structs.replace(delivery, advice=advice)
            return delivery, attempt.answer(delivery, method)
        attempt.close()
        answer = attempt.answer(delivery, method) if attempt.is_cut else None
        failed = msgspec.structs.replace(delivery, outcome=outcome, error=fault.error, advice=fault.advice)
        return failed, answer

    async def _send(self, attempt: "_Attempt", body: bytes, headers: Headers, method: str, query: str) -> None:
        is_small = len(body) <= KEPT_BYTES
        request: dict[str, Any] = {
            "method": _Method(method),
            "url": URL(self.target.with_query(quoted(query)), encoded=True) if query else self._url,
            "data": None if not body and method in _BODILESS_METHODS else body if is_small else io.BytesIO(body),
            "headers": forwarded_headers(headers, self._extra),
            "allow_redirects": False,
            "proxy": None if self.proxy is None else self.proxy.address.reveal(),
        }
        number = self._habits.begin()
        try:
            # Of an answer to HEAD it is not clear where it ends, and much is not sent twice.
            if self._kept is not None and is_small and method != "HEAD" and self._habits.may_keep():
                answer = await self._ask_again(self._kept, request)
            else:
                answer = await self._fresh.request(**request)
        finally:
            self._habits.end(number)
        attempt.response, attempt.status = answer, answer.status
        while not answer.content.at_eof() and len(attempt.body) < KEPT_BYTES:
            attempt.body += await answer.content.read(KEPT_BYTES - len(attempt.body))
        attempt.is_whole = answer.content.at_eof()

    async def _ask_again(
        self, kept: KeptConnections, request: dict[str, Any]
    ) -> aiohttp.ClientResponse | KeptAnswer:
        """Send a request on a connection that may have served another one, and anew when that was lost."""
        try:
            return await kept.request(request["method"], request["url"], request["headers"], request["data"])
        except BaseException as error:
            self._habits.note_no_trial()
            is_lost = isinstance(error, ConnectionLostError)
            if isinstance(error, ConnectionLostError) and not error.has_begun and error.is_reused:
                self._habits.note_odd()
            elif is_lost or not isinstance(error, OSError):
                raise
        # A connection that cannot be opened is tried once more as well: that says why.
        return await self._fresh.request(**request)

    def _advise(self, delivery: Delivery, sent: Headers, query: str) -> str:
        if delivery.is_accepted:
            return ""
        has_login = any(name.lower() == "authorization" for name, _ in (*sent, *self._extra))
        headers = {name.lower(): value for name, value in decoded(delivery.headers)}
        # What comes out of a tunnel was said behind the proxy.
        proxy = None if self._is_secure else self.proxy
        asked = self.target.with_query(quoted(query))
        return advise(asked, delivery.status or 0, headers, has_login=has_login, proxy=proxy)


class _Attempt:
    """One request while it is under way, and what has come of its answer; as an iterator, the rest of that."""

    def __init__(self, clock: Clock, deadline_s: float) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self.response: aiohttp.ClientResponse | KeptAnswer | None = None
        self.status: int | None = None
        self.body = b""
        self.is_whole = False
        self.is_cut = False

    def close(self) -> None:
        """Close the connection."""
        if self.response is not None:
            self.response.close()

    def delivery(self, url: str, latency_ms: float) -> Delivery:
        """Say what came of it, an interim answer left out."""
        if (self.status or 0) < _LEAST_STATUS:
            return Delivery(url=url, outcome=Outcome.FAILED, latency_ms=latency_ms)
        raw = self.response.raw_headers if self.response is not None else ()
        named = {name.lower(): value for name, value in raw}
        size = named.get(b"content-length", b"")
        return Delivery(
            url=url,
            outcome=Outcome.ANSWERED,
            status=self.status,
            latency_ms=latency_ms,
            headers=answered_headers(raw),
            body=self.body,
            # Also of an answer to HEAD, which has a length and no body. Python reads numbers of at most 4,300
            # digits, and a header field has room for more zeros.
            size=int(size.lstrip(b"0") or 0) if size.isdigit() and b"transfer-encoding" not in named else None,
        )

    def answer(self, delivery: Delivery, method: str) -> Answer:
        """Return the answer as it is to go back; ``delivery`` says what is known of it."""
        rest = None if self.is_whole else self
        # The answer to HEAD has the length of a body and none.
        size = delivery.size if rest is not None or method == "HEAD" else None
        return Answer(delivery.status or 0, delivery.body, delivery.headers, rest, size)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece of what was not read yet.

        Raises:
            ConnectionError: It breaks off, or takes too long.
        """
        if self.is_cut:
            raise ConnectionError("the answer broke off")
        if self.response is None:
            raise StopAsyncIteration
        left_s = max(self._deadline_s - self._clock.monotonic(), 0.0)
        try:
            piece = await within(self._clock, left_s, self.response.content.read(KEPT_BYTES))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError("the answer broke off") from error
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Be done with it, read to the end or not."""
        self.close()


class _Method(str):
    """A method as it was sent: aiohttp would put it in capitals, which is another one (RFC 9110, 9.1)."""

    __slots__ = ()

    def upper(self) -> Self:
        """Return it as it is."""
        return self


class _Connector(aiohttp.TCPConnector):
    """A connector whose connections serve one request each, and are read by :class:`AnswerReader`."""

    def __init__(self, habits: Habits, **options: Any) -> None:
        super().__init__(limit=0, force_close=True, **options)
        self._factory = cast("partial[ResponseHandler]", partial(AnswerReader, habits))

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """See the base class.

        Raises:
            NoTunnelError: The proxy's answer to ``CONNECT`` could not be read, or there was none.
        """
        try:
            return await super().connect(*args, **options)
        except aiohttp.ClientHttpProxyError:
            raise
        except (aiohttp.ClientResponseError, ConnectionLostError) as error:
            raise NoTunnelError from error


def _open_session(connector: _Connector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        skip_auto_headers=_NOTHING_ADDED,
        **READING,
    )


def _make_tls(is_insecure: bool) -> ssl.SSLContext:  # noqa: FBT001 -- called by position
    tls = ssl.create_default_context()
    if is_insecure:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


def forwarded_headers(headers: Headers, extra: Headers = ()) -> CIMultiDict[str]:
    """Return the headers that go on to a receiver: all but hop-by-hop ones, Host and the framing.

    Args:
        headers: Of the sender.
        extra: Take the place of the sender's of the same name.
    """
    names = [name.lower() for name, _ in headers]
    dropped = _HOP_BY_HOP.union([name.lower() for name, _ in extra]) if extra else _HOP_BY_HOP
    if "connection" in names:
        values = [line[1] for name, line in zip(names, headers, strict=True) if name == "connection"]
        dropped = dropped.union(*map(_words, values))
    return CIMultiDict([*[line for name, line in zip(names, headers, strict=True) if name not in dropped], *extra])


def answered_headers(headers: RawHeaders) -> RawHeaders:
    """Return the headers of an answer that go back to the sender: all but hop-by-hop ones and the framing."""
    names = [name.lower() for name, _ in headers]
    dropped = _HOP_BY_HOP_RAW
    if b"connection" in names:
        values = [
            line[1].decode("latin-1") for name, line in zip(names, headers, strict=True) if name == b"connection"
        ]
        dropped = dropped.union([word.encode("latin-1") for value in values for word in _words(value)])
    kept = tuple([line for name, line in zip(names, headers, strict=True) if name not in dropped])
    # A line break could end the head; the client's parser takes none, whichever one is in use.
    if _LINE_BREAK.search(b"".join([value for _, value in kept])):
        return tuple([line for line in kept if not _LINE_BREAK.search(line[1])])
    return kept


def _words(value: str) -> list[str]:
    """Return what a ``Connection`` header names."""
    return [word.strip().lower() for word in value.split(",")]
