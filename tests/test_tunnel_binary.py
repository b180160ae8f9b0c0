"""The agent's executable: in which order it is looked for, and how a download can go."""

import asyncio
import io
import os
import socket
import stat
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.tunnels.ngrok_binary import Download, find_agent, is_shim
from tests.tunnel_fixtures import NgrokStandin, TunnelMaker, wait_until

Standins = Callable[..., NgrokStandin]
PROGRAM = b"#!/bin/sh\necho hello\n"


def _program(path: Path, content: bytes = PROGRAM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


# --- finding -------------------------------------------------------------------------------------------------


def test_order(tmp_path: Path) -> None:
    """The option beats the variable, which beats PATH, which beats pyngrok's copy; then there is none."""
    by_option, by_variable = _program(tmp_path / "one"), _program(tmp_path / "two")
    on_path, default = _program(tmp_path / "bin" / "ngrok"), _program(tmp_path / "config" / "ngrok")
    environ = {"PYNGROK_NGROK_PATH": str(by_variable), "PATH": f"{tmp_path / 'empty'}{os.pathsep}{on_path.parent}"}
    places = []
    for option in (str(by_option), None):
        found = find_agent(option, environ, default)
        assert found is not None
        places.append((found.path, found.source))
    del environ["PYNGROK_NGROK_PATH"]
    for _ in range(2):
        found = find_agent(None, environ, default)
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
    assert find_agent(None, environ, default) is None


def test_shim_on_path_is_passed_over(tmp_path: Path) -> None:
    """The script that pip installs as ngrok is no agent, nor is pyenv's; what comes later on PATH is taken."""
    shims = [
        _program(tmp_path / "venv" / "ngrok", b"#!/usr/bin/python3\nfrom pyngrok.ngrok import main\nmain()\n"),
        _program(tmp_path / "shims" / "ngrok", b'#!/usr/bin/env bash\nexec "/opt/pyenv" exec ngrok "$@"\n'),
    ]
    real = _program(tmp_path / "bin" / "ngrok")
    path = os.pathsep.join(str(place.parent) for place in (*shims, real))
    found = find_agent(None, {"PATH": path}, tmp_path / "none" / "ngrok")
    assert found is not None
    assert found.path == real


def test_the_installed_shim_is_known() -> None:
    """The script that pyngrok has put beside this very Python is recognized."""
    assert is_shim(Path(sys.executable).with_name("ngrok"))


def test_large_programs_are_agents(tmp_path: Path) -> None:
    """A program of a real agent's size is not searched for words."""
    assert not is_shim(_program(tmp_path / "ngrok", b"\x7fELF" + b"pyngrok" * 400_000))


# --- downloading ---------------------------------------------------------------------------------------------


def _tgz(name: str = "ngrok", content: bytes = PROGRAM) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _linked_tgz() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("ngrok")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    return buffer.getvalue()


def _zip(name: str = "ngrok", content: bytes = PROGRAM) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Shop:
    """A server of archives; each answer is status, length to claim, and body."""

    url: str = ""
    answers: list[tuple[int, int | None, bytes]] = field(default_factory=list)
    calls: int = 0
    go_on: threading.Event = field(default_factory=threading.Event)

    def sells(self, body: bytes, *, status: int = 200, claimed_bytes: int | None = None) -> None:
        """Append an answer; the last one is repeated."""
        self.answers.append((status, claimed_bytes, body))


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Serve archives on a free port; the second half of a body waits for ``go_on``."""
    opened = Shop()
    opened.go_on.set()

    class Counter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, claimed_bytes, body = opened.answers[min(opened.calls, len(opened.answers) - 1)]
            opened.calls += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if claimed_bytes is None else claimed_bytes))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            opened.go_on.wait(20)
            self.wfile.write(body[len(body) // 2 :])
            self.connection.shutdown(socket.SHUT_RDWR)

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
    opened.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield opened
    opened.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def _download(
    shop: Shop, folder: Path, name: str = "ngrok.tgz", *, max_bytes: int = 10**6
) -> tuple[Path, list[str]]:
    lines: list[str] = []
    scratch = folder / "scratch"
    scratch.mkdir()
    target = folder / "config" / "ngrok"
    download = Download(
        f"{shop.url}/{name}",
        target,
        scratch=scratch,
        abandoned=threading.Event(),
        notify=lines.append,
        max_attempts=2,
        retry_s=0.01,
        timeout_s=2,
        max_bytes=max_bytes,
    )
    assert download.run() == target
    return target, lines


@pytest.mark.parametrize(
    ("name", "archive"),
    [("ngrok.tgz", _tgz()), ("ngrok.tgz", _tgz("./ngrok")), ("ngrok.zip", _zip())],
    ids=["tgz", "tgz with dots", "zip"],
)
def test_download(shop: Shop, tmp_path: Path, name: str, archive: bytes) -> None:
    """The agent is taken out of either kind of archive, for its owner alone, with a line for people."""
    shop.sells(archive)
    target, lines = _download(shop, tmp_path, name)
    assert target.read_bytes() == PROGRAM
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert str(target) in lines[0]
    assert [path.name for path in target.parent.iterdir()] == ["ngrok"]


def test_download_is_discreet(
    shop: Shop, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download prints nothing by itself and puts nothing into the temporary folder that all users share."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    shop.sells(_tgz())
    _download(shop, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "claimed_bytes", "body"),
    [
        (503, None, b"later"),
        (200, 10**5, _tgz()),
        (200, None, _tgz()[:-30]),
        (200, None, b"<html>please log in</html>"),
        (200, None, b""),
    ],
    ids=["refused", "cut short", "broken archive", "page", "empty"],
)
def test_download_is_tried_again(
    shop: Shop, tmp_path: Path, status: int, claimed_bytes: int | None, body: bytes
) -> None:
    """A failed, cut short or foreign answer is tried once more before it counts."""
    shop.sells(body, status=status, claimed_bytes=claimed_bytes)
    shop.sells(_tgz())
    target, _ = _download(shop, tmp_path)
    assert target.read_bytes() == PROGRAM
    assert shop.calls == 2


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("ngrok.tgz", _tgz("../ngrok")),
        ("ngrok.tgz", _tgz("readme")),
        ("ngrok.tgz", _tgz(content=b"no program")),
        ("ngrok.tgz", _tgz(content=b"#!" + b"\0" * 10**6)),
        ("ngrok.tgz", _linked_tgz()),
        ("ngrok.zip", _zip("readme")),
        ("ngrok.zip", _tgz()),
    ],
    ids=["path", "other", "no program", "large", "link", "other in zip", "no zip"],
)
def test_bad_archives(shop: Shop, tmp_path: Path, name: str, archive: bytes) -> None:
    """An archive without the agent, or with something else under its name, installs nothing."""
    shop.sells(archive)
    with pytest.raises(TunnelError) as caught:
        _download(shop, tmp_path, name)
    assert caught.value.code == "ngrok_download"
    assert "https://ngrok.com/download" in caught.value.hint
    assert not (tmp_path / "config").exists() or list((tmp_path / "config").iterdir()) == []


def test_endless_download(shop: Shop, tmp_path: Path) -> None:
    """An archive that is larger than any agent is given up."""
    shop.sells(_tgz())
    with pytest.raises(TunnelError, match="more than"):
        _download(shop, tmp_path, max_bytes=100)


def test_offline(tmp_path: Path) -> None:
    """Without a network the reason is told in one line."""
    with pytest.raises(TunnelError) as caught:
        _download(Shop(url="http://127.0.0.1:1"), tmp_path)
    assert "refused" in caught.value.message
    assert "\n" not in caught.value.message


# --- as part of opening --------------------------------------------------------------------------------------


async def test_opened_with_a_downloaded_agent(
    ngrok_standin: Standins, tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no agent at all it is downloaded once, used, and found by the next run."""
    monkeypatch.setenv("PATH", "/nowhere")
    standin = ngrok_standin()
    shop.sells(_tgz(content=standin.path.read_bytes()))
    for _ in range(2):
        async with tunnels(None, download_url=f"{shop.url}/ngrok.tgz") as tunnel:
            assert tunnel.url
    assert shop.calls == 1
    assert len(standin.facts("started")) == 2
    assert len(tunnels.lines) == 2


async def test_download_outlasts_the_deadline(
    ngrok_standin: Standins, tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that is not done in time ends the opening, goes on for the next run, and starts no agent then."""
    monkeypatch.setenv("PATH", "/nowhere")
    standin = ngrok_standin()
    shop.sells(_tgz(content=standin.path.read_bytes()))
    shop.go_on.clear()
    with pytest.raises(TunnelError) as caught:
        await tunnels(None, download_url=f"{shop.url}/ngrok.tgz", deadline_s=0.6).__aenter__()
    assert caught.value.code == "ngrok_downloading"
    shop.go_on.set()
    installed = tunnels.folder / "home/.config/ngrok/ngrok"
    await asyncio.to_thread(wait_until, installed.exists, "the agent")
    await asyncio.to_thread(wait_until, lambda: tunnels.leftovers() == [], "the end of the thread")
    assert standin.facts("started") == []


async def test_time_for_a_download(
    ngrok_standin: Standins, tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever insists on a tunnel can grant the download more time than the opening."""
    monkeypatch.setenv("PATH", "/nowhere")
    shop.sells(_tgz(content=ngrok_standin().path.read_bytes()))
    shop.go_on.clear()
    asyncio.get_running_loop().call_later(0.6, shop.go_on.set)
    async with tunnels(None, download_url=f"{shop.url}/ngrok.tgz", deadline_s=0.3, download_s=8) as tunnel:
        assert tunnel.url


async def test_nothing_is_downloaded_without_a_token(
    tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten megabytes are not fetched only to hear that there is no token."""
    monkeypatch.setenv("PATH", "/nowhere")
    shop.sells(_tgz())
    with pytest.raises(TunnelError) as caught:
        await tunnels(None, token=None, download_url=f"{shop.url}/ngrok.tgz").__aenter__()
    assert caught.value.ngrok_code == 4018
    assert shop.calls == 0


async def test_leaving_during_a_download(
    tunnels: TunnelMaker, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving up while the agent is being downloaded ends the download too."""
    monkeypatch.setenv("PATH", "/nowhere")
    shop.sells(_tgz())
    shop.go_on.clear()
    opening = asyncio.create_task(tunnels(None, download_url=f"{shop.url}/ngrok.tgz").__aenter__())
    await asyncio.to_thread(wait_until, lambda: shop.calls, "the download")
    opening.cancel()
    await asyncio.wait({opening})
    shop.go_on.set()
    await asyncio.to_thread(wait_until, lambda: tunnels.leftovers() == [], "the end of the thread")
    assert not (tunnels.folder / "home/.config/ngrok/ngrok").exists()
