"""A terminal for programs under test: a pseudo-terminal, what it answers, what it was sent, decoded back."""

import base64
import fcntl
import io
import os
import re
import select
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from PIL import Image, ImageChops, ImageStat

from suno_cover_cli.base.text import cells_of
from tests.starter import Started

Answerer = Callable[[bytes], bytes]
"""Everything the terminal has been sent so far -> what it says now, once; empty for nothing yet."""


class Terminal:
    """A terminal of a given size, with a program running on it. A context manager: leaving ends the program.

    Args:
        columns: Width in cells.
        rows: Height in cells.
        answer: What the terminal says when it is asked something.
        pixels: Width and height of a cell, told by the system when given.
    """

    def __init__(
        self,
        columns: int = 80,
        rows: int = 24,
        *,
        answer: Answerer | None = None,
        pixels: tuple[int, int] = (0, 0),
    ) -> None:
        self.sent = b""
        self._answer = answer
        self._leader, self._follower = os.openpty()
        size = struct.pack("HHHH", rows, columns, pixels[0] * columns, pixels[1] * rows)
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, size)
        self.modes = termios.tcgetattr(self._follower)
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_all, daemon=True)
        self._changed = threading.Condition()
        self._started: Started | None = None

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._started is not None:
            self._started.__exit__(None, None, None)
        self._stop.set()
        self._reader.join()
        os.close(self._leader)
        os.close(self._follower)

    @property
    def name(self) -> str:
        """The path of the device that programs open."""
        return os.ttyname(self._follower)

    def own(self, started: Started) -> None:
        """Take charge of a program that was started on it."""
        self._started = started

    def finish(self, timeout_s: float = 20.0) -> tuple[int, str]:
        """Wait for the end of the program and return its code and what it wrote to a stdout that is a pipe."""
        assert self._started is not None
        stdout, _ = self._started.communicate(timeout_s)
        # What was written before the end is in the terminal's buffer; wait until it has been read.
        end = time.monotonic() + 5
        while select.select([self._leader], [], [], 0.05)[0] and time.monotonic() < end:
            time.sleep(0.01)
        return self._started.wait(), stdout.decode()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._leader, keys)

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size, as dragging its corner does."""
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: bytes, timeout_s: float = 10.0) -> None:
        """Wait until something has been written to the terminal."""
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.sent, timeout_s), self.sent[-2000:]

    @property
    def text(self) -> str:
        """What was sent, escape sequences taken out."""
        return strip_escapes(self.sent.decode("utf-8", "replace"))

    def modes_now(self) -> list[int | list[bytes | int]]:
        """Return the terminal's modes."""
        return termios.tcgetattr(self._follower)

    def _read_all(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._leader], [], [], 0.02)[0]:
                continue
            piece = os.read(self._leader, 65536)
            with self._changed:
                self.sent += piece
                self._changed.notify_all()
            if self._answer is not None and (said := self._answer(self.sent)):
                self._answer = None
                os.write(self._leader, said)


def strip_escapes(text: str) -> str:
    """Return what would be left for the eye: no colours, no cursor movements, no graphics."""
    text = re.sub(
        r"\x1b(?:[_P\]X^].*?(?:\x1b\\|\x07)|\[[0-?]*[ -/]*[@-~]|[0-9A-Za-z=>])", "", text, flags=re.DOTALL
    )
    return text.replace("\r\n", "\n")


def cut_words(shown: str, columns: int, known: Iterable[str], wanted: Iterable[str] = ()) -> list[str]:
    """Find what is wrong with what a terminal shows to somebody who wants to read it and copy from it.

    Args:
        shown: Its lines, without escape sequences.
        columns: Its width.
        known: Ids, paths, addresses and commands that are whole on a line wherever they stand.
        wanted: Those of them that have to be there.

    Returns:
        Lines that leave the edge, unless they are one word from the left edge on; lines with a cut id or path, or
        with markup; what is not whole, or not there.
    """
    lines = [line.rstrip() for line in shown.splitlines()]
    wrong = [line for line in lines if cells_of(line) > columns and (" " in line.strip() or line[:1] == " ")]
    wrong += [
        line for line in lines if re.search(r"[0-9a-f]{6}\u2026|/[\w.-]*\u2026|\[/?(?:bold|dim|red|green)\b", line)
    ]
    joined, whole = "".join(line.strip() for line in lines), "\n".join(lines)
    wrong += [word for word in known if word in joined and word not in whole]
    return wrong + [word for word in wanted if word not in whole]


# --- what a terminal answers ----------------------------------------------------------------------------------


def answers(text: bytes) -> Answerer:
    """Return a terminal that says this when it is asked what it is."""
    return lambda sent: text if b"\x1b[c" in sent else b""


KITTY = answers(b"\x1b_Gi=31;OK\x1b\\\x1b[6;18;9t\x1b[?62;c")
SIXEL = answers(b"\x1b[6;16;8t\x1b[?62;4;22c")
BOTH = answers(b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4c")
PLAIN = answers(b"\x1b[?1;2c")


# --- pictures decoded back ------------------------------------------------------------------------------------


def decode_kitty(sent: bytes) -> list[Image.Image]:
    """Put the pictures together that were transmitted in Kitty's protocol."""
    pictures, payload = [], b""
    for keys, content in re.findall(rb"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", sent):
        if b"f=100" not in keys:
            continue
        payload += content
        if b"m=0" in keys:
            pictures.append(_open(base64.b64decode(payload)))
            payload = b""
    return pictures


def decode_iterm(sent: bytes) -> list[Image.Image]:
    """Take the pictures out of iTerm2's sequences."""
    found = re.findall(rb"\x1b\]1337;File=inline=1;[^:]*:([A-Za-z0-9+/=]*)\x07", sent)
    return [_open(base64.b64decode(content)) for content in found]


def decode_sixel(sent: bytes) -> list[Image.Image]:
    """Draw the pictures that sixel sequences describe (DEC's VT3xx graphics)."""
    return [_draw_sixel(body) for body in re.findall(rb"\x1bP[0-9;]*q([^\x1b]*)\x1b\\", sent)]


def _draw_sixel(body: bytes) -> Image.Image:
    raster, rest = re.match(rb'"1;1;([0-9]+);([0-9]+)', body), body
    assert raster is not None
    image = Image.new("RGB", (int(raster[1]), int(raster[2])))
    colours: dict[int, tuple[int, ...]] = {}
    x = y = colour = 0
    for token in re.findall(rb"#[0-9;]+|![0-9]+[?-~]|[?-~]|\$|-", rest[raster.end() :]):
        if token[:1] == b"#":
            colour, *definition = map(int, token[1:].split(b";"))
            if definition:
                colours[colour] = tuple(round(percent * 255 / 100) for percent in definition[1:])
        elif token == b"$":
            x = 0
        elif token == b"-":
            x, y = 0, y + 6
        else:
            count = int(token[1:-1]) if token[:1] == b"!" else 1
            bits = token[-1] - 0x3F
            for column in range(x, x + count):
                for row in range(6):
                    if bits >> row & 1 and y + row < image.height:
                        image.putpixel((column, y + row), colours[colour])
            x += count
    return image


def decode_blocks(sent: bytes) -> Image.Image:
    """Read the rows of half blocks as pixels, two to a cell; cells without colour are black."""
    rows = [list(_block_cells(line)) for line in sent.decode("utf-8", "replace").split("\n") if "▀" in line]
    width = max(map(len, rows))
    image = Image.new("RGB", (width, 2 * len(rows)))
    for y, cells in enumerate(rows):
        for x, (upper, lower) in enumerate(cells):
            image.putpixel((x, 2 * y), upper)
            image.putpixel((x, 2 * y + 1), lower)
    return image


def _block_cells(line: str) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    black = (0, 0, 0)
    front: tuple[int, ...] = black
    back: tuple[int, ...] = black
    for match in re.finditer(r"\x1b\[([0-9;]*)m|(.)", line):
        if match[2] is None:
            for kind, *channels in re.findall(r"([34]8);2;(\d+);(\d+);(\d+)", match[1]):
                colour = tuple(map(int, channels))
                front, back = (colour, back) if kind == "38" else (front, colour)
            if match[1] in {"", "0"}:
                front = back = black
        elif match[2] == "▀":
            yield front, back
        elif match[2] == " ":
            yield black, black


def looks_like(picture: Image.Image, original: Path) -> bool:
    """Tell whether a picture is the original, up to its size and the loss of colours."""
    with Image.open(original) as opened:
        wanted = opened.convert("RGB").resize((24, 24))
    found = picture.convert("RGB").resize((24, 24))
    return max(ImageStat.Stat(ImageChops.difference(wanted, found)).mean) < 14


def _open(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as opened:
        return opened.convert("RGB")
