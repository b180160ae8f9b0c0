"""The probe: what a stranger would get from a public URL, in a few bytes and a bounded time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.tunnels.ngrok import NGROK
from suno_cover_cli.tunnels.probe import HttpProbe
from tests.tunnel_fixtures import NgrokStandin, PlainListener, TunnelMaker

Standins = Callable[..., NgrokStandin]
AGENT = "suno-cover/test"
HEADERS = {"User-Agent": AGENT, **NGROK.probe_headers}


@pytest.fixture
def _trust(standin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(standin_folder / "ca.pem"))


@pytest.fixture
async def misbehaving() -> AsyncIterator[str]:
    """A server of bad answers, one a path; return its address."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        match request.path:
            case "/redirect":
                return web.Response(status=302, headers={"Location": "/text"})
            case "/text":
                return web.Response(text="found")
            case "/error-8012":
                return web.Response(status=502, headers={"Ngrok-Error-Code": "ERR_NGROK_8012"})
            case "/silent":
                await asyncio.Event().wait()
            case "/endless":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 1000)
            case "/bytes":
                return web.Response(body=b"\xff\xfe")
        return web.Response(status=404, text="\x1b[31m")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("expects_https", [True, False])
@pytest.mark.usefixtures("_trust")
async def test_through_a_tunnel(
    ngrok_standin: Standins, tunnels: TunnelMaker, plain_listener: PlainListener, expects_https: bool
) -> None:
    """With the authority in SSL_CERT_FILE, our own answer comes back through TLS; the request says who asks."""
    async with (
        tunnels(ngrok_standin(), plain_listener.local_url) as tunnel,
        HttpProbe(headers=HEADERS, expects_https=expects_https) as probe,
    ):
        assert await probe.fetch(tunnel.url + plain_listener.probe_path) == plain_listener.probe_answer
    headers = plain_listener.requests[0]
    assert headers["ngrok-skip-browser-warning"]
    assert headers["User-Agent"] == AGENT


async def test_tls_is_verified(
    ngrok_standin: Standins,
    tunnels: TunnelMaker,
    plain_listener: PlainListener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate nobody vouches for is refused."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with (
        tunnels(ngrok_standin(), plain_listener.local_url) as tunnel,
        HttpProbe(headers=HEADERS, explain=NGROK.explain_answer) as probe,
    ):
        with pytest.raises(TunnelError, match="certificate"):
            await probe.fetch(tunnel.url + plain_listener.probe_path)
    assert plain_listener.requests == []


@pytest.mark.usefixtures("_trust")
async def test_listener_out_of_the_agents_reach(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """When the agent cannot reach the listener, ngrok's 8012 is told as our own fault."""
    async with (
        tunnels(ngrok_standin(), "http://127.0.0.1:1") as tunnel,
        HttpProbe(headers=HEADERS, explain=NGROK.explain_answer) as probe,
    ):
        with pytest.raises(TunnelError) as caught:
            await probe.fetch(tunnel.url + "/probe")
    assert caught.value.code == "ngrok_listener"
    assert "ERR_NGROK_8012" in caught.value.message


@pytest.mark.parametrize(
    ("path", "reason"), [("/redirect", "HTTP 302"), ("/other", "HTTP 404"), ("/silent", "time")]
)
async def test_bad_answers(misbehaving: str, path: str, reason: str) -> None:
    """A redirect is not followed, and every other answer or silence is a reason in one harmless line."""
    async with HttpProbe(headers=HEADERS, timeout_s=0.3) as probe:
        with pytest.raises(TunnelError) as caught:
            await probe.fetch(misbehaving + path)
    assert reason in caught.value.message
    assert "\x1b" not in caught.value.message


async def test_bounded_body(misbehaving: str) -> None:
    """An endless page costs a few KiB."""
    async with HttpProbe(headers=HEADERS) as probe:
        assert len(await probe.fetch(misbehaving + "/endless")) == 4096


async def test_no_text(misbehaving: str) -> None:
    """Bytes that are no text are an answer that matches nothing."""
    async with HttpProbe(headers=HEADERS) as probe:
        assert await probe.fetch(misbehaving + "/bytes") == "\ufffd\ufffd"


async def test_nobody_there() -> None:
    """A refused connection and a name that cannot be are reasons, not tracebacks."""
    async with HttpProbe(headers=HEADERS) as probe:
        for url in ("http://127.0.0.1:1/", "http://[::1"):
            with pytest.raises(TunnelError):
                await probe.fetch(url)


async def test_a_name_that_is_not_known() -> None:
    """A connection that fails is explained in the system's words, without the client's own objects."""
    async with HttpProbe(headers=HEADERS) as probe:
        with pytest.raises(TunnelError) as caught:
            await probe.fetch("https://nowhere.invalid/")
    assert "ssl" not in caught.value.message
    assert "known" in caught.value.message or "resolution" in caught.value.message


async def test_not_entered() -> None:
    """A probe that was never entered says so."""
    with pytest.raises(RuntimeError, match="entered"):
        await HttpProbe(headers=HEADERS).fetch("http://127.0.0.1:1/")
