"""``listen --inspect`` in a real browser: what comes is seen, searched, compared and sent again."""

import asyncio
import contextlib
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
from aiohttp import web

from suno_cover_cli.web.inspector import Again, Answer, Inspected, Inspector
from tests.browser import Browser, Tab
from tests.callback_cases import CASES
from tests.cli_fixtures import Cli

READY = "document.querySelector('[data-ready]')"
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
COVER = {"code": 200, "msg": "success", "data": {"taskId": "t-1", "images": ["https://i.example/1.png"]}}


class Listening(msgspec.Struct, kw_only=True):
    """A ``listen --inspect`` that runs, and the receiver behind it."""

    page: str
    url: str
    received: list[tuple[str, str, dict[str, str], bytes]]
    session: aiohttp.ClientSession
    answers: list[tuple[dict[str, str], bytes]]
    """Headers and bodies that the receiver answers with next, before it goes back to its own."""

    async def send(self, body: bytes, method: str = "POST", query: str = "", **headers: str) -> int:
        """Send a request to the listener; return the answer's status."""
        named = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        async with self.session.request(method, self.url + query, data=body, headers=named) as answer:
            return answer.status


@pytest.fixture
async def listening(cli: Cli) -> AsyncIterator[Listening]:
    """Listen on this machine alone, with a receiver that answers 202, and a page."""
    received: list[tuple[str, str, dict[str, str], bytes]] = []
    answers: list[tuple[dict[str, str], bytes]] = []

    async def receive(request: web.BaseRequest) -> web.StreamResponse:
        received.append(
            (request.method, request.rel_url.raw_query_string, dict(request.headers), await request.read())
        )
        if answers:
            headers, body = answers.pop(0)
            return web.Response(body=body, headers=headers)
        return web.json_response(
            {"got": len(received)}, status=202, headers={"X-Kept": "yes", "Set-Cookie": "a=1"}
        )

    runner = web.ServerRunner(web.Server(receive, auto_decompress=False), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    started = await cli.begin(
        "listen", "--no-tunnel", "--inspect", "--json", "--forward-to", f"127.0.0.1:{port}/hook"
    )
    try:
        lines: dict[str, Any] = {}
        while "ready" not in lines:
            line = json.loads(await asyncio.wait_for(started.stdout.readline(), 30))
            lines[line["type"]] = line
        assert lines["page"]["v"] == 1
        async with aiohttp.ClientSession() as session:
            yield Listening(
                page=lines["page"]["url"],
                url=lines["ready"]["url"],
                received=received,
                session=session,
                answers=answers,
            )
    finally:
        started.kill()
        await started.wait()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[Tab]:
    """Open the page; the browser must not complain, nor ask anybody else."""
    async with browser.open_tab(**options) as tab:
        await tab.go(url)
        await tab.wait_for(READY)
        yield tab
        origin = "/".join(url.split("/")[:3])
        assert [one for one in tab.requests if not one.startswith(origin)] == []
        assert tab.complaints == []


@pytest.fixture
async def tab(browser: Browser, listening: Listening) -> AsyncIterator[Tab]:
    """Open the page at 1280 x 800."""
    async with opened(browser, listening.page) as tab:
        yield tab


async def said(tab: Tab, words: str) -> None:
    """Wait until these words are told to a screen reader."""
    await tab.wait_for(f"document.getElementById('status').textContent.includes({json.dumps(words)})")


async def lines_of(tab: Tab, part: str) -> list[str]:
    """Return the lines of headers, body or answer."""
    found: list[str] = await tab.run(f"probe.texts('#p-{part} > p')")
    return found


async def test_requests_appear_as_they_come(tab: Tab, listening: Listening) -> None:
    """A callback and what is none are listed live with their answers; headers, body and answer stand level."""
    assert await listening.send(json.dumps(COVER).encode(), query="?songId=7") == 202
    await tab.wait_for("probe.texts('.request').length === 1")
    assert await tab.run("document.getElementById('counts').textContent") == "1 request"
    assert await listening.send(b"", method="GET", query="?probe=1") == 202
    await tab.wait_for("probe.texts('.request').length === 2")
    assert await tab.run("probe.texts('.request .method')") == ["GET", "POST"], "the newest first"
    assert await tab.run("probe.texts('.request .code')") == ["202", "202"]
    await tab.press("ArrowDown")
    await tab.wait_for("document.getElementById('detail-title').textContent.endsWith('?songId=7')")
    assert "t-1" in await tab.run("document.getElementById('detail-summary').textContent")
    assert '    "taskId": "t-1",' in await lines_of(tab, "body"), "indented"
    assert "Content-Type: application/json" in await lines_of(tab, "headers")
    answer = await lines_of(tab, "answer")
    assert answer[0].startswith("202, ")
    assert "X-Kept: yes" in answer
    assert '  "got": 1' in answer
    tops = await tab.run("probe.all('.parts section', (one) => one.getBoundingClientRect().top)")
    assert len(set(tops)) == 1, "side by side"


async def test_every_receiver_is_shown(browser: Browser, cli: Cli) -> None:
    """Of several receivers each one's answer stands below the first one's, and each can be sent to again."""
    statuses = {"/one": 200, "/two": 202, "/three": 500}

    async def receive(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=statuses[request.path])

    runner = web.ServerRunner(web.Server(receive), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    addresses = [f"http://127.0.0.1:{runner.addresses[0][1]}{path}" for path in statuses]
    targets = [word for address in addresses for word in ("--forward-to", address)]
    started = await cli.begin("listen", "--no-tunnel", "--inspect", "--json", *targets)
    try:
        lines: dict[str, Any] = {}
        while "ready" not in lines:
            line = json.loads(await asyncio.wait_for(started.stdout.readline(), 30))
            lines[line["type"]] = line
        async with opened(browser, lines["page"]["url"]) as tab, aiohttp.ClientSession() as session:
            async with session.post(lines["ready"]["url"], json=COVER) as answer:
                assert answer.status == 200
            await tab.wait_for("probe.texts('#p-answer > p.head').length === 3")
            heads = await tab.run("probe.texts('#p-answer > p.head')")
            assert heads[0].startswith("200, ")
            assert heads[0].endswith(addresses[0])
            assert {(head[:4], head.rpartition("/")[2]) for head in heads[1:]} == {
                ("202,", "two"),
                ("500,", "three"),
            }
            gaps = await tab.run(
                "probe.all('#p-answer > p.head:not(:first-child)', (head) =>"
                " head.getBoundingClientRect().top - head.previousElementSibling.getBoundingClientRect().bottom)"
            )
            assert len(gaps) == 2
            assert min(gaps) >= 12, "more than lies between two lines"
            await tab.press("e")
            await tab.wait_for("!document.getElementById('editor').hidden")
            shown = await tab.run("probe.texts('#edit-to option')")
            assert shown == [lines["ready"]["local"], *addresses]
    finally:
        started.kill()
        await started.wait()
        await runner.cleanup()


async def test_bodies_are_read_as_json_text_and_hex(tab: Tab, listening: Listening) -> None:
    """A packed body is shown unpacked, as JSON, as text and as the bytes that came; what is no text in hex."""
    packed = gzip.compress(json.dumps(COVER).encode(), mtime=0)
    await listening.send(packed, Content_Encoding="gzip")
    await tab.wait_for("probe.texts('#p-body > p').includes('  \"code\": 200,')")
    await tab.press("b")
    await tab.wait_for("probe.texts('#p-body > p').length === 1")
    assert await lines_of(tab, "body") == [json.dumps(COVER)]
    await tab.press("b")
    await tab.wait_for("probe.texts('#p-body > p')[0].startsWith('000000  1f 8b 08')")
    await listening.send(b"\x89PNG\r\n\x1a\n" * 4)
    await tab.wait_for("probe.texts('.request').length === 2")
    await tab.press("b", "Home")
    await tab.wait_for("probe.texts('#p-body > p')[0].startsWith('Not text, 32 B')")


SAID = '{"error": "d\u00e9j\u00e0 vu \u4f60\u597d"}'
LONG = [f'{{"n": {n}, "id": "{hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()}"}}' for n in range(4000)]


@pytest.mark.parametrize(
    ("headers", "body", "shown"),
    [
        *(
            pytest.param({"Content-Encoding": name}, pack(SAID.encode()), json.loads(SAID)["error"], id=name)
            for name, pack in {
                "gzip": gzip.compress,
                "deflate": zlib.compress,
                "br": import_module("brotli").compress,
                "zstd": import_module(
                    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
                ).compress,
                "gzip, deflate": lambda body: zlib.compress(gzip.compress(body)),
            }.items()
        ),
        pytest.param(
            {"Content-Type": "application/json; charset=gbk"}, SAID.encode("gbk"), "\u4f60\u597d", id="gbk"
        ),
        pytest.param(
            {"Content-Type": "text/plain; charset=koi8-r"},
            "\u0431\u0435\u0434\u0430".encode("koi8-r"),
            "\u0431\u0435\u0434\u0430",
            id="koi8-r",
        ),
        pytest.param({}, SAID.encode("utf-16"), "\u4f60\u597d", id="utf-16"),
        pytest.param({}, gzip.compress(SAID.encode()), "\u4f60\u597d", id="gzip unsaid"),
        pytest.param({}, b"a" + 40_000 * "\u00e9".encode(), "a\u00e9\u00e9", id="cut within a character"),
        pytest.param(
            {"Content-Encoding": "gzip"}, gzip.compress("\n".join(LONG).encode()), LONG[0], id="gzip, kept in part"
        ),
        pytest.param({}, b"\x89PNG\r\n\x1a\n\0\0\xff", "89 50 4e 47 0d 0a", id="no text"),
        pytest.param({"Content-Encoding": "gzip"}, gzip.compress(bytes(8 * 1024 * 1024)), "1f 8b 08", id="bomb"),
    ],
)
async def test_the_receivers_answer_is_read_as_requests_are(
    tab: Tab, listening: Listening, headers: dict[str, str], body: bytes, shown: str
) -> None:
    """An answer is unpacked and decoded as its headers say, sent again too; only what is no text is in hex."""
    listening.answers += 2 * [(headers, body)]
    await listening.send(json.dumps(COVER).encode())
    await tab.wait_for("probe.texts('#p-answer > p').length > 1")
    is_hex = shown.startswith(("89", "1f"))
    for is_again in (False, True):
        if is_again:
            await tab.press("r")
            await said(tab, "Sent again: 200.")
        answer = await lines_of(tab, "answer")
        assert any(shown in line for line in answer)
        assert any(line.startswith("000000  ") for line in answer) == is_hex
    assert listening.answers == []


async def test_differences_to_the_one_before(tab: Tab, listening: Listening) -> None:
    """What changed since the request before is marked, line by line, in headers and body."""
    await listening.send(json.dumps(COVER).encode(), X_Try="1")
    other = COVER | {"msg": "again"}
    await listening.send(json.dumps(other).encode(), X_Try="2")
    await tab.wait_for("probe.texts('.request').length === 2")
    await tab.press("Home", "d")
    await said(tab, "Differences from the one before.")
    await tab.wait_for("probe.texts('#p-body .plus').length === 1")
    assert await tab.run("probe.texts('#p-body .minus')") == ['-   "msg": "success",']
    assert await tab.run("probe.texts('#p-body .plus')") == ['+   "msg": "again",']
    assert "+ X-Try: 2" in await tab.run("probe.texts('#p-headers .plus')")
    await tab.press("ArrowDown")
    await tab.wait_for("document.getElementById('diff-note').textContent.startsWith('There is no earlier')")


# What has to be seen of each in the list, however narrow it is.
LISTED = {
    "cover": "200 done, 2 images",
    "cover-failed": "501 cover generation failed",
    "music-first": "music first, 2 tracks",
    "music-error": "music error, 400 the request was refused",
    "lyrics": "lyrics complete",
    "wav": "wav",
}


@pytest.mark.parametrize("width", [1280, 390])
async def test_kind_and_stage_are_seen_in_the_list(browser: Browser, listening: Listening, width: int) -> None:
    """What a callback is stands first and before the cut; why another POST is none, too; the task id follows."""
    for name in LISTED:
        await listening.send(json.dumps(CASES[name][0]).encode(), query=f"?case={name}")
    await listening.send(b"no JSON", query=f"?{'long' * 20}")
    wanted = [*LISTED.values(), "not JSON"]
    async with opened(browser, listening.page, width=width, height=844) as tab:
        await tab.wait_for(f"probe.texts('.request').length === {len(wanted)}")
        shown = list(reversed(await tab.run("probe.texts('.request .summary')")))
        assert [text[: len(words)] for text, words in zip(shown, wanted, strict=True)] == wanted
        assert all("21aee3c3c2a01fa5e030b3799fa4dd56" in text for text in shown[:-1])
        # How far to the right the words reach, and where their line ends; the newest is the first.
        edges = await tab.run(
            f"((lengths) => probe.all('.request .summary', (line, n) => {{ const words = document.createRange();"
            " words.setStart(line.firstChild, 0); words.setEnd(line.firstChild, lengths[n]);"
            " return [words.getBoundingClientRect().right, line.getBoundingClientRect().right - 16]; }))"
            f"({[len(words) for words in reversed(wanted)]})"
        )
        assert [right <= edge for right, edge in edges] == [True] * len(wanted)


async def test_requests_are_searched(tab: Tab, listening: Listening) -> None:
    """The search finds words of a body, a query or a method, and says of how many; Escape ends it."""
    for number in range(3):
        await listening.send(json.dumps({"note": f"number-{number}"}).encode(), query=f"?n={number}")
    await tab.wait_for("probe.texts('.request').length === 3")
    await tab.press("/")
    await tab.type("number-1")
    await tab.wait_for("probe.texts('.request').length === 1")
    counts = "document.getElementById('counts').textContent"
    assert await tab.run(counts) == "1 of 3"
    await tab.press("Enter")
    await tab.wait_for("document.getElementById('detail-title').textContent.endsWith('?n=1')")
    await tab.press("Escape")
    await tab.wait_for("probe.texts('.request').length === 3")
    assert await tab.run(counts) == "3 requests"


async def test_a_search_that_hides_the_selected_request_leaves_one_stop_for_tab(
    tab: Tab, listening: Listening
) -> None:
    """While it is hidden Tab gets to the first that is shown, and once it is back it is the selected one again."""
    for number in range(3):
        await listening.send(b"", query=f"?n={number}")
    await tab.wait_for("probe.texts('.request').length === 3")
    stops = "probe.all('.request', (item) => [item.tabIndex, item.getAttribute('aria-selected')])"
    before = await tab.run(stops)
    assert sorted(before) == [[-1, "false"], [-1, "false"], [0, "true"]]
    await tab.press("/")
    hidden = next(n for n, stop in enumerate(reversed(before)) if stop != [0, "true"])
    await tab.type(f"n={hidden}")
    await tab.wait_for("probe.texts('.request').length === 1")
    assert await tab.run(stops) == [[0, "false"]]
    await tab.press("Escape")
    await tab.wait_for("probe.texts('.request').length === 3")
    assert await tab.run(stops) == before


async def test_a_request_is_sent_again_as_it_came(tab: Tab, listening: Listening) -> None:
    """Replay sends the very bytes, method, query and secret headers to the receiver, and shows its answer."""
    body = gzip.compress(json.dumps(COVER).encode(), mtime=0)
    login = "Bearer very-secret"
    await listening.send(body, query="?a=1&b=%20", Content_Encoding="gzip", Authorization=login)
    await tab.wait_for("probe.texts('.request').length === 1")
    await tab.wait_for("probe.texts('#p-headers > p').length > 2")
    assert "Authorization: Bearer ***" in await lines_of(tab, "headers")
    assert "Set-Cookie: ***" in await lines_of(tab, "answer")
    assert "very-secret" not in await tab.run("document.documentElement.outerHTML")
    await tab.press("r")
    await said(tab, "Sent again: 202.")
    first, second = listening.received
    assert (second[0], second[1], second[3]) == (first[0], first[1], first[3]) == ("POST", "a=1&b=%20", body)
    assert second[2]["Authorization"] == login
    assert (await lines_of(tab, "answer"))[0].startswith("Sent again: 202, ")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "utf-16", ""])
async def test_the_search_reads_what_the_page_reads(tab: Tab, listening: Listening, coding: str) -> None:
    """Words of a body that came packed, or in another charset, are found as they are read, also of a long one."""
    body = json.dumps({"note": "wanted 你好", "rest": hashlib.sha512(b"x").hexdigest() * 100}, ensure_ascii=False)
    raw = body.encode("utf-16" if coding == "utf-16" else "utf-8")
    packed = {"gzip": gzip.compress(raw), "deflate": zlib.compress(raw)}
    await listening.send(packed.get(coding, raw), **({"Content_Encoding": coding} if coding in packed else {}))
    await listening.send(b'{"note":"another"}')
    await tab.wait_for("probe.texts('.request').length === 2")
    await tab.press("/")
    await tab.type("wanted 你好")
    await tab.wait_for("probe.texts('.request').length === 1")


@pytest.mark.parametrize("length", [b"Content-Length: 2\r\n", b""])
async def test_what_may_lack_a_part_is_not_sent_again(tab: Tab, listening: Listening, length: bytes) -> None:
    """Replay follows the rule of the command: what the head says is there is sent, else the body is asked for."""
    parts = urlsplit(listening.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"POST %b HTTP/1.1\r\nHost: h\r\nX-A : 1\r\n%b\r\n{}more" % (parts.path.encode(), length))
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await tab.wait_for("probe.texts('.request').length === 1")
    await tab.wait_for("probe.texts('#p-headers > p').length > 1")
    await tab.press("r")
    if length:
        await said(tab, "Sent again: 202.")
        (sent,) = listening.received
        assert (sent[0], sent[3], sent[2]["X-A"]) == ("POST", b"{}", "1")
        return
    await said(tab, "Not sent: a part of its body may be missing; edit it and write the body.")
    assert listening.received == []
    (complaint,) = tab.complaints
    assert "status of 400" in complaint  # of the page's own request, which it has explained
    tab.complaints.clear()


async def test_a_request_is_edited_and_sent_again(tab: Tab, listening: Listening) -> None:
    """Method, query, headers, body and receiver can be changed; a masked header left alone stays itself."""
    await listening.send(json.dumps(COVER).encode(), Authorization="Bearer very-secret")
    await tab.wait_for("probe.texts('#p-headers > p').length > 2")
    await tab.press("e")
    await tab.wait_for("!document.getElementById('editor').hidden")
    await tab.run("document.getElementById('edit-body').select()")
    await tab.type('{"edited": "\u4f60\u597d"}')
    await tab.run("document.getElementById('edit-method').value = 'put'")
    await tab.run("document.getElementById('edit-query').value = 'x=2'")
    await tab.run("document.getElementById('edit-headers').value += '\\nX-New: 1'")
    await tab.click("#editor button[type=submit]")
    await said(tab, "Sent again: 202.")
    method, query, headers, body = listening.received[-1]
    assert (method, query, body.decode()) == ("PUT", "x=2", '{"edited": "\u4f60\u597d"}')
    assert (headers["Authorization"], headers["X-New"]) == ("Bearer very-secret", "1")
    await tab.run("document.getElementById('edit-to').value = 'listener'")
    await tab.click("#editor button[type=submit]")
    await tab.wait_for("probe.texts('.request').length === 2")
    await tab.run("document.getElementById('edit-method').value = 'GET /x HTTP/1.1\\\\r\\\\nX'")
    await tab.click("#editor button[type=submit]")
    await said(tab, "Not sent: method, query or headers cannot be part of a request.")
    tab.complaints.clear()


async def test_a_body_with_script_in_it_is_text(tab: Tab, listening: Listening) -> None:
    """Markup in a body, a query, a header and an id is shown as it came, and nothing of it runs."""
    hostile = COVER | {"msg": SCRIPT, "data": {"taskId": SCRIPT}}
    await listening.send(json.dumps(hostile).encode(), query="?q=%3Cscript%3E", X_Note=SCRIPT)
    await listening.send(SCRIPT.encode(), Content_Type="text/html")
    await tab.wait_for("probe.texts('.request').length === 2")
    await tab.press("Home")
    await tab.wait_for("probe.texts('#p-body > p')[0].startsWith('<script>')")
    await tab.press("d", "e")
    await tab.wait_for("document.getElementById('edit-body').value.startsWith('<script>')")
    assert await tab.run("document.title") == "suno-cover: requests"
    assert await tab.run("document.querySelectorAll('img, main script').length") == 0


async def test_everything_can_be_done_with_the_keyboard(tab: Tab, listening: Listening) -> None:
    """Requests are an accessible list; every control has a name, and keys do what the buttons do."""
    await listening.send(json.dumps(COVER).encode())
    await tab.wait_for("probe.texts('.request').length === 1")
    await tab.press("ArrowDown")
    await tab.wait_for("document.querySelectorAll('[type=radio], [role=radio]').length > 0")
    wanted = {"listbox", "option", "searchbox", "radio", "button", "heading", "status"}
    tree = await tab.accessible()
    while not wanted <= {role for role, _ in tree}:  # what assistive programs are shown follows the page
        tree = await tab.accessible()
    assert [
        role for role, name in tree if role in {"button", "radio", "option", "listbox", "searchbox"} and not name
    ] == []
    assert ("listbox", "Requests, the newest first") in tree
    await tab.press("?")
    assert await tab.run("document.getElementById('help').open")
    await tab.press("Escape", "e")
    await tab.wait_for("document.activeElement.id === 'edit-body'")
    await tab.press("Escape")
    assert await tab.run("document.getElementById('editor').hidden")


@pytest.mark.parametrize("is_dark", [False, True])
async def test_a_narrow_screen_shows_one_thing_at_a_time(
    browser: Browser, listening: Listening, *, is_dark: bool
) -> None:
    """At 390 px the list, then one request, each whole; nothing sticks out; the way back is a button."""
    await listening.send(json.dumps(COVER | {"long": "x" * 500}).encode(), query=f"?q={'y' * 300}")
    async with opened(browser, listening.page, width=390, height=844, is_touch=True, is_dark=is_dark) as tab:
        await tab.wait_for("probe.texts('.request').length === 1")
        assert await tab.run("probe.beyond()") == []
        await tab.click(".request")
        await tab.wait_for("document.getElementById('detail').checkVisibility()")
        assert await tab.run("probe.beyond()") == []
        await tab.click("#edit")
        await tab.wait_for("!document.getElementById('editor').hidden")
        assert await tab.run("probe.beyond()") == []
        assert await tab.run("document.documentElement.scrollWidth") == 390
        await tab.run("document.querySelector('#detail').scrollTo(0, 0)")
        await tab.click("#edit-close")
        await tab.click("#back")
        await tab.wait_for("document.getElementById('requests').checkVisibility()")


@pytest.mark.parametrize("key", ["Enter", "r", "e"])
async def test_keys_open_a_request_on_a_narrow_screen(browser: Browser, listening: Listening, key: str) -> None:
    """At 390 px what a key does to a request is seen without a pointer, and Escape leads back to the list."""
    await listening.send(json.dumps(COVER).encode())
    async with opened(browser, listening.page, width=390, height=844) as tab:
        await tab.wait_for("probe.texts('.request').length === 1")
        await tab.press("ArrowDown", key)
        await tab.wait_for("document.getElementById('detail').checkVisibility()")
        if key == "e":
            await tab.wait_for("document.activeElement.id === 'edit-body'")
            await tab.press("Escape")
        await tab.press("Escape")
        await tab.wait_for("document.getElementById('requests').checkVisibility()")


async def test_the_page_is_locked_and_not_on_the_listeners_port(browser: Browser, listening: Listening) -> None:
    """The page has a port of its own, wants its token, and the listener's address shows nothing of it."""
    assert listening.page.split("/")[2] != listening.url.split("/")[2]
    async with browser.open_tab() as tab:
        await tab.go(listening.page.partition("?")[0])
        assert await tab.run("document.querySelector('h1').textContent") == "This page is locked"
    path = "/" + listening.page.split("/")[3] + "/"
    origin = "/".join(listening.url.split("/")[:3])
    async with listening.session.get(origin + path) as answer:
        assert answer.status == 404
    host = {"Host": "evil.example"}
    async with listening.session.get(listening.page, headers=host, allow_redirects=False) as answer:
        assert answer.status == 421


# --- bounds -------------------------------------------------------------------------------------------


def request(body: bytes) -> Inspected:
    """Make a request that was answered."""
    return Inspected(
        ts=1.0,
        n=None,
        method="POST",
        path="/x",
        query="",
        remote="",
        headers=(("A", "b"),),
        masked=(("A", "b"),),
        body=body,
        sendable_headers=(("A", "b"),),
        sendable_body=body,
        words="",
        summary="x",
        is_callback=False,
        answer=Answer(status=200, latency_ms=1.0),
    )


async def never(_to: str, _again: Again) -> Answer:
    """Not asked."""
    raise AssertionError


async def test_a_flood_has_a_bound() -> None:
    """Requests beyond a number and beyond their bytes go, the oldest first; the newest stays however large."""
    inspector = Inspector(
        never,
        read_text=lambda _body, _headers: None,
        targets={"listener": "x"},
        max_requests=10,
        max_bytes=100_000,
    )
    for _ in range(50):
        inspector.show(request(b"small"))
    listing: Any = await inspector.page.reads["requests"]({})
    assert [entry["id"] for entry in listing["requests"]] == list(range(41, 51))
    for _ in range(5):
        inspector.show(request(bytes(40_000)))
        assert inspector.held_bytes <= 100_000
    inspector.show(request(bytes(1_000_000)))
    listing = await inspector.page.reads["requests"]({})
    assert [entry["id"] for entry in listing["requests"]] == [56]
