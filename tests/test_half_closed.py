"""Senders that say they will send nothing more, and wait for their answer: it is owed to them as to any other."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, Exchange
from tests.listen_fixtures import listening, receiving
from tests.listener_fixtures import PATIENCE_S, callback_body, new_listener, request_bytes


class Pieces:
    """The rest of an answer, each piece when it is let go."""

    def __init__(self, pieces: list[bytes], may_go_on: asyncio.Event) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._may_go_on = may_go_on

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        await self._may_go_on.wait()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Be done with it."""


@pytest.mark.parametrize("hangs_up", [False, True])
@pytest.mark.parametrize("is_long", [False, True])
async def test_a_late_answer_reaches_whoever_waits_for_it(is_long: bool, hangs_up: bool) -> None:
    """A sender that only stops sending reads all of a late answer and its end; one that is gone is noticed."""
    asked, may_answer, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen: list[Exchange] = []

    async def answer_late(_: ReceivedRequest, _deserved: Answer) -> Answer:
        asked.set()
        if is_long:
            return Answer(202, b"first, ", (), Pieces([b"second, ", b"x" * 100_000, b"last"], may_answer))
        await may_answer.wait()
        return Answer(202, b"late")

    def note(exchange: Exchange) -> None:
        seen.append(exchange)
        told.set()

    async with new_listener(responder=answer_late, on_exchange=note) as listener, asyncio.timeout(PATIENCE_S):
        address = urlsplit(listener.local_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(request_bytes(listener.open_inbox(is_read=False).path, callback_body()))
        await asked.wait()
        writer.write_eof()
        if hangs_up:
            writer.close()
            await writer.wait_closed()
        for _ in range(20):  # so that the listener, in this loop too, has seen the end
            await asyncio.sleep(0)
        may_answer.set()
        answer = b"" if hangs_up else await reader.read()
        await told.wait()
        writer.close()
    assert [one.is_answer_lost for one in seen] == [hangs_up]
    if not hangs_up:
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert answer.endswith(b"last\r\n0\r\n\r\n" if is_long else b"\r\n\r\nlate")


async def test_all_of_a_pipeline_is_answered_before_the_end() -> None:
    """Several requests that were sent before are answered in turn, then the connection is closed."""
    may_answer = asyncio.Event()

    async def answer_late(_: ReceivedRequest, _deserved: Answer) -> Answer:
        await may_answer.wait()
        return Answer(202, b"late")

    async with new_listener(responder=answer_late) as listener, asyncio.timeout(PATIENCE_S):
        address = urlsplit(listener.local_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(3 * request_bytes(listener.open_inbox(is_read=False).path, callback_body()))
        writer.write_eof()
        for _ in range(20):
            await asyncio.sleep(0)
        may_answer.set()
        assert (await reader.read()).count(b"\r\n\r\nlate") == 3
        writer.close()


async def test_an_answer_that_goes_out_at_the_end_is_reported() -> None:
    """Of several whose answers go out while the listener is left, none is taken for one that was cut off."""
    may_answer = asyncio.Event()
    seen: list[Exchange] = []

    async def answer_late(_: ReceivedRequest, _deserved: Answer) -> Answer:
        await may_answer.wait()
        return Answer(202, b"late")

    async with asyncio.timeout(PATIENCE_S):
        async with new_listener(responder=answer_late, on_exchange=seen.append) as listener:
            address = urlsplit(listener.local_url)
            path = listener.open_inbox(is_read=False).path
            ends = [await asyncio.open_connection(address.hostname, address.port) for _ in range(3)]
            for _, writer in ends:
                writer.write(request_bytes(path, callback_body()))
                writer.write_eof()
            for _ in range(20):
                await asyncio.sleep(0)
            may_answer.set()
        answers = [await reader.read() for reader, _ in ends]
        for _, writer in ends:
            writer.close()
    assert [answer.endswith(b"late") for answer in answers] == [True] * 3
    assert [(one.status, one.is_answer_lost) for one in seen] == [(202, False)] * 3


@pytest.mark.parametrize("delay_s", [None, 0.2], ids=["forwarded", "delayed"])
async def test_listen_answers_a_sender_that_has_stopped_sending(tmp_path: Path, delay_s: float | None) -> None:
    """A delay, or a receiver's time for its answer, costs no sender its own."""
    async with receiving(201) as receiver:
        targets = None if delay_s else [str(receiver.port)]
        async with listening(tmp_path, forward_to=targets, delay_s=delay_s) as run:
            parts = urlsplit(run.url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request_bytes(parts.path, callback_body()))
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
            writer.close()
            (event,) = await run.wait_events(1)
    assert answer.startswith(b"HTTP/1.1 200 " if delay_s else b"HTTP/1.1 201 ")
    assert event["answered"] == (200 if delay_s else 201)
