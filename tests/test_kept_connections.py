"""Connections to a receiver that are used again: quick in a burst, never at the price of a request or answer."""

import asyncio
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.callbacks.exchanges import Delivery
from suno_cover_cli.callbacks.sending.delivery import ANSWER_S, CallbackSender
from suno_cover_cli.callbacks.sending.targets import Target
from tests.listen_fixtures import listening
from tests.listener_fixtures import PATIENCE_S, callback_body

Serving = Callable[["Receiver", int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Receiver:
    """A receiver of sockets alone. Its connections are numbered from 1.

    Attributes:
        seen: First line, body and connection of each request, in the order they were read.
        heads: All of their heads.
        connections: How many were opened.
        ended: Those that are over.
        port: Where it is.
        writers: By connection.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.ended: set[int] = set()
        self.writers: dict[int, asyncio.StreamWriter] = {}
        self._has_news = asyncio.Condition()
        self.seen: list[tuple[str, bytes, int]] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0

    @property
    def times_seen(self) -> Counter[bytes]:
        """How often each body came."""
        return Counter(body for _, body, _ in self.seen)

    async def read(self, number: int, reader: asyncio.StreamReader) -> bytes | None:
        """Read one request from a connection; return its body, or ``None`` where the connection was closed."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
        self.heads.append(head)
        self.seen.append((head.split(b"\r\n")[0].decode(), body, number))
        return body

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, and close it."""
        self.connections += 1
        number = self.connections
        self.writers[number] = writer
        try:
            await self._serving(self, number, reader, writer)
        finally:
            writer.close()
            self.ended.add(number)
            async with self._has_news:
                self._has_news.notify_all()

    async def wait_ended(self, number: int) -> None:
        """Wait until a connection is over."""
        async with asyncio.timeout(PATIENCE_S), self._has_news:
            await self._has_news.wait_for(lambda: number in self.ended)

    async def start(self, port: int = 0) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self.accept, "127.0.0.1", port, backlog=500)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Listen no more, and close all connections."""
        self._server.close()
        for writer in self.writers.values():
            writer.close()


@asynccontextmanager
async def receiving(serving: Serving, port: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver that serves each connection like this."""
    receiver = Receiver(serving)
    await receiver.start(port)
    try:
        yield receiver
    finally:
        receiver.stop()


def sending_to(receiver: Receiver, timeout_s: float = ANSWER_S) -> CallbackSender:
    """Make what sends to a receiver."""
    target = Target(f"http://127.0.0.1:{receiver.port}/hook")
    return CallbackSender(target, clock=SystemClock(), timeout_s=timeout_s)


def saying(*answers: bytes) -> Serving:
    """Answer each request of a connection that the client keeps open with these pieces."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while await receiver.read(number, reader) is not None:
            for piece in answers:
                writer.write(piece)

    return serve


@asynccontextmanager
async def keeping(receiver: Receiver, timeout_s: float = ANSWER_S) -> AsyncIterator[CallbackSender]:
    """Send to a receiver until connections to it are kept."""
    async with sending_to(receiver, timeout_s) as sender:
        for _ in range(2):
            assert (await sender.deliver(b"before", ())).is_accepted
        await receiver.wait_ended(receiver.connections)
        yield sender


async def send_all(sender: CallbackSender, bodies: Iterable[bytes], at_once: int) -> list[Delivery]:
    """Send bodies, so many under way at once."""
    left = iter(bodies)

    async def send() -> list[Delivery]:
        return [await sender.deliver(body, ()) for body in left]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send()) for _ in range(at_once)]
    return [delivery for task in tasks for delivery in task.result()]


def numbered(many: int) -> list[bytes]:
    """Make bodies that differ."""
    return [b"body %d" % n for n in range(many)]


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut a connection."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# --- quick in a burst ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize(
    "answer", [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]
)
async def test_a_burst_takes_few_connections(at_once: int, answer: bytes) -> None:
    """Hundreds of requests in a row use the same connections, and each arrives once."""
    async with receiving(saying(answer)) as receiver, keeping(receiver) as sender:
        before = receiver.connections
        deliveries = await send_all(sender, numbered(400), at_once)
    assert {(delivery.status, delivery.body) for delivery in deliveries} == {(200, b"ok")}
    assert set(receiver.times_seen.values()) == {1, 2}
    assert receiver.times_seen.pop(b"before") == 2
    # A machine that stands still for a tenth of a second costs new ones.
    assert at_once <= receiver.connections - before <= 40


async def test_after_a_pause_a_request_has_a_connection_of_its_own() -> None:
    """A connection that is not used again at once is closed, so who clicks now and then meets no old one."""
    async with receiving(saying(OK)) as receiver, keeping(receiver) as sender:
        numbers = []
        for _ in range(3):
            assert (await sender.deliver(b"x", ())).is_accepted
            numbers.append(receiver.connections)
            await receiver.wait_ended(receiver.connections)
    assert numbers == [3, 4, 5]


async def test_a_receiver_is_tried_before_connections_to_it_are_kept() -> None:
    """While one connection is on trial it carries nothing, and the other requests ask for theirs to be closed."""
    async with receiving(saying(OK)) as receiver, sending_to(receiver) as sender:
        for body in numbered(5):
            assert (await sender.deliver(body, ())).is_accepted
    assert [b"Connection: close" in head for head in receiver.heads] == [True, False, True, True, True]
    assert [number for _, _, number in receiver.seen] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("query", ["", "songId=a%2Fb&x=%20+&y=|"])
@pytest.mark.parametrize("extra", [(), (("Host", "app.example"), ("X-Lower", "caf\xe9"))])
@pytest.mark.parametrize(
    ("method", "body"),
    [("POST", b"{}"), ("POST", b""), ("GET", b""), ("PUT", b"x" * 60_000), ("DELETE", b""), ("Odd", b"x")],
)
async def test_a_request_is_the_same_on_a_kept_connection(
    method: str, body: bytes, extra: tuple[tuple[str, str], ...], query: str
) -> None:
    """What goes out does not depend on the connection, but for the word that a connection ends with it."""
    sent = (("content-type", "a/b"), ("X-Twice", "1"), ("X-Twice", "2"), ("Transfer-Encoding", "chunked"))
    target = "http://127.0.0.1:{}/hook?own=%41"
    async with receiving(saying(OK)) as receiver:
        url = target.format(receiver.port)
        async with CallbackSender(Target(url), clock=SystemClock(), headers=extra) as alone:
            assert (await alone.deliver(body, sent, method=method, query=query)).is_accepted
        async with CallbackSender(Target(url), clock=SystemClock(), headers=extra) as sender:
            for _ in range(2):
                await sender.deliver(b"before", ())
            await receiver.wait_ended(receiver.connections)
            await sender.deliver(b"before", ())
            connections = receiver.connections
            assert (await sender.deliver(body, sent, method=method, query=query)).is_accepted
            assert receiver.connections == connections
    ended = b"Connection: close\r\n"
    assert receiver.heads[-1] == receiver.heads[0].replace(ended, b"")
    assert ended in receiver.heads[0]
    assert receiver.seen[-1][:2] == receiver.seen[0][:2] == (receiver.seen[0][0], body)
    assert receiver.seen[0][0].startswith(f"{method} /hook?own=%41")


# --- nothing is lost or sent twice -----------------------------------------------------------------------------


def closing_after(answers: int, delay_s: float = 0.0) -> Serving:
    """Close each connection after so many answers, without saying so."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for _ in range(answers):
            if await receiver.read(number, reader) is None:
                return
            writer.write(OK)
        await asyncio.sleep(delay_s)

    return serve


@pytest.mark.parametrize("at_once", [1, 300])
@pytest.mark.parametrize("serving", [closing_after(1), closing_after(1, 0.005)], ids=["at once", "after 5 ms"])
async def test_a_receiver_that_hangs_up_after_each_answer_gets_all_once(at_once: int, serving: Serving) -> None:
    """A receiver that closes without saying so never has a request lost, nor one twice."""
    async with receiving(serving) as receiver, sending_to(receiver) as sender:
        deliveries = [*await send_all(sender, numbered(300), at_once), await sender.deliver(b"late", ())]
    assert {(delivery.status, delivery.error) for delivery in deliveries} == {(200, "")}
    assert receiver.times_seen == Counter([*numbered(300), b"late"])


async def test_a_receiver_that_begins_to_hang_up_is_given_no_more_kept_connections() -> None:
    """Behind a receiver that closes what was kept, each later request has its own, and all are answered."""
    async with receiving(closing_after(3)) as receiver, keeping(receiver) as sender:
        deliveries = await send_all(sender, numbered(100), 1)
        last = [number for _, _, number in receiver.seen[-20:]]
    assert {delivery.status for delivery in deliveries} == {200}
    assert set(receiver.times_seen) == {b"before", *numbered(100)}
    assert len(set(last)) == len(last)


async def test_a_receiver_that_was_started_again_gets_the_next_request() -> None:
    """Stopped and started on the same port between two requests, it gets each of them once."""
    async with receiving(saying(OK)) as first, keeping(first) as sender:
        assert (await sender.deliver(b"one", ())).is_accepted
        first.stop()
        async with receiving(saying(OK), first.port) as second:
            delivery = await sender.deliver(b"two", ())
            assert delivery.is_accepted, delivery
    assert (first.times_seen[b"two"], second.times_seen) == (0, Counter([b"two"]))


def hanging_up(pieces: bytes, *, is_cut: bool = False) -> Serving:
    """Be polite until a body is ``odd``: then say this much, and hang up."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while (body := await receiver.read(number, reader)) is not None:
            if body == b"odd":
                writer.write(pieces)
                await writer.drain()
                if is_cut:
                    reset(writer)
                return
            writer.write(OK)

    return serve


@pytest.mark.parametrize("is_cut", [False, True], ids=["closed", "reset"])
async def test_what_is_lost_without_a_word_on_a_kept_connection_is_sent_once_more(is_cut: bool) -> None:
    """It may never have been read. On a connection of its own it is not repeated, nor is anything after that."""
    async with receiving(hanging_up(b"", is_cut=is_cut)) as receiver, keeping(receiver) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        assert (await sender.deliver(b"odd", ())).error.startswith("cut the conn" if is_cut else "hung up without")
        *_, (_, _, first), (_, _, second) = receiver.seen
        assert receiver.times_seen[b"odd"] == 2
        assert (first, second) == (3, 4)
        await sender.deliver(b"odd", ())
        assert receiver.times_seen[b"odd"] == 3
        assert len({number for _, _, number in receiver.seen[-3:]}) == 3


@pytest.mark.parametrize(
    ("begun", "words"),
    [
        (b"HTTP/1.1 20", "hung up in the middle of its headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "hung up without an answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            "answered 200, but its answer broke off after 4 bytes",
        ),
    ],
)
async def test_what_was_answered_in_part_is_not_sent_again(begun: bytes, words: str) -> None:
    """Who answered something has read the request: it is not repeated, on whatever connection it was."""
    async with receiving(hanging_up(begun)) as receiver, keeping(receiver) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        assert (await sender.deliver(b"odd", ())).error == words
    assert receiver.times_seen[b"odd"] == 1
    assert receiver.seen[-1][2] == receiver.seen[-2][2]


@pytest.mark.parametrize("is_cut", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("body", [b"", b"odd"])
async def test_a_receiver_that_hangs_up_sees_a_request_once(method: str, body: bytes, is_cut: bool) -> None:
    """A handler that crashes is asked once, whatever the method: asking again may do harm, and hides the crash."""

    async def crash(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await receiver.read(number, reader)
        if is_cut:
            reset(writer)

    async with receiving(crash) as receiver, sending_to(receiver) as sender:
        delivery = await sender.deliver(body, (), method=method)
    assert [line for line, _, _ in receiver.seen] == [f"{method} /hook HTTP/1.1"]
    assert delivery.error.startswith("cut the connection (" if is_cut else "hung up without an answer")


@pytest.mark.parametrize("is_cut", [False, True], ids=["closed", "reset"])
async def test_who_never_said_a_byte_may_want_tls(is_cut: bool) -> None:
    """Of a receiver that answered before, and of one that began to answer, it is not asked."""
    asked = "its log may say why; does it want https://?"
    async with receiving(hanging_up(b"", is_cut=is_cut)) as receiver, sending_to(receiver) as sender:
        assert (await sender.deliver(b"odd", ())).advice == asked
        assert (await sender.deliver(b"plain", ())).is_accepted
        assert (await sender.deliver(b"odd", ())).advice == "its log may say why"
    async with receiving(hanging_up(b"HTTP/1.1 20", is_cut=is_cut)) as receiver, sending_to(receiver) as sender:
        assert (await sender.deliver(b"odd", ())).advice == "its log may say why"


# --- nothing is mixed up ---------------------------------------------------------------------------------------


def with_surplus(surplus: bytes, delay_s: float | None) -> Serving:
    """Answer, and say more than was announced, in the same breath or a little later."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while await receiver.read(number, reader) is not None:
            if delay_s is None:
                writer.write(OK + surplus)
            else:
                writer.write(OK)
                await asyncio.sleep(delay_s)
                writer.write(surplus)

    return serve


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.003, 0.03])
@pytest.mark.parametrize(
    "surplus", [b"xx", b"\r\n", b"line\r\n\r\n", b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"]
)
async def test_more_than_was_announced_spoils_no_later_answer(surplus: bytes, delay_s: float | None) -> None:
    """What a receiver says after an answer, at once or some time later, is taken for no other answer."""
    async with receiving(with_surplus(surplus, delay_s)) as receiver, sending_to(receiver) as sender:
        deliveries = await send_all(sender, numbered(200), 1)
        deliveries += await send_all(sender, numbered(200), 8)
    assert {(delivery.status, delivery.body, delivery.error) for delivery in deliveries} == {(200, b"ok", "")}
    assert set(receiver.times_seen.values()) == {2}


@pytest.mark.parametrize(
    "pieces",
    [
        [b"xx" + OK],
        [b"xx", OK],
        [b"xxHT", OK[2:]],
        [bytes([byte]) for byte in b"xx" + OK],
    ],
)
async def test_what_is_left_of_an_answer_is_cut_from_the_next_one(pieces: list[bytes]) -> None:
    """More of an answer than announced that comes when the next request is under way does not spoil that one's."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while (body := await receiver.read(number, reader)) is not None:
            for piece in pieces if body == b"odd" else [OK]:
                writer.write(piece)
                await _turns(10)

    async with receiving(serve) as receiver, keeping(receiver) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        delivery = await sender.deliver(b"odd", ())
        assert (delivery.status, delivery.body, receiver.seen[-1][2]) == (200, b"ok", 3)
        assert (await sender.deliver(b"after", ())).is_accepted
    # Such a receiver is given no kept connection again.
    assert (receiver.times_seen[b"odd"], receiver.seen[-1][2]) == (1, 4)


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", b""])
async def test_what_came_before_a_request_is_sent_is_not_its_answer(surplus: bytes) -> None:
    """A connection is looked at before it is used again: what is on it, or its end, has another reason."""
    async with receiving(saying(OK)) as receiver, keeping(receiver) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        number = receiver.writers[3].get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(number)) as wire:
            wire.sendall(surplus)
            if not surplus:
                wire.shutdown(socket.SHUT_WR)
        # The loop has not seen it when the request is sent.
        delivery = await sender.deliver(b"next", ())
    assert (delivery.status, delivery.body) == (200, b"ok")
    assert (receiver.times_seen[b"next"], receiver.seen[-1][2]) == (1, 4)


@pytest.mark.parametrize("pieces", [[b"garbage\r\n\r\n"], [b"x", b"y"] * 3])
async def test_noise_is_named_on_a_kept_connection_too(pieces: list[bytes]) -> None:
    """What is no answer, and is followed by none, is called so, as it is on a connection of its own."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while (body := await receiver.read(number, reader)) is not None:
            for piece in pieces if body == b"odd" else [OK]:
                writer.write(piece)
                await _turns(10)

    async with receiving(serve) as receiver, keeping(receiver, 1.0) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        delivery = await sender.deliver(b"odd", ())
        assert receiver.seen[-1][2] == receiver.seen[-2][2] == 3
    assert (delivery.error, delivery.advice) == (
        "answered with something that is not HTTP",
        "is this the right port?",
    )
    assert receiver.times_seen[b"odd"] == 1


async def _turns(many: int) -> None:
    """Let the sender, which lives in this loop too, take what was written."""
    for _ in range(many):
        await asyncio.sleep(0)


ODD_ANSWERS = {
    "interim": [b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
    "early hints": [b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", OK],
    "no content": [b"HTTP/1.1 204 None\r\n\r\n"],
    "no content, with some": [b"HTTP/1.1 204 None\r\nContent-Length: 2\r\n\r\nok"],
    "no content, with some later": [b"HTTP/1.1 204 None\r\nContent-Length: 2\r\n\r\n", b"ok"],
    "not modified": [b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n"],
    "length twice": [OK.replace(b"\r\n", b"\r\nContent-Length: 2\r\n", 1)],
    "length of many digits": [OK.replace(b": 2", b": " + b"0" * 5000 + b"2")],
    "length beside chunks": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ],
    "two lengths": [OK.replace(b"\r\n", b"\r\nContent-Length: 3\r\n", 1)],
    "longer": [OK + b"ay"],
    "longer, later": [OK, b"ay"],
    "empty": [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    "chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\nX: 1\r\n\r\n"],
    "bad chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok"],
    "byte by byte": [bytes([byte]) for byte in OK],
    "bare line feeds": [OK.replace(b"\r\n", b"\n")],
    "shorter": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"],
    "shorter, in pieces": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"half"],
    "nothing of it": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"],
    "two answers": [OK + OK],
    "until the end": [b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n", b"to the end"],
    "old": [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
    "old, kept": [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"],
    "closing": [OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)],
    "switching": [b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
    "below": [b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"],
    "bad header": [b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"],
    "large": [b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b"x" * 100_000],
    "many fields": [OK.replace(b"\r\n", b"\r\n" + b"X: 1\r\n" * 20_000, 1)],
}


# Only after these a connection is used again: each says where it ends, and ended there.
CLEAR = {"interim", "early hints", "length twice", "empty", "chunks", "byte by byte", "bare line feeds"}
CLEAR |= {"length beside chunks", "length of many digits"}
NO_ANSWERS = {
    "shorter",
    "shorter, in pieces",
    "nothing of it",
    "two lengths",
    "bad chunks",
    "switching",
    "below",
    "bad header",
    "many fields",
}
STATUSES = {name: int(name.startswith("no content")) * 4 + 200 for name in ODD_ANSWERS.keys() - NO_ANSWERS}
STATUSES |= {"not modified": 304, "large": 500}
# They end when the receiver hangs up, and it waits for the sender to do so.
ENDLESS = {"shorter", "shorter, in pieces", "nothing of it", "until the end"}


@pytest.mark.parametrize("name", ODD_ANSWERS)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
async def test_an_odd_answer_is_read_the_same_on_a_kept_connection(name: str, method: str) -> None:
    """However loose an answer, it is what it would be on a connection of its own, and spoils none after it."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while (body := await receiver.read(number, reader)) is not None:
            for piece in ODD_ANSWERS[name] if body == b"odd" else [OK]:
                writer.write(piece)
                await _turns(10)
            if b"Connection: close" in receiver.heads[-1] or (body == b"odd" and name in {"old", "closing"}):
                return

    async with receiving(serve) as receiver, sending_to(receiver) as sender:
        fresh = await sender.deliver(b"odd", (), method=method)
    timeout_s = 1.5 if name in ENDLESS else ANSWER_S
    async with receiving(serve) as receiver, keeping(receiver, timeout_s) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        second = await sender.deliver(b"odd", (), method=method)
        after = [await sender.deliver(b"after", ()) for _ in range(3)]
    if method == "POST":
        assert fresh.answered == STATUSES.get(name)
    assert what_came(second) == what_came(fresh)
    if name not in {"longer, later", "large"} or method == "HEAD":  # it depends on who is first
        is_used_again = receiver.seen[-4][2] == receiver.seen[-3][2]
        assert is_used_again == (name in CLEAR and method == "POST")
    assert [(one.status, one.body) for one in after] == [(200, b"ok")] * 3
    assert receiver.times_seen[b"odd"] == 1


def what_came(delivery: Delivery) -> tuple[object, ...]:
    """Return what a delivery says of the answer, but for the port."""
    return (
        *(delivery.outcome, delivery.status, delivery.headers, delivery.body, delivery.size),
        *(delivery.error, delivery.advice),
    )


@pytest.mark.parametrize(("field", "pause_s"), [(b"Content-Length: 10\r\n", 1.3), (b"", 0.1)])
async def test_a_slow_answer_is_whole_on_a_kept_connection(field: bytes, pause_s: float) -> None:
    """A receiver that gives up where its client says that it sends no more still answers in its own time."""

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while (body := await receiver.read(number, reader)) is not None:
            if body != b"slow":
                writer.write(OK)
                continue
            writer.write(b"HTTP/1.1 200 OK\r\n" + field + b"\r\nfirst")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await reader.read()
                return
            writer.write(b"-rest")
            return

    async with receiving(serve) as receiver, keeping(receiver) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        delivery = await sender.deliver(b"slow", ())
    assert (delivery.status, delivery.body, delivery.error) == (200, b"first-rest", "")
    assert receiver.seen[-1][2] == receiver.seen[-2][2] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address without being set up")
async def test_an_address_that_does_not_answer_holds_up_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host with two addresses the other one is tried soon, on connections to be kept as on others."""
    with socket.socket() as silent, ExitStack() as waiting:
        silent.bind(("127.0.0.2", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        # Once its queue is full, what else is sent to it gets no reply.
        for _ in range(4):
            crowd = waiting.enter_context(socket.socket())
            crowd.settimeout(0)
            crowd.connect_ex(("127.0.0.2", port))

        async def look_up(_: object, port: int, **__: object) -> list[tuple[object, ...]]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
                for host in ("127.0.0.2", "127.0.0.1")
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        async with receiving(saying(OK), port) as receiver:
            target = Target(f"http://two.example:{port}/hook")
            async with CallbackSender(target, clock=SystemClock(), timeout_s=5) as sender:
                for _ in range(3):
                    assert (await sender.deliver(b"x", ())).is_accepted
        assert any(b"Connection: close" not in head for head in receiver.heads)


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_is_lost_at_the_end_does_not_spoil_it(turns: int) -> None:
    """A receiver may cut what was kept just when the sender is done with it."""
    async with receiving(saying(OK)) as receiver, keeping(receiver) as sender:
        assert (await sender.deliver(b"plain", ())).is_accepted
        reset(receiver.writers[receiver.connections])
        await _turns(turns)


# --- receivers that serve one connection at a time -------------------------------------------------------------


def one_at_a_time() -> Serving:
    """Serve a connection until the client closes it, and only then look at the next one."""
    turn = asyncio.Lock()

    async def serve(
        receiver: Receiver, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with turn:
            while await receiver.read(number, reader) is not None:
                writer.write(OK)
                if b"Connection: close" in receiver.heads[-1]:
                    return

    return serve


@pytest.mark.parametrize("is_tried", [False, True], ids=["cold", "after a quiet time"])
async def test_a_receiver_that_serves_one_connection_at_a_time_is_not_held_up(is_tried: bool) -> None:
    """It waits for a kept connection once, in vain; a crowd behind that is not made to wait for each one."""
    async with (
        receiving(one_at_a_time()) as receiver,
        keeping(receiver) if is_tried else sending_to(receiver) as sender,
        asyncio.timeout(5),
    ):
        deliveries = await send_all(sender, numbered(200), 200)
    assert {delivery.status for delivery in deliveries} == {200}
    assert {receiver.times_seen[body] for body in numbered(200)} == {1}


async def test_a_receiver_that_stays_with_one_connection_serves_the_others_in_time() -> None:
    """Under a load that never pauses, the kept connection goes before others wait for more than some answers."""
    async with receiving(one_at_a_time()) as receiver, keeping(receiver) as sender:
        bodies = numbered(600)
        deliveries = await send_all(sender, bodies, 8)
        order = [int(body.split()[1]) for _, body, _ in receiver.seen if body in set(bodies)]
    assert {delivery.status for delivery in deliveries} == {200}
    assert sorted(order) == list(range(600))
    assert max(position - n for position, n in enumerate(order)) < 200


# --- the whole way ---------------------------------------------------------------------------------------------


async def test_no_sender_hears_502_in_a_burst(tmp_path: Path) -> None:
    """Through ``listen --forward-to`` a receiver that hangs up unsaid answers all of a crowd, and each once."""
    bodies = [callback_body(f"task-{n}") for n in range(150)]
    async with (
        receiving(closing_after(1)) as receiver,
        listening(tmp_path, forward_to=[str(receiver.port)]) as run,
    ):
        for some in (bodies[:10], bodies[10:]):
            answers = await asyncio.gather(*(run.post(body) for body in some))
            assert {answer.status for answer in answers} == {200}
    assert receiver.times_seen == Counter(bodies)


async def test_bursts_through_listen_use_connections_again(tmp_path: Path) -> None:
    """``listen`` keeps connections in a burst as well, and gives each request its own at the end of it."""
    async with (
        receiving(saying(OK)) as receiver,
        listening(tmp_path, forward_to=[f"127.0.0.1:{receiver.port}"]) as run,
    ):
        for number in (1, 2):
            await run.post(callback_body())
            await receiver.wait_ended(number)
        for n in range(50):
            assert (await run.post(callback_body(f"task-{n}"))).status == 200
        assert receiver.connections < 30
