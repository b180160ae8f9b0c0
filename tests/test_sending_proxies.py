"""Faults of a proxy on the way to a receiver: the proxy is named, and the receiver is not blamed for them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from suno_cover_cli.callbacks.exchanges import Delivery
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.callbacks.sending.targets import parse_target
from tests.clocks import ScaledClock
from tests.test_listen_forward import unused_port

PASSWORD = "hunter2"  # noqa: S105 -- made up
SECURE, PLAIN = "https://hooks.invalid/h", "http://hooks.invalid/h"
BOTH = pytest.mark.parametrize("url", [SECURE, PLAIN], ids=["CONNECT", "plain"])
NOISE = b"SSH-2.0-OpenSSH_9.9\r\n\r\n"


@pytest.fixture
def set_proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what makes an address the only proxy of this process."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return lambda address: monkeypatch.setenv("ALL_PROXY", address)


@asynccontextmanager
async def proxy_saying(answer: bytes) -> AsyncIterator[str]:
    """Run a proxy that answers each request, CONNECT too, with the same bytes and hangs up; yield its place."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64 * 1024)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def deliver(url: str, speed: float = 1) -> Delivery:
    """Deliver once, through whatever proxy is set."""
    async with CallbackSender(parse_target(url), clock=ScaledClock(speed)) as sender:
        return await sender.deliver(b"{}", ())


@BOTH
async def test_a_proxy_without_an_address_is_named(url: str, set_proxy: Callable[[str], None]) -> None:
    """A proxy's name that does not resolve is not the receiver's, and the variable that holds it is named."""
    set_proxy(f"http://me:{PASSWORD}@nosuch.invalid:3128")
    delivery = await deliver(url)
    assert delivery.error == (
        "the proxy in ALL_PROXY (http://nosuch.invalid:3128) cannot be found: no address is known for its name"
    )
    assert delivery.advice == "NO_PROXY exempts hosts from it"


@BOTH
async def test_a_proxy_that_is_not_there_is_named(url: str, set_proxy: Callable[[str], None]) -> None:
    """A refused connection to a proxy is its own."""
    port = unused_port()
    set_proxy(f"http://me:{PASSWORD}@127.0.0.1:{port}")
    assert (await deliver(url)).error == f"the proxy in ALL_PROXY (http://127.0.0.1:{port}) cannot be reached"


@BOTH
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NOISE, "answered with something that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "answered with a header that is not HTTP"),
        (b"HTTP/1.1 20", "hung up in the middle of its headers"),
        (b"", "hung up without an answer"),
    ],
)
async def test_a_proxy_that_answers_no_http_is_named(
    url: str, answer: bytes, words: str, set_proxy: Callable[[str], None]
) -> None:
    """Noise, half a head and silence of a proxy are the proxy's, also before a tunnel is there."""
    async with proxy_saying(answer) as place:
        set_proxy(f"http://me:{PASSWORD}@{place}")
        delivery = await deliver(url)
    assert delivery.error == f"the proxy in ALL_PROXY (http://{place}) {words}"
    assert PASSWORD not in delivery.error + delivery.advice


@BOTH
@pytest.mark.parametrize(
    ("login", "advice"),
    [
        ("", "does it want a login? (user:password@ in its address)"),
        (f"me:{PASSWORD}@", "it does not take the login"),
    ],
    ids=["without a login", "with one"],
)
async def test_a_proxy_that_wants_a_login_is_named(
    url: str, login: str, advice: str, set_proxy: Callable[[str], None]
) -> None:
    """407 says which proxy it comes from, and what is wrong with its login."""
    async with proxy_saying(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n") as place:
        set_proxy(f"http://{login}{place}")
        delivery = await deliver(url)
    said = f"{delivery.error}; {delivery.advice}"
    assert f"the proxy in ALL_PROXY (http://{place})" in said
    assert advice in said
    assert PASSWORD not in said


@pytest.mark.parametrize("status", [403, 502, 503, 504])
async def test_what_a_proxy_may_have_said_is_not_pinned_on_the_receiver(
    status: int, set_proxy: Callable[[str], None]
) -> None:
    """Of a refusal that a proxy makes itself as well, both are named."""
    async with proxy_saying(b"HTTP/1.1 %d Sorry\r\nContent-Length: 0\r\n\r\n" % status) as place:
        set_proxy(f"http://{place}")
        delivery = await deliver(PLAIN)
    assert delivery.status == status
    assert delivery.advice == f"your handler may say so, or the proxy in ALL_PROXY (http://{place})"


@BOTH
async def test_a_silent_proxy_is_named(url: str, set_proxy: Callable[[str], None]) -> None:
    """Where no answer comes in time, the proxy in between is mentioned."""
    never = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        set_proxy(f"http://{place}")
        delivery = await deliver(url, speed=100)
        never.set()
    assert delivery.error == f"no answer within 15 s through the proxy in ALL_PROXY (http://{place})"


async def test_a_proxy_that_speaks_no_tls_is_named(set_proxy: Callable[[str], None]) -> None:
    """An https:// proxy that answers in plain HTTP is not the receiver without TLS."""
    async with proxy_saying(NOISE) as place:
        set_proxy(f"https://{place}")
        delivery = await deliver(PLAIN)
    assert delivery.error == f"no trusted connection can be made to the proxy in ALL_PROXY (https://{place})"
