"""Every exit code of the contract, produced by the program and read by a shell."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.sandbox.app import Sandbox
from tests.cli_fixtures import Cli
from tests.crash_fixtures import environ_of

PROGRAM = f'"{sys.executable}" -m suno_cover_cli'
FAST = "--poll-interval 0.2 --quiet"
# What ends by a signal: wait for the job to be known, send it, and let the shell say what it saw.
SIGNALLED = """
{program} generate sandbox-stuck-{name} --events {fast} > {name}.events & pid=$!
until grep -qs job_submitted {name}.events; do sleep 0.05; done
kill -{name} $pid
wait $pid
"""
BODY = '{"code":200,"msg":"success","data":{"taskId":"cover-1","images":[]}}'
VERIFY = "{program} verify body.json --webhook-key-file key --timestamp {stamp} --signature d3Jvbmc="

SCRIPTS: dict[int, str] = {
    # First, because it is tried again and again and takes longest.
    ExitCode.UNAVAILABLE: "{program} generate sandbox-http-502-always {fast}",
    ExitCode.OK: "{program} generate good {fast}",
    ExitCode.FAILURE: "{program} generate sandbox-unknown-422 sandbox-failed-501 {fast}",
    ExitCode.USAGE: "{program} generate ../up {fast}",
    ExitCode.REFUSED: "{program} generate sandbox-unknown-422 {fast}",
    ExitCode.ACCOUNT: "{program} generate sandbox-credits-402 {fast}",
    ExitCode.JOB_FAILED: "{program} generate sandbox-failed-501-code {fast}",
    ExitCode.IMAGES_MISSING: "{program} generate sandbox-image-html {fast}",
    ExitCode.PENDING: "{program} generate sandbox-stuck --timeout 0.4 {fast}",
    ExitCode.NO_TUNNEL: "{program} generate unheard --tunnel {fast}",
    ExitCode.BAD_SIGNATURE: VERIFY,
    ExitCode.NOT_PICKED: "{program} export undecided",
    ExitCode.REQUIREMENT: "{program} pick decided 1 && {program} export decided --upscale no",
    130: SIGNALLED.replace("{name}", "INT"),
    143: SIGNALLED.replace("{name}", "TERM"),
    129: SIGNALLED.replace("{name}", "HUP"),
}
SMALL = {
    "status {done}": 0,
    f"status {'0' * 32}": 3,
    "wait {done}": 0,
    "resume": 0,
    "history nobody": 2,
    "credits": 0,
}


def test_the_table_is_whole() -> None:
    """No exit code can be added without a shell having seen it."""
    assert set(SCRIPTS) == {*map(int, ExitCode), 129, 130, 143}


async def shell_codes(cli: Cli, scripts: list[str], environ: dict[str, str]) -> list[int]:
    """Run scripts, a few at a time, each in a bash of its own; return what bash ends with."""
    places = asyncio.Semaphore(4)

    async def run(script: str) -> int:
        async with places:
            child = await asyncio.create_subprocess_exec(
                *("bash", "-c", script),
                cwd=cli.cwd,
                env={**cli.environ, **environ},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            return await asyncio.wait_for(child.wait(), 40)

    return await asyncio.gather(*map(run, scripts))


CLOSED_STDOUT = (
    *("--version", "--help", "generate --help", "completion bash", "config show", "config path"),
    *("sandbox --list", "generate --sandbox --no-wait x"),
)


@pytest.mark.skipif(os.name != "posix", reason="shells of other systems cannot close a stream")
@pytest.mark.parametrize("words", CLOSED_STDOUT)
def test_a_closed_stdout_is_no_success(cli: Cli, words: str) -> None:
    """Whoever closes stdout hears that the product had no way out, and nothing is submitted for it."""
    run = cli.shell(f"suno-cover {words} >&-")
    assert run.code == 1
    assert run.stderr.count("standard output is closed") == 1
    assert "Traceback" not in run.stderr
    assert cli.run("history", "--json").lines == []


def test_a_list_for_a_closed_stdout_is_no_success(cli: Cli) -> None:
    """``history`` with jobs to list says that they could not be printed."""
    assert cli.run("generate", "--sandbox", "--no-wait", "x").code == 0
    run = cli.shell("suno-cover history >&-")
    assert (run.code, "standard output is closed" in run.stderr) == (1, True)


def test_what_prints_nothing_needs_no_stdout(cli: Cli) -> None:
    """A command without a product succeeds with a closed stdout, and nothing of its files ends there."""
    assert (
        cli.shell("suno-cover config set rate off >&- && suno-cover config show | grep -q 'rate *off'").code == 0
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("words", ["--version", "--help"])
def test_words_of_the_parser_that_cannot_be_written_are_an_error(cli: Cli, words: str) -> None:
    """A full disk is told in one line, without a traceback."""
    run = cli.shell(f"suno-cover {words} >/dev/full")
    assert run.code == 1
    assert run.stderr == "error: standard output cannot be written: No space left on device\n"


async def test_every_exit_code_is_seen_by_a_shell(cli: Cli) -> None:
    """Each row of the table of exit codes is produced, signals included."""

    def write_files() -> None:
        (cli.cwd / "body.json").write_text(BODY)
        key = cli.cwd / "key"
        key.write_text("webhook-key-of-a-test")
        key.chmod(0o600)

    await asyncio.to_thread(write_files)
    words = {"program": PROGRAM, "fast": FAST, "stamp": str(int(time.time()))}
    async with Sandbox(generation_s=0.1) as sandbox:
        await cli.run_beside("generate", "decided", "undecided", "--quiet", **environ_of(sandbox))
        codes = await shell_codes(
            cli, [script.format(**words) for script in SCRIPTS.values()], environ_of(sandbox)
        )
    assert dict(zip(SCRIPTS, codes, strict=True)) == {code: code for code in SCRIPTS}


async def test_the_small_commands_end_as_tabled_too(cli: Cli) -> None:
    """What asks about jobs, and what has nothing to do, ends with the code that a script expects of it."""
    async with Sandbox(generation_s=0.1) as sandbox:
        environ = environ_of(sandbox)
        first = await cli.run_beside("generate", "done", "--json", "--quiet", **environ)
        done = first.objects[0]["task_id"]
        codes = {
            words: (await cli.run_beside(*words.format(done=done).split(), **environ)).code for words in SMALL
        }
        assert codes == SMALL
        del environ["SUNO_API_KEY"]
        assert (await cli.run_beside("credits", **environ)).code == 4
