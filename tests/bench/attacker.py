"""Somebody who means harm: ``attacker.py URL RATE IDLE`` in a process of its own.

Opens ``IDLE`` connections that say nothing, prints ``ready``, then sends ``RATE`` hostile requests a second, each
on a connection of its own, until standard input ends; prints how many a second it really were. The requests are
made before: it is the listener that is measured.
"""

import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from suno_cover_cli.callbacks.connections import descriptor_room
from tests.hostile_fixtures import Mutator

_PREPARED = 4000
_TICK_S = 0.002
_KEPT = 500
_CONNECT_S = 0.05


class Attacker:
    """Sends prepared requests, waits for no answer, and keeps its latest connections open for a while."""

    def __init__(self, address: tuple[str, int], path: str) -> None:
        self._address = address
        mutator = Mutator(path, 1)
        self._requests = [b"".join(mutator.request()) for _ in range(_PREPARED)]
        self._kept: deque[socket.socket] = deque()
        self.sent = 0
        self.refused = 0  # no place in the listener's queue

    def attack(self) -> None:
        """Send one request on a new connection."""
        try:
            wire = socket.create_connection(self._address, timeout=_CONNECT_S)
        except OSError:
            self.refused += 1
            return
        wire.setblocking(False)
        with suppress(OSError):
            wire.send(self._requests[self.sent % _PREPARED])
        self.sent += 1
        self._kept.append(wire)
        if len(self._kept) > _KEPT:
            self._kept.popleft().close()


def main(url: str, rate: float, idle: int) -> None:
    """Attack until standard input ends."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 0)
    descriptor_room(idle + 2 * _KEPT)
    attacker = Attacker(address, parts.path)
    silent = [socket.create_connection(address) for _ in range(idle)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ending = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ending.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    begun = time.monotonic()
    while not ending.wait(_TICK_S):
        due = int((time.monotonic() - begun) * rate)
        while attacker.sent + attacker.refused < due and not ending.is_set():
            attacker.attack()
    took_s = time.monotonic() - begun
    sys.stdout.write(f"{attacker.sent / took_s}\n")
    for wire in silent:
        wire.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
