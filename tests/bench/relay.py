"""A public address on this machine: passes bytes on to the listener and notes when the callback came by."""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_PIECE_BYTES = 65536


class Relay:
    """A TCP forwarder in threads. Entering means listening, leaving closes it.

    Attributes:
        url: Where it listens.
        target_port: Port on loopback that everything is passed on to; free when the relay was made.
        called_at: ``time.perf_counter()`` when the first bytes of a POST came, and the event of it.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as place:
            self.target_port = int(place.getsockname()[1])
        self.called_at = 0.0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A blocked accept ends with shutdown, not with close.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                outside, _ = self._server.accept()
                inside = socket.create_connection(("127.0.0.1", self.target_port))
                for source, target in ((outside, inside), (inside, outside)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if piece.startswith(b"POST "):
                    self.called_at = time.perf_counter()
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
