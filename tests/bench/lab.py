"""What figures share: a folder, an environment, processes that are timed, and the service."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_BASELINES = Path(__file__).parent / "baselines"
_SUBJECTS = Path(__file__).parent / "subjects"
_PATIENCE_S = 600.0
_LOOK_EVERY_S = 0.01


class BenchError(Exception):
    """Something that is to be measured did not do its work: its figure would mean nothing."""


class NotHereError(Exception):
    """A figure cannot be measured on this machine; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A sandbox in a process of its own."""

    url: str
    key: str

    @property
    def environ(self) -> dict[str, str]:
        """What points programs at it."""
        return {"SUNO_BASE_URL": self.url, "SUNO_API_KEY": self.key}


class Lab:
    """Where figures are measured.

    Args:
        folder: For all files; its file system is what durable steps cost.
        is_short: Fewer repetitions, smaller batches.
    """

    def __init__(self, folder: Path, *, is_short: bool) -> None:
        self.folder = folder
        self.is_short = is_short
        self._numbers = itertools.count(1)
        kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LANG", "LC_ALL")
        self.environ = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(folder),
            "SUNO_COVER_STATE_DIR": str(folder / "state"),
            "SUNO_COVER_CONFIG": str(folder / "config.toml"),
        }

    def choose(self, short: T, long: T) -> T:
        """Return the value for the form that runs."""
        return short if self.is_short else long

    def new_id(self, scenario: str = "success") -> str:
        """Return a music task id that was never used in this lab."""
        return f"sandbox-{scenario}-{os.getpid()}-{next(self._numbers)}"

    def new_folder(self) -> Path:
        """Make a folder that was never used in this lab."""
        folder = self.folder / f"work-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def program(self, *arguments: str) -> list[str]:
        """Return the command line of the installed program."""
        installed = shutil.which("suno-cover", path=str(Path(sys.executable).parent))
        if installed is None:
            raise NotHereError(f"suno-cover is not installed beside {Path(sys.executable).name}")
        return [installed, *arguments]

    def baseline(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of a script in ``baselines/``."""
        return [sys.executable, str(_BASELINES / f"{name}.py"), *arguments]

    def subject(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of a script in ``subjects/``: parts of this program without a command."""
        return [sys.executable, str(_SUBJECTS / f"{name}.py"), *arguments]

    def tool(self, name: str) -> str:
        """Return the path of a foreign program.

        Raises:
            NotHereError: It is not installed.
        """
        found = shutil.which(name)
        if found is None:
            raise NotHereError(f"no {name}")
        return found

    def run(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> float:
        """Run a command to its end and return the seconds it took, from before its start.

        Raises:
            BenchError: It failed.
        """
        # What it prints is read after its end: pipes that are served would cost us time while it runs.
        with (self.folder / "output").open("w+b") as told:
            begun = time.perf_counter()
            with subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
            ) as child:
                # Not wait(timeout): that looks at ever longer intervals, up to 50 ms, and so times itself.
                patience = threading.Timer(_PATIENCE_S, child.kill)
                patience.daemon = True
                patience.start()
                code = child.wait()
                took_s = time.perf_counter() - begun
                patience.cancel()
            if code != 0:
                told.seek(0)
                raise BenchError(f"{' '.join(command)}: exit {code}: {told.read()[-2000:].decode()}")
        return took_s

    @contextmanager
    def process(
        self,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        reads_stdout: bool = True,
    ) -> Iterator["subprocess.Popen[str]"]:
        """Run a command beside the measuring; it is ended with the context, gently at first."""
        with (self.folder / f"stderr-{next(self._numbers)}").open("w+") as told:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **(environ or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if reads_stdout else subprocess.DEVNULL,
                stderr=told,
                text=True,
            )
            with child:
                try:
                    yield child
                except BenchError as error:
                    end(child)
                    told.seek(0)
                    raise BenchError(f"{error}: {told.read()[-2000:]}") from error
                finally:
                    end(child)

    @contextmanager
    def serve(self, *options: str) -> Iterator[Service]:
        """Run the sandbox; a cover takes it a millisecond unless ``options`` ask for more."""
        command = self.program("sandbox", "--generation-time", "0.001", *options)
        with self.process(command) as sandbox:
            lines = [read_line(sandbox) for _ in range(2)]
            variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
            yield Service(url=variables["SUNO_BASE_URL"], key=variables["SUNO_API_KEY"])


def read_line(child: "subprocess.Popen[str]") -> str:
    """Return the next line of a child's stdout.

    Raises:
        BenchError: There is none.
    """
    line = child.stdout.readline() if child.stdout is not None else ""
    if not line:
        raise BenchError(f"{shown(child)} ended early")
    return line.rstrip("\n")


def shown(child: "subprocess.Popen[str]") -> str:
    """Return a child's command line."""
    return " ".join(map(str, child.args)) if isinstance(child.args, list) else str(child.args)


def end(child: "subprocess.Popen[str]", patience_s: float = 5.0) -> None:
    """Ask a child to end, then force it."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def end_of_input(child: "subprocess.Popen[str]") -> None:
    """Close a child's standard input, which tells it to finish."""
    if child.stdin is not None:
        child.stdin.close()


def wait_for(is_so: Callable[[], object], child: "subprocess.Popen[str]", patience_s: float = 60.0) -> None:
    """Wait for something that a child does.

    Raises:
        BenchError: It ended or took too long.
    """
    end_s = time.monotonic() + patience_s
    while not is_so():
        if child.poll() is not None or time.monotonic() > end_s:
            raise BenchError(f"{shown(child)} did not do what was waited for")
        time.sleep(_LOOK_EVERY_S)
