"""Requests to image hosts: which session, through which proxy, along which redirects, and what went wrong.

Nothing here is shared with the calls to the service, so no key, cookie or ``.netrc`` entry can reach a foreign
host: the sessions are given proxies by hand, because aiohttp's ``trust_env`` brings ``.netrc`` along.
"""

import asyncio
import contextlib
import email.utils
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from suno_cover_cli.base.errors import ImageError, UsageError, reason_of
from suno_cover_cli.base.proxies import Proxies
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.addresses import AddressGuard, ForbiddenAddressError, forbidden_address

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAME_CHECK_S = 5.0
_PIECE_BYTES = 64 * 1024
_MAX_RETRY_AFTER_S = 60.0
_FEW_ATTEMPTS = 2
_RESUME_HINT = "Run suno-cover resume in a while: it fetches what is missing."


class AttemptError(ImageError):
    """One attempt failed in a way that another may not.

    Attributes:
        max_attempts: How many attempts in all this kind of failure is worth; ``None``: as many as allowed.
        retry_after: The server's ``Retry-After`` header, unread, or ``None``.
    """

    code = "image_unavailable"
    hint = _RESUME_HINT

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        max_attempts: int | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.max_attempts = max_attempts
        self.retry_after = retry_after


class ImageHosts:
    """Sessions to all image hosts. Entering opens them, leaving closes them at once.

    Args:
        guard: Says what may be connected to.
        user_agent: Sent with every request.
        connect_s: Limit for name, connection and TLS together, in seconds.
        idle_s: Longest silence of a server, in seconds.
        max_connections: Kept open at a time.
        ssl_context: Trust to use instead of the default one, which honours ``SSL_CERT_FILE``.
        resolver: Turns names into addresses instead of the system.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        user_agent: str,
        connect_s: float,
        idle_s: float,
        max_connections: int,
        ssl_context: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guard = guard
        self._user_agent = user_agent
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=idle_s)
        self._max_connections = max_connections
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._given_resolver = resolver
        self._resources = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._resolver = self._given_resolver or aiohttp.DefaultResolver()
        if self._given_resolver is None:
            self._resources.push_async_callback(self._resolver.close)
        self._proxies = Proxies()
        self._secure = await self._open_session(
            aiohttp.TCPConnector(
                limit=self._max_connections,
                ssl=self._ssl,
                resolver=self._resolver,
                socket_factory=self._guard.open_secure_socket,
            )
        )
        self._plain = await self._open_session(
            aiohttp.TCPConnector(
                limit=self._max_connections,
                resolver=self._resolver,
                socket_factory=self._guard.open_plain_socket,
            )
        )
        # The proxy is the user's own choice and may well be on this machine: only its targets are checked.
        self._proxied = await self._open_session(
            aiohttp.TCPConnector(limit=self._max_connections, ssl=self._ssl, resolver=self._resolver)
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    @contextlib.asynccontextmanager
    async def request(self, address: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET an image, redirects followed one by one, and yield the answer.

        Its status is 200; or 206 or 416, which only a ``Range`` should bring about.

        Network errors while the body is read inside the ``async with`` are explained as well.

        Raises:
            AttemptError: Worth another attempt.
            ImageError: Final: a forbidden address, a refusal, a distrusted certificate.
        """
        url = self._guard.check_url(address)
        with explain_network_errors(url):
            for _ in range(_MAX_REDIRECTS + 1):
                session, proxy = await self._route(url)
                async with session.get(url, headers=headers, proxy=proxy, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        check_status(response)
                        yield response
                        return
                url = self._guard.check_url(location, base=url)
        raise ImageError(
            f"{clean(url.host or '', 100)} redirects more than {_MAX_REDIRECTS} times",
            code="image_unavailable",
            hint=_RESUME_HINT,
        )

    async def _open_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return await self._resources.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
            )
        )

    async def _route(self, url: URL) -> tuple[aiohttp.ClientSession, URL | None]:
        """Choose the session and the proxy for one hop."""
        host = url.host or ""
        if url.scheme == "http":
            return self._plain, None
        if not self._proxies or self._guard.is_loopback_host(host):
            return self._secure, None
        try:
            proxy = await asyncio.to_thread(self._proxies.find, str(url.origin()))
        except UsageError as error:
            raise ImageError(error.message, code="image_unavailable", hint=error.hint) from None
        if proxy is None:
            return self._secure, None
        await self._check_name(url)
        return self._proxied, URL(proxy.address.reveal())

    async def _check_name(self, url: URL) -> None:
        """Look at what a proxied target resolves to here, where it does: a proxy must not be led inside."""
        try:
            async with asyncio.timeout(_NAME_CHECK_S):
                found = await self._resolver.resolve(url.host or "", url.port or 0)
        except OSError:
            return  # only the proxy can resolve it, which is what many proxies are there for
        self._guard.check_resolved(url, [row["host"] for row in found])


def check_status(response: aiohttp.ClientResponse) -> None:
    """Sort answers by their status: pass what speaks of a body (200, 206, 416), raise for the rest.

    Raises:
        AttemptError: 403, 404, 408, 410, 425, 429 and 5xx. Image hosts behind a cache answer 403 and 404 in
            passing, so even those get another try.
        ImageError: Any other status.
    """
    status = response.status
    message = f"{clean(response.url.host or '', 100)} answered {status}"
    if status in {200, 206, 416}:
        return
    if status in {403, 404, 410}:
        raise AttemptError(
            message,
            code="image_gone",
            hint="Links live for about 14 days at most; suno-cover resume asks the service for fresh ones.",
            max_attempts=None if status == 403 else _FEW_ATTEMPTS,  # noqa: PLR2004 -- a status
        )
    if status in {204, 408, 425, 429} or status >= 500:  # noqa: PLR2004 -- statuses
        raise AttemptError(message, retry_after=response.headers.get("Retry-After"))
    raise ImageError(message, code="image_unavailable", hint=_RESUME_HINT)


def is_packed(response: aiohttp.ClientResponse) -> bool:
    """Tell whether the body is compressed, although plain bytes were asked for."""
    return response.headers.get("Content-Encoding", "identity").lower() != "identity"


async def read_body(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[bytes, int]]:
    """Yield the body piece by piece, unpacked if need be, with the number of bytes the wire has carried so far.

    Done here because aiohttp only wakes its reader for bytes that come *out* of a decompressor: a stream that
    unpacks to nothing would keep it busy unseen. A piece is at most 64 KiB of unpacked bytes, or empty.

    Raises:
        AttemptError: Packed in an unknown way, or not what it says.
    """
    wire_bytes = 0
    if not is_packed(response):
        async for chunk in response.content.iter_any():
            wire_bytes += len(chunk)
            yield chunk, wire_bytes
        return
    encoding = clean(response.headers["Content-Encoding"], 20)
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by their first bytes
    if encoding.lower() not in {"gzip", "x-gzip", "deflate"}:
        raise AttemptError(f"{clean(response.url.host or '', 100)} packed the picture as {encoding}, unasked")
    async for chunk in response.content.iter_any():
        wire_bytes += len(chunk)
        rest = chunk
        while rest and not unpacking.eof:
            try:
                piece = unpacking.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                raise AttemptError(f"the {encoding} packing of the picture is broken") from error
            yield piece, wire_bytes
            rest = unpacking.unconsumed_tail
        yield b"", wire_bytes


def read_retry_after(header: str | None, now: float) -> float:
    """Return the seconds a ``Retry-After`` header asks for, in either of its forms, at most a minute.

    Args:
        header: Digits or an HTTP date; anything else counts as none.
        now: Epoch seconds.
    """
    if header is None:
        return 0.0
    delay_s = 0.0
    if header.strip().isdecimal():
        delay_s = float(header.strip()[:9])
    else:
        with contextlib.suppress(ValueError, OverflowError):
            delay_s = email.utils.parsedate_to_datetime(header).timestamp() - now
    return min(max(delay_s, 0.0), _MAX_RETRY_AFTER_S)


@contextlib.contextmanager
def explain_network_errors(url: URL) -> Iterator[None]:
    """Turn what the network does to a request into an :class:`ImageError` of one line."""
    try:
        yield
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        raise _explain(error, url) from error


def _explain(error: Exception, url: URL) -> ImageError:
    """Sort out what is final; everything else may be over in a moment."""
    host = clean(url.host or "", 100)
    if isinstance(error, (aiohttp.InvalidURL, UnicodeError)):
        return forbidden_address(url)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ImageError(
            f"the certificate of {host} is not trusted",
            code="image_unavailable",
            hint="Behind a company proxy, point SSL_CERT_FILE at its authority; then run suno-cover resume.",
        )
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ForbiddenAddressError):
        return forbidden_address(url)
    is_proxy = isinstance(error, (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError))
    return AttemptError(
        _describe(error, host),
        code="image_truncated" if isinstance(error, aiohttp.ClientPayloadError) else None,
        hint="Check HTTPS_PROXY, then run suno-cover resume." if is_proxy else None,
    )


def _describe(error: Exception, host: str) -> str:
    """Say in a few words of ours what happened; the library's own may carry addresses with secrets in them."""
    match error:
        case aiohttp.ClientHttpProxyError():
            said = f"the proxy answered {error.status}"
        case aiohttp.ClientProxyConnectionError():
            said = "the proxy cannot be reached"
        case aiohttp.ClientConnectorDNSError():
            said = f"the name {host} cannot be resolved"
        case aiohttp.ClientPayloadError():
            said = f"{host} broke off in the middle of the picture"
        case TimeoutError():
            said = f"{host} was silent for too long"
        case aiohttp.ClientConnectorError():
            said = f"no connection to {host}: {clean(reason_of(error.os_error), 200)}"
        case _:
            said = f"the connection to {host} failed: {type(error).__name__}"
    return said
