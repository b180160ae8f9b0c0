"""A listener under attack: its process, hostile requests, and the real callback that must get through."""

import asyncio
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from tests.listener_fixtures import callback_body, request_bytes
from tests.tunnel_fixtures import wait_until

ALLOWED = {100, 200, 400, 404, 405, 413}
"""What a listener without a webhook key may answer; above all nothing from 500 on."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]+)")
_PATIENCE_S = 20.0


class Target:
    """A listener in its own process, and one connection that calls it as the service does.

    Args:
        process: Its process; ends when its standard input does, or at SIGINT.
        url: Where it listens, path included.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self._process = process
        parts = urlsplit(url)
        self.path = parts.path
        self._address = ("127.0.0.1", parts.port or 0)
        self._pid = process.pid
        self._request = request_bytes(self.path, callback_body("real"))
        self.call_s: list[float] = []
        self.statuses: dict[int, int] = {}

    def connect(self) -> socket.socket:
        """Open a connection that never blocks for long."""
        wire = socket.create_connection(self._address, timeout=_PATIENCE_S)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wire

    def call(self) -> float:
        """Bring a real callback on a new connection; return the seconds until its answer.

        Without what either of us only waited for a processor: other tests are not the listener's fault.
        """
        began_s, waited_s = time.perf_counter(), self._queued_s()
        with self.connect() as wire:
            wire.sendall(self._request)
            answer = wire.recv(4096)
        took_s = time.perf_counter() - began_s - (self._queued_s() - waited_s)
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b'{"status":"received"}'):
            raise AssertionError(f"a real callback was answered {answer!r}")
        self.call_s.append(took_s)
        return took_s

    def attack(self, batch: Iterable[list[bytes]]) -> None:
        """Send each item's segments on a connection of its own, bring real callbacks, and judge all answers."""
        wires = [(self.connect(), segments) for segments in batch]
        for round_no in range(max((len(segments) for _, segments in wires), default=0)):
            for wire, segments in wires:
                if round_no < len(segments):
                    wire.setblocking(False)
                    with suppress(BlockingIOError, ConnectionError):
                        wire.send(segments[round_no])
        # By the second answer to a real callback, what was answerable before it has been answered.
        self.call()
        self.call()
        for number, (wire, segments) in enumerate(wires):
            self._judge(_drain(wire), segments)
            if number % 2:  # every other one hangs up rudely
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()

    def memory_bytes(self) -> int:
        """Resident memory of the listener's process."""
        status = Path(f"/proc/{self._pid}/status")
        if status.exists():
            return int(re.findall(r"VmRSS:\s+(\d+) kB", status.read_text())[0]) * 1024
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(self._pid)], capture_output=True, check=True)
        return int(shown.stdout) * 1024

    def stop(self) -> bytes:
        """End the process in good order; return what it wrote to stderr."""
        _, stderr = self._process.communicate(timeout=_PATIENCE_S)
        if self._process.returncode != 0:
            raise AssertionError(f"the listener ended with {self._process.returncode}: {stderr!r}")
        return stderr

    def interrupt(self) -> bytes:
        """End a command as Ctrl-C does; return what it wrote to stderr."""
        self._process.send_signal(signal.SIGINT)
        _, stderr = self._process.communicate(timeout=_PATIENCE_S)
        return stderr

    def _queued_s(self) -> float:
        """Seconds in which the listener or this process could have run and had no processor (Linux)."""
        files = (Path(f"/proc/{pid}/schedstat") for pid in (self._pid, "self"))
        return sum(int(file.read_text().split()[1]) for file in files if file.exists()) / 1e9

    def _judge(self, answers: bytes, segments: list[bytes]) -> None:
        found = [int(status) for status in _STATUS.findall(answers)]
        if not ALLOWED.issuperset(found) or b"Traceback" in answers:
            raise AssertionError(f"{found} for {segments!r}: {answers!r}")
        for status in found:
            self.statuses[status] = self.statuses.get(status, 0) + 1


def _drain(wire: socket.socket) -> bytes:
    wire.setblocking(False)
    answers = bytearray()
    with suppress(BlockingIOError, ConnectionError):
        while piece := wire.recv(65536):
            answers += piece
    return bytes(answers)


@contextmanager
def run_target() -> Iterator[Target]:
    """Run a listener; at the end it must leave in good order with nothing on its stderr."""
    command = [sys.executable, "-m", "tests.standins.listener_process"]
    # Its speed and memory are what is measured: coverage would be measured with them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
        env=environment,
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the process has no stdout")
            ready = json.loads(process.stdout.readline())
            target = Target(process, f"http://127.0.0.1:{ready['port']}{ready['path']}")
            yield target
            stderr = target.stop()
            if stderr:
                raise AssertionError(f"the listener wrote to the terminal: {stderr!r}")
        finally:
            process.kill()


@contextmanager
def run_listen(folder: Path) -> Iterator[Target]:
    """Run all of ``listen``, which records in ``folder`` and forwards to a receiver that answers as it would."""
    ready = folder / "ready"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment |= {"HOME": str(folder), "SUNO_COVER_STATE_DIR": str(folder / "state")}
    words = ["listen", "--no-tunnel", "--json", "--ready-file", str(ready)]
    with _receiver() as port, (folder / "lines").open("wb") as lines:
        command = [sys.executable, "-m", "suno_cover_cli", *words, "--forward-to", str(port)]
        with subprocess.Popen(command, stdout=lines, stderr=subprocess.PIPE, env=environment) as process:
            try:
                wait_until(ready.exists, "the listener to be ready")
                yield Target(process, ready.read_text().strip())
            finally:
                process.kill()


@contextmanager
def _receiver() -> Iterator[int]:
    """Run a receiver in a thread: whatever it is sent, its answer is the listener's own; yield its port."""
    began: Future[tuple[int, Callable[[], object]]] = Future()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(body=b'{"status":"received"}', content_type="application/json")

    async def serve() -> None:
        runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        began.set_result((runner.addresses[0][1], lambda: loop.call_soon_threadsafe(ended.set)))
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    port, end = began.result(_PATIENCE_S)
    try:
        yield port
    finally:
        end()
        thread.join(_PATIENCE_S)


class Mutator:
    """Turns well-formed requests into hostile ones, byte by byte; the same seed gives the same requests."""

    def __init__(self, path: str, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._corpus = [*_corpus(path)]

    def request(self) -> list[bytes]:
        """Return one mutated request (sometimes several in a row), cut into segments."""
        rng = self._rng
        data = bytearray(b"".join(rng.choices(self._corpus, k=rng.choice((1, 1, 1, 2, 5)))))
        for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
            self._mutate(data)
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
        return [bytes(data[start:end]) for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _mutate(self, data: bytearray) -> None:
        rng = self._rng
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice((1, 2, 4, 30, 400)))
        kind = rng.randrange(6)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place:end]
        elif kind == 2:
            data[place:place] = data[place:end] * rng.choice((1, 3, 50))
        elif kind == 3:
            data[place:place] = rng.randbytes(rng.choice((1, 3, 60)))
        elif kind == 4:
            del data[place:]
        else:
            data[place:place] = rng.choice(_WORDS)


_WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\x00",
    b"\r\nTransfer-Encoding: chunked\r\n",
    b"\r\nTransfer-Encoding: gzip, chunked\r\n",
    b"\r\nContent-Length: 0\r\n",
    b"\r\nContent-Length: 99999999999999999999\r\n",
    b"\r\nContent-Encoding: gzip\r\n",
    b"\r\nConnection: close\r\n",
    b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    b"\r\nExpect: 100-continue\r\n",
    b"\r\nExpect: the worst\r\n",
    b"\r\nX-Webhook-Signature: \xff\xfe\r\n",
    b"\r\n folded: line\r\n",
    b"HTTP/2.0",
    b"HTTP/1.0",
    b"ffffffffffffffff\r\n",
    b"-1\r\n",
    b"\x1b[2J\x1b]0;title\x07",
    b"[red]",
    b"\xc3\x28\xa0\xa1",
    b"\xef\xbb\xbf",
    b"9" * 500,
    b"1e400",
    b"NaN",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"../" * 20,
    b"%00%0a%2e",
    b"X" * 20000,
    b"h: v\r\n" * 200,
]


def _corpus(path: str) -> Iterator[bytes]:
    body = callback_body()
    yield request_bytes(path, body)
    yield request_bytes(path, body, headers=("Content-Type: application/json", "User-Agent: suno/1"))
    yield request_bytes(
        path, callback_body(code=531), headers=("X-Webhook-Timestamp: 1", "X-Webhook-Signature: eA==")
    )
    yield request_bytes(path, body, length=len(body) + 7)
    yield request_bytes(path, body, length=len(body) - 7)
    yield request_bytes(path, body, headers=("Expect: 100-continue",))
    yield request_bytes(path, body, headers=("Connection: close",))
    yield request_bytes(path, b'{"code":200,"data":{"taskId":"a","images":' + b"[" * 2000 + b"}}")
    yield request_bytes(path, method="GET", headers=("Connection: Upgrade", "Upgrade: websocket"))
    yield request_bytes(path, method="HEAD")
    yield request_bytes("/", b"x" * 3000)
    yield request_bytes("http://elsewhere.example" + path, body)
    yield b"POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
    yield b"POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        path.encode(),
        len(body),
        body,
    )
    yield b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: h\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
