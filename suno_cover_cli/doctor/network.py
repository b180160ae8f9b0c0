"""The way to a server, step by step: proxy, name, connection, TLS, answer, clock."""

import asyncio
import socket
import ssl
from contextlib import suppress
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import UnavailableError, reason_of
from suno_cover_cli.base.settings import is_loopback_url
from suno_cover_cli.base.text import clean
from suno_cover_cli.doctor.checks import Finding, failed, in_daemon_thread, passed, warned

_MAX_SKEW_S = 300.0
"""What is allowed to a signature's stamp; certificates forgive more."""

_SHOWN_ADDRESSES = 3
_SERVER_FAULT = 500


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The first stop on the way to a URL.

    Attributes:
        url: Where to in the end.
        host: Whose name is resolved and connected to: the server's or the proxy's.
        port: Its port.
        proxy: The proxy as it may be shown, or ``None``.
    """

    url: str
    host: str
    port: int
    proxy: str | None = None

    @property
    def is_secure(self) -> bool:
        """Whether the first connection speaks TLS at once."""
        return self.proxy is None and self.url.startswith("https:")

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback_url(self.url)


class _Network:
    """What the steps learn for one another."""

    def __init__(self) -> None:
        self.addresses: list[str] = []


def find_route(url: str) -> Route:
    """Look up the proxy for a URL in the environment and the system. Blocks for a moment."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
    if proxy is None:
        return Route(url=url, host=host, port=port)
    via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    shown = f"{via.scheme}://{via.hostname}:{via.port or 80}"  # without user and password
    return Route(url=url, host=via.hostname or "", port=via.port or 80, proxy=shown)


class PathCheck:
    """Walks the way to one server. The steps build on one another: stop at the first that fails.

    Args:
        route: See :func:`find_route`.
        user_agent: Sent with the one request.
        clock: Time.
    """

    def __init__(self, route: Route, *, user_agent: str, clock: Clock) -> None:
        self._route = route
        self._user_agent = user_agent
        self._clock = clock
        self._network = _Network()

    async def check_proxy(self) -> Finding:
        """Say whether a proxy is on the way."""
        if self._route.proxy is None:
            return passed("none on the way")
        return passed(f"goes through {self._route.proxy}")

    async def check_name(self) -> Finding:
        """Resolve the name."""
        route = self._route
        try:
            found = await in_daemon_thread(
                lambda: socket.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
            )
        except OSError as error:
            return failed(
                f"{route.host} cannot be resolved: {error.strerror or error}",
                "Check the internet connection, the DNS settings and the spelling of the address.",
            )
        self._network.addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
        if _is_address(route.host):
            return passed(f"{route.host} is an address")
        shown = ", ".join(self._network.addresses[:_SHOWN_ADDRESSES])
        return passed(f"{route.host} is {shown}")

    async def check_connection(self) -> Finding:
        """Connect to one of the addresses."""
        began_s = self._clock.monotonic()
        reason = "no address"
        for address in self._network.addresses:
            try:
                _, writer = await asyncio.open_connection(address, self._route.port)
            except OSError as error:
                reason = reason_of(error)
                continue
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            took_ms = (self._clock.monotonic() - began_s) * 1000
            return passed(f"port {self._route.port} answers after {took_ms:.0f} ms")
        return failed(
            f"port {self._route.port} of {self._route.host} does not answer: {reason}",
            "Is the sandbox still running? Its address changes with every start."
            if self._route.is_local
            else "A firewall or a missing proxy is the usual reason: set HTTPS_PROXY if your network needs one.",
        )

    async def check_tls(self) -> Finding:
        """Shake hands and verify the certificate."""
        if not self._route.is_secure:
            return passed("none needed on this machine" if self._route.is_local else "behind the proxy")
        context = await in_daemon_thread(ssl.create_default_context)
        host = self._route.host
        try:
            _, writer = await asyncio.open_connection(
                self._network.addresses[0], self._route.port, ssl=context, server_hostname=host
            )
        except ssl.SSLCertVerificationError as error:
            return failed(
                f"the certificate of {host} is not trusted: {clean(error.verify_message, 120)}",
                "If your network inspects TLS, point SSL_CERT_FILE at its certificate; else check the clock.",
            )
        except (OSError, ssl.SSLError) as error:
            reason = clean(getattr(error, "reason", None) or error, 120) or type(error).__name__
            return failed(f"TLS with {host} fails: {reason}", "Something on the way may be interfering.")
        tls = writer.get_extra_info("ssl_object")
        writer.transport.abort()
        return passed(f"{tls.version()}, certificate verified" if tls is not None else "verified")

    async def check_answer(self) -> Finding:
        """Ask for the front page, without a key, and compare clocks."""
        status, date = await self._fetch()
        if status >= _SERVER_FAULT:
            return warned(f"answers HTTP {status}", "It is a fault on their side: try again in a few minutes.")
        skew_s = None if date is None else date - self._clock.time()
        if skew_s is not None and abs(skew_s) > _MAX_SKEW_S:
            way = "behind" if skew_s > 0 else "ahead"
            return warned(
                f"this machine's clock is {abs(skew_s):.0f} s {way}",
                "Set it right: certificates and signatures of callbacks depend on it.",
            )
        told = "does not tell its time" if skew_s is None else f"clocks agree within {abs(skew_s):.0f} s"
        return passed(f"HTTP {status}; {told}")

    async def check_image_host(self) -> Finding:
        """Walk all the steps for the host of the images, as one check."""
        for step in (self.check_name, self.check_connection, self.check_tls):
            finding = await step()
            if finding.hint:
                return finding
        status, _ = await self._fetch()
        if status >= _SERVER_FAULT:
            return warned(
                f"answers HTTP {status}", "Downloads are tried again; fetch later with: suno-cover resume"
            )
        return passed(f"{urlsplit(self._route.url).hostname} answers; no key is needed or sent")

    async def _fetch(self) -> tuple[int, float | None]:
        tls = await in_daemon_thread(ssl.create_default_context)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent},
            trust_env=True,
        ) as session:
            try:
                async with session.get(self._route.url, allow_redirects=False) as response:
                    return response.status, _epoch_s(response.headers.get("Date"))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise UnavailableError(
                    f"no answer to a request: {clean(error, 200) or type(error).__name__}",
                    hint="Check proxy and firewall; a browser on this machine shows whether they let it through.",
                ) from None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _epoch_s(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None
