"""The gallery's page in a tab: opened, watched, and asked what it shows and says."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from suno_cover_cli.web.covers import Job
from tests.browser import Browser, Tab
from tests.gallery_fixtures import MemorySource, Served, draw, make_job, serve

DRAWN = "document.querySelectorAll('.row:first-child .cell[data-state]').length >= 2"
READY = "document.querySelector('[data-ready]')"
SEEN = f"{READY} && {DRAWN}"
"""All jobs are known, and the first covers have been looked at."""
LOADED = "probe.loaded()"
"""Every picture that is wanted is there."""
TIMES = "\u00d7"
"""Between width and height."""


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Make five jobs with two covers each, and one with three."""
    made = [make_job(tmp_path / "covers", number) for number in range(1, 6)]
    return [*made, make_job(tmp_path / "covers", 6, draw(60), draw(61), draw(62))]


@pytest.fixture
async def served(jobs: list[Job], tmp_path: Path) -> AsyncIterator[Served]:
    """Serve them."""
    async with serve(MemorySource(jobs), tmp_path) as served:
        yield served


@contextlib.asynccontextmanager
async def opened(browser: Browser, served: Served, **options: object) -> AsyncIterator[Tab]:
    """Open the gallery in a tab; afterwards the browser must not have complained, nor asked anybody else."""
    async with browser.open_tab(**options) as tab:  # type: ignore[arg-type]
        await tab.go(served.server.url)
        await tab.wait_for(SEEN)
        yield tab
        origin = served.server.url.partition("/?")[0].rpartition("/")[0]
        assert [one for one in tab.requests if not one.startswith(origin)] == []
        assert tab.complaints == []


@pytest.fixture
async def tab(browser: Browser, served: Served) -> AsyncIterator[Tab]:
    """Open the gallery at 1280 x 800."""
    async with opened(browser, served) as tab:
        yield tab


def cell(job: int, n: int) -> str:
    """Return a selector of the cell of a variant."""
    return f"#job-{job} .cell:nth-child({n})"


def selected(job: int, n: int) -> str:
    """Return an expression that is true when a variant is shown as picked."""
    return f"document.querySelector('{cell(job, n)}').ariaSelected === 'true'"


async def focus_of(tab: Tab) -> str:
    """Return the accessible name of what has the focus, to the size of the picture."""
    return str(await tab.run("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))


async def said(tab: Tab, words: str) -> None:
    """Wait until these words are told to a screen reader."""
    await tab.wait_for(f"document.getElementById('status').textContent.includes({json.dumps(words)})")
