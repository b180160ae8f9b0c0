"""The agent's executable: in which order it is looked for, how old it is, and how a download can go."""

import asyncio
import io
import os
import socket
import ssl
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.tunnels.ngrok import install
from suno_cover_cli.tunnels.ngrok.setup import find_agent, is_shim, parse_version
from tests.clocks import ScaledClock
from tests.tunnel_fixtures import NgrokStandin, TunnelMaker, wait_until

Standins = Callable[..., NgrokStandin]
PROGRAM = b"#!/bin/sh\necho hello\n"
# pyngrok's own address of the agent is asked for, through a proxy that answers in its place.
HOST = "bin.ngrok.com"


def _program(path: Path, content: bytes = PROGRAM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


# --- finding -------------------------------------------------------------------------------------------------


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option beats the variable, which beats PATH, which beats pyngrok's copy; then there is none."""
    by_option, by_variable = _program(tmp_path / "one"), _program(tmp_path / "two")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    on_path, default = _program(tmp_path / "bin" / "ngrok"), _program(tmp_path / "config" / "ngrok" / "ngrok")
    environ = {"PYNGROK_NGROK_PATH": str(by_variable), "PATH": f"{tmp_path / 'empty'}{os.pathsep}{on_path.parent}"}
    places = []
    for option in (str(by_option), None):
        found = find_agent(option, environ)
        assert found is not None
        places.append((found.path, found.source))
    del environ["PYNGROK_NGROK_PATH"]
    for _ in range(2):
        found = find_agent(None, environ)
        assert found is not None
        places.append((found.path, found.source))
        environ["PATH"] = ""
    assert places == [
        (by_option, "--ngrok-path"),
        (by_variable, "PYNGROK_NGROK_PATH"),
        (on_path, "PATH"),
        (default, "pyngrok's copy"),
    ]
    default.unlink()
    assert find_agent(None, environ) is None


def test_shim_on_path_is_passed_over(tmp_path: Path) -> None:
    """The script that pip installs as ngrok is no agent, nor is pyenv's; what comes later on PATH is taken."""
    shims = [
        _program(tmp_path / "venv" / "ngrok", b"#!/usr/bin/python3\nfrom pyngrok.ngrok import main\nmain()\n"),
        _program(tmp_path / "shims" / "ngrok", b'#!/usr/bin/env bash\nexec "/opt/pyenv" exec ngrok "$@"\n'),
    ]
    real = _program(tmp_path / "bin" / "ngrok")
    path = os.pathsep.join(str(place.parent) for place in (*shims, real))
    found = find_agent(None, {"PATH": path})
    assert found is not None
    assert found.path == real


def test_the_installed_shim_is_known() -> None:
    """The script that pyngrok has put beside this very Python is recognized."""
    assert is_shim(Path(sys.executable).with_name("ngrok"))


def test_large_programs_are_agents(tmp_path: Path) -> None:
    """A program of a real agent's size is not searched for words."""
    assert not is_shim(_program(tmp_path / "ngrok", b"\x7fELF" + b"pyngrok" * 400_000))


@pytest.mark.parametrize(
    ("shown", "version"),
    [("ngrok version 3.22.1", (3, 22)), ("ngrok version 3.5.0-rc1", (3, 5)), ("ngrok 2", None), ("", None)],
)
def test_version_of_an_agent(shown: str, version: tuple[int, int] | None) -> None:
    """The version is taken out of the agent's own words; other words have none."""
    assert parse_version(shown) == version


# --- downloading ---------------------------------------------------------------------------------------------


def _tgz(name: str = "ngrok", content: bytes = PROGRAM) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _linked_tgz() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("ngrok")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/bin/sh"
        archive.addfile(entry)
    return buffer.getvalue()


@dataclass
class Shop:
    """Stands for the server of agents; each answer is status, length to claim, and body.

    Attributes:
        proxy: Address of the proxy behind which it is.
        asked: Where the proxy was asked to connect to.
        go_on: The second half of a body waits for this.
    """

    proxy: str = ""
    answers: list[tuple[int, int | None, bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def sells(self, body: bytes, *, status: int = 200, claimed_bytes: int | None = None) -> None:
        """Append an answer; the last one is repeated."""
        self.answers.append((status, claimed_bytes, body))


@pytest.fixture
def shop(tmp_path: Path, tunnels: TunnelMaker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Serve agents to whoever goes through the proxy of the environment; none is installed yet."""
    assert tunnels.lines == []
    opened = Shop()
    opened.go_on.set()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "shop.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)

    class Counter(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            opened.asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            with context.wrap_socket(self.connection, server_side=True) as tls:
                status, claimed_bytes, body = opened.answers[min(len(opened.asked), len(opened.answers)) - 1]
                tls.recv(65536)
                length = len(body) if claimed_bytes is None else claimed_bytes
                tls.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n".encode())
                tls.sendall(body[: len(body) // 2])
                opened.go_on.wait(20)
                tls.sendall(body[len(body) // 2 :])
                tls.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
            """Stay silent."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counter)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    opened.proxy = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HTTPS_PROXY", opened.proxy)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "shop.pem"))
    monkeypatch.setenv("PATH", "/nowhere")
    yield opened
    opened.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def _installed(tunnels: TunnelMaker) -> Path:
    return tunnels.folder / "home/.config/ngrok/ngrok"


def _in_place(tunnels: TunnelMaker) -> list[str]:
    folder = _installed(tunnels).parent
    return [path.name for path in folder.iterdir()] if folder.exists() else []


async def test_opened_with_a_downloaded_agent(
    ngrok_standin: Standins, tunnels: TunnelMaker, shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where there is no agent it is downloaded once, for its owner alone, used, and found by the next run."""
    standin = ngrok_standin()
    shop.sells(_tgz(content=standin.path.read_bytes()))
    for _ in range(2):
        async with tunnels(None, install_s=20) as tunnel:
            assert tunnel.url
    assert shop.asked == [f"{HOST}:443"]
    assert len(standin.facts("started")) == 2
    assert _in_place(tunnels) == ["ngrok"]
    assert stat.S_IMODE(_installed(tunnels).stat().st_mode) == 0o700
    assert str(_installed(tunnels)) in tunnels.lines[0]
    assert len(tunnels.lines) == 2
    assert capfd.readouterr() == ("", "")


async def test_download_is_private(
    ngrok_standin: Standins, tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A download puts nothing into the temporary folder that all users share, and knows none of our secrets."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setattr(tempfile, "tempdir", None)
    shop.sells(_tgz(content=ngrok_standin().path.read_bytes()))
    async with tunnels(None, install_s=20):
        pass
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "claimed_bytes", "body"),
    [
        (503, None, b"later"),
        (200, 10**5, _tgz()[:-30]),
        (200, None, b"<html>please log in</html>"),
        (200, None, b""),
    ],
    ids=["refused", "cut short", "page", "empty"],
)
async def test_download_is_tried_again(
    ngrok_standin: Standins,
    tunnels: TunnelMaker,
    shop: Shop,
    status: int,
    claimed_bytes: int | None,
    body: bytes,
) -> None:
    """A failed, cut short or foreign answer is tried once more before it counts."""
    shop.sells(body, status=status, claimed_bytes=claimed_bytes)
    shop.sells(_tgz(content=ngrok_standin().path.read_bytes()))
    async with tunnels(None, install_s=20) as tunnel:
        assert tunnel.url
    assert len(shop.asked) == 2


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (_tgz("../ngrok"), "outside"),
        (_tgz("readme"), "No such file"),
        (_tgz(content=b"not a program"), "no program"),
        (_linked_tgz(), "absolute"),
        (b"<html>please log in</html>", "gzip"),
    ],
    ids=["path", "other", "not a program", "link", "page"],
)
async def test_bad_archives(tunnels: TunnelMaker, shop: Shop, archive: bytes, reason: str) -> None:
    """An archive without the agent, or with something else under its name, installs nothing."""
    shop.sells(archive)
    with pytest.raises(TunnelError) as caught:
        await tunnels(None, install_s=200, clock=ScaledClock(10)).__aenter__()
    assert caught.value.code == "ngrok_download"
    assert reason in caught.value.message
    assert f"through the proxy in HTTPS_PROXY ({shop.proxy})" in caught.value.message
    assert "https://ngrok.com/download" in caught.value.hint
    assert len(shop.asked) == 3
    assert _in_place(tunnels) == []
    assert tunnels.leftovers() == []


def test_an_archive_larger_than_any_agent(tunnels: TunnelMaker, shop: Shop, tmp_path: Path) -> None:
    """What unpacks to more than an agent can be is given up, and so is an archive of that size."""
    for content in (bytes(10**6), os.urandom(10**6)):
        shop.sells(_tgz(content=content))
        folder = tmp_path / f"scratch-{len(shop.answers)}"
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-P", install.__file__, str(folder), "100000"],
            env={**os.environ, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "File too large" in done.stderr
    assert _in_place(tunnels) == []


async def test_offline(tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a way to the download the reason is told in one line, with the proxy that may be it."""
    assert shop.proxy
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter22@127.0.0.1:1")
    with pytest.raises(TunnelError) as caught:
        await tunnels(None, install_s=200, clock=ScaledClock(10)).__aenter__()
    assert "refused" in caught.value.message
    assert "HTTPS_PROXY (http://127.0.0.1:1)" in caught.value.message
    assert "hunter22" not in caught.value.message
    assert "\n" not in caught.value.message


async def test_malformed_proxy(tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed proxy is named before anything is tried."""
    assert shop.proxy
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter22@")
    with pytest.raises(TunnelError, match="HTTPS_PROXY") as caught:
        await tunnels(None).__aenter__()
    assert "hunter22" not in caught.value.message + caught.value.hint


async def test_download_outlasts_the_deadline(ngrok_standin: Standins, tunnels: TunnelMaker, shop: Shop) -> None:
    """A download that is not done in time ends the opening, goes on for the next run, and starts no agent then."""
    standin = ngrok_standin()
    shop.sells(_tgz(content=standin.path.read_bytes()))
    shop.go_on.clear()
    tunnel = tunnels(None, deadline_s=1.5)
    with pytest.raises(TunnelError) as caught:
        await tunnel.__aenter__()
    assert caught.value.code == "ngrok_downloading"
    assert " %" in caught.value.message
    shop.go_on.set()
    await asyncio.to_thread(wait_until, lambda: tunnels.leftovers() == [], "the end of the download")
    assert _installed(tunnels).exists()
    assert standin.facts("started") == []


async def test_time_for_a_download(ngrok_standin: Standins, tunnels: TunnelMaker, shop: Shop) -> None:
    """Whoever insists on a tunnel can grant the download more time than the opening."""
    shop.sells(_tgz(content=ngrok_standin().path.read_bytes()))
    shop.go_on.clear()
    asyncio.get_running_loop().call_later(0.6, shop.go_on.set)
    async with tunnels(None, deadline_s=0.3, install_s=20) as tunnel:
        assert tunnel.url


async def test_nothing_is_downloaded_without_a_token(tunnels: TunnelMaker, shop: Shop) -> None:
    """Ten megabytes are not fetched only to hear that there is no token."""
    shop.sells(_tgz())
    with pytest.raises(TunnelError) as caught:
        await tunnels(None, token=None).__aenter__()
    assert caught.value.code == "ngrok_no_token"
    assert shop.asked == []


async def test_leaving_during_a_download(tunnels: TunnelMaker, shop: Shop) -> None:
    """Giving up while the agent is being downloaded ends the download too, at once."""
    shop.sells(_tgz())
    shop.go_on.clear()
    opening = asyncio.create_task(tunnels(None).__aenter__())
    await asyncio.to_thread(wait_until, lambda: shop.asked, "the download")
    opening.cancel()
    await asyncio.wait({opening})
    assert tunnels.leftovers() == []
    assert not _installed(tunnels).exists()
