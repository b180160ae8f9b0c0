"""Becomes another program after seeing to it that this program cannot outlive its parent.

``python guard.py PARENT_PID PID_FILE PROGRAM ARGUMENT...``: started in place of the agent, because what has to be
done in the child cannot be done by the parent. It is run by its path, in isolated mode and without site packages
(15 ms), so it may import the standard library only. ``exec`` keeps the process id: its parent waits
for, reads from and ends the program itself.
"""

import contextlib
import os
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
SIGKILL = 9  # everywhere on POSIX; importing signal would cost a millisecond
_CANNOT_RUN = 126  # what shells answer for a program that cannot be run
_START_TIME_FIELD = 19  # "starttime" of proc(5), counted after the name in parentheses


def process_stamp(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return what tells a process from a later one with the same id, or ``None`` when there is no telling."""
    if (proc / "self" / "stat").exists():
        try:
            fields = (proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            boot = (proc / "sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            return None
        return f"{boot}:{fields[_START_TIME_FIELD]}"
    if os.name != "posix":
        return None
    import subprocess

    try:
        shown = subprocess.run(  # noqa: S603 -- a number is all that varies
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            check=False,
            env={"LC_ALL": "C", "TZ": "UTC"},
        )
    except OSError:
        return None
    return shown.stdout.decode("ascii", "replace").strip() or None


def _die_with_parent(parent_pid: int) -> None:
    """Ask Linux to kill this process when the thread that started it ends; other systems have no such wish.

    The wish survives ``exec``. It is made after the start, so a parent that has died in between shows by its id.
    """
    if sys.platform == "linux":
        # A Python without ctypes has no way to ask; what is left behind is swept at the next start.
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(_CANNOT_RUN)


def main(arguments: list[str]) -> None:
    """Turn into the program.

    Args:
        arguments: Process id of the parent, file for our own id, the program, and its arguments.
    """
    parent_pid, pid_file, program, *rest = arguments
    _die_with_parent(int(parent_pid))
    Path(pid_file).write_text(f"{os.getpid()} {process_stamp(os.getpid())}\n", "utf-8")
    try:
        os.execv(program, [program, *rest])  # noqa: S606 -- no shell is the point
    except OSError as error:
        sys.stderr.write(f"{program} cannot be run: {error.strerror}\n")
        sys.exit(_CANNOT_RUN)


if __name__ == "__main__":
    main(sys.argv[1:])
