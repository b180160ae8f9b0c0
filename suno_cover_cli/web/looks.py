"""A closer look at covers: is the file the one that was saved, what does it measure, what does it look like small.

Nothing is decoded that is not byte for byte what was saved: the downloader has looked at every pixel of that, and
what took its place since is not the cover. The file is read once; hash, marks and pixels come from those bytes.
Everything but :class:`LookRoom` blocks and belongs into a thread.
"""

import asyncio
import contextlib
import hashlib
import os
import stat
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader, BytesIO
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from suno_cover_cli.base.png_chunks import open_for_pillow
from suno_cover_cli.web.covers import Cover
from suno_cover_cli.web.guard import PageError
from suno_cover_cli.web.thumbnails import EDGE, ThumbnailFolder

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Above this a file is not read; the downloader's own bound is lower."""

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
_MAX_PIXELS = 50_000_000
_LARGE_PIXELS = 8_000_000
_HASH_SIDE = 8
_ALIKE_BITS = 5
_MAX_KEPT = 4096

State = Literal["ok", "missing", "changed", "unreadable"]
ReadMarks = Callable[[bytes], Sequence[str]]
"""Names the labels and credentials a picture file carries."""

MeasureBorder = Callable[["Image"], float]
"""Measures the border of one colour that an RGB picture has: a part of the shorter side, 0 for none."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at one cover found.

    Attributes:
        state: ``ok``; ``missing``: there is no such file; ``changed``: it is not what was saved; ``unreadable``.
        small: A picture of at most :data:`~suno_cover_cli.web.thumbnails.EDGE` pixels, WebP; empty unless ``ok``.
        shape: Difference hash of 64 bits: equal bits where two pictures grow brighter at the same place.
        has_border: A border of one colour goes all around.
        marks: Labels and credentials the file carries.
    """

    state: State
    small: bytes = b""
    shape: int = 0
    has_border: bool = False
    marks: tuple[str, ...] = ()


def are_alike(one: Look, other: Look) -> bool:
    """Tell whether two pictures have nearly the same shapes."""
    return (one.shape ^ other.shape).bit_count() <= _ALIKE_BITS


class SavedFileError(Exception):
    """The file of a cover is not what was saved; ``state`` says how."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state: State = state


@contextlib.contextmanager
def _open_saved(cover: Cover) -> Iterator[BufferedReader]:
    """Open the file of a cover, if it is a file of the right size.

    Raises:
        SavedFileError: It is not; also for what goes wrong while it is read.
    """
    # A name that has become a pipe must not keep a thread waiting for its other end.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(cover.path, flags), "rb") as file:  # noqa: PTH123 -- an open descriptor
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size != cover.size_bytes:
                raise SavedFileError("changed")
            if facts.st_size > MAX_FILE_BYTES:
                raise SavedFileError("unreadable")
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise SavedFileError("missing") from None
    except (OSError, ValueError):
        raise SavedFileError("unreadable") from None


def check_saved(cover: Cover) -> None:
    """Hash the file of a cover.

    Raises:
        SavedFileError: It is not what was saved.
    """
    with _open_saved(cover) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != cover.sha256:
            raise SavedFileError("changed")


def read_saved(cover: Cover) -> bytes:
    """Read the file of a cover, all of it.

    Raises:
        SavedFileError: It is not what was saved.
    """
    with _open_saved(cover) as file:
        content = file.read(cover.size_bytes + 1)
    if hashlib.sha256(content).hexdigest() != cover.sha256:
        raise SavedFileError("changed")
    return content


class Looker:
    """Looks at covers; one instance may be used by several threads at once.

    Memory: per thread the file and, while a small picture is made, 4 bytes a pixel (8 for those of 16 bits);
    pictures of more than 8 megapixels are made small one at a time.

    Args:
        folder: Keeps small pictures.
        read_marks: See :data:`ReadMarks`.
        measure_border: See :data:`MeasureBorder`.
    """

    def __init__(self, folder: ThumbnailFolder, read_marks: ReadMarks, measure_border: MeasureBorder) -> None:
        self._folder = folder
        self._read_marks = read_marks
        self._measure_border = measure_border
        self._large = threading.Lock()

    def look(self, cover: Cover) -> Look:
        """Look at one cover. A picture that cannot be decoded here is ``unreadable``."""
        try:
            content = read_saved(cover)
        except SavedFileError as error:
            return Look(state=error.state)
        try:
            small = self._folder.read(cover.sha256)
            pixels = _decode_small(small) if small else None
            if small is None or pixels is None:
                small = self._make_small(cover, content)
                self._folder.write(cover.sha256, small)
                pixels = _decode_small(small)
        except SavedFileError as error:
            return Look(state=error.state)
        except Exception:  # noqa: BLE001 -- Pillow raises nearly anything, also of what another release decoded
            return Look(state="unreadable")
        if pixels is None:
            return Look(state="unreadable")
        return Look(
            state="ok",
            small=small,
            shape=_shape_of(pixels),
            has_border=self._measure_border(pixels) > 0,
            marks=tuple(self._read_marks(content)),
        )

    def _make_small(self, cover: Cover, content: bytes) -> bytes:
        """Return a small picture as WebP, upright and in colours that every browser shows."""
        from PIL import ImageOps

        is_large = cover.width * cover.height > _LARGE_PIXELS
        with self._large if is_large else contextlib.nullcontext(), _open(content) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise SavedFileError("unreadable")
            profile = image.info.get("icc_profile") if image.mode in {"RGB", "RGBA", "P"} else None
            image.draft("RGB", (EDGE, EDGE))  # JPEG alone: decodes an eighth where that is enough
            image.load()
            try:
                small = ImageOps.exif_transpose(image)
            except Exception:  # noqa: BLE001 -- Pillow raises nearly anything at EXIF that is garbage; pixels are whole
                small = image
            if small.mode.startswith("I"):  # grey of 16 bits
                small = small.point(lambda value: value / 256).convert("L")
            small = small.convert("RGBA" if small.has_transparency_data else "RGB")
            small.thumbnail((EDGE, EDGE), reducing_gap=3.0)
        file = BytesIO()
        small.save(file, "WEBP", quality=80, method=2, icc_profile=profile)
        return file.getvalue()


def _open(content: bytes) -> "ImageFile":
    """Begin to read what the downloader has accepted, by the readers of those formats alone."""
    from PIL import Image

    plain, profile = open_for_pillow(BytesIO(content))
    image = Image.open(plain, formats=_FORMATS)
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _decode_small(small: bytes) -> "Image | None":
    """Decode what was kept; ``None`` when it is not a whole picture of ours."""
    from PIL.WebPImagePlugin import WebPImageFile

    try:
        with WebPImageFile(BytesIO(small)) as image:
            return image.convert("RGB") if max(image.size) <= EDGE else None
    except Exception:  # noqa: BLE001 -- a file that a crash has left half
        return None


def _shape_of(pixels: "Image") -> int:
    """Return the difference hash: for each of 8 x 8 places whether the picture is brighter than to its right."""
    from PIL.Image import Resampling

    grey = pixels.convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE), Resampling.LANCZOS).tobytes()
    rows = (grey[at : at + _HASH_SIDE + 1] for at in range(0, len(grey), _HASH_SIDE + 1))
    bits = "".join("01"[left > right] for row in rows for left, right in pairwise(row))
    return int(bits, 2)


class _Kept(msgspec.Struct, frozen=True):
    """A look, and which file it was at."""

    look: Look
    stamp: tuple[int, ...] | None


def _stamp_of(path: str) -> tuple[int, ...] | None:
    """Return what is otherwise once a file has been written or replaced; ``None`` when there is none."""
    try:
        facts = os.stat(path)  # noqa: PTH116 -- a string from the journal may be no path at all
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


class LookRoom:
    """Looks at covers beside the loop, the newest wish first: what is scrolled away is not waited for.

    An async context manager. Leaving does not wait for a look that is under way.

    Args:
        looker: Does the work.
        max_threads: At once.
        max_waiting: Wishes beyond this end the oldest one with a refusal; the page asks again if it still cares.
        max_kept_bytes: Of small pictures in memory.

    Attributes:
        kept_bytes: Of small pictures in memory now.
    """

    def __init__(
        self, looker: Looker, *, max_threads: int = 2, max_waiting: int = 64, max_kept_bytes: int = 16 << 20
    ) -> None:
        self._looker = looker
        self._free = max_threads
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="look")
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._kept: OrderedDict[Cover, _Kept] = OrderedDict()
        self.kept_bytes = 0
        self._max_kept_bytes = max_kept_bytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """How many wishes wait for a thread."""
        return len(self._waiting)

    async def look(self, cover: Cover) -> Look:
        """Look at a cover, or remember what was seen.

        Raises:
            PageError: 503: too much was asked for since.
        """
        stamp = await asyncio.to_thread(_stamp_of, cover.path)
        kept = self._kept.get(cover)
        if kept is not None and kept.stamp == stamp:
            self._kept.move_to_end(cover)
            return kept.look
        async with self._place():
            look = await asyncio.get_running_loop().run_in_executor(self._threads, self._looker.look, cover)
        self._keep(cover, _Kept(look, stamp))
        return look

    async def read(self, cover: Cover) -> bytes:
        """Read the whole file of a cover.

        Raises:
            SavedFileError: It is not what was saved.
            PageError: 503: too much was asked for since.
        """
        async with self._place():
            return await asyncio.get_running_loop().run_in_executor(self._threads, read_saved, cover)

    def _keep(self, cover: Cover, kept: _Kept) -> None:
        if (earlier := self._kept.pop(cover, None)) is not None:
            self.kept_bytes -= len(earlier.look.small)
        self._kept[cover] = kept
        self.kept_bytes += len(kept.look.small)
        while self.kept_bytes > self._max_kept_bytes or len(self._kept) > _MAX_KEPT:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= len(oldest.look.small)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for a thread; the newest request is first."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            if len(self._waiting) > self._max_waiting:
                self._waiting.popleft().set_exception(PageError(503, "busy"))
            await self._wait(turn)
        try:
            yield
        finally:
            self._hand_on()

    async def _wait(self, turn: "asyncio.Future[None]") -> None:
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
