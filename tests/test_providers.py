"""A provider is data: one that is made up here runs a whole job by its own paths, words, key and signature."""

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web

from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import (
    KIE,
    PROVIDERS,
    SUNOAPI,
    WEBHOOK_KEY_VARIABLE,
    Calls,
    Habits,
    Provider,
    Providers,
    SignatureScheme,
    without_secrets,
)
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.signature import check_signature, sign
from suno_cover_cli.cli.credits import CreditsOptions, fetch_credits
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.sandbox.service import IMITATIONS
from suno_cover_cli.tunnels.kinds import load_kinds
from suno_cover_cli.wiring.jobs import Unfinished
from suno_cover_cli.wiring.listed_jobs import prepare_listed_jobs
from tests.cli_fixtures import Cli, InProcess
from tests.image_fixtures import PNG
from tests.listen_fixtures import listening
from tests.tunnel_fixtures import NgrokStandin

KEY = "acme-key-0123456789"
WEBHOOK_KEY = "acme-hook-0123456789"
ART = "0123456789abcdef0123456789abcdef"

ACME = Provider(
    name="acme",
    site="acme.test",
    base_url="https://api.acme.test",
    calls=Calls(submit="/v9/art", record="/v9/art/state", balance="/v9/wallet", music="/v9/song"),
    key_variable="ACME_TOKEN",
    key_page="https://acme.test/keys",
    log_page="https://acme.test/log",
    webhook_page="https://acme.test/hooks",
    signature=SignatureScheme(
        signature_header="X-Acme-Sign",
        timestamp_header="X-Acme-Time",
        signed="{timestamp}:{body}",
        algorithm="sha512",
        encoding="hex",
        prefix="v1=",
    ),
    habits=Habits(
        music_field="song",
        callback_field="notify",
        id_parameter="art",
        envelope_fields={"status": "code", "reason": "msg", "result": "data"},
        data_fields={"artId": "taskId", "progress": "successFlag", "output": "response", "songs": "response"},
        codes={0: 200, 1007: 401},
    ),
)
KNOWN = Providers((*PROVIDERS.known, ACME))


class AcmeService:
    """A service that speaks Acme's words and no others.

    Attributes:
        callbacks: Status with which each callback was answered.
        paths: Of every call, in order.
    """

    def __init__(self) -> None:
        self.callbacks: list[int] = []
        self.paths: list[str] = []
        self._is_done = False
        self._calling: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v9/art", self._submit)
        app.router.add_get("/v9/art/state", self._record)
        app.router.add_get("/v9/wallet", self._wallet)
        app.router.add_get("/v9/song", self._song)
        app.router.add_get("/cover.png", self._image)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._calling)
        await self._runner.cleanup()

    def _answer(self, request: web.Request, result: Any) -> web.Response:
        self.paths.append(request.path)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"status": 1007, "reason": "who are you?", "result": None})
        return web.json_response({"status": 0, "reason": "fine", "result": result})

    async def _submit(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        assert wanted["song"] == "song-1"
        self._calling.add(asyncio.create_task(self._call(wanted["notify"])))
        return self._answer(request, {"artId": ART})

    async def _call(self, url: str) -> None:
        """Call back once with a forged signature, once with the right one."""
        body = json.dumps({"code": 200, "msg": "fine", "data": {"taskId": ART, "images": []}}).encode()
        stamp = str(int(time.time()))
        right = hmac.new(WEBHOOK_KEY.encode(), f"{stamp}:".encode() + body, hashlib.sha512).hexdigest()
        self._is_done = True
        async with aiohttp.ClientSession() as session:
            for digest in ("0" * 128, right):
                headers = {"Content-Type": "application/json", "X-Acme-Time": stamp, "X-Acme-Sign": f"v1={digest}"}
                async with session.post(url, data=body, headers=headers) as answer:
                    self.callbacks.append(answer.status)

    async def _record(self, request: web.Request) -> web.Response:
        assert request.query["art"] == ART
        images = [f"{self.url}/cover.png"]
        return self._answer(request, {"artId": ART, "progress": int(self._is_done), "output": {"images": images}})

    async def _wallet(self, request: web.Request) -> web.Response:
        return self._answer(request, 12.5)

    async def _song(self, request: web.Request) -> web.Response:
        return self._answer(request, {"songs": {"sunoData": [{"title": "Acme Blues"}]}})

    async def _image(self, request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(body=PNG)


def environ_of(service: AcmeService, key: str = KEY) -> dict[str, str]:
    """Return the environment of somebody who has an account at Acme."""
    return {
        "SUNO_PROVIDER": "acme",
        "SUNO_BASE_URL": service.url,
        "ACME_TOKEN": key,
        "SUNO_WEBHOOK_KEY": WEBHOOK_KEY,
    }


async def test_a_provider_of_the_test_alone_runs_a_whole_job(in_process: InProcess) -> None:
    """Its paths, field names, codes, key and signature are used; only its signed callback wakes the job."""
    in_process.providers = KNOWN
    options = JobCommandOptions(task_ids=["song-1"], output=in_process.covers, json=True, name="{title}")
    async with AcmeService() as service:
        run = await in_process.run(
            lambda context: prepare_listed_jobs(options, context, Unfinished()),
            is_json=True,
            environ=environ_of(service),
        )
    assert run.code == 0, run.stderr
    (job,) = run.objects
    assert (job["task_id"], job["via"]) == (ART, "callback")
    assert [Path(image["path"]).name for image in job["images"]] == ["Acme Blues_1.png"]
    assert service.callbacks == [401, 200]
    assert set(service.paths) == {"/v9/art", "/v9/art/state", "/v9/song"}


async def test_its_balance_and_its_refusals_are_understood(in_process: InProcess) -> None:
    """The balance comes from its own path; its code for a wrong key leads to its own variable and page."""
    in_process.providers = KNOWN
    async with AcmeService() as service:
        right = await in_process.run(
            lambda context: fetch_credits(CreditsOptions(json=True), context),
            is_json=True,
            environ=environ_of(service),
        )
        wrong = await in_process.run(
            lambda context: fetch_credits(CreditsOptions(), context),
            environ=environ_of(service, "another-key"),
        )
    assert (right.code, right.objects[0]["credits"], right.objects[0]["provider"]) == (0, 12.5, "acme")
    assert wrong.code == 4
    assert "ACME_TOKEN" in wrong.stderr
    assert "https://acme.test/keys" in wrong.stderr


async def test_without_its_key_its_own_page_is_named(in_process: InProcess) -> None:
    """Whoever has no key is sent to the provider's page; a name that is not registered lists those that are."""
    in_process.providers = KNOWN
    options = JobCommandOptions(json=True)
    without = await in_process.generate("song-1", options=options, SUNO_PROVIDER="acme")
    assert without.code == 4
    assert "https://acme.test/keys" in without.stderr
    unknown = await in_process.generate("song-1", options=options, SUNO_PROVIDER="acne")
    assert unknown.code == 2
    assert " or ".join(KNOWN.names) in unknown.stderr


# --- what child processes see ---------------------------------------------------------------------------------

SHOW_ENVIRON = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"


def secrets_of(providers: Providers) -> dict[str, str]:
    """Return every variable that holds a secret, with a value that shows where it went."""
    return {name: f"secret-{name}" for name in secret_variables(providers)}


def secret_variables(providers: Providers) -> tuple[str, ...]:
    """Return what a run that knows these providers keeps from children."""
    return (*providers.key_variables, WEBHOOK_KEY_VARIABLE, *load_kinds().secret_variables)


@pytest.mark.parametrize("provider", KNOWN.known, ids=KNOWN.names)
def test_the_key_of_every_provider_is_kept_from_children(provider: Provider) -> None:
    """Whatever is registered has its key variable, in any case of letters, taken out of a child's environment."""
    environ = {provider.key_variable: "k", provider.key_variable.lower(): "k", "PATH": "/bin"}
    assert without_secrets(environ, KNOWN.key_variables) == {"PATH": "/bin"}


async def test_the_command_of_listen_sees_no_secret(tmp_path: Path) -> None:
    """``listen -- COMMAND`` keeps keys and tokens to itself, those of a provider made up here included."""
    seen = tmp_path / "environ.json"
    command = [sys.executable, "-c", SHOW_ENVIRON, str(seen)]
    environ = {**secrets_of(KNOWN), "SUNO_PROVIDER": "acme", "HANDED": "on"}
    async with listening(tmp_path, command=command, environ=environ, providers=KNOWN) as run:
        done = await run.wait_ended()
    assert ", ".join([*KNOWN.key_variables, WEBHOOK_KEY_VARIABLE]) in done.stderr
    found = await asyncio.to_thread(seen.read_text)
    assert "secret-" not in found
    assert json.loads(found)["HANDED"] == "on"


async def test_the_tunnels_agent_sees_no_secret(
    tmp_path: Path, ngrok_standin: Callable[..., NgrokStandin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent starts without keys and tokens, those of a provider made up here included."""
    agent = ngrok_standin()
    monkeypatch.setenv("SSL_CERT_FILE", str(agent.ca_file))
    for name, value in secrets_of(KNOWN).items():
        monkeypatch.setenv(name, value)
    environ = {**os.environ, **agent.environ, "SUNO_PROVIDER": "acme"}
    async with listening(
        tmp_path, tunnel=None, ngrok_path=str(agent.path), environ=environ, providers=KNOWN
    ) as run:
        await run.interrupt()
    (started,) = agent.facts("started")
    assert set(secret_variables(KNOWN)) & set(started["variables"]) == set()
    assert "PATH" in started["variables"]


def test_the_command_of_the_sandbox_sees_only_the_sandboxes_own_key(cli: Cli) -> None:
    """``sandbox -- COMMAND`` hands on its own address, key and webhook key, and no other secret."""
    seen = cli.cwd / "environ.json"
    secrets = {**secrets_of(PROVIDERS), "SUNO_WEBHOOK_KEY": "hook-1234"}
    run = cli.run("sandbox", "--provider", "kie", "--", sys.executable, "-c", SHOW_ENVIRON, str(seen), **secrets)
    assert run.code == 0, run.stderr
    found = json.loads(seen.read_text())
    assert "secret-" not in seen.read_text()
    assert found["KIE_API_KEY"].startswith("sandbox-")
    assert (found["SUNO_PROVIDER"], found["SUNO_WEBHOOK_KEY"]) == ("kie", "hook-1234")
    assert "SUNO_API_KEY" not in found


# --- the data itself ------------------------------------------------------------------------------------------


def test_every_provider_is_complete() -> None:
    """Names and variables are each provider's own, addresses are https, paths are paths, pages are its site's."""
    assert len(set(PROVIDERS.names)) == len(PROVIDERS.known)
    for provider in PROVIDERS.known:
        assert provider.name == provider.name.lower()
        assert provider.base_url.startswith("https://")
        assert not provider.base_url.endswith("/")
        assert all(path.startswith("/") for path in provider.calls)
        pages = [provider.key_page, provider.log_page, provider.webhook_page]
        assert all(page.startswith(f"https://{provider.site}/") for page in pages if page)
        assert bool(provider.webhook_page) is (provider.signature is not None)


def test_the_command_line_offers_every_provider() -> None:
    """What ``--provider`` shows and TAB offers are the registered names, and the sandbox imitates no other."""
    assert SETTINGS["provider"].values == "|".join(PROVIDERS.names)
    assert set(IMITATIONS) <= set(PROVIDERS.names)


def test_the_export_lines_of_the_sandbox_point_at_it(cli: Cli) -> None:
    """The lines name address, key and, unless it is the default, the provider; each can be pasted."""
    for provider, names in (
        (SUNOAPI, ["SUNO_BASE_URL", "SUNO_API_KEY"]),
        (KIE, ["SUNO_BASE_URL", "KIE_API_KEY", "SUNO_PROVIDER"]),
    ):
        ready = cli.cwd / provider.name
        script = f"import subprocess; print(open({str(ready)!r}).read(), end='')"
        words = ["sandbox", "--provider", provider.name, "--ready-file", str(ready), "--"]
        run = cli.run(*words, sys.executable, "-c", script)
        assert [line.split("=")[0] for line in run.lines] == [f"export {name}" for name in names], run.stderr


def test_a_scheme_is_as_it_says() -> None:
    """Stamp, body, algorithm, encoding and prefix of a scheme all count; without a stamp nothing goes stale."""
    assert ACME.signature is not None
    key = WebhookKey(Secret(WEBHOOK_KEY), ACME.signature)
    expected = hmac.new(WEBHOOK_KEY.encode(), b"170:{body}", hashlib.sha512).hexdigest()
    assert sign(key, "task", "170", b"{body}") == f"v1={expected}"
    timeless = SignatureScheme(signature_header="X-Hub", timestamp_header="", signed="{body}", encoding="hex")
    key = WebhookKey(Secret(WEBHOOK_KEY), timeless)
    digest = hmac.new(WEBHOOK_KEY.encode(), b"whole", hashlib.sha256).hexdigest()
    headers = (("x-hub", digest),)
    assert check_signature(key, "", headers=headers, body=b"whole", now_s=1e12).state == "ok"
    assert check_signature(key, "", headers=headers, body=b"other", now_s=0).state == "bad"
    assert "hex" in check_signature(key, "", headers=(("X-Hub", "xyz"),), body=b"", now_s=0).reason
    assert check_signature(key, "", headers=(), body=b"", now_s=0).state == "missing"


def test_the_data_costs_nothing_to_load() -> None:
    """The providers are read by every --help: their module loads none of the heavy ones."""
    program = "import sys, suno_cover_cli.base.providers; print({'msgspec', 'asyncio', 'ssl'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
