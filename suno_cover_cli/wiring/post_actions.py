"""What follows when the last job has ended: pictures on the terminal, paths, the folder opened, a notification."""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from suno_cover_cli.base.events import Event, JobEnded, Sink
from suno_cover_cli.base.models import JobResult
from suno_cover_cli.ui.desktop import open_folder, send_notification
from suno_cover_cli.ui.terminal import MAX_PICTURES, Protocol, ShownPicture, ask_terminal, render_pictures
from suno_cover_cli.ui.words import format_count
from suno_cover_cli.wiring.context import Context

_PREVIEW_JOBS = 6
_CLASSIC_SIZE = os.terminal_size((80, 24))


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
        self._picture_count = 0
        self._ended: list[JobEnded] = []
        self._product: Sink | None = None
        self._folder: Path | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ended = sorted(self._ended, key=lambda event: event.job)
        pictures = [picture for event in ended for picture in _pictures_of(event.result)]
        try:
            if exc is None and pictures:
                await show_pictures(self._context, pictures[:MAX_PICTURES])
        finally:
            # Also of a run that was interrupted: what is saved is saved.
            if self._product is not None:
                for event in ended:
                    self._product.emit(event)
        if exc is not None:
            return
        if self._opens_folder and self._folder is not None:
            await self._open_folder(self._folder)
        if self._notifies and self._states:
            environ = self._context.child_environ
            await asyncio.to_thread(send_notification, "suno-cover", self._describe(), environ)

    def take_product(self, product: Sink) -> bool:
        """Have paths printed below the pictures, in the order of the jobs, where they go to the same terminal.

        Args:
            product: Prints the paths of a job when it hears of its end.

        Returns:
            Whether ``product`` hears of ends from here, after all of them; otherwise it is yours to call.
        """
        streams = self._context.output.streams
        if self._shows_pictures and streams.stdout_is_terminal and streams.draws:
            self._product = product
        return self._product is not None

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if not isinstance(event, JobEnded):
            return
        self._states[event.result.state] += 1
        if self._shows_pictures:
            self._ended.append(event)
        for image in event.result.images:
            self._picture_count += 1
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
            output.write_labelled("warning", f"no program was found that opens the folder {folder}")


def _pictures_of(result: JobResult) -> list[ShownPicture]:
    song = result.title or result.music_task_id or result.task_id or ""
    return [ShownPicture(path=image.path, caption=f"{n}: {song}") for n, image in enumerate(result.images, 1)]


async def show_pictures(context: Context, pictures: Sequence[ShownPicture]) -> bool:
    """Draw pictures side by side, each above its caption.

    Returns:
        Whether they are shown; a pipe, a colourless or a dumb terminal is left alone.
    """
    output = context.output
    streams = output.streams
    if not streams.draws or output.is_quiet or streams.environ.get("NO_COLOR"):
        return False
    descriptor = streams.stderr.fileno()
    facts = await asyncio.to_thread(ask_terminal, descriptor, streams.environ)
    if facts.protocol is Protocol.BLOCKS and not streams.stderr.encoding.lower().startswith("utf"):
        return False
    size = _size_of(descriptor)
    drawing = await render_pictures(
        pictures, facts, columns=size.columns, rows=size.lines, environ=context.child_environ
    )
    await asyncio.to_thread(_write_all, descriptor, drawing)
    return bool(drawing)


def _size_of(descriptor: int) -> os.terminal_size:
    """Return columns and lines of a terminal; one that does not know them is taken for a classic one."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return _CLASSIC_SIZE
    return size if size.columns and size.lines else _CLASSIC_SIZE


def _write_all(descriptor: int, content: bytes) -> None:
    """Write to a terminal; one that is gone in the meantime loses nothing."""
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return
