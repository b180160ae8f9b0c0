"""Handing callbacks to a receiver: ``listen --forward-to``, ``trigger`` and ``replay``.

Bytes go out as they came in. What belongs to one connection (hop-by-hop headers, Host, the framing) is made
anew, and everything else of the sender's headers is kept, because signatures and receivers depend on it.
"""

import asyncio
import io
import re
import socket
import ssl
from enum import StrEnum
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import UsageError, reason_of
from suno_cover_cli.base.proxies import find_proxy
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import Headers

ANSWER_S = 15.0
"""The service waits this long for a receiver's 200 (documented)."""

FORWARD_S = 14.0
"""A forwarded callback gets a second less, so that the sender still hears the outcome."""

_MAX_ANSWER_BYTES = 64 * 1024
_OK = 200
# RFC 9110, 7.6.1, and what this side makes anew.
_NOT_FORWARDED = frozenset(
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
_PORT_AND_PATH = re.compile(r":?([0-9]{1,5})(/[!-~]*)?", re.ASCII)
_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_MAX_PORT = 65535
_TARGET_HINT = "Give a port, host:port or URL, such as 3000, 3000/suno-callback or http://localhost:3000/hook"


class Outcome(StrEnum):
    """How a delivery ended."""

    ANSWERED = "answered"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one delivery.

    Attributes:
        url: Where to.
        outcome: See :class:`Outcome`.
        status: Of the receiver's answer; ``None`` without one.
        latency_ms: From the first attempt to connect to the end of the answer, or to giving up.
        body: The first 64 KiB of the answer, untrusted.
        error: Why there is no answer, one cleaned line; empty with one.
    """

    url: str
    outcome: Outcome
    status: int | None = None
    latency_ms: float
    body: bytes = b""
    error: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether the service would be content: 200, in time."""
        return self.status == _OK


class CallbackSender:
    """Delivers callbacks to one receiver, each on a connection of its own, as strangers do.

    An async context manager: leaving closes what is open. Redirects are an answer, not followed. Proxies from
    the environment are used unless the receiver is on this machine; entering raises ``UsageError`` where the
    address of the proxy is malformed.

    Args:
        url: The receiver.
        clock: Time.
        timeout_s: For one delivery, from connecting to the end of the answer.
    """

    def __init__(self, url: str, *, clock: Clock, timeout_s: float = ANSWER_S) -> None:
        self.url = url
        self._clock = clock
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        is_secure = self.url.startswith("https:")
        # Reading a machine's certificates takes tens of milliseconds of a loop that others need.
        tls = await asyncio.to_thread(ssl.create_default_context) if is_secure else True
        self._proxy = await asyncio.to_thread(find_proxy, self.url)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def deliver(self, body: bytes, headers: Headers) -> Delivery:
        """Send one callback and wait for the answer. Whatever goes wrong is in the result, not raised."""
        began_s = self._clock.monotonic()
        status, answer, error = None, b"", ""
        try:
            status, answer = await within(self._clock, self._timeout_s, self._post(body, headers))
            outcome = Outcome.ANSWERED
        except TimeoutError:
            outcome, error = Outcome.TIMED_OUT, f"no answer within {self._timeout_s:g} s"
        except (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError) as fault:
            failure = "" if self._proxy is None else self._proxy.describe_failure(getattr(fault, "status", None))
            outcome, error = Outcome.UNREACHABLE, failure
        except aiohttp.ClientConnectorError as fault:
            reason = clean(reason_of(fault.os_error), 200)
            outcome, error = Outcome.UNREACHABLE, f"cannot connect to {fault.host}:{fault.port}: {reason}"
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            # ValueError: headers of a record that somebody edited can be none at all.
            outcome, error = Outcome.UNREACHABLE, clean(fault, 200) or type(fault).__name__
        return Delivery(
            url=self.url,
            outcome=outcome,
            status=status,
            latency_ms=(self._clock.monotonic() - began_s) * 1000,
            body=answer,
            error=error,
        )

    async def _post(self, body: bytes, headers: Headers) -> tuple[int, bytes]:
        async with self._session.post(
            URL(self.url, encoded=True),
            data=io.BytesIO(body) if len(body) > _MAX_ANSWER_BYTES else body,
            headers=forwarded_headers(headers),
            skip_auto_headers=_NOTHING_ADDED,
            allow_redirects=False,
            proxy=None if self._proxy is None else self._proxy.address.reveal(),
        ) as answer:
            received = bytearray()
            while piece := await answer.content.read(_MAX_ANSWER_BYTES - len(received)):
                received += piece
            return answer.status, bytes(received)


def forwarded_headers(headers: Headers) -> CIMultiDict[str]:
    """Return the headers that go on to a receiver: all but hop-by-hop ones, Host and the framing."""
    named = {
        word.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for word in value.split(",")
    }
    kept = ((name, value) for name, value in headers if name.lower() not in _NOT_FORWARDED | named)
    return CIMultiDict(kept)


def parse_target(text: str) -> str:
    """Return the URL that ``3000``, ``3000/path``, ``/path``, ``host:port/path`` or a URL means.

    A lone port or path is on ``localhost``, by either IP version: development servers bind one or the other.

    Raises:
        UsageError: It means none.
    """
    target = text.strip()
    if match := _PORT_AND_PATH.fullmatch(target):
        target = f"http://localhost:{match[1]}{match[2] or '/'}"
    elif target.startswith("/"):
        target = f"http://localhost{target}"
    elif "://" not in target:
        target = f"http://{target}"
    try:
        url = URL(target, encoded=True)
        is_usable = url.scheme in {"http", "https"} and bool(url.host) and 0 < (url.port or 0) <= _MAX_PORT
    except ValueError:
        is_usable = False
    if not is_usable or _VISIBLE.fullmatch(target) is None or "#" in target:
        raise UsageError(f"{clean(text, 80)!r} is no receiver", code="bad_target", hint=_TARGET_HINT)
    if url.user is not None or url.password is not None:
        hint = "Leave them out: the service could not send them either"
        raise UsageError("The receiver's address holds a name or password", code="bad_target", hint=hint)
    return target


async def refuse_loop(url: str, *, local_url: str, public_url: str | None) -> None:
    """Refuse a receiver that is the listener itself, by its public or by any local address.

    Raises:
        UsageError: Every callback would come back for ever.
    """
    target, local = URL(url), URL(local_url)
    public = URL(public_url) if public_url else None
    is_public = public is not None and (target.host, target.port) == (public.host, public.port)
    if is_public or (target.port == local.port and await _is_this_machine(target.host or "", local.port or 0)):
        raise UsageError(
            "The receiver is this listener itself: every callback would come back for ever",
            code="forward_loop",
            hint="Pass the address of your own program to --forward-to, or another --listen-port",
        )


async def _is_this_machine(host: str, port: int) -> bool:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False  # what cannot be found cannot be the listener; the delivery will say so
    return any(_is_own_address(family, str(address[0])) for family, _, _, _, address in found)


def _is_own_address(family: int, host: str) -> bool:
    """Tell whether an address is this machine's: nobody else's can be bound."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
