"""What a kind of tunnel is, and what each tunnel can do: the one protocol behind which the kinds lie.

A new kind is one module with a :class:`TunnelKind` and a :class:`Tunnel`; its name and its options stand in
:mod:`suno_cover_cli.tunnels.kinds`. They arrive in :attr:`TunnelRequest.options`, and the journal keeps them for a
restart, without further work.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import TunnelError, UsageError
from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.base.settings import is_loopback_url
from suno_cover_cli.base.text import Secret, clean

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


class TunnelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind may know before there is a tunnel.

    Attributes:
        options: Values of the options about callbacks, settings merged in, by the names of their fields.
        environ: The environment.
        child_environ: The environment for programs that are started: without keys and tokens.
        state_dir: The state folder; private files of running tunnels go below it.
        clock: Time.
        notify: Takes a line for people, in the event loop.
        hide: Takes a secret that is to be kept out of everything shown; from any thread.
        is_inside: The service runs in this process; no other way to it makes sense.
        is_local: The service is on this machine, and nothing demands a detour.
        install_s: Granted on top of the time for opening where something has to be downloaded first. With 0,
            opening fails in time, the download goes on, and the next run finds it done.
        may_update: Let a program of the tunnel that is too old update itself, once.
    """

    options: Mapping[str, Any]
    environ: Mapping[str, str]
    child_environ: ChildEnviron
    state_dir: Path
    clock: Clock
    notify: Callable[[str], None]
    hide: Callable[[Secret], None] = lambda _: None
    is_inside: bool = False
    is_local: bool = False
    install_s: float = 0.0
    may_update: bool = True


class Tunnel(ABC):
    """A public address that leads to the listener.

    An async context manager. Entering means that the public URL is known, or raises
    :class:`~suno_cover_cli.base.errors.TunnelError` within the tunnel's own deadline. Leaving takes less than
    1.5 s and leaves no process behind; it may come without entering, after :meth:`begin`.

    Attributes:
        url: Public URL without a trailing slash; empty before it is known.
        inspector: Local page that shows the traffic, or ``None``.
    """

    url: str = ""
    inspector: str | None = None

    async def begin(self) -> None:  # noqa: B027 -- most kinds have nothing to begin with
        """Start what takes time while there is other work to do, before there is a listener to lead to."""

    @abstractmethod
    def lead_to(self, local_url: str) -> None:
        """Say where the listener is, once, before entering: ``http://127.0.0.1:PORT``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 -- what is only an address has nothing to close
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""

    async def next_change(self) -> TunnelChange:
        """Wait for the next loss or return. Safe to cancel: no change is lost.

        A tunnel that does not know of losses never returns; heartbeats of the channel still find them.
        """
        never: asyncio.Future[TunnelChange] = asyncio.get_running_loop().create_future()
        return await never

    async def reopen(self) -> None:  # noqa: B027 -- nothing to start anew
        """Open it anew after it has died; the URL may be another one.

        Raises:
            TunnelError: Not this time.
        """


class TunnelCheck(NamedTuple):
    """What ``doctor`` asks of a kind before a tunnel is opened.

    Attributes:
        name: A word or two.
        run: Returns what is so, one line; raises ``TunnelError`` with the fix, a permanent one where opening a
            tunnel need not be tried. Blocks, in a thread.
    """

    name: str
    run: Callable[[], str]


class TunnelKind(ABC):
    """One way to a public address.

    Attributes:
        name: As people know it.
        secret_variables: Environment variables that hold its tokens; programs that are started never see them.
        packages: Python packages it stands on, for the list of versions.
        probe_headers: Sent with our own checks through a public URL.
        opens_something: There is something to open, which takes a moment; ``False`` for what is only an address.
        needs_internet: Its public URL is out on the internet, where a proxy may be on the way.
    """

    name: str
    secret_variables: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    probe_headers: Mapping[str, str] = {}
    opens_something: bool = True
    needs_internet: bool = True

    @abstractmethod
    def is_wanted(self, request: TunnelRequest) -> bool:
        """Tell whether what the user has set asks for this kind."""

    @abstractmethod
    def make(self, request: TunnelRequest) -> Tunnel:
        """Return a tunnel that is not open yet.

        Raises:
            UsageError: An option is not valid.
        """

    def checks(self, request: TunnelRequest) -> Sequence[TunnelCheck]:  # noqa: ARG002 -- for kinds that have some
        """Return what ``doctor`` asks."""
        return ()

    def advise(self, error: TunnelError) -> str:
        """Return the next step after a failure, for a user who runs ``doctor`` already."""
        return error.hint

    def sweep(self, state_dir: Path) -> None:  # noqa: B027 -- for kinds that leave something
        """Remove what tunnels of killed runs left, secrets first. Blocks; quick where there is nothing.

        Args:
            state_dir: The state folder; it exists.
        """

    def explain_answer(self, headers: Mapping[str, str]) -> TunnelError | None:  # noqa: ARG002 -- the same
        """Return what the kind's own servers say about themselves in the headers of an answer, if they do."""
        return None


def checked_public_url(url: str, *, allows_loopback: bool) -> str:
    """Return a public base URL without blanks and trailing slash, or say what is wrong with it.

    Args:
        url: As typed, or as an agent told it.
        allows_loopback: Accept plain http where the host is this machine.

    Raises:
        UsageError: It is not an address that a service could be given.
    """
    text = url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or len(text) > _MAX_URL_CHARS or not text.isprintable() or not text.isascii() or " " in text:
        raise UsageError(
            f'"{clean(url, 100)}" is not a valid public URL',
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
