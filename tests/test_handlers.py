"""Handlers as people run them behind ``listen --forward-to``: what each answers arrives, what ails it is said."""

import asyncio
import base64
import gzip
import json
import re
import socket
import ssl
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Delivery, Outcome
from suno_cover_cli.listen.events import EventLog, ListenEvent
from suno_cover_cli.listen.ndjson import JsonView
from tests.clocks import ScaledClock
from tests.listen_fixtures import Listening, listening, receiving
from tests.listener_fixtures import PATIENCE_S, callback_body
from tests.test_listen_forward import unused_port

brotli = import_module("brotli")

MEBIBYTE = 1024 * 1024
SAID = b'{"received":true}' * 200
Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def running(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a handler made with a web framework; yield its port."""
    runner = web.ServerRunner(web.Server(answering), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def saying(*pieces: bytes) -> AsyncIterator[int]:
    """Run a handler that answers each request with these bytes, piece by piece, and hangs up; yield its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        for piece in pieces:
            writer.write(piece)
            # The reader lives in this loop too: in so many of its turns it has taken the piece.
            for _ in range(20):
                await asyncio.sleep(0)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(
    run: Listening, *, query: str = "", headers: Mapping[str, str] | None = None
) -> tuple[int, CIMultiDictProxy[str], bytes]:
    """Post a callback; return status, headers and body of the answer as they are on the wire."""
    async with (
        aiohttp.ClientSession(
            auto_decompress=False, timeout=aiohttp.ClientTimeout(total=PATIENCE_S), max_headers=1000
        ) as session,
        session.post(
            URL(run.url + query, encoded=True), data=callback_body(), headers=headers, allow_redirects=False
        ) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


async def forwarded(folder: Path, target: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Post one callback to ``listen`` before this receiver; return the answer's status and the event's report."""
    async with listening(folder, forward_to=[target], count=1, **options) as run:
        status, _, _ = await ask(run)
        done = await run.wait_ended()
    report: dict[str, Any] = done.objects[1]["forward"]
    return status, report


# --- what is answered ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("br", brotli.compress)])
async def test_an_answer_that_is_compressed_goes_back_as_it_came(
    tmp_path: Path, coding: str, compress: Callable[[bytes], bytes]
) -> None:
    """A handler that compresses for whoever takes it is read by the sender with its status, headers and bytes."""
    packed = compress(SAID)

    async def answering(request: web.BaseRequest) -> web.StreamResponse:
        takes_it = coding in request.headers.get("Accept-Encoding", "")
        answer = web.Response(body=packed if takes_it else SAID, status=201, content_type="application/json")
        answer.headers.update({"Vary": "Accept-Encoding", "ETag": 'W/"11-x"', "Retry-After": "3"})
        answer.headers.extend([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        if takes_it:
            answer.headers["Content-Encoding"] = coding
        return answer

    async with running(answering) as port, listening(tmp_path, forward_to=[str(port)], count=2) as run:
        status, headers, body = await ask(run, headers={"Accept-Encoding": f"identity, {coding}"})
        plain = await ask(run, headers={"Accept-Encoding": "identity"})
        done = await run.wait_ended()
    assert (status, body) == (201, packed)
    kept = ("Content-Encoding", "Content-Type", "Vary", "ETag", "Retry-After")
    assert [headers[name] for name in kept] == [coding, "application/json", "Accept-Encoding", 'W/"11-x"', "3"]
    assert headers.getall("Set-Cookie") == ["a=1", "b=2"]
    assert (plain[0], plain[2]) == (201, SAID)
    assert "Content-Encoding" not in plain[1]
    event = done.objects[1]
    assert (event["answered"], event["forward"]["status"], event["forward"]["error"]) == (201, 201, None)
    assert base64.b64decode(event["forward"]["body_b64"]) == packed


async def test_a_redirect_to_the_slash_is_shown_and_not_followed(tmp_path: Path) -> None:
    """A framework that wants the slash answers 307: the sender gets it, and the advice is to add the slash."""
    asked: list[str] = []

    async def answering(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/hook/":
            return web.Response()
        return web.Response(status=307, headers={"Location": f"http://{request.host}/hook/"})

    async with running(answering) as port:
        async with listening(tmp_path, json=False, forward_to=[f"127.0.0.1:{port}/hook"], count=1) as run:
            status, headers, _ = await ask(run)
            done = await run.wait_ended()
        there = f"http://127.0.0.1:{port}/hook/"
        assert (status, headers["Location"], asked) == (307, there, ["/hook"])
        assert f"it redirects to {there}, which is not followed: add the slash" in done.stdout
        assert (await forwarded(tmp_path, f"127.0.0.1:{port}/hook/"))[0] == 200
    assert asked == ["/hook", "/hook/"]


async def test_a_certificate_of_ones_own_needs_insecure(tmp_path: Path) -> None:
    """An https handler with a certificate of its own is said to have one; with ``--insecure`` it is reached."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)

    async def answering(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=202, body=await request.read())

    async with running(answering, tls) as port:
        target = f"https://127.0.0.1:{port}/hook"
        status, report = await forwarded(tmp_path, target)
        assert (status, report["status"]) == (502, None)
        assert report["error"].startswith("has a certificate that is not trusted here (")
        assert "--insecure" in report["error"]
        status, report = await forwarded(tmp_path, target, is_insecure=True)
    assert (status, report["status"], report["error"]) == (202, 202, None)
    assert base64.b64decode(report["body_b64"]) == callback_body()


@pytest.mark.parametrize("options", [{"json": True}, {"json": False}, {"json": False, "verbosity": 2}])
async def test_a_handler_behind_a_login(tmp_path: Path, options: dict[str, Any]) -> None:
    """Without the login the sender gets 401 and the screen says so; ``user:password@`` opens it, shown nowhere."""
    logins: list[str] = []
    wanted = f"Basic {base64.b64encode(b'ann:p:w@d').decode()}"

    async def answering(request: web.BaseRequest) -> web.StreamResponse:
        logins.append(request.headers.get("Authorization", ""))
        if logins[-1] == wanted:
            return web.Response()
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="hooks"'})

    async with running(answering) as port:
        async with listening(tmp_path, forward_to=[f"127.0.0.1:{port}/hook"], count=1, **options) as run:
            status, headers, _ = await ask(run)
            refused = await run.wait_ended()
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="hooks"')
        target = f"http://ann:p%3Aw%40d@127.0.0.1:{port}/hook"
        async with listening(tmp_path, forward_to=[target], count=1, **options) as run:
            status, _, _ = await ask(run)
            opened = await run.wait_ended()
    if options["json"]:
        assert refused.objects[1]["forward"]["headers"]["www-authenticate"] == 'Basic realm="hooks"'
    else:
        assert "does your handler want a login?" in refused.stdout
    assert (status, logins) == (200, ["", wanted])
    assert f"127.0.0.1:{port}/hook" in opened.stdout + opened.stderr
    for secret in ("p:w@d", "p%3Aw%40d", wanted.split()[1]):
        assert secret not in opened.stdout + opened.stderr


async def test_a_handler_that_needs_the_query_gets_it(tmp_path: Path) -> None:
    """A handler that finds its job by the query is asked with it, as the sender spelled it, behind its own."""

    async def answering(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=200 if "songId" in request.query else 400, text=request.raw_path)

    async with running(answering) as port, listening(tmp_path, forward_to=[f"{port}/hook?own=1"]) as run:
        assert (await ask(run))[0] == 400
        status, _, body = await ask(run, query="?songId=a%2Fb&sig=x_-")
    assert (status, body) == (200, b"/hook?own=1&songId=a%2Fb&sig=x_-")


async def test_an_answer_of_two_gibibytes_costs_little(tmp_path: Path) -> None:
    """What a handler goes on saying passes through; 64 KiB are kept, and when the sender leaves it is cut."""
    is_cut = asyncio.Event()
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2048 * MEBIBYTE))
        try:
            while True:
                writer.write(b"z" * 65536)
                await writer.drain()
                sent += 65536
        except ConnectionError:
            is_cut.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, listening(tmp_path, forward_to=[str(server.sockets[0].getsockname()[1])]) as run:
        address = urlsplit(run.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        body = callback_body()
        writer.write(b"POST %s HTTP/1.1\r\nHost: h\r\n" % address.path.encode())
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            tracemalloc.start()
            try:
                for _ in range(24):
                    await reader.readexactly(MEBIBYTE // 2)
                _, peak_bytes = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            writer.transport.abort()
            await is_cut.wait()
        (event,) = await run.wait_events(1)
    assert b"Content-Length: 2147483648\r\n" in head
    # Half a mebibyte of it is the test's own.
    assert peak_bytes < 4 * MEBIBYTE
    assert 12 * MEBIBYTE <= sent < 100 * MEBIBYTE
    assert base64.b64decode(event["forward"]["body_b64"]) == b"z" * 65536
    assert event["forward"]["status"] == 200


# --- what ails it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "hung up without an answer"),
        (b"HTTP/1.1 200 OK\r\nX-Half: ", "hung up in the middle of its headers"),
        (b"\x1b[31mSSH-2.0-OpenSSH\r\n\r\n", "answered with something that is not HTTP"),
        (
            b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
            "answered with the status 099, which HTTP does not have",
        ),
        (b"HTTP/1.1 099 Odd\r\nContent-Length: 9\r\n\r\nhalf", "answered 99, but its answer broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "a header that is not HTTP"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "answered with something that is not HTTP; is this the right port?"),
        (b"HTTP/1.1 200 OK\r\nstatus line\r\n\r\n", "answered with a header that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "answered with a header that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 200_000 + b"\r\n\r\n", "a header line of over 64 KiB"),
    ],
)
async def test_each_fault_of_an_answer_has_its_own_words(tmp_path: Path, answer: bytes, words: str) -> None:
    """No answer, noise and bad headers are told apart; the sender gets 502 each time."""
    async with saying(answer) as port:
        status, report = await forwarded(tmp_path, str(port))
    assert (status, report["status"]) == (502, None)
    assert words in report["error"]
    assert report["error"].isprintable()


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n4\r\n"])
async def test_an_answer_that_breaks_off_breaks_off_for_the_sender_too(tmp_path: Path, framing: bytes) -> None:
    """The sender sees the handler's status, headers and what came of the body, and no whole answer."""
    async with (
        saying(b"HTTP/1.1 201 Made\r\nX: 1\r\n" + framing + b"half") as port,
        listening(tmp_path, forward_to=[str(port)], count=1) as run,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
        session.post(run.url, data=callback_body()) as answer,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        done = await run.wait_ended()
    assert (answer.status, answer.headers["X"]) == (201, "1")
    event = done.objects[1]
    report = event["forward"]
    assert (event["answered"], report["status"], report["headers"]) == (201, 201, {"x": "1"})
    assert base64.b64decode(report["body_b64"]) == b"half"
    assert report["error"].startswith("answered 201, but its answer broke off after 4 bytes")


async def test_an_answer_that_does_not_end_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    """The sender gets 504; the report has the status and headers that came, and says that the end did not."""
    never = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 201 Made\r\nX: 1\r\nContent-Length: 100\r\n\r\nhalf")
        await never.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        status, report = await forwarded(tmp_path, str(port), clock=ScaledClock(50))
        never.set()
    assert (status, report["status"], report["headers"]) == (504, 201, {"x": "1"})
    assert report["error"].startswith("answered 201, but its answer did not end within 14 s")


@pytest.mark.parametrize(
    "value", ["caf\u00e9 \u9519\u8bef".encode(), "caf\u00e9".encode("latin-1")], ids=["UTF-8", "Latin-1"]
)
async def test_a_header_of_an_answer_is_text_in_either_charset(tmp_path: Path, value: bytes) -> None:
    """The report has the handler's header as it reads, UTF-8 as well as Latin-1; the sender has its bytes."""
    async with saying(b"HTTP/1.1 200 OK\r\nX-Said: " + value + b"\r\nContent-Length: 0\r\n\r\n") as port:
        _, report = await forwarded(tmp_path, str(port))
    assert report["headers"]["x-said"] == value.decode("utf-8" if len(value) > 5 else "latin-1")


async def test_several_cookies_stay_apart_in_a_report(tmp_path: Path) -> None:
    """Cookies have commas of their own (RFC 9110, 5.3): each is a line of the value, other fields are joined."""
    fields = b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nSet-Cookie: b=2\r\nX: 1\r\nX: 2\r\n"
    async with saying(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n") as port:
        _, report = await forwarded(tmp_path, str(port))
    assert report["headers"]["set-cookie"].split("\n") == ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]
    assert report["headers"]["x"] == "1, 2"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 2\r\nX: 1\r\ncontent-length: 2\r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\nX: 1\r\n",
        b"Content-Length: 2\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(500)),
    ],
    ids=["its length twice, the last line", "its length twice", "hundreds of fields"],
)
async def test_what_a_handler_answers_loosely_is_an_answer(tmp_path: Path, fields: bytes) -> None:
    """What curl takes from a handler goes back to the sender, and is not called unreachable."""
    async with (
        saying(b"HTTP/1.1 202 Fine\r\n" + fields + b"\r\nok") as port,
        listening(tmp_path, forward_to=[f"{port}/x"]) as run,
    ):
        status, headers, body = await ask(run)
        (event,) = await run.wait_events(1)
    assert (status, body) == (202, b"ok")
    assert [value for name, value in headers.items() if name.startswith("X")][:1] == ["1"]
    assert (event["forward"]["status"], event["forward"]["error"]) == (202, None)


TWICE = b"HTTP/1.1 202 Fine\r\nContent-Length: 2\r\nX: 1\r\nContent-Length: 2\r\n\r\nok"
TRANSCRIPT = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ((TWICE[:40], TWICE[40:]), b"ok"),
        ([bytes([byte]) for byte in TWICE], b"ok"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" + TWICE[:60], TWICE[60:]), b"ok"),
        ((TWICE.replace(b"\r\n", b"\n"),), b"ok"),
        ((b"HTTP/1.1 202 Fine\r\nContent-Length: %d\r\n\r\n" % len(TRANSCRIPT), TRANSCRIPT), TRANSCRIPT),
    ],
    ids=["two pieces", "byte by byte", "after an interim answer", "bare line feeds", "a body like a head"],
)
async def test_an_answer_in_pieces_is_the_same_answer(
    tmp_path: Path, pieces: Sequence[bytes], body: bytes
) -> None:
    """However a handler's answer is cut on its way, the sender gets it, and its body as it was."""
    async with saying(*pieces) as port, listening(tmp_path, forward_to=[f"{port}/x"]) as run:
        status, _, answered = await ask(run)
        (event,) = await run.wait_events(1)
    assert (status, answered) == (202, body)
    assert (event["forward"]["status"], event["forward"]["error"]) == (202, None)


async def test_a_head_that_never_ends_is_given_up_in_time(tmp_path: Path) -> None:
    """Noise that hangs on is told as noise at once; half a head that is cut is told as that."""
    async with saying(b"SSH-2.0-OpenSSH_9.9\r\n") as port:
        _, noise = await forwarded(tmp_path, str(port))
    async with saying(b"HTTP/1.1 20", b"0 OK\r\nX: 1\r\n") as port:
        _, half = await forwarded(tmp_path, str(port))
    assert "something that is not HTTP" in noise["error"]
    assert "hung up in the middle of its headers" in half["error"]


async def test_each_way_of_not_being_there_has_its_own_words(tmp_path: Path) -> None:
    """A refused connection, a name without an address and http where https is asked are told apart."""
    port = unused_port()
    status, report = await forwarded(tmp_path, f"127.0.0.1:{port}")
    assert status == 502
    assert report["error"].startswith(f"cannot reach 127.0.0.1:{port}: ")
    assert "is it running?" in report["error"]
    _, report = await forwarded(tmp_path, "http://no-such-host.invalid/hook")
    assert "cannot be found: no address is known for no-such-host.invalid" in report["error"]

    async def answering(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async with running(answering) as port:
        _, report = await forwarded(tmp_path, f"https://127.0.0.1:{port}/")
    assert f"does not speak TLS on port {port}; does it want http://?" in report["error"]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("hangs up", "broke off the TLS handshake; does it want http://?"),
        ("objects", "refused the TLS handshake (sslv3 alert handshake failure); its log may say why"),
        ("waits", "no answer within 14 s; answer first and do the work afterwards; does it want http://?"),
    ],
)
async def test_what_goes_wrong_before_a_secure_connection_is_open(
    tmp_path: Path, behaviour: str, words: str
) -> None:
    """Servers that hang up on TLS, say what they object to, or wait are told apart; none is called not running."""
    never = asyncio.Event()
    tls = None
    if behaviour == "objects":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        tls.set_ciphers("AES128-SHA")
        trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        if behaviour == "waits":
            await never.wait()
        writer.close()

    def shake_hands(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(ssl.SSLError):
            assert tls is not None
            tls.wrap_socket(connection, server_side=True)

    if tls is None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            clock = ScaledClock(50) if behaviour == "waits" else None
            _, report = await forwarded(tmp_path, url, clock=clock)
            never.set()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening_socket:
            threading.Thread(target=shake_hands, args=(listening_socket,), daemon=True).start()
            _, report = await forwarded(tmp_path, f"https://127.0.0.1:{listening_socket.getsockname()[1]}/")
    assert report["error"] == words


# --- several receivers, headers, the path ----------------------------------------------------------------------


async def test_of_several_receivers_the_first_one_answers(tmp_path: Path) -> None:
    """Each gets every byte; the sender hears the first alone, and what the others did has lines of its own."""
    async with (
        receiving(202, b"first") as first,
        receiving(500, b"second") as second,
        receiving() as third,
        listening(
            tmp_path, forward_to=[f"{one.port}/x" for one in (first, second, third)], headers=["X-Env: dev"]
        ) as run,
    ):
        status, _, body = await ask(run)
        await run.wait_until(lambda: run.stdout.count('"forwarded"') == 2)
        await run.wait_events(1)
        lines = run.objects
    assert (status, body) == (202, b"first")
    for one in (first, second, third):
        (request,) = one.requests
        assert request.endswith(b"\r\n\r\n" + callback_body())
        assert b"\r\nX-Env: dev\r\n" in request
    event = next(line for line in lines if line["type"] == "event")
    assert (event["answered"], event["forward"]["url"]) == (202, f"http://localhost:{first.port}/x")
    others = [line for line in lines if line["type"] == "forwarded"]
    assert {(line["forward"]["url"], line["forward"]["status"]) for line in others} == {
        (f"http://localhost:{second.port}/x", 500),
        (f"http://localhost:{third.port}/x", 200),
    }
    assert {(line["n"], line["id"]) for line in others} == {(event["n"], event["id"])}


async def test_what_is_no_callback_is_shown_before_any_answer_to_it(tmp_path: Path) -> None:
    """A probe's line comes first, however slow the first receiver and however quick a further one."""
    hold = asyncio.Event()
    async with (
        receiving(hold=hold) as slow,
        listening(tmp_path, json=False, forward_to=[str(slow.port), str(unused_port())]) as run,
    ):
        probe = asyncio.create_task(run.post(b"", method="GET"))
        await run.wait_until(lambda: "no answer from" in run.stdout)
        assert re.match(r"\S+ --> 1 GET, 0 B\n\S+ <-- 1 no answer from ", run.stdout)
        hold.set()
        assert (await probe).status == 200
        await run.wait_until(lambda: "<-- 1 200 from" in run.stdout)


async def test_a_flood_shows_no_answer_without_its_request(tmp_path: Path) -> None:
    """Of requests that are only counted no receiver's answer is shown either; callbacks are shown all the same."""
    async with (
        receiving() as first,
        listening(tmp_path, json=False, forward_to=[str(first.port), str(unused_port())], count=1) as run,
    ):
        await asyncio.gather(*(run.post(b"", method="GET") for _ in range(60)))
        await run.post(callback_body())
        done = await run.wait_ended()
    came, answered = (set(re.findall(rf"{arrow} (\d+) ", done.stdout)) for arrow in ("-->", "<--"))
    assert answered <= came
    assert 11 <= len(came) < 61
    assert "61" in came
    assert "are only counted" in done.stdout


def test_a_receiver_quicker_than_the_record_waits_for_the_number() -> None:
    """What a further receiver did is shown after the event, under its number, however soon it answered."""
    lines: list[str] = []
    waiting: list[ListenEvent] = []
    log = EventLog(JsonView(lambda text, _: lines.extend(text.splitlines())), on_event=lambda _: False)
    log.record = waiting.append
    event = log.take_arrival(
        ReceivedRequest(n=1, id="evt_1", ts=1.5, path="/callback/x", headers=(), body=b"{}", content=None)
    )
    log.take_delivery(event, Delivery(url="http://second", outcome=Outcome.ANSWERED, status=500, latency_ms=1.0))
    assert (lines, waiting) == ([], [event])
    log.take_numbers([event], 7)
    log.take_delivery(event, Delivery(url="http://third", outcome=Outcome.ANSWERED, status=200, latency_ms=1.0))
    assert [(line["n"], line["forward"]["url"]) for line in map(json.loads, lines)] == [
        (7, "http://second"),
        (7, "http://third"),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"forward_to": [str(3000 + n) for n in range(17)]}, "--forward-to takes at most 16 receivers"),
        ({"forward_to": [str(3000 + n) for n in range(100)]}, "--forward-to takes at most 16 receivers"),
        (
            {"forward_to": ["3000"], "headers": ["X-A: hush\r\nX-B: 2"]},
            'the value of --header "X-A" holds a line break',
        ),
        ({"forward_to": ["3000"], "headers": ["X-A: hush\x07"]}, 'of --header "X-A" holds a control character'),
        ({"forward_to": ["3000"], "headers": ["X A: hush"]}, '--header "X A" is not a header line'),
        ({"forward_to": ["3000"], "headers": ["Content-Length: 5"]}, '--header "Content-Length" cannot be set'),
        ({"headers": ["X-A: hush"]}, "--header has no effect without a receiver"),
        ({"is_insecure": True}, "--insecure has no effect without a receiver"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    """Too many receivers and headers that are none are exit 2 with the fix; no value is quoted."""
    async with listening(tmp_path, is_ready=False, json=False, **options) as run:
        done = await run.wait_ended()
    assert done.code == 2
    assert words in done.stderr
    assert "hush" not in done.stderr


async def test_the_path_is_kept_until_a_new_one_is_wanted(tmp_path: Path) -> None:
    """A run receives on the path of the run before it; ``--new-path`` rolls it for that run and the next."""
    paths = []
    for options in ({}, {}, {"has_new_path": True}, {}, {"path": "/mine"}, {}):
        async with listening(tmp_path, **options) as run:
            paths.append(urlsplit(run.url).path)
    first, same, new, kept, own, back = paths
    assert first == same != new == kept == back
    assert own == "/mine"
    assert (tmp_path / "state" / "listen-path").stat().st_mode & 0o077 == 0


ADVICE = [
    *(
        (status, {"Location": "/hook/"}, "/hook/, which is not followed: add the slash")
        for status in (301, 302, 307, 308)
    ),
    *(
        (status, {"Location": "/new"}, "/new, which is not followed: use that address")
        for status in (301, 302, 307, 308)
    ),
    (302, {"Location": "/login?next=/hook"}, "does your handler want a login?"),
    (307, {"Location": "https://{host}/hook"}, "use https://"),
    (302, {"Location": "/hook"}, "it is the same address; does your handler want a cookie?"),
    (302, {"Location": "?songId=1"}, "it is the same address; does your handler want a cookie?"),
    (302, {"Location": "?songId=1&token=2"}, "/hook?songId=1&token=2, which is not followed: use that address"),
    (300, {"Location": "/new"}, "/new, which is not followed: use that address"),
    (301, {"Location": "/caf\u00e9"}, "/caf\u00e9, which is not followed: use that address"),
    (301, {"Location": "javascript:alert(1)"}, "it redirects to javascript:alert(1), which is not followed\n"),
    (426, {"Upgrade": "HTTP/2.0"}, "it wants another version of HTTP, or https://"),
    (308, {}, "it redirects without saying where"),
    (303, {"Location": "/thanks"}, "/thanks, which is not followed: 303 answers a form; the service wants 200"),
    (303, {"Location": "/hook/"}, "/hook/, which is not followed: add the slash"),
    (401, {"WWW-Authenticate": "Basic"}, "does your handler want a login?"),
    (403, {}, "want a login, or another Host or Origin?"),
    (404, {}, "check the path: requests go to exactly the address that you gave"),
    (405, {"Allow": "GET, PUT"}, "that path does not take this method; it allows GET, PUT"),
    (415, {}, "does not take this Content-Type or Content-Encoding"),
    (422, {}, "your handler misses fields that it wants in the body or query"),
]


@pytest.mark.parametrize(("status", "headers", "words"), ADVICE)
async def test_the_advice_on_an_answer_is_on_the_screen(
    tmp_path: Path, status: int, headers: dict[str, str], words: str
) -> None:
    """Each redirect and refusal is explained below the answer, whole, whatever was sent with the request."""

    async def answer(request: web.BaseRequest) -> web.Response:
        named = {name: value.format(host=request.host) for name, value in headers.items()}
        return web.Response(status=status, headers=named)

    async with (
        running(answer) as port,
        listening(tmp_path, json=False, forward_to=[f"127.0.0.1:{port}/hook"], count=1) as run,
    ):
        assert (await ask(run, query="?songId=1"))[0] == status
        done = await run.wait_ended()
    assert words in done.stdout


async def test_a_login_that_is_refused_is_not_asked_for(tmp_path: Path) -> None:
    """With a login in the address, 401 means that it was not taken."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=401)

    async with (
        running(answer) as port,
        listening(tmp_path, json=False, forward_to=[f"me:wrong@127.0.0.1:{port}/hook"], count=1) as run,
    ):
        await ask(run)
        done = await run.wait_ended()
    assert "your handler does not take this login" in done.stdout
    assert "want a login" not in done.stdout


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "answered 500 by {url}, "),
        (b"", "answered 502: no answer from {url} (hung up without an answer), "),
        (b"noise\r\n\r\n", "answered 502: no answer from {url} (answered with something that is not HTTP), "),
        (
            b"HTTP/1.1 201 Made\r\nContent-Length: 9\r\n\r\nhalf",
            "answered 201: {url} answered 201, but its answer broke off after 4 bytes, ",
        ),
    ],
)
async def test_the_record_names_a_handler_for_its_own_answers_alone(
    tmp_path: Path, answer: bytes, words: str
) -> None:
    """In the list, an answer is "by" a handler that gave it whole; of any other it says what went wrong."""
    async with saying(answer) as port:
        async with listening(tmp_path, forward_to=[f"localhost:{port}/hook"], count=1) as run:
            with suppress(aiohttp.ClientPayloadError):
                await ask(run)
            await run.wait_ended()
        async with listening(tmp_path, is_ready=False, json=False, list_events=True) as run:
            listed = (await run.wait_ended()).stdout
    assert words.format(url=f"http://localhost:{port}/hook") in listed


async def test_the_record_does_not_name_a_handler_that_is_not_there(tmp_path: Path) -> None:
    """Where no handler could be reached, the list says that none answered."""
    url = f"http://localhost:{unused_port()}/hook"
    async with listening(tmp_path, forward_to=[url], count=1) as run:
        await ask(run)
        await run.wait_ended()
    async with listening(tmp_path, is_ready=False, json=False, list_events=True) as run:
        listed = (await run.wait_ended()).stdout
    assert f"answered 502: no answer from {url} (cannot reach localhost:" in listed
    assert " by " not in listed
