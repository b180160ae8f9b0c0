"""``listen --forward-to``: bytes go on unchanged, the receiver's word goes back, nobody else waits."""

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clocks import ScaledClock
from tests.listen_fixtures import listening, receiving
from tests.listener_fixtures import PATIENCE_S, Reply, callback_body


def unused_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_bytes_and_headers_go_on_unchanged(tmp_path: Path) -> None:
    """The receiver gets the body byte for byte and the sender's headers, its own Host, and no hop-by-hop ones."""
    body = b' {"code" : 200,\r\n"data":{"task_id":"x-1"} }\t'
    headers = {"X-Webhook-Signature": "c2ln", "x-odd-Name": "späße", "Connection": "close, X-Hop", "X-Hop": "1"}
    async with receiving() as receiver, listening(tmp_path, forward_to=[f"{receiver.port}/hook"], count=1) as run:
        answer = await run.post(body, headers={**headers, "Content-Type": "application/json; charset=utf-8"})
        done = await run.wait_ended()
    (request,) = receiver.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /hook HTTP/1.1"
    assert sent == body
    assert f"Host: localhost:{receiver.port}".encode() in lines
    for kept in (
        "X-Webhook-Signature: c2ln",
        "x-odd-Name: späße",
        "Content-Type: application/json; charset=utf-8",
    ):
        assert kept.encode() in lines
    assert not [line for line in lines if line.lower().startswith(b"x-hop")]
    assert (answer.status, answer.body) == (200, b'{"ok":true}')
    forward = done.objects[1]["forward"]
    assert forward["url"] == f"http://localhost:{receiver.port}/hook"
    assert (forward["status"], forward["latency_ms"] > 0) == (200, True)


async def test_a_failing_receivers_answer_goes_back_and_is_shown(tmp_path: Path) -> None:
    """Its status goes back to the sender; the first 500 bytes of what it said are shown, made harmless."""
    said = b"Traceback: \x1b[31m[bold]boom\n" + b"x" * 2000
    async with (
        receiving(500, said) as receiver,
        listening(tmp_path, json=False, forward_to=[str(receiver.port)], count=1) as run,
    ):
        answer = await run.post(callback_body())
        done = await run.wait_ended()
    assert answer.status == 500
    assert "<-- 1 500 in" in done.stdout
    assert "the service would try again after 1, 5 and 15 minutes" in done.stdout
    assert "             | Traceback: [bold]boom\n" in done.stdout
    assert 400 < done.stdout.count("x") < 500


async def test_a_success_other_than_200_is_pointed_out(tmp_path: Path) -> None:
    """204 from the receiver goes back as it is, with the remark that the service wants 200."""
    async with (
        receiving(204, b"") as receiver,
        listening(tmp_path, json=False, forward_to=[str(receiver.port)], count=1) as run,
    ):
        answer = await run.post(callback_body())
        done = await run.wait_ended()
    assert answer.status == 204
    assert "want 200" in done.stdout


async def test_an_unreachable_receiver_is_502(tmp_path: Path) -> None:
    """Nobody there is 502 for the sender, an event all the same, and a question whether it is running."""
    port = unused_port()
    async with listening(tmp_path, json=False, forward_to=[f"127.0.0.1:{port}"], count=1) as run:
        answer = await run.post(callback_body())
        done = await run.wait_ended()
    assert answer.status == 502
    assert "<-- 1 502 in" in done.stdout
    assert "is it running?" in done.stdout


async def test_a_slow_receiver_is_504_and_blocks_nobody(tmp_path: Path) -> None:
    """After 14 s the sender gets 504 with the reason shown; meanwhile others are answered at once."""
    hold = asyncio.Event()
    clock = ScaledClock(20)
    async with (
        receiving(hold=hold) as receiver,
        listening(tmp_path, clock=clock, forward_to=[str(receiver.port)]) as run,
    ):
        slow = [asyncio.ensure_future(run.post(callback_body(f"slow-{n}"))) for n in range(20)]
        async with asyncio.timeout(PATIENCE_S):
            stranger = await run.post(b"{}", path="/elsewhere")
            assert not any(one.done() for one in slow)
            assert {(await one).status for one in slow} == {504}
        hold.set()
        events = await run.wait_events(20)
    assert stranger.status == 404
    assert {(event["answered"], event["forward"]["status"]) for event in events} == {(504, None)}
    assert all(14_000 <= event["forward"]["latency_ms"] < 60_000 for event in events)


async def test_what_waits_for_a_receiver_is_bounded(tmp_path: Path) -> None:
    """A crowd of large callbacks behind a receiver that hangs is told 503 instead of filling the memory."""
    hold = asyncio.Event()
    body = callback_body(x="y" * (1024 * 1024 - 1000))
    waiting: list[asyncio.Future[Reply]] = []
    async with receiving(hold=hold) as receiver, listening(tmp_path, forward_to=[str(receiver.port)]) as run:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(32):
                receiver.has_news.clear()
                waiting.append(asyncio.ensure_future(run.post(body)))
                await receiver.has_news.wait()
            assert (await run.post(body)).status == 503
            hold.set()
            statuses = [(await one).status for one in waiting]
            assert (await run.post(body)).status == 200
    assert statuses == [200] * 32


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2"])
async def test_a_receiver_that_is_the_listener_itself_is_refused(tmp_path: Path, host: str) -> None:
    """Sending on to ourselves, by whichever name, is exit 2 before anything is ready."""
    port = unused_port()
    async with listening(tmp_path, is_ready=False, listen_port=port, forward_to=[f"{host}:{port}"]) as run:
        done = await run.wait_ended()
    assert done.code == 2
    assert [line["type"] for line in done.objects] == ["error", "end"]
    assert done.objects[0]["code"] == "forward_loop"


async def test_a_receiver_that_is_our_public_address_is_refused(tmp_path: Path) -> None:
    """Sending on to the public address that leads to us is refused as well."""
    async with listening(tmp_path) as other:
        port = urlsplit(other.url).port
    public = f"http://127.0.0.1:{port}"
    async with listening(
        tmp_path,
        is_ready=False,
        tunnel=None,
        listen_port=port or 0,
        public_url=public,
        forward_to=[f"{public}/hook"],
    ) as run:
        done = await run.wait_ended()
    assert (done.code, done.objects[0]["code"]) == (2, "forward_loop")


async def test_the_services_own_receiver_sample_is_satisfied(tmp_path: Path) -> None:
    """What arrives at a receiver written after the service's sample reads as the service's own callback would."""
    body = callback_body()
    async with receiving(200, b'{"status":"received"}') as receiver:
        target = f"{receiver.port}/suno-cover-callback"
        async with listening(tmp_path, forward_to=[target], count=1) as run:
            answer = await run.post(body, headers={"Content-Type": "application/json"})
            await run.wait_ended()
    head, _, sent = receiver.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /suno-cover-callback HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/json" in head
    assert {"code", "msg", "data"} == set(json.loads(sent))
    assert (answer.status, answer.body) == (200, b'{"status":"received"}')


async def test_a_further_receiver_that_hangs_uses_up_no_connections(tmp_path: Path) -> None:
    """So many wait for it at most, and the others are left out: the first receiver goes on answering."""
    held: list[asyncio.StreamWriter] = []
    is_over = asyncio.Event()
    said = "was left out: too many requests are waiting for it"

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await is_over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0, backlog=600)
    port = server.sockets[0].getsockname()[1]
    async with server, receiving() as receiver:
        # Slow time: none is given up while a busy machine takes long to send so many.
        clock = ScaledClock(0.1)
        async with listening(tmp_path, clock=clock, forward_to=[str(receiver.port), str(port)]) as run:
            answers = [await run.post(callback_body(f"task-{n}")) for n in range(540)]
            await run.wait_until(lambda: run.stdout.count(said) >= 540 - 512)
            is_over.set()
    assert {answer.status for answer in answers} == {200}
    assert len(held) <= 512
