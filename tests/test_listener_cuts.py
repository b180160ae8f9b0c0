"""Where the bytes of a connection are cut, and where its client stops reading, decides nothing."""

import asyncio
import gc
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, Exchange
from suno_cover_cli.callbacks.wire import Connection
from tests.clocks import ManualClock
from tests.listener_fixtures import PATIENCE_S, callback_body, connect, new_listener, post, request_bytes

_METHODS = ("QUERY", "FOO", "POX", "GETX", "P", "POS", "X-RETRY.1", "M" * 64)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 65, 100])
async def test_a_method_is_the_same_word_however_it_is_cut(size: int) -> None:
    """Whatever the method, and wherever its bytes are cut, the request is taken in under its whole name."""
    seen: list[Exchange] = []
    async with new_listener(on_exchange=seen.append) as listener, connect(listener) as wire:
        inbox = listener.open_inbox(is_read=False)
        stream = b"\r\n".join(request_bytes(inbox.path, b"{}", method=method) for method in _METHODS)
        for start in range(0, len(stream), size):
            await wire.send(stream[start : start + size])
            # The listener reads it before the next one comes.
            for _turn in range(2):
                await asyncio.sleep(0)
        assert [(await wire.read_answer()).status for _ in _METHODS] == [405] * len(_METHODS)
    assert [(one.method, one.request and one.request.body) for one in seen] == [(name, b"{}") for name in _METHODS]


@pytest.mark.parametrize("pieces", [(b"FO", b"(O"), (b"FO", b"\r\n\r\n"), (b"M" * 64, b"M /")])
async def test_what_begins_like_a_method_and_is_none_is_refused(pieces: tuple[bytes, ...]) -> None:
    """A word that goes on as no method does is refused as soon as that is seen."""
    async with new_listener(clock=ManualClock()) as listener, connect(listener) as wire:
        for piece in pieces:
            await wire.send(piece)
            for _turn in range(2):
                await asyncio.sleep(0)
        assert (await wire.read_answer()).status == 400


@pytest.mark.parametrize("zeros", [20, 5_000])
async def test_a_length_may_begin_with_zeros(zeros: int) -> None:
    """However many zeros stand before a length, the body is read, and so is the request behind it."""
    body = json.dumps(json.loads(callback_body()) | {"more": "x" * 40_000}).encode()
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        head, _, _ = request_bytes(inbox.path, body).partition(b"%d\r\n" % len(body))
        await wire.send(head + b"0" * zeros + b"%d\r\n\r\n" % len(body))
        await wire.send(body + request_bytes(inbox.path, callback_body("next")))
        assert [(await wire.read_answer()).status for _ in range(2)] == [200, 200]
        assert (await inbox.receive()).body == body


async def test_a_request_that_cannot_be_read_is_let_finish_sending() -> None:
    """A sender whose head is refused while its body is on the way reads the refusal, and no reset."""
    head = request_bytes("/", headers=("Content-Length: 5",))
    async with new_listener() as listener, connect(listener) as wire:
        await wire.send(head)
        assert (await wire.read_answer()).status == 400
        for _ in range(50):
            await wire.send(b"x" * 10_000)
        assert await wire.read_to_end() == b""


async def test_a_client_that_stopped_reading_is_owed_no_late_answer() -> None:
    """An answer that takes its time keeps no connection open whose client stopped reading before it was there."""
    clock = ManualClock()

    async def answer_later() -> Answer:
        for _ in range(3):
            await asyncio.sleep(0)
        return Answer()

    def respond(request: ReceivedRequest, _: Answer) -> Answer | Coroutine[Any, Any, Answer]:
        return answer_later() if request.method == "PUT" else Answer(200, b" " * 16_000)

    async def send_until_cut(data: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                sending = asyncio.ensure_future(wire.send(data))
                while not sending.done():
                    await asyncio.sleep(0)
                    clock.advance(0.01)
                await sending

    async with new_listener(clock=clock, responder=respond) as listener, connect(listener) as wire:
        listener.open_inbox("/c", is_read=False)
        # Those before a late one are answered in its turn: it is that turn which finds the client asleep.
        turn = b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n" * 15 + b"PUT /c HTTP/1.1\r\nHost: h\r\n\r\n"
        await wire.send(turn * 32)
        with pytest.raises(ConnectionError):
            await send_until_cut(turn)


_HEAD = b"%s @?n=0 HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n"
_ODD_ENDS = {
    "an empty coding": _HEAD % (b"POST", b"Transfer-Encoding:"),
    "an empty coding and a length": _HEAD % (b"POST", b"Transfer-Encoding:\r\nContent-Length: 80") + b"x" * 80,
    "a CONNECT with a coding": _HEAD % (b"CONNECT", b"Transfer-Encoding: chunked"),
    "a CONNECT with a length": _HEAD % (b"CONNECT", b"Content-Length: 5"),
    "a long note on a chunk": _HEAD % (b"POST", b"Transfer-Encoding: chunked")
    + b"2;%s\r\n{}\r\n0\r\n\r\n" % (b"n" * 40_000),
}


@pytest.mark.parametrize("name", _ODD_ENDS)
async def test_requests_behind_one_that_ends_oddly_wait_for_its_answer(name: str) -> None:
    """However a request ends, those behind it are taken in one by one, in their order, whatever their method."""
    seen: list[tuple[str, str]] = []
    under_way = 0

    async def answer_late(request: ReceivedRequest, _: Answer) -> Answer:
        nonlocal under_way
        under_way += 1
        seen.append((request.query, "alone" if under_way == 1 else "with others"))
        for _turn in range(10):
            await asyncio.sleep(0)
        under_way -= 1
        return Answer()

    async with new_listener(responder=answer_late) as listener, connect(listener) as wire:
        path = listener.open_inbox().path
        following = (request_bytes(f"{path}?n={n}", b"{}", method="POST" if n < 3 else "FOO") for n in (1, 2, 3))
        await wire.send(_ODD_ENDS[name].replace(b"@", path.encode()) + b"".join(following))
        assert [(await wire.read_answer()).status for _ in range(4)] == [200] * 4
    assert seen == [(f"n={n}", "alone") for n in range(4)]


async def test_a_segment_full_of_requests_keeps_no_other_waiting() -> None:
    """Hundreds of requests in one segment are answered bit by bit: a callback that comes with them is not last."""
    order: list[str] = []
    async with (
        new_listener(on_exchange=lambda exchange: order.append(exchange.method)) as listener,
        connect(listener) as crowd,
        connect(listener) as wire,
    ):
        path = listener.open_inbox().path
        await wire.send(request_bytes(path))  # both connections are there
        assert (await wire.read_answer()).status == 200
        await crowd.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 500)
        await wire.send(request_bytes(path, callback_body()))
        assert (await wire.read_answer()).status == 200
        assert order.count("GET") < 30
        assert [(await crowd.read_answer()).status for _ in range(500)] == [404] * 500
    assert len(order) == 502


@pytest.mark.parametrize(
    "data",
    [
        request_bytes("/c", b"{}", method="FOO"),
        request_bytes("/c", b"{}", length=9),
        request_bytes("/c", headers=("Content-Length: 5",)),
        b"\x16\x03\x01",
        b"FO",
    ],
    ids=["whole", "half a body", "unreadable", "no HTTP", "half a method"],
)
async def test_a_connection_that_is_gone_is_freed_at_once(data: bytes) -> None:
    """Whatever a connection brought, its memory does not wait for the garbage collector, which a flood outruns."""
    async with new_listener(clock=ManualClock()) as listener:
        listener.open_inbox("/c", is_read=False)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                async with connect(listener) as wire:
                    await wire.send(data)
                    assert (await post(listener, "/", b"")).status == 404  # it was read meanwhile
            for _ in range(5):
                assert (await post(listener, "/", b"")).status == 404
            left = sum(type(one) is Connection for one in gc.get_objects())
        finally:
            gc.enable()
    assert left <= 1  # that of the last request may still be closing


_HOST = b"Host: listener\r\n"
_LENGTH = b"Content-Length: 2\r\n"
_TWICE = "its field {} is there more than once"
_NO_NUMBER = "its Content-Length is not a valid number of bytes"
UNREADABLE = {
    "no host": (_LENGTH, "it has no field Host"),
    "two hosts": (_HOST + b"host: other\r\n", _TWICE.format("Host") + ", with different values"),
    "lengths": (
        _HOST + _LENGTH + b"content-LENGTH: 3\r\n",
        _TWICE.format("Content-Length") + ", with different values",
    ),
    "length and chunks": (
        _HOST + _LENGTH + b"Transfer-Encoding: chunked\r\n",
        "it has both Content-Length and Transfer-Encoding",
    ),
    "chunks and length": (
        _HOST + b"Transfer-Encoding: chunked\r\n" + _LENGTH,
        "it has both Content-Length and Transfer-Encoding",
    ),
    "negative": (_HOST + b"Content-Length: -1\r\n", _NO_NUMBER),
    "plus": (_HOST + b"Content-Length: +2\r\n", _NO_NUMBER),
    "list": (_HOST + b"Content-Length: 2, 2\r\n", _NO_NUMBER),
    "empty length": (_HOST + b"Content-Length:\r\n", _NO_NUMBER),
    "huge": (_HOST + b"Content-Length: " + b"9" * 5000 + b"\r\n", "its Content-Length is too large"),
    "two codings": (_HOST + 2 * b"Transfer-Encoding: chunked\r\n", _TWICE.format("Transfer-Encoding")),
    "coding": (_HOST + b"Transfer-Encoding: chunked, gzip\r\n", "its Transfer-Encoding does not end in chunked"),
    "folded": (_HOST + b"X-A: a\r\n b: c\r\n" + _LENGTH, "its field X-A is folded over two lines"),
    "blank first": (b" X-A: a\r\n" + _HOST + _LENGTH, "a blank stands before its first field"),
    "blank": (_HOST + b"X-A : a\r\n" + _LENGTH, "a blank stands before the colon of its field X-A"),
    "bare LF": (_HOST + b"X-A: a\n" + _LENGTH, "its field X-A ends in LF without CR"),
    "bare CR": (_HOST + b"X-A: a\rb\r\n" + _LENGTH, "its field X-A holds a control character"),
    "zero": (_HOST + b"X-A: a\0b\r\n" + _LENGTH, "its field X-A holds a control character"),
    "escape": (_HOST + b"X\x1b[31m\xff: a\r\n" + _LENGTH, "a header line has no valid name"),
    "no colon": (_HOST + b"X-A\r\n" + _LENGTH, "a header line has no colon"),
    "no name": (_HOST + b": a\r\n" + _LENGTH, "a header line has no valid name"),
    "long name": (
        _HOST + b"X" * 500 + b" : a\r\n" + _LENGTH,
        f"a blank stands before the colon of its field {'X' * 60}",
    ),
    "fields": (_HOST + b"A:\r\n" * 1500 + _LENGTH, "it has over 1000 header fields"),
    "fields, looked at no further": (
        _HOST + b"A:\r\n" * 1500 + b"\1:\r\n" + _LENGTH,
        "it has over 1000 header fields",
    ),
}


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_wrong_with_a_head_is_named(name: str, is_cut: bool) -> None:
    """Each fault of a head is said in words of its own, with the field concerned, wherever its bytes are cut."""
    fields, reason = UNREADABLE[name]
    seen: list[Exchange] = []
    async with new_listener(on_exchange=seen.append) as listener, connect(listener) as wire:
        inbox = listener.open_inbox(is_read=False)
        stream = f"POST {inbox.path} HTTP/1.1\r\n".encode() + fields + b"\r\n{}"
        for start in range(0, len(stream), 7 if is_cut else len(stream)):
            await wire.send(stream[start : start + 7 if is_cut else None])
            for _turn in range(2):
                await asyncio.sleep(0)
        answer = await wire.read_answer()
    assert (answer.status, json.loads(answer.body)["reason"]) == (400, reason)
    assert [(one.reason, one.request and one.request.reason) for one in seen] == [(reason, reason)]


async def test_a_first_line_that_ends_in_lf_is_named() -> None:
    """Lines that end in LF, as those of a hand-made client do, are said to."""
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox(is_read=False)
        await wire.send(f"POST {inbox.path} HTTP/1.1\nHost: x\nContent-Length: 2\n\n{{}}".encode())
        assert json.loads((await wire.read_answer()).body)["reason"] == "its first line ends in LF without CR"


@pytest.mark.parametrize(
    ("head", "query"),
    [
        (b"POST @?x=1 HTTP/1.1\r\nHost: h\r\nContent-Le", "x=1"),
        (b"POST @?x=1 HTTP/1.1\r\n", "x=1"),
        (b"POST @?x=", "x="),
        (b"POST @", ""),
    ],
)
async def test_a_head_that_breaks_off_is_shown_where_it_names_the_path(head: bytes, query: str) -> None:
    """Whoever hangs up within the head has its line too, once the path is there."""
    seen: list[Exchange] = []
    has_come = asyncio.Event()

    def note(exchange: Exchange) -> None:
        seen.append(exchange)
        has_come.set()

    async with new_listener(on_exchange=note) as listener:
        path = listener.open_inbox(is_read=False).path.encode()
        async with connect(listener) as wire:
            await wire.send(b"GET %b?before HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            assert (await wire.read_answer()).status == 200
            has_come.clear()
            await wire.send(head.replace(b"@", path))
        async with asyncio.timeout(PATIENCE_S):
            await has_come.wait()
    (_, exchange) = seen
    assert (exchange.method, exchange.reason, exchange.status) == ("POST", "its head broke off", 400)
    assert exchange.is_answer_lost
    assert exchange.request is not None
    assert exchange.request.query == query
