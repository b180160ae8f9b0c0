"""What the terminal on stderr can draw, and pictures drawn on it.

It is asked, with a time limit; one that does not answer gets blocks. A program of our own encodes the pictures.

The question ends with "what are you?" (primary device attributes), which practically every terminal answers, and
terminals answer in order: whatever has not come before that answer will not come.
"""

import asyncio
import os
import re
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum

import msgspec

from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.base.text import clean

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import struct
    import termios
    import tty

_QUESTION = (
    b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"  # Kitty's protocol: would you show this pixel?
    b"\x1b[16t"  # how many pixels has a character?
    b"\x1b[c"  # what are you?
    b"\r\x1b[K"  # a terminal that printed a part of that has it erased
)
_ATTRIBUTES = re.compile(rb"\x1b\[\?([0-9;]{0,64})c")
_CELL = re.compile(rb"\x1b\[6;([0-9]{1,4});([0-9]{1,4})t")
_KITTY_YES = b"\x1b_Gi=31;OK"
_SIXEL = b"4"
_MAX_ANSWER_BYTES = 4096
_DEFAULT_CELL = (10, 20)
_KEY_POLL_S = 0.05

MAX_PICTURES = 8

_MAX_BYTES = 32 * 1024 * 1024
_ENCODER = "suno_cover_cli.ui.preview_encoder"


class Protocol(StrEnum):
    """Ways to show a picture, the best first."""

    ITERM = "iterm"
    SIXEL = "sixel"
    KITTY = "kitty"
    BLOCKS = "blocks"


class TerminalFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a terminal can draw, and the width and height of a character in pixels."""

    protocol: Protocol = Protocol.BLOCKS
    cell: tuple[int, int] = _DEFAULT_CELL


def ask_terminal(descriptor: int, environ: Mapping[str, str], timeout_s: float = 0.5) -> TerminalFacts:
    """Find out what a terminal can draw. Blocks, at most ``timeout_s`` seconds.

    Nothing is asked when we do not own the terminal (in the background, or it is not ours), or when the user has
    typed ahead, because the answer would arrive among the keys. There are no questions on Windows.

    Args:
        descriptor: Of stderr, a terminal.
        environ: For terminals that say what they are.
        timeout_s: For the answer.
    """
    if sys.platform != "win32":
        facts = _facts_of(descriptor, environ, timeout_s)
    else:
        facts = TerminalFacts()
    return facts


async def read_key(descriptor: int) -> str:
    """Wait for one key of the user, without an Enter; Ctrl-C still interrupts.

    Args:
        descriptor: Of stdin, a terminal.

    Returns:
        The key; empty when the terminal is gone.
    """
    if sys.platform != "win32":
        key = await _read_key(descriptor)
    else:
        while not msvcrt.kbhit():  # noqa: ASYNC110 -- no event tells of a key
            await asyncio.sleep(_KEY_POLL_S)
        key = msvcrt.getwch()
    return key


if sys.platform != "win32":

    async def _read_key(descriptor: int) -> str:
        loop = asyncio.get_running_loop()
        pressed: asyncio.Future[bytes] = loop.create_future()

        def read() -> None:
            if not pressed.done():
                pressed.set_result(os.read(descriptor, 16))

        with _unbuffered(descriptor):
            loop.add_reader(descriptor, read)
            try:
                return (await pressed).decode(errors="replace")[:1]
            finally:
                loop.remove_reader(descriptor)

    def _facts_of(descriptor: int, environ: Mapping[str, str], timeout_s: float) -> TerminalFacts:
        cell = _cell_of_window(descriptor)
        is_nested = "TMUX" in environ or environ.get("TERM", "").startswith(("screen", "tmux"))
        if not is_nested and "iTerm" in environ.get("TERM_PROGRAM", "") + environ.get("LC_TERMINAL", ""):
            return TerminalFacts(protocol=Protocol.ITERM, cell=cell or _DEFAULT_CELL)
        answer = _ask(descriptor, timeout_s)
        if (found := _CELL.search(answer)) is not None and int(found[1]) and int(found[2]):
            cell = (int(found[2]), int(found[1]))
        attributes = _ATTRIBUTES.search(answer)
        protocol = Protocol.BLOCKS
        if attributes is not None and _SIXEL in attributes[1].split(b";")[1:]:
            # Before Kitty's: some that speak both lack the part of Kitty's that is used here.
            protocol = Protocol.SIXEL
        elif _KITTY_YES in answer:
            protocol = Protocol.KITTY
        return TerminalFacts(protocol=protocol, cell=cell or _DEFAULT_CELL)

    def _cell_of_window(descriptor: int) -> tuple[int, int] | None:
        """Divide the window's pixels by its characters, where the system knows both."""
        try:
            packed = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
        except OSError:
            return None
        rows, columns, width, height = struct.unpack("HHHH", packed)
        if not (rows and columns and width >= columns and height >= rows):
            return None
        return width // columns, height // rows

    def _ask(descriptor: int, timeout_s: float) -> bytes:
        try:
            if os.tcgetpgrp(descriptor) != os.getpgrp():
                # In the background: changing the terminal's modes would stop this process.
                return b""
            terminal = os.open(os.ttyname(descriptor), os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return b""
        try:
            with _unbuffered(terminal):
                if select.select([terminal], [], [], 0)[0]:
                    return b""
                os.write(terminal, _QUESTION)
                answer = _read_answer(terminal, time.monotonic() + timeout_s)
                if _ATTRIBUTES.search(answer) is None:
                    # A late half of the answer is not what the user typed.
                    termios.tcflush(terminal, termios.TCIFLUSH)
                return answer
        except (OSError, termios.error):
            return b""
        finally:
            os.close(terminal)

    def _read_answer(terminal: int, end_s: float) -> bytes:
        answer = b""
        while _ATTRIBUTES.search(answer) is None and len(answer) < _MAX_ANSWER_BYTES:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not select.select([terminal], [], [], left_s)[0]:
                break
            piece = os.read(terminal, 512)
            if not piece:
                break
            answer += piece
        return answer

    @contextmanager
    def _unbuffered(terminal: int) -> Iterator[None]:
        """Read keys as they come and unseen; the modes are put back in any case."""
        modes = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal, termios.TCSANOW)
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, modes)


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
