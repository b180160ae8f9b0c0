"""What the gallery costs: small pictures a second, and the first screen of ten thousand jobs."""

import asyncio
import hashlib
import io
import itertools
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from PIL import Image

from suno_cover_cli.release.measures import measure_border
from suno_cover_cli.web.covers import Cover
from suno_cover_cli.web.looks import Looker
from suno_cover_cli.web.thumbnails import ThumbnailFolder
from tests.bench.lab import BenchError, Lab, NotHereError, read_line
from tests.bench.rows import Figure, Rounds, Row, Unit, at_most, one_row, ratio_at_least
from tests.bench.samples import Samples, measure_pairs
from tests.browser import Browser, chromium, find_chromium
from tests.gallery_fixtures import draw
from tests.gallery_pages import DRAWN, LOADED, READY

_BATCH = 20
_SIDE = 1024
_MANY = 10_000


def measure_looks(lab: Lab) -> Rounds:
    """Read, hash, make small, measure and keep covers, against Pillow that makes the same small pictures."""
    folder = lab.new_folder()
    covers = []
    for n in range(1, _BATCH + 1):
        content = draw(n, (_SIDE, _SIDE))
        path = folder / f"cover_{n}.png"
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        covers.append(
            Cover(n=n, path=str(path), size_bytes=len(content), width=_SIDE, height=_SIDE, sha256=sha256)
        )
    rounds = itertools.count()

    def ours() -> float:
        # A folder of its own each time: nothing is there yet.
        looker = Looker(ThumbnailFolder(folder / f"thumbnails-{next(rounds)}"), lambda _: (), measure_border)
        begun = time.perf_counter()
        for cover in covers:
            if looker.look(cover).state != "ok":
                raise BenchError(f"{cover.path} could not be looked at")
        return len(covers) / (time.perf_counter() - begun)

    def pillow() -> float:
        begun = time.perf_counter()
        for cover in covers:
            with Image.open(cover.path) as image:
                image.thumbnail((600, 600))
                image.convert("RGB").save(io.BytesIO(), "WEBP")
        return len(covers) / (time.perf_counter() - begun)

    yield from one_row(
        measure_pairs(ours, pillow),
        figure="`gallery`: covers looked at, one thread",
        unit=Unit.PER_SECOND,
        baseline="Pillow: open, thumbnail, save as WebP",
        goal=ratio_at_least(0.8),
        note="1024 x 1024; also hashed, compared, searched for borders and kept on disk",
    )


def measure_many(lab: Lab) -> Rounds:
    """Open a gallery of 10,000 jobs in Chromium: the first screen, and what the program then takes."""
    if find_chromium() is None:
        raise NotHereError("no Chromium")
    # A journal of its own: other figures have written down jobs in the lab's.
    state = lab.new_folder()
    environ = {"SUNO_COVER_STATE_DIR": str(state)}
    lab.run(lab.program("generate", "--sandbox", "sandbox-instant-gallery"), environ)
    _multiply(state / "journal.sqlite3", _MANY)
    seen: list[float] = []
    held: list[float] = []
    with chromium(lab.new_folder()) as browser:
        while True:
            with lab.process(lab.program("gallery", "--no-open", "--json"), environ) as child:
                begun = time.perf_counter()
                url = json.loads(read_line(child))["url"]
                ready_s = time.perf_counter() - begun
                seen.append(asyncio.run(_first_screen_s(browser, url)))
                held.append(float(_resident_bytes(child.pid)))
            note = f"from the address to its pictures; the program itself took {ready_s * 1000:.0f} ms to be ready"
            yield [
                Row(
                    figure="`gallery`: first screen of 10,000 jobs",
                    unit=Unit.SECONDS,
                    samples=Samples(ours=tuple(seen)),
                    goal=at_most(1.0),
                    note=note,
                ),
                Row(
                    figure="`gallery`: memory with 10,000 jobs open",
                    unit=Unit.BYTES,
                    samples=Samples(ours=tuple(held)),
                    goal=at_most(256 * 2**20),
                    note="after scrolling through all of them",
                ),
            ]


def _multiply(journal: Path, count: int) -> None:
    """Copy the only job of a journal until there are so many; all have the same covers."""
    with closing(sqlite3.connect(journal)) as connection, connection:
        columns = "service, provider, state, code, message, output, options, result, created_at, updated_at"
        connection.execute(
            f"INSERT INTO jobs (music_task_id, task_id, {columns})"  # noqa: S608 -- constants
            " WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
            f" SELECT 'music-' || n, printf('%032x', n), {columns} FROM numbers, jobs WHERE jobs.id = 1",
            (count - 1,),
        )
        connection.execute(
            "INSERT INTO images (job_id, n, path, sha256) SELECT jobs.id, images.n, images.path, images.sha256"
            " FROM jobs, images WHERE images.job_id = 1 AND jobs.id > 1"
        )


async def _first_screen_s(browser: Browser, url: str) -> float:
    async with browser.open_tab() as tab:
        await tab.go(url)
        seen_ms = float(await tab.wait_for(f"{DRAWN} && {LOADED} && performance.now()"))
        await tab.wait_for(READY)
        for _ in range(20):
            await tab.run("scrollBy(0, document.body.scrollHeight / 20); probe.frames(2)")
        return seen_ms / 1000


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        raise NotHereError("no /proc") from None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


FIGURES = (
    Figure(name="gallery-looks", measure=measure_looks, rounds=(0, 9)),
    Figure(name="gallery-many", measure=measure_many, rounds=(0, 5)),
)
