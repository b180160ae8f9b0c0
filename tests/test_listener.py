"""The listener's contract: which request gets which answer, and what reaches the inbox."""

import asyncio
import errno
import io
import re
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.binding import explain_bind_error
from suno_cover_cli.callbacks.connections import ConnectionLimits
from suno_cover_cli.callbacks.listener import (
    Answer,
    Exchange,
    InboxClosedError,
    ReceivedCallback,
)
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
    assert (answer.status, answer.body) == (200, RECEIVED_BODY)
    assert answer.headers["Content-Type"] == "application/json"
    assert (callback.n, callback.ts, callback.path) == (1, 1_700_000_000.0, f"{inbox.path}?try=1")
    assert (callback.task_id, callback.code, callback.message) == (TASK, 200, "success")
    assert (callback.image_urls, callback.body, callback.duplicate_of) == (IMAGES, body, None)
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


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_only_post_is_a_callback(method: str) -> None:
    """Any other method on an open path is 405 and names POST."""
    async with new_listener() as listener:
        answer = await post(listener, listener.open_inbox().path, b"", method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


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
    seen = exchanges[0].callback
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
    """A responder sees the callback and its status and body go back to the sender."""
    seen: list[ReceivedCallback] = []

    async def answer(callback: ReceivedCallback) -> Answer:
        seen.append(callback)
        return Answer(531 if callback.code == 501 else 202, b'{"mine":true}')

    async with new_listener(responder=answer) as listener:
        inbox = listener.open_inbox()
        good = await post(listener, inbox.path, callback_body())
        bad = await post(listener, inbox.path, callback_body(code=501))
        stray = await post(listener, inbox.path, b"no callback")
    assert (good.status, good.body, bad.status, stray.status) == (202, b'{"mine":true}', 531, 400)
    assert [callback.code for callback in seen] == [200, 501]


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_is_sent_without_one(status: int) -> None:
    """Statuses that forbid a body leave the connection fit for the next request."""

    async def answer(_: ReceivedCallback) -> Answer:
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
        inbox = listener.open_inbox()
        await post(listener, "/wp-login.php", b"x", headers={"User-Agent": "scanner"})
        await post(listener, inbox.path, b"", method="GET")
        await post(listener, inbox.path, b"[]")
        await post(listener, inbox.path, callback_body())
        async with connect(listener) as wire:
            await wire.send(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert (await wire.read_answer()).status == 400
    assert [(one.method, one.status, bool(one.reason)) for one in exchanges] == [
        ("POST", 404, True),
        ("GET", 405, True),
        ("POST", 400, True),
        ("POST", 200, False),
        ("", 400, True),
    ]
    assert exchanges[0].path == "/wp-login.php"
    assert ("User-Agent", "scanner") in exchanges[0].headers
    assert exchanges[2].body == b"[]"
    assert [one.callback is not None for one in exchanges] == [False, False, False, True, False]
    assert all(one.latency_ms >= 0 and not one.is_answer_lost for one in exchanges)


async def test_a_sender_that_hangs_up_has_still_called() -> None:
    """A callback counts even when its sender is gone before the answer's end, and the loss is told."""
    lost: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    asked, gone = asyncio.Event(), asyncio.Event()

    async def answer_late(_: ReceivedCallback) -> Answer:
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

    async def fail(_: ReceivedCallback) -> Answer:
        raise ZeroDivisionError

    async with new_listener(responder=fail) as listener:
        answer = await post(listener, listener.open_inbox().path, callback_body())
    assert answer.status == 500
    assert b"ZeroDivision" not in answer.body
    assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]


async def test_answers_that_are_owed_go_out_at_the_end() -> None:
    """Leaving waits for an answer in the making, and the sender gets it."""
    asked, ready = asyncio.Event(), asyncio.Event()

    async def answer_late(_: ReceivedCallback) -> Answer:
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

    async def never(_: ReceivedCallback) -> Answer:
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
        assert loop.time() - began_s < 0.9
        assert [await wire.read_to_end() for wire in (owed, half, idle)] == [b"", b"", b""]


async def test_leaving_does_not_wait_for_strangers() -> None:
    """With no answer owed, leaving takes no time however many half requests hang about."""
    loop = asyncio.get_running_loop()
    took_s = []
    for _ in range(3):  # the best of three: the machine may be busy
        async with AsyncExitStack() as wires:
            async with new_listener() as listener:
                inbox = listener.open_inbox()
                for _ in range(20):
                    wire = await wires.enter_async_context(connect(listener))
                    await wire.send(request_bytes(inbox.path, b"{", length=100))
                assert (await post(listener, "/", b"")).status == 404
                began_s = loop.time()
            took_s.append(loop.time() - began_s)
    assert min(took_s) < 0.09


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
