"""Runs of coded data of a JPEG, and libjpeg made to say whether each is as long as it has to be.

libjpeg fills up a scan that ends early with grey and only warns, and Pillow hides the warning. So its decoder is
given a copy of the file in which padding follows each run of coded data, the last bytes one at a time:

- A decoder that has what it needs steps over the padding byte by byte; one that still wants data swallows it in
  lumps, because it reads 7 or 8 bytes at once. That run is too short.
- A decoder that steps over the run's own last bytes did not need them. That run is too long: it has been damaged.
- Two decoders with different padding see the same picture, unless one of them took padding for data. That tells of
  runs that lack less than a lump.
"""

import re
import sys
from typing import Any

from suno_cover_cli.images.kinds import DamagedImageError, UnsupportedImageError

# Each begins with a plain byte, which lets the search jump from one to the next.
_RESTART = re.compile(rb"\xff\xff*([\xd0-\xd7])")
_UNIT = re.compile(rb"\xff\x00|.", re.DOTALL)
_PADDINGS = (bytes(24), b"\xa5" * 24)
# libjpeg reads up to 8 bytes ahead of what it needs. As many units as this must be stepped over to be sure.
_SURE_UNITS = 16
_AHEAD_BYTES = 8
_HELD_BYTES = 64
_ZEROS = bytes(_SURE_UNITS)
_STRIP_ROWS = 64


class Decoder:
    """libjpeg in Pillow's hands, fed piece by piece.

    Args:
        mode: Of the picture that comes out: ``L``, ``RGB`` or ``CMYK``.
        size: Width and height of the file's picture.
        scale: 1, 2, 4 or 8: by how much smaller the picture that comes out may be.
        padding: What follows each run.

    Attributes:
        is_finished: The picture is out; nothing more is wanted.
        image: The picture.
    """

    def __init__(self, mode: str, size: tuple[int, int], scale: int, padding: bytes) -> None:
        from PIL import Image, _imaging

        self.padding = padding
        self.is_finished = False
        scaled = ((size[0] + scale - 1) // scale, (size[1] + scale - 1) // scale)
        self.image = Image.new(mode, scaled, None)
        self._decoder: Any = _imaging.jpeg_decoder(mode, mode, "", scale, 0)
        self._decoder.setimage(self.image.im, (0, 0, *scaled))
        self._untaken = b""

    def feed(self, data: bytes) -> None:
        """Decode as far as ``data`` goes. Releases the interpreter's lock meanwhile.

        Raises:
            DamagedImageError: It cannot be decoded.
        """
        if self.is_finished:
            return
        given = self._untaken + data
        taken, error = self._decoder.decode(given)
        if taken < 0:
            self.is_finished = True
            if error < 0:
                raise DamagedImageError("the JPEG picture is damaged: it cannot be decoded")
        else:
            self._untaken = given[taken:]

    def steps_over(self, data: bytes) -> bool:
        """Feed a few bytes one by one; tell whether each was stepped over, because the run has all it needs."""
        is_smooth = True
        for unit in _UNIT.findall(data):
            self.feed(unit)
            is_smooth &= self.is_finished or not self._untaken
        return is_smooth

    def shows_same(self, other: "Decoder") -> bool:
        """Compare what came out of two decoders, a strip at a time."""
        from PIL.ImageChops import difference

        width, height = self.image.size
        for top in range(0, height, _STRIP_ROWS):
            strip = (0, top, width, min(top + _STRIP_ROWS, height))
            if difference(self.image.crop(strip), other.image.crop(strip)).getbbox() is not None:
                return False
        return True


class Runs:
    """The coded data of one picture on its way into its decoders.

    Args:
        mode, size, scale: See :class:`Decoder`.
        decoder_count: Two see more than one, and take twice the memory.

    Attributes:
        restarts: How many restart markers the scan under way has had.
    """

    def __init__(self, mode: str, size: tuple[int, int], scale: int, decoder_count: int) -> None:
        self.restarts = 0
        self._decoders = [Decoder(mode, size, scale, padding) for padding in _PADDINGS[:decoder_count]]
        self._held = b""  # the end of the run under way, without
        self._zeros = 0  # the zeros it ends with: data or, where an encoder fills up its blocks, padding
        self._may_be_zeros = False

    def feed_header(self, data: bytes) -> None:
        """Pass on what is not coded data: markers and tables."""
        for decoder in self._decoders:
            decoder.feed(data)

    def begin_scan(self, *, may_be_zeros: bool) -> None:
        """A scan begins; see :meth:`Codes.may_be_zeros`."""
        self.restarts = 0
        self._may_be_zeros = may_be_zeros

    def feed(self, data: bytes) -> None:
        """Pass on coded data, restart markers among it; the end is held back until more comes.

        Raises:
            DamagedImageError: It cannot be decoded, or a stretch of it has been lost.
        """
        given = self._held + bytes(self._zeros) + data
        restarts = list(_RESTART.finditer(given))
        start = restarts[-1].end() if restarts else 0
        self.restarts += len(restarts)
        body = given[start:].rstrip(b"\0")
        if body.endswith(b"\xff") and start + len(body) < len(given):
            body += b"\0"  # the zero that is stuffed after such a byte
        if not self._may_be_zeros and _ZEROS in given[: start + len(body)]:
            raise DamagedImageError("the JPEG picture is damaged: a stretch of its data is zero")
        cut = max(len(body) - _HELD_BYTES, 0)
        if body[cut - 1 : cut] == b"\xff":
            cut -= 1
        for decoder in self._decoders:
            decoder.feed(_RESTART.sub(decoder.padding + b"\xff\\1", given[:start]) + body[:cut])
        self._held, self._zeros = body[cut:], len(given) - start - len(body)

    def end_scan(self) -> None:
        """The scan is over.

        Raises:
            DamagedImageError: Its last run is too short, or longer than it has to be.
        """
        first, *others = self._decoders
        self._end_closely(first)
        for other in others:
            other.feed(self._held + bytes(self._zeros) + other.padding)
        self._held, self._zeros = b"", 0

    def finish(self) -> None:
        """The picture is over.

        Raises:
            DamagedImageError: It did not come out, or not the same from both decoders.
        """
        self.feed_header(b"\xff\xd9")
        if not all(decoder.is_finished for decoder in self._decoders):
            raise DamagedImageError("the JPEG picture is cut off: pixels are missing")
        if not self._decoders[0].shows_same(self._decoders[-1]):
            raise DamagedImageError("the JPEG picture is cut off: a part of its data ends early")

    def _end_closely(self, decoder: Decoder) -> None:
        units = _UNIT.findall(self._held)
        decoder.feed(b"".join(units[:-_SURE_UNITS]))
        last = units[-_SURE_UNITS:]
        if decoder.steps_over(b"".join(last)) and len(last) == _SURE_UNITS:
            raise DamagedImageError("the JPEG picture is damaged: more data than pixels")
        self._end_zeros(decoder, self._zeros)
        decoder.feed(decoder.padding[:-_SURE_UNITS])
        if not decoder.steps_over(decoder.padding[-_SURE_UNITS:]):
            raise DamagedImageError("the JPEG picture is cut off: a part of its data ends early")

    def _end_zeros(self, decoder: Decoder, count: int) -> None:
        """Pass on the zeros that a scan ends with: padding or data, but not some of each."""
        decoder.feed(bytes(min(count, _AHEAD_BYTES)))
        left = count - _AHEAD_BYTES
        if left < _SURE_UNITS:
            decoder.feed(bytes(max(left, 0)))
        elif not decoder.steps_over(_ZEROS):
            left -= _SURE_UNITS
            decoder.feed(bytes(max(left - _SURE_UNITS, 0)))
            is_left_over = decoder.steps_over(bytes(min(left, _SURE_UNITS))) and left >= _SURE_UNITS
            if is_left_over or not self._may_be_zeros:
                raise DamagedImageError("the JPEG picture is damaged: a stretch of its data is zero")


class Gathered:
    """A picture of a kind that libjpeg decodes at once or not at all; see :class:`Runs` for the rest.

    Args:
        mode, size, scale: See :class:`Decoder`.
        kind: What it is called.
    """

    restarts = 0

    def __init__(self, mode: str, size: tuple[int, int], scale: int, kind: str) -> None:
        self._decoder = Decoder(mode, size, scale, b"")
        self._kind = kind
        self._data = bytearray()

    def feed_header(self, data: bytes) -> None:
        """Keep what is not coded data."""
        self._data += data

    def begin_scan(self, *, may_be_zeros: bool) -> None:
        """Nothing is known of such scans, whether they ``may_be_zeros`` or not."""

    def feed(self, data: bytes) -> None:
        """Keep coded data."""
        self._data += data

    def end_scan(self) -> None:
        """Arithmetic coding may leave out what it ends with, so an early end is none."""

    def finish(self) -> None:
        """Decode it all.

        Raises:
            UnsupportedImageError: It does not come out: damaged, or this libjpeg does not read it.
        """
        try:
            self._decoder.feed(bytes(self._data) + b"\xff\xd9")
        except DamagedImageError as error:
            raise UnsupportedImageError(f"{self._kind}, which is damaged or cannot be read here") from error
        if not self._decoder.is_finished:
            raise DamagedImageError("the JPEG picture is cut off: pixels are missing")


class Unread:
    """A picture whose coded data is not looked at; see :class:`Runs` for the rest."""

    restarts = sys.maxsize

    def feed_header(self, data: bytes) -> None:
        """Pass over what is not coded data."""

    def begin_scan(self, *, may_be_zeros: bool) -> None:
        """Pass over the beginning of a scan."""

    def feed(self, data: bytes) -> None:
        """Pass over coded data."""

    def end_scan(self) -> None:
        """Pass over the end of a scan."""

    def finish(self) -> None:
        """Nothing was decoded."""
