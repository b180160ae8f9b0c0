"""Where images may come from: the rules by themselves, then redirects, names and proxies over real sockets."""

import asyncio
import ipaddress
import os
import socket
import ssl
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.images.addresses import AddressGuard, ForbiddenAddressError, is_public
from tests.downloader_fixtures import (
    ImageHost,
    make_downloader,
    redirect,
    refused,
    status,
    whole,
)
from tests.image_fixtures import names_in, picture

PNG = picture()

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 -- an address to refuse
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.5",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001:db8::1",
    "2001:0:4136:e378::1",
    "2002:a00:1::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "104.16.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_closed_addresses(address: str) -> None:
    """Private, local, shared, reserved and documentation addresses are not public, however they are wrapped."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_open_addresses(address: str) -> None:
    """Public addresses are public, also inside NAT64, which is all that some mobile networks have."""
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("allow_loopback", [False, True])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "cover.png",
        "//host/cover.png",
        "file:///etc/passwd",
        "ftp://1.1.1.1/cover.png",
        "data:image/png;base64,AAAA",
        "http://[not-an-address/cover.png",
        "https://",
        "https:///cover.png",
        "https://host:99999/",
        "https://user@1.1.1.1/",
        "https://user:secret@1.1.1.1/",
        "https://@1.1.1.1/",
        "https://1.1.1.1\\@127.0.0.1/",
        "https://1.1.1.1 .example/a",
        "https://1.1.1.1/a\r\nX: y",
        "https://1.1.1.1/\x1b[31m",
        "https://1.1.1.1/" + "a" * 16_000,
        "http://10.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[64:ff9b::7f00:1]/",
        "http://1.1.1.1/",
    ],
)
def test_forbidden_urls(url: str, allow_loopback: bool) -> None:
    """A URL that is none, is not https or names a closed address is refused, also when loopback is allowed."""
    with refused("image_forbidden_address") as info:
        AddressGuard(allow_loopback=allow_loopback).check_url(url)
    assert "secret" not in info.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "https://127.9.9.9/",
    ],
)
def test_loopback_urls(url: str) -> None:
    """Loopback is open, over http too, exactly when the service itself is on this machine."""
    assert AddressGuard(allow_loopback=True).check_url(url).host
    with refused("image_forbidden_address"):
        AddressGuard(allow_loopback=False).check_url(url)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        (" https://Host.example/a%2Fb?c=%7E\n", "https://Host.example/a%2Fb?c=%7E"),
        ("https://h.example/ü%2Fb?u=%40&s=%3D+~", "https://h.example/%C3%BC%2Fb?u=%40&s=%3D+~"),
        ("https://h.example/a b?c=d e&s=%2f%3d", "https://h.example/a%20b?c=d%20e&s=%2f%3d"),
        ('https://h.example/{a}|"b"?c=<d>^`', 'https://h.example/{a}|"b"?c=<d>^`'),
        ("https://h.example/a?b=%", "https://h.example/a?b=%"),
    ],
)
def test_addresses_are_sent_as_given(given: str, sent: str) -> None:
    """Only what cannot go on the wire is encoded; a signed address would not fit its signature otherwise."""
    assert str(AddressGuard(allow_loopback=False).check_url(given)) == sent


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/a b%2F?s=%3D", "https://h.example/a%20b%2F?s=%3D"),
        ("ü?s=%40", "https://h.example/x/%C3%BC?s=%40"),
        ("?s=%2F", "https://h.example/x/y?s=%2F"),
        ("//other.example/%2F", "https://other.example/%2F"),
        ("/\udce4", "https://h.example/%E4"),
    ],
)
def test_redirects_are_sent_as_given(location: str, sent: str) -> None:
    """A redirect's target is encoded no further than a first address, whatever bytes it is made of."""
    guard = AddressGuard(allow_loopback=False)
    assert str(guard.check_url(location, base=guard.check_url("https://h.example/x/y?z=1"))) == sent


@pytest.mark.parametrize("host", ["2130706433", "not-an-address", "10.0.0.1"])
def test_socket_is_not_made_for_closed_addresses(host: str) -> None:
    """The socket itself is refused for whatever is not an allowed address, even if no other check saw it."""
    guard = AddressGuard(allow_loopback=True)
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 443))
    for secure in (True, False):
        with pytest.raises(ForbiddenAddressError):
            guard.open_socket(info, secure=secure)


class Table(AbstractResolver):
    """Resolves names by a table; what is not in it does not exist."""

    def __init__(self, **names: list[str]) -> None:
        self._names = {name.replace("_", "."): found for name, found in names.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look a name up."""
        if host not in self._names:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else family or socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._names[host]
        ]

    async def close(self) -> None:
        """Nothing to close."""


class WakeUp:
    """A listening socket that counts who connects."""

    def __init__(self) -> None:
        self.rings = 0
        self.port = 0
        self._rang = asyncio.Event()
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self._ring, "127.0.0.1", 0)
        self._resources.push_async_callback(server.wait_closed)
        self._resources.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def count_others(self) -> int:
        """Ring once more and return how many rang before: connections are accepted in their order."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await self._rang.wait()
        writer.close()
        await writer.wait_closed()
        return self.rings - 1

    async def _ring(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.rings += 1
        self._rang.set()
        writer.close()


@pytest.mark.parametrize(
    ("allow_loopback", "scheme", "found"),
    [
        (False, "https", ["127.0.0.1"]),
        (False, "https", ["127.0.0.1", "::1", "10.0.0.1"]),
        (True, "https", ["10.0.0.1"]),
        (True, "https", ["10.0.0.1", "fe80::1"]),
        (True, "http", ["1.1.1.1"]),
    ],
)
async def test_names_that_lead_inside(tmp_path: Path, allow_loopback: bool, scheme: str, found: list[str]) -> None:
    """A name is judged by the address that is about to be connected to, and nobody sees a connection."""
    async with WakeUp() as door:
        resolver = Table(cover_example=found)
        async with make_downloader(allow_loopback=allow_loopback, resolver=resolver) as downloader:
            with refused("image_forbidden_address"):
                await downloader.save(f"{scheme}://cover.example:{door.port}/cover.png", tmp_path, "cover_1")
        assert await door.count_others() == 0
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1"])
async def test_other_spellings_of_loopback(tmp_path: Path, host: str) -> None:
    """No spelling of this machine's address gets through when loopback is closed."""
    async with WakeUp() as door, make_downloader(allow_loopback=False, max_attempts=1) as downloader:
        with pytest.raises(ImageError, match=r"public internet|cannot be resolved"):
            await downloader.save(f"https://{host}:{door.port}/cover.png", tmp_path, "cover_1")
        assert await door.count_others() == 0


async def test_unknown_name(tmp_path: Path) -> None:
    """A name that does not resolve is tried again and then told as such; an impossible one is not tried."""
    async with make_downloader(resolver=Table()) as downloader:
        with refused("image_unavailable") as info:
            await downloader.save("https://cover.example/cover.png", tmp_path, "cover_1")
        assert info.value.message == "the name cover.example cannot be resolved"
    async with make_downloader() as downloader:
        with refused("image_forbidden_address"):
            await downloader.save(f"https://{'a' * 64}.localhost/cover.png", tmp_path, "cover_1")


async def test_redirects_are_followed(tmp_path: Path) -> None:
    """Up to twenty redirects are followed, relative ones too, and none is believed for the next attempt."""
    last = 21
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(redirect("/2"))
        target = host.serve(status(503), whole(PNG), name=str(last))
        for n, code in zip(range(2, last), (301, 303, 307, 308) * 5, strict=False):
            host.serve(redirect(target if n == last - 1 else f"{n + 1}?x=%2C", code), name=str(n))
        image = await downloader.save(url, tmp_path, "cover_1")
    assert image.url == url
    paths = ["/cover.png", *(f"/{n}" for n in range(2, last + 1))]
    assert [request.path for request in host.requests] == paths * 2
    assert host.requests[2].raw_path == "/3?x=%2C"


async def test_endless_redirects_end(tmp_path: Path) -> None:
    """The twenty-first redirect is one too many, and trying again is not worth it."""
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(redirect("/1"))
        for n in range(1, 23):
            host.serve(redirect(f"/{n + 1}"), name=str(n))
        with refused("image_unavailable") as info:
            await downloader.save(url, tmp_path, "cover_1")
    assert info.value.message == "127.0.0.1 redirects more than 20 times"
    assert len(host.requests) == 21


async def test_circles_are_told(tmp_path: Path) -> None:
    """A redirect to where it came from is followed in case it was on purpose, and then told to be a circle."""
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(redirect("/other"))
        host.serve(redirect("/cover.png"), name="other")
        with refused("image_unavailable") as info:
            await downloader.save(url, tmp_path, "cover_1")
        once = host.serve(redirect("/once"), whole(PNG), name="once")
        await downloader.save(once, tmp_path, "cover_2")
    assert info.value.message == "127.0.0.1 redirects in a circle"
    assert names_in(tmp_path) == ["cover_2.png"]


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/cover.png",
        "https://10.0.0.1/cover.png",
        "http://169.254.169.254/latest/meta-data",
        "//192.168.1.1/cover.png",
        "https://[::ffff:10.0.0.1]/cover.png",
        "http://user:secret@127.0.0.1/cover.png",
        "http://1.1.1.1/cover.png",
        "file:///etc/passwd",
        "http://[",
    ],
)
async def test_redirects_that_lead_inside(tmp_path: Path, location: str) -> None:
    """Every redirect is judged like a first address, and a bad one ends the save."""
    async with ImageHost() as host, make_downloader() as downloader:
        with refused("image_forbidden_address") as info:
            await downloader.save(host.serve(redirect(location)), tmp_path, "cover_1")
    assert len(host.requests) == 1
    assert "secret" not in info.value.message
    if location.startswith(("file:", "http://user")):
        assert info.value.message == "127.0.0.1 redirects to what is not a plain https address"
    assert names_in(tmp_path) == []


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts yet."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a server needs to be one of its hosts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", "cover.example").configure_cert(context)
    return context


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """What a client needs to trust it."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_https(tmp_path: Path, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """A picture comes over TLS from a host whose certificate is trusted and bears its name."""
    resolver = Table(cover_example=["127.0.0.1"], other_example=["127.0.0.1"])
    async with ImageHost(server_tls) as host, make_downloader(ssl_context=trust, resolver=resolver) as downloader:
        await downloader.save(host.serve(whole(PNG), host="cover.example"), tmp_path, "cover_1")
        with refused("image_unavailable") as info:
            await downloader.save(host.serve(whole(PNG), host="other.example"), tmp_path, "cover_2")
    assert info.value.message == "the certificate of other.example is that of another host"
    assert names_in(tmp_path) == ["cover_1.png"]


async def test_distrusted_certificate(tmp_path: Path, server_tls: ssl.SSLContext) -> None:
    """A certificate that is not trusted ends the save at once and names the setting that may help."""
    async with ImageHost(server_tls) as host, make_downloader() as downloader:
        with refused("image_unavailable") as info:
            await downloader.save(host.serve(whole(PNG)), tmp_path, "cover_1")
    assert info.value.message.startswith(
        "the certificate of 127.0.0.1 is signed by an authority that is not known"
    )
    assert "SSL_CERT_FILE" in info.value.hint
    assert host.requests == []


async def test_no_way_down_from_https(tmp_path: Path, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """A redirect from https to http is refused even where http itself would be allowed."""
    async with (
        ImageHost(server_tls) as secure,
        ImageHost() as plain,
        make_downloader(ssl_context=trust) as downloader,
    ):
        url = secure.serve(redirect(plain.serve(whole(PNG))))
        with refused("image_forbidden_address"):
            await downloader.save(url, tmp_path, "cover_1")
    assert plain.requests == []


SAVE_ONE = """
import asyncio, pathlib, sys
from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.images.downloader import Downloader

async def main():
    async with Downloader(allow_loopback=True, clock=SystemClock(), user_agent="test", environ={}) as downloader:
        await downloader.save(sys.argv[1], pathlib.Path(sys.argv[2]), "cover_1")

asyncio.run(main())
"""


async def test_ssl_cert_file(tmp_path: Path, authority: trustme.CA, server_tls: ssl.SSLContext) -> None:
    """SSL_CERT_FILE names the authorities to trust."""
    bundle, folder = tmp_path / "ca.pem", tmp_path / "covers"
    authority.cert_pem.write_to_path(bundle)
    async with ImageHost(server_tls) as host:
        url = host.serve(whole(PNG))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SAVE_ONE, url, str(folder), env=os.environ | {"SSL_CERT_FILE": str(bundle)}
        )
        assert await process.wait() == 0
    assert names_in(folder) == ["cover_1.png"]


class Proxy:
    """A CONNECT proxy that takes every request to one port of this machine.

    Attributes:
        heads: What it was asked, in order.
    """

    def __init__(self, target_port: int, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.heads: list[str] = []
        self.address = ""
        self._target_port = target_port
        self._answer = answer
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._resources.push_async_callback(server.wait_closed)
        self._resources.callback(server.close)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self._answer)
        if b" 200 " in self._answer:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, target_writer))
                group.create_task(pump(target_reader, writer))
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until their end, however it comes."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests decide about proxies themselves."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("login", ["", "me:secret@"])
async def test_proxy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server_tls: ssl.SSLContext,
    trust: ssl.SSLContext,
    login: str,
) -> None:
    """A proxy of the environment is used, with its login, and is given the name, which it alone may know."""
    async with ImageHost(server_tls) as host, Proxy(host.port) as proxy:
        host.serve(whole(PNG))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{login}{proxy.address}")
        async with make_downloader(allow_loopback=False, ssl_context=trust, resolver=Table()) as downloader:
            await downloader.save("https://cover.example/cover.png", tmp_path, "cover_1")
    assert proxy.heads[0].startswith("CONNECT cover.example:443 HTTP/1.1\r\n")
    assert ("Proxy-Authorization: Basic bWU6c2VjcmV0" in proxy.heads[0]) is bool(login)
    assert "Authorization" not in host.requests[0].headers
    assert "Proxy-Authorization" not in host.requests[0].headers


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "inside.example", "both.example"])
async def test_proxy_is_not_led_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A proxy is asked neither for a closed address nor for a name that is known to lead to one."""
    resolver = Table(inside_example=["10.0.0.1"], both_example=["1.1.1.1", "10.0.0.1"])
    async with Proxy(0) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        async with make_downloader(allow_loopback=False, resolver=resolver) as downloader:
            with refused("image_forbidden_address"):
                await downloader.save(f"https://{host}/cover.png", tmp_path, "cover_1")
    assert proxy.heads == []


@pytest.mark.parametrize("no_proxy", ["", "127.0.0.1,.example"])
async def test_proxy_is_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server_tls: ssl.SSLContext,
    trust: ssl.SSLContext,
    no_proxy: str,
) -> None:
    """Loopback never goes through a proxy, nor does what NO_PROXY names."""
    async with ImageHost(server_tls) as host, Proxy(host.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        name = "cover.example" if no_proxy else "localhost"
        resolver = Table(cover_example=["127.0.0.1"], localhost=["127.0.0.1"])
        async with make_downloader(ssl_context=trust, resolver=resolver) as downloader:
            await downloader.save(host.serve(whole(PNG), host=name), tmp_path, "cover_1")
    assert proxy.heads == []


async def test_proxy_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses or is gone is named as the cause, without its login, and with where to look."""
    async with Proxy(0, b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy.address}")
        async with make_downloader(allow_loopback=False, resolver=Table()) as downloader:
            with refused("image_unavailable") as refusal:
                await downloader.save("https://cover.example/cover.png", tmp_path, "cover_1")
    async with make_downloader(allow_loopback=False, resolver=Table()) as downloader:
        with refused("image_unavailable") as absence:
            await downloader.save("https://cover.example/cover.png", tmp_path, "cover_1")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.invalid:3128")
    async with make_downloader(allow_loopback=False, resolver=Table()) as downloader:
        with refused("image_unavailable") as unknown:
            await downloader.save("https://cover.example/cover.png", tmp_path, "cover_1")
    assert refusal.value.message == "the proxy answered 407"
    assert unknown.value.message == "the name of the proxy, proxy.invalid, cannot be resolved"
    assert "HTTPS_PROXY" in unknown.value.hint
    assert absence.value.message == "the proxy cannot be reached"
    assert "HTTPS_PROXY" in refusal.value.hint
    assert "HTTPS_PROXY" in absence.value.hint
