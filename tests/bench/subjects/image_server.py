"""An image host that is nothing but a socket: a noisy PNG at any path, as fast as asked, until its input ends.

``image_server.py BYTES MBIT_PER_S``; 0 for no brake. Prints its port. All connections share the speed.
"""

import hashlib
import socket
import struct
import sys
import threading
import time
import zlib
from contextlib import suppress

_PIECE_BYTES = 16 * 1024
_CATCH_UP_S = 0.05


def noisy_png(size_bytes: int, name: bytes) -> tuple[bytes, bytes]:
    """Return a PNG of about that many bytes, before and after the chunk that makes each path's another."""
    side = max(int((size_bytes * 2) ** 0.5), 8)
    noise = hashlib.shake_128(name).digest(side * side)
    # Half of the bits are noise: it deflates to half, and has to be inflated.
    rows = b"".join(b"\0" + noise[start : start + side] for start in range(0, side * side, side))
    rows = rows.translate(bytes(value & 15 for value in range(256)))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    return start, _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Brake:
    """Lets through so many bytes a second, whoever sends them; 0 for as many as there are."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, count: int) -> None:
        """Wait for the turn of ``count`` bytes."""
        if not self._bytes_per_s:
            return
        with self._lock:
            # A sender that the machine kept waiting for a moment may catch up, as on a real line.
            self._free_at = max(self._free_at, time.monotonic() - _CATCH_UP_S) + count / self._bytes_per_s
            until = self._free_at
        time.sleep(max(until - time.monotonic(), 0))


def serve(connection: socket.socket, picture: tuple[bytes, bytes], brake: Brake) -> None:
    """Answer one connection until it ends."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    with connection, suppress(OSError):
        while piece := connection.recv(65_536):
            received += piece
            while b"\r\n\r\n" in received:
                head, received = received.split(b"\r\n\r\n", 1)
                body = _chunk(b"tEXt", b"Title\0" + head.split(b" ")[1]).join(picture)
                send(connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, brake)


def send(connection: socket.socket, answer: bytes, brake: Brake) -> None:
    """Send an answer at the brake's speed."""
    for start in range(0, len(answer), _PIECE_BYTES):
        piece = answer[start : start + _PIECE_BYTES]
        brake.wait(len(piece))
        connection.sendall(piece)


def main(size_bytes: int, mbit_per_s: float) -> None:
    """Serve until standard input ends."""
    picture, brake = noisy_png(size_bytes, b"cover"), Brake(mbit_per_s * 1e6 / 8)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=accept, args=(listening, picture, brake), daemon=True).start()
        sys.stdin.read()


def accept(listening: socket.socket, picture: tuple[bytes, bytes], brake: Brake) -> None:
    """Take connections, each in a thread."""
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve, args=(connection, picture, brake), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
