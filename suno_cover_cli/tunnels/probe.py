"""Our own check through a public URL: what comes back is either our listener's answer or the reason why not."""

import asyncio
import ssl
from types import TracebackType
from typing import Self

import aiohttp

from suno_cover_cli.base.errors import TunnelError, UsageError
from suno_cover_cli.base.proxies import find_proxy
from suno_cover_cli.base.text import clean
from suno_cover_cli.tunnels import ngrok_errors

_MAX_BODY_BYTES = 4096
_HINT = "Check with any browser or curl what the public address answers."


class HttpProbe:
    """Fetches small texts as a stranger on the internet would.

    TLS is verified, ``SSL_CERT_FILE`` and proxies are honoured, redirects are not followed, and every fetch makes
    a connection of its own: one kept alive would say nothing about the way a callback takes.

    An async context manager: leaving closes the connections.

    Args:
        user_agent: Sent with every fetch.
        timeout_s: For one fetch, in the machine's own seconds.
        expects_https: Get ready for TLS on entering; otherwise that is left to the first https URL.
    """

    def __init__(self, *, user_agent: str, timeout_s: float = 5.0, expects_https: bool = True) -> None:
        self._user_agent = user_agent
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
            headers={
                "User-Agent": self._user_agent,
                # ngrok's free plan shows browsers a warning page first; this header asks it not to.
                "ngrok-skip-browser-warning": "1",
            },
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
                code = ngrok_errors.find_code(answer.headers.get("Ngrok-Error-Code"))
                if code is not None:
                    raise ngrok_errors.explain_code(code)
                if answer.status != 200:  # noqa: PLR2004 -- the one status that counts
                    raise TunnelError(f"it answers HTTP {answer.status}", code="probe_failed", hint=_HINT)
                body = await _read_capped(answer.content)
        except TimeoutError:
            raise TunnelError("no answer in time", code="probe_failed", hint=_HINT) from None
        except (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError) as error:
            if proxy is None:
                raise
            raise TunnelError(
                proxy.describe_failure(getattr(error, "status", None)),
                code="proxy_failed",
                hint=f"Correct {proxy.source}, or unset it to connect without a proxy.",
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = clean(error, 160) or type(error).__name__
            raise TunnelError(reason, code="probe_failed", hint=_HINT) from None
        return body.decode("utf-8", errors="replace")


async def _read_capped(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while len(body) < _MAX_BODY_BYTES and (piece := await content.read(_MAX_BODY_BYTES - len(body))):
        body += piece
    return bytes(body)
