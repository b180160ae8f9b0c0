"""How the service reaches us: what every tunnel can do, and the one that is somebody's own address."""

import asyncio
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.settings import is_loopback_url
from suno_cover_cli.base.text import clean

_MAX_URL_CHARS = 2000


class TunnelChange(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to an open tunnel.

    Attributes:
        lost: ``True`` when it stopped working, ``False`` when it came back by itself.
        reason: One line for people, cleaned.
        url: Public URL from now on; ``None`` while there is none.
        is_dead: It cannot come back by itself; only :meth:`Tunnel.reopen` helps.
    """

    lost: bool
    reason: str
    url: str | None = None
    is_dead: bool = False


class Tunnel(Protocol):
    """A public address that leads to the listener.

    An async context manager. Entering means that the public URL is known, or raises
    :class:`~suno_cover_cli.base.errors.TunnelError` within the tunnel's own deadline. Leaving takes less than
    1.5 s and leaves no process behind.

    Attributes:
        url: Public URL without a trailing slash.
        inspector: Local page that shows the traffic, or ``None``.
    """

    @property
    def url(self) -> str:
        """See above."""
        ...

    @property
    def inspector(self) -> str | None:
        """See above."""
        ...

    async def __aenter__(self) -> Self:
        """Open it."""
        ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        ...

    async def next_change(self) -> TunnelChange:
        """Wait for the next loss or return. Safe to cancel: no change is lost."""
        ...

    async def reopen(self) -> None:
        """Open it anew after it has died; the URL may be another one.

        Raises:
            TunnelError: Not this time.
        """
        ...


def checked_public_url(url: str, *, allows_loopback: bool) -> str:
    """Return a public base URL without blanks and trailing slash, or say what is wrong with it.

    Args:
        url: As typed, or as an agent told it.
        allows_loopback: Accept plain http where the host is this machine.

    Raises:
        UsageError: It is no address a service could be given.
    """
    text = url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or len(text) > _MAX_URL_CHARS or not text.isprintable() or not text.isascii() or " " in text:
        raise UsageError(
            f'"{clean(url, 100)}" is no usable public URL',
            hint="Give scheme and host, such as https://hooks.example.org.",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f'"{clean(parts.hostname, 100)}": a public URL may not hold a user, a query or a fragment',
            hint="Give scheme, host and path alone, such as https://hooks.example.org/suno.",
        )
    if parts.scheme == "http" and not (allows_loopback and is_loopback_url(text)):
        raise UsageError(
            f'the public URL "{clean(text, 100)}" is not https',
            hint="Use https; plain http is for addresses of this machine only.",
        )
    return text


class PublicUrl:
    """An address of one's own (``--public-url``) that already leads to the listener: nothing to open or close.

    Whether it really leads there is for a probe to tell.

    Raises:
        UsageError: Neither https nor http on loopback, or no URL at all.
    """

    inspector: str | None = None

    def __init__(self, url: str) -> None:
        self.url = checked_public_url(url, allows_loopback=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is ours to close."""

    async def next_change(self) -> TunnelChange:
        """Wait for ever: nobody tells us about somebody else's address."""
        never: asyncio.Future[TunnelChange] = asyncio.get_running_loop().create_future()
        return await never

    async def reopen(self) -> None:
        """Do nothing: whether it is back is for a probe to tell."""
