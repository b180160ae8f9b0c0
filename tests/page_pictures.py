"""Pictures of the local pages for README: ``python -m tests.page_pictures`` writes them.

Real pages in a real Chromium, at 1280 and 390 pixels, on a light and a dark system.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.web.inspector import Again, Answer, Inspected, Inspector
from suno_cover_cli.web.server import PageServer
from tests.browser import Browser, Tab, chromium
from tests.gallery_fixtures import MemorySource, draw, make_job, serve
from tests.gallery_pages import LOADED, SEEN

FOLDER = Path(__file__).parent.parent / ".github" / "screens"
SIZES = {"": (1280, 800), "-390": (390, 844)}
_TITLES = ("Night drive", "Slow river", "\u591c\u884c\u5217\u8f66", "Paper moons", "Last train home")
_QUALITY = 82

Prepare = Callable[[Tab], Awaitable[None]]


async def shoot(browser: Browser, url: str, name: str, prepare: Prepare) -> None:
    """Take a page in every size and colour."""
    for suffix, (width, height) in SIZES.items():
        for theme in ("light", "dark"):
            is_phone = width < 800
            async with browser.open_tab(
                width=width, height=height, is_dark=theme == "dark", is_touch=is_phone
            ) as tab:
                await tab.go(url)
                await prepare(tab)
                await tab.wait_for(LOADED)
                await tab.run(
                    "Promise.all([...document.images].filter((one) => one.src).map((one) => one.decode()))"
                )
                await tab.run("probe.frames(4)")
                await tab.screenshot(FOLDER / f"{name}{suffix}-{theme}.webp", quality=_QUALITY)


async def shoot_gallery(browser: Browser, folder: Path) -> None:
    """Take the gallery: a picked job, undecided ones, one whose links expire."""
    size = (1024, 1024)
    jobs = []
    for number, title in enumerate(reversed(_TITLES), 1):
        pictures = [draw(20 + 2 * number, size), draw(21 + 2 * number, size)]
        jobs.append(make_job(folder / "covers", number, *pictures, title=title, picked=None))
    jobs[-1] = msgspec.structs.replace(jobs[-1], picked=2)
    jobs[-2] = msgspec.structs.replace(jobs[-2], links_expire_at=time.time() + 2.5 * 86400)

    async def prepare(tab: Tab) -> None:
        await tab.wait_for(SEEN)
        if await tab.run("innerWidth") < 800:
            return
        await tab.wait_for(
            "document.querySelectorAll('#job-5 [data-state=ok], #job-4 [data-state=ok]').length === 4"
        )

    async with serve(MemorySource(jobs), folder) as served:
        await shoot(browser, served.server.url, "gallery", prepare)


async def shoot_inspector(browser: Browser) -> None:
    """Take the inspector: a few callbacks, a probe, a receiver that failed once."""

    async def never(_to: str, _again: Again) -> Answer:
        raise NotImplementedError

    inspector = Inspector(
        never, read_text=lambda body, _headers: body.decode(), targets={"forward": "http://localhost:3000/hook"}
    )
    images = [f"https://images.example/cover_{n}.png" for n in (1, 2)]
    task = "21aee3c3c2a01fa5e030b3799fa4dd56"
    cover = {"code": 200, "msg": "success", "data": {"taskId": task, "images": images}}
    shown = [
        ("GET", "", b"", 404, ""),
        ("POST", "songId=41", json.dumps(cover).encode(), 500, f"200 done, 2 images, {task}, "),
        (
            "POST",
            "songId=41",
            json.dumps(cover | {"msg": "ok"}).encode(),
            200,
            f"200 done, 2 images, {task}, ",
        ),
    ]
    for n, (method, query, body, status, summary) in enumerate(shown, 1):
        headers = (
            ("Content-Type", "application/json"),
            ("X-Webhook-Timestamp", f"179000000{n}"),
            ("Accept", "*/*"),
        )
        answer = Answer(
            status=status,
            latency_ms=12.4 + n,
            by="http://localhost:3000/hook",
            headers=(("Content-Type", "application/json"), ("Set-Cookie", "***")),
            body=json.dumps({"ok": status == 200}).encode(),
        )
        inspector.show(
            Inspected(
                ts=1_790_000_000.0 + 61 * n,
                n=n,
                method=method,
                path="/callback/6f1c2a9d",
                query=query,
                remote="203.0.113.7",
                headers=headers,
                masked=headers,
                body=body,
                sendable_headers=headers,
                sendable_body=body,
                words=body.decode(),
                summary=f"{summary}{len(body)} B",
                is_callback=method == "POST",
                answer=answer,
            )
        )

    async def prepare(tab: Tab) -> None:
        await tab.wait_for("probe.texts('#p-body > p').length > 3")
        if await tab.run("innerWidth") < 800:
            await tab.click(".request")
        await tab.press("d")
        await tab.wait_for("probe.texts('#p-body .plus').length > 0")

    async with PageServer(inspector.page, clock=SystemClock(), on_trouble=lambda _: None) as server:
        await shoot(browser, server.url, "inspector", prepare)


async def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with chromium(folder / "profile") as browser:
            await shoot_gallery(browser, folder)
            await shoot_inspector(browser)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
