"""The sandbox as a service: starting, stopping, keys, the three calls, what record-info says when."""

import asyncio
import io
import json
import re
import subprocess
import sys
import time
from typing import Any

import aiohttp
import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.sandbox.app import CREDIT_PATHS, RECORD_PATH, SUBMIT_PATH, Sandbox
from tests.clocks import ManualClock
from tests.sandbox_fixtures import PlainClient, WatchedClock, serving

JSON = "application/json"


# --- starting and stopping ----------------------------------------------------------------------------


async def test_serves_on_loopback() -> None:
    """An entered sandbox answers at its address, which is on loopback."""
    async with serving() as (sandbox, client):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", sandbox.url)
        assert (await client.call("GET", CREDIT_PATHS[0])).status == 200


async def test_leaves_at_once() -> None:
    """Leaving takes less than a second, with an idle connection, a hung answer and an endless one open."""
    clock = WatchedClock()
    async with aiohttp.ClientSession() as session:
        async with Sandbox(clock=clock) as sandbox:
            client = PlainClient(session, sandbox.url, sandbox.api_key)
            await client.call("GET", CREDIT_PATHS[0])
            headers = {"Authorization": f"Bearer {sandbox.api_key}"}
            body = {"taskId": "sandbox-hostile-answer", "callBackUrl": "https://example.invalid/"}
            endless = await session.post(sandbox.url + SUBMIT_PATH, json=body, headers=headers)
            hung = asyncio.create_task(client.submit("sandbox-answer-hangs"))
            await clock.wait_for_sleep(60)
            left_s = time.monotonic()
        # Less than the sixty seconds of the answer that hangs, and than the sixty that aiohttp waits.
        assert time.monotonic() - left_s < 15
        endless.close()
        assert (await hung).ending == "cut"


async def test_port_taken() -> None:
    """A port that is taken is a usage error that says how to go on."""
    async with Sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(UsageError, match=str(port)) as caught:
            await Sandbox(port=port).__aenter__()
    assert "port" in caught.value.hint


async def test_port_is_free_again() -> None:
    """A sandbox can be started again on the port of one that has ended."""
    async with Sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
    async with serving(port=port) as (_, client):
        assert (await client.call("GET", CREDIT_PATHS[0])).status == 200


@pytest.mark.parametrize("options", [{"time_scale": 0}, {"generation_s": -1}, {"image_bytes": 100}])
async def test_senseless_arguments(options: dict[str, Any]) -> None:
    """An argument that makes no sense is a usage error before anything is served."""
    with pytest.raises(UsageError):
        Sandbox(**options)


def test_url_of_ipv6() -> None:
    """An IPv6 host stands in brackets in the address."""
    assert Sandbox(host="::1", port=8080).url == "http://[::1]:8080"


def test_keys_are_made_up() -> None:
    """Without a key given, each sandbox makes up one of its own."""
    first, second = Sandbox().api_key, Sandbox().api_key
    assert re.fullmatch(r"sandbox-[0-9a-f]{32}", first)
    assert first != second


def test_pillow_waits_for_a_picture() -> None:
    """Importing the sandbox does not import Pillow."""
    code = "import sys, suno_cover_cli.sandbox.app; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"


# --- keys and requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "k"}])
@pytest.mark.parametrize(("provider", "status"), [("sunoapi", 401), ("kie", 200)])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", SUBMIT_PATH), ("GET", RECORD_PATH), ("GET", CREDIT_PATHS[0])]
)
async def test_key_refused(headers: dict[str, str], provider: str, status: int, method: str, path: str) -> None:
    """Every call without the right key is answered 401 in the envelope, and only kie leaves HTTP at 200."""
    async with serving(api_key="k", provider=provider) as (_, client):
        exchange = await client.call(method, path, headers={"Content-Type": JSON, **headers})
        assert (exchange.status, exchange.envelope["code"]) == (status, 401)


@pytest.mark.parametrize(("provider", "status"), [("sunoapi", 422), ("kie", 200)])
async def test_status_of_refusals(provider: str, status: int) -> None:
    """Application errors have their code as HTTP status, except at kie, where it stays 200."""
    async with serving(provider=provider) as (_, client):
        exchange = await client.submit("sandbox-unknown-422")
        assert (exchange.status, exchange.envelope["code"]) == (status, 422)


@pytest.mark.parametrize("provider", ["sunoapi", "kie"])
async def test_wrong_path(provider: str) -> None:
    """A wrong path is a real 404 at either provider."""
    async with serving(provider=provider) as (_, client):
        exchange = await client.call("POST", "/v1/cover/generate")
        assert (exchange.status, exchange.envelope["code"]) == (404, 404)


async def test_wrong_method() -> None:
    """A wrong method is a real 405 that names the right one."""
    async with serving() as (_, client):
        exchange = await client.call("GET", SUBMIT_PATH)
        assert (exchange.status, exchange.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"taskId=x", 400),
        (b"[1]", 400),
        (b'{"a":' * 20_000, 400),
        (b"{}", 422),
        (b'{"taskId":"x"}', 422),
        (b'{"taskId":"","callBackUrl":"https://h.invalid/"}', 422),
        (b'{"taskId":5,"callBackUrl":"https://h.invalid/"}', 422),
        (b'{"taskId":"x","callbackUrl":"https://h.invalid/"}', 422),
        (b'{"taskId":"x","callBackUrl":"h.invalid"}', 422),
        (b'{"taskId":"x","callBackUrl":"ftp://h.invalid/"}', 422),
        (b'{"taskId":"x","callBackUrl":"http://[/"}', 422),
        (json.dumps({"taskId": "x" * 1025, "callBackUrl": "https://h.invalid/"}).encode(), 422),
        (b" " * (1024 * 1024 + 1), 413),
    ],
)
async def test_bad_submits(body: bytes, code: int) -> None:
    """A submit with a bad body is refused by its code and makes no job."""
    async with serving() as (sandbox, client):
        exchange = await client.call("POST", SUBMIT_PATH, data=io.BytesIO(body))
        assert (exchange.envelope["code"], len(sandbox.jobs)) == (code, 0)


@pytest.mark.parametrize(
    ("provider", "method", "code"), [("sunoapi", "POST", 400), ("kie", "GET", 400), ("sunoapi", "GET", 200)]
)
async def test_content_type(provider: str, method: str, code: int) -> None:
    """The JSON content type is wanted on every POST, and by kie on GET too."""
    async with serving(api_key="k", provider=provider) as (_, client):
        path = SUBMIT_PATH if method == "POST" else CREDIT_PATHS[0]
        exchange = await client.call(method, path, headers={"Authorization": "Bearer k"})
        assert exchange.envelope["code"] == code


@pytest.mark.parametrize("path", CREDIT_PATHS)
async def test_balance(path: str) -> None:
    """The balance of either provider is a number with decimals."""
    async with serving() as (_, client):
        assert (await client.call("GET", path)).envelope == {"code": 200, "msg": "success", "data": 1025.6}


async def test_limit() -> None:
    """With the limit enforced, the 21st request in 10 s is refused, and one 10 s after the first is not."""
    clock = ManualClock()
    async with serving(enforce_limit=True, clock=clock) as (_, client):
        codes = [(await client.call("GET", CREDIT_PATHS[0])).envelope["code"] for _ in range(21)]
        assert codes == [200] * 20 + [429]
        clock.advance(9.9)
        assert (await client.call("GET", CREDIT_PATHS[0])).envelope["code"] == 429
        clock.advance(0.1)
        assert (await client.call("GET", CREDIT_PATHS[0])).envelope["code"] == 200


async def test_request_log() -> None:
    """The log tells of each request when it came, what it was about, whether a key came and what was answered."""
    clock = ManualClock()
    async with serving(clock=clock, generation_s=0) as (sandbox, client):
        task_id = await client.make("m")
        clock.advance(5)
        url = (await client.image_urls(task_id))[0]
        await client.image(url)
        await client.submit("sandbox-answer-lost")
        logged = [
            (
                entry.at_s,
                entry.method,
                entry.path,
                entry.music_task_id,
                entry.task_id,
                entry.authorized,
                entry.status,
            )
            for entry in sandbox.request_log
        ]
        lost = next(job.task_id for job in sandbox.jobs.values() if job.music_task_id == "sandbox-answer-lost")
    assert logged == [
        (clock.time() - 5, "POST", SUBMIT_PATH, "m", task_id, True, 200),
        (clock.time(), "GET", RECORD_PATH, "m", task_id, True, 200),
        (clock.time(), "GET", url.removeprefix(sandbox.url), "m", task_id, False, 200),
        (clock.time(), "POST", SUBMIT_PATH, "sandbox-answer-lost", lost, True, 0),
    ]


# --- jobs ---------------------------------------------------------------------------------------------


async def test_repeats_find_the_job() -> None:
    """Repeated submits of one music task, at once or later, get the id of its only job, and are counted."""
    async with serving(generation_s=0) as (sandbox, client):
        exchanges = await asyncio.gather(*(client.submit("m") for _ in range(5)))
        exchanges.append(await client.submit("m"))
        (job,) = sandbox.jobs.values()
        assert [exchange.envelope for exchange in exchanges] == [
            {"code": 200, "msg": "success", "data": {"taskId": job.task_id}}
        ] * 6
        assert job.submits == 6


async def test_ids_are_the_same_everywhere() -> None:
    """Another sandbox gives the same cover task id to the same music task, and another id to another."""
    async with serving() as (_, one), serving() as (_, other):
        first = await one.make("m")
        assert re.fullmatch(r"[0-9a-f]{32}", first)
        assert await other.make("m") == first
        assert await other.make("n") != first


async def test_unknown_job() -> None:
    """A job nobody made is success with null data, as recorded; a read without an id is refused."""
    async with serving() as (_, client):
        assert (await client.read("0" * 32)).envelope == {"code": 200, "msg": "success", "data": None}
        assert (await client.read("")).envelope["code"] == 422


async def test_record_as_recorded() -> None:
    """A job is null, then waiting, then running, then done, in the shape that was recorded."""
    clock = ManualClock()
    async with serving(clock=clock, generation_s=100) as (sandbox, client):
        task_id = await client.make("m")
        started_ms = int(clock.time() * 1000)
        running: dict[str, Any] = {
            "taskId": task_id,
            "parentTaskId": "m",
            "completeTime": None,
            "response": None,
            "successFlag": 0,
            "errorCode": None,
            "errorMessage": None,
            "createTime": started_ms,
        }
        clock.advance(9)
        assert (await client.read(task_id)).envelope == {"code": 200, "msg": "success", "data": None}
        clock.advance(11)
        assert (await client.read(task_id)).data == running
        clock.advance(79)
        assert (await client.read(task_id)).data == running | {"successFlag": 2}
        clock.advance(1)
        paths = sandbox.jobs[task_id].image_paths()
        assert (await client.read(task_id)).data == running | {
            "successFlag": 1,
            "completeTime": started_ms + 100_000,
            "response": {"images": [sandbox.url + path for path in paths]},
        }
        assert len(paths) == 2


async def test_failure_as_recorded() -> None:
    """A job that failed has flag 3, its code, its words and no images."""
    async with serving(generation_s=0) as (_, client):
        data = (await client.read(await client.make("sandbox-refunded-531"))).data
        assert (data["successFlag"], data["errorCode"], data["response"]) == (3, 531, None)
        assert "refunded" in data["errorMessage"]


async def test_failure_in_the_envelope() -> None:
    """A timed-out job is code 408 with null data."""
    async with serving(generation_s=0, provider="kie") as (_, client):
        exchange = await client.read(await client.make("sandbox-timeout-408"))
        assert (exchange.status, exchange.envelope) == (
            200,
            {"code": 408, "msg": "Upstream timed out", "data": None},
        )


async def test_documented_style() -> None:
    """In the documented style times are ISO text, errorCode is 200 on success and the callback address is told."""
    clock = ManualClock(1_700_000_000)
    async with serving(clock=clock, generation_s=10) as (_, client):
        task_id = await client.make("sandbox-documented-shape")
        clock.advance(5)
        assert (await client.read(task_id)).data["completeTime"] is None
        clock.advance(5)
        data = (await client.read(task_id)).data
    assert data["createTime"] == "2023-11-14T22:13:20+00:00"
    assert data["completeTime"] == "2023-11-14T22:13:30+00:00"
    assert (data["errorCode"], data["errorMessage"]) == (200, "")
    assert data["callbackUrl"] == "https://example.invalid/none"


@pytest.mark.parametrize(
    ("scenario", "flags"),
    [
        ("words-for-flags", ["PENDING", "PENDING", "SUCCESS"]),
        ("words-failed", ["PENDING", "PENDING", "GENERATE_COVER_FAILED"]),
        ("loose-types", ["0", "2", "1"]),
        ("unknown-flag", [7, 7, 1]),
        ("stuck", [0, 2, 2]),
        ("record-stuck", [0, 2, 2]),
    ],
)
async def test_flags(scenario: str, flags: list[object]) -> None:
    """Each style has its own flags for waiting, running and ended."""
    clock = ManualClock()
    async with serving(clock=clock, generation_s=100) as (_, client):
        task_id = await client.make(f"sandbox-{scenario}")
        seen = []
        for pause_s in (20, 60, 1_000_000):
            clock.advance(pause_s)
            seen.append((await client.read(task_id)).data["successFlag"])
    assert seen == flags


async def test_loose_types() -> None:
    """In the loose style numbers are text, msg is missing and fields come that nobody has heard of."""
    async with serving(generation_s=0) as (_, client):
        envelope = (await client.read(await client.make("sandbox-loose-types"))).envelope
        assert (envelope["code"], "msg" in envelope) == ("200", False)
        assert envelope["data"]["createTime"].isdigit()
        assert "progress" in envelope["data"]


async def test_early_error_message() -> None:
    """The words of an error may stand beside a job that still waits, and go away."""
    clock = ManualClock()
    async with serving(clock=clock, generation_s=100) as (_, client):
        task_id = await client.make("sandbox-early-error-message")
        clock.advance(20)
        data = (await client.read(task_id)).data
        assert (data["successFlag"], bool(data["errorMessage"])) == (0, True)
        clock.advance(80)
        data = (await client.read(task_id)).data
        assert (data["successFlag"], data["errorMessage"]) == (1, None)


async def test_record_lags() -> None:
    """A lagging record still says running when the job has ended, and tells the end two seconds later."""
    clock = ManualClock()
    async with serving(clock=clock, generation_s=100) as (_, client):
        task_id = await client.make("sandbox-record-lags")
        clock.advance(100)
        assert (await client.read(task_id)).envelope["data"] is None
        assert (await client.read(task_id)).data["successFlag"] == 2
        clock.advance(2)
        assert (await client.read(task_id)).data["successFlag"] == 1


async def test_slow() -> None:
    """The slow scenario takes five times the generation time."""
    clock = ManualClock()
    async with serving(clock=clock, generation_s=100) as (_, client):
        task_id = await client.make("sandbox-slow")
        clock.advance(499)
        assert (await client.read(task_id)).data["successFlag"] == 2
        clock.advance(1)
        assert (await client.read(task_id)).data["successFlag"] == 1


async def test_time_scale() -> None:
    """The time scale divides the generation time."""
    clock = ManualClock()
    async with serving(clock=clock, generation_s=120, time_scale=60) as (_, client):
        task_id = await client.make("m")
        clock.advance(1.9)
        assert (await client.read(task_id)).data["successFlag"] == 2
        clock.advance(0.1)
        assert (await client.read(task_id)).data["successFlag"] == 1


async def test_hostile_id() -> None:
    """The hostile id is a path out of the folder, and the service knows its job by it."""
    async with serving(generation_s=0) as (_, client):
        task_id = await client.make("sandbox-hostile-id")
        assert task_id.startswith("../../etc/")
        assert (await client.read(task_id)).data["taskId"] == task_id


async def test_hostile_text() -> None:
    """The hostile message carries escape sequences, markup and control characters as they are."""
    async with serving(generation_s=0) as (_, client):
        message = (await client.read(await client.make("sandbox-hostile-text"))).data["errorMessage"]
        assert all(part in message for part in ("\x1b[2J", "\x1b]0;", "[bold red]", "\u202e", "\r\n", "\x00"))


@pytest.mark.parametrize(
    ("scenario", "header", "value"),
    [("rate-limited", "retry-after", "1"), ("redirect-307", "location", "https://evil.invalid/collect")],
)
async def test_headers(scenario: str, header: str, value: str) -> None:
    """Scripted headers reach the client."""
    async with serving() as (_, client):
        assert (await client.submit(f"sandbox-{scenario}")).headers[header] == value
