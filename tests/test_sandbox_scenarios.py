"""Every scenario, driven by a plain client and held against what the table below promises of it."""

import asyncio
import io
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Literal, NamedTuple

import aiohttp
import pytest
from PIL import Image

from suno_cover_cli.sandbox.app import RECORD_PATH, SUBMIT_PATH, Sandbox
from suno_cover_cli.sandbox.scenarios import SCENARIOS, choose_scenario, scenario_texts
from tests.clocks import ManualClock
from tests.contract import answer_faults, callback_faults, load_contract
from tests.sandbox_fixtures import Exchange, PlainClient, Receiver, serving

# With this a minute takes a millisecond and a generation two.
TIME_SCALE = 60_000.0
GENERATION_S = 120.0


class Seen(NamedTuple):
    """What a plain client sees of a scenario, in words.

    ``submits``: answers until one names the job, three at most. ``end``: the last word of record-info, ``never``
    when it does not come to one, ``none`` without a job. ``callbacks``: what arrives. ``images``: for each of
    them the answers until a picture came, three at most.
    """

    submits: str = "200"
    end: str = "1"
    callbacks: str = "200"
    images: tuple[str, ...] = ("png", "png")


NOTHING = Seen(end="none", callbacks="", images=())


def refused(answer: str) -> Seen:
    """Return what is seen of a submit that is always refused."""
    return NOTHING._replace(submits=" ".join([answer] * 3))


def ended_badly(end: str, code: int) -> Seen:
    """Return what is seen of a job that fails."""
    return Seen(end=end, callbacks=str(code), images=())


EXPECTED: dict[str, Seen] = {
    "success": Seen(),
    "instant": Seen(),
    "slow": Seen(),
    "stuck": Seen(end="never", callbacks="", images=()),
    "one-image": Seen(images=("png",)),
    "untitled": Seen(),
    "hostile-title": Seen(),
    "three-images": Seen(images=("png",) * 3),
    "many-images": Seen(images=("png",) * 12),
    "no-images": Seen(images=()),
    "failed-501": ended_badly("3 501", 501),
    "failed-501-code": ended_badly("code 501", 501),
    "failed-500": ended_badly("3 500", 500),
    "refunded-531": ended_badly("3 531", 531),
    "timeout-408": ended_badly("code 408", 408),
    "hostile-text": ended_badly("3 501", 501),
    "hostile-id": Seen(),
    "documented-shape": Seen(),
    "words-for-flags": Seen(end="SUCCESS"),
    "words-failed": ended_badly("GENERATE_COVER_FAILED 501", 501),
    "loose-types": Seen(),
    "unknown-flag": Seen(),
    "early-error-message": Seen(),
    "null-first": Seen(),
    "unknown-record": Seen(end="never", callbacks="", images=()),
    "record-lags": Seen(),
    "record-stuck": Seen(end="never", images=()),
    "callback-lost": Seen(callbacks=""),
    "callback-early": Seen(),
    "callback-twice": Seen(callbacks="200 200"),
    "callback-late": Seen(),
    "callback-malformed": Seen(callbacks="junk junk"),
    "callback-forged": Seen(callbacks="foreign 200"),
    "callback-forged-failure": Seen(callbacks="501 200"),
    "callback-failed-unconfirmed": Seen(end="never", callbacks="501", images=()),
    "callback-other-task": Seen(callbacks="foreign 200"),
    "callback-snake-case": Seen(),
    "callback-unsigned": Seen(),
    "callback-bad-signature": Seen(),
    "callback-stale-signature": Seen(),
    "duplicate-400": Seen(submits="400", callbacks=""),
    "duplicate-409": Seen(submits="409", callbacks=""),
    "duplicate-409-bare": Seen(submits="409 409 409", callbacks=""),
    "unknown-422": refused("422"),
    "bad-request-400": refused("400"),
    "not-found-404": refused("404"),
    "too-long-413": refused("413"),
    "auth-401": refused("401"),
    "credits-402": refused("402"),
    "credits-429": refused("429"),
    "disabled-505": refused("505"),
    "busy-429": Seen(submits="429 429 200"),
    "busy-429-always": refused("429"),
    "rate-limited": Seen(submits="429 200"),
    "busy-405": Seen(submits="405 430 200"),
    "maintenance-455": Seen(submits="455 455 200"),
    "maintenance-455-always": refused("455"),
    "error-500": Seen(submits="500 200"),
    "http-502": Seen(submits="html-502 html-502 200"),
    "http-502-always": refused("html-502"),
    "redirect-307": refused("empty-307"),
    "answer-lost": Seen(submits="cut 200"),
    "answer-lost-always": Seen(submits="cut cut cut"),
    "answer-hangs": Seen(submits="cut 200"),
    "truncated-body": Seen(submits="half 200"),
    "empty-body": Seen(submits="empty-200 200"),
    "empty-body-always": Seen(submits="empty-200 empty-200 empty-200"),
    "garbage-body": Seen(submits="html-200 200"),
    "no-task-id": Seen(submits="200 200"),
    "hostile-answer": Seen(submits="flood flood flood"),
    "hostile-nesting": Seen(submits="junk-200 junk-200 junk-200"),
    "poll-flaky": Seen(),
    "poll-busy": Seen(),
    "read-401": Seen(end="never", images=()),
    "read-502-always": Seen(end="never", callbacks="", images=()),
    "image-jpeg": Seen(images=("jpeg", "jpeg")),
    "image-same": Seen(),
    "image-slow": Seen(),
    "image-picky": Seen(),
    "image-redirect": Seen(images=("302 png", "302 png")),
    "image-truncated": Seen(images=("half png", "half png")),
    # aiohttp's client repeats a GET once by itself when the connection is reset.
    "image-cut": Seen(images=("cut png", "cut png")),
    "image-empty-once": Seen(images=("empty png", "empty png")),
    "image-403": Seen(images=("403 403 png", "403 403 png")),
    "image-500": Seen(images=("500 500 png", "500 500 png")),
    "image-expired": Seen(images=("410 410 410", "410 410 410")),
    "image-403-always": Seen(images=("png", "403 403 403")),
    "image-404": Seen(images=("png", "404 404 404")),
    "image-500-always": Seen(images=("png", "500 500 500")),
    "image-truncated-always": Seen(images=("png", "half half half")),
    "image-corrupt": Seen(images=("png", "corrupt corrupt corrupt")),
    "image-html": Seen(images=("png", "html html html")),
    "image-empty": Seen(images=("png", "empty empty empty")),
    "image-huge": Seen(images=("png", "flood flood flood")),
    "image-huge-declared": Seen(images=("png", "flood flood flood")),
    "image-bomb": Seen(images=("png", "bomb bomb bomb")),
    "image-redirect-loop": Seen(images=("png", "302 302 302")),
    "image-redirect-private": Seen(images=("png", "302 302 302")),
    "images-404": Seen(images=("404 404 404", "404 404 404")),
    "images-html": Seen(images=("html html html", "html html html")),
    "hostile-urls": Seen(images=("elsewhere", "elsewhere", "elsewhere")),
}


class Drive:
    """One scenario, from submit to images, by a client that trusts nothing and retries thrice."""

    def __init__(self, name: str, sandbox: Sandbox, client: PlainClient, receiver: Receiver) -> None:
        self.name = name
        self.music_task_id = f"sandbox-{name}-1"
        self.sandbox = sandbox
        self.client = client
        self.receiver = receiver

    async def run(self) -> Seen:
        """Drive the scenario and return what was seen of it."""
        submits = await self._submit()
        jobs = [job for job in self.sandbox.jobs.values() if job.music_task_id == self.music_task_id]
        assert len(jobs) <= 1, "a music task has one cover job"
        if not jobs:
            return NOTHING._replace(submits=submits)
        task_id, awaited = jobs[0].task_id, EXPECTED[self.name]
        calls = await self.receiver.wait_for(len(awaited.callbacks.split()))
        end, urls = await self._read_to_the_end(task_id, is_endless=awaited.end == "never")
        images = [await self._fetch(url) for url in urls]
        return Seen(submits, end, " ".join(_callback_word(call.body) for call in calls), tuple(images))

    async def _submit(self) -> str:
        words: list[str] = []
        while len(words) < 3:
            exchange = await self.client.submit(self.music_task_id, self.receiver.url)
            words.append(_answer_word(exchange))
            if "taskId" in exchange.data:
                break
        return " ".join(words)

    async def _read_to_the_end(self, task_id: str, *, is_endless: bool) -> tuple[str, list[str]]:
        async with asyncio.timeout(45):
            for n in count():
                envelope = (await self.client.read(task_id)).envelope
                data, code = envelope.get("data") or {}, int(envelope.get("code", 0))
                if code in {408, 501}:
                    return f"code {code}", []
                flag = str(data.get("successFlag"))
                if flag in {"1", "SUCCESS"}:
                    return flag, data["response"]["images"]
                if flag in {"3", "GENERATE_COVER_FAILED"}:
                    return f"{flag} {data['errorCode']}", []
                if is_endless and n > 20:
                    break
        return "never", []

    async def _fetch(self, url: str) -> str:
        if not url.startswith(self.sandbox.url):
            return "elsewhere"
        words: list[str] = []
        while len(words) < 3 and not {"png", "jpeg"} & set(words):
            words.append(_image_word(await self.client.image(url)))
        return " ".join(words)


def _answer_word(exchange: Exchange) -> str:
    if exchange.ending != "whole":
        return exchange.ending
    # From Python 3.14 on its own parser takes what is nested 20,000 deep; no answer has a list there.
    if "code" in exchange.envelope and not isinstance(exchange.envelope.get("data"), list):
        return str(exchange.envelope["code"])
    kind = "html" if exchange.content_type == "text/html" else "junk" if exchange.body else "empty"
    return f"{kind}-{exchange.status}"


def _callback_word(body: bytes) -> str:
    if callback_faults({}, body):
        return "junk"
    return "foreign" if b"evil.invalid" in body else body[len(b'{"code":') :][:3].decode()


def _image_word(exchange: Exchange) -> str:
    if exchange.ending != "whole":
        return exchange.ending
    if exchange.status != 200:
        return str(exchange.status)
    if not exchange.body:
        return "empty"
    return "html" if exchange.body.startswith(b"<") else _picture_word(exchange.body)


def _picture_word(body: bytes) -> str:
    try:
        with Image.open(io.BytesIO(body)) as image:
            image.load()
            return str(image.format).lower()
    except Image.DecompressionBombError:
        return "bomb"
    except OSError:
        return "corrupt"


@asynccontextmanager
async def driving(
    name: str, *, provider: Literal["sunoapi", "kie"] = "sunoapi", webhook_key: str | None = None
) -> AsyncIterator[Drive]:
    """Serve a sandbox with a receiver and hand out a drive through one scenario."""
    sandbox = Sandbox(generation_s=GENERATION_S, time_scale=TIME_SCALE, provider=provider, webhook_key=webhook_key)
    async with Receiver() as receiver, sandbox, aiohttp.ClientSession() as session:
        yield Drive(name, sandbox, PlainClient(session, sandbox.url, sandbox.api_key), receiver)


def test_every_scenario_is_expected() -> None:
    """The table of this file and the sandbox's own name the same scenarios."""
    assert EXPECTED.keys() == SCENARIOS.keys()


@pytest.mark.parametrize("name", EXPECTED)
async def test_scenario(name: str) -> None:
    """A plain client sees of each scenario what the table says, and no second job is ever made."""
    async with driving(name) as drive:
        assert await drive.run() == EXPECTED[name]
        assert len(drive.receiver.calls) == len(EXPECTED[name].callbacks.split())


async def _read_phases(name: str, provider: Literal["sunoapi", "kie"]) -> list[Exchange]:
    """Read a job at moments of all its phases, if its first submit names one."""
    clock = ManualClock()
    async with serving(generation_s=100, provider=provider, clock=clock) as (_, client):
        if SCENARIOS[name].submits[0].names_job:
            task_id = str((await client.submit(f"sandbox-{name}")).data.get("taskId"))
            for pause_s in (5, 15, 40, 40, 3):
                clock.advance(pause_s)
                await client.read(task_id)
    return client.exchanges


async def _faults(name: str, provider: Literal["sunoapi", "kie"]) -> list[str]:
    async with driving(name, provider=provider, webhook_key="k") as drive:
        await drive.run()
    answers = [
        answer_faults(exchange.method, exchange.path, exchange.status, exchange.content_type, exchange.body)
        for exchange in (*drive.client.exchanges, *await _read_phases(name, provider))
        if exchange.ending != "cut"
    ]
    callbacks = [callback_faults(call.headers, call.body) for call in drive.receiver.calls]
    return [fault for faults in (*answers, *callbacks) for fault in faults]


OFF_CONTRACT = {
    "callback-malformed",
    "empty-body",
    "empty-body-always",
    "garbage-body",
    "hostile-answer",
    "hostile-nesting",
    "loose-types",
    "poll-flaky",
    "redirect-307",
    "truncated-body",
    "unknown-flag",
}
"""Scenarios that break the published contract on purpose."""


@pytest.mark.parametrize("provider", ["sunoapi", "kie"])
async def test_contract(provider: Literal["sunoapi", "kie"]) -> None:
    """All that a scenario says fits the published contract, unless the scenario is there to break it."""
    # All at once, in one loop, their callbacks would run into the time a sandbox waits for an answer.
    room = asyncio.Semaphore(8)

    async def faults_of(name: str) -> list[str]:
        async with room:
            return await _faults(name, provider)

    faults = dict(zip(SCENARIOS, await asyncio.gather(*map(faults_of, SCENARIOS)), strict=True))
    assert {name: found for name, found in faults.items() if found and name not in OFF_CONTRACT} == {}
    assert [name for name, found in faults.items() if not found and name in OFF_CONTRACT] == []


def test_contract_is_valid_openapi() -> None:
    """The contract that answers are held against is valid OpenAPI and has the sandbox's paths."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    assert list(OpenAPIV31SpecValidator(load_contract()).iter_errors()) == []
    assert {SUBMIT_PATH, RECORD_PATH} < load_contract()["paths"].keys()


@pytest.mark.parametrize(
    ("music_task_id", "name"),
    [
        ("sandbox-failed-501", "failed-501"),
        ("sandbox-failed-501-code-7", "failed-501-code"),
        ("sandbox-failed-501-7", "failed-501"),
        ("sandbox-image-404-a-b", "image-404"),
        ("sandbox-nonsense", "success"),
        ("sandbox-", "success"),
        ("failed-501", "success"),
        ("0123456789abcdef0123456789abcdef", "success"),
    ],
)
def test_choice(music_task_id: str, name: str) -> None:
    """The id picks the longest scenario name that it begins with, and success where there is none."""
    assert choose_scenario(music_task_id).name == name


def test_list() -> None:
    """The list has one line for each scenario, which begins with an id that picks it."""
    texts = scenario_texts()
    ids = list(texts)
    assert [choose_scenario(music_task_id).name for music_task_id in ids] == list(SCENARIOS)
    assert all(SCENARIOS[name].summary in line for name, line in zip(SCENARIOS, texts.values(), strict=True))


def test_names_are_taken_once() -> None:
    """No two entries of the tables share a name."""
    from suno_cover_cli.sandbox.scenarios import IMAGE_SCENARIOS
    from suno_cover_cli.sandbox.scenarios_answers import ANSWER_SCENARIOS
    from suno_cover_cli.sandbox.scenarios_jobs import JOB_SCENARIOS

    assert len(SCENARIOS) == len(ANSWER_SCENARIOS) + len(IMAGE_SCENARIOS) + len(JOB_SCENARIOS)


def test_scenarios_are_cheap_to_import() -> None:
    """Completing a scenario's name imports neither the server nor anything a picture needs."""
    code = (
        "import sys, suno_cover_cli.sandbox.scenarios;"
        "print(*{'asyncio', 'ssl', 'aiohttp', 'msgspec', 'PIL'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == ""
