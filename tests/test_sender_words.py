"""What ``trigger`` prints of receivers that answer badly, or not at all."""

import base64
import contextlib
import gzip
import socketserver
import threading
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.cli_fixtures import Cli
from tests.test_listen_forward import unused_port


@contextlib.contextmanager
def saying(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Run a receiver that answers each request with the same bytes and hangs up; yield its port and the heads."""
    heads: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self.rfile.readline()
            self.rfile.read(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            heads.append(head)
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1], heads
        finally:
            server.shutdown()
            thread.join()


brotli = import_module("brotli")
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (HALF, 200, "answered 200, but its answer broke off after 4 bytes"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", None, "answered with something that is not HTTP"),
        (b"", None, "hung up without an answer"),
    ],
)
def test_what_was_reached_is_not_called_unreachable(
    cli: Cli, answer: bytes, status: int | None, words: str
) -> None:
    """The delivery failed, as line and object say, its address stands before what happened, and the exit is 5."""
    with saying(answer) as (port, _):
        shown = cli.run("trigger", "success", "--to", f"127.0.0.1:{port}/h", "--task-id", "abc")
        told = cli.run("trigger", "success", "--to", f"127.0.0.1:{port}/h", "--json")
    assert shown.stdout.startswith("success  abc  failed  ")
    assert f"  http://127.0.0.1:{port}/h: {words}\n" in shown.stdout
    line = told.objects[0]
    assert (line["outcome"], line["status"], line["error"], line["is_expected"]) == (
        "failed",
        status,
        words,
        False,
    )
    assert (shown.code, told.code) == (5, 5)


def test_what_was_not_reached_is_unreachable(cli: Cli) -> None:
    """A refused connection is told with the address before it and a colon."""
    port = unused_port()
    run = cli.run("trigger", "success", "--to", f"127.0.0.1:{port}")
    assert "  unreachable  " in run.stdout
    assert f"  http://127.0.0.1:{port}: cannot reach 127.0.0.1:{port}: " in run.stdout


@pytest.mark.parametrize(
    ("coding", "body", "words"),
    [
        (b"br", brotli.compress(b"I am compressed"), "I am compressed"),
        (b"gzip", gzip.compress(b"I am compressed", mtime=0), "I am compressed"),
        (b"lzma", b"\xfd7zXZ", "(compressed in a way that is unknown here)"),
        (b"gzip", b"plain text", "(not gzip, though its header says so)"),
        (b"gzip", gzip.compress(b"I break off" * 50, mtime=0)[:-9], "I break off"),
    ],
)
def test_a_compressed_answer_is_shown_or_the_reason_why_not(
    cli: Cli, coding: bytes, body: bytes, words: str
) -> None:
    """What the receiver said is unpacked; where that cannot be, the line says so in place of it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding, len(body))
    with saying(head + body) as (port, _):
        run = cli.run("trigger", "success", "--to", str(port))
    assert run.code == 0
    assert f" ms  {words}" in run.stdout


def test_of_a_page_the_words_are_shown(cli: Cli) -> None:
    """A receiver's page of HTML is a line of what its reader sees; scripts have it as it came."""
    page = b"<!DOCTYPE html>\n<title>Error</title>\n<pre>Cannot POST /h</pre>"
    with saying(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page)) as (port, _):
        shown = cli.run("trigger", "success", "--to", str(port))
        told = cli.run("trigger", "success", "--to", str(port), "--json")
    assert " ms  Error Cannot POST /h\n" in shown.stdout
    assert told.objects[0]["body"].startswith("<!DOCTYPE html> <title>Error</title>")


@pytest.mark.parametrize(
    ("login", "sent"), [("bob", b"bob:"), ("bob:", b"bob:"), (":pw", b":pw"), ("b%3Ab", b"b:b:")]
)
def test_a_user_without_a_password_is_sent_with_its_colon(cli: Cli, login: str, sent: bytes) -> None:
    """Basic authentication is ``user:password`` also where the password is empty, as curl sends it."""
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (port, heads):
        assert cli.run("trigger", "success", "--to", f"{login}@127.0.0.1:{port}").code == 0
    assert base64.b64decode(heads[0].partition(b"Authorization: Basic ")[2].partition(b"\r\n")[0]) == sent


def test_a_sample_and_a_body_are_one_too_many(cli: Cli) -> None:
    """Given both, the message says that both is what is wrong; given none, it asks for one."""
    (cli.cwd / "body").write_bytes(b"{}")
    both = cli.run("trigger", "success", "--body", "body", "--to", "3000")
    none = cli.run("trigger", "--to", "3000")
    assert "Give a sample or --body FILE, not both" in both.stderr
    assert "Give a sample or --body FILE\n" in none.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("listen", "--no-tunnel", "--max-age", "10"), "--max-age has no effect without a webhook key"),
        (("listen", "--no-tunnel", "--path", "/x", "--new-path"), "--path and --new-path exclude each other"),
        (
            ("trigger", "--body", "body", "--image", "https://a/1", "--to", "3"),
            "--image has no effect on --body",
        ),
    ],
)
def test_what_would_have_no_effect_is_refused(cli: Cli, args: tuple[str, ...], words: str) -> None:
    """An option that something else leaves without effect is exit 2 instead of being ignored."""
    (cli.cwd / "body").write_bytes(b"{}")
    run = cli.run(*args)
    assert run.code == 2
    assert words in run.stderr


def test_the_largest_age_of_a_signature_holds_where_there_is_a_key(cli: Cli) -> None:
    """With a key, ``--max-age`` decides what is stale, and without it five minutes do."""
    (cli.cwd / "key").write_text("whsec-test-0123456789\n")
    states = []
    for options in ("", "--max-age 2h"):
        script = (
            f"suno-cover listen --no-tunnel --webhook-key-file key {options} --json --timeout 20 "
            "-- sh -c 'suno-cover trigger stale-signature --webhook-key-file key --to \"$SUNO_CALLBACK_URL\"' "
        )
        run = cli.shell(script)
        states.append((run.stdout.count('"signature":"stale"'), run.stdout.count('"signature":"ok"')))
    assert states == [(1, 0), (0, 1)]
