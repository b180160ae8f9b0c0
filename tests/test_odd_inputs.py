"""Whatever arrives on the path is shown, recorded, sent on byte for byte and can be sent again with its query."""

import asyncio
import base64
import contextlib
import gzip
import json
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.exchanges import InboxClosedError
from suno_cover_cli.callbacks.listener import CallbackListener
from tests.callback_cases import CASES
from tests.listen_fixtures import listening, receiving
from tests.listener_fixtures import PATIENCE_S, callback_body
from tests.test_bodies import NOT_READ, PACKERS

RAW = callback_body()
UNICODE = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ODD: list[tuple[str, str, bytes, dict[str, str]]] = [
    *[(method, "songId=5&x=%20", b"", {}) for method in ("GET", "HEAD", "OPTIONS", "DELETE")],
    *[(method, "uid=1&sig=a_b", RAW, {}) for method in ("PUT", "PATCH", "QUERY", "FOO", "X-RETRY.1")],
    ("FOO", "", b"", {}),
    *[("POST", f"case={name}", json.dumps(case[0]).encode(), {}) for name, case in CASES.items()],
    *[("POST", "", pack(RAW), {"Content-Encoding": coding}) for coding, pack in PACKERS.values()],
    *[("POST", "", body, {}) for body in NOT_READ],
    *[
        ("POST", "", RAW.decode().encode(charset), {})
        for charset in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")
    ],
    ("POST", "", json.dumps({"code": 400, "msg": "错误", "taskId": "a"}, ensure_ascii=False).encode("gbk"), {}),
    ("POST", "taskId=1", b"code=200&msg=ok&taskId=a&images[]=u", FORM),
    ("POST", "", RAW, {"Content-Encoding": "gzip"}),
    ("POST", "", RAW, {"Content-Type": "text/html; charset=no-such"}),
    ("POST", "", gzip.compress(b" " * 20_000_000), {"Content-Encoding": "gzip"}),
    ("POST", "", zlib.compress(RAW)[:-5], {"Content-Encoding": "deflate"}),
    ("POST", "", callback_body(x="y" * 1_048_000), {}),
]


async def test_nothing_that_arrives_is_invisible(tmp_path: Path) -> None:
    """At least 60 odd requests each have a JSON line, a number, and reach the receiver as they came."""
    assert len(ODD) >= 60
    async with receiving() as receiver, listening(tmp_path, forward_to=[f"{receiver.port}/hook?own=1"]) as run:
        for method, query, body, headers in ODD:
            answer = await run.post(
                body, method=method, headers=headers, path=f"{run.url[run.url.index('/callback') :]}?{query}"
            )
            assert answer.status == 200
        await run.wait_until(lambda: run.stdout.count('"answered"') >= len(ODD) and run.stdout.endswith("\n"))
        lines = [line for line in run.objects if line["type"] in {"event", "request"}]
    assert [line["n"] for line in lines] == list(range(1, len(ODD) + 1))
    for (method, query, body, _), line, request in zip(ODD, lines, receiver.requests, strict=True):
        assert (line["method"], line["query"], line["answered"]) == (method, query, 200)
        assert base64.b64decode(line["body_b64"]) == body
        assert (line["forward"]["status"], line["forward"]["error"]) == (200, None)
        head, _, sent = request.partition(b"\r\n\r\n")
        target = f"/hook?own=1&{query}" if query else "/hook?own=1"
        assert head.startswith(f"{method} {target} HTTP/1.1\r\n".encode())
        assert sent == body


REFUSED = {
    "a method that is no word": (b"F(O @?x=1 HTTP/1.1\r\nHost: h\r\n\r\n", "F(O", "x=1", b"", "its method"),
    "its length twice": (
        b"POST @?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "x=1", b"{}", "header"),
    ),
    "a header without a colon": (b"POST @ HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n{}", "POST", "", b"{}", "header"),
    "an address without a host": (
        b"POST http://[@?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        *("POST", "x=1", b"{}", "its address"),
    ),
    "an address that is not ASCII": (
        "POST @?x=é HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}".encode(),
        *("POST", "x=%C3%A9", b"{}", "its address"),
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
        raw = REFUSED["its length twice"][0].replace(b"@", inbox.path.encode())
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


async def test_each_has_a_line_for_people(tmp_path: Path) -> None:
    """On the screen each callback has a pair of lines, and each other request one."""
    for method, query, body, headers in ODD[:12]:
        async with listening(tmp_path, json=False) as run:
            path = f"{run.url[run.url.index('/callback') :]}?{query}"
            await run.post(body, method=method, headers=headers, path=path)
            await run.wait_until(lambda: run.stdout.endswith("\n"))
            await run.interrupt()
        assert "-->" in run.stdout
