"""``listen`` on the stages of a music job, and the screen it draws at 80 columns."""

import base64
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from suno_cover_cli.sandbox.app import Sandbox
from tests.callback_cases import CASES, TASK
from tests.cli_fixtures import Cli
from tests.listen_fixtures import Listening, listening
from tests.listener_fixtures import callback_body
from tests.terminal_fixtures import PLAIN, Terminal

SAID = "KeyErrorInTheHandler LongWords"
WORDS = " ".join(f"considerations-{n}" for n in range(7))
STAGES = ("text", "first", "complete")


async def post_stages(run: Listening, *names: str) -> None:
    """Send bodies of a music job, each after the answer to the one before."""
    for name in names:
        assert (await run.post(json.dumps(CASES[f"music-{name}"][0]).encode())).status == 200


@pytest.mark.parametrize("last", ["complete", "error", "failed-at-the-end"])
async def test_until_task_waits_for_the_final_stage(tmp_path: Path, last: str) -> None:
    """Words and first tracks of a task do not end ``--until-task``; its complete or failed callback does."""
    async with listening(tmp_path, until_task=TASK) as run:
        await post_stages(run, "text", "first", last)
        done = await run.wait_ended()
    events = done.objects[1:-1]
    assert [event["kind"] for event in events] == ["music"] * 3
    final = "complete" if last == "complete" else "error"
    assert [event["stage"] for event in events] == ["text", "first", final]
    assert (done.code, done.objects[-1]["reason"], done.objects[-1]["events"]) == (0, "task", 3)


@pytest.mark.parametrize("is_json", [True, False])
async def test_a_title_cut_within_an_emoji_is_read(tmp_path: Path, is_json: bool) -> None:
    """Half an emoji costs a callback neither kind nor task; it is U+FFFD in the event, and recorded as it came."""
    body = (
        json.dumps(CASES["music-complete"][0] | {"msg": "\ud83d"}).replace("Night Drive", r"Night \ud83d").encode()
    )
    assert rb'"msg": "\ud83d"' in body
    async with listening(tmp_path, json=is_json, until_task=TASK) as run:
        assert (await run.post(body)).status == 200
        done = await run.wait_ended()
    assert done.code == 0
    if not is_json:
        assert f"--> 1 {TASK}" in done.stdout
        return
    event = done.objects[1]
    assert (event["kind"], event["stage"], event["task_id"]) == ("music", "complete", TASK)
    assert (event["body"]["msg"], event["body"]["data"]["data"][0]["title"]) == ("\ufffd", "Night \ufffd")
    assert base64.b64decode(event["body_b64"]) == body


async def test_count_counts_every_stage(tmp_path: Path) -> None:
    """``--count 2`` ends with the second stage, which is an event as any other."""
    async with listening(tmp_path, count=2) as run:
        await post_stages(run, "text", "first")
        done = await run.wait_ended()
    assert [line.get("stage") for line in done.objects] == [None, "text", "first", None]
    assert (done.code, done.objects[-1]["reason"]) == (0, "count")


async def test_save_leaves_music_alone(tmp_path: Path) -> None:
    """``--save`` asks the service nothing about a music job, and ends at once with code 0."""
    async with Sandbox() as sandbox:
        environ = {"SUNO_BASE_URL": sandbox.url, "SUNO_API_KEY": sandbox.api_key}
        async with listening(tmp_path, environ=environ, save=True, output=tmp_path / "c", until_task=TASK) as run:
            await post_stages(run, *STAGES)
            done = await run.wait_ended()
        assert list(sandbox.request_log) == []
    assert (done.code, done.objects[-1]["reason"]) == (0, "task")
    assert [line["type"] for line in done.objects] == ["ready", "event", "event", "event", "end"]
    assert not (tmp_path / "c").exists()


# --- the screen ------------------------------------------------------------------------------------------------


@contextmanager
def handler(status: int = 500, answer: bytes | None = None) -> Iterator[int]:
    """Run a handler that fails like this for whatever it does not want; yield its port."""
    failure = SAID.encode() if answer is None else answer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_good = b"unwanted" not in body
            said = b"ok" if is_good else failure
            self.send_response(200 if is_good else status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Leave the terminal of the tests alone."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


def send(url: str, body: bytes) -> int:
    """Post a body; return the status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data=body, method="POST"), timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")
def test_an_event_has_two_lines_of_80_columns_and_a_failing_one_three(cli: Cli) -> None:
    """On a terminal of 80 columns a pair of lines shows an event, a third what failed; words stay whole."""
    music = json.dumps(CASES["music-first"][0]).encode()
    failed = json.dumps({"code": 501, "msg": WORDS, "data": {"taskId": TASK}}).encode()
    bodies = (
        callback_body(),
        music,
        failed,
        callback_body(x="unwanted"),
    )
    with handler() as port, Terminal(80, 40, answer=PLAIN) as terminal:
        target = f"http://127.0.0.1:{port}/hook"
        cli.start_on(terminal, "listen", "--no-tunnel", "--forward-to", target, "--count", "4", streams="012")
        terminal.wait_for(b"Ctrl-C ends it")
        url = re.search(r"ready\s+(http://\S+)", terminal.text)
        assert url is not None
        statuses = [send(url[1], body) for body in bodies]
        code, _ = terminal.finish()
        lines = [line.rstrip() for line in terminal.text.splitlines()]
    assert (code, statuses) == (0, [200, 200, 200, 500])
    shown = "\n".join(lines)
    assert max(map(len, lines)) <= 80, shown
    firsts = [n for n, line in enumerate(lines) if " --> " in line]
    ends = [*firsts[1:], next(n for n, line in enumerate(lines) if line.startswith("ended"))]
    events = [lines[start:end] for start, end in zip(firsts, ends, strict=True)]
    assert [len(event) for event in events] == [2, 2, 3, 3], shown
    for event in events:
        assert TASK in event[0], shown
        assert target not in "".join(event), "the beginning names it"
    assert "music first, 2 tracks" in events[1][0]
    told = "".join(events[2][:2]).partition('"')[2].strip('"')
    assert len(told) > 20, shown
    assert set(told.split()) <= {*WORDS.split(), "…"}, shown
    assert " 500 in " in events[3][1]
    assert events[3][1].endswith(f', "{SAID}"'), shown
    assert events[3][2].strip() == "the service would try again after 1, 5 and 15 minutes", shown
