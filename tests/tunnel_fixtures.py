"""The stand-in for the ngrok agent as a fixture, a listener to lead it to, and tunnels between the two."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.providers import without_secrets
from suno_cover_cli.base.text import Secret
from suno_cover_cli.tunnels.kinds import load_kinds
from suno_cover_cli.tunnels.ngrok.tunnel import NgrokTunnel
from suno_cover_cli.tunnels.tunnel import TunnelRequest
from tests.standins.install_ngrok import install

TOKEN = "2token_Of4Standin_9x8y7z"  # noqa: S105 -- opens nothing
_PATIENCE_S = 10.0


@dataclass
class NgrokStandin:
    """An installed stand-in agent.

    Attributes:
        home: Its folder.
        path: Its executable.
        ca_file: The authority of its public addresses, for ``SSL_CERT_FILE``.
        token: What to put in ``NGROK_AUTHTOKEN``.
    """

    home: Path
    path: Path
    ca_file: Path
    token: str = TOKEN

    @property
    def environ(self) -> dict[str, str]:
        """Variables for a program that is to use it."""
        return {
            "PYNGROK_NGROK_PATH": str(self.path),
            "SSL_CERT_FILE": str(self.ca_file),
            "NGROK_AUTHTOKEN": self.token,
        }

    def behave(self, variant: str, **more: float) -> None:
        """Choose what the next start plays."""
        (self.home / "behaviour.json").write_text(json.dumps({"variant": variant, **more}))

    def facts(self, event: str) -> list[dict[str, Any]]:
        """Return what has been recorded under a name: started, api, endpoint, opened, updated."""
        try:
            lines = (self.home / "record.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [fact for fact in map(json.loads, lines) if fact["event"] == event]

    def wait_fact(self, event: str, n: int = 1) -> dict[str, Any]:
        """Wait, in a thread or a test that is not asynchronous, until the ``n``-th fact of a name is there."""
        wait_until(lambda: len(self.facts(event)) >= n, f"{event} number {n}")
        return self.facts(event)[n - 1]

    def living(self) -> list[int]:
        """Return the ids of its processes that are still there."""
        facts = self.facts("started") + self.facts("updated")
        return [fact["pid"] for fact in facts if self._is_ours(fact["pid"])]

    def _is_ours(self, pid: int) -> bool:
        try:
            return os.fsencode(self.home) in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def control(self, word: str, text: str = "") -> None:
        """Tell the last agent started one of the words it obeys. Blocks."""
        url = f"{self.facts('api')[-1]['url']}/standin/{word}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, data=text.encode(), method="POST"), timeout=5):  # noqa: S310
                pass
        except OSError:
            if word != "die":  # nobody answers who has just died
                raise

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to every process of it that is there."""
        for pid in self.living():
            os.kill(pid, number)


def wait_until(is_so: Callable[[], object], what: str) -> None:
    """Wait for something that another process does; fails after ten seconds."""
    end = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.01)


def command_lines() -> dict[int, str]:
    """Return every process's command line (Linux), as any user of the machine can read it."""
    shown = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                shown[int(entry.name)] = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
    return shown


@pytest.fixture(scope="session")
def standin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One authority and certificate per test process: making them is what takes time."""
    folder = tmp_path_factory.mktemp("standin")
    install(folder)
    return folder


@pytest.fixture
def ngrok_standin(standin_folder: Path, tmp_path: Path) -> Iterator[Callable[..., NgrokStandin]]:
    """Install stand-ins: ``ngrok_standin("offline", start_delay_s=1.1)``; none of them outlives the test."""
    installed: list[NgrokStandin] = []

    def make(variant: str = "ok", **more: float) -> NgrokStandin:
        home = tmp_path / f"standin-{len(installed)}"
        home.mkdir()
        for name in ("ca.pem", "server.pem", "ngrok_agent.pyc"):
            (home / name).write_bytes((standin_folder / name).read_bytes())
        path = home / "ngrok"
        path.write_text((standin_folder / "ngrok").read_text().replace(str(standin_folder), str(home)))
        path.chmod(0o755)
        standin = NgrokStandin(home=home, path=path, ca_file=home / "ca.pem")
        standin.behave(variant, **more)
        installed.append(standin)
        return standin

    yield make
    for standin in installed:
        standin.kill()


@dataclass
class PlainListener:
    """A server with what a channel asks of a listener; keeps the headers of each request."""

    local_url: str
    probe_path: str = "/probe/1f2e3d"
    probe_answer: str = "it is me"
    requests: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
async def plain_listener() -> AsyncIterator[PlainListener]:
    """A listener of a few lines, on a free port."""
    listener = PlainListener("")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        listener.requests.append(dict(request.headers))
        if request.path == listener.probe_path:
            return web.Response(text=listener.probe_answer)
        return web.Response(body=await request.read())

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    listener.local_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield listener
    await runner.cleanup()


@dataclass
class TunnelMaker:
    """Makes tunnels of which nothing leaves ``folder``.

    Attributes:
        folder: Holds home and state.
        lines: What the tunnels say to people.
        secrets: What they want hidden.
    """

    folder: Path
    lines: list[str] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        """Where private folders of agents go."""
        return self.folder / "state"

    def leftovers(self) -> list[str]:
        """Return the names of what agents have left behind."""
        homes = self.state_dir / "agents"
        return sorted(path.name for path in homes.iterdir()) if homes.exists() else []

    def __call__(
        self,
        standin: NgrokStandin | None,
        local_url: str | None = "http://127.0.0.1:9",
        *,
        token: str | None = TOKEN,
        clock: Clock | None = None,
        deadline_s: float = 8.0,
        domain: str | None = None,
        ngrok_path: str | None = None,
        **more: Any,
    ) -> NgrokTunnel:
        """Make one; ``more`` are further fields of :class:`TunnelRequest`."""
        environ = {**os.environ, **({} if token is None else {"NGROK_AUTHTOKEN": token})}
        secret = ("SUNO_API_KEY", "SUNO_WEBHOOK_KEY", *load_kinds().secret_variables)
        arguments: dict[str, Any] = {
            "options": {
                "domain": domain,
                "ngrok_path": ngrok_path if standin is None else str(standin.path),
            },
            "environ": environ,
            "child_environ": without_secrets(environ, secret),
            "state_dir": self.state_dir,
            "clock": clock or SystemClock(),
            "notify": self.lines.append,
            "hide": self.secrets.append,
            **more,
        }
        tunnel = NgrokTunnel(TunnelRequest(**arguments), deadline_s=deadline_s)
        if local_url is not None:
            tunnel.lead_to(local_url)
        return tunnel


@pytest.fixture
def tunnels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TunnelMaker:
    """Make tunnels in an environment with an empty home, no proxies and no ngrok."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("NGROK_AUTHTOKEN", "PYNGROK_NGROK_PATH", "NGROK_STANDIN_VARIANT"):
        monkeypatch.delenv(name, raising=False)
    return TunnelMaker(tmp_path)
