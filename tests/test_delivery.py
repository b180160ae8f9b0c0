"""Handing callbacks to a receiver: the bytes, the headers, the time limit, the addresses that are refused."""

import asyncio
import errno
import os
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, Delivery, Outcome
from suno_cover_cli.callbacks.sending.delivery import ANSWER_S, FORWARD_S, CallbackSender, forwarded_headers
from suno_cover_cli.callbacks.sending.targets import Target, parse_target, refuse_loop
from tests.clocks import ScaledClock
from tests.listener_fixtures import PATIENCE_S, TASK, callback_body, new_listener

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], AsyncIterator[bytes]]


class Receiver:
    """A receiver that records the bytes of each request and answers with bytes of the test's choice."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.heads: list[list[str]] = []
        self.bodies: list[bytes] = []
        self.is_hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        length = next(int(line.split(": ")[1]) for line in head if line.lower().startswith("content-length"))
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(length))
        if self._answer is not None:
            writer.write(self._answer)
        else:
            await reader.read()
            self.is_hung_up.set()
        writer.close()


@asynccontextmanager
async def receiver(answer: bytes | None) -> AsyncIterator[tuple[Receiver, str]]:
    """Run a receiver; yield it and its URL."""
    running = Receiver(answer)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    async with server:
        yield running, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=%2F"
        # What the kernel has accepted is a connection of the server some turns of the loop later.
        for _ in range(10):
            await asyncio.sleep(0)


async def deliver(url: str, body: bytes, headers: tuple[tuple[str, str], ...] = (), speed: float = 1) -> Delivery:
    """Deliver once."""
    async with CallbackSender(Target(url), clock=ScaledClock(speed)) as sender:
        return await sender.deliver(body, headers)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine"


@pytest.mark.parametrize("body", [b"", callback_body(), b"\x00\xff not json \r\n", b"x" * 3_000_000])
async def test_bytes_arrive_as_they_were(body: bytes) -> None:
    """A body arrives byte for byte, whatever it is and however large, and the answer comes back."""
    async with receiver(OK) as (running, url):
        delivery = await deliver(url, body)
    assert running.bodies == [body]
    assert running.heads[0][0] == "POST /hook?x=%2F HTTP/1.1"
    assert (delivery.outcome, delivery.status, delivery.body) == (Outcome.ANSWERED, 200, b"fine")
    assert delivery.is_accepted
    assert delivery.error == ""
    assert delivery.latency_ms > 0


async def test_only_the_senders_headers_go_on() -> None:
    """The sender's headers arrive in order, repeated ones too; only what one connection needs is added."""
    headers = (
        ("X-Webhook-Timestamp", "1700000000"),
        ("content-type", "application/json"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("Host", "public.example"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "dropped"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "1"),
        ("Expect", "100-continue"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "Basic x"),
        ("Content-Encoding", "gzip"),
        ("X-Webhook-Signature", "abc="),
    )
    async with receiver(OK) as (running, url):
        await deliver(url, b"body", headers)
    lines = sorted(line.partition(": ")[::2] for line in running.heads[0][1:])
    assert lines == sorted(
        [
            ("Connection", "close"),
            ("Host", urlsplit(url).netloc),
            ("X-Webhook-Timestamp", "1700000000"),
            ("content-type", "application/json"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("Content-Encoding", "gzip"),
            ("X-Webhook-Signature", "abc="),
            ("Content-Length", "4"),
        ]
    )
    assert [name for name, _ in forwarded_headers(headers).items()] == [
        "X-Webhook-Timestamp",
        "content-type",
        "X-Twice",
        "X-Twice",
        "Content-Encoding",
        "X-Webhook-Signature",
    ]


async def test_a_redirect_is_an_answer() -> None:
    """A redirect is reported as the receiver's answer and not followed, as the service would not."""
    answer = (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /hook\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    async with receiver(answer) as (running, url):
        delivery = await deliver(url, b"body")
    assert (delivery.status, delivery.is_accepted, len(running.bodies)) == (307, False, 1)


async def test_a_receiver_that_is_too_slow_is_given_up() -> None:
    """Without an answer in 15 s the delivery has timed out, and the connection is closed."""
    async with receiver(None) as (running, url):
        delivery = await deliver(url, b"body", speed=100)
        await running.is_hung_up.wait()
    assert (delivery.outcome, delivery.status, delivery.error) == (
        Outcome.TIMED_OUT,
        None,
        "no answer within 15 s",
    )
    assert 15_000 <= delivery.latency_ms < 100_000
    assert (ANSWER_S, FORWARD_S) == (15.0, 14.0)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"])
async def test_a_receiver_that_takes_nothing_holds_up_no_end(answer: bytes) -> None:
    """Answered or given up, its connection is cut, and what it never takes keeps neither the end nor memory."""
    is_over = threading.Event()

    def stand_still(server: socket.socket) -> None:
        with server.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(answer)
            is_over.wait(PATIENCE_S)

    with socket.create_server(("127.0.0.1", 0)) as server:
        standing = asyncio.create_task(asyncio.to_thread(stand_still, server))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        try:
            async with asyncio.timeout(PATIENCE_S / 2):
                delivery = await deliver(url, b"x" * 4_000_000, speed=20)
        finally:
            is_over.set()
            await standing
    assert delivery.outcome is (Outcome.ANSWERED if answer else Outcome.TIMED_OUT)
    assert delivery.body == answer[-3:]


@pytest.mark.parametrize("size", [60_000, 4_000_000])
async def test_an_answer_that_comes_before_the_body_was_read_counts(size: int) -> None:
    """Who refuses a body by its length alone, and hangs up, has answered, though the rest cannot be sent."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"

    def refuse(server: socket.socket) -> None:
        for _ in range(20):
            connection = server.accept()[0]
            with connection:
                connection.recv(1000)
                connection.sendall(refusal)

    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = asyncio.create_task(asyncio.to_thread(refuse, server))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        deliveries = [await deliver(url, b"x" * size) for _ in range(20)]
        await refusing
    assert {(delivery.status, delivery.body, delivery.error) for delivery in deliveries} == {(413, b"big", "")}


async def test_an_endless_answer_is_cut() -> None:
    """Of an answer without end 64 KiB are kept, and its status counts."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" + b"a" * 200_000
    async with receiver(answer) as (_, url):
        delivery = await deliver(url, b"body")
    assert (delivery.status, delivery.body) == (200, b"a" * 65536)


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (1000, b"a" * 1000) * 400 + b"0\r\n\r\n"


@pytest.mark.parametrize("framed", [b"Content-Length: 400000\r\n\r\n" + b"a" * 400_000, CHUNKED])
async def test_a_long_answer_that_is_read_slowly_ends(framed: bytes) -> None:
    """However little of an answer its reader takes at once, the end of it is seen when it is there."""
    is_read = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + framed)
        await is_read.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, CallbackSender(Target(url), clock=ScaledClock(10)) as sender:
        _, answer = await sender.relay(b"", (), method="POST", query="")
        assert answer is not None
        assert answer.rest is not None
        body = answer.body
        async for piece in answer.rest:
            body += piece
            for _ in range(20):
                await asyncio.sleep(0)
        await answer.rest.aclose()
        is_read.set()
    assert body == b"a" * 400_000


async def test_chunks_that_are_none_end_an_answer_at_once() -> None:
    """A body that is not framed as its head says is an answer that broke off, and not one to wait for."""
    async with receiver(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok") as (_, url):
        delivery = await deliver(url, b"body")
    assert delivery.error == "answered 200, but its answer broke off after 0 bytes"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", None),
        (b"\x1b[31mno HTTP\r\n\r\n", None),
        (b"HTTP/1.1 101 Other\r\nUpgrade: x\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf", 200),
    ],
    ids=["nothing", "not HTTP", "interim", "half"],
)
async def test_what_is_no_answer_has_failed(answer: bytes, status: int | None) -> None:
    """A receiver that hangs up, speaks something else or breaks off was reached; a clean line says what it did."""
    async with receiver(answer) as (_, url):
        delivery = await deliver(url, b"body")
    assert (delivery.outcome, delivery.status, delivery.is_accepted) == (Outcome.FAILED, status, False)
    assert delivery.answered is None
    assert delivery.error.isprintable()
    assert delivery.error


async def test_nobody_there_is_unreachable() -> None:
    """A refused connection is told as such, at once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        delivery = await deliver(f"http://127.0.0.1:{unused.getsockname()[1]}/", b"body")
    assert delivery.outcome is Outcome.UNREACHABLE
    assert re.fullmatch(rf"cannot reach 127\.0\.0\.1:\d+: {os.strerror(errno.ECONNREFUSED)}", delivery.error)
    assert "127.0.0.1" in delivery.error


async def test_headers_that_cannot_be_sent_are_reported() -> None:
    """A header with a line break in it, from a record that somebody edited, is an outcome and not a crash."""
    async with receiver(OK) as (running, url):
        delivery = await deliver(url, b"body", (("X-Bad", "a\r\nInjected: b"),))
    assert (delivery.outcome, running.heads) == (Outcome.UNREACHABLE, [])


async def test_a_proxy_does_not_come_between_this_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HTTP_PROXY set a receiver on loopback is still reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with receiver(OK) as (_, url):
        assert (await deliver(url, b"body")).is_accepted
    delivery = await deliver("http://receiver.invalid/", b"body")
    assert "127.0.0.1:1" in delivery.error


async def test_a_replayed_callback_is_the_same_callback() -> None:
    """What one listener received and another gets from it have the same body, headers and signature."""
    async with new_listener() as first, new_listener() as second:
        one, other = first.open_inbox(), second.open_inbox()
        headers = (("Content-Type", "application/json"), ("X-Webhook-Signature", "abc="), ("x-Lower", "caf\xe9"))
        await deliver(first.local_url + one.path, callback_body(), headers)
        received = await one.receive()
        await deliver(second.local_url + other.path, received.body, received.headers)
        again = await other.receive()
    assert (again.body, again.task_id) == (received.body, TASK)
    assert set(headers) <= set(again.headers)
    assert [pair for pair in again.headers if pair[0] != "Host"] == [
        pair for pair in received.headers if pair[0] != "Host"
    ]


async def test_many_deliveries_at_once_do_not_wait_for_each_other() -> None:
    """A receiver that is slow with all of a burst still gets the whole burst at once."""
    arrived = asyncio.Semaphore(0)
    ready = asyncio.Event()

    async def answer(_: ReceivedRequest, _deserved: Answer) -> Answer:
        arrived.release()
        await ready.wait()
        return Answer()

    async with new_listener(responder=answer) as listener:
        url = listener.local_url + listener.open_inbox().path
        async with CallbackSender(Target(url), clock=SystemClock()) as sender, asyncio.TaskGroup() as group:
            sending = [group.create_task(sender.deliver(callback_body(f"t{n}"), ())) for n in range(150)]
            for _ in sending:
                await arrived.acquire()
            ready.set()
        assert all(one.result().is_accepted for one in sending)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("3000", "http://localhost:3000/"),
        (":3000", "http://localhost:3000/"),
        ("3000/suno-cover-callback", "http://localhost:3000/suno-cover-callback"),
        (" 3000/a?b=c ", "http://localhost:3000/a?b=c"),
        ("3000?x=1", "http://localhost:3000/?x=1"),
        (":3000?to=me@example.com/a", "http://localhost:3000/?to=me@example.com/a"),
        ("/hook", "http://localhost/hook"),
        ("box:8080", "http://box:8080"),
        ("box.example:8080/hook", "http://box.example:8080/hook"),
        ("10.0.0.1:80/x", "http://10.0.0.1:80/x"),
        ("[::1]:3000/x", "http://[::1]:3000/x"),
        ("https://example.com/a%2Fb", "https://example.com/a%2Fb"),
        ("HTTPS://example.com:8443/a", "https://example.com:8443/a"),
        ("Http://box/a", "http://box/a"),
        ("box:8080/hook?next=http://other/x", "http://box:8080/hook?next=http://other/x"),
        ("http://hook", "http://hook"),
        ("hook:8080", "http://hook:8080"),
        ("hook.internal/x", "http://hook.internal/x"),
        ("localhost", "http://localhost"),
        ("LOCALHOST/hook", "http://LOCALHOST/hook"),
        ("localhost?a=b", "http://localhost?a=b"),
    ],
)
def test_every_short_form_means_a_url(text: str, url: str) -> None:
    """A port, a port and path, a path, a host and port and a URL each mean the receiver one expects."""
    assert parse_target(text) == Target(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "70000",
        "0",
        "ftp://a/b",
        "http://",
        "http://[",
        "http://a b/",
        "http://a/\x1b[31m",
        "http://a:99999/",
        "http://a/#part",
        "3000/caf\xe9",
        "http://user:pass@",
        "http://user:pass@a b/",
        "http://user:pass@a/#x",
        "user:pass@host:99999/",
        "70000?x=1",
        "0?x=1",
        "host:3000?to=me@example.com",
        "user:pass?word@host:3000/",
        "http://user:sla/pass@host:3000/",
        "user:sla://pass@host:3000/",
        "user:sla/pass@host:3000/hook",
        "https://user:sla/sh/pass@host",
        "300000",
        "300000/hook",
    ],
)
def test_what_means_no_receiver_is_a_usage_error(text: str) -> None:
    """Anything else ends in exit 2 with the forms that would do, and never shows a password."""
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert (caught.value.exit_code, caught.value.code) == (ExitCode.USAGE, "bad_target")
    assert caught.value.hint
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("text", ["hook", " hook ", "hook/path", "hook?a=b", "localhosts", "on", "a_b"])
def test_a_lone_word_is_not_a_receiver(text: str) -> None:
    """A word without a port, a dot or a scheme ends in exit 2, with the port and the address that would do."""
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert (caught.value.exit_code, caught.value.code) == (ExitCode.USAGE, "bad_target")
    word = re.split("[/?]", text.strip())[0]
    assert f"3000, or the host as http://{word}:8080/path" in caught.value.hint
    assert parse_target(f"http://{word}:8080/path").url == f"http://{word}:8080/path"


@pytest.mark.parametrize("form", ["3000/hook?key=", "http://user:pass@host/hook?key=", "/hook?key="])
def test_an_address_beyond_8_kib_is_a_usage_error(form: str) -> None:
    """8 KiB are an address; one more character is refused before anything listens, and nothing of it is quoted."""
    longest = form + "k" * (8 * 1024 - len(form))
    assert parse_target(longest).url.endswith(longest[-8000:])
    with pytest.raises(UsageError) as caught:
        parse_target(f"{longest}k")
    assert (caught.value.exit_code, caught.value.code) == (ExitCode.USAGE, "bad_target")
    assert "8,193 characters" in str(caught.value)
    assert "--header" in caught.value.hint
    assert not any(part in f"{caught.value}{caught.value.hint}" for part in ("pass@", "hook", "kkk"))


def test_a_login_makes_a_word_a_host() -> None:
    """Who writes a user and a password means a host, which needs no port then."""
    target = parse_target("user:pass@hook/path")
    assert target.url == "http://hook/path"
    assert target.login is not None
    assert target.login.reveal() == "user:pass"


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/x",
        "http://localhost:{port}/",
        "http://0.0.0.0:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://127.1.2.3:{port}/",
        "{machine}",
        "https://Mine.example/callback",
        "https://mine.example:443/",
    ],
)
async def test_the_listener_itself_is_no_receiver(target: str) -> None:
    """Forwarding to the listener, by any of its addresses or its public one, ends in exit 2."""
    machine = f"http://{socket.gethostname()}:45678/"
    with pytest.raises(UsageError) as caught:
        await refuse_loop(
            target.format(port=45678, machine=machine),
            local_url="http://127.0.0.1:45678",
            public_url="https://mine.example",
        )
    assert (caught.value.code, caught.value.exit_code) == ("forward_loop", ExitCode.USAGE)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:45679/x",
        "http://192.0.2.1:45678/",
        "http://no-such-host.invalid:45678/",
        "https://mine.example:8443/",
        "https://yours.example/",
    ],
)
async def test_another_program_is_a_receiver(target: str) -> None:
    """Another port, another machine and a name that leads nowhere are not the listener."""
    await refuse_loop(target, local_url="http://127.0.0.1:45678", public_url="https://mine.example")
    await refuse_loop(target, local_url="http://127.0.0.1:45678", public_url=None)


def test_a_raw_number_sign_stays_part_of_the_query() -> None:
    """What follows a raw ``#`` in a request's query reaches the receiver, and does not end its address."""
    assert Target("http://h/x").with_query("a=1#b&c=2") == "http://h/x?a=1%23b&c=2"


@pytest.mark.skipif(sys.platform == "win32", reason="its processes have no such limit")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "receiver.invalid"])
@pytest.mark.parametrize("is_proxied", [False, True])
async def test_no_free_descriptors_are_not_blamed_on_the_receiver(
    host: str, is_proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this process can open no connection any more, that is said, and not that the receiver may be down."""
    import resource

    target = parse_target(f"http://{host}:9/hook")
    if is_proxied:
        monkeypatch.setenv("HTTP_PROXY", f"http://{host}:9")
        target = parse_target("http://receiver.example/hook")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with CallbackSender(target, clock=SystemClock()) as sender:
        if host == "127.0.0.1":
            await sender.deliver(b"{}", ())  # what loads late, loads now; but a name would be known then
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            delivery = await sender.deliver(b"{}", ())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (delivery.outcome, delivery.status) == (Outcome.UNREACHABLE, None)
    assert delivery.error == "was not asked: this process has no free file descriptors"
    assert delivery.advice == "ulimit -n raises the limit"
