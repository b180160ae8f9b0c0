"""Fields that a proxy in between doubles: the request is one like any other, unless two readers could differ."""

import asyncio
import base64
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.folders import JOURNAL_NAME
from suno_cover_cli.callbacks.exchanges import Exchange
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.callbacks.sending.targets import parse_target
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.listen.deliveries import replay_recording
from tests.listen_fixtures import listening, receiving
from tests.listener_fixtures import PATIENCE_S, callback_body, connect, new_listener

BODY = callback_body()
HOST = b"Host: listener\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
JSON = b"Content-Type: application/json\r\n"
DOUBLED = {
    "types that are equal": HOST + 2 * JSON + LENGTH,
    "types that differ": HOST + JSON + b"content-type: text/plain; charset=utf-8\r\n" + LENGTH,
    "three types": HOST + JSON + LENGTH + 2 * JSON,
    "lengths": HOST + LENGTH + b"X-A:\tb \r\n" + LENGTH.upper(),
    "hosts": HOST + JSON + LENGTH + HOST.lower(),
    "all of them": 2 * (HOST + JSON + LENGTH),
    "names of clients": HOST + LENGTH + b"User-Agent: a\r\nUser-Agent: b\r\n",
    "pages": HOST + 2 * b"Content-Location: /a\r\nETag: a\r\nServer: a\r\nMax-Forwards: 1\r\n" + LENGTH,
}


def lines_of(fields: bytes) -> list[tuple[str, str]]:
    """Return header lines as the listener tells of them."""
    pairs = (line.split(":", 1) for line in fields.decode().splitlines())
    return [(name, value.strip()) for name, value in pairs]


@pytest.mark.parametrize("step", [1, 7, 60_000])
@pytest.mark.parametrize("method", ["POST", "FOO"])
@pytest.mark.parametrize("name", DOUBLED)
async def test_what_is_doubled_is_read_like_any_other(name: str, method: str, step: int) -> None:
    """Wherever its bytes are cut, it is read with each line as sent, and so is the next one on its connection."""
    fields, seen = DOUBLED[name], list[Exchange]()
    async with new_listener(on_exchange=seen.append) as listener, connect(listener) as wire:
        inbox = listener.open_inbox(is_read=False)
        request = f"{method} {inbox.path}?a=1 HTTP/1.1\r\n".encode() + fields + b"\r\n" + BODY
        stream = 2 * request
        for start in range(0, len(stream), step):
            await wire.send(stream[start : start + step])
            await asyncio.sleep(0)
        statuses = [(await wire.read_answer()).status for _ in range(2)]
    assert statuses == [200 if method == "POST" else 405] * 2
    for exchange in seen:
        assert exchange.request is not None
        assert (exchange.method, exchange.request.body, exchange.request.is_whole) == (method, BODY, True)
        assert list(exchange.headers) == lines_of(fields)
    assert len(seen) == 2


@pytest.mark.parametrize("name", [*DOUBLED, "a body in chunks"])
async def test_no_place_of_a_cut_makes_it_another_request(name: str) -> None:
    """What has come of a line that goes on, or of the end of the head, is not taken for a fault of it."""
    chunks = HOST + 2 * JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    following = chunks if name not in DOUBLED else DOUBLED[name] + b"\r\n" + BODY
    async with new_listener() as listener, connect(listener) as wire:
        request = f"POST {listener.open_inbox(is_read=False).path} HTTP/1.1\r\n".encode() + following
        for cut in range(1, len(request)):
            await wire.send(request[:cut])
            for _ in range(3):  # the listener reads it before the rest is there
                await asyncio.sleep(0)
            await wire.send(request[cut:])
            answer = await wire.read_answer()
            assert (answer.status, cut, answer.body) == (200, cut, b'{"status":"received"}')


async def test_a_chunked_body_behind_doubled_types_is_read() -> None:
    """A body in chunks behind doubled fields arrives as one sent behind single ones does."""
    seen: list[Exchange] = []
    async with new_listener(on_exchange=seen.append) as listener, connect(listener) as wire:
        inbox = listener.open_inbox(is_read=False)
        head = f"POST {inbox.path} HTTP/1.1\r\n".encode() + HOST + 2 * JSON + b"Transfer-Encoding: chunked\r\n\r\n"
        await wire.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
        assert (await wire.read_answer()).status == 200
    assert [one.request and one.request.body for one in seen] == [BODY]


async def test_a_long_body_behind_doubled_types_is_read() -> None:
    """Of a body that is longer than what is kept of a head, no byte is lost or read twice."""
    body = callback_body(x="y" * 500_000)
    seen: list[Exchange] = []
    async with new_listener(on_exchange=seen.append) as listener, connect(listener) as wire:
        inbox = listener.open_inbox(is_read=False)
        head = f"POST {inbox.path} HTTP/1.1\r\n".encode() + HOST + 2 * JSON
        await wire.send(head + 2 * (b"Content-Length: %d\r\n" % len(body)) + b"\r\n" + body)
        assert (await wire.read_answer()).status == 200
    assert [one.request and one.request.body for one in seen] == [body]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (HOST + LENGTH + b"Content-Length: 3\r\n" + 2 * JSON, "Content-Length is there more than once, with"),
        (HOST + 2 * JSON + LENGTH + b"Content-Length: 3\r\n", "Content-Length is there more than once, with"),
        (HOST + b"Host: other\r\n" + 2 * JSON + LENGTH, "Host is there more than once, with"),
        (
            HOST + 2 * JSON + LENGTH + b"Transfer-Encoding: chunked\r\n",
            "both Content-Length and Transfer-Encoding",
        ),
        (HOST + 2 * LENGTH + b"Transfer-Encoding: chunked\r\n", "both Content-Length and Transfer-Encoding"),
        (HOST + 2 * JSON + 2 * b"Transfer-Encoding: chunked\r\n", "Transfer-Encoding is there more than once"),
        (HOST + 2 * b"Content-Length: 3, 3\r\n", "not a valid number"),
        (HOST + 2 * JSON + b"X-A : 1\r\n" + LENGTH, "a blank stands before the colon"),
        (2 * JSON + LENGTH, "no field Host"),
    ],
)
@pytest.mark.parametrize("step", [5, 60_000])
async def test_what_two_readers_could_differ_about_is_refused(fields: bytes, reason: str, step: int) -> None:
    """Doubled fields are no cover for a request that another server would cut elsewhere, or send elsewhere."""
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox(is_read=False)
        stream = f"POST {inbox.path} HTTP/1.1\r\n".encode() + fields + b"\r\n" + BODY
        for start in range(0, len(stream), step):
            await wire.send(stream[start : start + step])
            await asyncio.sleep(0)
        answer = await wire.read_answer()
    assert answer.status == 400
    assert reason in json.loads(answer.body)["reason"]


async def test_doubled_fields_are_shown_recorded_forwarded_and_sent_again(tmp_path: Path) -> None:
    """``listen`` takes such a callback for one: both lines go on as sent, now and in a replay."""
    fields = HOST + 2 * JSON + 2 * LENGTH + b"X-A: 1\r\n"
    async with receiving() as receiver, listening(tmp_path, forward_to=[str(receiver.port)]) as run:
        parts = urlsplit(run.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(b"POST %b HTTP/1.1\r\n%b\r\n%b" % (parts.path.encode(), fields, BODY))
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        (event,) = await run.wait_events(1)
    assert (event["type"], event["answered"], event["forward"]["status"]) == ("event", 200, 200)
    assert event["headers"]["content-type"] == "application/json, application/json"
    assert base64.b64decode(event["body_b64"]) == BODY
    async with (
        receiving() as again,
        Database(tmp_path / "state" / JOURNAL_NAME) as database,
        CallbackSender(parse_target(str(again.port)), clock=SystemClock()) as sender,
    ):
        recording = await RecordingStore(database).find("1")
        assert list(recording.headers) == lines_of(fields)
        assert (await replay_recording(recording, sender)).status == 200
    for sent in (*receiver.requests, *again.requests):
        head, _, body = sent.partition(b"\r\n\r\n")
        assert (head.count(b"Content-Type: application/json"), head.count(b"Content-Length")) == (2, 1)
        assert body == BODY
