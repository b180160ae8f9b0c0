"""Sends callbacks as fast as they are answered, on a few connections, and takes the time of each."""

import itertools
import json
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.bench.lab import BenchError

_CONNECTIONS = 8
_PATIENCE_S = 20.0
_IMAGES = [f"https://images.example/s/1750000000_{n:032x}.png" for n in range(2)]


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What came of a load.

    Attributes:
        per_second: Callbacks answered.
        latencies_s: Of each, sorted.
    """

    per_second: float
    latencies_s: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that ``share`` of the callbacks did not exceed."""
        return self.latencies_s[min(int(len(self.latencies_s) * share), len(self.latencies_s) - 1)]


def callback_requests(url: str) -> Iterator[bytes]:
    """Yield callbacks of different jobs, as the service sends them."""
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    for n in itertools.count():
        data = {"taskId": f"{n:032x}", "images": _IMAGES}
        body = json.dumps({"code": 200, "msg": "success", "data": data})
        yield f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def send_callbacks(url: str, count: int) -> LoadReport:
    """Send ``count`` callbacks over kept connections, one under way on each.

    Raises:
        BenchError: One was not answered with 200.
    """
    parts = urlsplit(url)
    requests = list(itertools.islice(callback_requests(url), count))
    latencies_s: list[float] = []
    begun_s: dict[int, float] = {}
    with selectors.DefaultSelector() as selector:
        wires = [socket.create_connection((parts.hostname or "", parts.port or 0)) for _ in range(_CONNECTIONS)]
        by_number = {wire.fileno(): wire for wire in wires}
        begun = time.perf_counter()
        for wire in wires:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(wire, selectors.EVENT_READ)
            begun_s[wire.fileno()] = time.perf_counter()
            wire.sendall(requests.pop())
        while len(latencies_s) < count:
            ready = selector.select(_PATIENCE_S)
            if not ready:
                raise BenchError(f"{url} stopped answering")
            for key, _ in ready:
                latencies_s.append(_read_answer(by_number[key.fd], url) - begun_s[key.fd])
                if requests:
                    begun_s[key.fd] = time.perf_counter()
                    by_number[key.fd].sendall(requests.pop())
        took_s = time.perf_counter() - begun
        for wire in wires:
            wire.close()
    return LoadReport(per_second=count / took_s, latencies_s=tuple(sorted(latencies_s)))


def call_once(url: str, request: bytes) -> float:
    """Send one callback on a connection of its own; return the seconds from connecting to its answer.

    Raises:
        BenchError: It was not answered with 200.
    """
    parts = urlsplit(url)
    begun = time.perf_counter()
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_PATIENCE_S) as wire:
        wire.sendall(request)
        return _read_answer(wire, url) - begun


def _read_answer(wire: socket.socket, url: str) -> float:
    """Return when the answer was there."""
    answer = wire.recv(4096)
    now = time.perf_counter()
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise BenchError(f"{url} answered {answer[:200]!r}")
    return now
