"""The kinds of tunnel: their options and their order. All that is to be said of a new kind outside its own file.

The choice, the tokens that child processes must not see, what ``doctor`` asks, the list of versions and what the
journal keeps for a restart follow from here. Light: every ``--help`` reads the options, and no kind is loaded
before :func:`load_kinds`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from suno_cover_cli.options.declare import CALLBACK, setting_option

if TYPE_CHECKING:
    from suno_cover_cli.tunnels.choice import TunnelKinds


@dataclass(frozen=True, kw_only=True)
class KindOptions:
    """Options of all kinds; each finds them in :attr:`~suno_cover_cli.tunnels.tunnel.TunnelRequest.options`."""

    public_url: Annotated[
        str | None,
        typer.Option(
            "--public-url",
            metavar="URL",
            help="An address of your own that leads to the listener, instead of ngrok.",
            rich_help_panel=CALLBACK,
        ),
    ] = None
    domain: Annotated[str | None, setting_option("domain", panel=CALLBACK)] = None
    ngrok_path: Annotated[
        str | None,
        typer.Option(
            "--ngrok-path",
            metavar="FILE",
            help="ngrok agent to use. (env: PYNGROK_NGROK_PATH)",
            rich_help_panel=CALLBACK,
        ),
    ] = None


def load_kinds() -> "TunnelKinds":
    """Load the kinds, in the order in which they are asked; the last is the default."""
    from suno_cover_cli.tunnels.choice import DIRECT, OWN_ADDRESS, TunnelKinds
    from suno_cover_cli.tunnels.ngrok import NGROK

    return TunnelKinds((OWN_ADDRESS, DIRECT, NGROK))
