"""What a running process has used: processor time and memory, as Linux tells it."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.lab import BenchError, NotHereError

_KIB = 1024
_LOOK_EVERY_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one process has used so far.

    Attributes:
        cpu_s: Processor time, its own and the system's for it.
        memory_bytes: Resident now.
        peak_bytes: Most that ever was.
    """

    cpu_s: float
    memory_bytes: int
    peak_bytes: int


def usage_of(pid: int) -> Usage:
    """Look at a process that runs.

    Raises:
        NotHereError: This system has no /proc.
        BenchError: The process has ended.
    """
    if not sys.platform.startswith("linux"):
        raise NotHereError("no /proc on this system")
    folder = Path(f"/proc/{pid}")
    try:
        # The first number is time on a processor, one file a thread (Documentation/scheduler/sched-stats.rst).
        nanoseconds = sum(int(thread.read_text().split()[0]) for thread in folder.glob("task/*/schedstat"))
        lines = (folder / "status").read_text().splitlines()
    except OSError as error:
        raise BenchError(f"process {pid} has ended") from error
    pairs = dict(line.split(":", 1) for line in lines)
    return Usage(
        cpu_s=nanoseconds / 1e9,
        memory_bytes=int(pairs["VmRSS"].split()[0]) * _KIB,
        peak_bytes=int(pairs["VmHWM"].split()[0]) * _KIB,
    )


def wait_for_usage(child: "subprocess.Popen[Any]") -> tuple[int, int]:
    """Wait for the end of a child; return its exit code and the most memory it ever had, in bytes."""
    peak_bytes = 0
    while sys.platform.startswith("linux") and not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
        # What wait4 tells at the end counts what this process had when it started the child.
        with suppress(BenchError, KeyError):  # it has ended this moment
            peak_bytes = usage_of(child.pid).peak_bytes
        time.sleep(_LOOK_EVERY_S)
    if not sys.platform.startswith("linux"):
        ended = os.wait4(child.pid, 0)
    _, status, used = ended
    child.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts in KiB, macOS in bytes.
    return child.returncode, peak_bytes or used.ru_maxrss * (1 if sys.platform == "darwin" else _KIB)
