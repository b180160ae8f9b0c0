"""Two ways to run a command: as a user does, in a process of its own, and inside the test's loop."""

import asyncio
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.errors import SunoCoverError
from suno_cover_cli.base.providers import PROVIDERS
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.tunnels.kinds import load_kinds
from suno_cover_cli.ui.output import Output, Streams
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.jobs import Unfinished
from suno_cover_cli.wiring.listed_jobs import prepare_listed_jobs
from tests.starter import Started, StartedBeside, Starter
from tests.terminal_fixtures import Terminal

PACKAGE = "suno_cover_cli"

_MAX_RUN_S = 90.0

START_ENVIRON = {
    "PYTHONWARNINGS": "error",
    "SSL_CERT_FILE": os.devnull,
    **{name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "COV_"))},
}
"""What Python and the watching of its coverage read when they start."""


class Run:
    """What a command left behind."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr

    @property
    def lines(self) -> list[str]:
        """Lines of stdout."""
        return self.stdout.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Lines of stdout as JSON; fails when one is not."""
        return [json.loads(line) for line in self.lines]


class Cli:
    """The program in a process of its own, with a home of its own.

    Args:
        tmp_path: Holds that home, the folder to work in, the state and the settings.
        starter: Runs the program without loading its libraries each time.
    """

    def __init__(self, tmp_path: Path, starter: Starter) -> None:
        self._starter = starter
        self.home = tmp_path / "home"
        self.cwd = tmp_path / "work"
        self.home.mkdir()
        self.cwd.mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "SUNO_COVER_STATE_DIR": str(tmp_path / "state"),
            "SUNO_COVER_CONFIG": str(tmp_path / "config.toml"),
            **START_ENVIRON,
        }

    def command(self, *args: str) -> list[str]:
        """Return the words that start the program from nothing."""
        return [sys.executable, "-m", PACKAGE, *args]

    def start(self, *args: str, stdin: str = "", module: str = PACKAGE, **environ: str) -> Started:
        """Start the program, or another module, and return at once."""
        return self._starter.start(
            args, environ={**self.environ, **environ}, cwd=self.cwd, stdin=stdin.encode(), module=module
        )

    def start_on(
        self, terminal: Terminal, *args: str, streams: str = "02", module: str = PACKAGE, **environ: str
    ) -> None:
        """Start the program, or another module, on a terminal; streams that are not the terminal's are pipes."""
        started = self._starter.start(
            args,
            environ={**self.environ, "TERM": "xterm-256color", **environ},
            cwd=self.cwd,
            tty=terminal.name,
            on_tty=streams,
            module=module,
        )
        terminal.own(started)

    def run(self, *args: str, stdin: str = "", module: str = PACKAGE, **environ: str) -> Run:
        """Run the program, or another module, to its end."""
        with self.start(*args, stdin=stdin, module=module, **environ) as started:
            stdout, stderr = started.communicate(_MAX_RUN_S)
            return Run(started.wait(), stdout.decode(), stderr.decode())

    async def begin(self, *args: str, **environ: str) -> StartedBeside:
        """Start the program beside servers that live in the test's own loop."""
        return await StartedBeside.make(await asyncio.to_thread(self.start, *args, **environ))

    async def run_beside(self, *args: str, **environ: str) -> Run:
        """Run the program to its end beside servers that live in the test's own loop."""
        return await asyncio.to_thread(self.run, *args, **environ)

    def shell(self, script: str, timeout_s: float = 90.0, **environ: str) -> Run:
        """Run a bash script in which ``suno-cover`` is the program."""
        folder = self.cwd.parent / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "suno-cover"
        # A program of its own, as installed: what a script kills is the program, not a shell around it.
        program.write_text(f'#!/bin/sh\nexec {shlex.join(self.command())} "$@"\n')
        program.chmod(0o755)
        path = f"{folder}{os.pathsep}{self.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.cwd,
            env={**self.environ, "PATH": path, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)


class InProcess:
    """Commands inside the test's loop: time is handed in, the streams are buffers."""

    def __init__(self, tmp_path: Path) -> None:
        self.covers = tmp_path / "covers"
        self.providers = PROVIDERS
        self.tunnels = load_kinds()
        self.environ = {
            "SUNO_COVER_STATE_DIR": str(tmp_path / "state"),
            "SUNO_COVER_CONFIG": str(tmp_path / "config.toml"),
        }

    async def generate(
        self,
        *music_task_ids: str,
        options: JobCommandOptions,
        clock: Clock | None = None,
        input_path: str | None = None,
        stdin: bytes = b"",
        **environ: str,
    ) -> Run:
        """Run ``generate``; errors that stop it are told as the program tells them."""

        def prepare(context: Context) -> Coroutine[Any, Any, int]:
            return prepare_listed_jobs(given, context, Unfinished())

        given = replace(options, task_ids=list(music_task_ids), input_file=input_path)
        is_json = options.json or options.events
        return await self.run(prepare, is_json=is_json, clock=clock, stdin=stdin, environ=environ)

    async def run(
        self,
        prepare: Callable[[Context], Coroutine[Any, Any, int]],
        *,
        is_json: bool = False,
        clock: Clock | None = None,
        stdin: bytes = b"",
        environ: dict[str, str] | None = None,
    ) -> Run:
        """Run any command; errors that stop it are told as the program tells them."""
        stdout, stderr = io.BytesIO(), io.StringIO()
        streams = Streams(
            stdin=io.BytesIO(stdin),
            stdout=stdout,
            stderr=stderr,
            stdout_is_terminal=False,
            stderr_is_terminal=False,
            environ={**self.environ, **(environ or {})},
        )
        clock = clock or SystemClock()
        output = Output(streams, clock=clock, is_json=is_json)
        try:
            # What blocks runs before the loop does, as in the real program.
            context = Context(output=output, clock=clock, providers=self.providers, tunnels=self.tunnels)
            code = await (await asyncio.to_thread(lambda: prepare(context)))
        except SunoCoverError as error:
            output.write_error(error)
            code = error.exit_code
        await asyncio.to_thread(output.finish)
        return Run(code, stdout.getvalue().decode(), stderr.getvalue())
