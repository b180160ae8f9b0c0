"""How long calls are repeated: refusals until the caller's deadline, faults a few times."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from suno_cover_cli.base.errors import CreditsError, UnavailableError
from suno_cover_cli.base.events import RequestRetried
from suno_cover_cli.base.retries import read_retry_after
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.text import Secret
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.service.api import JOBS, RetryPolicy, SunoApi, open_api
from tests.cli_fixtures import InProcess
from tests.clocks import ScaledClock
from tests.journal_fixtures import Listening

SPEED = 200.0
TOO_FAST = {"code": 429, "msg": "Your call frequency is too high.", "data": None}
FINE = {"code": 200, "msg": "success", "data": 7}

Answer = Callable[[], web.Response]


@asynccontextmanager
async def answering(tmp_path: Path, *answers: Answer, policy: RetryPolicy | None = None) -> AsyncIterator[SunoApi]:
    """Run a service that gives its answers one after the other, the last for ever, and open the API to it."""
    given = list(answers)

    async def answer(_: web.Request) -> web.Response:
        return (given.pop(0) if len(given) > 1 else given[0])()

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    heard = Listening()
    settings = Settings(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}", state_dir=tmp_path)
    opening = open_api(
        settings, Secret("a-key"), clock=ScaledClock(SPEED), sink=heard, user_agent="test/1", policy=policy
    )
    try:
        async with opening as api:
            yield api
    finally:
        await runner.cleanup()


def refusal(**headers: str) -> Answer:
    """Return what says that a call came too fast."""
    return lambda: web.json_response(TOO_FAST, status=429, headers=headers)


def fine() -> web.Response:
    """Answer with a balance."""
    return web.json_response(FINE)


async def balance_after_s(api: SunoApi) -> float:
    """Read the balance; return how many seconds of the service's time that took."""
    began = time.monotonic()
    assert await api.fetch_credits() == 7
    return (time.monotonic() - began) * SPEED


async def test_a_job_repeats_a_refused_call_more_often_than_any_fault(tmp_path: Path) -> None:
    """Twelve refusals in a row fail no call of a job, and the pauses between them grow."""
    async with answering(tmp_path, *[refusal()] * 12, fine, policy=JOBS) as api:
        assert await balance_after_s(api) > 5 + 10 + 20 + 8 * 30


async def test_whatever_time_the_service_asks_for_is_waited_by_a_job(tmp_path: Path) -> None:
    """A Retry-After of five minutes is kept by a call that its job's deadline bounds."""
    async with answering(tmp_path, refusal(**{"Retry-After": "300"}), fine, policy=JOBS) as api:
        assert await balance_after_s(api) >= 300


async def test_a_command_of_one_call_does_not_wait_for_an_hour(tmp_path: Path) -> None:
    """Asked to wait for an hour, a command without a deadline ends at once and says so."""
    async with answering(tmp_path, refusal(**{"Retry-After": "3600"}), fine) as api:
        with pytest.raises(UnavailableError) as caught:
            await api.fetch_credits()
    assert caught.value.code == "throttled"
    assert "asks to wait 3600 s" in caught.value.message


async def test_a_command_of_one_call_gives_up_after_five(tmp_path: Path) -> None:
    """Without a deadline refusals count like faults: five calls, then the error."""
    calls: list[int] = []

    def counted() -> web.Response:
        calls.append(1)
        return refusal()()

    async with answering(tmp_path, counted) as api:
        with pytest.raises(UnavailableError):
            await api.fetch_credits()
    assert len(calls) == 5


async def test_a_refusal_without_an_envelope_is_waited_out_too(tmp_path: Path) -> None:
    """A gateway's bare 429 or 430 is a refusal like the service's own."""
    bare = [lambda status=status: web.Response(status=status, text="slow down") for status in (429, 430) * 4]
    async with answering(tmp_path, *bare, fine, policy=JOBS) as api:
        assert await balance_after_s(api) > 100


async def test_too_few_credits_are_no_matter_of_speed(tmp_path: Path) -> None:
    """A 429 that speaks of credits is final, in a job too."""
    said = {"code": 429, "msg": "The current credits are insufficient. Please top up.", "data": None}
    async with answering(tmp_path, lambda: web.json_response(said), fine, policy=JOBS) as api:
        with pytest.raises(CreditsError):
            await api.fetch_credits()


async def test_many_calls_refused_together_are_said_once(tmp_path: Path) -> None:
    """One refusal holds all calls: those that were under way are not told of one by one."""
    heard = Listening()
    async with answering(tmp_path, *[refusal()] * 8, fine, policy=JOBS) as api:
        api._sink = heard  # noqa: SLF001 -- the one that listens here
        await asyncio.gather(*(api.fetch_credits() for _ in range(8)))
    assert len(heard.of(RequestRetried)) < 8


async def test_a_job_that_is_refused_to_its_end_says_why(in_process: InProcess) -> None:
    """At the deadline a job that never got through is pending, exit 8, with the service's words."""
    async with Sandbox(time_scale=30) as sandbox:
        run = await in_process.generate(
            "sandbox-busy-429-always",
            options=JobCommandOptions(output=in_process.covers, json=True, timeout_s=30.0),
            clock=ScaledClock(30),
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
        )
    (job,) = run.objects
    assert (run.code, job["state"], job["error"]["code"]) == (8, "pending", "deadline")
    assert "called too fast" in job["error"]["message"]


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        ("7", 7.0),
        (" 3600 ", 3600.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("9" * 400, None),
        ("\u00b2", None),
        ("\u0665", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str | None, expected_s: float | None) -> None:
    """Seconds and dates are understood, uncapped; anything else counts as none."""
    assert read_retry_after(header, 1000.0) == expected_s
