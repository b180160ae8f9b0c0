"""Requests to image hosts: which session, through which proxy, along which redirects; and their bodies, unpacked.

Nothing here is shared with the calls to the service, so no key, cookie or ``.netrc`` entry can reach a foreign
host: the sessions are given proxies by hand, because aiohttp's ``trust_env`` brings ``.netrc`` along.

What a body is packed with, its bytes decide. Object stores and caches send names that mean nothing (``utf-8``,
``none``, ``aws-chunked``), or a true one long after the packing was undone. What begins like a picture is taken as
it is; what begins like a packing is unpacked.
"""

import asyncio
import collections
import contextlib
import functools
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from suno_cover_cli.base.errors import ImageError, UsageError
from suno_cover_cli.base.proxies import Proxies
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.addresses import AddressGuard
from suno_cover_cli.images.failures import RESUME_HINT, AttemptError, check_status, explain_network_errors, host_of
from suno_cover_cli.images.heads import LooseConnector
from suno_cover_cli.images.kinds import SNIFF_BYTES, sniff

_MAX_REDIRECTS = 20  # as browsers do
_MOST_VISITS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_FIELD_BYTES = 64 * 1024
_NAME_CHECK_S = 5.0

MOST_LAYERS = 3
"""How many packings, one within the other, are undone."""

_PIECE_BYTES = 64 * 1024
_GZIP = b"\x1f\x8b\x08"
_GZIP_WBITS, _ZLIB_WBITS, _RAW_WBITS = 31, 15, -15
_UNKNOWN_HERE = {"br": "Brotli", "zstd": "Zstandard", "compress": "compress", "x-compress": "compress"}


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
            LooseConnector(
                limit=self._max_connections,
                ssl=self._ssl,
                resolver=self._resolver,
                socket_factory=functools.partial(self._guard.open_socket, secure=True),
            )
        )
        self._plain = await self._open_session(
            LooseConnector(
                limit=self._max_connections,
                resolver=self._resolver,
                socket_factory=functools.partial(self._guard.open_socket, secure=False),
            )
        )
        # The proxy is the user's own choice and may well be on this machine: only its targets are checked.
        self._proxied = await self._open_session(
            LooseConnector(limit=self._max_connections, ssl=self._ssl, resolver=self._resolver)
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    @contextlib.asynccontextmanager
    async def request(self, url: URL, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET an image, redirects followed one by one, and yield the answer.

        Its status is one that comes with a body: 2xx, among them 206.

        Network errors while the body is read inside the ``async with`` are explained as well.

        Args:
            url: As :meth:`AddressGuard.check_url` returned it; where redirects lead is checked here.
            headers: Of the request.

        Raises:
            AttemptError: Worth another attempt.
            ImageError: Final: a forbidden address, a refusal, a distrusted certificate, redirects without end.
        """
        visits: collections.Counter[URL] = collections.Counter()
        while visits.total() <= _MAX_REDIRECTS:
            visits[url] += 1
            # Once may be on purpose: a host that sets something aside and asks to come again.
            if visits[url] > _MOST_VISITS:
                raise _endless(f"{clean(url.host or '', 100)} redirects in a circle")
            with explain_network_errors(url):
                session, proxy = await self._route(url)
                async with session.get(url, headers=headers, proxy=proxy, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or not location:
                        check_status(response, asked_for_part="Range" in headers)
                        yield response
                        return
            url = self._guard.check_url(location, base=url)
        raise _endless(f"{clean(url.host or '', 100)} redirects more than {_MAX_REDIRECTS} times")

    async def _open_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return await self._resources.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
                max_field_size=_MAX_FIELD_BYTES,
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


def _endless(message: str) -> ImageError:
    return ImageError(message, code="image_unavailable", hint=RESUME_HINT)


class PackingError(ValueError):
    """A packing is broken, or of a kind that cannot be undone here; the text says which."""


class Unpacker:
    """Undoes the packings of one body, one within the other, as it comes.

    Args:
        content_encoding: As the server sent it; names are separated by commas.
        layers: How many packings are undone; with 0 the bytes are passed on as they are.

    Attributes:
        is_packed: Whether the bytes that come out are others than those that went in. ``None``: not known yet.
        most_bytes: How many bytes there were so far, where they were most: before, between or after packings.
    """

    def __init__(self, content_encoding: str, layers: int = MOST_LAYERS) -> None:
        self.is_packed: bool | None = None
        self._content_encoding = content_encoding
        self._named = {name.strip().lower() for name in content_encoding.split(",")}
        self._layers = layers
        self._head = b""
        self._in_bytes = 0
        self._inflating = zlib.decompressobj()
        self._wbits = 0
        self._inner: Unpacker | None = None

    @property
    def most_bytes(self) -> int:
        """See the class."""
        return max(self._in_bytes, self._inner.most_bytes if self._inner is not None else 0)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield what comes out, at most 64 KiB at a time.

        A packing may make much of little: the caller checks :attr:`most_bytes` at each step. What comes out
        may be nothing.

        Raises:
            PackingError: See the class.
        """
        self._in_bytes += len(data)
        if self.is_packed is None:
            self._head += data
            if len(self._head) < SNIFF_BYTES:
                yield b""
                return
            data = self._begin()
        yield from self._pass_on(data)

    def finish(self) -> Iterator[bytes]:
        """The body is over; yield what was held back. A packing that ends early is the picture's check to find.

        Raises:
            PackingError: See the class.
        """
        if self.is_packed is None:
            yield from self._pass_on(self._begin())
        if self._inner is not None:
            yield from self._inner.finish()

    def _begin(self) -> bytes:
        """Decide by the first bytes, and return them."""
        head, self._head = self._head, b""
        self._wbits = self._find_packing(head) if self._layers else 0
        self.is_packed = self._wbits != 0
        if self.is_packed:
            self._inflating = zlib.decompressobj(self._wbits)
            self._inner = Unpacker(self._content_encoding, self._layers - 1)
        return head

    def _find_packing(self, head: bytes) -> int:
        """Return zlib's number for the packing, 0 for none."""
        if sniff(head) is not None:
            return 0
        if head.startswith(_GZIP):
            return _GZIP_WBITS
        if "deflate" in self._named:
            if _can_inflate(head, _ZLIB_WBITS):
                return _ZLIB_WBITS
            # The standard means the zlib format; some servers leave its frame out.
            return _RAW_WBITS if _can_inflate(head, _RAW_WBITS) else 0
        for name in self._named & _UNKNOWN_HERE.keys():
            raise PackingError(f"packed the picture with {_UNKNOWN_HERE[name]}, which was not asked for")
        return 0

    def _pass_on(self, data: bytes) -> Iterator[bytes]:
        if self._inner is None:
            yield data
            return
        while data:
            if self._inflating.eof:
                if self._wbits != _GZIP_WBITS or not data.startswith(_GZIP[:2]):
                    yield b""  # stray bytes behind it
                    return
                self._inflating = zlib.decompressobj(self._wbits)
            try:
                piece = self._inflating.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise PackingError(
                    "packed the picture in a way that cannot be undone: the packing is damaged"
                ) from error
            yield from self._inner.feed(piece)
            data = self._inflating.unconsumed_tail or self._inflating.unused_data


def _can_inflate(head: bytes, wbits: int) -> bool:
    try:
        zlib.decompressobj(wbits).decompress(head, _PIECE_BYTES)
    except zlib.error:
        return False
    return True


async def read_body(response: aiohttp.ClientResponse, unpacker: Unpacker) -> AsyncIterator[bytes]:
    """Yield the body piece by piece, unpacked where needed; ``unpacker`` tells how many bytes that has taken.

    Done here because aiohttp only wakes its reader for bytes that come *out* of a decompressor: a stream that
    unpacks to nothing would keep it busy unseen.

    Raises:
        AttemptError: Packed in a way that cannot be undone.
    """
    try:
        async for chunk in response.content.iter_any():
            for piece in unpacker.feed(chunk):
                yield piece
        for piece in unpacker.finish():
            yield piece
    except PackingError as error:
        raise AttemptError(f"{host_of(response)} {error}") from error
