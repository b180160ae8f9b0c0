"""Starts the program many times and loads its libraries once: a process that has them and forks.

Most of a short run is Python loading libraries: about 0.3 s of processor time, hundreds of times in this suite.
What is started here is a process of its own all the same, with its own arguments, environment, folder, streams,
terminal, signals and end. What is about the start itself (what is loaded and when, how long it takes) or about a
shell starts the program from nothing, with ``Cli.command``.
"""

import asyncio
import fcntl
import gc
import importlib
import io
import json
import os
import posix
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TextIO, cast

from suno_cover_cli.cli.main import QuickEnd
from suno_cover_cli.sandbox.pictures import PictureCache

PRELOADED = (
    "PIL.ImageDraw",
    "PIL.PngImagePlugin",
    "aiohttp.web",
    "encodings.idna",
    "filelock",
    "pkgutil",
    "platformdirs.unix",
    "pyngrok.installer",
    "rich.live",
    "rich.markdown",
    "rich.panel",
    "rich.table",
    "sqlite3",
    "suno_cover_cli.callbacks.listener",
    *(f"suno_cover_cli.cli.{command}" for command in ("main", "config", "doctor", "generate", "history")),
    "suno_cover_cli.doctor.report",
    "suno_cover_cli.images.downloader",
    "suno_cover_cli.listen.run",
    "suno_cover_cli.ui.history",
    "suno_cover_cli.wiring.listed_jobs",
    "suno_cover_cli.journal.recorder",
    "suno_cover_cli.sandbox.app",
    "suno_cover_cli.service.api",
    "suno_cover_cli.options.mistakes",
    "suno_cover_cli.tunnels.channel",
    "suno_cover_cli.tunnels.ngrok.tunnel",
    "tenacity",
    "typer.main",
)
"""What nearly every run loads.

While it is loaded, none of it reads variables that a test sets, but for ``SSL_CERT_FILE``: what is trusted by a
client that was given no context of its own is settled then.
"""

_N_STREAMS = 3


class Started:
    """A run of the program, with what ``subprocess.Popen`` offers for one.

    Attributes:
        pid: Its process number.
        stdout: What it writes there, when that is a pipe.
        stderr: The same.
        returncode: Its exit code, minus the signal that ended it; ``None`` as far as is known.
    """

    def __init__(self, pid: int, end: io.FileIO, stdout: io.FileIO, stderr: io.FileIO) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._end = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
            self.wait()
        for file in (self.stdout, self.stderr):
            file.close()

    def fileno(self) -> int:
        """Return a file that can be read once the program has ended."""
        return self._end.fileno()

    def poll(self) -> int | None:
        """Return the exit code if it has one yet."""
        with suppress(TimeoutError):
            return self.wait(0)
        return None

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            TimeoutError: It was still running after that time.
        """
        if self.returncode is None:
            if not select.select([self], [], [], timeout_s)[0]:
                raise TimeoutError("the program still runs")
            self.returncode = os.waitstatus_to_exitcode(int(self._end.read()))
            self._end.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without asking."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout_s: float) -> tuple[bytes, bytes]:
        """Read all that it writes, wait for its end, and return both streams.

        Raises:
            TimeoutError: It was still running after that time.
        """
        end = time.monotonic() + timeout_s
        told = _read_all((self.stdout, self.stderr), end)
        self.wait(max(0.0, end - time.monotonic()))
        return told[self.stdout], told[self.stderr]


class Starter:
    """The process that forks, seen from the tests. A context manager: leaving it ends the process.

    Args:
        environ: The variables every run has, for what is read while libraries are loaded.
        before: Words before those that start Python, to be somebody else.
    """

    def __init__(self, environ: Mapping[str, str], before: Sequence[str] = ()) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        with theirs:
            self._process = subprocess.Popen(
                [*before, sys.executable, "-m", "tests.starter", str(theirs.fileno())],
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

    def start(
        self,
        args: Sequence[str],
        *,
        environ: dict[str, str],
        cwd: Path,
        stdin: bytes = b"",
        tty: str | None = None,
        on_tty: str = "02",
        module: str = "suno_cover_cli",
    ) -> Started:
        """Start the program with pipes for its streams.

        Args:
            args: What follows the program's name.
            environ: All its variables.
            cwd: The folder it runs in.
            stdin: What it can read there.
            tty: A terminal that is to be its own, in a session of its own.
            on_tty: The streams that are that terminal, by number.
            module: What to run instead of the program.
        """
        pipes = [os.pipe() for _ in range(_N_STREAMS + 2)]
        (in_r, in_w), (out_r, out_w), (err_r, err_w), (end_r, end_w), (what_r, what_w) = pipes
        theirs = [in_r, out_w, err_w, end_w, what_r]
        socket.send_fds(self._socket, [b"r"], theirs)
        for number in theirs:
            os.close(number)
        told = {"module": module, "args": args, "environ": environ, "cwd": str(cwd), "tty": tty, "on_tty": on_tty}
        with os.fdopen(what_w, "w") as what:
            json.dump(told, what)
        end = io.FileIO(end_r)
        pid = b""
        while not pid.endswith(b"\n"):
            pid += end.read(1) or b"\n"
        with suppress(BrokenPipeError), os.fdopen(in_w, "wb") as given:  # it may not care for what it is given
            given.write(stdin)
        return Started(int(pid), end, io.FileIO(out_r), io.FileIO(err_r))


class StartedBeside:
    """A run of the program beside servers in the test's own loop, with what ``asyncio`` offers for one."""

    def __init__(self, started: Started, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self._started = started
        self.pid = started.pid
        self.stdout = stdout
        self.stderr = stderr
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(started, self._end)

    @classmethod
    async def make(cls, started: Started) -> Self:
        """Take over what has just been started."""
        return cls(started, await _open_reader(started.stdout), await _open_reader(started.stderr))

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal that ended it; ``None`` while it runs."""
        return self._started.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read all that it writes, wait for its end, and return both streams."""
        stdout, stderr, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without asking."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._started)
        self._ended.set_result(self._started.wait(0))


async def _open_reader(file: io.FileIO) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader


def _read_all(files: Sequence[io.FileIO], end: float) -> dict[io.FileIO, bytes]:
    told = dict.fromkeys(files, b"")
    with selectors.DefaultSelector() as selector:
        for file in files:
            selector.register(file, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(end - time.monotonic())
            if not ready and time.monotonic() >= end:
                raise TimeoutError(f"the program still runs; it has said {told}")
            for key, _ in ready:
                file = cast("io.FileIO", key.fileobj)
                if piece := file.read(65536):
                    told[file] += piece
                else:
                    selector.unregister(file)
    return told


# --- the process that forks -----------------------------------------------------------------------------------


class _Forks:
    """Forks the program for everyone who asks, and tells each how its run ended.

    Args:
        asked: Where they ask, until nobody can any more.
    """

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._ends: dict[int, int] = {}
        # A child that has ended makes this readable.
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> str | None:
        """Serve them.

        Returns:
            In a child that is to be the program, the module to run; ``None`` at the end.
        """
        while True:
            ready, _, _ = select.select([self._asked, self._woken], [], [])
            if self._woken in ready:
                with suppress(BlockingIOError):
                    while self._woken.recv(4096):
                        pass
                self._report_ends()
            if self._asked not in ready:
                continue
            message, numbers, _, _ = socket.recv_fds(self._asked, 1, _N_STREAMS + 2)
            if not message:
                self._leave()
                return None
            in_r, out_w, err_w, end_w, what_r = numbers
            pid = os.fork()
            if not pid:
                self._leave()
                os.close(end_w)
                return _become(in_r, out_w, err_w, what_r)
            self._ends[pid] = end_w
            os.write(end_w, b"%d\n" % pid)
            for number in (in_r, out_w, err_w, what_r):
                os.close(number)

    def _report_ends(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                with os.fdopen(self._ends.pop(pid), "wb") as end, suppress(BrokenPipeError):
                    end.write(b"%d\n" % status)

    def _leave(self) -> None:
        """Be a process that forks for none: they must see the ends of their own runs, not of what we hold open."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for sock in (self._asked, self._woken, self._waker):
            sock.close()
        for number in self._ends.values():
            os.close(number)


def _become(in_r: int, out_w: int, err_w: int, what_r: int) -> str:
    """Take over what a run is given: streams, folder, variables, arguments. Returns the module to run."""
    with os.fdopen(what_r) as what:
        told = json.load(what)
    for number, stream in enumerate((in_r, out_w, err_w)):
        os.dup2(stream, number)
        os.close(stream)
    if told["tty"] is not None:
        _take_terminal(told["tty"], told["on_tty"])
    sys.stdin, sys.stdout, sys.stderr = (
        _renewed(sys.stdin, "r"),
        _renewed(sys.stdout, "w"),
        _renewed(sys.stderr, "w"),
    )
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["environ"])
    sys.argv[1:] = told["args"]
    return str(told["module"])


def _take_terminal(tty: str, streams: str) -> None:
    """Leave the session for one of its own on a terminal, as a shell there would have made it."""
    os.setsid()
    terminal = os.open(tty, os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for number in map(int, streams):
        os.dup2(terminal, number)
    os.close(terminal)


def _renewed(stream: TextIO, mode: str) -> TextIO:
    """Return a stream like one that was opened when Python started, for what its number means now."""
    number, encoding, errors = stream.fileno(), stream.encoding, stream.errors
    renewed = open(number, mode, closefd=False, encoding=encoding, errors=errors)  # noqa: SIM115 -- to the end
    return cast("TextIO", renewed)


def _count_once() -> None:
    """Keep what loading the libraries has counted for coverage, once: what is forked would keep it again.

    Coverage wraps ``os._exit``, in each child around the wrapping of its parent. The system's own is in ``posix``.
    """
    os._exit = posix._exit  # noqa: SLF001 -- it is public by its other name
    coverage = sys.modules.get("coverage")
    if coverage is not None and (running := coverage.Coverage.current()) is not None:
        running.stop()
        running.save()
        running._auto_save = False  # noqa: SLF001 -- coverage itself does this after a fork, to what it finds running


async def _draw_covers() -> None:
    """Have the sandbox draw what it draws once a process: it takes longer than the rest of a short run."""
    pictures = PictureCache(None)
    for n in range(2):
        await pictures.png("0" * 32, title="A title", n=n)


def main() -> None:
    """Serve; then, in a child, be the program."""
    for name in PRELOADED:
        importlib.import_module(name)
    asyncio.run(_draw_covers())
    _count_once()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        module = _Forks(asked).serve()
    if module is not None:
        # As the program does itself where it was started to do more than to say its version: taking to pieces what
        # was loaded here copies all of it first, 45 ms a run.
        quick_end = QuickEnd()
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):
                quick_end.code = end.code or 0
            raise


if __name__ == "__main__":
    main()
