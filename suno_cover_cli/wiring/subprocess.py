"""The program of ``listen -- COMMAND...`` and ``sandbox -- COMMAND...``: begun, waited for, never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import clean

# Of the two seconds after a signal: the program has this long to end by itself, and the parts around it the rest.
_POLITE_S = 1.0
_LOOK_S = 0.02
_RELAYED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH")


async def run_program(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    has_stdout: bool = True,
    hint: str = "Check the command.",
) -> int:
    """Run a program to its end and return its exit code as a shell would. It never outlives this call.

    As with ``timeout``, it has a process group of its own, and when this call is cancelled all of the group is
    asked to end (SIGTERM) and after a second made to (SIGKILL). At a terminal it stays in ours, or it could not
    read. What it leaves running when it ends by itself goes on.

    Args:
        command: Its words.
        environ: Its environment.
        has_stdout: It writes to our stdout; otherwise that is ours alone, and what it writes goes to stderr.
        hint: What helps when it cannot be started.

    Raises:
        UsageError: It cannot be started.
    """
    is_leader = os.name == "posix" and not _is_at_terminal()
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            stdout=None if has_stdout else sys.__stderr__ or subprocess.DEVNULL,
            process_group=0 if is_leader else None,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else clean(error, 100)
        raise UsageError(
            f'cannot run "{clean(command[0], 100)}": {reason}', code="bad_command", hint=hint
        ) from None
    try:
        code = await child.wait()
    except BaseException:
        await _end(child, is_leader=is_leader)
        raise
    return code if code >= 0 else 128 - code


def _is_at_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


async def _end(child: asyncio.subprocess.Process, *, is_leader: bool) -> None:
    """Ask it to end, then make it end; with it whatever it has started, where it leads a group."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_POLITE_S):
            _send(child, "SIGTERM", is_leader=is_leader)
            # One that was stopped hears of it only when it goes on.
            _send(child, "SIGCONT", is_leader=is_leader)
            await child.wait()
            while is_leader and _is_alive(child.pid):  # noqa: ASYNC110 -- the others are not children of ours
                await asyncio.sleep(_LOOK_S)
    _send(child, "SIGKILL", is_leader=is_leader)
    await child.wait()


def _send(child: asyncio.subprocess.Process, name: str, *, is_leader: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            if name != "SIGCONT":
                child.terminate()
        elif is_leader:
            os.killpg(child.pid, getattr(signal, name))
        elif child.returncode is None:
            child.send_signal(getattr(signal, name))


def _is_alive(group: int) -> bool:
    if sys.platform == "win32":
        return False  # there are no process groups of this kind
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def stand_behind_init() -> None:
    """As process 1 of a container, go on in a child, and let process 1 do what an init does.

    Every process whose parent has died becomes a child of process 1, and remains as a zombie until that asks how
    it ended. A program that only asks for its own children, as this one does, would collect them. Call it before
    there are threads. Elsewhere it does nothing.
    """
    if sys.platform == "win32" or os.getpid() != 1:
        return
    signals = [getattr(signal, name) for name in _RELAYED if hasattr(signal, name)]
    # One that came between here and the handlers would be lost: process 1 has no default actions.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child:
        _be_init(child, signals, before)
    with suppress(OSError):
        os.setpgid(0, 0)
        if _is_at_terminal():
            # Ctrl-C is for the child alone: process 1 would only pass it on a second time.
            ignored = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, ignored)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _be_init(child: int, signals: Sequence[int], mask: set[int]) -> NoReturn:
    """Pass signals on and collect whatever ends, until the child does; then end as it did."""
    if sys.platform == "win32":
        raise RuntimeError("Windows has no process 1")

    def relay(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in signals:
        signal.signal(number, relay)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
