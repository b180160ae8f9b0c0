"""What means harm to the gallery: words from outside, other pages of the browser, foreign names."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.browser import Browser, Tab
from tests.gallery_fixtures import MemorySource, Served, make_job, serve
from tests.gallery_pages import SEEN, opened, said

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202eevil\x1b[31m"


async def test_words_from_outside_stay_words(browser: Browser, tmp_path: Path) -> None:
    """A title, an id and a mark with markup in them are text, in every place they are shown."""
    job = make_job(tmp_path / "covers", 1, title=HOSTILE, music_task_id=HOSTILE, task_id=HOSTILE)
    async with serve(MemorySource([job]), tmp_path) as served, opened(browser, served) as tab:
        await tab.press("1")
        await said(tab, "picked 1")
        await tab.press("Enter", "2")
        await said(tab, "picked 2")
        assert await tab.run("document.title") == "suno-cover: covers"
        shown = await tab.run("document.querySelector('.row h2').textContent")
        assert shown.startswith("<img src=x onerror=")
        assert "\u202e" not in shown
        assert "\x1b" not in shown
        assert await tab.run("document.querySelectorAll('img[src=x], body script').length") == 0


@pytest.mark.parametrize(
    "mistake",
    [
        "document.body.innerHTML = '<b>x</b>'",
        "document.createElement('img').setAttribute('onerror', 'x')",
        "setTimeout('1')",
        "document.createElement('script').textContent = 'x'",
    ],
)
async def test_markup_and_scripts_cannot_be_made_of_text(tab: Tab, mistake: str) -> None:
    """Even a mistake of ours would not run: the document refuses to parse text as markup or script."""
    tried = f"(() => {{ try {{ {mistake}; return 'done'; }} catch (error) {{ return error.name; }} }})()"
    assert await tab.run(tried) in {"TypeError", "EvalError"}
    assert tab.complaints
    tab.complaints.clear()


@contextlib.asynccontextmanager
async def attacker() -> AsyncIterator[int]:
    """Serve a page that means harm, on another port of this machine."""
    attack = await asyncio.to_thread((Path(__file__).parent / "pages" / "attack.html").read_text)

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=attack, content_type="text/html")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("host", ["www.attacker.test", "127.0.0.1", "localhost"])
async def test_other_pages_of_the_browser_get_nothing(browser: Browser, served: Served, host: str) -> None:
    """A page of another site or port that knows every address reads and changes nothing."""
    target = served.server.url.partition("?")[0]
    async with attacker() as port, browser.open_tab() as tab:
        await tab.go(served.server.url)
        await tab.wait_for(SEEN)
        await tab.go(f"http://{host}:{port}/?target={target}")
        tried = json.loads(await tab.wait_for("document.documentElement.dataset.tried"))
        assert tried["read"] == tried["write"] == "TypeError"
        assert tried["opaque"] in {"TypeError", "opaque"}
        assert tried["image"] == tried["script"] == tried["style"] == tried["events"] == "refused"
        assert tried["frame"] == "foreign"
        assert served.source.picks() == {}
        # The owner is not locked out by it.
        await tab.go(served.server.url)
        await tab.wait_for(SEEN)
        await tab.press("1")
        await said(tab, "picked 1")


async def test_a_foreign_name_for_this_machine_shows_nothing(browser: Browser, served: Served) -> None:
    """DNS rebinding: a name of somebody else that leads to our port gets neither the page nor its token taken."""
    async with browser.open_tab() as tab:
        await tab.go(served.server.url.replace("127.0.0.1", "rebound.attacker.test"))
        assert "wrong_host" in await tab.run("document.body.innerText")
        assert await tab.run("document.cookie") == ""


async def test_a_page_without_its_cookie_is_locked(browser: Browser, served: Served) -> None:
    """Without the token a page says how to get in; with it the address is clean and the cookie unseen."""
    async with browser.open_tab() as tab:
        await tab.go(served.server.url.partition("?")[0])
        assert await tab.run("document.querySelector('h1').textContent") == "This page is locked"
        await tab.go(served.server.url)
        await tab.wait_for(SEEN)
        assert "token" not in await tab.run("location.href + document.referrer")
        assert await tab.run("document.cookie") == ""


async def test_two_galleries_at_once(browser: Browser, served: Served, tmp_path: Path) -> None:
    """Two galleries in one browser do not take each other's cookie or each other's picks."""
    second = MemorySource([make_job(tmp_path / "second", 1)])
    async with serve(second, tmp_path) as other, browser.open_tab() as tab:
        for url in (served.server.url, other.server.url):
            await tab.go(url)
            await tab.wait_for(SEEN)
        await tab.press("2")
        await said(tab, "picked 2")
        await tab.go(served.server.url.partition("?")[0])
        await tab.wait_for(SEEN)
        await tab.press("1")
        await said(tab, "picked 1")
        assert (second.picks(), served.source.picks()) == ({1: 2}, {6: 1})
