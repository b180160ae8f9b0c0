"""The sandbox's callbacks: what they say, how they are signed, when they come again, and where they never go."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.sandbox.callback_sender import LoopbackResolver, is_loopback_host
from suno_cover_cli.sandbox.jobs import SandboxJob
from tests.sandbox_fixtures import Receiver, WatchedClock, serving


def only_job(sandbox: Sandbox) -> SandboxJob:
    """Return the one job that was made."""
    (job,) = sandbox.jobs.values()
    return job


async def test_success() -> None:
    """When a job ends, its receiver is told task id and images, and record-info says the same by then."""
    async with Receiver() as receiver, serving(generation_s=0.01) as (sandbox, client):
        task_id = await client.make("m", receiver.url)
        (call,) = await receiver.wait_for(1)
        urls = await client.image_urls(task_id)
    assert call.payload == {"code": 200, "msg": "success", "data": {"taskId": task_id, "images": urls}}
    assert call.headers["Content-Type"] == "application/json"
    assert only_job(sandbox).callbacks[0].status == 200


class HastyClock(WatchedClock):
    """A clock whose sleepers wake too early, as timers may."""

    async def sleep(self, delay_s: float) -> None:
        """Sleep a tenth less than asked."""
        await super().sleep(delay_s * 0.9)


async def test_callbacks_never_run_ahead() -> None:
    """A job that is announced as ended is ended for record-info too, even if a timer fired early."""
    clock = HastyClock()
    async with Receiver() as receiver, serving(generation_s=100, clock=clock) as (_, client):
        task_id = await client.make("m", receiver.url)
        await clock.pass_sleep(90)
        await receiver.wait_for(1)
        data = (await client.read(task_id)).data
        assert (data["successFlag"], data["completeTime"] - data["createTime"]) == (1, 90_000)


async def test_failure() -> None:
    """A failure is told with its code and null images."""
    async with Receiver() as receiver, serving(generation_s=0) as (_, client):
        task_id = await client.make("sandbox-failed-501", receiver.url)
        (call,) = await receiver.wait_for(1)
    assert call.payload["code"] == 501
    assert call.payload["data"] == {"taskId": task_id, "images": None}


async def test_retry_schedule() -> None:
    """A callback nobody acknowledges comes again after 1, 5 and 15 minutes, and then no more."""
    clock = WatchedClock()
    async with Receiver(500) as receiver, serving(generation_s=30, clock=clock) as (sandbox, client):
        await client.make("m", receiver.url)
        for count, pause_s in enumerate((30, 60, 300, 900), start=1):
            await clock.pass_sleep(pause_s)
            await receiver.wait_for(count)
        await sandbox.wait_settled(only_job(sandbox).task_id)
        clock.advance(100_000)
        assert [attempt.status for attempt in only_job(sandbox).callbacks] == [500] * 4
    assert len({call.body for call in receiver.calls}) == 1
    assert clock.delays == []


async def test_retries_stop() -> None:
    """Retries stop as soon as one is acknowledged."""
    clock = WatchedClock()
    async with Receiver(503, 200) as receiver, serving(generation_s=0, clock=clock) as (sandbox, client):
        await client.make("m", receiver.url)
        await clock.pass_sleep(60)
        await receiver.wait_for(2)
        await sandbox.wait_settled(only_job(sandbox).task_id)
        assert [attempt.status for attempt in only_job(sandbox).callbacks] == [503, 200]
        assert clock.delays == []


async def test_time_scale() -> None:
    """The time scale divides the pauses between tries."""
    clock = WatchedClock()
    async with Receiver(500) as receiver, serving(generation_s=0, time_scale=60, clock=clock) as (_, client):
        await client.make("m", receiver.url)
        for count, pause_s in enumerate((1, 5, 15), start=2):
            await clock.pass_sleep(pause_s)
            await receiver.wait_for(count)


async def test_silent_receiver() -> None:
    """A receiver that does not answer in time counts as failed, and is tried again."""
    clock = WatchedClock()
    held = asyncio.Event()

    async def hold(_: web.BaseRequest) -> web.Response:
        await held.wait()
        return web.Response()

    runner = web.ServerRunner(web.Server(hold), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with serving(generation_s=0, time_scale=1000, clock=clock) as (sandbox, client):
            began_s = time.monotonic()
            await client.make("m", f"http://127.0.0.1:{runner.addresses[0][1]}/")
            await clock.wait_for_sleep(0.06)
            # However the time is scaled, a receiver has a second.
            assert time.monotonic() - began_s >= 0.9
            (attempt,) = only_job(sandbox).callbacks
            assert (attempt.status, attempt.error.split(":")[0]) == (0, "TimeoutError")
            held.set()
    finally:
        await runner.cleanup()


async def test_nobody_listens() -> None:
    """A receiver that is gone counts as failed, and is tried again."""
    clock = WatchedClock()
    async with Receiver() as receiver:
        url = receiver.url
    async with serving(generation_s=0, clock=clock) as (sandbox, client):
        await client.make("m", url)
        await clock.wait_for_sleep(60)
        assert only_job(sandbox).callbacks[0].status == 0


async def test_redirects_are_failures() -> None:
    """A redirect is not followed; it is no acknowledgement."""
    clock = WatchedClock()
    async with Receiver() as other, Receiver(302, location=other.url) as receiver:
        async with serving(generation_s=0, clock=clock) as (sandbox, client):
            await client.make("m", receiver.url)
            await clock.wait_for_sleep(60)
            assert only_job(sandbox).callbacks[0].status == 302
        assert (len(receiver.calls), other.calls) == (1, [])


# --- where they go ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("tunnel.localhost", True),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("example.com", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),  # noqa: S104 -- an address to be refused, not one to bind
        ("::ffff:10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_hosts(host: str, is_loopback: bool) -> None:
    """Only loopback addresses and localhost names mean this machine."""
    assert is_loopback_host(host) == is_loopback


@pytest.mark.parametrize(("allowed", "attempts"), [(False, 1), (True, 4)])
async def test_other_machines(allowed: bool, attempts: int) -> None:
    """Callbacks to other machines are dropped at once unless they are allowed; then they are tried like any."""
    async with serving(generation_s=0, time_scale=1e9, allow_remote_callbacks=allowed) as (sandbox, client):
        # Port 0 of an address for documentation: nothing is sent even where sending is allowed.
        await client.make("m", "http://192.0.2.1:0/callback")
        await sandbox.wait_settled(only_job(sandbox).task_id)
        tried = only_job(sandbox).callbacks
    assert len(tried) == attempts
    assert {"not on loopback" in attempt.error for attempt in tried} == {not allowed}


async def test_resolver_knows_no_other_names() -> None:
    """The resolver of callbacks has no answer for another machine's name, whoever asks it."""
    with pytest.raises(OSError, match="not on loopback"):
        await LoopbackResolver().resolve("example.com", 80)


async def test_localhost_names() -> None:
    """A name under localhost is reached without asking a name server."""
    async with Receiver() as receiver, serving(generation_s=0) as (_, client):
        await client.make("m", receiver.url.replace("127.0.0.1", "tunnel.localhost"))
        await receiver.wait_for(1)


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks go over TLS to a receiver whose authority SSL_CERT_FILE names, and to no other."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for trusted in (False, True):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        clock = WatchedClock()
        async with Receiver(tls=context) as receiver, serving(generation_s=0, clock=clock) as (sandbox, client):
            await client.make("m", receiver.url)
            await (receiver.wait_for(1) if trusted else clock.wait_for_sleep(60))
            assert len(receiver.calls) == trusted
            assert trusted or "certificate" in only_job(sandbox).callbacks[0].error.lower()


# --- scripted callbacks -------------------------------------------------------------------------------


async def test_early() -> None:
    """The early callback is there before the submit has been answered, and the record is done by then."""
    async with Receiver() as receiver, serving(generation_s=1000) as (_, client):
        task_id = await client.make("sandbox-callback-early", receiver.url)
        assert len(receiver.calls) == 1
        assert (await client.read(task_id)).data["successFlag"] == 1


async def test_twice() -> None:
    """The doubled callback comes again 50 ms after the first, word for word."""
    clock = WatchedClock()
    async with Receiver() as receiver, serving(generation_s=0, clock=clock) as (_, client):
        await client.make("sandbox-callback-twice", receiver.url)
        await clock.pass_sleep(0.05)
        first, second = await receiver.wait_for(2)
    assert first.body == second.body


async def test_late() -> None:
    """The late callback comes ten minutes after record-info has told the end."""
    clock = WatchedClock()
    async with Receiver() as receiver, serving(generation_s=30, clock=clock) as (_, client):
        task_id = await client.make("sandbox-callback-late", receiver.url)
        await clock.pass_sleep(30)
        await clock.wait_for_sleep(600)
        assert (await client.read(task_id)).data["successFlag"] == 1
        assert receiver.calls == []
        clock.advance(600)
        await receiver.wait_for(1)


@pytest.mark.parametrize(
    ("scenario", "code", "images"),
    [
        ("callback-forged", 200, ["https://evil.invalid/x.png"]),
        ("callback-forged-failure", 501, None),
        ("callback-other-task", 200, ["https://evil.invalid/x.png"]),
    ],
)
async def test_forged(scenario: str, code: int, images: list[str] | None) -> None:
    """A forged callback comes while record-info still says running; the true one follows at the end."""
    clock = WatchedClock()
    async with Receiver() as receiver, serving(generation_s=100, clock=clock) as (_, client):
        task_id = await client.make(f"sandbox-{scenario}", receiver.url)
        await clock.pass_sleep(50)
        (forged,) = await receiver.wait_for(1)
        assert (await client.read(task_id)).data["successFlag"] == 2
        assert (forged.payload["code"], forged.payload["data"]["images"]) == (code, images)
        assert (forged.payload["data"]["taskId"] == task_id) == (scenario != "callback-other-task")
        await clock.pass_sleep(50)
        _, true = await receiver.wait_for(2)
        assert true.payload["data"] == {"taskId": task_id, "images": await client.image_urls(task_id)}


async def test_malformed() -> None:
    """The malformed callbacks are refused once each and not repeated; none of them is true."""
    clock = WatchedClock()
    async with Receiver(400) as receiver, serving(generation_s=0, clock=clock) as (sandbox, client):
        await client.make("sandbox-callback-malformed", receiver.url)
        junk, misshapen = await receiver.wait_for(2)
        await sandbox.wait_settled(only_job(sandbox).task_id)
    assert clock.delays == []
    with pytest.raises(ValueError, match="utf-8"):
        junk.body.decode()
    assert isinstance(misshapen.payload["data"], list)


async def test_unconfirmed_failure() -> None:
    """The unconfirmed failure is told by the callback and never by record-info."""
    clock = WatchedClock()
    async with Receiver() as receiver, serving(generation_s=10, clock=clock) as (_, client):
        task_id = await client.make("sandbox-callback-failed-unconfirmed", receiver.url)
        await clock.pass_sleep(10)
        (call,) = await receiver.wait_for(1)
        clock.advance(1_000_000)
        assert call.payload["code"] == 501
        assert (await client.read(task_id)).data["successFlag"] == 2


async def test_snake_case() -> None:
    """The sister spelling names the task by task_id."""
    async with Receiver() as receiver, serving(generation_s=0) as (_, client):
        task_id = await client.make("sandbox-callback-snake-case", receiver.url)
        (call,) = await receiver.wait_for(1)
    assert call.payload["data"]["task_id"] == task_id
    assert "taskId" not in call.payload["data"]


@pytest.mark.parametrize("scenario", ["callback-lost", "duplicate-400", "stuck", "unknown-record"])
async def test_none(scenario: str) -> None:
    """Some jobs call nobody back, however long one waits."""
    clock = WatchedClock()
    async with Receiver() as receiver, serving(generation_s=10, clock=clock) as (sandbox, client):
        await client.submit(f"sandbox-{scenario}", receiver.url)
        clock.advance(1_000_000)
        await client.read(only_job(sandbox).task_id)
        assert (receiver.calls, clock.delays) == ([], [])


async def test_dropped_on_leaving() -> None:
    """Leaving the sandbox drops what it still had to send."""
    clock = WatchedClock()
    async with Receiver() as receiver:
        async with serving(generation_s=30, clock=clock) as (_, client):
            await client.make("m", receiver.url)
            await clock.wait_for_sleep(30)
        clock.advance(1000)
        assert receiver.calls == []


# --- signatures ---------------------------------------------------------------------------------------


def signature(key: str, task_id: str, stamp: str) -> str:
    """Return what kie.ai's page says to compare with."""
    return base64.b64encode(hmac.digest(key.encode(), f"{task_id}.{stamp}".encode(), hashlib.sha256)).decode()


@pytest.mark.parametrize(
    ("scenario", "is_signed", "is_right", "age_s"),
    [
        ("success", True, True, 0),
        ("callback-bad-signature", True, False, 0),
        ("callback-stale-signature", True, True, 3600),
        ("callback-unsigned", False, False, 0),
    ],
)
async def test_signatures(scenario: str, is_signed: bool, is_right: bool, age_s: int) -> None:
    """With a webhook key, callbacks are signed as kie.ai signs them, wrongly or stale where scripted."""
    clock = WatchedClock()
    options: dict[str, Any] = {"generation_s": 0, "webhook_key": "key", "clock": clock}
    async with Receiver() as receiver, serving(**options) as (_, client):
        task_id = await client.make(f"sandbox-{scenario}", receiver.url)
        (call,) = await receiver.wait_for(1)
    assert ("X-Webhook-Signature" in call.headers) == ("X-Webhook-Timestamp" in call.headers) == is_signed
    if is_signed:
        stamp = call.headers["X-Webhook-Timestamp"]
        assert (call.headers["X-Webhook-Signature"] == signature("key", task_id, stamp)) == is_right
        assert clock.time() - int(stamp) == age_s


async def test_no_key_no_signature() -> None:
    """Without a webhook key nothing is signed, not even where a bad signature is scripted."""
    async with Receiver() as receiver, serving(generation_s=0) as (_, client):
        await client.make("sandbox-callback-bad-signature", receiver.url)
        (call,) = await receiver.wait_for(1)
    assert not {"X-Webhook-Signature", "X-Webhook-Timestamp"} & call.headers.keys()
