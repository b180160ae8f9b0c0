"""The listener's contract: which request gets which answer, and what reaches the inbox."""

import asyncio
import errno
import io
import re
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import pytest

from suno_cover_cli.base.errors import UsageError, explain_bind_error
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.connections import ConnectionLimits
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, Exchange, InboxClosedError
from suno_cover_cli.callbacks.signature import sign
from tests.clocks import ManualClock
from tests.listener_fixtures import (
    IMAGES,
    RECEIVED_BODY,
    TASK,
    callback_body,
    connect,
    new_listener,
    post,
    request_bytes,
)

KEY = WebhookKey(Secret("whk_0123456789"), KIE_SIGNATURE)


async def test_a_callback_is_answered_and_delivered_whole() -> None:
    """A callback gets 200 {"status":"received"} and is delivered with its words, headers and bytes as sent."""
    clock = ManualClock(start=1_700_000_000.0)
    body = callback_body()
    async with new_listener(clock=clock) as listener:
        inbox = listener.open_inbox()
        answer = await post(listener, f"{inbox.path}?try=1", body, headers={"X-From": "service"})
        callback = await inbox.receive()
    content = callback.content
    assert content is not None
    assert (answer.status, answer.body) == (200, RECEIVED_BODY)
    assert answer.headers["Content-Type"] == "application/json"
    assert (callback.n, callback.ts, callback.path) == (1, 1_700_000_000.0, f"{inbox.path}?try=1")
    assert (callback.task_id, content.code, content.message) == (TASK, 200, "success")
    assert (content.image_urls, callback.body, callback.duplicate_of) == (IMAGES, body, None)
    assert (callback.signature, callback.remote) == (SignatureState.UNCHECKED, "127.0.0.1")
    assert ("X-From", "service") in callback.headers
    assert re.fullmatch(r"evt_[0-9a-f]{8}", callback.id)


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD", "DELETE", "OPTIONS"])
async def test_an_unknown_path_is_404(method: str) -> None:
    """A path that was never opened is 404 whatever the method, right beside one that was."""
    async with new_listener() as listener:
        inbox = listener.open_inbox()
        for path in ("/", "/callback", inbox.path[:-1], inbox.path + "0", inbox.path.upper()):
            assert (await post(listener, path, callback_body(), method=method)).status == 404


@pytest.mark.parametrize(
    ("method", "status"),
    [
        *[(method, 200) for method in ("GET", "HEAD", "OPTIONS")],
        *[(method, 405) for method in ("PUT", "PATCH", "DELETE", "TRACE")],
    ],
)
async def test_only_post_is_a_callback(method: str, status: int) -> None:
    """A probe of an open path is answered with 200, other methods with 405; both say what is taken."""
    exchanges: list[Exchange] = []
    async with new_listener(on_exchange=exchanges.append) as listener:
        inbox = listener.open_inbox()
        answer = await post(listener, inbox.path, callback_body() if status == 405 else b"", method=method)
        inbox.close()
        with pytest.raises(InboxClosedError):
            await inbox.receive()
    assert (answer.status, answer.headers["Allow"]) == (status, "POST, GET, HEAD, OPTIONS")
    (exchange,) = exchanges
    assert exchange.request is not None
    assert (exchange.request.method, exchange.request.content) == (method, None)
    assert exchange.reason == f"{method}, not POST"


@pytest.mark.parametrize("body", [b"hello", b"", b"[]", b"\x00" * 5000], ids=["text", "none", "list", "zeros"])
async def test_any_post_to_a_jobs_secret_path_wakes_it(body: bytes) -> None:
    """Where a job waits, a POST that cannot be read is answered with 200 and delivered, with the reason."""
    async with new_listener() as listener:
        inbox = listener.open_inbox()
        answer = await post(listener, inbox.path, body)
        request = await inbox.receive()
    assert (answer.status, answer.body) == (200, RECEIVED_BODY)
    assert (request.body, request.content, bool(request.reason)) == (body, None, True)


async def test_under_a_key_only_a_right_signature_wakes() -> None:
    """With a webhook key a POST that cannot be read cannot be checked: it is 400 and wakes nobody."""
    async with new_listener(webhook_key=KEY) as listener:
        inbox = listener.open_inbox()
        assert (await post(listener, inbox.path, b"hello")).status == 400
        assert (await post(listener, inbox.path, callback_body())).status == 401
        inbox.close()
        with pytest.raises(InboxClosedError):
            await inbox.receive()


async def test_a_body_that_is_too_large_wakes_all_the_same() -> None:
    """What is over 1 MiB is refused with 413 and not read, but it was sent to a secret path."""
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        await wire.send(request_bytes(inbox.path, length=2_000_000))
        assert (await wire.read_answer()).status == 413
        request = await inbox.receive()
    assert (request.reason, request.is_whole) == ("over 1 MiB", False)


@pytest.mark.parametrize(
    "form", ["{path}/", "{path}/?x=1", "http://elsewhere.example{path}", "HTTPS://h{path}/?x"]
)
async def test_a_slash_at_the_end_and_a_whole_url_are_the_same_path(form: str) -> None:
    """Some senders put a slash behind the address, and a request may name a whole URL."""
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        await wire.send(request_bytes(form.format(path=inbox.path), callback_body()))
        assert (await wire.read_answer()).body == RECEIVED_BODY
        assert (await inbox.receive()).task_id == TASK


@pytest.mark.parametrize(
    ("trusts", "told", "remote"),
    [
        (True, ("203.0.113.9",), "203.0.113.9"),
        (True, ("198.51.100.1, 203.0.113.9",), "203.0.113.9"),
        (True, ("198.51.100.1", "2001:db8::1"), "2001:db8::1"),
        (True, ("unknown",), "127.0.0.1"),
        (True, (), "127.0.0.1"),
        (False, ("203.0.113.9",), "127.0.0.1"),
    ],
)
async def test_the_agents_word_for_the_senders_address_counts(
    trusts: bool, told: tuple[str, ...], remote: str
) -> None:
    """Behind the tunnel's agent the last address of X-Forwarded-For is the sender's; else nobody is believed."""
    headers = tuple(f"X-Forwarded-For: {value}" for value in told)
    async with new_listener(trusts_forwarded_for=trusts) as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        await wire.send(request_bytes(inbox.path, callback_body(), headers=headers))
        await wire.read_answer()
        assert (await inbox.receive()).remote == remote


async def test_a_query_of_eight_kibibytes_arrives_whole() -> None:
    """Callback addresses carry tokens: 8 KiB of query are part of the path, as they were sent."""
    query = "token=" + "a" * 8192 + "&b=%20&c=%E9&d=?&e"
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        await wire.send(request_bytes(f"{inbox.path}?{query}", callback_body()))
        assert (await wire.read_answer()).status == 200
        assert (await inbox.receive()).query == query


async def test_a_header_of_twelve_kibibytes_arrives_whole() -> None:
    """A token in a header has as much room as one in a query; what is longer is refused as too long a line."""
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        await wire.send(request_bytes(inbox.path, callback_body(), headers=("X-Token: " + "a" * 12_000,)))
        assert (await wire.read_answer()).status == 200
        assert ("X-Token", "a" * 12_000) in (await inbox.receive()).headers
        await wire.send(request_bytes(inbox.path, callback_body(), headers=("X-Token: " + "a" * 13_000,)))
        assert b"a line of over 12 KiB" in (await wire.read_answer()).body


async def test_a_query_beyond_all_use_says_so() -> None:
    """A line that is too long is 400 with that reason, and counted as such."""
    exchanges: list[Exchange] = []
    async with new_listener(on_exchange=exchanges.append) as listener, connect(listener) as wire:
        await wire.send(request_bytes(f"{listener.open_inbox().path}?{'a' * 13_000}"))
        assert b"a line of over 12 KiB" in (await wire.read_answer()).body
    assert [one.reason for one in exchanges] == ["a line of over 12 KiB"]


class Pieces:
    """The rest of a long answer, in pieces; it may break off."""

    def __init__(self, pieces: list[bytes], *, breaks_off: bool = False) -> None:
        self._pieces = pieces
        self._breaks_off = breaks_off
        self.is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._breaks_off:
            raise ConnectionError("no more")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Note that nobody wants more."""
        self.is_closed = True


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("size", [None, 8], ids=["unknown size", "known size"])
async def test_a_long_answer_goes_out_piece_by_piece(size: int | None, version: str) -> None:
    """With its size, in chunks, or up to the connection's end, as size and version allow; then it is closed."""
    rest = Pieces([b"cd", b"ef", b"gh"])

    async def answer(_: ReceivedRequest, _deserved: Answer) -> Answer:
        return Answer(201, b"ab", ((b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")), rest, size)

    async with new_listener(responder=answer) as listener, connect(listener) as wire:
        request = request_bytes(listener.open_inbox().path, callback_body(), headers=("Connection: close",))
        await wire.send(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        head, _, body = (await wire.read_to_end()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201 ")
    assert head.count(b"Set-Cookie: ") == 2
    is_chunked = size is None and version == "1.1"
    assert (b"Transfer-Encoding: chunked" in head, b"Content-Length: 8" in head) == (is_chunked, size == 8)
    assert body == (b"2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n2\r\ngh\r\n0\r\n\r\n" if is_chunked else b"abcdefgh")
    assert rest.is_closed


async def test_an_answer_that_breaks_off_looks_like_one() -> None:
    """When the rest cannot be had the connection is cut, so that half an answer is not taken for a whole one."""
    exchanges: list[Exchange] = []

    async def answer(_: ReceivedRequest, _deserved: Answer) -> Answer:
        return Answer(200, b"ab", (), Pieces([b"cd"], breaks_off=True), 100)

    async with new_listener(responder=answer, on_exchange=exchanges.append) as listener, connect(listener) as wire:
        await wire.send(request_bytes(listener.open_inbox().path, callback_body()))
        assert not (await wire.read_to_end()).endswith(b"0\r\n\r\n")
    assert [one.is_answer_lost for one in exchanges] == [True]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_over_one_mebibyte_is_413(is_chunked: bool) -> None:
    """One byte above 1 MiB is refused with 413, announced or chunked; exactly 1 MiB is read."""
    body = callback_body()
    fitting = body[:-1] + b" " * (1024 * 1024 - len(body)) + body[-1:]

    async def pieces(data: bytes) -> Any:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    async with new_listener() as listener, aiohttp.ClientSession() as session:
        url = listener.local_url + listener.open_inbox().path
        for data, status in ((fitting, 200), (fitting + b" ", 413)):
            async with session.post(url, data=pieces(data) if is_chunked else io.BytesIO(data)) as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    ("headers", "state", "status"),
    [
        ({"X-Webhook-Timestamp": "1700000000", "X-Webhook-Signature": "@right"}, SignatureState.OK, 200),
        ({"x-webhook-timestamp": "1700000000", "x-webhook-signature": "@right"}, SignatureState.OK, 200),
        ({}, SignatureState.MISSING, 401),
        ({"X-Webhook-Timestamp": "1700000000"}, SignatureState.MISSING, 401),
        ({"X-Webhook-Timestamp": "1700000000", "X-Webhook-Signature": "d3Jvbmc="}, SignatureState.BAD, 401),
        ({"X-Webhook-Timestamp": "1699999000", "X-Webhook-Signature": "@right"}, SignatureState.STALE, 401),
        ({"X-Webhook-Timestamp": "1700001000", "X-Webhook-Signature": "@right"}, SignatureState.STALE, 401),
    ],
)
async def test_with_a_key_only_signed_callbacks_are_taken(
    headers: dict[str, str], state: SignatureState, status: int
) -> None:
    """With a webhook key a wrong, missing or stale signature is 401 and nothing is delivered."""
    if headers.get("X-Webhook-Signature", headers.get("x-webhook-signature")) == "@right":
        stamp = next(iter(headers.values()))
        headers = {name: value.replace("@right", sign(KEY, TASK, stamp)) for name, value in headers.items()}
    exchanges: list[Exchange] = []
    clock = ManualClock(start=1_700_000_000.0)
    async with new_listener(webhook_key=KEY, clock=clock, on_exchange=exchanges.append) as listener:
        inbox = listener.open_inbox()
        answer = await post(listener, inbox.path, callback_body(), headers=headers)
        inbox.close()
        if status == 200:
            assert (await inbox.receive()).signature is state
        with pytest.raises(InboxClosedError):
            await inbox.receive()
    assert answer.status == status
    seen = exchanges[0].request
    assert seen is not None
    assert (seen.signature, seen.task_id, bool(exchanges[0].reason)) == (state, TASK, status != 200)


async def test_the_probe_tells_our_listener_from_others() -> None:
    """A GET of the probe path returns the probe's answer; both are new for every listener."""
    exchanges: list[Exchange] = []
    async with new_listener(on_exchange=exchanges.append) as one, new_listener() as other:
        answer = await post(one, one.probe_path, b"", method="GET")
        assert (answer.status, answer.body.decode()) == (200, one.probe_answer)
        assert (await post(one, other.probe_path, b"", method="GET")).status == 404
        assert exchanges.pop().status == 404
        assert (await post(one, one.probe_path, callback_body())).status == 404
        assert len({one.probe_path, one.probe_answer, other.probe_path, other.probe_answer}) == 4
    assert [exchange.method for exchange in exchanges] == ["POST"]


async def test_entering_means_serving_and_leaving_means_gone() -> None:
    """Inside the context the port answers at once; after it, connections are refused."""
    listener = new_listener()
    async with listener:
        assert (await post(listener, "/", b"")).status == 404
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(listener, "/", b"")


async def test_a_port_in_use_is_a_usage_error_with_the_fix() -> None:
    """A taken port ends in exit 2, names the port, and says which option frees the user."""
    async with new_listener() as first:
        port = urlsplit(first.local_url).port
        with pytest.raises(UsageError, match=f"Port {port} on 127.0.0.1 is in use") as caught:
            await new_listener(port=port).__aenter__()
    assert (caught.value.exit_code, caught.value.code) == (ExitCode.USAGE, "port_in_use")
    assert "--listen-port 0" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "code", "option"),
    [
        ({"host": "192.0.2.1"}, "bad_host", "--listen-host"),
        ({"host": "no-such-host.invalid"}, "bad_host", "--listen-host"),
        ({"port": 70000}, "bad_port", "--listen-port"),
    ],
)
async def test_an_address_that_cannot_be_bound_is_a_usage_error(
    options: dict[str, Any], code: str, option: str
) -> None:
    """An address of another machine, or no address at all, ends in exit 2 and names the option to mend."""
    with pytest.raises(UsageError) as caught:
        await new_listener(**options).__aenter__()
    assert caught.value.code == code
    assert option in caught.value.hint


def test_a_port_that_is_reserved_is_a_usage_error() -> None:
    """A port that only the system's administrator may bind ends in exit 2 with ports that everybody may."""
    error = explain_bind_error(PermissionError(errno.EACCES, "Permission denied"), "127.0.0.1", 80)
    assert (error.code, error.exit_code) == ("port_refused", ExitCode.USAGE)
    assert "above 1023" in error.hint


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "localhost"])  # noqa: S104 -- the point
async def test_the_local_url_works_for_every_host(host: str) -> None:
    """Whatever is bound, the local URL is one that this machine can open."""
    async with new_listener(host=host) as listener:
        answer = await post(listener, listener.probe_path, b"", method="GET")
    assert answer.body.decode() == listener.probe_answer


async def test_the_responder_decides_the_answer() -> None:
    """A responder sees each request with what it would be answered; its status and body go back to the sender."""
    seen: list[tuple[str, int]] = []

    async def answer(request: ReceivedRequest, deserved: Answer) -> Answer:
        seen.append((request.task_id, deserved.status))
        return Answer(202, b'{"mine":true}') if request.task_id else deserved

    async with new_listener(responder=answer) as listener:
        inbox = listener.open_inbox(is_read=False)
        good = await post(listener, inbox.path, callback_body())
        stray = await post(listener, inbox.path, b"no callback")
    assert (good.status, good.body, stray.status) == (202, b'{"mine":true}', 400)
    assert seen == [(TASK, 200), ("", 400)]


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_is_sent_without_one(status: int) -> None:
    """Statuses that forbid a body leave the connection fit for the next request."""

    async def answer(_: ReceivedRequest, _deserved: Answer) -> Answer:
        return Answer(status)

    async with new_listener(responder=answer) as listener, aiohttp.ClientSession() as session:
        url = listener.local_url + listener.open_inbox().path
        for _ in range(2):
            async with session.post(url, data=callback_body()) as reply:
                assert (reply.status, await reply.read()) == (status, b"")
                assert "Content-Length" not in reply.headers


async def test_every_exchange_is_observed() -> None:
    """Strangers are observed with the reason of their refusal, accepted callbacks without one."""
    exchanges: list[Exchange] = []
    async with new_listener(on_exchange=exchanges.append) as listener:
        inbox = listener.open_inbox(is_read=False)
        await post(listener, "/wp-login.php", b"x", headers={"User-Agent": "scanner"})
        await post(listener, inbox.path, b"", method="GET")
        await post(listener, inbox.path, b"[]")
        await post(listener, inbox.path, callback_body())
        async with connect(listener) as wire:
            await wire.send(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert (await wire.read_answer()).status == 400
    assert [(one.method, one.status, bool(one.reason)) for one in exchanges] == [
        ("POST", 404, True),
        ("GET", 200, True),
        ("POST", 400, True),
        ("POST", 200, False),
        ("", 400, True),
    ]
    assert exchanges[0].path == "/wp-login.php"
    assert ("User-Agent", "scanner") in exchanges[0].headers
    assert [one.request.body if one.request else None for one in exchanges] == [
        None,
        b"",
        b"[]",
        callback_body(),
        None,
    ]
    assert all(one.latency_ms >= 0 and not one.is_answer_lost for one in exchanges)


async def test_a_sender_that_hangs_up_has_still_called() -> None:
    """A callback counts even when its sender is gone before the answer's end, and the loss is told."""
    lost: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    asked, gone = asyncio.Event(), asyncio.Event()

    async def answer_late(_: ReceivedRequest, _deserved: Answer) -> Answer:
        asked.set()
        await gone.wait()
        return Answer(200, b" " * 8 * 1024 * 1024)  # more than the kernel takes on credit

    async with new_listener(responder=answer_late, on_exchange=lost.set_result) as listener:
        inbox = listener.open_inbox()
        async with connect(listener) as wire:
            await wire.send(request_bytes(inbox.path, callback_body()))
            await asked.wait()
            wire.hang_up()
        gone.set()
        assert (await inbox.receive()).task_id == TASK
        assert (await lost).is_answer_lost


async def test_a_fault_of_our_own_is_loud() -> None:
    """An error in a responder reaches the event loop's handler, and the sender gets 500 and tries again."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    async def fail(_: ReceivedRequest, _deserved: Answer) -> Answer:
        raise ZeroDivisionError

    async with new_listener(responder=fail) as listener:
        answer = await post(listener, listener.open_inbox().path, callback_body())
    assert answer.status == 500
    assert b"ZeroDivision" not in answer.body
    assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]


async def test_answers_that_are_owed_go_out_at_the_end() -> None:
    """Leaving waits for an answer in the making, and the sender gets it."""
    asked, ready = asyncio.Event(), asyncio.Event()

    async def answer_late(_: ReceivedRequest, _deserved: Answer) -> Answer:
        asked.set()
        await ready.wait()
        return Answer(200, b'{"late":true}')

    listener = new_listener(responder=answer_late)
    async with asyncio.TaskGroup() as group:
        async with listener:
            sending = group.create_task(post(listener, listener.open_inbox().path, callback_body()))
            await asked.wait()
            asyncio.get_running_loop().call_later(0.5, ready.set)
        assert (await sending).body == b'{"late":true}'


async def test_leaving_is_bounded() -> None:
    """An answer that never comes is cut when the closing time is over; half requests and idle ones at once."""
    asked = asyncio.Event()

    async def never(_: ReceivedRequest, _deserved: Answer) -> Answer:
        asked.set()
        await asyncio.Event().wait()
        return Answer()

    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as wires:
        async with new_listener(responder=never, limits=ConnectionLimits(closing_s=0.5)) as listener:
            inbox = listener.open_inbox()
            owed, half, idle = [await wires.enter_async_context(connect(listener)) for _ in range(3)]
            await half.send(request_bytes(inbox.path, b"{", length=100))
            await owed.send(request_bytes(inbox.path, callback_body()))
            await asked.wait()
            began_s = loop.time()
        # Half a second and what a busy machine adds; the responder itself would never end.
        assert loop.time() - began_s < 10
        assert [await wire.read_to_end() for wire in (owed, half, idle)] == [b"", b"", b""]


async def test_leaving_does_not_wait_for_strangers() -> None:
    """With no answer owed, leaving takes no time however many half requests hang about."""
    loop = asyncio.get_running_loop()
    took_s = []
    for _ in range(3):  # the best of three: the machine may be busy
        async with AsyncExitStack() as wires:
            async with new_listener(limits=ConnectionLimits(closing_s=20)) as listener:
                inbox = listener.open_inbox()
                for _ in range(20):
                    wire = await wires.enter_async_context(connect(listener))
                    await wire.send(request_bytes(inbox.path, b"{", length=100))
                assert (await post(listener, "/", b"")).status == 404
                began_s = loop.time()
            took_s.append(loop.time() - began_s)
    assert min(took_s) < 2


async def test_what_has_arrived_is_answered_at_the_end() -> None:
    """A callback whose bytes have come when the listener is left is received, not cut."""
    async with AsyncExitStack() as wires:
        async with new_listener() as listener:
            inbox = listener.open_inbox()
            wire = await wires.enter_async_context(connect(listener))
            await wire.send(request_bytes("/"))
            assert (await wire.read_answer()).status == 404
            await wire.send(request_bytes(inbox.path, callback_body()))
        assert (await wire.read_answer()).body == RECEIVED_BODY
        assert (await inbox.receive()).task_id == TASK
