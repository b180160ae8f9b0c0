"""``doctor``: every check finds what it is for, names the fix, keeps its limit and changes nothing."""

import asyncio
import io
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import ClientSession, web

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.errors import UnavailableError
from suno_cover_cli.doctor.checks import Doctor, Finding
from suno_cover_cli.doctor.options import DoctorOptions
from suno_cover_cli.doctor.report import examine
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.ui.output import Output, Streams
from suno_cover_cli.wiring.context import Context
from tests.cli_fixtures import Cli
from tests.clocks import ScaledClock
from tests.terminal_fixtures import Terminal, strip_escapes
from tests.tunnel_fixtures import TOKEN, NgrokStandin

Standins = Callable[..., NgrokStandin]

# The providers' own list: what has to be so for callbacks and images to work -> the lines that tell.
CHECK_LIST = {
    "reachable from the internet, no firewall": {"tunnel", "public"},
    "names resolve": {"name", "public"},
    "answers 200 within 15 s": {"answer", "public"},
    "path and method": {"path"},
    "logs": {"logs"},
    "JSON, right type, parses": {"content"},
    "images reachable, permitted": {"image host"},
    "folder writable": {"output", "free space"},
    "links not expired": {"links"},
}


class Report:
    """What came of an examination."""

    def __init__(self, code: int, report: dict[str, Any], stderr: str) -> None:
        self.code = code
        self.report = report
        self.stderr = stderr
        self.checks = {check["name"]: check for check in report["checks"]}

    def __getitem__(self, name: str) -> tuple[str, str]:
        """Return status and text of one check."""
        check = self.checks[name]
        return check["status"], f"{check['message']} {check['hint']}".strip()

    @property
    def failures(self) -> set[str]:
        """Names of the checks that failed."""
        return {name for name, check in self.checks.items() if check["status"] == "fail"}


class DoctorRun:
    """Runs the command inside the test's loop, with streams that are buffers."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.environ = {
            "SUNO_COVER_STATE_DIR": str(tmp_path / "state"),
            "SUNO_COVER_CONFIG": str(tmp_path / "config.toml"),
            "SUNO_COVER_OUTPUT": str(tmp_path / "covers"),
            "PATH": "",
        }

    async def __call__(
        self, *, clock: Clock | None = None, options: dict[str, Any] | None = None, **environ: str
    ) -> Report:
        """Examine."""
        stdout, stderr = io.BytesIO(), io.StringIO()
        streams = Streams(
            stdin=io.BytesIO(),
            stdout=stdout,
            stderr=stderr,
            stdout_is_terminal=False,
            stderr_is_terminal=False,
            environ={**self.environ, **environ},
        )
        clock = clock or SystemClock()
        output = Output(streams, clock=clock, is_json=True)
        wanted = DoctorOptions(**(options or {}))
        code = await (await asyncio.to_thread(lambda: examine(wanted, Context(output=output, clock=clock))))
        await asyncio.to_thread(output.finish)
        return Report(code, json.loads(stdout.getvalue()), stderr.getvalue())


@pytest.fixture
def doctor(tmp_path: Path) -> DoctorRun:
    """A doctor with a place of its own."""
    return DoctorRun(tmp_path)


@asynccontextmanager
async def serving(
    answer: Callable[[web.BaseRequest], web.StreamResponse], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve one answer for every request; give the base URL."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        return answer(request)

    runner = web.ServerRunner(web.Server(respond), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# --- all is well, nothing is well -----------------------------------------------------------------------------


async def test_all_is_well_at_the_sandbox(doctor: DoctorRun) -> None:
    """Against a service that works every check passes, and each is reported with group, name and time."""
    async with Sandbox() as sandbox:
        report = await doctor(SUNO_BASE_URL=sandbox.url, SUNO_API_KEY=sandbox.api_key)
    assert report.code == 0
    assert {check["status"] for check in report.checks.values()} == {"pass"}
    assert (report.report["v"], report.report["type"], report.report["ok"]) == (1, "doctor", True)
    assert all(check["elapsed_ms"] >= 0 for check in report.checks.values())
    assert "1025.6 credits" in report["account"][1]
    assert sandbox.api_key not in json.dumps(report.report)
    assert len(report.checks) == len(report.report["checks"])


def test_a_newcomer_is_told_every_next_step(cli: Cli) -> None:
    """With nothing set up and no service the command ends with 1 and names a fix for each failure."""
    url = f"http://127.0.0.1:{closed_port()}"
    shown = cli.run("doctor", SUNO_BASE_URL=url)
    assert shown.code == 1
    assert "fix: It is a service on this machine: suno-cover sandbox prints its key" in shown.stdout
    assert "fix: Is the sandbox still running?" in shown.stdout
    lines = shown.stdout.splitlines()
    assert "Setup      4 passed: python, packages, settings, webhook key; 1 failed: api key" in lines
    assert "In all     18 passed, 2 skipped, 3 failed" in lines
    assert lines[-1].startswith("      fix: "), "what needs a hand stands last"
    as_json = cli.run("doctor", "--json", SUNO_BASE_URL=url)
    (report,) = as_json.objects
    assert as_json.code == 1
    assert not report["ok"]
    failures = [check for check in report["checks"] if check["status"] == "fail"]
    assert {check["name"] for check in failures} == {"api key", "connection", "image host"}
    assert all(check["hint"] for check in failures)
    assert as_json.stderr == ""


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_report_fits_the_terminal(cli: Cli, columns: int) -> None:
    """At every width no line is cut or broken within a word, and what needs a hand stands last."""
    with Terminal(columns=columns) as terminal:
        url = f"http://127.0.0.1:{closed_port()}"
        environ = {"SUNO_BASE_URL": url, "NGROK_AUTHTOKEN": "<token>", "PYNGROK_NGROK_PATH": "/nowhere"}
        cli.start_on(terminal, "doctor", streams="012", **environ)
        code, _ = terminal.finish()
        shown = terminal.text
    lines = strip_escapes(shown).replace("\r", "").rstrip("\n").split("\n")
    assert code == 1
    assert max(map(len, lines)) < columns, "the last column stays empty"
    joined = " ".join(" ".join(lines).split())
    for whole in (
        "4 passed: listener, answer, path, content; 3 warnings: ngrok agent, ngrok token, tunnel",
        "NGROK_AUTHTOKEN does not hold an authtoken: it is a placeholder",
        "https://dashboard.ngrok.com/get-started/your-authtoken,",
        "fix: Is the sandbox still running? Its address changes with every start.",
    ):
        assert whole in joined
    troubles = [line[:4] for line in lines if line[:6] in {"warn  ", "fail  "}]
    assert troubles == sorted(troubles, reverse=True), "failures come after warnings"
    assert "fail" in troubles


def test_every_line_is_shown_when_asked_for(cli: Cli) -> None:
    """With -v what passed has a line each below its group, with what was found."""
    shown = cli.run("doctor", "-v", "--no-tunnel", SUNO_BASE_URL=f"http://127.0.0.1:{closed_port()}")
    lines = shown.stdout.splitlines()
    assert any(line.startswith("  python       3.") for line in lines)
    assert "  tunnel       skipped: --no-tunnel" in lines
    assert not any(line.startswith("  connection") for line in lines), "what failed stands at the end alone"
    folded = cli.run("doctor", "--no-tunnel", SUNO_BASE_URL=f"http://127.0.0.1:{closed_port()}").stdout
    assert not any(line.startswith("  ") and "fix:" not in line for line in folded.splitlines())


def test_set_up_as_told_it_passes_without_a_terminal(cli: Cli) -> None:
    """The same command with the fixes applied, run by the sandbox, ends with 0 and plain text."""
    done = subprocess.run(
        cli.command("sandbox", "--", *cli.command("doctor", "-v")),
        cwd=cli.cwd,
        env=cli.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "\x1b" not in done.stdout
    assert "the key is accepted; 1025.6 credits" in done.stdout


async def test_nothing_is_changed(doctor: DoctorRun) -> None:
    """Folders that are missing are not made, and no file appears anywhere."""
    async with Sandbox() as sandbox:
        before = sorted(doctor.folder.rglob("*"))
        report = await doctor(SUNO_BASE_URL=sandbox.url, SUNO_API_KEY=sandbox.api_key)
        assert sorted(doctor.folder.rglob("*")) == before
        assert sandbox.jobs == {}
    assert report["output"] == ("pass", f"{doctor.folder / 'covers'} can be made")


# --- settings and keys ----------------------------------------------------------------------------------------


async def test_broken_settings_are_one_finding_among_others(doctor: DoctorRun) -> None:
    """An unusable settings file is told with its place, and the rest is still looked at."""
    (doctor.folder / "config.toml").write_text("provider = kie\n")
    report = await doctor(SUNO_BASE_URL="http://127.0.0.1:9", SUNO_COVER_OUTPUT="")
    assert report["settings"][0] == "fail"
    assert "line 1, column 12" in report["settings"][1]
    assert report["listener"][0] == "pass"
    assert report.code == 1


async def test_a_key_for_the_other_provider_is_pointed_out(doctor: DoctorRun) -> None:
    """A key in the other provider's variable is no key, and is said to be there."""
    report = await doctor(options={"provider": "kie", "base_url": "http://127.0.0.1:9"}, SUNO_API_KEY="x1y2z3")
    assert report["api key"][0] == "fail"
    assert "SUNO_API_KEY is set" in report["api key"][1]
    assert "x1y2z3" not in json.dumps(report.report)


async def test_a_webhook_key_where_nothing_is_signed_is_a_trap(doctor: DoctorRun) -> None:
    """With sunoapi.org a webhook key would refuse every callback; that is a warning."""
    options = {"base_url": "https://service.invalid", "callback": "off"}
    report = await doctor(options=options, SUNO_WEBHOOK_KEY="hook-key", SUNO_API_KEY="k")
    assert report["webhook key"][0] == "warn"
    assert "Unset SUNO_WEBHOOK_KEY" in report["webhook key"][1]
    assert report["answer"][0] == "pass", "the sample callback is signed with the key"
    assert report["name"][0] == "fail"
    broken = await doctor(options=options, SUNO_WEBHOOK_KEY="two words", SUNO_API_KEY="k")
    assert broken["webhook key"][0] == "fail"


# --- the service ----------------------------------------------------------------------------------------------


def enveloped(code: int, message: str, data: Any = None, status: int = 200) -> Callable[..., web.Response]:
    """Return a service that answers every call the same."""
    return lambda _: web.json_response({"code": code, "msg": message, "data": data}, status=status)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (enveloped(401, "no access"), "fail", "https://sunoapi.org/api-key"),
        (enveloped(402, "no credits"), "fail", "op up"),
        (enveloped(429, "The current credits are insufficient. Please top up."), "fail", "op up"),
        (enveloped(429, "too fast"), "fail", "--rate"),
        (enveloped(455, "maintenance"), "fail", "maintenance"),
        (enveloped(200, "success", 0), "fail", "0 credits are left"),
        (enveloped(200, "success", "many"), "fail", "--provider"),
        (lambda _: web.Response(text="<html>no</html>", status=404), "fail", "--base-url"),
        (lambda _: web.Response(text="", status=200), "fail", "--base-url"),
        (lambda _: web.Response(text="<html>busy</html>", status=503), "fail", "few minutes"),
        (enveloped(200, "success", 7.5), "pass", "7.5 credits"),
    ],
)
async def test_each_refusal_of_the_account_names_its_fix(
    doctor: DoctorRun, answer: Callable[[web.BaseRequest], web.StreamResponse], status: str, said: str
) -> None:
    """A key that is refused, an account without credits, a wrong address and an outage are told apart."""
    async with serving(answer) as url:
        report = await doctor(SUNO_BASE_URL=url, SUNO_API_KEY="k", clock=ScaledClock(5))
    assert report["account"][0] == status
    assert said in report["account"][1]
    assert report.code == (0 if status == "pass" else 1)


async def test_a_clock_that_is_wrong_is_told(doctor: DoctorRun) -> None:
    """The service's Date header shows how far this machine's clock is off."""

    def answer(_: web.BaseRequest) -> web.Response:
        body = {"code": 200, "data": 1}
        return web.json_response(body, headers={"Date": "Mon, 01 Jan 2024 00:00:00 GMT"})

    async with serving(answer) as url:
        report = await doctor(SUNO_BASE_URL=url, SUNO_API_KEY="k")
    assert report["clock"][0] == "warn"
    assert "ahead" in report["clock"][1]


async def test_a_certificate_nobody_vouches_for_is_told(doctor: DoctorRun) -> None:
    """A server whose authority is unknown fails at TLS, with the variable that would make it known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serving(enveloped(200, "success", 1), context) as url:
        report = await doctor(SUNO_BASE_URL=url, SUNO_API_KEY="k")
    assert report["connection"][0] == "pass"
    assert report["tls"][0] == "fail"
    assert "SSL_CERT_FILE" in report["tls"][1]
    assert report["account"][0] == "warn"


async def test_a_proxy_is_shown_without_its_password(doctor: DoctorRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy on the way is named, and is what has to answer; its password is nobody's business."""
    port = closed_port()
    monkeypatch.setenv("https_proxy", f"http://user:hunter22@127.0.0.1:{port}")
    report = await doctor(options={"base_url": "https://service.invalid"}, SUNO_API_KEY="k")
    assert report["proxy"] == ("pass", f"goes through http://127.0.0.1:{port} (https_proxy)")
    assert report["connection"][0] == "fail"
    assert "hunter22" not in json.dumps(report.report)


async def test_a_service_that_never_answers_costs_its_limit(doctor: DoctorRun) -> None:
    """A server that takes connections and says nothing is given up on in time."""
    ended = asyncio.Semaphore(0)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()
        await writer.wait_closed()
        ended.release()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    report = await doctor(SUNO_BASE_URL=f"http://127.0.0.1:{port}", SUNO_API_KEY="k", clock=ScaledClock(8))
    for _ in range(4):  # the service and the image host: a connection to look at and a request, each
        await ended.acquire()
    silent.close()
    assert report["clock"] == (
        "fail",
        "no answer within 5 s Try again. If it happens again, this step is what hangs.",
    )
    assert report["image host"][0] == "fail"
    assert report["listener"][0] == "pass"


# --- callbacks ------------------------------------------------------------------------------------------------


async def with_tunnel(
    doctor: DoctorRun,
    sandbox: Sandbox,
    standin: NgrokStandin | None,
    *,
    callback: str = "auto",
    speed: float = 1.0,
) -> Report:
    """Examine with a token set, so that a real tunnel is tried."""
    path = str(standin.path) if standin is not None else str(doctor.folder / "no-such-agent")
    return await doctor(
        clock=ScaledClock(speed),
        options={"callback": callback, "ngrok_path": path},
        SUNO_BASE_URL=sandbox.url,
        SUNO_API_KEY=sandbox.api_key,
        NGROK_AUTHTOKEN=TOKEN,
    )


async def test_a_real_tunnel_is_opened_and_called_through(
    doctor: DoctorRun, ngrok_standin: Standins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback takes the way through, every item of the providers' list has a line, no agent stays behind."""
    standin = ngrok_standin()
    monkeypatch.setenv("SSL_CERT_FILE", str(standin.ca_file))
    async with Sandbox() as sandbox:
        report = await with_tunnel(doctor, sandbox, standin)
    assert report.failures == set()
    for item, names in CHECK_LIST.items():
        assert {report[name][0] for name in names} == {"pass"}, item
    assert "3.99.0" in report["ngrok agent"][1]
    assert report["ngrok token"] == ("pass", "from NGROK_AUTHTOKEN")
    assert "(ngrok) leads here" in report["tunnel"][1]
    assert "a callback came through after" in report["public"][1]
    assert TOKEN not in json.dumps(report.report) + report.stderr
    assert standin.living() == []


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("error-4018", "your-authtoken"),
        ("error-105", "Copy the current one"),
        ("error-108", "agents online"),
        ("endpoint-error-334", "already online"),
        ("error-123", "e-mail"),
        ("endpoint-error-313", "--domain"),
        ("error-702", "usage"),
        ("offline", "ngrok diagnose"),
        ("silent", "ngrok diagnose"),
        ("crash", "fell over"),
        ("too-old", "ngrok update"),
        ("warning-page", "curl"),
        (None, "--ngrok-path"),
    ],
)
async def test_each_trouble_with_ngrok_names_its_fix(
    doctor: DoctorRun,
    ngrok_standin: Standins,
    monkeypatch: pytest.MonkeyPatch,
    variant: str | None,
    said: str,
) -> None:
    """Whatever keeps the tunnel from opening is a warning with its fix; jobs would be polled."""
    standin = ngrok_standin(variant) if variant is not None else None
    if standin is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(standin.ca_file))
    async with Sandbox() as sandbox:
        report = await with_tunnel(
            doctor, sandbox, standin, speed=2.0 if variant in {"silent", "warning-page"} else 1.0
        )
    texts = " ".join(report[name][1] for name in ("ngrok agent", "ngrok token", "tunnel") if name in report.checks)
    assert said in texts
    assert "suno-cover doctor" not in texts
    assert report["tunnel"][0] == "warn"
    assert "checked every 30 s instead" in report["tunnel"][1]
    assert report.code == 0, report.failures
    assert standin is None or standin.living() == []


async def test_a_required_tunnel_that_fails_is_a_failure(doctor: DoctorRun, ngrok_standin: Standins) -> None:
    """Who insists on callbacks is told that jobs would not start."""
    async with Sandbox() as sandbox:
        report = await with_tunnel(doctor, sandbox, ngrok_standin("error-105"), callback="required")
    assert report["tunnel"][0] == "fail"
    assert report.code == 1


async def test_an_address_of_ones_own_is_tried_instead_of_ngrok(doctor: DoctorRun) -> None:
    """--public-url is called through like a tunnel; one that leads elsewhere is told."""
    async with Sandbox() as sandbox:
        report = await doctor(
            clock=ScaledClock(4),
            options={"public_url": sandbox.url},
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
        )
    assert report["tunnel"][0] == "warn"
    assert "does not lead to our listener" in report["tunnel"][1]
    assert "ngrok agent" not in report.checks


async def test_a_way_that_lets_probes_through_and_callbacks_not_is_told(doctor: DoctorRun) -> None:
    """A firewall that answers POST by itself is found out by a callback of our own through the public address."""
    port = closed_port()

    async def filter_posts(request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            return web.Response(status=403)
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{request.path}") as answer:
            return web.Response(body=await answer.read())

    runner = web.ServerRunner(web.Server(filter_posts), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    wanted = {"public_url": f"http://127.0.0.1:{runner.addresses[0][1]}", "listen_port": port}
    report = await doctor(options=wanted, SUNO_BASE_URL="http://127.0.0.1:9")
    await runner.cleanup()
    assert report["tunnel"][0] == "pass"
    assert report["public"][0] == "warn"
    assert "HTTP 403" in report["public"][1]


async def test_nobody_is_sent_to_where_they_are() -> None:
    """Hints of other commands that point to the doctor lose that part here."""
    doctor = Doctor("group", SystemClock())

    async def fail() -> Finding:
        raise UnavailableError("no way", hint="Check the proxy; suno-cover doctor shows which step fails.")

    assert not await doctor.check("name", fail)
    found = [(one.finding.message, one.finding.hint) for one in doctor.results]
    assert found == [("no way", "Check the proxy")]


async def test_a_port_in_use_is_told(doctor: DoctorRun) -> None:
    """A listener that cannot be bound fails with the fix, and the other groups go on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        report = await doctor(options={"listen_port": port}, SUNO_BASE_URL="http://127.0.0.1:9")
    assert report["listener"][0] == "fail"
    assert "--listen-port 0" in report["listener"][1]
    assert report["output"][0] == "pass"


@pytest.mark.parametrize(
    ("options", "said"), [({"callback": "off"}, "callback = off"), ({"tunnel": False}, "--no-tunnel")]
)
async def test_a_tunnel_nobody_wants_is_not_opened(doctor: DoctorRun, options: dict[str, Any], said: str) -> None:
    """With callbacks off, or --no-tunnel, the line says so and no agent is looked for."""
    report = await doctor(options=options, SUNO_BASE_URL="http://127.0.0.1:9", NGROK_AUTHTOKEN=TOKEN)
    assert report["tunnel"][0] == "pass"
    assert said in report["tunnel"][1]
    assert "ngrok agent" not in report.checks


# --- folders and journal --------------------------------------------------------------------------------------


async def folders(doctor: DoctorRun, output: Path | None = None) -> Report:
    """Examine with a service that is out of reach, which takes no time."""
    return await doctor(options={"callback": "off", "output": output}, SUNO_BASE_URL="http://127.0.0.1:9")


async def test_a_folder_that_cannot_be_is_told(doctor: DoctorRun) -> None:
    """A file in the way of the output folder, or of one above it, fails with its path."""
    (doctor.folder / "file").touch()
    for path in (doctor.folder / "file", doctor.folder / "file" / "covers"):
        report = await folders(doctor, path)
        assert report["output"][0] == "fail"
        assert str(doctor.folder / "file") in report["output"][1]


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that not even root can write is Linux's")
async def test_a_folder_without_permission_is_told(doctor: DoctorRun) -> None:
    """A folder that may not be written fails with what to do."""
    report = await folders(doctor, Path("/proc/covers"))
    assert report["output"][0] == "fail"
    assert "permissions" in report["output"][1]


def make_journal(doctor: DoctorRun, *states: str, created_at: float = 2_000_000_000.0, version: int = 0) -> Path:
    """Make a journal with jobs in some states, with the program itself, and return its path."""
    path = Path(doctor.environ["SUNO_COVER_STATE_DIR"]) / "journal.sqlite3"
    environ = {**os.environ, **doctor.environ}
    subprocess.run(
        [sys.executable, "-m", "suno_cover_cli", "history"], env=environ, check=True, capture_output=True
    )
    with closing(sqlite3.connect(path)) as journal:
        with journal:
            for state in states:
                journal.execute(
                    "INSERT INTO jobs (service, provider, state, output, options, created_at, updated_at)"
                    " VALUES ('s', 'sunoapi', ?, '/covers', '{}', ?, 0)",
                    (state, created_at),
                )
            if version:
                journal.execute(f"PRAGMA user_version = {version}")
        journal.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return path


async def test_a_sound_journal_tells_what_is_left_to_do(doctor: DoctorRun) -> None:
    """Jobs that are not finished and images behind dead links are counted, with the command that helps."""
    await asyncio.to_thread(make_journal, doctor, "succeeded", "submitted", "partial", created_at=1.0)
    report = await folders(doctor)
    assert report["journal"] == ("pass", "sound; 3 jobs")
    assert report["unfinished"] == ("warn", "2 jobs not finished Go on with: suno-cover resume")
    assert report["links"][0] == "warn"
    assert "1 job with images missing" in report["links"][1]


@pytest.mark.parametrize(
    ("real", "words"),
    [
        (0, "2 jobs of the sandbox not finished Go on with: suno-cover resume --sandbox"),
        (1, "3 jobs not finished, 2 of the sandbox (suno-cover resume --sandbox) Go on with: suno-cover resume"),
    ],
)
async def test_unfinished_jobs_of_the_sandbox_get_their_own_command(
    doctor: DoctorRun, real: int, words: str
) -> None:
    """A plain resume leaves them alone, so the hint is the one that does not."""
    path = await asyncio.to_thread(make_journal, doctor, "submitted", "submitted")
    await asyncio.to_thread(change_with("UPDATE jobs SET service = 'sandbox'"), path)
    await asyncio.to_thread(make_journal, doctor, *["submitted"] * real)
    assert (await folders(doctor))["unfinished"] == ("warn", words)


async def test_a_newer_journal_is_told(doctor: DoctorRun) -> None:
    """A journal that was written by a newer version fails with the fix, and is not touched."""
    path = await asyncio.to_thread(make_journal, doctor, "succeeded", version=99)
    before = path.read_bytes()
    report = await folders(doctor)
    assert report["journal"][0] == "fail"
    assert "newer" in report["journal"][1]
    assert report.code == 1
    assert path.read_bytes() == before


def spoil_pages(path: Path) -> None:
    """Overwrite a page, and more."""
    content = bytearray(path.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    path.write_bytes(content)


def change_with(script: str) -> Callable[[Path], None]:
    """Return what changes a journal by statements no suno-cover makes."""

    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)

    return change


SPOILS: dict[str, Callable[[Path], object]] = {
    "pages": spoil_pages,
    "no database": lambda path: path.write_bytes(b"not a database at all, but as long as one" * 20),
    "a row": change_with("UPDATE jobs SET options = 'junk' WHERE id = 2"),
    "an index": change_with("PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'jobs_by_state'"),
    "a table": change_with("DROP TABLE recordings"),
}


@pytest.mark.parametrize("what", SPOILS)
async def test_a_damaged_journal_is_mended(doctor: DoctorRun, what: str) -> None:
    """Damage to rows, indexes, tables or pages is mended, and the file from before is kept; then all is well."""
    path = await asyncio.to_thread(make_journal, doctor, "succeeded", "submitted")
    await asyncio.to_thread(SPOILS[what], path)
    spoilt = path.read_bytes()
    status, told = (await folders(doctor))["journal"]
    assert (status, "was damaged" in told) == ("warn", True), told
    if what != "a row":
        (kept,) = path.parent.glob("journal.damaged-*.sqlite3")
        assert kept.read_bytes() == spoilt
        assert str(kept) in told
    assert (await folders(doctor))["journal"][0] == "pass"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX has such files")
async def test_a_pipe_in_place_of_the_journal_is_told(doctor: DoctorRun) -> None:
    """What is not a file there is named, and the examination goes on."""
    state = Path(doctor.environ["SUNO_COVER_STATE_DIR"])
    await asyncio.to_thread(state.mkdir)
    os.mkfifo(state / "journal.sqlite3")
    status, told = (await folders(doctor))["journal"]
    assert status == "fail"
    assert "named pipe" in told
