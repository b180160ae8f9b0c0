"""Which proxy is on the way to an address: looked up here for the whole program, and checked before it is used.

The environment decides (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, in either spelling), else
the settings of the system on macOS and Windows. aiohttp's own look-up (``trust_env``) is not used: it takes
passwords from ``.netrc`` along, and a malformed address ends it in an error that names no variable.
"""

import os
import re
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.settings import is_loopback_url
from suno_cover_cli.base.text import Secret

_SCHEMES = ("http", "https", "all")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535
_PLACE = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::(.*))?")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_HINT = "Write it as http://HOST:PORT, or unset it to connect without a proxy."
_SOCKS_HINT = "Set HTTPS_PROXY to an http:// address (many SOCKS programs offer one too), or unset this one."


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy that can be used.

    Attributes:
        address: ``scheme://[user:password@]host:port``.
        host: Name or address, brackets removed.
        port: 1 to 65535.
        source: The variable it comes from, or "the system's settings".
    """

    address: Secret
    host: str
    port: int
    source: str

    @property
    def shown(self) -> str:
        """The address as it may be shown: without user and password."""
        scheme = self.address.reveal().partition(":")[0]
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def named(self) -> str:
        """Which one it is, as a message names it: by variable and address."""
        return f"the proxy in {self.source} ({self.shown})"

    @property
    def has_login(self) -> bool:
        """Whether its address holds a user."""
        return "@" in self.address.reveal()

    @property
    def advice(self) -> str:
        """What to do about one that fails."""
        return f"Correct {self.source}, or unset it to connect without a proxy."

    def describe_failure(self, status: int | None) -> str:
        """Say which proxy failed, and how: it answered ``status`` itself, or ``None`` for no answer.

        The HTTP client's own words are not for showing: they quote user and password.
        """
        what = "cannot be reached" if status is None else f"answers HTTP {status}"
        return f"{self.named} {what}"

    def describe_error(self, error: BaseException, status: int | None = None) -> str | None:
        """Say how this proxy failed; ``None`` for an error that is not about it.

        Args:
            error: Of the HTTP client, on the way through this proxy. Those of a connection that could not be made
                bear ``host`` and ``port`` of where it was to lead, and what the system said.
            status: With which the proxy refused to go on.
        """
        if status is not None:
            return self.describe_failure(status)
        import socket
        import ssl

        # The client writes hosts in lower case, and as they are looked up.
        place = (self.host.encode("idna").decode("ascii").lower(), self.port)
        if (getattr(error, "host", None), getattr(error, "port", None)) != place:
            return None
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        if isinstance(cause, socket.gaierror):
            return f"{self.named} cannot be found: no address is known for its name"
        if isinstance(cause, ssl.SSLError):
            return f"no trusted connection can be made to {self.named}"
        return self.describe_failure(None)


class Proxies:
    """The proxies of this process, as they are when this is made; that blocks for a moment on some systems."""

    def __init__(self) -> None:
        self._found = _find_all()

    def __bool__(self) -> bool:
        return any(scheme in self._found for scheme in _SCHEMES)

    def find(self, url: str) -> Proxy | None:
        """Return the proxy on the way to a URL; ``None`` for this machine and what ``NO_PROXY`` exempts.

        Blocks where the system looks up the name to tell whether it is exempt.

        Raises:
            UsageError: The address of the proxy is malformed; names the variable, never the value.
        """
        parts = urlsplit(url)
        scheme = parts.scheme if parts.scheme in self._found else "all"
        address = self._found.get(scheme)
        if address is None or is_loopback_url(url):
            return None
        from urllib.request import proxy_bypass

        if proxy_bypass(parts.hostname or ""):
            return None
        return _checked(address, self._source(scheme))

    def check(self, scheme: str) -> None:
        """Look at the proxy on the way to most addresses of a scheme, before there is an address.

        Raises:
            UsageError: Its address is malformed.
        """
        used = scheme if scheme in self._found else "all"
        if used in self._found:
            _checked(self._found[used], self._source(used))

    def faults(self) -> Iterator[UsageError]:
        """Yield what is wrong with each of them, used or not."""
        for scheme in _SCHEMES:
            try:
                if scheme in self._found:
                    self.check(scheme)
            except UsageError as error:
                yield error
        for entry in self._found.get("no", "").split(","):
            if "://" in entry or not entry.isprintable() or " " in entry.strip():
                yield UsageError(
                    f"{self._source('no')} has an entry that is not a host name, and exempts nothing",
                    code="bad_proxy",
                    hint="Write host names separated by commas, without http:// and blanks.",
                )

    def _source(self, scheme: str) -> str:
        """Name the variable that holds the proxy of a scheme; the lower spelling wins, as it does in curl."""
        names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
        return next((name for name in names if os.environ.get(name)), "the system's settings")


def _find_all() -> dict[str, str]:
    """Return the addresses of proxies by scheme, as Python's library finds them; ``no`` holds what is exempt."""
    # Nothing to find, as a rule; the library, all of e-mail with it, loads while a tunnel could be opening.
    has_system_settings = sys.platform in {"darwin", "win32"}
    if not has_system_settings and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies

    return getproxies()


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy on the way to a URL, as :meth:`Proxies.find` does, looking once. Blocks for a moment.

    Raises:
        UsageError: The address of the proxy is malformed.
    """
    return Proxies().find(url)


def _checked(address: str, source: str) -> Proxy:
    """Read the address of a proxy: nothing that passes here is refused by the HTTP client later.

    No part of a malformed value is quoted: any of them may be the password of one that was meant.
    """
    text = address.strip()
    if not text:
        raise _malformed(source, "it is blank")
    if not text.isprintable() or " " in text:
        raise _malformed(source, "it holds a blank or a control character")
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "http", text
    # A path means nothing, but one with "@" in it is the end of a password that was cut at its own slash.
    authority, *path = re.split("[/?#]", rest, maxsplit=1)
    if any("@" in part for part in path):
        raise _malformed(source, "its user or password holds / ? or #; write them as %2F, %3F, %23")
    if not mark and any(path):
        raise _malformed(source, 'its scheme lacks "://"')
    scheme = scheme.lower()
    if scheme.startswith("socks"):
        raise _malformed(source, "it is a SOCKS proxy, and only http:// and https:// can be used", _SOCKS_HINT)
    if scheme not in _DEFAULT_PORTS:
        raise _malformed(source, "it does not begin with http:// or https://")
    login, _, place = authority.rpartition("@")
    return _located(place, f"{scheme}://{login}@" if login else f"{scheme}://", _DEFAULT_PORTS[scheme], source)


def _located(place: str, prefix: str, default_port: int, source: str) -> Proxy:
    """Read host and port; ``prefix`` is what comes before them in the address."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise _malformed(source, "its host is not a valid name or address")
    bracketed, name, port = match.groups()
    host = bracketed or name or ""
    if not host:
        raise _malformed(source, "it names no host")
    if not _is_host(host, is_address=bracketed is not None):
        raise _malformed(source, "its host is not a valid name or address")
    shown_port = port or str(default_port)
    if re.fullmatch("[0-9]{1,5}", shown_port) is None or not 0 < int(shown_port) <= _MAX_PORT:
        raise _malformed(source, f"its port is not a number from 1 to {_MAX_PORT}")
    shown_host = f"[{host}]" if ":" in host else host
    return Proxy(
        address=Secret(f"{prefix}{shown_host}:{shown_port}"), host=host, port=int(shown_port), source=source
    )


def _is_host(host: str, *, is_address: bool) -> bool:
    try:
        ip_address(host)
    except ValueError:
        if is_address:
            return False
    else:
        return True
    try:
        return _HOST.fullmatch(host.encode("idna").decode("ascii")) is not None
    except UnicodeError:  # an empty or overlong label, or characters that no name has
        return False


def _malformed(source: str, reason: str, hint: str = _HINT) -> UsageError:
    return UsageError(f"the proxy address in {source} is not valid: {reason}", code="bad_proxy", hint=hint)
