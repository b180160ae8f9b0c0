"""The covers of one finished job: which files they become, a few at a time, expired links asked for again once.

Every entry of the service's list ends as saved or as failed, whatever it is and whenever time is up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import ImageError, SunoCoverError, UsageError
from suno_cover_cli.base.events import ImageFailed, ImageProgressed, ImageRetried, ImageSaved, Sink, WarningRaised
from suno_cover_cli.base.models import FailedImage, JobRecord, SavedImage, is_safe_task_id
from suno_cover_cli.base.naming import NameTemplate, plain_part
from suno_cover_cli.base.text import clean
from suno_cover_cli.jobs.metadata import metadata_of, write_metadata
from suno_cover_cli.jobs.ports import AddLabel, CoverService, ImageSaver, JobIds
from suno_cover_cli.journal.rows import JobOptions, JobRow

_AT_ONCE = 4
_AT_ONCE_OF_MANY = 8
_MANY = 8
_MAX_IMAGES = 500
_MAX_SHOWN_URL_CHARS = 2000
CODE_GONE = "image_gone"

InTime = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits something, but not beyond the job's deadline; then it raises ``TimeoutError``."""


class SavedCovers(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the images of one job, both lists in the order of the service's list.

    Attributes:
        saved: Checked files.
        failed: The others.
        hint: What would save those.
        title: Of the piece of music, if the user gave it or it was asked for.
    """

    saved: tuple[SavedImage, ...]
    failed: tuple[FailedImage, ...]
    hint: str = ""
    title: str | None = None


class CoverSaver:
    """Saves all images of a job into ``<output>/<cover task id>/``.

    Args:
        saver: Saves one.
        service: Asked once more for fresh links when some have expired, and for titles.
        add_label: Adds the AI label, where a job asks for it.
        sink: Hears of progress.
        clock: Stamps metadata.
    """

    def __init__(
        self,
        *,
        saver: ImageSaver,
        service: CoverService,
        sink: Sink,
        clock: Clock,
        add_label: AddLabel | None = None,
    ) -> None:
        self._saver = saver
        self._add_label = add_label
        self._service = service
        self._sink = sink
        self._clock = clock

    async def save(
        self,
        ids: JobIds,
        record: JobRecord,
        output: Path,
        *,
        row: JobRow,
        options: JobOptions,
        in_time: InTime,
    ) -> SavedCovers:
        """Save what can be saved; one image's failure does not lose the others.

        Args:
            ids: Its number in the command and its ids, for events.
            record: Of the finished job.
            output: Folder that receives the folder of the job.
            row: What the journal knows of it.
            options: How files are named, whether they replace others and whether metadata goes with them.
            in_time: See :data:`InTime`.

        Raises:
            UsageError: The template of names, which may come from the journal, cannot be.
        """
        folder = output / record.task_id
        template = NameTemplate(options.name)
        music_task_id = row.music_task_id or record.music_task_id
        title = options.title
        if title is None and template.uses_title:
            title = await self._fetch_title(music_task_id, in_time)

        def stem_of(n: int) -> str:
            return template.stem(n=n, task_id=record.task_id, music_task_id=music_task_id, title=title)

        urls = dict(enumerate(record.image_urls, 1))
        save_all = partial(self._save_all, ids, folder, stem_of=stem_of, options=options, in_time=in_time)
        ends = await save_all(urls)
        gone = {n for n, end in ends.items() if isinstance(end, ImageError) and end.code == CODE_GONE}
        if gone:
            fresh = await self._fetch_fresh(record.task_id, urls, gone, in_time)
            urls |= fresh
            ends |= await save_all(fresh)
        covers = self._sum_up(ids, urls, ends, title=clean(title, 200) if title else None)
        if options.write_metadata:
            await self._write_metadata(folder, record, row, covers, title)
        return covers

    def _sum_up(
        self,
        ids: JobIds,
        urls: dict[int, str],
        ends: dict[int, SavedImage | ImageError],
        *,
        title: str | None,
    ) -> SavedCovers:
        saved, failed, hint = [], [], ""
        for n, end in sorted(ends.items()):
            if isinstance(end, SavedImage):
                saved.append(end)
                continue
            error = clean(end.message, 200)
            hint = hint or end.hint
            url = clean(urls[n], _MAX_SHOWN_URL_CHARS)
            failed.append(FailedImage(url=url, error=error))
            self._sink.emit(ImageFailed(**ids, n=n, url=url, error=error))
        return SavedCovers(saved=tuple(saved), failed=tuple(failed), hint=hint, title=title)

    async def _fetch_title(self, music_task_id: str | None, in_time: InTime) -> str | None:
        """Read the title of the music; without one, its id names the files, and that is said once a job."""
        title: str | None = None
        why = "its music task is not known"
        if music_task_id is not None and is_safe_task_id(music_task_id):
            try:
                title = await in_time(self._service.fetch_title(music_task_id))
            except SunoCoverError as error:
                why = clean(error.message, 200)
            except TimeoutError:
                why = "the service did not answer in time"
            else:
                why = "the service knows none"
        if title is None or not plain_part(title):
            self._sink.emit(
                WarningRaised(
                    code="no_title",
                    message=f"no title for {clean(music_task_id or 'this job', 128)}: {why}",
                    hint="Its files are named by the task id instead.",
                )
            )
            return None
        return title

    async def _write_metadata(
        self, folder: Path, record: JobRecord, row: JobRow, covers: SavedCovers, title: str | None
    ) -> None:
        facts = metadata_of(
            record, row, saved=covers.saved, failed=covers.failed, title=title, now=self._clock.time()
        )
        try:
            await asyncio.to_thread(write_metadata, folder, facts)
        except (OSError, UsageError) as error:
            reason = error.message if isinstance(error, UsageError) else f"{error.strerror} ({folder})"
            self._sink.emit(
                WarningRaised(
                    code="metadata_unwritten",
                    message=f"the metadata of {record.task_id} could not be written: {reason}",
                    hint="The covers themselves are not affected.",
                )
            )

    async def find_all(
        self, ids: JobIds, task_id: str, images: tuple[SavedImage, ...], output: Path
    ) -> SavedCovers | None:
        """Return the covers an earlier run saved, if every one of them is still there and whole."""
        found: list[SavedImage] = []
        for n, image in enumerate(images, 1):
            there = await self._saver.find_saved(output / task_id, Path(image.path).stem, image.url)
            if there is None or there.sha256 != image.sha256:
                return None
            found.append(msgspec.structs.replace(there, n=image.n or n))
        for image in found:
            self._sink.emit(ImageSaved(**ids, n=image.n, image=image, is_existing=True))
        return SavedCovers(saved=tuple(found), failed=())

    async def _fetch_fresh(
        self, task_id: str, urls: dict[int, str], gone: set[int], in_time: InTime
    ) -> dict[int, str]:
        try:
            record = await in_time(self._service.fetch_job(task_id))
        except (SunoCoverError, TimeoutError):
            # The links stay expired; the images are reported with the download's own error.
            return {}
        fresh = dict(enumerate(record.image_urls, 1))
        return {n: fresh[n] for n in gone if n in fresh and fresh[n] != urls[n]}

    async def _save_all(
        self,
        ids: JobIds,
        folder: Path,
        urls: dict[int, str],
        *,
        stem_of: Callable[[int], str],
        options: JobOptions,
        in_time: InTime,
    ) -> dict[int, SavedImage | ImageError]:
        turn = asyncio.Semaphore(_AT_ONCE_OF_MANY if len(urls) > _MANY else _AT_ONCE)
        fetched = [n for n in urls if n <= _MAX_IMAGES]
        save = partial(self._save_one, ids, folder=folder, options=options, turn=turn)
        saves = [in_time(save(n, urls[n], stem=stem_of(n))) for n in fetched]
        # Each to its end, whatever becomes of the others.
        outcomes = await asyncio.gather(*saves, return_exceptions=True)
        too_many = ImageError(f"only the first {_MAX_IMAGES} images of a job are fetched")
        ends: dict[int, SavedImage | ImageError] = dict.fromkeys(urls, too_many)
        for n, outcome in zip(fetched, outcomes, strict=True):
            if isinstance(outcome, SavedImage | ImageError):
                ends[n] = outcome
            elif isinstance(outcome, TimeoutError):
                ends[n] = ImageError(
                    "it had not arrived at the end of the time limit",
                    code="deadline",
                    hint="Run suno-cover resume; --timeout gives a run more time.",
                )
            else:
                raise outcome
        return ends

    async def _save_one(
        self,
        ids: JobIds,
        n: int,
        url: str,
        *,
        folder: Path,
        stem: str,
        options: JobOptions,
        turn: asyncio.Semaphore,
    ) -> SavedImage:
        is_existing = True

        def report_progress(received_bytes: int, total_bytes: int | None) -> None:
            nonlocal is_existing
            is_existing = False
            self._sink.emit(ImageProgressed(**ids, n=n, received_bytes=received_bytes, total_bytes=total_bytes))

        def report_retry(reason: str) -> None:
            self._sink.emit(ImageRetried(**ids, n=n, reason=clean(reason, 200)))

        # The saver looks for itself whether the image is there; then no byte of it arrives.
        saved = await self._saver.save(
            url,
            folder,
            stem,
            overwrite=options.overwrite,
            on_progress=report_progress,
            on_retry=report_retry,
            turn=turn,
        )
        if options.label == "add":
            saved = await self._label(saved)
        image = msgspec.structs.replace(saved, n=n)
        self._sink.emit(ImageSaved(**ids, n=n, image=image, is_existing=is_existing))
        return image

    async def _label(self, image: SavedImage) -> SavedImage:
        """Add the AI label to a saved file; its pixels stay, its checksum is that of the file as it stands."""
        if self._add_label is None:
            return image
        labelled, reason = await asyncio.to_thread(self._add_label, image)
        if reason:
            self._sink.emit(
                WarningRaised(
                    code="not_labelled",
                    message=f"no AI label was added to {clean(image.path, 400)}: {reason}",
                    hint="The cover is saved as received; export and embed add the label to their own files.",
                )
            )
        return labelled
