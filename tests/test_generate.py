"""``generate`` as a user runs it: streams, files, bad input, signals. Every run is a process of its own."""

import asyncio
import json
import signal
import socket
import time
from pathlib import Path

import pytest
from PIL import Image

from suno_cover_cli.sandbox.app import Sandbox
from tests.cli_fixtures import Cli


def test_one_command_makes_two_covers(cli: Cli) -> None:
    """Without key, account or network, stdout is two paths and both open as images."""
    run = cli.run("generate", "--sandbox", "sandbox-instant")
    assert run.code == 0, run.stderr
    assert len(run.lines) == 2
    for n, line in enumerate(sorted(run.lines), 1):
        assert Path(line).name == f"cover_{n}.png"
        with Image.open(cli.cwd / line) as image:
            image.load()
    assert "via callback" in run.stderr


def test_a_second_run_finds_what_is_there(cli: Cli) -> None:
    """The same command again makes no second job, changes no file and prints the same paths."""
    first = cli.run("generate", "--sandbox", "sandbox-instant")
    before = {path: path.stat().st_mtime_ns for path in cli.cwd.rglob("*.png")}
    again = cli.run("generate", "--sandbox", "sandbox-instant", "--json")
    assert again.code == 0
    assert again.objects[0]["via"] == "existing"
    assert [image["path"] for image in again.objects[0]["images"]] == sorted(first.lines)
    assert {path: path.stat().st_mtime_ns for path in cli.cwd.rglob("*.png")} == before


def test_a_missing_cover_is_fetched_and_the_rest_left_alone(cli: Cli) -> None:
    """A re-run finishes what is missing."""
    first = cli.run("generate", "--sandbox", "sandbox-instant")
    kept, missing = (cli.cwd / line for line in first.lines)
    wanted = missing.read_bytes()
    missing.unlink()
    before = kept.stat().st_mtime_ns
    assert cli.run("generate", "--sandbox", "sandbox-instant").code == 0
    assert missing.read_bytes() == wanted
    assert kept.stat().st_mtime_ns == before


def test_a_file_of_the_users_is_not_overwritten(cli: Cli) -> None:
    """Something else under the final name is kept, told with exit 7, and replaced only on demand."""
    first = cli.run("generate", "--sandbox", "sandbox-instant")
    mine = cli.cwd / min(first.lines)
    mine.write_text("my notes")
    run = cli.run("generate", "--sandbox", "sandbox-instant", "--json")
    assert run.code == 7
    assert run.objects[0]["state"] == "partial"
    assert [image["n"] for image in run.objects[0]["images"]] == [2], "the second variant stays the second"
    assert mine.read_text() == "my notes"
    assert "--overwrite" in run.stderr
    assert cli.run("generate", "--sandbox", "sandbox-instant", "--overwrite").code == 0
    with Image.open(mine) as image:
        image.load()


def test_a_title_that_was_asked_for_is_kept(cli: Cli) -> None:
    """The job object has the title that names files, also where a later run finds everything there."""
    for _ in range(2):
        run = cli.run("generate", "--sandbox", "sandbox-instant", "--name", "{title}_{n}", "--json")
        assert run.objects[0]["title"] == "Music sandbox-instant"
        assert [image["n"] for image in run.objects[0]["images"]] == [1, 2]
    other = cli.run("generate", "--sandbox", "sandbox-instant-2", "--json")
    assert other.objects[0]["title"] is None


def test_no_wait_prints_the_cover_task_id_alone(cli: Cli) -> None:
    """``id=$(generate --no-wait X)`` gets one id and nothing else."""
    run = cli.shell('id=$(suno-cover generate --sandbox --no-wait x 2>/dev/null) && echo "[$id]"')
    assert run.code == 0
    assert len(run.stdout.strip()) == 34
    assert not list(cli.cwd.rglob("*.png"))


@pytest.mark.parametrize(
    "script",
    [
        "suno-cover generate --sandbox sandbox-instant | cat",
        "suno-cover generate --sandbox sandbox-instant 2>/dev/null",
        "NO_COLOR=1 suno-cover generate --sandbox sandbox-instant",
        "TERM=dumb suno-cover generate --sandbox sandbox-instant",
        "suno-cover generate --sandbox sandbox-instant --quiet",
    ],
)
def test_stdout_is_paths_and_nothing_else(cli: Cli, script: str) -> None:
    """However the streams are wired, stdout has two paths, and no escape sequence is anywhere."""
    run = cli.shell(script)
    assert run.code == 0, run.stderr
    assert [line.startswith("covers/") for line in run.lines] == [True, True]
    assert "\x1b" not in run.stdout + run.stderr


def test_force_color_colours_stderr_only(cli: Cli) -> None:
    """Whoever insists on colour in a pipe gets it on stderr; the paths stay bare."""
    run = cli.shell("FORCE_COLOR=1 suno-cover generate --sandbox sandbox-instant")
    assert "\x1b" in run.stderr
    assert "\x1b" not in run.stdout


def test_quiet_says_nothing_when_all_is_well(cli: Cli) -> None:
    """``--quiet`` leaves stderr empty on success."""
    assert cli.run("generate", "--sandbox", "sandbox-instant", "--quiet").stderr == ""


def test_json_is_json(cli: Cli) -> None:
    """``--json`` survives a strict reader and has every key of the contract."""
    run = cli.shell("suno-cover generate --sandbox sandbox-instant --json 2>/dev/null | python3 -m json.tool")
    job = json.loads(run.stdout)
    assert set(job) >= {
        "v", "type", "music_task_id", "task_id", "state", "code", "message", "via",
        "images", "failed_images", "elapsed_s", "error",
    }  # fmt: skip
    assert set(job["images"][0]) == {"url", "path", "bytes", "format", "width", "height", "sha256", "n"}
    assert Path(cli.cwd / job["images"][0]["path"]).stat().st_size == job["images"][0]["bytes"]


def test_events_tell_the_whole_story(cli: Cli) -> None:
    """``--events`` has a stamped line for each step and the job object at the end."""
    run = cli.run("generate", "--sandbox", "sandbox-instant", "--events")
    kinds = [event["type"] for event in run.objects]
    for kind in ("job_started", "tunnel_opened", "job_submitted", "callback_received", "image_saved"):
        assert kind in kinds
    assert kinds[-1] == "job"
    assert all("ts" in event for event in run.objects[:-1])


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([""], 2, "empty"),
        (["a/b"], 2, "'/'"),
        (["../x"], 2, ".."),
        (["x" * 200], 2, "200 characters"),
        (["a\x1b[2Jb"], 2, "not a music task id"),
        (["x", "--provider", "nobody"], 2, "kie"),
        (["x", "--public-url", "http://example.com"], 2, "https"),
        (["x", "--base-url", "http://example.com"], 2, "https"),
        (["x", "--rate", "fast"], 2, "20/10s"),
        (["x", "--callback", "maybe"], 2, "auto"),
        (["x", "--timeout", "soon"], 2, "15m"),
        (["x", "--output", "/proc/nowhere"], 2, "/proc/nowhere"),
        (["x", "--failed-to", "/proc/nowhere"], 2, "/proc/nowhere"),
        (["x", "--input", "missing.txt"], 2, "missing.txt"),
        ([], 2, "music task id"),
    ],
)
def test_bad_input_is_told_before_any_network(cli: Cli, args: list[str], code: int, words: str) -> None:
    """Each mistake ends with exit 2, says what is wrong, and never reaches a service that would count it."""
    run = cli.run(
        "generate", *args, SUNO_API_KEY="sk-test-key-1234", HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY=""
    )
    assert run.code == code, run.stderr
    assert words in run.stderr
    assert "\x1b" not in run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr


def test_without_a_key_the_hint_says_where_to_get_one(cli: Cli) -> None:
    """No key is exit 4 with the address of the key page, and as an object under ``--json``."""
    run = cli.run("generate", "x", "--json")
    assert run.code == 4
    assert "https://sunoapi.org/api-key" in run.stderr
    assert run.objects == [
        {
            "v": 1,
            "type": "error",
            "code": "no_key",
            "message": run.objects[0]["message"],
            "hint": run.objects[0]["hint"],
        }
    ]


def test_a_usage_error_of_the_parser_is_an_object_too(cli: Cli) -> None:
    """``--json`` keeps its promise even for options the parser does not know."""
    run = cli.run("generate", "x", "--json", "--no-such-option")
    assert run.code == 2
    assert run.objects[0]["type"] == "error"


def test_a_port_in_use_is_told_with_the_fix(cli: Cli) -> None:
    """A listener that cannot bind is exit 2 before anything is submitted."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = cli.run("generate", "--sandbox", "sandbox-instant", "--listen-port", port)
    assert run.code == 2
    assert port in run.stderr
    assert "--listen-port" in run.stderr


@pytest.mark.parametrize("pasted", ["Bearer KEY", "  KEY  ", "'KEY'", "bearer KEY\n"])
async def test_a_key_pasted_untidily_works(cli: Cli, pasted: str) -> None:
    """Blanks, quotes and a leading Bearer around the key are tolerated."""
    async with Sandbox(generation_s=0.05) as sandbox:
        run = await cli.run_beside(
            "generate", "x", SUNO_BASE_URL=sandbox.url, SUNO_API_KEY=pasted.replace("KEY", sandbox.api_key)
        )
    assert run.code == 0, run.stderr


async def test_the_key_is_shown_nowhere(cli: Cli) -> None:
    """A refused key appears in no stream, no file of ours, and no error."""
    key = "sk-very-secret-key-0123456789"
    async with Sandbox() as sandbox:
        run = await cli.run_beside(
            "generate", "x", "--events", SUNO_BASE_URL=sandbox.url, SUNO_API_KEY=key, SUNO_COVER_TRACEBACK="1"
        )
    assert run.code == 4
    assert key not in run.stdout + run.stderr
    for path in cli.cwd.parent.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["job_started", "job_submitted", "image_progressed"])
async def test_a_signal_ends_it_within_two_seconds(cli: Cli, number: signal.Signals, moment: str) -> None:
    """At any moment a signal ends the process by that signal, in time, and says how to go on."""
    music = "sandbox-stuck" if moment != "image_progressed" else "sandbox-image-huge"
    async with Sandbox(generation_s=0.2) as sandbox:
        child = await cli.begin(
            "generate", music, "--events", SUNO_BASE_URL=sandbox.url, SUNO_API_KEY=sandbox.api_key
        )
        while json.loads(await child.stdout.readline())["type"] != moment:
            pass
        sent = time.monotonic()
        child.send_signal(number)
        _, stderr = await asyncio.wait_for(child.communicate(), 30)
        took_s = time.monotonic() - sent
    assert child.returncode == -number
    # A job that went on would take minutes; what is more than two seconds is a busy machine's.
    assert took_s < 10.0
    assert "suno-cover resume" in stderr.decode()
    assert "Traceback" not in stderr.decode()


def test_a_closed_pipe_ends_quietly(cli: Cli) -> None:
    """A reader that leaves is no error worth a word."""
    run = cli.shell("suno-cover generate --sandbox sandbox-many-images | head -n 1; exit ${PIPESTATUS[0]}")
    assert len(run.lines) == 1
    assert "Traceback" not in run.stderr
    assert "Broken pipe" not in run.stderr
    assert run.code in {0, 141}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_under_stdout_is_told(cli: Cli) -> None:
    """Paths that could not be written are an error of one line with its reason, exit 1, never a silent end."""
    run = cli.shell("suno-cover generate --sandbox sandbox-instant >/dev/full")
    assert run.code == 1
    assert "error: standard output cannot be written: No space left on device\nhint: " in run.stderr


def test_a_closed_stdout_is_survived(cli: Cli) -> None:
    """With stdout closed from the start the covers are saved all the same, and the lost paths are an error."""
    run = cli.shell("suno-cover generate --sandbox sandbox-instant >&-")
    assert run.code == 1
    assert run.stderr.count("standard output is closed") == 1
    assert "Traceback" not in run.stderr
    assert len(list(cli.cwd.rglob("cover_*.png"))) == 2


def test_paths_are_printed_in_the_order_of_the_variants(cli: Cli) -> None:
    """Whichever cover came first, scripts read the first variant first."""
    run = cli.run("generate", "--sandbox", "sandbox-many-images", "--preview", "off")
    assert run.code == 0, run.stderr
    assert [Path(line).stem for line in run.lines] == [f"cover_{n}" for n in range(1, 13)]


def test_a_callback_that_a_wrong_key_refuses_is_told(cli: Cli, tmp_path: Path) -> None:
    """``--events`` and ``-v`` say that a callback was refused with 401 and why; the job is polled to its end."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_text("the-key-that-we-expect")
    theirs.write_text("the-key-that-they-use")
    words = ("sandbox", "--provider", "kie", "--webhook-key-file", str(theirs), "--generation-time", "0.2", "--")
    generate = (*cli.command("generate"), "x", "--webhook-key-file", str(ours), "--poll-interval", "1")
    run = cli.run(*words, *generate, "--events")
    assert run.code == 0, run.stderr
    refused = [event for event in run.objects if event.get("type") == "callback_refused"]
    assert refused
    assert refused[0]["signature"] == "bad"
    assert refused[0]["music_task_id"] == "x"
    assert refused[0]["task_id"] == run.objects[-1]["task_id"]
    assert "refused" not in run.stderr
    assert run.objects[-1]["via"] == "poll"
    told = cli.run(*words, *generate, "-v", "--overwrite", "-o", "again")
    (line, *_) = [line for line in told.stderr.splitlines() if "refused" in line]
    assert line.startswith("callback   refused with 401, signature bad: ")


def test_every_event_of_a_job_bears_both_ids(cli: Cli) -> None:
    """From the submit on, each line of ``--events`` that belongs to a job names its music and its cover task."""
    run = cli.run("generate", "--sandbox", "sandbox-instant", "--events")
    assert run.code == 0
    events = [event for event in run.objects if "job" in event and "n" in event]
    assert {event["type"] for event in events} == {"image_progressed", "image_saved"}
    assert {event["music_task_id"] for event in events} == {"sandbox-instant"}
    assert {event["task_id"] for event in events} == {run.objects[-1]["task_id"]}
    again = cli.run("generate", "--sandbox", "sandbox-instant", "--events")
    found = [event for event in again.objects if event.get("type") == "image_saved"]
    assert {event["music_task_id"] for event in found} == {"sandbox-instant"}
