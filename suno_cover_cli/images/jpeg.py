"""Is a JPEG whole? Told while its bytes arrive: its parts are walked here, its coded data in :mod:`jpeg_runs`.

Only what is needed to decode is passed on, so that nothing beside the pixels can make a picture bad (ITU-T T.81,
annex B). A file that holds further pictures behind the first one (gain maps are kept that way) lists them, and
they must all lie within it.
"""

import re
import struct
from collections.abc import Callable, Iterator

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.images.jpeg_headers import Codes, Frame, Progress, Scan, damaged, further_starts
from suno_cover_cli.images.jpeg_runs import Gathered, Runs, Unread
from suno_cover_cli.images.kinds import DamagedImageError, TooManyPixelsError

MAX_MEMORY_BYTES = 160 * 1024 * 1024
"""What the decoders of one picture may take."""

MAX_VISITS = 40_000_000
"""Blocks of 8 x 8 times scans: some seconds of work. No encoder comes near."""

_EOI, _SOS, _DHT, _DQT, _DRI, _APP2, _APP14 = 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xE2, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}
_TABLES = frozenset({_DHT, _DQT, _DRI})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# Each begins with a plain byte, which lets the search jump from one to the next.
_MARKER = re.compile(rb"\xff\xff*([^\x00\xff])")
_SCAN_END = re.compile(rb"\xff\xff*[^\x00\xff\xd0-\xd7]")
_SCALES = (1, 2, 4, 8)


class JpegCheck:
    """Looks at one JPEG, piece by piece.

    Args:
        max_pixels: Larger pictures are refused when their size has come.
        check_stopped: Called between pieces of work; raises to end it.
        max_memory_bytes: What its decoders may take. Where two at full size take more, they work at a smaller
            one; where that is not enough, one works alone.
        eager_bytes: Where two decoders at full size take more, the check is put off; ``None``: never.
        is_decoded: Otherwise only the parts of the file are looked at.
        max_visits: More work than that is refused.

    Attributes:
        is_put_off: It takes too much to be done while others are; nothing more is looked at.
    """

    def __init__(
        self,
        max_pixels: int,
        check_stopped: Callable[[], None],
        *,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        eager_bytes: int | None = None,
        is_decoded: bool = True,
        max_visits: int = MAX_VISITS,
    ) -> None:
        self.is_put_off = False
        self._max_pixels = max_pixels
        self._check_stopped = check_stopped
        self._max_memory_bytes = max_memory_bytes
        self._eager_bytes = eager_bytes
        self._is_decoded = is_decoded
        self._max_visits = max_visits
        self._rest = bytearray()
        self._place = 0  # of the rest's first byte within the file
        self._header = bytearray(b"\xff\xd8")
        self._codes = Codes()
        self._frame: Frame | None = None
        self._progress: Progress | None = None
        self._runs: Runs | Gathered | Unread | None = None
        self._interval = 0
        self._visits = 0
        self._end = 0  # of this picture
        self._further = _Further(check_stopped)
        self._parser = self._parse()
        next(self._parser)

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next bytes of the file.

        Raises:
            DamagedImageError: They cannot be part of a whole picture.
            UnsupportedImageError: A kind of JPEG that cannot be checked.
            TooManyPixelsError: More than ``max_pixels``, or more work or memory than they may take.
        """
        self._rest += data
        try:
            next(self._parser)
        except StopIteration:
            self._further.feed(bytes(self._rest), self._place)
            self._drop(len(self._rest))
        except (struct.error, IndexError, ValueError) as error:
            raise damaged("a part of it makes no sense") from error

    def finish(self) -> tuple[int, int]:
        """Return width and height once the file is over.

        Raises:
            DamagedImageError: Its end mark has not come, or a further picture that it lists is not whole.
        """
        if not self._end or self._frame is None:
            raise DamagedImageError("the JPEG picture is cut off")
        # Programs that edit a picture drop what is behind it and keep the list: then nothing at all is there.
        if self._end < self._place and not self._further.is_whole:
            raise DamagedImageError("the JPEG picture is cut off: a further picture in it is not whole")
        return self._frame.width, self._frame.height

    @property
    def is_over(self) -> bool:
        """Whether the end mark has come."""
        return self._end > 0

    def _parse(self) -> Iterator[None]:
        """Walk the file up to its end mark; each ``yield`` waits for more bytes."""
        yield
        while not self.is_put_off:
            self._check_stopped()
            while (match := _MARKER.search(self._rest)) is None:
                self._drop(len(self._rest) - 1)
                yield
            marker = match[1][0]
            self._drop(match.end())
            if marker == _EOI:
                self._end_picture()
                return
            if marker not in _WITHOUT_LENGTH:
                yield from self._parse_segment(marker)

    def _parse_segment(self, marker: int) -> Iterator[None]:
        while len(self._rest) < 2:  # noqa: PLR2004 -- bytes of a length
            yield
        length = int.from_bytes(self._rest[:2])
        while len(self._rest) < length:
            yield
        segment, body = bytes(self._rest[:length]), bytes(self._rest[2:length])
        if marker in _FRAMES:
            self._begin_frame(marker, body)
        elif marker == _APP2:
            self._further.starts += further_starts(body, self._place + 2)
        elif marker == _DRI:
            self._interval = int.from_bytes(body[:2])
        elif marker == _DHT:
            self._codes.add(body)
        self._drop(length)
        if marker == _SOS:
            yield from self._parse_scan(segment)
        elif marker in _FRAMES | _TABLES or (marker == _APP14 and body.startswith(b"Adobe")):
            if marker in _FRAMES and self._frame is not None:
                segment = segment[:2] + self._frame.with_coded_size(body)
            self._pass_on(bytes((0xFF, marker)) + segment)

    def _begin_frame(self, marker: int, body: bytes) -> None:
        if self._frame is not None:
            raise damaged("its header comes twice")
        self._frame = Frame.read(marker, body)
        self._progress = Progress(self._frame)
        if self._frame.width * self._frame.height > self._max_pixels:
            raise TooManyPixelsError(f"the picture claims {self._frame.width} x {self._frame.height} pixels")

    def _parse_scan(self, segment: bytes) -> Iterator[None]:
        if self._frame is None or self._progress is None:
            raise damaged("its pixels come before its header")
        scan = Scan.read(segment[2:])
        self._progress.add(scan)
        self._visits += self._frame.count_blocks(scan)
        if self._visits > self._max_visits:
            raise TooManyPixelsError("the JPEG picture comes in more scans than any cover has")
        if self._runs is None:
            self._runs = self._begin_runs(self._frame, scan)
        if self._runs is None:
            return
        self._pass_on(bytes((0xFF, _SOS)) + segment)
        self._runs.begin_scan(
            may_be_zeros=self._codes.may_be_zeros(scan, is_progressive=self._frame.is_progressive)
        )
        restarts = -(-self._frame.count_units(scan) // self._interval) - 1 if self._interval else 0
        while True:
            self._check_stopped()
            match = _SCAN_END.search(self._rest)
            end = len(self._rest.rstrip(b"\xff")) if match is None else match.start()
            self._runs.feed(bytes(self._rest[:end]))
            self._drop(end)
            if match is not None:
                break
            yield
        if self._runs.restarts < restarts and self._frame.rare_kind is None:
            raise DamagedImageError("the JPEG picture is cut off: a part of its data ends early")
        self._runs.end_scan()

    def _begin_runs(self, frame: Frame, scan: Scan) -> Runs | Gathered | Unread | None:
        """Choose how exactly the picture is looked at: as exactly as memory allows."""
        if not self._is_decoded:
            return Unread()
        keeps = frame.is_added_up(scan)
        costs = {
            (scale, decoders): decoders * frame.memory_bytes(scale, keeps_coefficients=keeps)
            for decoders in (2, 1)
            for scale in _SCALES
        }
        if self._eager_bytes is not None and costs[1, 2] > self._eager_bytes:
            self.is_put_off = True
            return None
        for (scale, decoders), cost_bytes in costs.items():
            if cost_bytes <= self._max_memory_bytes:
                if frame.rare_kind is not None:
                    return Gathered(frame.mode, frame.coded_size, scale, frame.rare_kind)
                return Runs(frame.mode, frame.coded_size, scale, decoders)
        needed = costs[_SCALES[-1], 1] // 1024**2
        raise TooManyPixelsError(
            f"the JPEG picture of {frame.width} x {frame.height} pixels would take {needed} MiB to check"
        )

    def _pass_on(self, data: bytes) -> None:
        """Give the decoders a marker and what belongs to it, once they exist."""
        if self._runs is None:
            self._header += data
            return
        self._runs.feed_header(bytes(self._header) + data)
        self._header.clear()

    def _end_picture(self) -> None:
        if self._runs is None or self._progress is None:
            raise damaged("it has no pixels")
        if not self._progress.is_complete:
            raise DamagedImageError("the JPEG picture is cut off: some of its scans are missing")
        self._runs.finish()
        self._end = self._place

    def _drop(self, count: int) -> None:
        """Forget the first bytes of the rest, which are done with."""
        del self._rest[:count]
        self._place += max(count, 0)


class _Further:
    """The pictures behind the first one, of which only the parts are looked at.

    Args:
        check_stopped: See :class:`JpegCheck`.

    Attributes:
        starts: Where they begin within the file.
    """

    def __init__(self, check_stopped: Callable[[], None]) -> None:
        self.starts: list[int] = []
        self._check_stopped = check_stopped
        self._current: JpegCheck | None = None
        self._is_current_over = True

    @property
    def is_whole(self) -> bool:
        """Whether all of them have come."""
        return not self.starts and self._is_current_over

    def feed(self, data: bytes, place: int) -> None:
        """Take the next bytes of the file, the first of which is at ``place``."""
        while self.starts and self.starts[0] < place + len(data):
            start = max(self.starts.pop(0) - place, 0)
            self._look_at(data[:start])
            data, place = data[start:], place + start
            self._current = JpegCheck(1 << 32, self._check_stopped, is_decoded=False)
            self._is_current_over = False
        self._look_at(data)

    def _look_at(self, data: bytes) -> None:
        if self._is_current_over or self._current is None:
            return
        try:
            self._current.feed(data)
        except ImageError:
            # Lists of places are wrong now and then: what is no JPEG there is not held against the first picture.
            self._is_current_over = True
        else:
            self._is_current_over = self._current.is_over
