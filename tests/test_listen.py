"""``listen``: what it prints, what it counts, when it ends."""

import asyncio
import base64
import json
import re
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.signature import sign
from tests.clocks import ScaledClock
from tests.listen_fixtures import listening
from tests.listener_fixtures import IMAGES, RECEIVED_BODY, TASK, callback_body
from tests.tunnel_fixtures import wait_until

KEY = "whk_0123456789"
OTHER_TASK = "a" * 32


def signed(task_id: str = TASK, *, age_s: float = 0.0, key: str = KEY) -> dict[str, str]:
    """Return the headers of a signed callback."""
    stamp = str(int(time.time() - age_s))
    return {
        "X-Webhook-Timestamp": stamp,
        "X-Webhook-Signature": sign(WebhookKey(Secret(key), KIE_SIGNATURE), task_id, stamp),
    }


async def test_the_json_lines_are_the_contract(tmp_path: Path) -> None:
    """``--json`` prints ready, one line an event, and end: with exactly the documented keys, body as given."""
    body = callback_body(note="späße")
    async with listening(tmp_path, count=1) as run:
        answer = await run.post(body, headers={"X-From": "service", "Content-Type": "application/json"})
        done = await run.wait_ended()
    assert (answer.status, answer.body) == (200, RECEIVED_BODY)
    ready, event, end = done.objects
    assert ready == {"v": 1, "type": "ready", "url": run.url, "local": run.url, "inspector": None}
    assert list(event) == [
        *("v", "type", "n", "id", "ts", "method", "path", "query", "remote", "headers", "body_b64", "answered"),
        *("latency_ms", "forward", "body", "kind", "stage", "task_id", "code", "message", "images"),
        *("duplicate_of", "signature", "signature_reason"),
    ]
    assert (event["method"], event["path"], event["query"]) == ("POST", run.url[run.url.index("/c") :], "")
    assert (event["remote"], event["kind"], event["stage"]) == ("127.0.0.1", "cover", "complete")
    assert event["signature_reason"] is None
    assert (event["v"], event["type"], event["n"], event["task_id"]) == (1, "event", 1, TASK)
    assert (event["code"], event["message"], event["images"]) == (200, "success", list(IMAGES))
    assert (event["signature"], event["duplicate_of"], event["forward"]) == ("unchecked", None, None)
    assert (event["answered"], event["headers"]["x-from"]) == (200, "service")
    assert base64.b64decode(event["body_b64"]) == body
    assert event["body"] == json.loads(body)
    assert abs(event["ts"] - time.time()) < 30
    assert 0 < event["latency_ms"] < 5000
    assert re.fullmatch(r"evt_[0-9a-f]{8}", event["id"])
    assert end == {"v": 1, "type": "end", "events": 1, "reason": "count"}
    assert done.code == 0


async def test_an_event_is_a_pair_of_lines(tmp_path: Path) -> None:
    """Without ``--json`` stdout holds two lines an event, and the URL and the counts go to stderr."""
    async with listening(tmp_path, json=False, count=3) as run:
        await run.post(callback_body())
        await run.post(callback_body())
        await run.post(callback_body(OTHER_TASK, code=531))
        done = await run.wait_ended()
    stamp = r"\d\d:\d\d:\d\d"
    expected = [
        rf"{stamp} --> 1 {TASK} 200 done, 2 images, \d+ B",
        rf"{stamp} <-- 1 200 in \d+(\.\d)? ms, signature unchecked, evt_[0-9a-f]{{8}}",
        rf"{stamp} --> 2 {TASK} 200 done, 2 images, \d+ B",
        rf"{stamp} <-- 2 200 in \d+(\.\d)? ms, a duplicate of 1, signature unchecked, evt_[0-9a-f]{{8}}",
        rf"{stamp} --> 3 {OTHER_TASK} 531 generation failed, credits were returned, \d+ B, \"failed\"",
        rf"{stamp} <-- 3 200 in .*",
    ]
    assert len(done.lines) == len(expected)
    for line, pattern in zip(done.lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert f"ready      {run.url}" in done.stderr
    assert "ended      3 events, 1 of them a duplicate" in done.stderr


async def test_a_duplicate_names_the_first_of_its_like(tmp_path: Path) -> None:
    """The same task, code and bytes again is a duplicate of the first; other bytes are not."""
    async with listening(tmp_path, count=4) as run:
        for body in (callback_body(), callback_body(OTHER_TASK), callback_body(), callback_body(note=1)):
            await run.post(body)
        done = await run.wait_ended()
    events = [line for line in done.objects if line["type"] == "event"]
    assert [(event["n"], event["duplicate_of"]) for event in events] == [(1, None), (2, None), (3, 1), (4, None)]


async def test_count_prints_exactly_so_many(tmp_path: Path) -> None:
    """Of a crowd that comes at once, ``--count`` prints so many; every one was answered all the same."""
    async with listening(tmp_path, count=3) as run:
        answers = await asyncio.gather(*(run.post(callback_body(f"task-{n}")) for n in range(20)))
        done = await run.wait_ended()
    assert {answer.status for answer in answers} == {200}
    assert [line["type"] for line in done.objects] == ["ready", "event", "event", "event", "end"]
    assert done.objects[-1]["events"] == 3


async def test_until_task_waits_for_that_task(tmp_path: Path) -> None:
    """``--until-task`` passes over other tasks' events and ends with the one it names, failed or not."""
    async with listening(tmp_path, until_task=OTHER_TASK) as run:
        await run.post(callback_body())
        await run.wait_events(1)
        await run.post(callback_body(OTHER_TASK, code=501))
        done = await run.wait_ended()
    assert [line.get("task_id") for line in done.objects] == [None, TASK, OTHER_TASK, None]
    assert (done.code, done.objects[-1]["reason"]) == (0, "task")


async def test_timeout_is_exit_8(tmp_path: Path) -> None:
    """When nothing comes in time the exit code is 8 and the last line says timeout."""
    async with listening(tmp_path, clock=ScaledClock(100), count=1, timeout_s=20.0) as run:
        done = await run.wait_ended()
    assert done.code == 8
    assert done.objects[-1] == {"v": 1, "type": "end", "events": 0, "reason": "timeout"}


def timeout_words(stderr: str) -> str:
    """Return what stderr says of the time-out, on one line, without what begins the lines around it."""
    lines = stderr.splitlines()
    begins = next(n for n, line in enumerate(lines) if line.startswith("timeout "))
    assert lines[-1].startswith("ended ")
    return " ".join(" ".join(lines[begins:-1]).split()).removeprefix("timeout ")


@pytest.mark.parametrize(
    ("options", "bodies", "words"),
    [
        ({"timeout_s": 3.0}, (), "no callback came within 3 s Does the sender call the address above? "),
        ({"timeout_s": 90.0}, (), "no callback came within 1 min 30 s Does the sender call"),
        ({"timeout_s": 3.0, "count": 1}, (), "no callback came within 3 s Does the sender call"),
        ({"timeout_s": 3.0, "until_task": "other"}, (), "no callback of task other came within 3 s Does the"),
        (
            {"timeout_s": 30.0, "until_task": "other"},
            (callback_body(),),
            "no callback of task other came within 30 s Others came: suno-cover listen --list shows",
        ),
        (
            {"timeout_s": 30.0, "count": 3},
            (callback_body(),),
            "1 of 3 callbacks came within 30 s A longer --timeout",
        ),
        (
            {"timeout_s": 30.0, "until_task": TASK},
            (b'{"code":200,"data":{"task_id":"%s","callbackType":"text"}}' % TASK.encode(),),
            f"task {TASK} did not end within 30 s; 1 callback of it came A longer --timeout",
        ),
        ({"timeout_s": 30.0}, (callback_body(),), "the time is over: 30 s"),
    ],
)
async def test_what_did_not_happen_in_time_is_said(
    tmp_path: Path, options: dict[str, Any], bodies: tuple[bytes, ...], words: str
) -> None:
    """When time is up stderr says what was waited for, how long, what came of it, and what to do next."""
    async with listening(tmp_path, clock=ScaledClock(15), json=False, **options) as run:
        for body in bodies:
            await run.post(body)
        done = await run.wait_ended()
    assert done.code == 8
    assert timeout_words(done.stderr).startswith(words)


async def test_a_command_that_outlives_the_time_is_named(tmp_path: Path) -> None:
    """Time is up while the command still runs: that is what is said, not that no callback came."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    async with listening(tmp_path, json=False, timeout_s=1.0, command=command) as run:
        done = await run.wait_ended()
    assert timeout_words(done.stderr).startswith("the command had not ended after 1 s")


async def test_a_sign_of_life_a_minute_while_something_is_awaited(tmp_path: Path) -> None:
    """Whoever waits for an event hears once a minute that it is still being waited for."""
    async with listening(tmp_path, clock=ScaledClock(300), count=1, timeout_s=150.0) as run:
        done = await run.wait_ended()
    assert done.stderr.count("0 events so far") == 2


async def test_print_url_leaves_stdout_to_the_url(tmp_path: Path) -> None:
    """With ``--print-url`` stdout is the URL and nothing else; events go to stderr."""
    async with listening(tmp_path, json=False, print_url=True, count=1) as run:
        await run.post(callback_body())
        done = await run.wait_ended()
    assert done.stdout == f"{run.url}\n"
    assert f"--> 1 {TASK}" in done.stderr


async def test_a_ready_file_holds_the_url(tmp_path: Path) -> None:
    """The ready file of an earlier run is gone before anything is bound; ours appears whole."""
    ready = tmp_path / "ready"
    ready.write_text("http://127.0.0.1:1/old\n")
    async with listening(tmp_path, ready_file=ready) as run:
        await asyncio.to_thread(wait_until, ready.exists, "the ready file")
        assert ready.read_text() == f"{run.url}\n"
    assert not ready.exists()


async def test_a_path_of_ones_own(tmp_path: Path) -> None:
    """``--path`` is where events are received, and the URL says so; the default path is a secret."""
    async with listening(tmp_path, path="/suno-callback", count=1) as run:
        assert run.url.endswith("/suno-callback")
        assert (await run.post(callback_body())).status == 200
    async with listening(tmp_path) as other:
        assert re.search(r"/callback/[0-9a-f]{32}$", other.url)


@pytest.mark.parametrize(("status", "said"), [(500, "refused"), (202, "received")])
async def test_answer_plays_another_receiver(tmp_path: Path, status: int, said: str) -> None:
    """``--answer`` is what the sender gets; the event counts and says so."""
    async with listening(tmp_path, answer=status, count=1) as run:
        answer = await run.post(callback_body())
        done = await run.wait_ended()
    assert (answer.status, json.loads(answer.body)["status"]) == (status, said)
    assert done.objects[1]["answered"] == status


async def test_delay_holds_each_answer_back(tmp_path: Path) -> None:
    """``--delay`` is waited before the answer and no other request waits for it."""
    async with listening(tmp_path, clock=ScaledClock(20), delay_s=10.0, count=2) as run:
        await asyncio.gather(run.post(callback_body()), run.post(callback_body(OTHER_TASK)))
        done = await run.wait_ended()
    events = done.objects[1:3]
    assert all(event["latency_ms"] >= 10_000 for event in events)
    assert abs(events[0]["ts"] - events[1]["ts"]) < 10


async def test_other_paths_are_counted_and_hidden(tmp_path: Path) -> None:
    """What is no callback ends nothing; on the path it has a line, elsewhere it is counted by kind at the end."""
    async with listening(tmp_path, json=False, count=1) as run:
        assert (await run.post(b"{}")).status == 400
        assert (await run.post(b"", path="/wp-login.php", method="GET")).status == 404
        assert (await run.post(callback_body(), path="/wp-login.php")).status == 404
        await run.post(callback_body())
        done = await run.wait_ended()
    assert len(done.lines) == 3
    assert "--> 1 POST, 2 B: JSON, but not {code, data: {taskId}}; 400 in " in done.lines[0]
    assert "1 event, 3 requests that were not callbacks (2 unknown path; 1 JSON, but not" in done.stderr


async def test_verbose_shows_strangers_and_headers_with_secrets_masked(tmp_path: Path) -> None:
    """``-v`` shows strangers and headers; what would let somebody in is masked, also in a stranger's."""
    async with listening(tmp_path, json=False, verbosity=1, count=1) as run:
        await run.post(b"", path="/x?y=1", method="GET", headers={"Cookie": "session=hunter2"})
        secret = {"Authorization": "Bearer hunter2", "X-Api-Key": "hunter2", "X-Plain": "seen"}
        await run.post(callback_body(), headers=secret)
        done = await run.wait_ended()
    assert "--> - GET /x?y=1, 0 B" in done.stdout
    assert "<-- - 404: unknown path" in done.stdout
    assert "hunter2" not in done.stdout
    for line in ("Cookie: ***", "Authorization: Bearer ***", "X-Api-Key: ***", "X-Plain: seen"):
        assert f"\n             {line}\n" in done.stdout
    assert '"taskId"' not in done.stdout


async def test_a_flood_of_strangers_does_not_fill_the_screen(tmp_path: Path) -> None:
    """Within one second ``-v`` shows ten strangers and counts the rest."""
    async with listening(tmp_path, json=False, verbosity=1) as run:
        await asyncio.gather(*(run.post(b"", path="/x", method="GET") for _ in range(40)))
        await run.interrupt()
    assert 10 <= run.stdout.count("--> - GET /x") < 40
    assert "only counted" in run.stdout
    assert "40 requests that were not callbacks" in run.stderr


async def test_very_verbose_shows_the_body_indented(tmp_path: Path) -> None:
    """``-vv`` shows the body with its structure, one field a line."""
    async with listening(tmp_path, json=False, verbosity=2, count=1) as run:
        await run.post(callback_body())
        done = await run.wait_ended()
    assert f'\n                 "taskId": "{TASK}",\n' in done.stdout


HOSTILE = "\x1b[31m\x9b2J\u202e[bold]red[/bold]\x07"


async def test_nothing_foreign_draws_on_the_screen(tmp_path: Path) -> None:
    """Escapes, controls and markup in words, headers and bodies arrive as plain text without the controls."""
    body = json.dumps({"code": 501, "msg": HOSTILE, "data": {"taskId": TASK, "x": HOSTILE}}).encode()
    raw = json.dumps({"code": 501, "data": {"taskId": TASK, "x": "\x9b2J\u202e"}}, ensure_ascii=False).encode()
    async with listening(tmp_path, json=False, verbosity=2, count=2) as run:
        await run.post(body, headers={"X-Evil": "[bold]\x9b2J\u202e[/bold]"})
        await run.post(raw)
        done = await run.wait_ended()
    assert "[bold]red[/bold]" in done.stdout
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr)


async def test_json_lines_are_ascii_whatever_comes(tmp_path: Path) -> None:
    """Bodies with controls, newlines, huge numbers, nesting or bytes that are no text stay one ASCII line."""
    deep = b"[" * 30 + b"]" * 30
    rests = (b'"\x9b2J\xe2\x80\xae"', b'"\xc2\x9b2J\xe2\x80\xae\xf0\x9f\x98\x80"', b"1e999", deep, b"[1,\n\r\n 2]")
    bodies = [b'{"code":200,"data":{"taskId":"%s"},"x":%s}' % (TASK.encode(), rest) for rest in rests]
    async with listening(tmp_path, count=len(bodies)) as run:
        for body in bodies:
            assert (await run.post(body)).status == 200
        done = await run.wait_ended()
    assert done.stdout.isascii()
    events = done.objects[1:-1]
    assert [base64.b64decode(event["body_b64"]) for event in events] == bodies
    assert [event["body"] is None for event in events] == [False, False, True, False, False]
    assert events[1]["body"]["x"] == "\x9b2J\u202e\U0001f600"


async def test_signatures_are_told_and_wrong_ones_count_for_nothing(tmp_path: Path) -> None:
    """With a key, missing, bad and stale signatures are shown, recorded and refused; only the right one counts."""
    headers: tuple[dict[str, str], ...] = ({}, signed(key="another"), signed(age_s=3600), signed())
    async with listening(tmp_path, count=1, environ={"SUNO_WEBHOOK_KEY": KEY}) as run:
        statuses = [(await run.post(callback_body(), headers=one)).status for one in headers]
        done = await run.wait_ended()
    events = [line for line in done.objects if line["type"] == "event"]
    assert statuses == [401, 401, 401, 200]
    assert [event["signature"] for event in events] == ["missing", "bad", "stale", "ok"]
    assert [event["answered"] for event in events] == statuses
    assert [event["n"] for event in events] == [1, 2, 3, 4]
    reasons = [event["signature_reason"] for event in events]
    assert [reason and reason.split()[0] for reason in reasons] == ["no", "another", "the", None]
    assert done.objects[-1] == {"v": 1, "type": "end", "events": 4, "reason": "count"}
    assert "1 event, 3 refused" in done.stderr


async def test_without_a_journal_events_are_shown_all_the_same(tmp_path: Path) -> None:
    """A state folder that cannot be used costs the record and a warning, not the events."""
    (tmp_path / "state").write_text("a file where a folder should be")
    async with listening(tmp_path, count=2) as run:
        await run.post(callback_body())
        await run.post(callback_body())
        done = await run.wait_ended()
    assert [(event["n"], event["duplicate_of"]) for event in done.objects[1:3]] == [(1, None), (2, 1)]
    assert "events are not recorded" in done.stderr
    assert done.code == 0


async def test_what_is_shown_is_recorded(tmp_path: Path) -> None:
    """When an event's line can be read, its bytes and headers are on disk, under the number it shows."""
    async with listening(tmp_path) as run:
        await run.post(callback_body(), headers={"X-From": "service"})
        (event,) = await run.wait_events(1)
        with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite3")) as connection, connection:
            n, event_id, headers, body = connection.execute(
                "SELECT n, id, headers, body FROM recordings"
            ).fetchone()
    assert (n, event_id, body) == (event["n"], event["id"], callback_body())
    assert ["X-From", "service"] in json.loads(headers)


async def test_numbers_go_on_where_the_last_run_ended(tmp_path: Path) -> None:
    """Numbers belong to the record: a second run does not start at 1 again, so replay takes what is shown."""
    for expected in (1, 2):
        async with listening(tmp_path, count=1) as run:
            await run.post(callback_body())
            done = await run.wait_ended()
        assert done.objects[1]["n"] == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "no-slash"}, "path"),
        ({"json": True, "print_url": True}, "--print-url"),
        ({"forward_to": ["3000"], "answer": 500}, "--answer"),
        ({"print_url": True, "json": False, "command": ("true",)}, "command"),
        ({"public_url": "https://x.example"}, "--public-url"),
        ({"tunnel": None, "public_url": "http://x.example"}, "https"),
        ({"until_task": "../x"}, "cover task id"),
        ({"forward_to": ["not a receiver"]}, "receiver"),
        ({"forward_to": ["3000", "hook"]}, "http://hook:8080/path"),
        ({"listen_host": "256.1.1.1"}, "address"),
        ({"ready_file": Path("/dev/null/ready")}, "--ready-file"),
    ],
)
async def test_options_that_cannot_be_are_exit_2(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    """What cannot work is refused with exit code 2 and the fix, before anything is said to be ready."""
    async with listening(tmp_path, is_ready=False, **options) as run:
        done = await run.wait_ended()
    assert done.code == 2
    assert words in done.stderr
    assert '"ready"' not in done.stdout


async def test_a_port_in_use_is_told_as_error_and_end(tmp_path: Path) -> None:
    """An error of the run itself is an error line followed by the end line."""
    async with listening(tmp_path) as first:
        port = int(first.url.split(":")[2].split("/")[0])
        async with listening(tmp_path, is_ready=False, listen_port=port) as run:
            done = await run.wait_ended()
    assert done.code == 2
    assert [line["type"] for line in done.objects] == ["error", "end"]
    assert done.objects[0]["code"] == "port_in_use"
    assert done.objects[1] == {"v": 1, "type": "end", "events": 0, "reason": "error"}


async def test_an_interrupt_lets_answers_finish_and_tells_them(tmp_path: Path) -> None:
    """A request that is being answered when the end comes gets its answer, is recorded and told before the end."""
    async with listening(tmp_path, delay_s=0.3) as run:
        posting = asyncio.ensure_future(run.post(callback_body()))
        async with asyncio.timeout(5):
            while not (tmp_path / "state" / "journal.sqlite3").exists() or not _recorded(tmp_path):
                await SystemClock().sleep(0.01)
        await run.interrupt()
        answer = await posting
    assert answer.status == 200
    assert [line["type"] for line in run.objects] == ["ready", "event", "end"]
    assert run.objects[-1] == {"v": 1, "type": "end", "events": 1, "reason": "interrupted"}


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize(("method", "kind"), [("POST", "event"), ("GET", "request")])
async def test_what_the_end_cuts_off_is_shown_all_the_same(
    tmp_path: Path, is_json: bool, method: str, kind: str
) -> None:
    """A request whose answer the end does not wait for has its line, under its number, without an answer."""
    async with listening(tmp_path, delay_s=60.0, json=is_json) as run:
        posting = asyncio.ensure_future(run.post(callback_body() if method == "POST" else b"", method=method))
        async with asyncio.timeout(5):
            while not (tmp_path / "state" / "journal.sqlite3").exists() or not _recorded(tmp_path):
                await SystemClock().sleep(0.01)
        await run.interrupt()
        with pytest.raises(aiohttp.ClientError):
            await posting
    if is_json:
        _, line, end = run.objects
        assert (line["type"], line["n"], line["method"], line["answered"]) == (kind, 1, method, None)
        assert (end["type"], end["events"]) == ("end", int(kind == "event"))
    else:
        last = run.stdout.splitlines()[-1][9:]
        assert last == ("<-- 1 " if kind == "event" else "--> 1 GET, 0 B; ") + "not answered: cut off by the end"
    assert "1 cut off by the end" in run.stderr


def _recorded(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "state" / "journal.sqlite3")) as connection, connection:
        count: int = connection.execute("SELECT count(*) FROM recordings").fetchone()[0]
        return count
