"""The private folder of one agent: configuration with the token, launcher, process id; and its leftovers.

Whoever runs an agent holds the lock beside its folder. A folder whose lock is free belongs to a run that was
killed: the next start ends its agent, if that is still the same process, and removes the folder.
"""

import json
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from suno_cover_cli.base.text import Secret
from suno_cover_cli.tunnels import agent_guard

_HOMES = "agents"
_PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class AgentHome(msgspec.Struct, frozen=True):
    """Where the files of one agent lie."""

    path: Path

    @property
    def config(self) -> Path:
        """The agent's configuration, with the token, mode 0600."""
        return self.path / "ngrok.yml"

    @property
    def launcher(self) -> Path:
        """What pyngrok starts in place of the agent."""
        return self.path / "ngrok"

    @property
    def log(self) -> Path:
        """The agent's standard error."""
        return self.path / "agent.log"

    @property
    def pid_file(self) -> Path:
        """Id and stamp of the agent's process."""
        return self.path / "agent.pid"

    def write_config(self, token: Secret | None) -> None:
        """Write a version 3 configuration that holds the token and nothing else of the user's.

        JSON is YAML, and quotes every value.
        """
        agent = {"authtoken": token.reveal()} if token else {}
        handle = os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"version": "3", "agent": agent}, stream)

    def install_launcher(self, agent: Path, *, private_variables: tuple[str, ...], use_proxy: bool) -> Path:
        """Return the path under which to start the agent: a launcher on POSIX, the agent itself on Windows.

        Args:
            agent: The real executable.
            private_variables: Taken out of the agent's environment: our own secrets, and the agent's own
                variables, as it has its private configuration and needs no second source.
            use_proxy: Leave the proxy variables in the agent's environment.
        """
        if os.name != "posix" or not sys.executable:
            return agent
        unwanted = private_variables if use_proxy else (*private_variables, *_PROXY_VARIABLES)
        # Not a "#!" line of its own: those are short, and know no blanks in the interpreter's path.
        command = shlex.join(
            [
                sys.executable,
                *("-I", "-S", agent_guard.__file__),
                *(str(os.getpid()), str(self.pid_file), str(self.log), ",".join(unwanted), str(agent)),
            ]
        )
        self.launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
        self.launcher.chmod(0o700)
        return self.launcher

    def last_words(self) -> str:
        """Return the last line of the agent's standard error, or an empty string."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - 4096))
                lines = stream.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        # The agent frames its message with lines that hold nothing but "ERROR:".
        shown = [line.removeprefix("ERROR:").strip() for line in lines]
        return next((line for line in reversed(shown) if line), "")


@contextmanager
def private_home(state_dir: Path) -> Iterator[AgentHome]:
    """Clear away what killed runs have left, then lend a new private folder, removed at the end.

    Blocks, for milliseconds; made for a thread.

    Raises:
        OSError: The state folder cannot be written.
    """
    from filelock import FileLock

    homes = state_dir / _HOMES
    homes.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(homes)
    path = homes / secrets.token_hex(8)
    # The lock comes before the folder: at no moment does a live run's folder stand there with its lock free.
    try:
        with FileLock(_lock_path(path)):
            path.mkdir(mode=0o700)
            try:
                yield AgentHome(path)
            finally:
                shutil.rmtree(path, ignore_errors=True)  # whatever stays is swept at the next start
    finally:
        _lock_path(path).unlink(missing_ok=True)


def sweep(homes: Path) -> None:
    """End the agents, and remove the folders, of runs that are no more."""
    from filelock import FileLock, Timeout

    for path in homes.iterdir():
        if not path.is_dir():
            continue
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
    if stamp and agent_guard.process_stamp(pid) == stamp:
        with suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile, or is not ours after all
            os.kill(pid, agent_guard.SIGKILL)
