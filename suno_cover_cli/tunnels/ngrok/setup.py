"""What has to be there before a tunnel: the authtoken, and the agent's executable, fetched when there is none."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from suno_cover_cli.base.clock import in_daemon_thread
from suno_cover_cli.base.errors import UsageError, reason_of
from suno_cover_cli.base.files import PendingFile, is_file
from suno_cover_cli.base.proxies import Proxy, find_proxy
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.tunnels.ngrok.agent import AgentHome
from suno_cover_cli.tunnels.ngrok.errors import bad_token, plain_error
from suno_cover_cli.tunnels.tunnel import TunnelRequest

TOKEN_VARIABLE = "NGROK_AUTHTOKEN"  # noqa: S105 -- a name
PATH_VARIABLE = "PYNGROK_NGROK_PATH"
DOWNLOAD_PAGE = "https://ngrok.com/download"
# Version 3 of the configuration came with 3.16 (3.15.0 had it and was withdrawn; ngrok's issue tracker, 2024).
FIRST_WITH_CONFIG_3 = (3, 16)
# Refused for unpaid accounts since December 2025 are all before this (ngrok's changelog).
FIRST_FOR_FREE_PLANS = (3, 19)

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
_VERSION_S = 3.0
_MAX_ATTEMPTS = 3
_RETRY_S = 0.5
MAX_BYTES = 400 * 1024 * 1024
_COPY_BYTES = 1024 * 1024
# A real agent is a native program of 20 MB and more; what pip or pyenv put on the PATH under its name is small
# and says whose it is.
_MAX_SHIM_BYTES = 2 * 1024 * 1024
_SHIM_MARKS = (b"pyngrok", b"pyenv")
_PROGRAM_STARTS = (
    b"\x7fELF",
    b"MZ",
    b"#!",
    *(bytes.fromhex(magic) for magic in ("cffaedfe", "cefaedfe", "feedfacf", "feedface", "cafebabe")),
)

# Quotes as keyboards and word processors make them.
_AROUND = "\"'`\u2018\u2019\u201c\u201d ;,}"
# "ngrok config add-authtoken X", "ngrok http 80 --authtoken=X", "authtoken: X" of a ngrok.yml, and
# "NGROK_AUTHTOKEN: X" of a compose file, "setx NGROK_AUTHTOKEN X", "set -x NGROK_AUTHTOKEN X", JSON.
_COMMAND = re.compile(r"authtoken[\"']?[ :=]+(\S+)", re.IGNORECASE)
# "NAME=X", "export NAME=X", "set NAME=X", "$env:NAME = X".
_ASSIGNMENT = re.compile(r"(?:(?:export|set|setx) )?(?:\$env:)?[A-Za-z_]\w* ?= ?(.*)")
_PLACEHOLDER = re.compile(r"[$<{\[].*|your[-_ ]?\w*token\w*|x{4,}|\*{3,}|\.\.\.", re.IGNORECASE)
_MAX_CHARS = 4096


# --- the token ------------------------------------------------------------------------------------------


class FoundToken(NamedTuple):
    """A token and where it came from: a variable or a file."""

    token: Secret
    source: str


def find_token(environ: Mapping[str, str], notify: Callable[[str], None]) -> FoundToken | None:
    """Return the token of the environment, or that of the user's own ngrok.yml; nothing else is taken from there.

    That file may hold settings under which the agent's log and local API cannot be read (``log_format``,
    ``log_level``, ``web_addr``). Blocks.

    Args:
        environ: The environment.
        notify: Takes a line about a file that cannot be read.

    Raises:
        TunnelError: What is there cannot be a token; says why, never its value.
    """
    if token := read_token(environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE):
        return FoundToken(Secret(token), TOKEN_VARIABLE)
    # Imported late: it brings a YAML parser along, which a token in the environment makes needless.
    from pyngrok import installer

    for folder in (Path(installer.get_default_ngrok_dir()), Path.home() / ".ngrok2"):
        path = folder / "ngrok.yml"
        if not is_file(path):
            continue
        try:
            found = _token_in(installer.get_ngrok_config(str(path), use_cache=False))
        except Exception as error:  # noqa: BLE001 -- a YAML parser's many errors; their texts quote the file
            notify(f"{path} cannot be read ({type(error).__name__}); its authtoken is not used.")
            continue
        if found and (token := read_token(found, str(path))):
            return FoundToken(Secret(token), str(path))
    return None


def read_token(text: str, source: str) -> str:
    """Take a token out of what was pasted: quotes, invisible characters, the name before it, a whole command.

    Args:
        text: As it stands in ``source``.
        source: For the message.

    Returns:
        The token, or an empty string when there is nothing.

    Raises:
        TunnelError: What is left cannot be a token. Which characters ngrok may use some day is not for us to say,
            so only blanks, letters outside ASCII, addresses and placeholders are refused.
    """
    token = clean(text, _MAX_CHARS)  # takes zero-width characters, byte-order marks and controls out
    if match := _COMMAND.search(token) or _ASSIGNMENT.fullmatch(token):
        token = match[1]
    token = token.strip(_AROUND)
    if not token:
        return ""
    if "://" in token:
        raise bad_token(source, "it is an address")
    if _PLACEHOLDER.fullmatch(token):
        raise bad_token(source, "it is a placeholder")
    if any(character.isspace() for character in token):
        raise bad_token(source, "it has blanks in it")
    if not token.isascii() or not token.isprintable():
        raise bad_token(source, "it has characters in it that no authtoken has")
    return token


def _token_in(config: object) -> str | None:
    """Return the authtoken of a parsed ngrok.yml: under ``agent`` since version 3, on top before."""
    if not isinstance(config, dict):
        return None
    agent = config.get("agent")
    token = (agent.get("authtoken") if isinstance(agent, dict) else None) or config.get("authtoken")
    return str(token) if token else None


# --- the agent ------------------------------------------------------------------------------------------


class FoundAgent(NamedTuple):
    """The agent's executable.

    Attributes:
        path: Absolute.
        source: Where it was found, in words a person knows.
        is_snap: It is confined by snapd.
    """

    path: Path
    source: str
    is_snap: bool = False

    @property
    def update_hint(self) -> str:
        """How it is brought up to date."""
        if self.is_snap:
            return "Run: sudo snap refresh ngrok"
        return f"Run: ngrok update (or get the latest from {DOWNLOAD_PAGE})."


def default_path() -> Path:
    """Return where pyngrok keeps its copy of the agent, or would."""
    # Imported late: it brings a YAML parser along, and most agents are found without it.
    from pyngrok import installer

    return Path(installer.get_default_ngrok_dir()) / installer.get_ngrok_bin()


def find_agent(explicit: str | None, environ: Mapping[str, str]) -> FoundAgent | None:
    """Look for the agent: ``--ngrok-path``, ``PYNGROK_NGROK_PATH``, a real one on PATH, pyngrok's copy.

    Args:
        explicit: Value of ``--ngrok-path``, or ``None``.
        environ: The environment.

    Returns:
        ``None`` when there is none and one has to be downloaded.

    Raises:
        TunnelError: A path that was given is not a program; nothing else is tried then.
    """
    for given, source in ((explicit, "--ngrok-path"), (environ.get(PATH_VARIABLE), PATH_VARIABLE)):
        if given:
            path = Path(given).expanduser().absolute()
            if not _is_executable(path):
                raise plain_error(
                    "ngrok_missing",
                    f'there is no ngrok agent at "{clean(given, 200)}" ({source})',
                    f"Correct {source}, or leave it out to have the agent found or downloaded.",
                    is_permanent=True,
                )
            return FoundAgent(path, source, _is_snap(path))
    name = "ngrok.exe" if os.name == "nt" else "ngrok"
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder or ".").absolute() / name
        if _is_executable(path) and not is_shim(path):
            return FoundAgent(path, "PATH", _is_snap(path))
    default = default_path()
    return FoundAgent(default, "pyngrok's copy") if _is_executable(default) else None


def _is_snap(path: Path) -> bool:
    """Tell whether a command is that of a snap: each is a link to one program, which confines it."""
    return path.resolve().name == "snap"


def _is_executable(path: Path) -> bool:
    return is_file(path) and os.access(path, os.X_OK)


def is_shim(path: Path) -> bool:
    """Tell whether a program called ngrok is only a Python tool's stand-in for it."""
    try:
        if path.stat().st_size > _MAX_SHIM_BYTES:
            return False
        content = path.read_bytes()
    except OSError:
        return True  # what cannot be read is not known to be an agent
    return any(mark in content for mark in _SHIM_MARKS)


def agent_environ(request: TunnelRequest) -> dict[str, str]:
    """Return the environment of the agent: without our secrets, and without its own second source of a token.

    Proxies are left out too: the agent would go through them, which ngrok allows on paid plans only (9009).
    """
    return {name: value for name, value in request.child_environ.items() if name.lower() not in _PROXY_VARIABLES}


def ask_version(agent: Path, environ: Mapping[str, str]) -> str | None:
    """Run ``ngrok --version``; ``None`` when it does not say within 3 s.

    Args:
        agent: The executable.
        environ: Its environment, without secrets.
    """
    try:
        done = subprocess.run(  # noqa: S603 -- the agent that jobs would run
            [agent, "--version"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    shown = clean(done.stdout.decode("utf-8", "replace"), 60)
    return shown if done.returncode == 0 and shown else None


def parse_version(shown: str) -> tuple[int, int] | None:
    """Return major and minor number of what an agent says of its version, or ``None``."""
    match = re.search(r"version (\d{1,4})\.(\d{1,4})", shown)
    return (int(match[1]), int(match[2])) if match else None


async def fetch_agent(
    request: TunnelRequest,
    home: AgentHome,
    *,
    run: Callable[[list[str], Mapping[str, str], Callable[[str], object]], Awaitable[str]],
    report_progress: Callable[[str], None],
) -> FoundAgent:
    """Download the agent, with retries, and move it into place when whole.

    pyngrok's installer does the work, in a process of its own: see :mod:`suno_cover_cli.tunnels.ngrok.install`. No
    checksum is published for its archives: what vouches for them is TLS, the archive's own checks, and the first
    bytes of a program.

    Args:
        request: For environment, time and words to people.
        home: Private folder, for the archive and what is in it.
        run: Runs a command with an environment and hands each line it prints to a function; returns why it failed,
            or an empty string when all went well.
        report_progress: Takes how far it is, such as ``40 %``.

    Raises:
        TunnelError: Every attempt failed.
    """
    from suno_cover_cli.tunnels.ngrok import install

    target, proxy = await in_daemon_thread(lambda: (default_path(), _proxy_for_download()))
    request.notify(f"The ngrok agent is not installed; downloading it once to {target} ...")
    environ = agent_environ(request)
    if proxy is not None:
        environ["https_proxy"] = proxy.address.reveal()
    # pyngrok gives the archive a fixed name in the folder for temporary files, which all users share.
    environ |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(home.path))
    # -P: the folder of that program is not one to import from.
    command = [sys.executable, "-P", install.__file__, str(home.path), str(MAX_BYTES)]
    reason = ""
    for attempt in range(_MAX_ATTEMPTS):
        await request.clock.sleep(_RETRY_S * attempt)
        failure = await run(command, environ, lambda line: _read_progress(line, report_progress))
        try:
            if not failure:
                await in_daemon_thread(lambda: _move(home.path / target.name, target))
                request.notify("The ngrok agent is installed.")
                return FoundAgent(target, "download")
            reason = failure
        except OSError as error:
            reason = reason_of(error)
    route = f" through the proxy in {proxy.source} ({proxy.shown})" if proxy is not None else ""
    raise plain_error(
        "ngrok_download",
        f"the ngrok agent could not be downloaded{route}: {clean(reason, 160)}",
        f"Install it from {DOWNLOAD_PAGE}, or say where it is with --ngrok-path.",
    )


def _proxy_for_download() -> Proxy | None:
    from pyngrok import installer

    try:
        return find_proxy(installer.get_ngrok_cdn_url("3"))
    except UsageError as error:
        raise plain_error("ngrok_download", error.message, error.hint, is_permanent=True) from None


def _read_progress(line: str, report_progress: Callable[[str], None]) -> None:
    if match := re.search(r"(\d{1,3})%", line):
        report_progress(f"{match[1]} %")


def _move(program: Path, target: Path) -> None:
    """Copy a program to where pyngrok keeps its own; it appears there whole or not at all.

    Raises:
        OSError: It cannot be, or is not a program.
    """
    with program.open("rb") as source:
        if program.is_symlink() or not source.read(4).startswith(_PROGRAM_STARTS):
            raise OSError(errno.ENOEXEC, "the archive holds no program")
        source.seek(0)
        target.parent.mkdir(parents=True, exist_ok=True)
        with PendingFile(target, mode=0o700) as part:
            shutil.copyfileobj(source, part.stream, _COPY_BYTES)
            part.publish()
