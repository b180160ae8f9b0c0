"""The page server: what lets a browser in, and every way in that is none."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import pytest

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.errors import SunoCoverError, UsageError
from suno_cover_cli.web.guard import PageError
from suno_cover_cli.web.server import Data, Feed, Page, PageServer
from tests.clocks import ManualClock

MAX_BODY_BYTES = 1000


class Notes:
    """A page that keeps what is written and shows it."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.troubles: list[SunoCoverError] = []
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.writes_begun = asyncio.Semaphore(0)
        self.written = asyncio.Event()
        self.is_reading = asyncio.Event()
        self.was_cancelled = asyncio.Event()
        self.feed = Feed()
        self.page = Page(
            document="gallery.html",
            reads={"notes": self._read, "picture": self._picture, "slow": self._slow, "broken": self._broken},
            writes={"notes": self._write},
            feed=self.feed,
            max_body_bytes=MAX_BODY_BYTES,
        )

    async def _read(self, query: Mapping[str, str]) -> object:
        if "secret" in query:
            raise PageError(404, "unknown_note", n=3)
        return self.kept

    async def _picture(self, query: Mapping[str, str]) -> object:
        return Data(b"\x89PNG<script>", "image/png") if query == {} else None

    async def _slow(self, query: Mapping[str, str]) -> object:
        self.is_reading.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        return query

    async def _broken(self, query: Mapping[str, str]) -> object:
        if "known" in query:
            raise UsageError("/home/somebody/journal.sqlite3 is damaged", code="journal_unavailable")
        raise RuntimeError("/home/somebody/secret")

    async def _write(self, body: Any) -> object:
        self.writes_begun.release()
        await self.may_finish.wait()
        if body == "refuse":
            raise PageError(409, "overtaken", picked=2)
        self.kept.append(body)
        self.written.set()
        return {"kept": len(self.kept)}


@contextlib.asynccontextmanager
async def serving(notes: Notes, *, port: int = 0, clock: Clock | None = None) -> AsyncIterator[PageServer]:
    """Serve a page of notes."""
    server = PageServer(notes.page, clock=clock or SystemClock(), port=port, on_trouble=notes.troubles.append)
    async with server:
        yield server


class Visitor:
    """A client that sends exactly what it is told to."""

    def __init__(self, server: PageServer, session: aiohttp.ClientSession) -> None:
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+)(/[0-9a-f]{16}/)\?token=([0-9a-f]{32})", server.url)
        assert found is not None
        self.origin, self.base, self.token = found.groups()
        self.port = int(self.origin.rpartition(":")[2])
        self.cookie = ""
        self._session = session

    async def enter(self) -> None:
        """Exchange the token for the cookie."""
        status, headers, _ = await self.ask("GET", f"?token={self.token}", cookie=None)
        assert status == 303
        self.cookie = headers["Set-Cookie"].partition(";")[0]

    async def ask(
        self, method: str, name: str, *, cookie: str | None = "", body: bytes | None = None, **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request below the page's path; ``_`` in names of headers stands for a dash."""
        path = name if name.startswith("/") else self.base + name
        sent = {header.replace("_", "-"): value for header, value in headers.items()}
        if cookie is not None:
            sent["Cookie"] = cookie or self.cookie
        async with self._session.request(
            method, self.origin + path, headers=sent, data=body, allow_redirects=False
        ) as response:
            return response.status, response.headers, await response.read()

    async def write(self, body: object, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        """Post what the page itself would post; a header that is empty is left out."""
        usual = {"Origin": self.origin, "Content_Type": "application/json", "Sec_Fetch_Site": "same-origin"}
        sent = {name: value for name, value in (usual | headers).items() if value}
        return await self.ask("POST", "notes", body=json.dumps(body).encode(), **sent)


@pytest.fixture
async def notes() -> Notes:
    """Make a page."""
    return Notes()


@pytest.fixture
async def visitor(notes: Notes) -> AsyncIterator[Visitor]:
    """Serve the page and let a client in."""
    async with serving(notes) as server, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        visitor = Visitor(server, session)
        await visitor.enter()
        yield visitor


def code_of(body: bytes) -> str:
    """Return the word of a refusal."""
    return str(json.loads(body)["error"]["code"])


# --- the way in ---------------------------------------------------------------------------------------


async def test_the_token_becomes_a_cookie_and_leaves_the_address(notes: Notes) -> None:
    """The first address leads to one without its token, and to a cookie that scripts and other sites never see."""
    async with serving(notes) as server, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        visitor = Visitor(server, session)
        status, headers, body = await visitor.ask("GET", f"?token={visitor.token}", cookie=None)
        assert (status, body) == (303, b"")
        assert headers["Location"] == visitor.base
        morsel = SimpleCookie(headers["Set-Cookie"])[f"suno-cover-{visitor.port}"]
        assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Strict", visitor.base)
        assert len(morsel.value) == 32
        assert morsel.value != visitor.token
        status, headers, body = await visitor.ask("GET", "", cookie=f"{morsel.key}={morsel.value}")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b'<script type="module" src="gallery.js">' in body


async def test_two_servers_do_not_share_what_lets_in(notes: Notes) -> None:
    """Each server has a token, a path and a cookie of its own, and the cookie of one is nothing to the other."""
    other = Notes()
    async with (
        serving(notes) as one,
        serving(other) as two,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        first, second = Visitor(one, session), Visitor(two, session)
        await first.enter()
        await second.enter()
        assert first.cookie.partition("=")[0] != second.cookie.partition("=")[0]
        both = f"{first.cookie}; {second.cookie}"
        assert (await first.ask("GET", "notes", cookie=both))[0] == 200
        assert (await second.ask("GET", "notes", cookie=both))[0] == 200
        renamed = f"{second.cookie.partition('=')[0]}={first.cookie.partition('=')[2]}"
        assert (await second.ask("GET", "notes", cookie=renamed))[0] == 403


async def test_an_address_on_a_command_line_is_good_once(notes: Notes) -> None:
    """What a browser is opened with stands where other users read it: it lets in once, and for two minutes."""
    clock = ManualClock()
    async with (
        serving(notes, clock=clock) as server,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        visitor = Visitor(server, session)
        spent, late = (server.make_opening_url().partition("token=")[2] for _ in range(2))
        assert visitor.token not in {spent, late}
        assert (await visitor.ask("GET", f"?token={spent}", cookie=None))[0] == 303
        assert (await visitor.ask("GET", f"?token={spent}", cookie=None))[0] == 403
        clock.advance(121)
        assert (await visitor.ask("GET", f"?token={late}", cookie=None))[0] == 403
        assert (await visitor.ask("GET", f"?token={visitor.token}", cookie=None))[0] == 303


@pytest.mark.parametrize("token", ["", "0" * 32, "%FF%FE", "%00", "a" * 4000])
async def test_a_wrong_token_shows_a_locked_page(visitor: Visitor, token: str) -> None:
    """A token that is not ours gives neither a cookie nor a word of what is behind it, whatever its bytes are."""
    status, headers, body = await visitor.ask("GET", f"?token={token}", cookie=None)
    assert status == 403
    assert "Set-Cookie" not in headers
    assert b"This page is locked" in body
    assert b"gallery" not in body


@pytest.mark.parametrize("name", ["", "notes", "gallery.js", "page.css", "events", "/", "/favicon.ico"])
@pytest.mark.parametrize(
    "cookie", ["", "=", "suno-cover-{port}=", "suno-cover-{port}=%C3%28", "suno-cover-{port}=0"]
)
async def test_nothing_is_shown_without_the_cookie(visitor: Visitor, name: str, cookie: str) -> None:
    """No document, script, style, datum or feed is given to a client without the cookie, or with a made-up one."""
    sent = cookie.format(port=visitor.port) or None
    status, headers, _ = await visitor.ask("GET", name, cookie=sent)
    assert status == 403
    assert "Set-Cookie" not in headers


# --- attacks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost",
        "localhost.evil.example:{port}",
        "127.0.0.1.nip.io:{port}",
        "0.0.0.0:{port}",
        "127.0.0.2:{port}",
        "[::]:{port}",
        "user@127.0.0.1:{port}",
        "127.0.0.1:{port}@evil.example",
        "",
    ],
)
async def test_another_host_is_misdirected(visitor: Visitor, host: str) -> None:
    """A foreign name that leads to this machine gets 421 even with the right cookie and token."""
    named = host.format(port=visitor.port)
    for name in ("", "notes", f"?token={visitor.token}"):
        status, headers, body = await visitor.ask("GET", name, Host=named)
        assert (status, code_of(body)) == (421, "wrong_host")
        assert "Set-Cookie" not in headers


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
async def test_the_three_names_of_this_machine_are_served(visitor: Visitor, host: str) -> None:
    """Each name of the loopback address with the right port gets an answer, and may write with its own origin."""
    named = host.format(port=visitor.port)
    assert (await visitor.ask("GET", "notes", Host=named))[0] == 200
    assert (await visitor.write("x", Host=named, Origin=f"http://{named}"))[0] == 200


async def raw(port: int, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the other side closes, or a second of silence."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            while block := await reader.read(65536):
                answer += block
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("version", "lines", "status"),
    [
        ("1.1", "Host: 127.0.0.1:{port}\r\nHost: evil.example", b"400"),
        ("1.1", "Host: evil.example\r\nHost: 127.0.0.1:{port}", b"400"),
        ("1.1", "X: y", b"400"),
        ("1.0", "X: y", b"421"),
        ("1.0", "Host: evil.example", b"421"),
    ],
)
async def test_no_host_and_two_hosts_are_refused(
    visitor: Visitor, version: str, lines: str, status: bytes
) -> None:
    """A request that names two hosts, or none, is answered with neither data nor a cookie."""
    named = lines.format(port=visitor.port)
    head = f"GET {visitor.base}notes HTTP/{version}\r\n{named}\r\nCookie: {visitor.cookie}"
    answer = await raw(visitor.port, f"{head}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split()[1] == status
    assert b"[]" not in answer


async def test_an_address_in_the_request_line_is_no_way_round(visitor: Visitor) -> None:
    """The absolute form of a request is judged by its Host header, and two that differ are refused."""
    lines = f"Cookie: {visitor.cookie}\r\nConnection: close\r\n\r\n"
    target = f"http://127.0.0.1:{visitor.port}{visitor.base}notes"
    answer = await raw(visitor.port, f"GET {target} HTTP/1.1\r\nHost: evil.example\r\n{lines}".encode())
    assert answer.startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.example",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}.evil.example",
    ],
)
async def test_a_write_needs_the_pages_own_origin(visitor: Visitor, notes: Notes, origin: str) -> None:
    """A write whose origin is missing, foreign, of another port or scheme changes nothing."""
    status, _, body = await visitor.write("x", Origin=origin.format(port=visitor.port))
    assert (status, code_of(body)) == (403, "foreign_page")
    assert notes.kept == []


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""]
)
async def test_a_write_is_json(visitor: Visitor, notes: Notes, content_type: str) -> None:
    """What a form of another page can send is not taken, even where its body is JSON."""
    status, _, body = await visitor.write("x", Content_Type=content_type)
    assert (status, code_of(body)) == (415, "not_json")
    assert notes.kept == []


async def test_a_write_needs_the_cookie(visitor: Visitor, notes: Notes) -> None:
    """Origin and type alone do not let a write in."""
    visitor.cookie = "a=b"
    assert (await visitor.write("x"))[0] == 403
    assert notes.kept == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_a_page_of_another_port_reads_and_writes_nothing(visitor: Visitor, notes: Notes, site: str) -> None:
    """A document of another port is of the same site, so the cookie comes along; the browser's word refuses it."""
    for name in ("notes", "picture", "events", "gallery.js"):
        status, _, body = await visitor.ask("GET", name, Sec_Fetch_Site=site)
        assert (status, code_of(body)) == (403, "foreign_page")
    assert (await visitor.write("x", Sec_Fetch_Site=site))[0] == 403
    assert notes.kept == []


@pytest.mark.parametrize(
    "name",
    [
        "../notes",
        "..%2f..%2f..%2fetc%2fpasswd",
        "static/",
        "static/gallery.js",
        ".",
        "gallery.js/",
        "server.py",
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/server.py",
        "gallery.js%00.css",
        "C:%5CWindows%5Cwin.ini",
        "//evil.example/",
    ],
)
async def test_no_path_leads_to_a_file(visitor: Visitor, name: str) -> None:
    """Names are looked up, never opened: no folder is listed and no file outside the page is read."""
    head = f"GET {visitor.base}{name} HTTP/1.1\r\nHost: 127.0.0.1:{visitor.port}\r\n"
    answer = await raw(visitor.port, f"{head}Cookie: {visitor.cookie}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert b"root:" not in answer
    assert b"import" not in answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])
async def test_there_are_two_methods(visitor: Visitor, notes: Notes, method: str) -> None:
    """Nothing is deleted, replaced or negotiated over HTTP: there is GET and POST."""
    notes.kept.append("x")
    status, headers, _ = await visitor.ask(method, "notes", Origin=visitor.origin, Content_Type="application/json")
    assert (status, headers["Allow"]) == (405, "GET, POST")
    assert "Access-Control-Allow-Origin" not in headers
    assert notes.kept == ["x"]


async def test_a_long_body_is_refused(visitor: Visitor, notes: Notes) -> None:
    """More than the page takes is refused by its length, and by what comes where no length is told."""
    status, _, body = await visitor.write("x" * MAX_BODY_BYTES)
    assert (status, code_of(body)) == (413, "too_long")
    head = (
        f"POST {visitor.base}notes HTTP/1.1\r\nHost: 127.0.0.1:{visitor.port}\r\nCookie: {visitor.cookie}\r\n"
        f"Origin: {visitor.origin}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    answer = await raw(visitor.port, head + b"800\r\n" + b" " * 0x800 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert notes.kept == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 900, b'{"a": NaN}'])
async def test_a_body_that_is_not_json_is_refused(visitor: Visitor, notes: Notes, body: bytes) -> None:
    """Nonsense in a body is a 400, however deep it is nested."""
    headers = {"Origin": visitor.origin, "Content_Type": "application/json"}
    status, _, said = await visitor.ask("POST", "notes", body=body, **headers)
    assert (status, code_of(said)) == (400, "not_json")
    assert notes.kept == []


async def test_a_body_that_does_not_come_is_not_waited_for(notes: Notes) -> None:
    """Who sends half a body and falls silent is answered after ten seconds."""
    clock = ManualClock()
    async with (
        serving(notes, clock=clock) as server,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        visitor = Visitor(server, session)
        await visitor.enter()
        reader, writer = await asyncio.open_connection("127.0.0.1", visitor.port)
        writer.write(
            (
                f"POST {visitor.base}notes HTTP/1.1\r\nHost: 127.0.0.1:{visitor.port}\r\n"
                f"Cookie: {visitor.cookie}\r\nOrigin: {visitor.origin}\r\nContent-Type: application/json\r\n"
                'Content-Length: 10\r\n\r\n"abc'
            ).encode()
        )
        answer = asyncio.ensure_future(reader.readline())
        while not answer.done():
            clock.advance(1)
            await asyncio.wait({answer}, timeout=0.01)
        assert answer.result().startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\0" * 100, b"GET / HTTP/9\r\n\r\n"]
)
async def test_what_is_not_http_is_refused_shortly(visitor: Visitor, nonsense: bytes) -> None:
    """Bytes that are no request get the same short answer, which quotes nothing of them and names no library."""
    answer = await raw(visitor.port, nonsense)
    assert answer.split()[1] == b"400"
    assert b"aiohttp" not in answer
    assert answer.endswith(b'{"error":{"code":"not_http"}}')


# --- answers ------------------------------------------------------------------------------------------


async def test_every_answer_has_the_headers_that_keep_browsers_safe(visitor: Visitor) -> None:
    """Documents, data, pictures, redirections and refusals alike say what may be done with them."""
    answers = [
        await visitor.ask("GET", ""),
        await visitor.ask("GET", "notes"),
        await visitor.ask("GET", "picture"),
        await visitor.ask("GET", "gallery.js"),
        await visitor.ask("GET", "nothing"),
        await visitor.ask("GET", "notes", cookie=None),
        await visitor.ask("GET", f"?token={visitor.token}"),
        await visitor.ask("GET", "notes", Host="evil.example"),
        await visitor.ask("DELETE", "notes"),
        await visitor.write("refuse"),
    ]
    for status, headers, _ in answers:
        policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["img-src"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff", status
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "suno-cover"


async def test_a_picture_has_the_type_it_was_given(visitor: Visitor) -> None:
    """Bytes that look like markup are sent as the picture they are."""
    _, headers, body = await visitor.ask("GET", "picture")
    assert (headers["Content-Type"], body) == ("image/png", b"\x89PNG<script>")


async def test_a_refusal_of_the_page_brings_its_facts(visitor: Visitor) -> None:
    """What a page refuses reaches the browser with its word and its facts."""
    status, _, body = await visitor.ask("GET", "notes?secret=1")
    assert (status, json.loads(body)) == (404, {"error": {"code": "unknown_note", "n": 3}})
    status, _, body = await visitor.write("refuse")
    assert (status, json.loads(body)) == (409, {"error": {"code": "overtaken", "picked": 2}})


async def test_an_error_does_not_say_where_files_are(visitor: Visitor, notes: Notes) -> None:
    """A fault reaches the terminal whole and the page as one word, without paths."""
    heard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))
    status, _, body = await visitor.ask("GET", "broken")
    assert (status, json.loads(body)) == (500, {"error": {"code": "internal"}})
    assert "secret" in str(heard[0])
    status, _, body = await visitor.ask("GET", "broken?known=1")
    assert (status, json.loads(body)) == (503, {"error": {"code": "journal_unavailable"}})
    assert "damaged" in notes.troubles[0].message


async def test_who_leaves_is_not_worked_for(visitor: Visitor, notes: Notes) -> None:
    """A read is cancelled when its browser goes away."""
    asking = asyncio.ensure_future(visitor.ask("GET", "slow"))
    async with asyncio.timeout(5):
        await notes.is_reading.wait()
        asking.cancel()
        await notes.was_cancelled.wait()


async def test_a_write_outlives_its_browser(visitor: Visitor, notes: Notes) -> None:
    """What was wished is done, also when the tab is closed before the answer."""
    notes.may_finish.clear()
    writing = [asyncio.ensure_future(visitor.write(body)) for body in ("kept", "refuse")]
    async with asyncio.timeout(5):
        await notes.writes_begun.acquire()
        await notes.writes_begun.acquire()
        for one in writing:
            one.cancel()
        await asyncio.wait(writing)
        notes.may_finish.set()
        await notes.written.wait()
    assert notes.kept == ["kept"]


async def test_a_port_in_use_is_told(notes: Notes) -> None:
    """A port that is taken, or none at all, is an error that names it and what to do."""
    async with serving(notes) as server:
        port = int(re.findall(r":(\d+)/", server.url)[0])
        with pytest.raises(UsageError, match=f"Port {port} on 127.0.0.1 is in use") as found:
            async with serving(Notes(), port=port):
                pass
        assert found.value.code == "port_in_use"
        assert "--port" in found.value.hint
    with pytest.raises(UsageError, match="99999 is not a port"):
        async with serving(Notes(), port=99_999):
            pass


# --- the feed -----------------------------------------------------------------------------------------


class Followed:
    """A feed that is being read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> tuple[str, Any]:
        """Return the next event's name and data."""
        async with asyncio.timeout(5):
            name = (await self._response.content.readline()).decode().removeprefix("event: ").strip()
            data = (await self._response.content.readline()).decode().removeprefix("data: ").strip()
            await self._response.content.readline()
        return name, json.loads(data) if data else None


@contextlib.asynccontextmanager
async def following(visitor: Visitor, session: aiohttp.ClientSession) -> AsyncIterator[Followed]:
    """Follow the feed."""
    headers = {"Cookie": visitor.cookie}
    async with session.get(f"{visitor.origin}{visitor.base}events", headers=headers) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        yield Followed(response)


async def test_followers_hear_what_happens_and_of_the_end(notes: Notes) -> None:
    """Every follower hears events in order, the first that it should begin, the last that this is the end."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(serving(notes))
            visitor = Visitor(server, session)
            await visitor.enter()
            readers = contextlib.AsyncExitStack()
            feeds = [await readers.enter_async_context(following(visitor, session)) for _ in range(2)]
            for feed in feeds:
                assert await feed.next() == ("sync", {})
            notes.feed.publish("note", {"text": "a\nb\u2028c"})
            notes.feed.publish("note", {"text": "d"})
            for feed in feeds:
                assert await feed.next() == ("note", {"text": "a\nb\u2028c"})
                assert await feed.next() == ("note", {"text": "d"})
        async with readers:
            for feed in feeds:
                assert await feed.next() == ("end", {})
                assert (await feed.next())[0] == ""


async def test_a_follower_that_does_not_read_costs_little(notes: Notes) -> None:
    """Events for somebody who reads slowly are dropped beyond a bound, and it is told to begin anew."""
    async with contextlib.aclosing(notes.feed.follow()) as feed:
        assert await anext(feed) == b"event: sync\ndata: {}\n\n"
        for number in range(10_000):
            notes.feed.publish("note", number)
        waiting = await anext(feed)
        assert waiting.startswith(b"event: sync\ndata: {}\n\nevent: note\n")
        assert waiting.endswith(b"data: 9999\n\n")
        assert waiting.count(b"event: ") <= 257


async def test_there_is_a_bound_on_followers(visitor: Visitor, notes: Notes) -> None:
    """The thirty-third open page is refused instead of served badly."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(32):
            feed = await stack.enter_async_context(contextlib.aclosing(notes.feed.follow()))
            await anext(feed)
        status, _, body = await visitor.ask("GET", "events")
        assert (status, code_of(body)) == (503, "too_many_pages")
    async with contextlib.aclosing(notes.feed.follow()) as again:
        assert (await anext(again)).startswith(b"event: sync")
