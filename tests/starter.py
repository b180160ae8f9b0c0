"""Starts the program many times and loads its libraries once: a process that has them and forks.

Most of a short run is Python loading libraries: about 0.3 s of processor time, hundreds of times in this suite.
What is started here is a process of its own all the same, with its own arguments, environment, folder, streams,
signals and end. What is about the start itself (what is loaded and when, how long it takes), about a terminal or
about a shell starts the program from nothing, with ``Cli.command``.
"""

import gc
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self, TextIO, cast

PRELOADED = (
    "PIL.ImageDraw",
    "PIL.PngImagePlugin",
    "aiohttp.web",
    "filelock",
    "rich.live",
    "sqlite3",
    "suno_cover_cli.cli",
    "suno_cover_cli.cli_callbacks",
    "suno_cover_cli.cli_config",
    "suno_cover_cli.cli_jobs",
    "suno_cover_cli.cli_senders",
    "suno_cover_cli.cli_setup",
    "suno_cover_cli.commands.generate",
    "suno_cover_cli.sandbox.app",
    "tenacity",
    "typer.main",
)
"""What nearly every run loads. None of it reads the environment while it is loaded, but for what is below."""

READ_AT_START = ("PYTHON", "SSL_", "LANG", "LC_")
"""Beginnings of the names that Python and its libraries read while they are loaded."""

_N_STREAMS = 3


def reads_at_start(environ: Mapping[str, str]) -> bool:
    """Tell whether a run with these variables has to start from nothing."""
    return any(name.startswith(READ_AT_START) for name in environ)


class Starter:
    """The process that forks, seen from the tests. A context manager: leaving it ends the process.

    Args:
        environ: The variables every run has, for what is read while libraries are loaded.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.starter", str(theirs.fileno())],
                env=dict(environ),
                cwd=Path(__file__).parent.parent,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()

    def run(
        self, args: Sequence[str], *, environ: Mapping[str, str], cwd: Path, stdin: bytes, timeout_s: float
    ) -> tuple[int, bytes, bytes]:
        """Run the program to its end, as ``subprocess.run`` does.

        Returns:
            Its exit code (minus the signal that ended it), its standard output and its standard error.

        Raises:
            TimeoutError: It was still running after that time; it has been killed.
        """
        pipes = [os.pipe() for _ in range(_N_STREAMS + 2)]
        (in_r, in_w), (out_r, out_w), (err_r, err_w), (end_r, end_w), (what_r, what_w) = pipes
        with ExitStack() as stack:
            end = stack.enter_context(os.fdopen(end_r, "rb"))
            readers = {number: stack.enter_context(os.fdopen(number, "rb", 0)) for number in (out_r, err_r)}
            given = stack.enter_context(os.fdopen(in_w, "wb", 0))
            socket.send_fds(self._socket, [b"r"], [in_r, out_w, err_w, end_w, what_r])
            for number in (in_r, out_w, err_w, end_w, what_r):
                os.close(number)
            with os.fdopen(what_w, "w") as what:
                json.dump({"args": list(args), "environ": dict(environ), "cwd": str(cwd)}, what)
            pid = int(end.readline())
            with suppress(BrokenPipeError):  # it may not care for what it is given
                given.write(stdin)
            given.close()
            try:
                told = _read_all(readers, time.monotonic() + timeout_s)
                status = int(end.readline())
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                raise
        return os.waitstatus_to_exitcode(status), told[out_r], told[err_r]


def _read_all(readers: Mapping[int, io.FileIO], end: float) -> dict[int, bytes]:
    told = dict.fromkeys(readers, b"")
    with selectors.DefaultSelector() as selector:
        for number in readers:
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(end - time.monotonic())
            if not ready and time.monotonic() >= end:
                raise TimeoutError(f"the program still runs; it has said {told}")
            for key, _ in ready:
                if piece := os.read(key.fd, 65536):
                    told[key.fd] += piece
                else:
                    selector.unregister(key.fd)
    return told


# --- the process that forks -----------------------------------------------------------------------------------


def serve(asked: socket.socket) -> None:
    """Load the libraries, then run the program for everyone who asks, until nobody can ask any more.

    Returns in the child that is to be the program, and at the end.
    """
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    # Each keeper is waited for by nobody: it tells what it has seen by itself.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, numbers, _, _ = socket.recv_fds(asked, 1, _N_STREAMS + 2)
        if not message:
            return
        if os.fork() == 0:
            asked.close()
            _keep(*numbers)
            return
        for number in numbers:
            os.close(number)


def _keep(in_r: int, out_w: int, err_w: int, end_w: int, what_r: int) -> None:
    """Fork the program, tell its number and how it ended. Returns in the program."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with os.fdopen(what_r) as what:
        told = json.load(what)
    pid = os.fork()
    if pid:
        for number in (in_r, out_w, err_w):
            os.close(number)
        os.write(end_w, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(end_w, b"%d\n" % status)
        os._exit(0)
    os.close(end_w)
    for number, stream in enumerate((in_r, out_w, err_w)):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = (
        _renewed(sys.stdin, "r"),
        _renewed(sys.stdout, "w"),
        _renewed(sys.stderr, "w"),
    )
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["environ"])
    sys.argv[1:] = told["args"]


def _renewed(stream: TextIO, mode: str) -> TextIO:
    """Return a stream like one that was opened when Python started, for what its number means now."""
    number, encoding, errors = stream.fileno(), stream.encoding, stream.errors
    renewed = open(number, mode, closefd=False, encoding=encoding, errors=errors)  # noqa: SIM115 -- to the end
    return cast("TextIO", renewed)


def main() -> None:
    """Serve; then, in a child, be the program."""
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        before = os.getpid()
        serve(asked)
    if os.getpid() != before:
        runpy.run_module("suno_cover_cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
