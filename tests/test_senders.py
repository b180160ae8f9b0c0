"""``trigger``, ``replay`` and ``verify`` as a user runs them, against receivers that share no code with us."""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest

from tests.cli_fixtures import Cli

KEY = "whsec-test-0123456789"


class Receiver:
    """A plain threaded HTTP server: keeps what came, answers what it is told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                receiver.requests.append(
                    {
                        "method": self.command,
                        "path": self.path,
                        "headers": dict(self.headers),
                        "body": body,
                        "at": time.monotonic(),
                    }
                )
                self.send_response(receiver.status)
                self.end_headers()
                self.wfile.write(b'{"status":"received"}')

            def do_GET(self) -> None:
                self.do_POST()

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that is content with everything."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def key_file(cli: Cli) -> str:
    """A file with the webhook key."""
    path = cli.cwd / "key"
    path.write_text(f"{KEY}\n")
    return str(path)


def signed(task_id: str, stamp: int, key: str = KEY) -> str:
    """Compute a signature with nothing but the standard library."""
    digest = hmac.new(key.encode(), f"{task_id}.{stamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def test_a_sample_reaches_the_receiver_in_the_services_shape(cli: Cli, receiver: Receiver) -> None:
    """``trigger success`` posts ``{code, msg, data: {taskId, images}}`` and prints the receiver's answer."""
    run = cli.run("trigger", "success", "--to", receiver.url, "--task-id", "abc", "--image", "https://a/1.png")
    assert run.code == 0, run.stderr
    (request,) = receiver.requests
    assert json.loads(request["body"]) == {
        "code": 200,
        "msg": "success",
        "data": {"taskId": "abc", "images": ["https://a/1.png"]},
    }
    assert request["headers"]["Content-Type"] == "application/json"
    assert "200" in run.stdout
    assert "received" in run.stdout


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        ("failed-501", 501),
        ("refunded-531", 531),
        ("error-500", 500),
        ("validation-400", 400),
        ("timeout-408", 408),
    ],
)
def test_each_failure_carries_its_code(cli: Cli, receiver: Receiver, sample: str, code: int) -> None:
    """The failure samples name their code and no images."""
    assert cli.run("trigger", sample, "--to", receiver.url).code == 0
    body = json.loads(receiver.requests[0]["body"])
    assert (body["code"], body["data"]["images"]) == (code, None)


def test_a_duplicate_comes_twice_without_waiting_for_an_answer(cli: Cli, receiver: Receiver) -> None:
    """The same bytes arrive twice, about 50 ms apart."""
    assert cli.run("trigger", "duplicate", "--to", receiver.url).code == 0
    first, second = receiver.requests
    assert first["body"] == second["body"]
    assert 0.02 < second["at"] - first["at"] < 2.0


def test_signatures_are_right_wrong_old_or_absent_as_asked(cli: Cli, receiver: Receiver, key_file: str) -> None:
    """With a key each sample is signed as its name says, checked here with the standard library alone."""
    for sample in ("success", "bad-signature", "stale-signature", "unsigned"):
        run = cli.run("trigger", sample, "--to", receiver.url, "--webhook-key-file", key_file)
        # A receiver that takes what is signed wrongly is wrong itself.
        assert run.code == (0 if sample == "success" else 1), run.stderr
    right, wrong, stale, unsigned = receiver.requests
    for request, is_right, age_s in ((right, True, 0), (wrong, False, 0), (stale, True, 3600)):
        stamp = int(request["headers"]["X-Webhook-Timestamp"])
        task_id = json.loads(request["body"])["data"]["taskId"]
        assert (request["headers"]["X-Webhook-Signature"] == signed(task_id, stamp)) is is_right
        assert abs(time.time() - stamp - age_s) < 60
    assert "X-Webhook-Signature" not in unsigned["headers"]


def test_the_exit_code_tells_whether_the_service_would_be_content(cli: Cli, receiver: Receiver) -> None:
    """Another status than 200 is exit 1; nobody there is exit 5; both are told on stdout."""
    receiver.status = 500
    refused = cli.run("trigger", "success", "--to", receiver.url, "--json")
    assert (refused.code, refused.objects[0]["status"]) == (1, 500)
    nobody = cli.run("trigger", "success", "--to", "127.0.0.1:9/hook", "--json")
    assert (nobody.code, nobody.objects[0]["outcome"]) == (5, "unreachable")


@pytest.mark.parametrize(
    ("sample", "status", "expect", "code"),
    [
        ("bad-signature", 401, (), 0),
        ("bad-signature", 200, (), 1),
        ("malformed", 422, (), 0),
        ("malformed", 500, (), 1),
        ("success", 204, (), 1),
        ("success", 204, ("--expect", "2xx"), 0),
        ("success", 200, ("--expect", "401,403"), 1),
    ],
)
def test_a_receiver_is_held_to_what_the_sample_expects(
    cli: Cli, receiver: Receiver, sample: str, status: int, expect: tuple[str, ...], code: int
) -> None:
    """The exit code is 0 for the answer that suits the sample, or the one of ``--expect``; else that is named."""
    receiver.status = status
    shown = cli.run("trigger", sample, "--to", receiver.url, *expect)
    told = cli.run("trigger", sample, "--to", receiver.url, *expect, "--json")
    assert (shown.code, told.code, told.objects[0]["is_expected"]) == (code, code, code == 0)
    assert ("expected " in shown.stdout) is (code != 0)


def test_a_body_of_ones_own_is_sent_as_it_is(cli: Cli, receiver: Receiver, key_file: str) -> None:
    """``trigger --body`` sends a file byte for byte, signed for the task it names; ``--header`` goes along."""
    body = b'\xef\xbb\xbf {"code":200,\r\n"data":{"task_id":"mine"} }'
    (cli.cwd / "body").write_bytes(body)
    headers = ("--header", "X-Mine: 1", "--header", "content-type: text/plain")
    run = cli.run("trigger", "--body", "body", "--to", receiver.url, "--webhook-key-file", key_file, *headers)
    assert run.code == 0, run.stderr
    (request,) = receiver.requests
    assert request["body"] == body
    sent = {name.lower(): value for name, value in request["headers"].items()}
    assert (sent["x-mine"], sent["content-type"]) == ("1", "text/plain")
    assert sent["x-webhook-signature"] == signed("mine", int(sent["x-webhook-timestamp"]))
    cli.run("trigger", "--body", "-", "--to", receiver.url, stdin="no JSON at all")
    assert receiver.requests[1]["body"] == b"no JSON at all"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--to", "3000"), "--body"),
        (("success", "--body", "body", "--to", "3000"), "--body"),
        (("--body", "no-such-file", "--to", "3000"), "No such file"),
        (("--body", ".", "--to", "3000"), "directory"),
        (("success", "--to", "3000", "--expect", "fine"), "--expect"),
        (("success", "--to", "3000", "--header", "no colon"), "--header"),
        (("success", "--to", "3000", "--header", "X-A: one\r\nX-B: two"), "line break"),
        (("success", "--to", "3000", "--header", "Content-Length: 3"), "Content-Length"),
        (("success", "--to", "http://me:secret@:x/"), "receiver"),
    ],
)
def test_bodies_headers_and_expectations_that_cannot_be(cli: Cli, args: tuple[str, ...], words: str) -> None:
    """Each is exit 2 with what is wrong, before anything is sent, and no value is quoted that may be a secret."""
    run = cli.run("trigger", *args)
    assert run.code == 2
    assert words in run.stderr
    assert "secret" not in run.stderr


def test_a_login_in_the_address_is_sent_and_not_shown(cli: Cli, receiver: Receiver) -> None:
    """``user:password@`` goes along as Basic authentication; no line shows it."""
    for flags in ((), ("--json",)):
        run = cli.run("trigger", "success", "--to", f"http://me:p%40ss@127.0.0.1:{receiver.port}/hook", *flags)
        assert run.code == 0, run.stderr
        assert "p%40ss" not in run.stdout + run.stderr
    login = base64.b64decode(receiver.requests[0]["headers"]["Authorization"].removeprefix("Basic "))
    assert login == b"me:p@ss"


def test_a_count_with_a_rate_sends_that_many(cli: Cli, receiver: Receiver) -> None:
    """``--times`` and ``--pace`` send so many, each told on its own line."""
    dead = cli.run("trigger", "success", "--to", "9", "--times", "3")
    assert (len(dead.lines), dead.stderr.count("hint: is it running?")) == (3, 1)
    run = cli.run("trigger", "success", "--to", str(receiver.port), "--times", "20", "--pace", "1000/1s")
    assert run.code == 0, run.stderr
    assert len(receiver.requests) == len(run.lines) == 20


@pytest.mark.parametrize(
    "args",
    [
        ["success", "--to", "ftp://x"],
        ["success", "--to", "99999"],
        ["no-such", "--to", "3000"],
        ["success", "--to", "3000", "--task-id", "../x"],
        ["success", "--to", "3000", "--pace", "fast"],
        ["stale-signature", "--to", "3000"],
    ],
)
def test_mistakes_are_told_before_anything_is_sent(cli: Cli, args: list[str]) -> None:
    """A receiver, sample, id, rate or missing key that cannot be is exit 2 with a hint."""
    run = cli.run("trigger", *args)
    assert run.code == 2
    assert run.stdout == ""
    assert "Traceback" not in run.stderr


def event_line(task_id: str, stamp: int | None, signature: str | None, ts: float) -> str:
    """Make a line as ``listen --json`` prints it."""
    body = json.dumps({"code": 200, "msg": "success", "data": {"taskId": task_id, "images": []}}).encode()
    headers = {"content-type": "application/json"}
    if stamp is not None and signature is not None:
        headers |= {"x-webhook-timestamp": str(stamp), "x-webhook-signature": signature}
    return json.dumps(
        {"v": 1, "type": "event", "ts": ts, "headers": headers, "body_b64": base64.b64encode(body).decode()}
    )


@pytest.mark.parametrize(
    ("age_s", "key", "code", "state", "word"),
    [
        (1, KEY, 0, "ok", ""),
        (1, "another", 10, "bad", "another key"),
        (3600, KEY, 10, "stale", "3600 s old"),
        (-3600, KEY, 10, "stale", "ahead"),
        (None, KEY, 10, "missing", "X-Webhook"),
    ],
)
def test_verify_says_which_part_is_wrong(
    cli: Cli, key_file: str, age_s: int | None, key: str, code: int, state: str, word: str
) -> None:
    """Right is exit 0; a foreign key, an old or future stamp and missing headers are exit 10 with the reason."""
    arrived = 1_700_000_000
    stamp = None if age_s is None else arrived - age_s
    line = event_line("abc", stamp, None if stamp is None else signed("abc", stamp, key), arrived)
    run = cli.run("verify", "-", "--webhook-key-file", key_file, "--json", stdin=line)
    assert run.code == code, run.stderr
    assert run.objects[0]["signature"] == state
    assert word in run.objects[0]["reason"]


def test_verify_reads_a_whole_record_and_passes_over_other_lines(cli: Cli, key_file: str) -> None:
    """A file of ``listen --json`` is checked event by event; one bad one is enough for exit 10."""
    now = int(time.time())
    good, bad = event_line("a", now, signed("a", now), now), event_line("b", now, signed("a", now), now)
    (cli.cwd / "events").write_text(f'{{"type":"ready"}}\n{good}\n{bad}\n{{"type":"end"}}\n')
    run = cli.run("verify", "events", "--webhook-key-file", key_file)
    assert run.code == 10
    assert [line.split()[0] for line in run.lines] == ["ok", "bad"]


def test_verify_takes_a_bare_body_with_its_headers(cli: Cli, key_file: str) -> None:
    """A saved body and the values of its two headers are enough."""
    now = int(time.time())
    body = json.dumps({"code": 200, "data": {"task_id": "abc"}})
    args = ["--webhook-key-file", key_file, "--timestamp", str(now), "--signature", signed("abc", now)]
    assert cli.run("verify", "-", *args, stdin=body).code == 0
    assert cli.run("verify", "-", *args, stdin=body.replace("abc", "abd")).code == 10
    assert cli.run("verify", "-", *args, stdin="not json").code == 10


@pytest.mark.parametrize("content", ["", '{"type":"ready"}', "not json", '{"type":"event"}', "[1]", "\x00\xff"])
def test_verify_refuses_what_holds_no_event(cli: Cli, key_file: str, content: str) -> None:
    """A file without an event is a usage error, not a good signature."""
    run = cli.run("verify", "-", "--webhook-key-file", key_file, stdin=content)
    assert run.code == 2
    assert "hint" in run.stderr


def test_verify_without_a_key_says_where_to_get_one(cli: Cli) -> None:
    """No key is exit 2 with the page that has it."""
    run = cli.run("verify", "-", stdin="{}")
    assert run.code == 2
    assert "https://kie.ai/settings" in run.stderr


def test_replay_sends_the_recorded_bytes_again(cli: Cli, receiver: Receiver) -> None:
    """What ``listen`` recorded arrives again byte for byte with the sender's own headers."""
    script = (
        "suno-cover listen --no-tunnel --once --json --ready-file ready > events 2> words & "
        "until [ -e ready ]; do sleep 0.05; done; "
        "url=$(head -n 1 events | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"url\"])'); "
        'suno-cover trigger success --to "$url" --task-id abc > sent; wait $! ; '
        f"suno-cover replay last --to {receiver.url}"
    )
    run = cli.shell(script)
    assert run.code == 0, run.stderr
    lines = [json.loads(line) for line in (cli.cwd / "events").read_text().splitlines()]
    event = next(line for line in lines if line["type"] == "event")
    (request,) = receiver.requests
    assert request["body"] == base64.b64decode(event["body_b64"])
    sent = {name.lower(): value for name, value in request["headers"].items()}
    assert sent["user-agent"] == event["headers"]["user-agent"]


def test_replay_sends_method_query_and_body_as_asked(cli: Cli, receiver: Receiver) -> None:
    """A recorded GET with a query is a GET with that query again; ``--body`` changes the bytes alone."""
    script = f"""
        suno-cover listen --no-tunnel --json --ready-file ready > events 2> words &
        until [ -e ready ]; do sleep 0.02; done
        url=$(cat ready)
        curl -s "$url?songId=5&x=%20" > /dev/null
        curl -s -X PUT -H 'X-Song: 7' --data-binary 'old bytes' "$url/?uid=1&sig=a%2Fb" > /dev/null
        kill $!; wait $! 2> /dev/null
        printf 'new bytes' > body
        suno-cover replay 1 --to '{receiver.url}?own=1'
        suno-cover replay 2 --to '{receiver.url}' --json
        suno-cover replay 2 --to '{receiver.url}' --body body --header 'X-Song: 8'
    """
    run = cli.shell(script)
    assert [request["method"] for request in receiver.requests] == ["GET", "PUT", "PUT"], run.stderr
    assert [request["path"] for request in receiver.requests] == [
        "/hook?own=1&songId=5&x=%20",
        "/hook?uid=1&sig=a%2Fb",
        "/hook?uid=1&sig=a%2Fb",
    ]
    assert [request["body"] for request in receiver.requests] == [b"", b"old bytes", b"new bytes"]
    assert [request["headers"].get("X-Song") for request in receiver.requests] == [None, "7", "8"]


_UNREADABLE = """
import socket, sys
from urllib.parse import urlsplit
url = urlsplit(sys.argv[1])
path, host = url.path.encode(), b"Host: x\\r\\n"
length, chunked = b"Content-Length: 2\\r\\n", b"Transfer-Encoding: chunked\\r\\n"
for first, fields, body in (
    (b"POST http://x:99999%b?a=1 HTTP/1.1", host + length, b"{}"),
    (b"POST %b?a=\\xe4\\xbd\\xa0 HTTP/1.1", host + length, b"{}"),
    (b"POST %b HTTP/1.1", length, b"{}"),
    (b"POST %b HTTP/1.1", host + length.replace(b":", b" :"), b"{}more"),
    (b"POST %b HTTP/1.1", host + b"X-A : 1\\r\\nX-B: 2\\r\\n 3\\r\\nX(C: 4\\r\\nX-D: 5\\0\\r\\n" + length, b"{}"),
    (b"POST %b HTTP/1.1", (host + b"X-A: 1\\r\\n" + length).replace(b"\\r", b""), b"{}"),
    (b"GET %b HTTP/1.1", b"", b""),
    (b"POST %b HTTP/1.1", host + length + length.replace(b"2", b"3"), b"{"),
    (b"POST %b HTTP/1.1", host + length + chunked, b"{}"),
    (b"POST %b HTTP/1.1", host + b"Content-Length: -1\\r\\n", b"{}"),
    (b"POST %b HTTP/1.1", b"", b""),
    (b"P(ST %b HTTP/1.1", host + length, b"{}"),
):
    end = b"\\n" if b"\\r" not in fields and fields else b"\\r\\n"
    with socket.create_connection((url.hostname, url.port)) as wire:
        wire.sendall(first % path + end + fields + end + body)
        while wire.recv(4096):
            pass
"""


def test_replay_sends_what_could_not_be_read(cli: Cli, receiver: Receiver) -> None:
    """A request refused for its address or a header is sent again where its body is all there; else why not."""
    (cli.cwd / "send.py").write_text(_UNREADABLE)
    script = f"""
        suno-cover listen --no-tunnel --json --ready-file ready > events 2> words &
        until [ -e ready ]; do sleep 0.02; done
        python3 send.py "$(cat ready)"
        kill $!; wait $! 2> /dev/null
        for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
            suno-cover replay $n --to '{receiver.url}' > /dev/null; echo $n $?
        done
        suno-cover replay 8 --to '{receiver.url}' --body send.py
    """
    run = cli.shell(script)
    *sent, own = receiver.requests
    codes = dict(line.split() for line in run.stdout.splitlines() if line[:1].isdecimal())
    assert [int(n) for n, code in codes.items() if code == "0"] == [1, 2, 3, 4, 5, 6, 7], run.stderr
    assert {code for n, code in codes.items() if int(n) > 7} == {"2"}
    assert [one["method"] for one in sent] == ["POST"] * 6 + ["GET"]
    assert [one["body"] for one in sent] == [b"{}"] * 6 + [b""]
    assert [one["path"] for one in sent[:3]] == ["/hook?a=1", "/hook?a=%E4%BD%A0", "/hook"]
    kept = {name: value for name, value in sent[4]["headers"].items() if name.startswith("X")}
    assert kept == {"X-A": "1", "X-B": "2 3"}
    assert sent[5]["headers"]["X-A"] == "1"
    assert own["body"] == _UNREADABLE.encode()
    why = "event {} may lack a part of its body: {}"
    assert why.format(8, "its field Content-Length is there more than once") in run.stderr
    assert why.format(9, "it has both Content-Length and Transfer-Encoding") in run.stderr
    assert "event 12 cannot be sent again: its method is not one of HTTP" in run.stderr


def test_replay_of_nothing_says_how_to_record(cli: Cli) -> None:
    """Without a recorded event the hint names the command that makes one."""
    run = cli.run("replay", "--to", "3000")
    assert run.code == 2
    assert "listen" in run.stderr
