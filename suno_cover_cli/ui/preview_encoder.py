"""Turns pictures into what a terminal shows; a program of its own, started by ``screens/preview.py``.

The library for this asks the terminal questions when it is imported and writes to stdout when it draws. Here its
stdout is a pipe: it asks no terminal, its bytes go where the parent wants them, and the parent can end it at any
time.

Arguments: protocol, columns, rows, then each file with its caption. The size of a character cell in pixels comes
in the library's own variables (``TEXTUAL_CELL_WIDTH``, ``TEXTUAL_CELL_HEIGHT``).
"""

import io
import os
import sys
from base64 import b64encode
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.control import Control
from rich.measure import Measurement
from rich.segment import ControlType, Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual_image.renderable import SixelImage, TGPImage

from suno_cover_cli.base.png_chunks import open_for_pillow
from suno_cover_cli.base.text import cells_of, clean, fold

_PER_ROW = 4
_GAP_CELLS = 2
_MAX_WIDTH_CELLS = 34
_MAX_PIXELS = (1600, 1600)
# Rich passes a segment on untouched when it is a control, whichever.
_NO_OP = [(ControlType.CURSOR_FORWARD, 0)]


class ItermImage:
    """A picture in iTerm2's own protocol, drawn over a placeholder of blanks.

    Args:
        image: The picture.
        width: In cells.
        height: In cells.
    """

    def __init__(self, image: Image.Image, width: int, height: int) -> None:
        self._image = image
        self._width = width
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for _ in range(self._height):
            yield Segment(" " * self._width + "\n")
        yield Segment("\x1b7", control=_NO_OP)
        yield Control.move(0, -self._height)
        png = io.BytesIO()
        self._image.save(png, "PNG")
        size = f"size={len(png.getvalue())};width={self._width};height={self._height};preserveAspectRatio=0"
        content = b64encode(png.getvalue()).decode("ascii")
        yield Segment(f"\x1b]1337;File=inline=1;{size}:{content}\x07", control=_NO_OP)
        yield Segment("\x1b8", control=_NO_OP)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self._width, self._width)


class BlockImage:
    """A picture of half blocks, two pixels to a cell.

    The library's own one calls what Pillow is about to drop.

    Args:
        image: The picture.
        width: In cells.
        height: In cells.
    """

    def __init__(self, image: Image.Image, width: int, height: int) -> None:
        self._pixels = image.resize((width, 2 * height)).tobytes()
        self._width = width
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for row in range(0, 2 * self._height, 2):
            for column in range(self._width):
                style = Style(color=self._colour(column, row), bgcolor=self._colour(column, row + 1))
                yield Segment("▀", style)
            yield Segment("\n")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self._width, self._width)

    def _colour(self, column: int, row: int) -> Color:
        start = 3 * (row * self._width + column)
        return Color.from_rgb(*self._pixels[start : start + 3])


def sheet_of(
    pictures: Sequence[tuple[Path, str]], protocol: str, *, columns: int, rows: int, cell: tuple[int, int]
) -> Group:
    """Lay pictures out side by side, each above its caption and the name of its file.

    Nothing is cut: where a caption has no room below its picture, the song stands above the pictures of its own.

    Args:
        pictures: Checked pictures with their captions, ``number: song``.
        protocol: ``iterm``, ``kitty``, ``sixel`` or ``blocks``.
        columns: Width of the terminal in cells.
        rows: Its height.
        cell: Width and height of a cell in pixels.
    """
    shown = [(path, clean(caption, 200)) for path, caption in pictures]
    widest = _widest(len(shown), columns)
    if all(cells_of(caption) <= widest for _, caption in shown):
        return Group(_grid_of(shown, protocol, columns=columns, rows=rows, cell=cell))
    parts: list[RenderableType] = []
    for song, group in groupby(shown, key=lambda picture: picture[1].partition(": ")[2]):
        numbered = [(path, caption.partition(": ")[0]) for path, caption in group]
        parts.append(Text("\n".join(fold(song, columns))))
        parts.append(_grid_of(numbered, protocol, columns=columns, rows=rows, cell=cell))
    return Group(*parts)


def _widest(count: int, columns: int) -> int:
    """Return how many cells each of so many pictures has for itself in a row."""
    per_row = min(count, _PER_ROW)
    return max(min((columns - 1 - _GAP_CELLS * per_row) // per_row, _MAX_WIDTH_CELLS), 4)


def _grid_of(
    pictures: Sequence[tuple[Path, str]], protocol: str, *, columns: int, rows: int, cell: tuple[int, int]
) -> Table:
    per_row, widest = min(len(pictures), _PER_ROW), _widest(len(pictures), columns)
    grid = Table.grid(padding=(0, _GAP_CELLS, 0, 0))
    # A name that has no room is left out: the paths are printed below all pictures.
    names = {path: clean(path.name, 200) for path, _ in pictures}
    shows_names = all(cells_of(name) <= widest for name in names.values())
    for start in range(0, len(pictures), per_row):
        shown: list[RenderableType] = []
        captions: list[RenderableType] = []
        for path, caption in pictures[start : start + per_row]:
            image = _load(path)
            width, height = _fit(image.size, widest, max(rows - 5, 4), cell)
            shown.append(_renderable(image, protocol, width, height))
            captions.append(Text(f"{caption}\n{names[path]}" if shows_names else caption))
        grid.add_row(*shown)
        grid.add_row(*captions)
    return grid


def _load(path: Path) -> Image.Image:
    with path.open("rb") as file, Image.open(open_for_pillow(file)[0]) as opened:
        opened.draft("RGB", _MAX_PIXELS)
        image = opened.convert("RGB")
    image.thumbnail(_MAX_PIXELS)
    return image


def _fit(pixels: tuple[int, int], columns: int, rows: int, cell: tuple[int, int]) -> tuple[int, int]:
    """Return the cells a picture takes when it keeps its shape inside so many columns and rows."""
    scale = min(columns * cell[0] / pixels[0], rows * cell[1] / pixels[1])
    return max(1, round(pixels[0] * scale / cell[0])), max(1, round(pixels[1] * scale / cell[1]))


def _renderable(image: Image.Image, protocol: str, width: int, height: int) -> RenderableType:
    if protocol == "iterm":
        return ItermImage(image, width, height)
    if protocol == "kitty":
        return TGPImage(image, width=width, height=height)
    if protocol == "sixel":
        return SixelImage(image, width=width, height=height)
    return BlockImage(image, width, height)


def main(arguments: list[str]) -> None:
    """Write the bytes for a terminal to stdout."""
    protocol, columns, rows, *names = arguments
    cell = (int(os.environ["TEXTUAL_CELL_WIDTH"]), int(os.environ["TEXTUAL_CELL_HEIGHT"]))
    pictures = [(Path(path), caption) for path, caption in zip(names[::2], names[1::2], strict=True)]
    sheet = sheet_of(pictures, protocol, columns=int(columns), rows=int(rows), cell=cell)
    # Kitty's placeholders carry a number in 24 bits of colour; blocks follow what the terminal says of itself.
    console = Console(
        file=sys.stdout,
        force_terminal=True,
        width=int(columns),
        height=int(rows),
        color_system="auto" if protocol == "blocks" else "truecolor",
    )
    console.print(sheet)


if __name__ == "__main__":
    main(sys.argv[1:])
