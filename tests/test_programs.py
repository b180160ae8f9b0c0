"""``listen -- COMMAND`` and ``sandbox -- COMMAND``: the program, its end, and the file that says it may begin."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli_fixtures import Cli
from tests.tunnel_fixtures import wait_until

COMMANDS = {"listen": ("listen", "--no-tunnel"), "sandbox": ("sandbox",)}
both = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX")

STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(60)"])
time.sleep(0.3)
part = pathlib.Path("pids.part")
part.write_text(f"{os.getpid()} {child.pid}")
part.rename("pids")
time.sleep(60)
"""
POLITE = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path("said").write_text("goodbye")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path("pids").write_text("")
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@posix
@both
def test_a_program_that_will_not_end_is_made_to(cli: Cli, command: tuple[str, ...]) -> None:
    """SIGTERM ends us within two seconds, and with us a program that ignores it, and what that has started."""
    with cli.start(*command, "--", sys.executable, "-c", STUBBORN) as started:
        wait_until((cli.cwd / "pids").exists, "the program to run")
        pids = [int(pid) for pid in (cli.cwd / "pids").read_text().split()]
        began_s = time.monotonic()
        started.send_signal(15)
        _, stderr = started.communicate(20)
        assert started.wait() == -15
    assert time.monotonic() - began_s < 15.0
    assert b"unexpected" not in stderr
    wait_until(lambda: not any(map(is_running, pids)), "no process to be left")


@posix
@both
def test_a_program_is_asked_before_it_is_made_to_end(cli: Cli, command: tuple[str, ...]) -> None:
    """A program that ends when it is asked has the time to do so."""
    with cli.start(*command, "--", sys.executable, "-c", POLITE) as started:
        wait_until((cli.cwd / "pids").exists, "the program to run")
        started.send_signal(15)
        started.communicate(20)
    assert (cli.cwd / "said").read_text() == "goodbye"


@both
@pytest.mark.parametrize(("code", "expected"), [(0, 0), (7, 7), (-9, 137)])
def test_its_exit_code_is_ours(cli: Cli, command: tuple[str, ...], code: int, expected: int) -> None:
    """How the program ended is how we end, as a shell says it."""
    script = f"import os, sys; os.kill(os.getpid(), {-code})" if code < 0 else f"raise SystemExit({code})"
    assert cli.run(*command, "--", sys.executable, "-c", script).code == expected


@both
def test_a_program_that_is_not_there_is_exit_2(cli: Cli, command: tuple[str, ...]) -> None:
    """What is no program is refused with exit 2 and what to do, not as an unexpected error."""
    run = cli.run(*command, "--", "no-such-program")
    assert run.code == 2
    assert 'cannot run "no-such-program"' in run.stderr


def test_a_program_in_the_sandbox_sees_the_sandboxes_key_alone(cli: Cli) -> None:
    """The sandbox's key takes the place of ours; other keys and tokens do not reach the program."""
    secrets = {"SUNO_API_KEY": "sk-mine", "KIE_API_KEY": "sk-kie", "NGROK_AUTHTOKEN": "tok"}
    run = cli.run("sandbox", "--", sys.executable, "-c", "import os; print(dict(os.environ))", **secrets)
    assert "SUNO_BASE_URL" in run.stdout
    for secret in secrets.values():
        assert secret not in run.stdout


@posix
@both
def test_a_program_at_a_pipe_can_be_stopped_and_still_ends(cli: Cli, command: tuple[str, ...]) -> None:
    """A program that stands still (SIGSTOP) is woken for its end."""
    with cli.start(*command, "--", sys.executable, "-c", POLITE + "\n") as started:
        wait_until((cli.cwd / "pids").exists, "the program to run")
        found = subprocess.run(["pgrep", "-P", str(started.pid)], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout.split()[0]), 19)
        started.send_signal(15)
        started.communicate(20)
    assert (cli.cwd / "said").read_text() == "goodbye"


# --- ready files ------------------------------------------------------------------------------------------


@both
def test_the_ready_line_is_out_before_the_ready_file(cli: Cli, command: tuple[str, ...]) -> None:
    """Whoever waits for the file finds the ready line, three times out of three; its folder is made for it."""
    flags = " --json" if command[0] == "listen" else ""
    script = f"""
        for n in 1 2 3; do
            suno-cover {shlex.join(command)}{flags} --ready-file made/here/ready > out.$n 2> err.$n &
            until [ -e made/here/ready ]; do sleep 0.005; done
            wc -l < out.$n
            kill $!; wait $! 2> /dev/null
            [ ! -e made/here/ready ] || echo left behind
        done
    """
    run = cli.shell(script, timeout_s=55)
    least = 1 if command[0] == "listen" else 2
    assert [line.strip() for line in run.lines] == [str(least)] * 3, run.stdout + run.stderr


@both
def test_a_stale_ready_file_is_gone_before_anything_is_ready(cli: Cli, command: tuple[str, ...]) -> None:
    """The file of a run that was killed is removed at the start, whatever becomes of this one."""
    ready = cli.cwd / "ready"
    ready.write_text("stale")
    port = "--listen-port" if command[0] == "listen" else "--port"
    with cli.start(*command, "--ready-file", "first") as first:
        wait_until((cli.cwd / "first").exists, "the first to be ready")
        (taken,) = re.findall(r"127\.0\.0\.1:(\d+)", (cli.cwd / "first").read_text())
        run = cli.run(*command, "--ready-file", "ready", port, taken)
        first.send_signal(15)
        first.communicate(20)
    assert run.code == 2
    assert not ready.exists()


@both
def test_a_ready_file_that_another_run_has_written_stays(cli: Cli, command: tuple[str, ...]) -> None:
    """At its end a run removes its own file, and not the one that took its place."""
    ready = cli.cwd / "ready"
    with cli.start(*command, "--ready-file", "ready") as started:
        wait_until(ready.exists, "it to be ready")
        ready.write_text("another run's")
        started.send_signal(15)
        started.communicate(20)
    assert ready.read_text() == "another run's"


@both
def test_a_ready_file_that_cannot_be_is_exit_2_before_anything_is_said(cli: Cli, command: tuple[str, ...]) -> None:
    """A path below a file is refused at once with the option's name."""
    (cli.cwd / "file").write_text("")
    run = cli.run(*command, "--ready-file", "file/ready")
    assert run.code == 2
    assert run.stdout == ""
    assert "--ready-file" in run.stderr


# --- process 1 ----------------------------------------------------------------------------------------------

UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_be_process_1() -> bool:
    """Tell whether this system lets us have a process namespace of our own."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


as_process_1 = pytest.mark.skipif(not can_be_process_1(), reason="needs namespaces of Linux")
ORPHANS = """
for n in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit' ; done
sleep 0.6
ps -eo stat,args
exit 7
"""


def run_as_process_1(cli: Cli, *args: str) -> "subprocess.Popen[bytes]":
    """Start the program as the first process of a namespace."""
    return subprocess.Popen(
        [*UNSHARE, *cli.command(*args)],
        cwd=cli.cwd,
        env=cli.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@as_process_1
@both
def test_as_process_1_it_leaves_no_zombies(cli: Cli, command: tuple[str, ...]) -> None:
    """Orphans of the program are collected as they end, and its exit code is still ours."""
    with run_as_process_1(cli, *command, "--", "sh", "-c", ORPHANS) as process:
        stdout, stderr = process.communicate(timeout=30)
    lines = stdout.decode().splitlines()
    assert process.returncode == 7, stderr
    assert any("suno_cover_cli" in line for line in lines), stdout
    assert [line for line in lines if line.startswith("Z")] == []


@as_process_1
@both
def test_as_process_1_it_ends_when_it_is_asked(cli: Cli, command: tuple[str, ...]) -> None:
    """SIGTERM, which process 1 would ignore, reaches the program and ends everything as it always does."""
    with run_as_process_1(cli, *command, "--", sys.executable, "-c", POLITE) as process:
        wait_until((cli.cwd / "pids").exists, "the program to run")
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout), 15)
        process.communicate(timeout=20)
    assert process.returncode == 143
    assert (cli.cwd / "said").read_text() == "goodbye"
