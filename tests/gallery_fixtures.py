"""Jobs with covers for the gallery: kept in memory, their pictures on disk, changed behind the page's back."""

import asyncio
import contextlib
import functools
import hashlib
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import msgspec
from PIL import Image, ImageDraw

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import SunoCoverError
from suno_cover_cli.base.models import Picked
from suno_cover_cli.release.measures import measure_border
from suno_cover_cli.web.covers import Changes, Cover, Job, PickConflictError
from suno_cover_cli.web.gallery import Gallery
from suno_cover_cli.web.looks import Looker, LookRoom
from suno_cover_cli.web.server import PageServer
from suno_cover_cli.web.thumbnails import ThumbnailFolder
from tests.clocks import ScaledClock


@functools.cache
def draw(seed: int, size: tuple[int, int] = (320, 320), image_format: str = "PNG") -> bytes:
    """Draw a picture: circles on a gradient, others for each seed."""
    width, height = size
    hue = seed * 47 % 256
    image = Image.merge(
        "HSV",
        (
            Image.linear_gradient("L").resize(size).point(lambda value: (hue + value // 5) % 256),
            Image.new("L", size, 150),
            Image.linear_gradient("L").rotate(90 * (seed % 4)).resize(size).point(lambda value: 70 + value // 2),
        ),
    ).convert("RGB")
    canvas = ImageDraw.Draw(image)
    for ring in range(5):
        radius = min(size) // (3 + ring)
        x, y = width * ((seed * 7 + ring * 3) % 10) // 10, height * ((seed * 3 + ring * 5) % 10) // 10
        shade = (seed * 31 + ring * 40) % 256
        canvas.ellipse(
            (x - radius, y - radius, x + radius, y + radius), outline=(shade, 255 - shade, 180), width=9
        )
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def save(folder: Path, n: int, content: bytes) -> Cover:
    """Put a picture on the disk as a run of ``generate`` would have."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"cover_{n}.png"
    path.write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    sha256 = hashlib.sha256(content).hexdigest()
    return Cover(n=n, path=str(path), size_bytes=len(content), width=width, height=height, sha256=sha256)


def make_job(folder: Path, number: int, *pictures: bytes, **more: object) -> Job:
    """Make a job; without pictures it has two."""
    pictures = pictures or (draw(2 * number), draw(2 * number + 1))
    covers = tuple(save(folder / f"job-{number}", n, content) for n, content in enumerate(pictures, 1))
    job = Job(
        id=number,
        task_id=f"{number:032x}",
        music_task_id=f"music-{number}",
        title=f"Night drive {number}",
        covers=covers,
        created_at=1_790_000_000.0 + number,
    )
    return msgspec.structs.replace(job, **more)


class MemorySource:
    """Jobs in memory. What a test changes through :meth:`change` is what another process did."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.failure: SunoCoverError | None = None
        self._news: list[Job] = []
        self._decided: set[int] = set()
        self._gone: list[int] = []

    def change(self, job: Job) -> None:
        """Add or change a job as another process would."""
        before = self.jobs.get(job.id)
        if before is not None and before.picked != job.picked:
            self._decided.add(job.id)
        self.jobs[job.id] = job
        self._news.append(job)

    def remove(self, job_id: int) -> None:
        """Forget a job as another process would."""
        del self.jobs[job_id]
        self._gone.append(job_id)

    async def load(self, *, before: int | None, limit: int) -> Sequence[Job]:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        self._fail()
        ids = sorted((one for one in self.jobs if before is None or one < before), reverse=True)
        return [self.jobs[one] for one in ids[:limit]]

    async def find(self, job_id: int) -> Job | None:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        self._fail()
        return self.jobs.get(job_id)

    async def look_for_changes(self) -> Changes:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        changes = Changes(jobs=self._news, decided=frozenset(self._decided), gone=self._gone)
        self._news, self._decided, self._gone = [], set(), []
        return changes

    async def count_undecided(self) -> int:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        return sum(job.picked is None for job in self.jobs.values())

    async def pick(self, job: Job, picked: Picked, *, was: Picked) -> None:
        """See :class:`~suno_cover_cli.web.covers.JobSource`."""
        self._fail()
        now = self.jobs[job.id]
        if now.picked != was:
            raise PickConflictError(now.picked)
        self.jobs[job.id] = msgspec.structs.replace(now, picked=picked)

    def picks(self) -> dict[int, Picked]:
        """Return what was decided, by job."""
        return {job.id: job.picked for job in self.jobs.values() if job.picked is not None}

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class Served(msgspec.Struct, kw_only=True):
    """A gallery that is being served.

    Attributes:
        source: Its jobs.
        gallery: The page.
        server: Serves it.
        picked: What it said was picked.
        troubles: What it said went wrong.
    """

    source: MemorySource
    gallery: Gallery
    server: PageServer
    picked: list[tuple[str, Picked]]
    troubles: list[SunoCoverError]


@contextlib.asynccontextmanager
async def serve(
    source: MemorySource, folder: Path, *, is_read_only: bool = False, port: int = 0
) -> AsyncIterator[Served]:
    """Serve a gallery; its thumbnails are kept below ``folder``. It looks for changes often."""
    looker = Looker(ThumbnailFolder(folder / "thumbnails"), marks_of, measure_border)
    picked: list[tuple[str, Picked]] = []
    troubles: list[SunoCoverError] = []
    async with LookRoom(looker) as room:
        gallery = Gallery(
            source,
            room,
            clock=ScaledClock(20),
            is_read_only=is_read_only,
            on_picked=lambda task_id, choice: picked.append((task_id, choice)),
        )
        server = PageServer(gallery.page, clock=SystemClock(), port=port, on_trouble=troubles.append)
        async with server:
            following = asyncio.ensure_future(gallery.follow_changes())
            try:
                yield Served(source=source, gallery=gallery, server=server, picked=picked, troubles=troubles)
            finally:
                following.cancel()
                await asyncio.wait({following})


def marks_of(content: bytes) -> list[str]:
    """Stand in for what reads labels: a picture that has the word carries one."""
    return ["AI label: IPTC"] if b"trainedAlgorithmicMedia" in content else []
