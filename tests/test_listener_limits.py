"""What strangers may cost the listener: time, connections, memory. And that real callbacks do not pay for them."""

import asyncio
import json
import socket
import sys
from contextlib import AsyncExitStack, ExitStack
from urllib.parse import urlsplit

import pytest

from suno_cover_cli.callbacks.connections import ConnectionLimits
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, Exchange
from tests.clocks import ManualClock
from tests.listener_fixtures import (
    PATIENCE_S,
    RECEIVED_BODY,
    Wire,
    callback_body,
    connect,
    new_listener,
    post,
    request_bytes,
)


async def test_requests_in_one_segment_are_answered_in_their_order() -> None:
    """Pipelined requests get one answer each, in order, strangers between them included."""
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        await wire.send(
            request_bytes(inbox.path, callback_body("first"))
            + request_bytes("/nowhere", b"body")
            + request_bytes(inbox.path, method="GET")
            + request_bytes(inbox.path, callback_body("last"))
        )
        assert [(await wire.read_answer()).status for _ in range(4)] == [200, 404, 200, 200]
        assert [(await inbox.receive()).task_id for _ in range(2)] == ["first", "last"]


@pytest.mark.parametrize(
    ("version", "asked", "told"),
    [
        ("1.1", None, None),
        ("1.1", "close", "close"),
        ("1.0", None, "close"),
        ("1.0", "keep-alive", "keep-alive"),
    ],
)
async def test_a_connection_stays_or_goes_as_its_client_asked(
    version: str, asked: str | None, told: str | None
) -> None:
    """The client's version and its Connection header decide, and the answer says which it is."""
    headers = () if asked is None else (f"Connection: {asked}",)
    async with new_listener() as listener, connect(listener) as wire:
        request = request_bytes(listener.open_inbox().path, callback_body(), headers=headers)
        await wire.send(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        answer = await wire.read_answer()
        assert (answer.status, answer.headers.get("connection")) == (200, told)
        if told == "close":
            assert await wire.read_to_end() == b""
        else:
            await wire.send(request)
            assert (await wire.read_answer()).status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_in_pieces_is_put_together(framing: str) -> None:
    """A body that comes byte by byte, with a length or in chunks, is the same callback."""
    body = callback_body()
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        if framing == "length":
            pieces = [bytes([letter]) for letter in body]
            await wire.send(request_bytes(inbox.path, length=len(body)))
        else:
            pieces = [b"1\r\n%c\r\n" % letter for letter in body] + [b"0\r\n\r\n"]
            head = f"POST {inbox.path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            await wire.send(head.encode())
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0)
        assert (await wire.read_answer()).body == RECEIVED_BODY
        assert (await inbox.receive()).body == body


async def test_a_thousand_small_chunks_are_one_body() -> None:
    """However many chunks come at once, a body is read to its end, and so is the next one."""
    body = callback_body(padding="x" * 3000)
    chunks = b"".join(b"1\r\n%c\r\n" % letter for letter in body)
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        head = f"POST {inbox.path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        await wire.send((head + chunks + b"0\r\nTrailer: 1\r\n\r\n") * 2)
        assert [(await wire.read_answer()).status for _ in range(2)] == [200, 200]
        assert (await inbox.receive()).body == body


@pytest.mark.parametrize("broken", [b"5\r\n{}", b"zz\r\n", b"1\r\n{}}}\r\n", b"-1\r\n"])
async def test_a_body_in_broken_chunks_is_refused_at_once(broken: bytes) -> None:
    """Chunks that do not add up end the body where that is seen; a body that stops is one that broke off."""
    async with new_listener(clock=ManualClock()) as listener, connect(listener) as wire:
        path = listener.open_inbox(is_read=False).path
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        if broken.startswith(b"5"):
            await wire.send(head + broken + b"and more\r\n")
        else:
            await wire.send(head + b"2\r\n{}\r\n")
            await wire.send(broken)
        answer = await wire.read_answer()
        assert (answer.status, b"the body broke off" in answer.body) == (400, True)
        assert answer.headers["connection"] == "close"


async def test_another_protocol_is_not_agreed_to() -> None:
    """A client that asks for a WebSocket or HTTP/2 gets a plain answer, and may send its next request."""
    upgrades = [("Connection: Upgrade", f"Upgrade: {name}") for name in ("websocket", "h2c", "chat")]
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        for headers in upgrades:
            await wire.send(request_bytes(inbox.path, callback_body(), headers=headers))
            assert (await wire.read_answer()).status == 200
        await wire.send(b"".join(request_bytes(inbox.path, method="GET", headers=one) for one in upgrades))
        assert [(await wire.read_answer()).status for _ in upgrades] == [200, 200, 200]


async def test_a_sender_that_asks_first_is_told_to_go_on() -> None:
    """Expect: 100-continue is answered before the body, so that no sender waits in vain."""
    body = callback_body()
    async with new_listener() as listener, connect(listener) as wire:
        path = listener.open_inbox().path
        await wire.send(request_bytes(path, headers=("Expect: 100-continue",), length=len(body)))
        assert (await wire.read_answer()).status == 100
        await wire.send(body)
        assert (await wire.read_answer()).status == 200


async def test_a_sender_that_cannot_be_told_to_go_on_is_not() -> None:
    """HTTP/1.0 knows no answer before the answer (RFC 9110, 10.1.1): the wish is ignored."""
    body = callback_body()
    async with new_listener() as listener, connect(listener) as wire:
        asking = request_bytes(listener.open_inbox().path, headers=("Expect: 100-continue",), length=len(body))
        await wire.send(asking.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (await post(listener, "/", b"")).status == 404  # the head was read meanwhile
        await wire.send(body)
        assert (await wire.read_answer()).status == 200


async def test_a_refused_sender_reads_its_refusal() -> None:
    """A body that is too large is refused from its head, the sender may finish sending, and then it is let go."""
    async with new_listener() as listener, connect(listener) as wire:
        path = listener.open_inbox().path
        await wire.send(request_bytes(path, b"x" * 200_000, length=3_000_000))
        answer = await wire.read_answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        await wire.send(b"x" * 2_800_000)
        assert await wire.read_to_end() == b""


async def test_an_endless_body_is_refused() -> None:
    """A chunked body without an end is refused with 413 as soon as it is over 1 MiB."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    async with new_listener() as listener, connect(listener) as wire:
        head = f"POST {listener.open_inbox().path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.send(head.encode())
        for _ in range(18):
            await wire.send(chunk)
        assert (await wire.read_answer()).status == 413


@pytest.mark.parametrize(
    "unfinished",
    [b"", b"POST /callback HTTP/1.1\r\nHost: h\r\nX-Slow: ", b"@half"],
    ids=["silent", "half a head", "half a body"],
)
async def test_a_request_that_does_not_end_is_cut(unfinished: bytes) -> None:
    """Silence, half a head and half a body are cut ten seconds after the waiting began, not sooner."""
    clock = ManualClock()
    async with new_listener(clock=clock) as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        await wire.send(unfinished.replace(b"@half", request_bytes(inbox.path, b"{", length=100)))
        assert (await post(listener, "/", b"")).status == 404  # it has been read by now
        ending = asyncio.ensure_future(wire.read_to_end())
        await advance(clock, 10)
        assert (await post(listener, "/", b"")).status == 404
        assert not ending.done()
        await advance(clock, 2)
        assert await ending == b""


async def advance(clock: ManualClock, seconds: int) -> None:
    """Let time pass second by second, so that whoever sleeps wakes as often as it would."""
    for _ in range(seconds):
        clock.advance(1.0)
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_sender_of_callbacks_keeps_its_connection() -> None:
    """A connection that brought a callback stays for two minutes, and is cut after that."""
    clock = ManualClock()
    async with new_listener(clock=clock) as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        for _ in range(2):
            await wire.send(request_bytes(inbox.path, callback_body()))
            assert (await wire.read_answer()).status == 200
            await advance(clock, 119)
        await advance(clock, 3)
        assert await wire.read_to_end() == b""


async def send_without_end(wire: Wire, data: bytes) -> None:
    """Send the same bytes again and again until the connection is cut."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await wire.send(data)
            await asyncio.sleep(0)


@pytest.mark.parametrize("before", [0, 1], ids=["first request", "second request"])
async def test_an_endless_head_is_cut(before: int) -> None:
    """A head above 16 KiB is refused, shown, and cut if it goes on, however politely its lines are formed."""
    clock = ManualClock()
    exchanges: list[Exchange] = []
    line = b"X-Filler: " + b"a" * 1000 + b"\r\n"
    async with new_listener(clock=clock, on_exchange=exchanges.append) as listener, connect(listener) as wire:
        path = listener.open_inbox(is_read=False).path
        for _ in range(before):
            await wire.send(request_bytes("/nowhere", b"x" * 2_000))
            assert (await wire.read_answer()).status == 404
        await wire.send(f"POST {path}?a=1 HTTP/1.1\r\nHost: h\r\n".encode())
        for _ in range(20):
            await wire.send(line)
        answer = await wire.read_answer()
        assert (answer.status, json.loads(answer.body)["reason"]) == (400, "a head of over 16 KiB")
        await wire.send(line)
        await advance(clock, 10)
        with pytest.raises(ConnectionError):
            await send_without_end(wire, line)
    (exchange,) = exchanges[before:]
    assert (exchange.status, exchange.reason) == (400, "a head of over 16 KiB")
    assert exchange.request is not None
    assert (exchange.request.query, exchange.request.headers[:2]) == (
        "a=1",
        (("Host", "h"), ("X-Filler", "a" * 1000)),
    )


@pytest.mark.parametrize(
    "head",
    [
        b"POST /%s HTTP/1.1\r\nHost: h\r\n\r\n" % (b"a" * 13_000),
        b"POST / HTTP/1.1\r\nHost: h\r\nX: %s\r\n\r\n" % (b"a" * 13_000),
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
    ],
    ids=["long path", "long field", "negative", "two framings", "no HTTP"],
)
async def test_a_head_that_is_none_is_400(head: bytes) -> None:
    """Lines and fields beyond the bounds, and what is not HTTP at all, are 400 and the end of the connection."""
    async with new_listener() as listener, connect(listener) as wire:
        await wire.send(head)
        assert (await wire.read_answer()).status == 400
        assert await wire.read_to_end() == b""


@pytest.mark.parametrize("before", [b"", request_bytes("/nowhere")], ids=["first", "second"])
async def test_a_request_without_a_target_is_404(before: bytes) -> None:
    """CONNECT without a target, which the parser lets through without a path, is an unknown path."""
    async with new_listener() as listener, connect(listener) as wire:
        await wire.send(before + b"CONNECT \r\n\r\n")
        if before:
            assert (await wire.read_answer()).status == 404
        assert (await wire.read_answer()).status == 404


async def test_one_connection_more_drops_the_one_waited_for_longest() -> None:
    """At the bound a new connection gets in, and the oldest idle one goes; the others stay."""
    limits = ConnectionLimits(max_connections=3)
    async with new_listener(limits=limits) as listener, AsyncExitStack() as wires:
        inbox = listener.open_inbox()
        known, second, third = [await wires.enter_async_context(connect(listener)) for _ in range(3)]
        for wire in (second, third, known):
            await wire.send(request_bytes(inbox.path, callback_body()))
            assert (await wire.read_answer()).status == 200
        assert (await post(listener, inbox.path, callback_body())).status == 200
        assert await second.read_to_end() == b""
        for wire in (third, known):
            await wire.send(request_bytes(inbox.path, callback_body()))
            assert (await wire.read_answer()).status == 200


async def test_a_connection_that_is_owed_an_answer_is_never_dropped() -> None:
    """A flood of newcomers takes no answer away from a callback that is being answered."""
    asked, ready = asyncio.Event(), asyncio.Event()

    async def answer_late(_: ReceivedRequest, _deserved: Answer) -> Answer:
        asked.set()
        await ready.wait()
        return Answer()

    limits = ConnectionLimits(max_connections=2)
    async with new_listener(responder=answer_late, limits=limits) as listener, AsyncExitStack() as wires:
        owed = await wires.enter_async_context(connect(listener))
        await owed.send(request_bytes(listener.open_inbox().path, callback_body()))
        await asked.wait()
        for _ in range(10):
            await wires.enter_async_context(connect(listener))
        assert (await post(listener, "/", b"")).status == 404
        ready.set()
        assert (await owed.read_answer()).status == 200


async def test_a_crowd_pushes_out_no_callback_before_it_was_read() -> None:
    """Of six times as many callbacks as there are places, all come in the same moment and all are answered."""
    limits = ConnectionLimits(max_connections=16)
    async with new_listener(limits=limits) as listener:
        request = request_bytes(listener.open_inbox().path, callback_body())
        address = urlsplit(listener.local_url)
        with ExitStack() as wires:
            # The loop does not run meanwhile: the crowd stands in the kernel's queue.
            crowd = [
                wires.enter_context(socket.create_connection((address.hostname, address.port or 0), PATIENCE_S))
                for _ in range(96)
            ]
            for wire in crowd:
                wire.sendall(request)
            answers = await asyncio.to_thread(lambda: [wire.recv(4096) for wire in crowd])
        assert {answer[:13] for answer in answers} == {b"HTTP/1.1 200 "}


async def test_unfinished_bodies_share_bounded_memory() -> None:
    """When unfinished bodies hold too much together, the oldest of them is cut and the youngest completes."""
    limits = ConnectionLimits(max_held_bytes=300_000)
    body = callback_body()
    padded = body[:-1] + b" " * (150_000 - len(body)) + b"}"
    async with new_listener(limits=limits) as listener, AsyncExitStack() as wires:
        inbox = listener.open_inbox()
        slow = [await wires.enter_async_context(connect(listener)) for _ in range(3)]
        for wire in slow:
            await wire.send(request_bytes(inbox.path, padded[:-1], length=len(padded)))
            assert (await post(listener, "/", b"")).status == 404
        assert await slow[0].read_to_end() == b""
        for wire in slow[1:]:
            await wire.send(padded[-1:])
            assert (await wire.read_answer()).status == 200


async def test_a_client_that_reads_no_answers_is_cut() -> None:
    """An answer that nobody reads stops the connection's next requests, and is cut like silence."""
    clock = ManualClock()
    answered: list[ReceivedRequest] = []

    async def answer_at_length(callback: ReceivedRequest, _: Answer) -> Answer:
        answered.append(callback)
        return Answer(200, b" " * 16 * 1024 * 1024)  # more than the kernel takes on credit

    async with new_listener(clock=clock, responder=answer_at_length) as listener, connect(listener) as wire:
        request = request_bytes(listener.open_inbox().path, callback_body())
        sending = asyncio.ensure_future(send_without_end(wire, request * 100))
        while not answered:
            assert (await post(listener, "/", b"")).status == 404
        await advance(clock, 12)
        with pytest.raises(ConnectionError):
            await sending
    assert len(answered) == 1


async def test_a_flood_on_a_known_path_leaves_bounded_news() -> None:
    """Thousands of different callbacks that nobody reads leave the latest 256, and 2 MiB of bodies at most."""
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        for start in range(0, 600, 20):
            await wire.send(b"".join(request_bytes(inbox.path, callback_body(f"t{start + n}")) for n in range(20)))
            for _ in range(20):
                await wire.read_answer()
        inbox.close()
        assert [(await inbox.receive()).task_id for _ in range(256)] == [f"t{n}" for n in range(344, 600)]
        large = listener.open_inbox()
        for n in range(4):
            body = callback_body(f"large{n}")
            await wire.send(request_bytes(large.path, body[:-1] + b" " * 900_000 + b"}"))
            assert (await wire.read_answer()).status == 200
        assert (await large.receive()).task_id == "large2"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file descriptors")
async def test_few_file_descriptors_are_enough() -> None:
    """With room for 200 descriptors the listener takes fewer connections instead of failing to accept."""
    program = """
import asyncio, resource
from tests.listener_fixtures import callback_body, connect, new_listener, post
from contextlib import AsyncExitStack

async def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200))
    async with new_listener() as listener, AsyncExitStack() as wires:
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200
        inbox = listener.open_inbox()
        for _ in range(60):
            await wires.enter_async_context(connect(listener))
        print((await post(listener, inbox.path, callback_body())).status)

asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert await child.communicate() == (b"200\n", b"")
