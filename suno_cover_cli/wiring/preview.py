"""Covers shown on the terminal that is stderr, when it is one that can show pictures."""

import asyncio
import os
from collections.abc import Sequence

from suno_cover_cli.ui.preview import ShownPicture, render_pictures
from suno_cover_cli.ui.terminal import Protocol, ask_terminal
from suno_cover_cli.wiring.context import Context

_CLASSIC_SIZE = os.terminal_size((80, 24))


async def show_pictures(context: Context, pictures: Sequence[ShownPicture]) -> bool:
    """Draw pictures side by side, each above its caption.

    Returns:
        Whether they are shown; a pipe, a colourless or a dumb terminal is left alone.
    """
    output = context.output
    streams = output.streams
    if not streams.stderr_is_terminal or output.is_quiet or streams.environ.get("NO_COLOR"):
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
