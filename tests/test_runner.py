"""The end of a command: signals, clean-up that hangs, faults nobody expected. Each in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PRELUDE = """
import asyncio, sys, time
from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import KeyRefusedError
from suno_cover_cli.ui.output import Output, standard_streams
from suno_cover_cli.wiring.runner import run
from suno_cover_cli.base.text import Secret

output = Output(standard_streams(), clock=SystemClock(), is_json="--json" in sys.argv)
output.redactor.add(Secret("sk-hidden-0123456789"))

def ready():
    print("ready", flush=True)
"""


def start(body: str, *args: str, stdout: int = subprocess.PIPE, **environ: str) -> "subprocess.Popen[str]":
    """Start a program made of the prelude and ``body``, which ends by calling ``run``."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + body, *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **environ},
    )


HANGS = """
async def work():
    ready()
    try:
        await asyncio.sleep(60)
    finally:
        {clean_up}

run(work, output, on_interrupt=lambda: "go on like this")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_what_the_parent_sees(number: signal.Signals) -> None:
    """The process cleans up, says how to go on, and ends by the signal itself."""
    child = start(HANGS.format(clean_up='print("cleaned", flush=True)'))
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    stdout, stderr = child.communicate(timeout=10)
    assert child.returncode == -number
    assert stdout == "cleaned\n"
    assert stderr == "go on like this\n"


@pytest.mark.parametrize("clean_up", ["await asyncio.sleep(60)", "time.sleep(60)"])
def test_clean_up_that_hangs_is_cut_after_two_seconds(clean_up: str) -> None:
    """Neither an endless await nor a blocked loop keeps a person waiting."""
    child = start(HANGS.format(clean_up=clean_up))
    assert child.stdout is not None
    child.stdout.readline()
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=50)
    # Two seconds and what a busy machine adds, not the sixty of the sleep.
    assert 1.0 < time.monotonic() - began < 20.0
    assert child.returncode == -signal.SIGTERM


def test_a_second_signal_ends_it_at_once() -> None:
    """Whoever presses Ctrl-C twice means now."""
    took_s: list[float] = []
    while not took_s or (took_s[-1] >= 1.0 and len(took_s) < 3):  # the machine may be busy once
        child = start(HANGS.format(clean_up='print("cleaning", flush=True); await asyncio.sleep(60)'))
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "cleaning\n"
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=10)
        took_s.append(time.monotonic() - began)
        assert child.returncode == -signal.SIGINT
    # Without the second signal it would be two seconds.
    assert min(took_s) < 1.0


def test_sigint_ends_a_command_that_a_script_put_in_the_background() -> None:
    """A shell ignores SIGINT for ``command &``; sent by hand it works all the same."""
    body = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + HANGS.format(clean_up="pass")
    child = start(body)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert child.returncode == -signal.SIGINT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("then", ["return 0", "await asyncio.sleep(60)"])
def test_a_last_line_that_cannot_be_written_is_no_success(then: str) -> None:
    """A full disk is told with its reason and how to go on, and exits with 1, also when all else is done."""
    body = f"""
async def work():
    output.write_line("lost")
    {then}

run(work, output, on_interrupt=lambda: "go on like this")
"""
    with Path("/dev/full").open("w") as full:
        child = start(body, stdout=full.fileno())
        _, stderr = child.communicate(timeout=10)
    assert child.returncode == 1
    assert stderr.splitlines() == [
        "go on like this",
        "error: standard output cannot be written: No space left on device",
        "hint: Make room for it, or send it elsewhere.",
    ]


def test_nohup_is_respected() -> None:
    """A process that was told to ignore SIGHUP goes on."""
    body = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)

async def work():
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0.05)
    print("still here", flush=True)
    return 0

run(work, output)
"""
    child = start(body)
    assert child.communicate(timeout=10)[0] == "still here\n"
    assert child.returncode == 0


def test_an_unexpected_fault_is_one_line_without_secrets() -> None:
    """A bug of ours is exit 1 and one line; the traceback is there for the asking, both without the key."""
    body = """
async def work():
    raise LookupError("lost sk-hidden-0123456789")

run(work, output)
"""
    child = start(body, "--json")
    stdout, stderr = child.communicate(timeout=10)
    assert child.returncode == 1
    assert "LookupError" in stdout
    assert "Traceback" not in stderr
    assert "sk-hidden" not in stdout + stderr
    child = start(body, SUNO_COVER_TRACEBACK="1")
    _, stderr = child.communicate(timeout=10)
    assert "Traceback" in stderr
    assert "sk-hidden" not in stderr


def test_a_known_error_inside_a_task_group_keeps_its_exit_code() -> None:
    """What went wrong in a task is told as itself, however deep the groups."""
    body = """
async def fail():
    raise KeyRefusedError("no", hint="get one")

async def work():
    async with asyncio.TaskGroup() as outer:
        async with asyncio.TaskGroup() as inner:
            inner.create_task(fail())

run(work, output)
"""
    child = start(body)
    _, stderr = child.communicate(timeout=10)
    assert child.returncode == 4
    assert stderr == "error: no\nhint: get one\n"


def test_an_unknown_fault_inside_a_task_group_is_told_too() -> None:
    """A group of unknown faults is one line and exit 1."""
    body = """
async def fail():
    raise ZeroDivisionError

async def work():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())

run(work, output)
"""
    child = start(body)
    _, stderr = child.communicate(timeout=10)
    assert child.returncode == 1
    assert len(stderr.splitlines()) == 2


def test_a_fault_in_a_forgotten_callback_is_one_line() -> None:
    """What asyncio would print with a traceback is told in one line."""
    body = """
async def work():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)
    return 0

run(work, output)
"""
    child = start(body)
    _, stderr = child.communicate(timeout=10)
    assert child.returncode == 0
    assert "ZeroDivisionError" in stderr
    assert "Traceback" not in stderr


def test_what_fails_before_the_loop_is_told_as_well() -> None:
    """Errors of the part that runs before the loop end the process the same way."""
    body = """
def work():
    raise KeyRefusedError("early")

run(work, output)
"""
    child = start(body)
    assert child.communicate(timeout=10)[1].startswith("error: early\n")
    assert child.returncode == 4


def test_the_collector_is_at_work_while_a_command_runs() -> None:
    """Switched off while the program is loaded, it is on again when work begins, and spares what was loaded."""
    child = start(
        """
import gc

gc.disable()

async def work():
    print(gc.isenabled(), gc.get_freeze_count() > 10_000)
    return 0

run(lambda: work(), output)
"""
    )
    stdout, stderr = child.communicate(timeout=10)
    assert (stdout, stderr) == ("True True\n", "")
