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
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.proxies import Proxy, find_proxy
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import quoted
from suno_cover_cli.callbacks.exchanges import Answer, Delivery, Outcome, RawHeaders
from suno_cover_cli.callbacks.faults import Fault, advise, describe_fault
from suno_cover_cli.callbacks.targets import Target, is_this_machine

ANSWER_S = 15.0
"""The service waits this long for a receiver's 200 (documented)."""

FORWARD_S = 14.0
"""A forwarded callback gets a second less, so that the sender still hears the outcome."""

KEPT_BYTES = 64 * 1024
"""Of an answer's body, what is kept to be shown."""

_MAX_HEAD_LINE_BYTES = 64 * 1024
_MAX_FIELDS = 2000
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*([0-9]+)[ \t]*\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)")  # 101 is the last answer of its connection
_HTTP = b"HTTP/"
_OK = 200
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
_NOTHING_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_BODILESS_METHODS = {"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"}


class CallbackSender:
    """Delivers requests to one receiver, each on a connection of its own, as unrelated senders do.

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

    async def __aenter__(self) -> Self:
        is_secure = self.target.url.startswith("https:")
        # Reading a machine's certificates takes tens of milliseconds of a loop that others need.
        tls = await asyncio.to_thread(_make_tls, self._is_insecure) if is_secure else True
        self.proxy = await asyncio.to_thread(find_proxy, self.target.url)
        url = URL(self.target.url, encoded=True)
        if self.proxy is not None and await is_this_machine(url.host or "", url.port or 0):
            self.proxy = None
        self._session = aiohttp.ClientSession(
            connector=_Connector(ssl=tls, force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            # Answers go on as they came, compressed or not.
            auto_decompress=False,
            read_bufsize=KEPT_BYTES,
            max_line_size=_MAX_HEAD_LINE_BYTES,
            max_field_size=_MAX_HEAD_LINE_BYTES,
            max_headers=_MAX_FIELDS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

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
        has_login = any(name.lower() == "authorization" for name, _ in (*headers, *self._extra))
        attempt = _Attempt(self._clock, began_s + self._timeout_s, has_login=has_login)
        fault = None
        try:
            sending = self._send(attempt, self.target.with_query(quoted(query)), body, headers, method)
            await within(self._clock, self._timeout_s, sending)
        except TimeoutError:
            fault = self._too_slow(attempt.status)
            outcome = Outcome.TIMED_OUT
        except (aiohttp.ClientError, OSError, ValueError) as error:
            received = len(attempt.body)
            fault = describe_fault(error, status=attempt.status, received_bytes=received, proxy=self.proxy)
            outcome, attempt.is_cut = Outcome.UNREACHABLE, (attempt.status or 0) >= _LEAST_STATUS
        except BaseException:
            attempt.close()
            raise
        latency_ms = (self._clock.monotonic() - began_s) * 1000
        if fault is None and attempt.status is not None and attempt.status < _LEAST_STATUS:
            outcome, fault = Outcome.UNREACHABLE, _no_answer(attempt.status)
        if fault is not None or attempt.is_whole:
            attempt.close()
        if fault is None:
            delivery = attempt.delivery(self.target.url, latency_ms)
            return delivery, attempt.answer(delivery, method)
        failed = Delivery(
            url=self.target.url, outcome=outcome, latency_ms=latency_ms, error=fault.error, advice=fault.advice
        )
        if not attempt.is_cut:
            return failed, None
        return failed, attempt.answer(attempt.delivery(self.target.url, latency_ms), method)

    async def _send(self, attempt: "_Attempt", url: str, body: bytes, headers: Headers, method: str) -> None:
        data = io.BytesIO(body) if len(body) > KEPT_BYTES else body
        attempt.response = answer = await self._session.request(
            method,
            URL(url, encoded=True),
            data=None if not body and method in _BODILESS_METHODS else data,
            headers=forwarded_headers(headers, self._extra),
            skip_auto_headers=_NOTHING_ADDED,
            allow_redirects=False,
            proxy=None if self.proxy is None else self.proxy.address.reveal(),
        )
        attempt.status = answer.status
        while len(attempt.body) < KEPT_BYTES:
            piece = await answer.content.read(KEPT_BYTES - len(attempt.body))
            if not piece:
                attempt.is_whole = True
                return
            attempt.body += piece
        attempt.is_whole = answer.content.at_eof()

    def _too_slow(self, status: int | None) -> Fault:
        what = "no answer" if status is None else f"answered {status}, but its answer did not end"
        return Fault(f"{what} within {self._timeout_s:g} s", "answer first and do the work afterwards")


class _Handler(ResponseHandler):
    """Reads two kinds of loose answers as any browser and curl do, which aiohttp's parser refuses whole.

    One is followed by more than it announced, such as 204 with a body: what follows would be the head of another
    answer, and what came before lost with it. The other says its length twice (RFC 9110, 8.6).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        # What has come of a head that is not whole; None once what comes is for the parser as it is.
        self._head: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        """Let the parser see a whole head, and with it an answer, before whatever follows."""
        while self._head is not None and data:
            self._head, data = self._head + data, b""
            end = _END_OF_HEAD.search(self._head)
            if end is not None:
                head, data = self._head[: end.end()], self._head[end.end() :]
                self._head = b"" if _INTERIM.match(head) else None
                super().data_received(_with_one_length(head))
            elif len(self._head) > _MAX_HEAD_LINE_BYTES or not _HTTP.startswith(self._head[: len(_HTTP)]):
                self._release()
        if data:
            super().data_received(data)

    def eof_received(self) -> None:
        """See what is there of a head that breaks off."""
        self._release()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See the same where the connection is cut."""
        self._release()
        super().connection_lost(exc)

    def _release(self) -> None:
        held, self._head = self._head, None
        if held:
            super().data_received(held)


def _with_one_length(head: bytes) -> bytes:
    """Return the head of an answer with its length once, where it is given more than once and is the same."""
    lengths = list(_LENGTH.finditer(head))
    if len({length[1] for length in lengths}) == 1:
        for again in reversed(lengths[1:]):
            head = head[: again.start()] + head[again.end() :]
    return head


class _Connector(aiohttp.TCPConnector):
    """A connector whose connections are read by :class:`_Handler`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(_Handler, loop=asyncio.get_running_loop()))


class _Attempt:
    """One request while it is under way, and what has come of its answer; as an iterator, the rest of that."""

    def __init__(self, clock: Clock, deadline_s: float, *, has_login: bool) -> None:
        self._clock = clock
        self._has_login = has_login
        self._deadline_s = deadline_s
        self.response: aiohttp.ClientResponse | None = None
        self.status: int | None = None
        self.body = b""
        self.is_whole = False
        self.is_cut = False

    def close(self) -> None:
        """Close the connection."""
        if self.response is not None:
            self.response.close()

    def delivery(self, url: str, latency_ms: float) -> Delivery:
        """Say what came of it."""
        status = self.status or 0
        raw = self.response.raw_headers if self.response is not None else ()
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}
        size = named.get("content-length", "")
        return Delivery(
            url=url,
            outcome=Outcome.ANSWERED,
            status=status,
            latency_ms=latency_ms,
            headers=answered_headers(raw),
            body=self.body,
            # Also of an answer to HEAD, which has a length and no body.
            size=int(size) if size.isdecimal() and "transfer-encoding" not in named else None,
            advice="" if status == _OK else advise(url, status, named, has_login=self._has_login),
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


def _no_answer(status: int) -> Fault:
    if status < 100:  # noqa: PLR2004 -- statuses begin there
        return Fault(f"answered with the status {status:03}, which HTTP does not have")
    return Fault(f"answered {status}: it wants another protocol")


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
    dropped = _HOP_BY_HOP | _named_by_connection(headers) | {name.lower() for name, _ in extra}
    return CIMultiDict([*((name, value) for name, value in headers if name.lower() not in dropped), *extra])


def answered_headers(headers: RawHeaders) -> RawHeaders:
    """Return the headers of an answer that go back to the sender: all but hop-by-hop ones and the framing."""
    texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    dropped = _HOP_BY_HOP | _named_by_connection(texts)
    kept = zip(headers, texts, strict=True)
    # A line break could end the head; the client's parser takes none, whichever one is in use.
    return tuple(
        [raw for raw, (name, value) in kept if name.lower() not in dropped and not set(value) & set("\r\n\0")]
    )


def _named_by_connection(headers: Iterable[tuple[str, str]]) -> set[str]:
    lines = [value for name, value in headers if name.lower() == "connection"]
    return {word.strip().lower() for value in lines for word in value.split(",")}
