"""Whatever arrives on the path is shown, recorded, sent on byte for byte and can be sent again with its query."""

import asyncio
import base64
import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.folders import JOURNAL_NAME
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret, cut
from suno_cover_cli.callbacks.exchanges import InboxClosedError
from suno_cover_cli.callbacks.listener import CallbackListener
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.callbacks.sending.targets import parse_target
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.listen.deliveries import replay_recording
from tests.callback_cases import CASES, TASK
from tests.listen_fixtures import Listening, listening, receiving
from tests.listener_fixtures import PATIENCE_S, callback_body
from tests.test_bodies import NOT_READ, PACKERS

RAW = callback_body()
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DONE = "200 done, 2 images"
FAILED = "501 cover generation failed"


class Odd(NamedTuple):
    """A request, and what is to be read of it on the screen.

    Attributes:
        method: Of the request, like all up to its headers.
        query: Without its question mark.
        body: Its bytes.
        headers: Beside the client's own.
        what: Kind, stage and content of a callback; empty for what is none.
        why: Why a POST is none.
        answered: Status of the answer without a receiver.
        task: Id of the callback.
    """

    method: str
    query: str
    body: bytes = b""
    headers: Mapping[str, str] = {}
    what: str = ""
    why: str = ""
    answered: int = 200
    task: str = TASK

    def line(self, n: int) -> str:
        """Return what is to match its line on the screen, without the time."""
        size = f"{len(self.body)} B" if len(self.body) < 1024 else f"{len(self.body) / 1024:.1f} KiB"
        if self.what:
            # Between its size and its query the service's words and the packing have room.
            query = re.escape(f", ?{self.query}") if self.query else ""
            return f"--> {n} {re.escape(f'{self.task} {self.what}, {size}')}(, [^?]+)?{query}"
        query = f" ?{cut(self.query, 200)}" if self.query else ""
        why = f": {self.why}" if self.why else ""
        return re.escape(f"--> {n} {self.method}{query}, {size}{why}; {self.answered} in ") + r"[\d.]+ m?s"


SHAPE = "JSON, but not {code, data: {taskId}}"
NO_ID = "no task id, or one that cannot be the service's"
# Why each of the bodies that are not read is not, in their order.
WHY_NOT_READ = (
    *("not JSON", "no body", "an empty body", SHAPE, SHAPE, "not JSON", SHAPE, "not JSON", "not JSON", "not JSON"),
    *(SHAPE, SHAPE, NO_ID, SHAPE, SHAPE, "nested too deeply", NO_ID, "not JSON"),
    *("a form, but not {code, data: {taskId}}", "not JSON"),
)
WHAT_CASES = {
    "cover": DONE,
    "cover-flat": "200 done, 1 image",
    "cover-failed": FAILED,
    "cover-failed-bare": FAILED,
    "cover-like-a-record": "200 done, 1 image",
    "music-text": "music text",
    "music-first": "music first, 2 tracks",
    "music-complete": "music complete, 2 tracks",
    "music-error": "music error, 400 the request was refused",
    "music-failed-at-the-end": "music error, 531 generation failed, credits were returned",
    "music-like-a-record": "music first, 1 track",
    "music-like-a-record-complete": "music complete, 2 tracks",
    "music-like-a-record-refused": "music error",
    "lyrics": "lyrics complete, 2 texts",
    "lyrics-refused": "lyrics error, 400 the request was refused",
    "wav": "wav",
    "wav-failed": "wav error, 500 server fault",
    "video": "video",
    "vocal": "vocal",
    "market": "market",
    "market-failed": "market error, 501 generation failed",
    "market-under-way": "market",
    "of-a-kind-unknown-here": "of a kind unknown here, code 200",
    "bare-as-others-spell-it": "of a kind unknown here, code 200",
}
CHINESE = json.dumps({"code": 400, "msg": "错误", "taskId": "a"}, ensure_ascii=False).encode("gbk")
ODD = [
    *[Odd(method, "songId=5&x=%20") for method in ("GET", "HEAD", "OPTIONS")],
    Odd("DELETE", "songId=5&x=%20", answered=405),
    *[Odd(method, "uid=1&sig=a_b", RAW, answered=405) for method in ("PUT", "PATCH", "QUERY", "FOO", "X-RETRY.1")],
    Odd("FOO", "", answered=405),
    Odd("GET", "q=%00%0D%0A%E9%1B&b=?c&d=%2B+;|"),
    Odd("GET", f"token={'k' * 8192}"),
    *[
        Odd("POST", f"case={name}", json.dumps(CASES[name][0]).encode(), what=what)
        for name, what in WHAT_CASES.items()
    ],
    *[Odd("POST", "", pack(RAW), {"Content-Encoding": coding}, DONE) for coding, pack in PACKERS.values()],
    *[Odd("POST", "", body, why=why, answered=400) for body, why in zip(NOT_READ, WHY_NOT_READ, strict=True)],
    *[
        Odd("POST", "", RAW.decode().encode(charset), what=DONE)
        for charset in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")
    ],
    Odd("POST", "", CHINESE, what="of a kind unknown here, 400 the request was refused", task="a"),
    Odd("POST", "taskId=1", b"code=200&msg=ok&taskId=a&images[]=u", FORM, "200 done, 1 image", task="a"),
    Odd("POST", "", RAW, {"Content-Encoding": "gzip"}, DONE),
    Odd("POST", "", RAW, {"Content-Type": "text/html; charset=no-such"}, DONE),
    Odd(
        *("POST", "bomb=1", gzip.compress(b" " * 20_000_000), {"Content-Encoding": "gzip"}),
        why="gzip of over 1 MiB when unpacked",
        answered=413,
    ),
    Odd(
        *("POST", "a=1&a=2&&=", zlib.compress(RAW)[:-5], {"Content-Encoding": "deflate"}),
        why="deflate that breaks off",
        answered=400,
    ),
    Odd("POST", "", callback_body(x="y" * 1_048_000), what=DONE),
]
# Of the sender as well: signatures and receivers depend on them.
SIGNED = {"X-Webhook-Signature": 'v="1"; sig=ab/+==', "Cookie": "a=1; b=2"}


class PutForwardClock(SystemClock):
    """The machine's clock, put forward by a test.

    Attributes:
        ahead_s: By how much.
    """

    ahead_s = 0.0

    def monotonic(self) -> float:
        """Seconds since an arbitrary point."""
        return super().monotonic() + self.ahead_s


async def send(run: Listening, odd: Odd) -> int:
    """Send one of the table; return the status of the answer."""
    path = f"{run.url[run.url.index('/callback') :]}?{odd.query}"
    answer = await run.post(odd.body, method=odd.method, headers={**SIGNED, **odd.headers}, path=path)
    return answer.status


def is_printed(run: Listening, words: str) -> bool:
    """Tell whether these words stand in a line that is whole."""
    return words in run.stdout and run.stdout.endswith("\n")


def taken_apart(request: bytes) -> tuple[str, str, dict[str, str], bytes]:
    """Return method, target, the sender's headers with names in lower case, and body of a raw request."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines)
    named = {name.lower(): value for name, value in headers.items()}
    return method, target, of_the_sender(named), body


def of_the_sender(headers: dict[str, str]) -> dict[str, str]:
    """Return headers without those that each connection has of its own."""
    own = {"host", "content-length", "connection"}
    return {name: value for name, value in headers.items() if name not in own}


async def test_nothing_that_arrives_is_invisible(tmp_path: Path) -> None:
    """Over 60 odd requests each have a JSON line, are sent on, listed, and sent again, all byte for byte."""
    assert len(ODD) >= 60
    assert set(WHAT_CASES) == set(CASES)
    async with receiving() as receiver, listening(tmp_path, forward_to=[f"{receiver.port}/hook?own=1"]) as run:
        assert {await send(run, odd) for odd in ODD} == {200}
        await run.wait_until(lambda: run.stdout.count('"answered"') >= len(ODD) and run.stdout.endswith("\n"))
        lines = [line for line in run.objects if line["type"] in {"event", "request"}]
    assert [line["n"] for line in lines] == list(range(1, len(ODD) + 1))
    async with listening(tmp_path, list_events=True, is_ready=False, tunnel=None) as listed:
        await listed.wait_ended()
    recorded = listed.objects[::-1]  # the newest stands first
    async with receiving() as again:
        target = parse_target(f"{again.port}/hook?own=1")
        async with (
            Database(tmp_path / "state" / JOURNAL_NAME) as database,
            CallbackSender(target, clock=SystemClock()) as sender,
        ):
            store = RecordingStore(database)
            for line in lines:
                assert (await replay_recording(await store.find(str(line["n"])), sender)).status == 200
    for odd, line, record, forwarded, replayed in zip(
        ODD, lines, recorded, receiver.requests, again.requests, strict=True
    ):
        assert (line["method"], line["query"], line["answered"]) == (odd.method, odd.query, 200)
        assert line["type"] == ("event" if odd.what else "request")
        assert odd.what or odd.method != "POST" or line["reason"] == odd.why
        if case := CASES.get(odd.query.removeprefix("case=")):
            assert (line["kind"], line["stage"]) == case[1:3]
        assert base64.b64decode(line["body_b64"]) == odd.body
        assert (line["forward"]["status"], line["forward"]["error"]) == (200, None)
        sent = {name.lower(): value for name, value in {**SIGNED, **odd.headers}.items()}
        assert sent.items() <= line["headers"].items()
        # The record does not know of which event one is a duplicate.
        assert record == {**line, **({"duplicate_of": None} if odd.what else {})}
        url = f"/hook?own=1&{odd.query}" if odd.query else "/hook?own=1"
        assert taken_apart(forwarded) == (odd.method, url, of_the_sender(line["headers"]), odd.body)
        assert taken_apart(replayed) == taken_apart(forwarded)


async def test_each_has_a_line_for_people(tmp_path: Path) -> None:
    """On the screen each has a line: of a callback kind and stage, of anything else method, query and reason."""
    clock = PutForwardClock()
    async with listening(tmp_path, json=False, clock=clock) as run:
        for n, odd in enumerate(ODD, 1):
            assert await send(run, odd) == odd.answered
            last = f" <-- {n} " if odd.what else f" --> {n} "
            await run.wait_until(partial(is_printed, run, last))
            clock.ahead_s += 1  # of what is no callback, so many a second have a line
    arrivals = [line[9:] for line in run.stdout.splitlines() if " --> " in line]
    wanted = [odd.line(n) for n, odd in enumerate(ODD, 1)]
    for shown, pattern in zip(arrivals, wanted, strict=True):
        assert re.fullmatch(pattern, shown), (pattern, shown)
    answers = [line[9:].split()[:3] for line in run.stdout.splitlines() if " <-- " in line]
    assert answers == [["<--", str(n), "200"] for n, odd in enumerate(ODD, 1) if odd.what]


REFUSED = {
    "a method that is no word": (b"F(O @?x=1 HTTP/1.1\r\nHost: h\r\n\r\n", "F(O", "x=1", b"", "its method"),
    "two lengths": (
        b"POST @?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        *("POST", "x=1", b"{}", "Content-Length is there more than once"),
    ),
    "a header without a colon": (b"POST @ HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n{}", "POST", "", b"{}", "header"),
    "an address without a host": (
        b"POST http://[@?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "x=1", b"{}", "its address"),
    ),
    "an address that is not ASCII, and no host": (
        "POST @?x=é HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}".encode(),
        *("POST", "x=%C3%A9", b"{}", "it has no field Host"),
    ),
    "an address that is not ASCII and not an address": (
        "POST http://[é@?x=é HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}".encode(),
        *("POST", "x=%C3%A9", b"{}", "its address"),
    ),
    "the same without fields": (
        "GET http://[é@?x=é HTTP/1.0\r\n\r\n".encode(),
        *("GET", "x=%C3%A9", b"", "its address"),
    ),
    "a blank in its query": (
        b"POST @?title=Night Drive HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "title=Night%20Drive", b"{}", "its address holds a blank"),
    ),
    "a version that is none": (
        b"POST @?x=1 HTTP/1.2\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "x=1", b"{}", "its version of HTTP is not 1.0 or 1.1"),
    ),
    "a version in lower case": (
        b"POST @?x=1 http/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "x=1", b"{}", "its version of HTTP is not 1.0 or 1.1"),
    ),
    "a blank behind its version": (
        b"POST @?x=1 HTTP/1.1 \r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "x=1", b"{}", "its first line has a blank too many"),
    ),
    "tabs for blanks": (
        b"POST\t@?x=1\tHTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "x=1", b"{}", "its "),
    ),
    "a method with other letters": (
        "PÖST @?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}".encode(),
        *("PÖST", "x=1", b"{}", "its method"),
    ),
    "a long method": (
        b"%b @?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}" % (b"M" * 100),
        *(f"{'M' * 64}\u2026", "x=1", b"{}", "its method"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_read_as_http_is_shown_all_the_same(tmp_path: Path, name: str) -> None:
    """A request on the path that a strict reader refuses is answered 400, and has its line and its number."""
    raw, method, query, body, reason = REFUSED[name]
    async with listening(tmp_path) as run:
        parts = urlsplit(run.url)
        answer = await send_raw(parts.port or 0, raw.replace(b"@", parts.path.encode()))
        await run.wait_until(lambda: '"request"' in run.stdout and run.stdout.endswith("\n"))
        (line,) = (line for line in run.objects if line["type"] == "request")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (line["n"], line["method"], line["query"]) == (1, method, query)
    assert line["path"].endswith(parts.path)
    assert (line["answered"], line["remote"]) == (400, "127.0.0.1")
    assert base64.b64decode(line["body_b64"]) == body
    assert reason in line["reason"]


GOOD = b"POST @ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(RAW), RAW)


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("method", ["POST", "GET", "FOO"])
@pytest.mark.parametrize(
    ("typed", "query"),
    [("?title=\u9519\u8bef&x=%20".encode(), "title=%E9%94%99%E8%AF%AF&x=%20"), (b"?t=\xe9", "t=%E9")],
)
async def test_an_address_as_typed_is_one_like_any_other(
    tmp_path: Path, size: int, method: str, typed: bytes, query: str
) -> None:
    """Curl sends a query as it was typed: it is taken in, sent on and recorded, its letters percent-encoded."""
    raw = b"%b @%b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nContent-Length: %d\r\n\r\n%b" % (
        method.encode(),
        typed,
        len(RAW),
        RAW,
    )
    async with receiving() as receiver, listening(tmp_path, forward_to=[f"{receiver.port}/hook"]) as run:
        parts = urlsplit(run.url)
        request = raw.replace(b"@", parts.path.encode())
        pieces = [request[start : start + size] for start in range(0, len(request), size)]
        answer = await send_raw(parts.port or 0, *pieces, *([GOOD.replace(b"@", parts.path.encode())]))
        await run.wait_until(lambda: run.stdout.count('"answered"') > 1 and run.stdout.endswith("\n"))
        first, second = (line for line in run.objects if line["type"] in {"event", "request"})
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert (first["method"], first["query"], first["answered"]) == (method, query, 200)
    assert (first["headers"]["x-a"], base64.b64decode(first["body_b64"])) == ("1", RAW)
    assert taken_apart(receiver.requests[0])[:2] == (method, f"/hook?{query}")
    assert (second["query"], second["answered"]) == ("", 200)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"GET @?x=1 HTTP/1.1\r\n\r\n", "GET ?x=1, 0 B: it has no field Host"),
        (b"PUT @ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf", "PUT, 4 B: the body broke off"),
        (b"GET @ HTTP/1.1\r\nHost: h\r\n\r\n", "GET, 0 B"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said_whatever_its_method(
    tmp_path: Path, raw: bytes, said: str
) -> None:
    """The line and the list say what is wrong with a request that is no POST too, and only that."""
    async with listening(tmp_path, json=False) as run:
        parts = urlsplit(run.url)
        await send_raw(parts.port or 0, raw.replace(b"@", parts.path.encode()))
        await run.wait_until(partial(is_printed, run, " --> 1 "))
    assert f"--> 1 {said}; " in run.stdout
    async with listening(tmp_path, list_events=True, is_ready=False, tunnel=None, json=False) as listed:
        await listed.wait_ended()
    assert f"  {said.replace(': ', ', ')}, answered " in listed.stdout


CHUNKED = b"POST @ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
    b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in (RAW[:20], RAW[20:], b"")
)
PIPELINED = {
    "behind a chunked one": lambda bad: [CHUNKED + bad],
    "behind one cut in the line of a chunk": lambda bad: [CHUNKED[:-9], CHUNKED[-9:] + bad],
    "in one piece": lambda bad: [GOOD + bad],
    "the second later": lambda bad: [GOOD, bad],
    "cut in the first body": lambda bad: [GOOD[:-9], GOOD[-9:] + bad],
    "cut in the second head": lambda bad: [GOOD + bad[: bad.index(b"\n") + 3], bad[bad.index(b"\n") + 3 :]],
    "behind two": lambda bad: [GOOD + GOOD + bad],
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("cut", PIPELINED)
async def test_what_is_refused_behind_a_good_request_is_shown_too(tmp_path: Path, name: str, cut: str) -> None:
    """Both of a pair on one connection are answered, shown and recorded, in their order."""
    raw, method, query, body, reason = REFUSED[name]
    goods = 2 if cut == "behind two" else 1
    async with listening(tmp_path) as run:
        parts = urlsplit(run.url)
        pieces = [piece.replace(b"@", parts.path.encode()) for piece in PIPELINED[cut](raw)]
        answer = await send_raw(parts.port or 0, *pieces)
        await run.wait_until(lambda: run.stdout.count('"answered"') > goods and run.stdout.endswith("\n"))
        *events, line = (line for line in run.objects if line["type"] in {"event", "request"})
    assert [event["answered"] for event in events] == [200] * goods
    assert (answer.count(b"HTTP/1.1 200 "), answer.count(b"HTTP/1.1 400 ")) == (goods, 1)
    assert (line["type"], line["n"], line["answered"]) == ("request", goods + 1, 400)
    assert (line["method"], line["query"]) == (method, query)
    assert line["path"].endswith(parts.path)
    assert reason in line["reason"]
    assert cut == "cut in the second head" or base64.b64decode(line["body_b64"]) == body


@pytest.mark.parametrize("name", REFUSED)
async def test_with_a_webhook_key_it_is_shown_and_wakes_nothing(tmp_path: Path, name: str) -> None:
    """What cannot be read cannot be checked either: 400, one line, one record, and no job is read for it."""
    raw, method, query, _, reason = REFUSED[name]
    async with listening(tmp_path, environ={"SUNO_WEBHOOK_KEY": "webhook-key-0123456789"}, provider="kie") as run:
        parts = urlsplit(run.url)
        answer = await send_raw(parts.port or 0, raw.replace(b"@", parts.path.encode()))
        await run.wait_until(lambda: '"answered"' in run.stdout and run.stdout.endswith("\n"))
        (line,) = (line for line in run.objects if line["type"] == "request")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (line["method"], line["query"], line["answered"]) == (method, query, 400)
    assert reason in line["reason"]
    async with listening(tmp_path, list_events=True, is_ready=False, tunnel=None) as shown:
        await shown.wait_ended()
    (recorded,) = shown.objects
    assert (recorded["method"], recorded["answered"]) == (method, 400)
    key = WebhookKey(Secret("webhook-key-0123456789"), KIE_SIGNATURE)
    async with CallbackListener(clock=SystemClock(), webhook_key=key) as listener:
        inbox = listener.open_inbox()
        port = urlsplit(listener.local_url).port or 0
        assert (await send_raw(port, raw.replace(b"@", inbox.path.encode()))).startswith(b"HTTP/1.1 400 ")
        inbox.close()
        with pytest.raises(InboxClosedError):
            await inbox.receive()


async def test_three_hundred_header_fields_are_nothing_odd(tmp_path: Path) -> None:
    """Proxies add fields: as long as they are not long, a callback with hundreds of them is one like any other."""
    fields = b"".join(b"X-%d: 1\r\n" % n for n in range(300))
    async with listening(tmp_path) as run:
        parts = urlsplit(run.url)
        head = b"POST %b HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n" % (
            parts.path.encode(),
            fields,
            len(RAW),
        )
        assert (await send_raw(parts.port or 0, head + RAW)).startswith(b"HTTP/1.1 200 ")
        await run.wait_events(1)


async def test_a_post_that_cannot_be_read_wakes_the_job() -> None:
    """Whatever comes to a job's secret path with POST is a reason to read the job, however it is written."""
    async with CallbackListener(clock=SystemClock()) as listener:
        inbox = listener.open_inbox()
        port = urlsplit(listener.local_url).port or 0
        raw = REFUSED["two lengths"][0].replace(b"@", inbox.path.encode())
        assert (await send_raw(port, raw)).startswith(b"HTTP/1.1 400 ")
        async with asyncio.timeout(PATIENCE_S):
            woken = await inbox.receive()
    assert (woken.content, woken.body, woken.query) == (None, b"{}", "x=1")


async def send_raw(port: int, *pieces: bytes) -> bytes:
    """Send bytes as they are, piece by piece, and no more; return what is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        # The listener lives in this loop too: in so many of its turns it has taken the piece.
        for _ in range(20):
            await asyncio.sleep(0)
    with contextlib.suppress(OSError):  # the listener may have refused and hung up already
        writer.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return answer
