"""What ``doctor`` checks of the service and of the image host: the way there step by step, and the account."""

import asyncio
import socket
import ssl
from contextlib import suppress
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp

from suno_cover_cli.base.clock import Clock, in_daemon_thread
from suno_cover_cli.base.errors import SunoCoverError, UnavailableError, connection_reason, reason_of
from suno_cover_cli.base.proxies import Proxies, Proxy
from suno_cover_cli.base.settings import is_loopback_url
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.doctor.checks import Doctor, Finding, Status, Subject, failed, passed, skipped, warned
from suno_cover_cli.service.api import RetryPolicy

_MAX_SKEW_S = 300.0
"""What is allowed to a signature's stamp; certificates forgive more."""

_SHOWN_ADDRESSES = 3
_SERVER_FAULT = 500
_CALL_S = 15.0


async def check_service(subject: Subject, doctor: Doctor) -> None:
    """Every step to the service, then the key."""
    settings = subject.settings
    doctor.add("address", passed(f"{settings.base_url} ({settings.sources['base_url']})"))
    path = PathCheck(settings.base_url, user_agent=subject.context.user_agent, clock=subject.context.clock)
    for name, step in (
        ("proxy", path.check_proxy),
        ("name", path.check_name),
        ("connection", path.check_connection),
        ("tls", path.check_tls),
        ("clock", path.check_answer),
    ):
        if not await doctor.check(name, step):
            doctor.add("account", skipped("the service is out of reach", Status.WARN))
            return
    key = subject.key
    if isinstance(key, SunoCoverError):
        doctor.add("account", skipped("there is no API key", Status.WARN))
    else:
        await doctor.check("account", lambda: _check_account(subject, key), limit_s=_CALL_S)


async def _check_account(subject: Subject, key: Secret) -> Finding:
    """Read the balance: it shows whether the key is taken, and costs nothing."""
    settings, once = subject.settings, RetryPolicy(max_attempts=1)
    async with subject.context.open_api(settings, key, policy=once, writes=False) as api:
        balance = await api.fetch_credits()
    if balance <= 0:
        return failed(
            f"the key is accepted, but {balance:g} credits are left",
            f"Top up at https://{settings.provider.site}.",
        )
    return passed(f"the key is accepted; {balance:g} credits")


async def check_images(subject: Subject, doctor: Doctor) -> None:
    """The way to the images: the documented host, or the service's own when it is on this machine."""
    settings = subject.settings
    url = f"{settings.base_url}/" if settings.is_loopback else settings.provider.image_host
    path = PathCheck(url, user_agent=subject.context.user_agent, clock=subject.context.clock)
    await doctor.check("image host", path.check_image_host, limit_s=_CALL_S)


class PathCheck:
    """Walks the way to one server. The steps build on one another: stop at the first that fails.

    Args:
        url: Where to.
        user_agent: Sent with the one request.
        clock: Time.
    """

    def __init__(self, url: str, *, user_agent: str, clock: Clock) -> None:
        self._url = url
        self._user_agent = user_agent
        self._clock = clock
        self._proxy: Proxy | None = None
        # The first stop: the server, or the proxy once one is found.
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._addresses: list[str] = []

    async def check_proxy(self) -> Finding:
        """Look for a proxy on the way, and for malformed ones elsewhere.

        Raises:
            UsageError: The one on the way is malformed.
        """
        proxies = await in_daemon_thread(Proxies)
        self._proxy = await in_daemon_thread(lambda: proxies.find(self._url))
        route = "no proxy in use"
        if self._proxy is not None:
            self._host, self._port = self._proxy.host, self._proxy.port
            route = f"goes through {self._proxy.shown} ({self._proxy.source})"
        fault = next(proxies.faults(), None)
        return passed(route) if fault is None else warned(f"{route}, but {fault.message}", fault.hint)

    async def check_name(self) -> Finding:
        """Resolve the name."""
        try:
            found = await in_daemon_thread(
                lambda: socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            )
        except OSError as error:
            return failed(
                f"{self._named_host} cannot be resolved: {error.strerror or error}",
                "Check the internet connection, the DNS settings and the spelling of the address.",
            )
        self._addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
        if _is_address(self._host):
            return passed(f"{self._host} is an address")
        shown = ", ".join(self._addresses[:_SHOWN_ADDRESSES])
        return passed(f"{self._host} is {shown}")

    async def check_connection(self) -> Finding:
        """Connect to one of the addresses."""
        began_s = self._clock.monotonic()
        reason = "no address"
        for address in self._addresses:
            try:
                _, writer = await asyncio.open_connection(address, self._port)
            except OSError as error:
                reason = reason_of(error)
                continue
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            took_ms = (self._clock.monotonic() - began_s) * 1000
            return passed(f"port {self._port} answers after {took_ms:.0f} ms")
        if self._proxy is not None:
            hint = f"Start the proxy, or correct or unset {self._proxy.source}."
        elif is_loopback_url(self._url):
            hint = "Is the sandbox still running? Its address changes with every start."
        else:
            hint = "A firewall or a missing proxy is the usual reason: set HTTPS_PROXY if your network needs one."
        return failed(f"port {self._port} of {self._named_host} does not answer: {reason}", hint)

    async def check_tls(self) -> Finding:
        """Shake hands and verify the certificate."""
        if self._proxy is not None:
            return passed("behind the proxy")
        if not self._url.startswith("https:"):
            return passed("none needed on this machine")
        context = await in_daemon_thread(ssl.create_default_context)
        host = self._host
        try:
            _, writer = await asyncio.open_connection(
                self._addresses[0], self._port, ssl=context, server_hostname=host
            )
        except ssl.SSLCertVerificationError as error:
            return failed(
                f"the certificate of {host} is not trusted: {clean(error.verify_message, 120)}",
                "If your network inspects TLS, point SSL_CERT_FILE at its certificate; else check the clock.",
            )
        except (OSError, ssl.SSLError) as error:
            reason = clean(getattr(error, "reason", None) or error, 120) or type(error).__name__
            return failed(f"TLS with {host} fails: {reason}", "A firewall or proxy may be interfering.")
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
            direction = "behind" if skew_s > 0 else "ahead"
            return warned(
                f"this machine's clock is {abs(skew_s):.0f} s {direction}",
                "Correct it: certificates and signatures of callbacks depend on it.",
            )
        agreement = "does not send its time" if skew_s is None else f"clocks agree within {abs(skew_s):.0f} s"
        return passed(f"HTTP {status}; {agreement}")

    async def check_image_host(self) -> Finding:
        """Walk all the steps for the host of the images, as one check."""
        for step in (self.check_proxy, self.check_name, self.check_connection, self.check_tls):
            finding = await step()
            if finding.status is Status.FAIL:
                return finding
        status, _ = await self._fetch()
        if status >= _SERVER_FAULT:
            return warned(
                f"answers HTTP {status}", "Downloads are tried again; fetch later with: suno-cover resume"
            )
        return passed(f"{urlsplit(self._url).hostname} answers; no key is needed or sent")

    @property
    def _named_host(self) -> str:
        return self._host if self._proxy is None else f"{self._host} ({self._proxy.source})"

    async def _fetch(self) -> tuple[int, float | None]:
        tls = await in_daemon_thread(ssl.create_default_context)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent},
        ) as session:
            proxy = None if self._proxy is None else self._proxy.address.reveal()
            try:
                async with session.get(self._url, allow_redirects=False, proxy=proxy) as response:
                    return response.status, _epoch_s(response.headers.get("Date"))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
                if self._proxy is not None and (fault := self._proxy.describe_error(error, status)) is not None:
                    raise UnavailableError(fault, hint=self._proxy.advice) from None
                raise UnavailableError(
                    f"no answer to a request: {clean(connection_reason(error), 200)}",
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
