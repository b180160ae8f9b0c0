"""What the thread of an ngrok agent is told at first, and what it reports afterwards."""

from concurrent.futures import Future
from pathlib import Path

import msgspec

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.text import Secret


class AgentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent is to do; the fields are those of :class:`~suno_cover_cli.tunnels.ngrok.NgrokTunnel`.

    ``local_url`` is waited for only when the agent stands; cancelling it means that none will be told.
    """

    local_url: Future[str]
    token: Secret | None
    domain: str | None
    ngrok_path: str | None
    state_dir: Path
    private_variables: tuple[str, ...]
    use_proxy: bool
    startup_s: float
    download_url: str | None
    may_update: bool


class AgentStarting(msgspec.Struct, frozen=True):
    """What could be done quickly is done; now the thread waits for a process or a download."""


class AgentOpened(msgspec.Struct, frozen=True):
    """The public URL is known."""

    url: str
    inspector: str


class AgentFailed(msgspec.Struct, frozen=True):
    """There will be no tunnel in this life."""

    error: TunnelError


class LinkChanged(msgspec.Struct, frozen=True):
    """The agent lost ngrok, or found it again under ``url``."""

    is_up: bool
    reason: str
    url: str


class AgentEnded(msgspec.Struct, frozen=True):
    """The process is gone, its folder too, and the thread is about to end."""


AgentReport = AgentStarting | AgentOpened | AgentFailed | LinkChanged | AgentEnded
