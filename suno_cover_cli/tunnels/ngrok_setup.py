"""What is put in order before pyngrok runs: its voice, the proxies in its way, agent and token."""

import logging
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

import msgspec

from suno_cover_cli.base.text import Secret
from suno_cover_cli.tunnels.ngrok_binary import FoundAgent, find_agent

_LOOPBACK = "127.0.0.1,localhost"


class FoundToken(msgspec.Struct, frozen=True):
    """A token and where it came from: a variable or a file."""

    token: Secret
    source: str


def locate_agent(explicit: str | None, environ: Mapping[str, str]) -> tuple[FoundAgent | None, Path]:
    """Look for the agent, as :func:`find_agent` does, and tell where pyngrok keeps its copy or would.

    Raises:
        TunnelError: A path that was given is no program.
    """
    from pyngrok import installer

    default = Path(installer.get_default_ngrok_dir()) / installer.get_ngrok_bin()
    return find_agent(explicit, environ, default), default


def find_token(given: Secret | None, notify: Callable[[str], None]) -> FoundToken | None:
    """Return the token handed in, or the one of the user's own ngrok.yml; nothing else is taken from there.

    That file may hold settings with which pyngrok refuses to work (``log_format``, ``log_level``, ``web_addr``).

    Args:
        given: From ``NGROK_AUTHTOKEN``, or ``None``.
        notify: Takes a line about a file that cannot be read.
    """
    from pyngrok import installer

    if given is not None and (value := given.reveal().strip()):
        return FoundToken(Secret(value), "NGROK_AUTHTOKEN")
    folders = (Path(installer.get_default_ngrok_dir()), Path.home() / ".ngrok2")
    for path in (folder / "ngrok.yml" for folder in folders):
        if not path.is_file():
            continue
        try:
            found = _token_in(installer.get_ngrok_config(str(path), use_cache=False))
        except Exception as error:  # noqa: BLE001 -- a YAML parser's many errors; their texts quote the file
            notify(f"{path} cannot be read ({type(error).__name__}); its authtoken is not used.")
            continue
        if found:
            return FoundToken(Secret(found), str(path))
    return None


def _token_in(config: object) -> str | None:
    """Return the authtoken of a parsed ngrok.yml: under ``agent`` since version 3, on top before."""
    if not isinstance(config, dict):
        return None
    agent = config.get("agent")
    token = (agent.get("authtoken") if isinstance(agent, dict) else None) or config.get("authtoken")
    return str(token).strip() or None if token else None


def silence_pyngrok() -> None:
    """Keep pyngrok off our streams: its log quotes tokens and reaches stderr even when errors are caught."""
    from pyngrok import installer

    logger = logging.getLogger("pyngrok")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    # It would print to stdout. Nothing is downloaded by pyngrok as long as our launcher stands.
    installer._print_progress_enabled = False  # noqa: SLF001 -- pyngrok offers no other switch


def bypass_proxies_on_loopback(environ: MutableMapping[str, str]) -> None:
    """Exempt this machine from proxies: pyngrok calls the agent on 127.0.0.1 through them otherwise.

    Both spellings are extended, because the lower one hides the upper. Without a proxy in the environment nothing
    is changed: the variable alone would hide the system's own proxies on macOS and Windows.
    """
    if not any(environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")):
        return
    for name in ("no_proxy", "NO_PROXY"):
        present = environ.get(name, "")
        if present != "*" and not present.endswith(_LOOPBACK):
            environ[name] = f"{present},{_LOOPBACK}".lstrip(",")
