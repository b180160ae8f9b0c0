"""Which addresses an image may come from.

A URL says little about where it leads: a name may resolve to anything, and to something else a moment later.
So a URL is checked when it is read, and the address itself once more where the socket is made
(:meth:`AddressGuard.open_socket`), after which nothing can change it.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from yarl import URL

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.text import clean

_MAX_URL_CHARS = 16_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Up to the authority, or to the end of it; what follows is the path.
_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")
_NOT_SENT = re.compile(r"[^!-~]+")

# Written out from IANA's registries of special-purpose addresses (RFC 6890 and later), because what Python
# calls ``is_global`` differs between its releases. 224.0.0.0/3 is multicast and what lies above it.
_CLOSED_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
# All of the public IPv6 internet lies in the first of these; the others are parts of it that do not count:
# protocol assignments, Teredo among them, and documentation.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_LOW_32_BITS = 0xFFFFFFFF

_HINT = (
    "Nothing was fetched from there. Look at the address before you trust it: "
    "a genuine cover lies on a public https host."
)

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, type, protocol, canonical name, socket address: one row of ``getaddrinfo``."""


class ForbiddenAddressError(OSError):
    """An address that must not be connected to; an ``OSError`` so that connecting fails like any other.

    The text never varies: where several addresses of one name are refused, the connector passes on
    the error itself only when all texts agree.
    """

    def __init__(self) -> None:
        super().__init__("this address may not be connected to")


def parse_address(host: str) -> IPAddress | None:
    """Return the IP address that ``host`` spells, zone dropped, or ``None`` for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def unwrap_address(address: IPAddress) -> IPAddress:
    """Return the IPv4 address inside an IPv6 one that merely wraps it (mapped, compatible, NAT64, 6to4)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    wrapped = address.ipv4_mapped or address.sixtofour
    if wrapped is not None:
        return wrapped
    if address in _NAT64 or (address in _V4_COMPATIBLE and not address.is_loopback):
        return ipaddress.IPv4Address(int(address) & _LOW_32_BITS)
    return address


def is_loopback(address: IPAddress) -> bool:
    """Tell whether an address is this machine; one that a gateway would have to unwrap is not."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_public(address: IPAddress) -> bool:
    """Tell whether an address, or the one it wraps, belongs to the public internet."""
    inner = unwrap_address(address)
    if isinstance(inner, ipaddress.IPv4Address):
        return not any(inner in network for network in _CLOSED_V4)
    return inner in _GLOBAL_UNICAST and not any(inner in network for network in _CLOSED_V6)


class AddressGuard:
    """Decides what may be connected to.

    Public addresses over https, always. With ``allow_loopback`` (the service itself is on this machine)
    also loopback, over http or https; other private addresses stay closed even then, because an answer that
    names one is as foreign as ever.
    """

    def __init__(self, *, allow_loopback: bool) -> None:
        self.allow_loopback = allow_loopback

    def check_url(self, text: str, *, base: URL | None = None) -> URL:
        """Parse an image's URL, or a redirect's target relative to ``base``.

        Raises:
            ImageError: ``image_forbidden_address`` when the URL is unusable or leads where it must not.
        """
        url = self._parse(text, base)
        if url.scheme not in {"http", "https"} or not url.host or "@" in url.raw_authority:
            if base is not None:
                raise _forbidden(f"{_shown(base)} redirects to what is not a plain https address")
            # An address may hold a password, so only what is none at all is quoted.
            what = "the image's address" if "//" in text or "@" in text else f'"{clean(text, 60)}"'
            raise _forbidden(f"{what} is not a plain https address")
        if base is not None and base.scheme == "https" and url.scheme == "http":
            raise _forbidden(f"{_shown(base)} redirects from https to http at {_shown(url)}")
        if url.scheme == "http" and not self.allow_loopback:
            what = "the image's address" if base is None else "the redirect's address"
            raise _forbidden(f"{what} at {_shown(url)} is http, not https")
        address = parse_address(url.host)
        if address is not None and not self._permits(address, secure=url.scheme == "https"):
            raise forbidden_address(url)
        return url

    def check_resolved(self, url: URL, hosts: Iterable[str]) -> None:
        """Check what a name resolves to, for a request that a proxy connects.

        Raises:
            ImageError: ``image_forbidden_address`` when one of ``hosts`` must not be connected to.
        """
        for host in hosts:
            address = parse_address(host)
            if address is None or not self._permits(address, secure=url.scheme == "https"):
                raise forbidden_address(url)

    def is_loopback_host(self, host: str) -> bool:
        """Tell whether a host is this machine by its spelling alone, and may be reached."""
        address = parse_address(host)
        is_local = is_loopback(address) if address else host.rstrip(".") == "localhost"
        return self.allow_loopback and is_local

    def open_socket(self, addr_info: AddrInfo, *, secure: bool) -> socket.socket:
        """Make the socket of a connection, if its address is allowed.

        Args:
            addr_info: Of the connection, its name resolved.
            secure: It is an https connection; one by http may lead to this machine alone.

        Raises:
            ForbiddenAddressError: It is not.
        """
        family, kind, protocol, _, socket_address = addr_info
        address = parse_address(str(socket_address[0]))
        if address is None or not self._permits(address, secure=secure):
            raise ForbiddenAddressError
        return socket.socket(family, kind, protocol)

    def _permits(self, address: IPAddress, *, secure: bool) -> bool:
        if self.allow_loopback and is_loopback(address):
            return True
        return secure and is_public(address)

    def _parse(self, text: str, base: URL | None) -> URL:
        stripped = text.strip()
        if len(stripped) > _MAX_URL_CHARS:
            raise _forbidden(f"the image's address is longer than {_MAX_URL_CHARS} characters")
        if not stripped or _CONTROL.search(stripped):
            raise _forbidden("the image's address is not valid: it is empty, or has control characters in it")
        try:
            url = URL(_encode(stripped), encoded=True)
            if base is not None:
                url = base.join(url)
            # Host and port are looked at lazily, and that is where a bad one shows.
            _ = url.host, url.port
        except ValueError as error:
            raise _forbidden("the image's address is not valid") from error
        return url


def _encode(text: str) -> str:
    """Encode what cannot go on the wire and nothing else: signed addresses break when they are quoted anew.

    Raises:
        ValueError: The host cannot be written as it has to be.
    """
    match = _AUTHORITY.match(text)
    authority = match[0] if match is not None else ""
    path = text[len(authority) :]
    if " " in authority:
        raise ValueError("a blank in the host")
    if not authority.isascii():
        scheme, _, place = authority.rpartition("//")
        authority = f"{scheme}//{URL(f'https://{place}').raw_authority}"
    return authority + _NOT_SENT.sub(lambda found: quote(found[0].encode("utf-8", "surrogateescape")), path)


def forbidden_address(url: URL) -> ImageError:
    """Return the error for a URL whose host is, or leads to, an address that is closed to images."""
    return _forbidden(f"the image's address leads to {_shown(url)}, which is not on the public internet")


def _shown(url: URL) -> str:
    return clean(url.host or "", 100)


def _forbidden(message: str) -> ImageError:
    return ImageError(message, code="image_forbidden_address", hint=_HINT)
