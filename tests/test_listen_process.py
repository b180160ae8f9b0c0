"""``listen`` as scripts run it: in the background, ended by signals, in pipes."""

import asyncio
import json
import signal
import sys
import time

import pytest

from tests.cli_fixtures import Cli
from tests.listener_fixtures import TASK, callback_body
from tests.test_listen import KEY
from tests.tunnel_fixtures import wait_until

WAIT = 'until [ -s ready ]; do sleep 0.02; done; url="$(cat ready)"\n'


def test_a_script_receives_verifies_and_replays_one_callback(cli: Cli) -> None:
    """Listen in the background, trigger, wait, verify, replay: every step of the script exits with 0."""
    script = f"""
        set -eu
        suno-cover listen --no-tunnel --once --json --ready-file ready > events &
        {WAIT}
        suno-cover trigger success --to "$url" --task-id 0123456789abcdef0123456789abcdef
        wait $!
        suno-cover verify events
        suno-cover listen --no-tunnel --once --json --ready-file ready > again &
        listener=$!
        {WAIT.replace("-s ready", '-s ready -a "$(cat ready 2>/dev/null)" != "$url"')}
        suno-cover replay last --to "$url"
        wait $listener
        cat events again
    """
    run = cli.shell(script, SUNO_WEBHOOK_KEY=KEY)
    assert run.code == 0, run.stdout + run.stderr
    lines = [json.loads(line) for line in run.lines if line.startswith("{")]
    first, again = (line for line in lines if line["type"] == "event")
    assert [line["type"] for line in lines] == ["ready", "event", "end"] * 2
    assert first["task_id"] == again["task_id"] == "0123456789abcdef0123456789abcdef"
    assert first["body_b64"] == again["body_b64"]
    assert (first["signature"], again["signature"], again["n"]) == ("ok", "ok", first["n"] + 1)


def test_every_byte_of_stdout_parses(cli: Cli) -> None:
    """Under --json stdout is JSON lines to the last byte, whatever was posted, a command's own words included."""
    script = f"""
        suno-cover listen --no-tunnel --count 3 --json --ready-file ready -- echo hello > out &
        {WAIT}
        for sample in malformed empty duplicate failed-501; do suno-cover trigger $sample --to "$url"; done
        wait $!; echo "code $?"; cat out
    """
    run = cli.shell(script)
    assert "code 0" in run.lines
    lines = [json.loads(line) for line in run.lines[run.lines.index("code 0") + 1 :]]
    assert [line["type"] for line in lines] == ["ready", "request", "request", "event", "event", "event", "end"]
    assert "hello" in run.stderr


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_lets_the_answer_finish_and_is_the_end(cli: Cli, name: str) -> None:
    """A background listen ends by the signal, after the answer that was under way, which it still tells."""
    script = f"""
        suno-cover listen --no-tunnel --delay 0.7 --path /x --ready-file ready > out &
        listener=$!
        {WAIT}
        port=${{url##*:}}; port=${{port%%/*}}
        exec 3<>"/dev/tcp/127.0.0.1/$port"
        printf 'POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' ${{#BODY}} "$BODY" >&3
        until grep -q -- '-->' out; do sleep 0.02; done
        kill -{name} $listener
        wait $listener; echo "listen $?"
        head -n 1 <&3
        cat out
    """
    run = cli.shell(script, BODY=callback_body().decode())
    number = signal.Signals[f"SIG{name}"]
    assert run.lines[:2] == [f"listen {128 + number}", "HTTP/1.1 200 OK"], run.stderr
    assert [line.split()[1:4] for line in run.lines[2:]] == [["-->", "1", TASK], ["<--", "1", "200"]]
    assert "ended      1 event" in run.stderr


async def test_an_answer_that_would_take_too_long_does_not_keep_it(cli: Cli) -> None:
    """Two seconds after a signal it is over, however long an answer was still to take."""
    child = await cli.begin("listen", "--no-tunnel", "--json", "--delay", "60", "--ready-file", "ready")
    try:
        await asyncio.to_thread(wait_until, (cli.cwd / "ready").exists, "listen to be ready")
        url = (cli.cwd / "ready").read_text().strip()
        sender = await cli.begin("trigger", "success", "--to", url)
        journal = cli.home.parent / "state" / "journal.sqlite3-wal"
        size = journal.stat().st_size
        await asyncio.to_thread(wait_until, lambda: journal.stat().st_size > size, "the event to be recorded")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        stdout, _ = await child.communicate()
        took_s = time.monotonic() - began
        await sender.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    assert child.returncode == -signal.SIGTERM
    assert took_s < 15.0
    assert json.loads(stdout.splitlines()[-1])["reason"] == "interrupted"


async def test_a_reader_that_leaves_ends_it_quietly(cli: Cli) -> None:
    """When the reader of stdout is gone, the next line ends listen without a word about pipes."""
    child = await cli.begin("listen", "--no-tunnel", "--ready-file", "ready")
    await asyncio.to_thread(wait_until, (cli.cwd / "ready").exists, "listen to be ready")
    child.stdout._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 -- asyncio has no other way to close it
    url = (cli.cwd / "ready").read_text().strip()
    sender = await cli.begin("trigger", "duplicate", "--to", url)
    await sender.communicate()
    async with asyncio.timeout(10):
        stderr = await child.stderr.read()
        await child.wait()
    assert child.returncode == -signal.SIGPIPE
    assert b"Traceback" not in stderr
    assert b"pipe" not in stderr.lower()


def test_a_command_has_stdout_to_itself(cli: Cli) -> None:
    """Without --json the command's stdout is ours and events go to stderr; its exit code is ours."""
    script = "import os; print(os.environ['SUNO_CALLBACK_URL']); raise SystemExit(3)"
    run = cli.run("listen", "--no-tunnel", "--", sys.executable, "-c", script)
    assert run.code == 3
    assert run.lines == [line.split()[1] for line in run.stderr.splitlines() if line.startswith("ready")]


def test_help_says_what_stdout_is(cli: Cli) -> None:
    """The help of listen names what goes to stdout in each way of running it."""
    run = cli.run("listen", "--help")
    words = " ".join(run.stdout.replace("│", " ").split())
    assert "Two lines an event go to stdout" in words
    assert "With --json, stdout is NDJSON; with --print-url, the URL; with a command, the command's" in words


def test_once_and_count_exclude_each_other(cli: Cli) -> None:
    """--once beside --count 2 is exit 2."""
    assert cli.run("listen", "--once", "--count", "2").code == 2
