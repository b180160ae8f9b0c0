"""Receivers as users type them: short forms, logins, extra headers, and the one that must not be: ourselves."""

import asyncio
import re
import socket
from urllib.parse import unquote

import msgspec
from yarl import URL

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.callbacks.bodies import WORD_CHAR

_PORT_AND_PATH = re.compile(r":?([0-9]{1,5})([/?][!-~]*)?", re.ASCII)
_WORD_AND_PATH = re.compile(r"[^/?:.@]+([/?].*)?", re.DOTALL)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_HEADER = re.compile(rf"({WORD_CHAR}+):[ \t]*(.*)", re.DOTALL)
_MAX_PORT = 65535
# Servers take a request line of about 8 KiB at most, and the sender's query has to fit in as well.
_MAX_ADDRESS_BYTES = 8 * 1024
_THIS_MACHINE = "localhost"
_TARGET_HINT = "Give a port, host:port or URL, such as 3000, 3000/suno-callback or http://localhost:3000/hook"
# What one connection needs; a second value of these would break the request or mean nothing.
_OURS = {"connection", "content-length", "transfer-encoding", "upgrade"}


class Target(msgspec.Struct, frozen=True):
    """A receiver.

    Attributes:
        url: Where it is, fit to be shown: without user and password.
        login: ``user:password`` of its address, the password empty where it has none, or ``None``.
    """

    url: str
    login: Secret | None = None

    def with_query(self, query: str) -> str:
        """Return the URL with the query of a request behind its own."""
        # A raw # is part of what was sent; here it would end the query.
        query = query.replace("#", "%23")
        return f"{self.url}{'&' if '?' in self.url else '?'}{query}" if query else self.url


def parse_target(text: str) -> Target:
    """Return the receiver that ``3000``, ``3000/path``, ``/path``, ``host:port/path`` or a URL means.

    ``3000?query`` is ``3000/?query``. A lone port or path is on ``localhost``, by either IP version: development
    servers bind one or the other. A user and a password before the host are sent as Basic authentication and shown
    nowhere.

    Raises:
        UsageError: It means none, is longer than 8 KiB, or is a lone word: a host needs its port or ``http://``.
    """
    target = text.strip()
    if len(target) > _MAX_ADDRESS_BYTES:
        # Not quoted: a login may stand anywhere in it.
        raise _refusal(
            f"The address of a receiver has {len(target):,} characters; 8 KiB is the most",
            "Shorten its query: a long value fits into a header, --header 'X-Name: value'",
        )
    is_word = _WORD_AND_PATH.fullmatch(target) is not None
    if match := _PORT_AND_PATH.fullmatch(target):
        path = match[2] or "/"
        target = f"http://{_THIS_MACHINE}:{match[1]}{path if path[0] == '/' else f'/{path}'}"
    elif target.startswith("/"):
        target = f"http://{_THIS_MACHINE}{target}"
    elif _SCHEME.match(target) is None:
        target = f"http://{target}"
    scheme, _, rest = target.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority.partition("?")[2]:
        # Where the host begins is not clear, and what comes before it may be a password.
        raise _refusal(
            'The address of a receiver has "@" behind "?" and no path before them',
            'Write %40 for "@" in a query, and %3F for "?" in a password',
        )
    login, at, place = authority.rpartition("@")
    target = f"{scheme.lower()}://{place}{slash}{path}"  # whether TLS is spoken is read from it
    try:
        url = URL(target, encoded=True)
        is_usable = url.scheme in {"http", "https"} and bool(url.host) and 0 < (url.port or 0) <= _MAX_PORT
    except ValueError:
        is_usable = False
    if not is_usable and "@" in path:
        # As above: a password with a slash in it ends what looks like the host.
        raise _refusal(
            'The address of a receiver has "@" behind "/" and no valid host and port before them',
            'Write %2F for "/" in a password',
        )
    if not is_usable or _VISIBLE.fullmatch(target) is None or "#" in target or "@" in place:
        # A login is not quoted even where the rest makes no sense.
        shown = target if at else text
        raise _refusal(f'"{clean(shown, 80)}" is not a receiver')
    if is_word and (url.host or "").lower() != _THIS_MACHINE:
        # Far more often a path without its port, or a word that was meant for another option, than a host.
        raise _refusal(
            f'"{clean(text, 80)}" is not a receiver: a host needs its port or http://',
            _TARGET_HINT
            if (url.host or "").isdigit()
            else f"Give the port of your program, such as 3000, or the host as http://{url.host}:8080/path",
        )
    # The colon is there without a password too (RFC 7617, 2).
    return Target(target, Secret(unquote(login if ":" in login else f"{login}:")) if at else None)


def _refusal(message: str, hint: str = _TARGET_HINT) -> UsageError:
    return UsageError(message, code="bad_target", hint=hint)


def parse_header(text: str) -> tuple[str, str]:
    """Read a header line as typed, ``Name: value``.

    Raises:
        UsageError: It is none, or one that belongs to the connection. Its value is not quoted: it may be a key.
    """
    match = _HEADER.fullmatch(text)
    name = clean(text.partition(":")[0], 60)
    if match is None:
        hint = "Write it as --header 'X-Name: value'"
        raise UsageError(f'--header "{name}" is not a header line', code="bad_header", hint=hint)
    value = match[2].strip(" \t")
    if not value.isprintable():
        what = "a line break" if "\n" in value or "\r" in value else "a control character"
        raise UsageError(
            f'the value of --header "{name}" holds {what}',
            code="bad_header",
            hint="Give each header its own --header",
        )
    if match[1].lower() in _OURS:
        hint = "Leave it out: each connection makes its own"
        raise UsageError(f'--header "{name}" cannot be set', code="bad_header", hint=hint)
    return match[1], value


async def refuse_loop(url: str, *, local_url: str, public_url: str | None) -> None:
    """Refuse a receiver that is the listener itself, by its public or by any local address.

    Raises:
        UsageError: Every callback would come back endlessly.
    """
    target, local = URL(url), URL(local_url)
    public = URL(public_url) if public_url else None
    is_public = public is not None and (target.host, target.port) == (public.host, public.port)
    if is_public or (target.port == local.port and await is_this_machine(target.host or "", local.port or 0)):
        raise UsageError(
            "The receiver is this listener itself: every callback would come back endlessly",
            code="forward_loop",
            hint="Pass the address of your own program to --forward-to, or another --listen-port",
        )


async def is_this_machine(host: str, port: int) -> bool:
    """Tell whether a name or an address leads to this machine; one that cannot be found does not."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_is_own_address(family, str(address[0])) for family, _, _, _, address in found)


def _is_own_address(family: int, host: str) -> bool:
    """Tell whether an address is this machine's: no other can be bound."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
