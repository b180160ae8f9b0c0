"""The tunnel through ngrok: its kind, and below it the agent, where it comes from and what it says."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.tunnels.ngrok.errors import explain_code, find_code, no_token, plain_error
from suno_cover_cli.tunnels.tunnel import Tunnel, TunnelCheck, TunnelKind, TunnelRequest

_TOKEN_VARIABLE = "NGROK_AUTHTOKEN"  # noqa: S105 -- a name
_NETWORK_HINT = "Check the internet connection and the firewall; the agent's own check is: ngrok diagnose"
_AGENT_HINT = "Run the agent by hand to see what it says: ngrok http 80"


def home_folders(state_dir: Path) -> tuple[Path, Path]:
    """Return where private folders of agents are: below the state folder, and where the snap of ngrok can read.

    A snap sees nothing below hidden folders, where state folders are (https://snapcraft.io/docs/data-locations).
    """
    return state_dir / "agents", Path.home() / "snap" / "ngrok" / "common" / "suno-cover"


def has_entries(folder: Path) -> bool:
    """Tell whether there is anything in a folder; ``False`` for one that is not there."""
    with suppress(OSError):
        return any(folder.iterdir())
    return False


class _Ngrok(TunnelKind):
    name = "ngrok"
    secret_variables = (_TOKEN_VARIABLE, "NGROK_API_KEY")
    packages = ("pyngrok",)
    # ngrok's free plan shows browsers a warning page first; this header asks it not to.
    probe_headers: Mapping[str, str] = {"ngrok-skip-browser-warning": "1"}

    def is_wanted(self, request: TunnelRequest) -> bool:
        return bool(request.environ.get(_TOKEN_VARIABLE, "").strip())

    def make(self, request: TunnelRequest) -> Tunnel:
        from suno_cover_cli.tunnels.ngrok.tunnel import NgrokTunnel

        return NgrokTunnel(request)

    def checks(self, request: TunnelRequest) -> Sequence[TunnelCheck]:
        return (
            TunnelCheck("ngrok agent", lambda: _check_agent(request)),
            TunnelCheck("ngrok token", lambda: _check_token(request)),
        )

    def advise(self, error: TunnelError) -> str:
        if error.code in {"ngrok_offline", "ngrok_timeout", "tunnel_timeout"}:
            return _NETWORK_HINT
        return _AGENT_HINT if error.hint.startswith("suno-cover doctor") else error.hint

    def sweep(self, state_dir: Path) -> None:
        if any(has_entries(folder) for folder in home_folders(state_dir)):
            from suno_cover_cli.tunnels.ngrok.agent import sweep

            sweep(state_dir)

    def explain_answer(self, headers: Mapping[str, str]) -> TunnelError | None:
        code = find_code(headers.get("Ngrok-Error-Code"))
        return None if code is None else explain_code(code)


def _check_agent(request: TunnelRequest) -> str:
    """Find the agent and look at its version; nothing is downloaded."""
    from suno_cover_cli.tunnels.ngrok import setup

    agent = setup.find_agent(request.options.get("ngrok_path"), request.environ)
    if agent is None:
        hint = f"The first tunnel downloads it to {setup.default_path()}; or see {setup.DOWNLOAD_PAGE}"
        raise plain_error("ngrok_missing", "not installed", hint, is_permanent=True)
    shown = setup.ask_version(agent.path, setup.agent_environ(request))
    if shown is None:
        raise plain_error(
            "ngrok_version",
            f"{agent.path} does not report its version",
            f"Install it again: {setup.DOWNLOAD_PAGE}",
        )
    version = setup.parse_version(shown)
    if version is not None and version < setup.FIRST_FOR_FREE_PLANS:
        last = f"{setup.FIRST_FOR_FREE_PLANS[0]}.{setup.FIRST_FOR_FREE_PLANS[1] - 1}"
        raise plain_error(
            "ngrok_too_old",
            f"{shown} at {agent.path} ({agent.source}); ngrok refuses agents up to {last} on free plans",
            agent.update_hint,
        )
    return f"{shown} at {agent.path} ({agent.source}{', a snap' if agent.is_snap else ''})"


def _check_token(request: TunnelRequest) -> str:
    """Find the token; whether ngrok takes it is for the tunnel to tell."""
    from suno_cover_cli.tunnels.ngrok.setup import find_token

    lines: list[str] = []
    found = find_token(request.environ, lines.append)
    if found is None:
        error = no_token()
        raise plain_error(error.code, "; ".join(["no authtoken", *lines]), error.hint, is_permanent=True)
    request.hide(found.token)
    return f"from {found.source}"


NGROK = _Ngrok()
