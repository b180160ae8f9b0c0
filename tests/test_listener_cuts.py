"""Where the bytes of a connection are cut, and where its client stops reading, decides nothing."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, Exchange
from tests.clocks import ManualClock
from tests.listener_fixtures import PATIENCE_S, callback_body, connect, new_listener, request_bytes

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
            await asyncio.sleep(0)
        assert [(await wire.read_answer()).status for _ in _METHODS] == [405] * len(_METHODS)
    assert [(one.method, one.request and one.request.body) for one in seen] == [(name, b"{}") for name in _METHODS]


@pytest.mark.parametrize("pieces", [(b"FO", b"(O"), (b"FO", b"\r\n\r\n"), (b"M" * 64, b"M /")])
async def test_what_begins_like_a_method_and_is_none_is_refused(pieces: tuple[bytes, ...]) -> None:
    """A word that goes on as no method does is refused as soon as that is seen."""
    async with new_listener(clock=ManualClock()) as listener, connect(listener) as wire:
        for piece in pieces:
            await wire.send(piece)
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
    """An answer that takes its time keeps no connection open whose client has stopped reading before."""
    clock, asked, ready = ManualClock(), asyncio.Event(), asyncio.Event()

    async def answer_late() -> Answer:
        asked.set()
        await ready.wait()
        return Answer()

    def respond(request: ReceivedRequest, _: Answer) -> Answer | Coroutine[Any, Any, Answer]:
        # Each is sent together with the others of its turn, all of them more than the kernel takes on credit.
        return answer_late() if request.method == "PUT" else Answer(200, b" " * 16_000)

    async with new_listener(clock=clock, responder=respond) as listener, connect(listener) as wire:
        path = listener.open_inbox("/c", is_read=False).path
        await wire.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode() * 500 + request_bytes(path, method="PUT"))
        await asked.wait()
        ready.set()
        for _ in range(12):
            await asyncio.sleep(0)
            clock.advance(1)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ConnectionError):
                while True:
                    await wire.send(b"x" * 10_000)
