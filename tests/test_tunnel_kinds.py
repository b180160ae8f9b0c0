"""A kind of tunnel is one module: one that is made up here serves a job and a doctor, and hides its token."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace as replaced

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.text import Secret
from suno_cover_cli.doctor.options import DoctorOptions
from suno_cover_cli.doctor.report import examine
from suno_cover_cli.journal.rows import options_text, read_options
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.tunnels.choice import TunnelKinds
from suno_cover_cli.tunnels.kinds import load_kinds
from suno_cover_cli.tunnels.tunnel import Tunnel, TunnelChange, TunnelCheck, TunnelKind, TunnelRequest
from suno_cover_cli.wiring.callbacks import kept_tunnel_options, restore_tunnel_options
from suno_cover_cli.wiring.context import Context
from tests.cli_fixtures import InProcess, Run

TOKEN = "relay-token-0123456789"  # noqa: S105 -- opens nothing


# --- the kind ---------------------------------------------------------------------------------------------------


class RelayTunnel(Tunnel):
    """Carries bytes from a port of its own to the listener; it dies when told to."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.carried = 0
        self.has_begun = False
        self._changes: asyncio.Queue[TunnelChange] = asyncio.Queue()
        self._port = 0
        self._server: asyncio.Server | None = None

    async def begin(self) -> None:
        """Nothing takes time here; that it was asked for is kept."""
        self.has_begun = True

    def lead_to(self, local_url: str) -> None:
        """Keep the port."""
        self._port = urlsplit(local_url).port or 0

    async def __aenter__(self) -> Self:
        await self.reopen()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()

    async def next_change(self) -> TunnelChange:
        """Wait for :meth:`die`."""
        return await self._changes.get()

    async def reopen(self) -> None:
        """Listen on another port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def die(self) -> None:
        """Be gone."""
        if self._server is not None:
            self._server.close()
        self._changes.put_nowait(TunnelChange(lost=True, reason="the relay has died", is_dead=True))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.carried += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = {asyncio.ensure_future(pipe(reader, up_writer)), asyncio.ensure_future(pipe(up_reader, writer))}
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        up_writer.close()
        writer.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until they end."""
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


class Relay(TunnelKind):
    """The kind, with what it has made."""

    name = "relay"
    secret_variables = ("RELAY_TOKEN",)
    packages = ("pytest",)
    probe_headers: Mapping[str, str] = {"X-Relay": "probe"}
    needs_internet = False

    def __init__(self) -> None:
        self.made: list[RelayTunnel] = []

    def is_wanted(self, request: TunnelRequest) -> bool:
        """It is, once its token is set."""
        return bool(request.environ.get("RELAY_TOKEN"))

    def make(self, request: TunnelRequest) -> Tunnel:
        """Make one under the name that is asked for."""
        request.hide(Secret(request.environ["RELAY_TOKEN"]))
        self.made.append(RelayTunnel(request.options["domain"]))
        return self.made[-1]

    def checks(self, request: TunnelRequest) -> Sequence[TunnelCheck]:
        """Ask for a token that looks like one."""

        def check_token() -> str:
            if len(request.environ["RELAY_TOKEN"]) < 10:
                raise TunnelError("the token is too short", hint="Get a longer one.")
            return "from RELAY_TOKEN"

        return (TunnelCheck("relay token", check_token),)


@pytest.fixture
def relay(in_process: InProcess) -> Relay:
    """Have it known to the commands of the test alone."""
    kind = Relay()
    in_process.tunnels = TunnelKinds((kind, *load_kinds().known))
    return kind


@asynccontextmanager
async def service() -> AsyncIterator[dict[str, Any]]:
    """Serve jobs; give the variables that lead to it and to the relay."""
    async with Sandbox(generation_s=0.3) as sandbox:
        yield {"SUNO_BASE_URL": sandbox.url, "SUNO_API_KEY": sandbox.api_key, "RELAY_TOKEN": TOKEN}


# --- what it does -----------------------------------------------------------------------------------------------


async def test_a_job_is_called_back_through_it(in_process: InProcess, relay: Relay) -> None:
    """A whole job runs through a kind that nothing else knows, and the journal keeps its option."""
    options = JobCommandOptions(events=True, output=in_process.covers, domain="my.relay.example")
    async with service() as environ:
        run = await in_process.generate("song-1", options=options, **environ)
    assert run.code == 0, run.stderr
    assert run.objects[-1]["via"] == "callback"
    (tunnel,) = relay.made
    (opened,) = [event for event in run.objects if event["type"] == "tunnel_opened"]
    assert opened["url"] == tunnel.url
    assert tunnel.carried == 2, "a probe and a callback"
    assert (tunnel.has_begun, tunnel.name) == (True, "my.relay.example")
    assert await asyncio.to_thread(kept_in_journal, in_process) == {"domain": "my.relay.example"}
    assert TOKEN not in run.stdout + run.stderr


def kept_in_journal(in_process: InProcess) -> dict[str, object]:
    """Return what the one row of the journal says of the tunnel."""
    path = Path(in_process.environ["SUNO_COVER_STATE_DIR"]) / "journal.sqlite3"
    with sqlite3.connect(path) as journal:
        ((text,),) = journal.execute("SELECT options FROM jobs").fetchall()
    journal.close()
    kept: dict[str, object] = json.loads(text)
    return {name: value for name, value in kept.items() if name in {"domain", "public_url", "ngrok_path"}}


async def test_its_loss_is_told_and_made_good(in_process: InProcess, relay: Relay) -> None:
    """When it dies while a job waits, that is told once, and it is opened anew under its new address."""
    options = JobCommandOptions(events=True, output=in_process.covers, poll_interval_s=0.2, timeout_s=3.0)

    async def kill() -> None:
        while not (relay.made and relay.made[0].carried):  # noqa: ASYNC110 -- it is made by the command
            await asyncio.sleep(0.01)
        relay.made[0].die()

    async with service() as environ:
        killing = asyncio.create_task(kill())
        run = await in_process.generate("sandbox-stuck", options=options, **environ)
        await killing
    kinds = [event["type"] for event in run.objects if event["type"].startswith("tunnel")]
    assert kinds == ["tunnel_opened", "tunnel_lost", "tunnel_restored"]
    lost = next(event for event in run.objects if event["type"] == "tunnel_lost")
    assert lost["reason"] == "the relay has died"


async def examined(in_process: InProcess, **environ: str) -> tuple[Run, dict[str, tuple[str, str]]]:
    """Run doctor; return status and message of every check by its name."""
    options = DoctorOptions(json=True)
    run = await in_process.run(lambda context: examine(options, context), is_json=True, environ=environ)
    (report,) = run.objects
    return run, {check["name"]: (check["status"], check["message"]) for check in report["checks"]}


async def test_doctor_asks_what_it_asks(in_process: InProcess, relay: Relay) -> None:
    """Doctor runs the kind's own checks, opens it and calls back through it, and names it."""
    async with service() as environ:
        run, checks = await examined(in_process, **environ)
        _, short = await examined(in_process, **{**environ, "RELAY_TOKEN": "tiny77"})
    assert run.code == 0
    assert checks["relay token"] == ("pass", "from RELAY_TOKEN")
    assert checks["tunnel"][0] == "pass"
    assert f"{relay.made[0].url} (relay) leads here" in checks["tunnel"][1]
    assert checks["public"][0] == "pass"
    assert "ngrok agent" not in checks
    assert "pytest" in checks["packages"][1]
    assert short["relay token"] == ("warn", "the token is too short")
    assert TOKEN not in run.stdout


async def test_without_its_token_it_is_not_chosen(in_process: InProcess, relay: Relay) -> None:
    """Where nothing asks for the kind, the run takes the way it would take without it."""
    async with service() as environ:
        del environ["RELAY_TOKEN"]
        _, checks = await examined(in_process, **environ)
    assert relay.made == []
    assert checks["tunnel"] == ("pass", "skipped: the service is on this machine")


async def test_its_token_is_kept_from_children(in_process: InProcess, relay: Relay) -> None:
    """What the kind calls secret is taken out of the environment of every program that is started."""
    assert relay.made == []
    seen: list[dict[str, str]] = []

    def look(context: Context) -> Coroutine[Any, Any, int]:
        seen.append(context.child_environ)
        return done()

    environ = {"RELAY_TOKEN": TOKEN, "NGROK_AUTHTOKEN": TOKEN, "SUNO_API_KEY": TOKEN, "PATH": "/bin"}
    await in_process.run(look, environ=environ)
    assert TOKEN not in seen[0].values()
    assert seen[0]["PATH"] == "/bin"


async def done() -> int:
    """Be a command that has nothing left to do."""
    return 0


# --- what the journal keeps of any kind -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tunnel"),
    [
        ("{}", {}),
        (
            '{"callback":"auto","public_url":"https://x.example","listen_port":8080,"domain":"d","ngrok_path":"/n"}',
            {"public_url": "https://x.example", "listen_port": 8080, "domain": "d", "ngrok_path": "/n"},
        ),
        ('{"domain":"d","of_the_future":{"a":1}}', {"domain": "d"}),
    ],
)
def test_rows_of_any_version_are_read(text: str, tunnel: dict[str, object]) -> None:
    """Options of tunnels that earlier versions wrote are found, and written as they stood."""
    options = read_options(text)
    assert options.tunnel == tunnel
    assert json.loads(options_text(options)) == {
        name: value
        for name, value in json.loads(text).items()
        if name != "of_the_future" and (name, value) != ("callback", "auto")
    }


async def test_options_of_the_first_run_are_given_back(in_process: InProcess) -> None:
    """A restart has the options of the first run, the command's own are gone, and a damaged value is none."""
    given = JobCommandOptions(public_url="https://x.example", listen_port=8080, domain="d.example")
    found: list[Settings] = []

    def load(context: Context) -> Coroutine[Any, Any, int]:
        found.append(context.settings(given)[0])
        return done()

    await in_process.run(load)
    kept = kept_tunnel_options(given, found[0])
    assert kept == {"public_url": "https://x.example", "listen_port": 8080, "domain": "d.example"}
    other = replace(given, public_url=None, listen_port=1, ngrok_path="/elsewhere", domain=None)
    options, settings = restore_tunnel_options(other, replaced(found[0], domain=None), kept)
    assert (options, settings) == (given, found[0])
    damaged, _ = restore_tunnel_options(other, found[0], {"listen_port": "many", "domain": "d.example"})
    assert (damaged.listen_port, damaged.domain) == (0, "d.example")
