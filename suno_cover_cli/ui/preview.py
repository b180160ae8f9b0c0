"""Pictures on the terminal: a program of our own encodes them for what the terminal can draw, within a limit."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.base.text import clean
from suno_cover_cli.ui.terminal import TerminalFacts

MAX_PICTURES = 8

_MAX_BYTES = 32 * 1024 * 1024
_ENCODER = "suno_cover_cli.ui.preview_encoder"


class ShownPicture(msgspec.Struct, frozen=True, kw_only=True):
    """A checked picture, and what stands below it before the name of its file: number first, then the song."""

    path: str
    caption: str


async def render_pictures(
    pictures: Sequence[ShownPicture],
    facts: TerminalFacts,
    *,
    columns: int,
    rows: int,
    environ: ChildEnviron,
    timeout_s: float = 10.0,
) -> bytes:
    """Return the bytes with which a terminal shows pictures side by side, or nothing when that does not work out.

    Args:
        pictures: The first :data:`MAX_PICTURES` are shown.
        facts: What the terminal can draw.
        columns: Width of the terminal in cells.
        rows: Its height.
        environ: For colours.
        timeout_s: The encoder's whole life, in the machine's own seconds.
    """
    if not sys.executable:
        return b""
    words = [word for picture in pictures[:MAX_PICTURES] for word in (picture.path, clean(picture.caption, 200))]
    width, height = facts.cell
    cell = {"TEXTUAL_CELL_WIDTH": str(width), "TEXTUAL_CELL_HEIGHT": str(height)}
    encoder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a PIL.py in the current folder is not ours
        *("-m", _ENCODER, facts.protocol, str(columns), str(rows), *words),
        env={**environ, **cell, "PYTHONIOENCODING": "utf-8"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    drawing = b""
    try:
        async with asyncio.timeout(timeout_s):
            drawing = await _read_capped(encoder.stdout)
            if await encoder.wait() != 0:
                drawing = b""
    except TimeoutError:
        drawing = b""
    finally:
        if encoder.returncode is None:
            with suppress(ProcessLookupError):
                encoder.kill()
            await encoder.wait()
    return drawing


async def _read_capped(stream: asyncio.StreamReader | None) -> bytes:
    """Read to the end; of more than the cap nothing is wanted: half a picture confuses a terminal."""
    content = bytearray()
    while stream is not None and (piece := await stream.read(256 * 1024)):
        content += piece
        if len(content) > _MAX_BYTES:
            raise TimeoutError
    return bytes(content)
