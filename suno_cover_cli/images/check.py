"""Is this file a whole picture? Told by its bytes, as they come; each format by the module that knows it.

==========  ==========================================================  =======================================
format      how                                                         memory at most
==========  ==========================================================  =======================================
PNG         unpacked and counted as it comes (:mod:`png`)               1 MiB
JPEG        decoded as it comes, twice (:mod:`jpeg`)                    32 MiB; large ones later, alone, 160 MiB
WebP, AVIF  decoded when it is there, by a program apart (:mod:`decoding`)  200 MiB in that program
==========  ==========================================================  =======================================
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.images.decoding import Stop, StoppedError, check_whole
from suno_cover_cli.images.jpeg import JpegCheck
from suno_cover_cli.images.kinds import (
    HEAD_BYTES,
    DamagedImageError,
    ImageFormat,
    ReadableFile,
    TooManyPixelsError,
    name_foreign,
    sniff,
)
from suno_cover_cli.images.png import PngCheck

_BLOCK_BYTES = 256 * 1024
_EAGER_BYTES = 32 * 1024 * 1024
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a full check found. ``width`` and ``height`` are pixels, ``sha256`` is hex."""

    format: ImageFormat
    width: int
    height: int
    size_bytes: int
    sha256: str


class ImageChecker:
    """Checks files; one instance may be used by several threads at once.

    Args:
        environ: For the program that decodes WebP and AVIF.
        max_pixels: Larger pictures are refused before anything is taken for them.
    """

    def __init__(self, environ: ChildEnviron, max_pixels: int = 50_000_000) -> None:
        self._environ = environ
        self._max_pixels = max_pixels
        # What takes much memory is done for one picture at a time.
        self._large = threading.Lock()

    def begin(self, stop: Stop) -> "PictureCheck":
        """Begin to check a file that is on its way; ``stop`` ends it."""
        return PictureCheck(self._environ, self._max_pixels, self._large, stop)

    def check(self, file: ReadableFile) -> Picture:
        """Check a file from its first byte to its last. Blocks: for a thread, not for the loop.

        Raises:
            ImageError: See :meth:`PictureCheck.finish`.
        """
        check = self.begin(Stop())
        file.seek(0)
        while block := file.read(_BLOCK_BYTES):
            check.feed(block)
        return check.finish(file)


class PictureCheck:
    """The check of one file, piece by piece; used by one thread at a time.

    Args:
        environ, max_pixels: See :class:`ImageChecker`.
        large: Held while much memory is taken.
        stop: Ends the check.
    """

    def __init__(self, environ: ChildEnviron, max_pixels: int, large: threading.Lock, stop: Stop) -> None:
        self._environ = environ
        self._max_pixels = max_pixels
        self._large = large
        self._stop = stop
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._head = b""
        self._format: ImageFormat | None = None
        self._eager: PngCheck | JpegCheck | None = None

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next bytes of the file, and look at them as far as the format allows. Blocks.

        Raises:
            NotAnImageError: The first bytes are those of no accepted format.
            DamagedImageError, UnsupportedImageError, TooManyPixelsError: What has come so far is enough to know.
            StoppedError: It is no longer wanted.
        """
        self._stop.check()
        self._hash.update(data)
        self._size_bytes += len(data)
        if self._format is None:
            self._head += data
            if len(self._head) < HEAD_BYTES:
                return
            data = self._begin_format()
        self._look_at(data)

    def finish(self, file: ReadableFile) -> Picture:
        """Tell what the file is, now that all of it has been fed. Blocks.

        Args:
            file: Holds what was fed; read where a format has to be looked at as a whole.

        Raises:
            NotAnImageError: No accepted format.
            DamagedImageError: Cut off, or not decodable.
            UnsupportedImageError: Of a kind that cannot be checked.
            TooManyPixelsError: More than ``max_pixels``, or than memory allows.
            StoppedError: It is no longer wanted.
        """
        if self._format is None:
            self._look_at(self._begin_format())
        if self._format is None:
            raise TypeError("a file without a format was not refused")
        with _telling(self._format):
            if self._eager is None or (isinstance(self._eager, JpegCheck) and self._eager.is_put_off):
                width, height = self._check_alone(self._format, file)
            else:
                width, height = self._eager.finish()
        return Picture(
            format=self._format,
            width=width,
            height=height,
            size_bytes=self._size_bytes,
            sha256=self._hash.hexdigest(),
        )

    def _look_at(self, data: bytes | bytearray) -> None:
        if self._eager is not None and self._format is not None:
            with _telling(self._format):
                self._eager.feed(data)

    def _begin_format(self) -> bytes:
        """Choose the check by the first bytes, and return them."""
        self._format = sniff(self._head)
        if self._format is None:
            raise name_foreign(self._head)
        if self._format is ImageFormat.PNG:
            self._eager = PngCheck(self._max_pixels, self._stop.check)
        elif self._format is ImageFormat.JPEG:
            self._eager = JpegCheck(self._max_pixels, self._stop.check, eager_bytes=_EAGER_BYTES)
        head, self._head = self._head, b""
        return head

    def _check_alone(self, image_format: ImageFormat, file: ReadableFile) -> tuple[int, int]:
        while not self._large.acquire(timeout=_LOOK_EVERY_S):
            self._stop.check()
        try:
            if image_format is not ImageFormat.JPEG:
                return check_whole(
                    image_format, file, stop=self._stop, max_pixels=self._max_pixels, environ=self._environ
                )
            check = JpegCheck(self._max_pixels, self._stop.check)
            file.seek(0)
            while block := file.read(_BLOCK_BYTES):
                check.feed(block)
            return check.finish()
        finally:
            self._large.release()


@contextmanager
def _telling(image_format: ImageFormat) -> Iterator[None]:
    """Turn whatever else a decoder raises over hostile bytes into one of our errors.

    Raises:
        ImageError, StoppedError, OSError: As they come: OSErrors are those of the file.
    """
    try:
        yield
    except (ImageError, StoppedError, OSError):
        raise
    except MemoryError as error:
        raise TooManyPixelsError("the picture does not fit into memory") from error
    except Exception as error:
        raise DamagedImageError(f"the {image_format.shown} picture is damaged: it cannot be decoded") from error
