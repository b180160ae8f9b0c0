"""Our own check through a public URL: what comes back is our listener's answer, or the reason why not."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

import aiohttp

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import TunnelError, UsageError, connection_reason
from suno_cover_cli.base.proxies import find_proxy
from suno_cover_cli.base.text import clean

_MAX_BODY_BYTES = 4096
# A new name may take a moment to be known everywhere.
_DELAYS_S = (0.1, 0.2, 0.4, 0.8, 1.0)
_HINT = "Check with any browser or curl what the public address answers."


class HttpProbe:
    """Fetches small texts as any client on the internet would.

    TLS is verified, ``SSL_CERT_FILE`` and proxies are honoured, redirects are not followed, and every fetch makes
    a connection of its own: one kept alive would say nothing about the way a callback takes.

    An async context manager: leaving closes the connections.

    Args:
        headers: Sent with every fetch.
        explain: Tells what headers of an answer say of a tunnel's own servers, or ``None``.
        timeout_s: For one fetch, in the machine's own seconds.
        expects_https: Get ready for TLS on entering; otherwise that is left to the first https URL.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        explain: Callable[[Mapping[str, str]], TunnelError | None] = lambda _: None,
        timeout_s: float = 5.0,
        expects_https: bool = True,
    ) -> None:
        self._headers = headers
        self._explain = explain
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._expects_https = expects_https
        self._trust: asyncio.Task[ssl.SSLContext] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        if self._expects_https:
            self._read_trust()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=self._timeout,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._trust is not None:
            self._trust.cancel()
            await asyncio.gather(self._trust, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _read_trust(self) -> "asyncio.Task[ssl.SSLContext]":
        """Read this machine's certificates, once: it takes tens of milliseconds, so in a thread."""
        if self._trust is None:
            self._trust = asyncio.create_task(asyncio.to_thread(ssl.create_default_context))
        return self._trust

    async def fetch(self, url: str) -> str:
        """Return the body of a 200 answer as text, at most 4 KiB of it.

        Raises:
            TunnelError: Anything else: no answer, another status, TLS that does not verify.
        """
        if self._session is None:
            raise RuntimeError("HttpProbe is used before it is entered")
        try:
            proxy = await asyncio.to_thread(find_proxy, url)
        except UsageError as error:
            raise TunnelError(error.message, code=error.code, hint=error.hint) from None
        except ValueError as error:
            raise TunnelError(clean(error, 160), code="probe_failed", hint=_HINT) from None
        try:
            tls = await asyncio.shield(self._read_trust()) if url.startswith("https:") else True
            address = None if proxy is None else proxy.address.reveal()
            async with self._session.get(url, allow_redirects=False, ssl=tls, proxy=address) as answer:
                if (word_of_the_tunnel := self._explain(answer.headers)) is not None:
                    raise word_of_the_tunnel
                if answer.status != 200:  # noqa: PLR2004 -- the one status that counts
                    raise TunnelError(f"it answers HTTP {answer.status}", code="probe_failed", hint=_HINT)
                body = await _read_capped(answer.content)
        except TimeoutError:
            raise TunnelError("no answer in time", code="probe_failed", hint=_HINT) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
            if proxy is not None and (fault := proxy.describe_error(error, status)) is not None:
                raise TunnelError(fault, code="proxy_failed", hint=proxy.advice) from None
            raise TunnelError(clean(connection_reason(error), 160), code="probe_failed", hint=_HINT) from None
        return body.decode("utf-8", errors="replace")


async def _read_capped(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while len(body) < _MAX_BODY_BYTES and (piece := await content.read(_MAX_BODY_BYTES - len(body))):
        body += piece
    return bytes(body)


class ListenerAddress(Protocol):
    """What has to be known of the listener.

    Attributes:
        local_url: ``http://127.0.0.1:PORT``.
        probe_path: Path of a GET that proves a connection, with its leading slash.
        probe_answer: Body of the answer to it.
    """

    @property
    def local_url(self) -> str:
        """See above."""
        ...

    @property
    def probe_path(self) -> str:
        """See above."""
        ...

    @property
    def probe_answer(self) -> str:
        """See above."""
        ...


class ListenerProof:
    """Asks for the listener's own answer through a public URL.

    Args:
        listener: Whose answer counts.
        probe: Fetches a URL from outside, as any client would; raises ``TunnelError``.
        clock: Time.
        probe_s: For one probe.
    """

    def __init__(
        self,
        listener: ListenerAddress,
        probe: Callable[[str], Awaitable[str]],
        clock: Clock,
        *,
        probe_s: float,
    ) -> None:
        self._listener = listener
        self._probe = probe
        self._clock = clock
        self._probe_s = probe_s

    async def prove(self, url: str, budget_s: float) -> None:
        """Probe until our own answer comes back through ``url``.

        Raises:
            TunnelError: It did not within ``budget_s`` seconds; carries the last reason.
        """
        end_s = self._clock.monotonic() + budget_s
        delays_s = iter(_DELAYS_S)
        while True:
            try:
                await self.check(url, end_s - self._clock.monotonic())
            except TunnelError as error:
                delay_s = next(delays_s, _DELAYS_S[-1])
                if error.is_permanent or self._clock.monotonic() + delay_s >= end_s:
                    raise
            else:
                return
            await self._clock.sleep(delay_s)

    async def check(self, url: str, limit_s: float | None = None) -> None:
        """Probe once.

        Raises:
            TunnelError: Another answer or none.
        """
        bound_s = self._probe_s if limit_s is None else min(self._probe_s, limit_s)
        try:
            answer = await within(self._clock, bound_s, self._probe(url + self._listener.probe_path))
        except TimeoutError:
            raise self._unproven(url, "no answer in time") from None
        except TunnelError as error:
            if error.code != "probe_failed":  # a reason of its own: the tunnel's servers, or a proxy on the way
                raise
            raise self._unproven(url, error.message) from None
        if answer.strip() != self._listener.probe_answer.strip():
            raise self._unproven(url, "another page answers there")

    def _unproven(self, url: str, reason: str) -> TunnelError:
        return TunnelError(
            f"{url} does not lead to our listener: {clean(reason, 200)}",
            code="probe_failed",
            hint=f"Check that it forwards to {self._listener.local_url}; suno-cover doctor shows more.",
        )
