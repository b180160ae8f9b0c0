"""What follows when the last job has ended: pictures on the terminal, the folder opened, a notification."""

import asyncio
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from suno_cover_cli.base.events import Event, JobEnded
from suno_cover_cli.ui.desktop import open_folder, send_notification
from suno_cover_cli.ui.preview import MAX_PICTURES, ShownPicture
from suno_cover_cli.ui.words import format_count
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.preview import show_pictures

_PREVIEW_JOBS = 6


class PostActions:
    """A sink that remembers what was saved. An async context manager: leaving it well does what was asked for.

    Enter it before the screen, so that it is left after it.

    Args:
        context: Streams.
        job_count: Jobs of the command; for many no pictures are shown.
        shows_pictures: ``--preview auto``; it still depends on the terminal.
        opens_folder: ``--open``.
        notifies: ``--notify``.
    """

    def __init__(
        self, context: Context, *, job_count: int, shows_pictures: bool, opens_folder: bool, notifies: bool
    ) -> None:
        self._context = context
        self._shows_pictures = shows_pictures and job_count <= _PREVIEW_JOBS
        self._opens_folder = opens_folder
        self._notifies = notifies
        self._states: Counter[str] = Counter()
        self._pictures: list[ShownPicture] = []
        self._picture_count = 0
        self._folder: Path | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            return
        if self._shows_pictures and self._pictures:
            await show_pictures(self._context, self._pictures)
        if self._opens_folder and self._folder is not None:
            await self._open_folder(self._folder)
        if self._notifies and self._states:
            environ = self._context.child_environ
            await asyncio.to_thread(send_notification, "suno-cover", self._describe(), environ)

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if not isinstance(event, JobEnded):
            return
        self._states[event.result.state] += 1
        song = event.result.music_task_id or event.result.task_id or ""
        for n, image in enumerate(event.result.images, 1):
            self._picture_count += 1
            if len(self._pictures) < MAX_PICTURES:
                self._pictures.append(ShownPicture(path=image.path, caption=f"{n}: {song}"))
            folder = Path(image.path).parent
            # Of several folders the one around them is opened.
            self._folder = folder if self._folder in {None, folder} else folder.parent

    def _describe(self) -> str:
        saved = f"{format_count(self._picture_count, 'cover')} saved"
        others = [f"{count} {state}" for state, count in sorted(self._states.items()) if state != "succeeded"]
        return ", ".join([saved, *others])

    async def _open_folder(self, folder: Path) -> None:
        output = self._context.output
        if not await asyncio.to_thread(open_folder, folder, self._context.child_environ):
            output.write_labelled("warning", f"nothing here can open the folder {folder}")
