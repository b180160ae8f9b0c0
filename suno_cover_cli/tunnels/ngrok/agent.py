"""A program of ngrok's at work: its private folder, its process, its local API, and what killed runs left behind.

pyngrok installs the agent and parses its log. Starting and ending it is done here: pyngrok puts the token on the
agent's command line, reads its output as strict text, keeps no deadline while the agent says nothing, and asks the
agent's API on 127.0.0.1 through the proxies of the environment.

A run that has an agent holds the lock beside its folder. A folder whose lock is free belongs to a run that was
killed: the next start ends its agent, if that is still the same process, and removes the folder.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from suno_cover_cli.base.clock import in_daemon_thread
from suno_cover_cli.base.text import Secret
from suno_cover_cli.tunnels.ngrok import guard, home_folders

_TAIL_BYTES = 4096
_CHUNK_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 1024 * 1024
_API_S = 4.0
# The end of a process is awaited in the machine's own seconds: no clock of ours hastens it.
_POLITE_S = 0.7
_FORCED_S = 0.5

_Result = TypeVar("_Result")


class AgentHome(msgspec.Struct, frozen=True):
    """Where the files of one agent lie."""

    path: Path

    @property
    def config(self) -> Path:
        """The agent's configuration, with the token, mode 0600."""
        return self.path / "ngrok.yml"

    @property
    def pid_file(self) -> Path:
        """Id and stamp of the process started last."""
        return self.path / "agent.pid"

    def write_config(self, token: Secret) -> None:
        """Write a version 3 configuration that holds the token and nothing else of the user's.

        JSON is YAML, and quotes every value.
        """
        handle = os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"version": "3", "agent": {"authtoken": token.reveal()}}, stream)


@contextmanager
def private_home(state_dir: Path, *, is_snap: bool = False) -> Iterator[AgentHome]:
    """Clear away what killed runs have left, then lend a new private folder, removed at the end.

    Blocks, for milliseconds; it may be entered and left in different threads.

    Args:
        state_dir: The state folder.
        is_snap: A snap is to read the folder; see :func:`home_folders`.

    Raises:
        OSError: The folder cannot be written.
    """
    from filelock import FileLock

    sweep(state_dir)
    own, readable = home_folders(state_dir)
    homes = readable if is_snap else own
    homes.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = homes / secrets.token_hex(8)
    # The lock comes before the folder: at no moment does a live run's folder stand there with its lock free.
    try:
        with FileLock(_lock_path(path), thread_local=False):  # given back by another thread
            path.mkdir(mode=0o700)
            try:
                yield AgentHome(path)
            finally:
                shutil.rmtree(path, ignore_errors=True)  # whatever stays is swept at the next start
    finally:
        _lock_path(path).unlink(missing_ok=True)


def sweep(state_dir: Path) -> None:
    """End the agents, and remove the folders and the tokens in them, of runs that were killed."""
    for homes in home_folders(state_dir):
        with suppress(OSError):  # not there, which is the common case
            for path in homes.iterdir():
                if path.is_dir():
                    _sweep_home(path)


def _sweep_home(path: Path) -> None:
    from filelock import FileLock, Timeout

    with suppress(Timeout, OSError), FileLock(_lock_path(path), timeout=0):  # taken: that run is alive
        _kill_left_agent(AgentHome(path))
        shutil.rmtree(path, ignore_errors=True)
        _lock_path(path).unlink(missing_ok=True)


def _lock_path(home: Path) -> Path:
    return home.with_suffix(".lock")


def _kill_left_agent(home: AgentHome) -> None:
    """Kill the process whose id a killed run wrote down, provided that it is still that process."""
    try:
        number, _, stamp = home.pid_file.read_text("utf-8").strip().partition(" ")
        pid = int(number)
    except (OSError, ValueError):
        return
    if stamp and guard.process_stamp(pid) == stamp:
        with suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile, or is not ours after all
            os.kill(pid, guard.SIGKILL)


class AgentProcess:
    """A running program whose output is read as text, whatever bytes it writes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said = b""
        self._hearing = asyncio.create_task(self._hear(), name="agent-stderr")

    @classmethod
    @asynccontextmanager
    async def start(cls, home: AgentHome, command: list[str], environ: Mapping[str, str]) -> AsyncIterator[Self]:
        """Run a program for as long as the block lasts; it ends with this process even when that is killed.

        That holds on Linux; elsewhere the next start ends what a killed run has left. Of standard error, the last
        4 KiB are kept, in memory: a tunnel may be open for months.

        Raises:
            OSError: It cannot be started.
        """
        if os.name == "posix" and sys.executable:
            own = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(home.pid_file)]
            command = [*own, *command]
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C goes to the whole process group; the agent must outlast it until jobs know.
            start_new_session=os.name == "posix",
        )
        running = cls(process)
        try:
            yield running
        finally:
            await to_the_end(running._end())

    async def _hear(self) -> None:
        if self._process.stderr is not None:
            while chunk := await self._process.stderr.read(_CHUNK_BYTES):
                self._said = (self._said + chunk)[-_TAIL_BYTES:]

    async def last_words(self) -> str:
        """Return the last line that a program which has ended wrote to standard error, or an empty string."""
        # A program that it started may hold the other end.
        await asyncio.wait({self._hearing}, timeout=_FORCED_S)
        # The agent frames its message with lines that hold nothing but "ERROR:".
        lines = self._said.decode("utf-8", "replace").split("\n")
        shown = [line.removeprefix("ERROR:").strip() for line in lines]
        return next((line for line in reversed(shown) if line), "")

    async def lines(self) -> AsyncIterator[str]:
        """Yield what it prints until it ends or closes its output, line by line, an endless line in pieces."""
        if self._process.stdout is None:
            return
        begun = b""
        while chunk := await self._process.stdout.read(_CHUNK_BYTES):
            # pyngrok's installer ends its lines of progress with a carriage return.
            *whole, begun = (begun + chunk).replace(b"\r", b"\n").split(b"\n")
            if len(begun) >= _CHUNK_BYTES:
                whole, begun = [*whole, begun], b""
            for line in whole:
                yield line.decode("utf-8", "replace")
        if begun:
            yield begun.decode("utf-8", "replace")

    async def wait(self) -> str:
        """Wait for its end and say how it came, such as ``ended with exit status 1``."""
        status = await self._process.wait()
        if status >= 0:
            return f"ended with exit status {status}"
        try:
            return f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"was ended by signal {-status}"

    @property
    def is_fine(self) -> bool:
        """Whether it has ended and says that all went well."""
        return self._process.returncode == 0

    async def _end(self) -> None:
        """End it: politely, so that ngrok frees the domain at once, then by force."""
        with suppress(ProcessLookupError):
            try:
                if self._process.returncode is None:
                    self._process.terminate()
                    async with asyncio.timeout(_POLITE_S):
                        await self._process.wait()
            except TimeoutError:
                self._process.kill()
            except asyncio.CancelledError:
                self._process.kill()
                raise
        # Read to the end what it still had to say: the pipe is closed only then.
        with suppress(TimeoutError):
            async with asyncio.timeout(_FORCED_S):
                await self._process.wait()
                if self._process.stdout is not None:
                    await self._process.stdout.read()
                await self._hearing
        self._hearing.cancel()


async def to_the_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await what cleans up, within a second or two, also when cancelled meanwhile; only then be cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def call_api(url: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """Call the agent's local API, past all proxies: GET, or POST with a body; return status and answer.

    Raises:
        OSError: No answer within 4 s.
    """
    return await in_daemon_thread(lambda: _call_api(url, body))


def _call_api(url: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
    # Loaded while the agent starts: what its start waits for is done by then.
    import urllib.request
    from urllib.error import HTTPError

    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 -- http, as logged
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(call, timeout=_API_S) as answer:
            return answer.status, answer.read(_MAX_ANSWER_BYTES)
    except HTTPError as error:
        with error:
            return error.code, error.read(_MAX_ANSWER_BYTES)
