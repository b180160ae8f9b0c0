"""The covers of one finished job: which files they become, four at a time, expired links asked for again once."""

import asyncio
from pathlib import Path

import msgspec

from suno_cover_cli.errors import ImageError, SunoCoverError
from suno_cover_cli.events import ImageFailed, ImageProgressed, ImageRetried, ImageSaved, Sink
from suno_cover_cli.journal_rows import JobOptions
from suno_cover_cli.models import FailedImage, JobRecord, SavedImage
from suno_cover_cli.ports import CoverService, ImageSaver
from suno_cover_cli.text import clean

_MAX_AT_ONCE = 4
CODE_GONE = "image_gone"


class SavedCovers(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the images of one job, both lists in the order of the service's list."""

    saved: tuple[SavedImage, ...]
    failed: tuple[FailedImage, ...]
    hint: str = ""


class CoverSaver:
    """Saves all images of a job into ``<output>/<cover task id>/``.

    Args:
        saver: Saves one.
        service: Asked once more for fresh links when some have expired.
        sink: Hears of progress.
        overwrite: Replace files that are there.
    """

    def __init__(self, *, saver: ImageSaver, service: CoverService, sink: Sink, overwrite: bool) -> None:
        self._saver = saver
        self._service = service
        self._sink = sink
        self._overwrite = overwrite

    async def save(self, job: int, record: JobRecord, output: Path, options: JobOptions) -> SavedCovers:
        """Save what can be saved; one image's failure does not lose the others."""
        folder = output / record.task_id
        urls = dict(enumerate(record.image_urls, 1))
        ends = await self._save_all(job, record.task_id, folder, urls, options)
        gone = {n for n, end in ends.items() if isinstance(end, ImageError) and end.code == CODE_GONE}
        if gone:
            fresh = await self._fetch_fresh(record.task_id, urls, gone)
            urls |= fresh
            ends |= await self._save_all(job, record.task_id, folder, fresh, options)
        saved, failed, hint = [], [], ""
        for n, end in sorted(ends.items()):
            if isinstance(end, SavedImage):
                saved.append(end)
                continue
            error = clean(end.message, 200)
            hint = hint or end.hint
            failed.append(FailedImage(url=urls[n], error=error))
            self._sink.emit(ImageFailed(job=job, task_id=record.task_id, n=n, url=urls[n], error=error))
        return SavedCovers(saved=tuple(saved), failed=tuple(failed), hint=hint)

    async def _fetch_fresh(self, task_id: str, urls: dict[int, str], gone: set[int]) -> dict[int, str]:
        try:
            record = await self._service.fetch_job(task_id)
        except SunoCoverError:
            # The links stay expired; the images are reported with the download's own error.
            return {}
        fresh = dict(enumerate(record.image_urls, 1))
        return {n: fresh[n] for n in gone if n in fresh and fresh[n] != urls[n]}

    async def _save_all(
        self, job: int, task_id: str, folder: Path, urls: dict[int, str], options: JobOptions
    ) -> dict[int, SavedImage | ImageError]:
        places = asyncio.Semaphore(_MAX_AT_ONCE)
        ends: dict[int, SavedImage | ImageError] = {}

        async def save_one(n: int, url: str) -> None:
            async with places:
                try:
                    ends[n] = await self._save_one(
                        job, task_id, n, url, folder=folder, stem=options.name.format(n=n)
                    )
                except ImageError as error:
                    ends[n] = error

        async with asyncio.TaskGroup() as group:
            for n, url in urls.items():
                group.create_task(save_one(n, url))
        return ends

    async def _save_one(self, job: int, task_id: str, n: int, url: str, *, folder: Path, stem: str) -> SavedImage:
        def tell_progress(received_bytes: int, total_bytes: int | None) -> None:
            self._sink.emit(
                ImageProgressed(
                    job=job, task_id=task_id, n=n, received_bytes=received_bytes, total_bytes=total_bytes
                )
            )

        def tell_retry(reason: str) -> None:
            self._sink.emit(ImageRetried(job=job, task_id=task_id, n=n, reason=clean(reason, 200)))

        existing = None if self._overwrite else await self._saver.find_saved(folder, stem, url)
        image = existing or await self._saver.save(
            url, folder, stem, overwrite=self._overwrite, on_progress=tell_progress, on_retry=tell_retry
        )
        self._sink.emit(ImageSaved(job=job, task_id=task_id, n=n, image=image, is_existing=existing is not None))
        return image
