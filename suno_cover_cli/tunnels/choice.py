"""Which kind of tunnel a run takes, and the two kinds that need nothing opened."""

from typing import NamedTuple

from suno_cover_cli.tunnels.tunnel import Tunnel, TunnelKind, TunnelRequest, checked_public_url


class PublicUrl(Tunnel):
    """An address that already leads to the listener (``--public-url``): nothing to open or close.

    Whether it really leads there is for a probe to tell.

    Raises:
        UsageError: Neither https nor http on loopback, or no URL at all.
    """

    def __init__(self, url: str) -> None:
        self.url = checked_public_url(url, allows_loopback=True)

    def lead_to(self, local_url: str) -> None:
        """Nothing to do: where it leads was decided elsewhere."""


class _Loopback(Tunnel):
    """The listener's own address, for a service that can reach it."""

    def lead_to(self, local_url: str) -> None:
        """Take it."""
        self.url = local_url


class _OwnAddress(TunnelKind):
    name = "your own address"
    opens_something = False

    def is_wanted(self, request: TunnelRequest) -> bool:
        return request.options.get("public_url") is not None

    def make(self, request: TunnelRequest) -> Tunnel:
        return PublicUrl(str(request.options["public_url"]))


class _Direct(TunnelKind):
    name = "this machine"
    opens_something = False
    needs_internet = False

    def is_wanted(self, request: TunnelRequest) -> bool:
        return request.is_inside

    def make(self, request: TunnelRequest) -> Tunnel:  # noqa: ARG002 -- nothing has to be known
        return _Loopback()


class TunnelKinds(NamedTuple):
    """The kinds that a run knows, in the order in which they are asked; the last is the default."""

    known: tuple[TunnelKind, ...]

    @property
    def secret_variables(self) -> tuple[str, ...]:
        """Environment variables that hold tokens of any of them."""
        return tuple(name for kind in self.known for name in kind.secret_variables)

    @property
    def packages(self) -> tuple[str, ...]:
        """Python packages that they stand on."""
        return tuple(name for kind in self.known for name in kind.packages)

    def choose(self, request: TunnelRequest) -> TunnelKind:
        """Return the first kind that is asked for, none at all for a service nearby, else the last."""
        for kind in self.known:
            if kind.is_wanted(request):
                return kind
        return DIRECT if request.is_local else self.known[-1]


OWN_ADDRESS = _OwnAddress()
DIRECT = _Direct()
