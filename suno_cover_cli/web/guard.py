"""Who may speak to a page's server: one person's browser, and none of the pages that are open in it beside ours.

Every web page a person visits can send requests to this machine, and every program of this machine can reach the
port. What keeps both out:

- Host is one of the three names of this port, so a foreign name that leads here (DNS rebinding) gets 421.
- A token of 128 bits, known from the address that was printed, is exchanged for a cookie. The cookie's name has
  the port in it, so two servers do not take each other's away; its path is a random one, because browsers send
  cookies to every port of a host, and the page of another local server must not be handed ours.
- Reads of data come from the page itself (``Sec-Fetch-Site``), writes also with its ``Origin`` and as JSON, which
  no foreign form can send.
- The document may load what this server has and nothing else, and no other document may hold it in a frame.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence

from suno_cover_cli.base.clock import Clock

_TOKEN_BYTES = 16
_OPENING_LIVES_S = 120.0
_HTTP_PORT = 80

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # Text from outside stays text: whatever would parse it as markup throws instead.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What a document of ours may do; no inline script or style is part of it."""

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Covers and callbacks are the user's own: nothing of them stays in a browser's cache.
    "Cache-Control": "no-store",
}
"""Headers of every answer, refusals included."""


class PageError(Exception):
    """Ends a request with an answer that says why.

    Attributes:
        status: HTTP status.
        code: Stable word; the page has its own words for it, in the reader's language.
        facts: More for the page, JSON.
    """

    def __init__(self, status: int, code: str, **facts: object) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.facts = facts


class Guard:
    """The secrets of one server, and the judgement of every request.

    Args:
        clock: Time; the address a browser is opened with is good for two minutes.

    Attributes:
        base: Path below which everything lies, random and no secret, with a slash on either end.
    """

    def __init__(self, clock: Clock) -> None:
        self.base = f"/{secrets.token_hex(8)}/"
        self._clock = clock
        self._token = secrets.token_hex(_TOKEN_BYTES)
        self._cookie = secrets.token_hex(_TOKEN_BYTES)
        # Token -> until when. One that opens a browser stands on a command line that other users can read.
        self._openings: dict[str, float] = {}
        self._port = 0

    def bind(self, port: int) -> None:
        """Learn the port; nothing is accepted before."""
        self._port = port

    @property
    def origin(self) -> str:
        """Scheme, host and port, as the page's own address begins."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Address for the person, with the token in it: good as long as the server runs."""
        return f"{self.origin}{self.base}?token={self._token}"

    def make_opening_url(self) -> str:
        """Return an address to open a browser with: good once, and for two minutes."""
        token = secrets.token_hex(_TOKEN_BYTES)
        self._openings[token] = self._clock.monotonic() + _OPENING_LIVES_S
        return f"{self.origin}{self.base}?token={token}"

    # --- judgement --------------------------------------------------------------------------------

    def check_host(self, hosts: Sequence[str]) -> None:
        """Refuse a request that was meant for another name.

        Args:
            hosts: Every ``Host`` header of the request; there has to be one.

        Raises:
            PageError: 421.
        """
        names = ("127.0.0.1", "localhost", "[::1]")
        allowed = {f"{name}:{self._port}" for name in names}
        if self._port == _HTTP_PORT:
            allowed |= set(names)
        if not self._port or len(hosts) != 1 or hosts[0].lower() not in allowed:
            raise PageError(421, "wrong_host")

    def exchange(self, token: str) -> str:
        """Take a token and return the ``Set-Cookie`` that lets its bearer in.

        Raises:
            PageError: 403: it is not ours, or an opening one that was used or is too old.
        """
        given, now = _bytes_of(token), self._clock.monotonic()
        is_ours = hmac.compare_digest(given, self._token.encode())
        for opening, lives_until in list(self._openings.items()):
            if hmac.compare_digest(given, opening.encode()):
                del self._openings[opening]
                is_ours = is_ours or now < lives_until
        if not is_ours:
            raise PageError(403, "locked")
        return f"{self._cookie_name}={self._cookie}; Path={self.base}; HttpOnly; SameSite=Strict"

    def check_cookie(self, cookies: Mapping[str, str]) -> None:
        """Refuse a request without the cookie.

        Raises:
            PageError: 403.
        """
        given = cookies.get(self._cookie_name, "")
        if not hmac.compare_digest(_bytes_of(given), self._cookie.encode()):
            raise PageError(403, "locked")

    def check_read(self, header: Callable[[str], str | None]) -> None:
        """Refuse data to documents that are not ours; another port of this machine counts as the same *site*.

        Raises:
            PageError: 403.
        """
        if header("Sec-Fetch-Site") not in {None, "same-origin", "none"}:
            raise PageError(403, "foreign_page")

    def check_write(self, header: Callable[[str], str | None], content_type: str) -> None:
        """Refuse a write that our own page has not sent.

        Raises:
            PageError: 403 for a missing or foreign origin, 415 for a body that is not JSON.
        """
        self.check_read(header)
        host = header("Host") or ""
        if header("Origin") != f"http://{host}":
            raise PageError(403, "foreign_page")
        if content_type != "application/json":
            raise PageError(415, "not_json")

    @property
    def _cookie_name(self) -> str:
        return f"suno-cover-{self._port}"


def _bytes_of(given: str) -> bytes:
    """Return what was sent; bytes that are not UTF-8 arrive as lone surrogates."""
    return given.encode("utf-8", "surrogateescape")
