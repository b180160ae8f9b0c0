"""Bodies that come packed although plain bytes were asked for. The bytes decide, not the ``Content-Encoding``.

Object stores and caches send names that mean nothing (``utf-8``, ``none``, ``aws-chunked``), or a true one long
after the packing was undone. What begins like a picture is taken as it is; what begins like a packing is unpacked.
"""

import zlib
from collections.abc import Iterator

from suno_cover_cli.images.kinds import SNIFF_BYTES, sniff

MOST_LAYERS = 3
"""How many packings, one within the other, are undone."""

_PIECE_BYTES = 64 * 1024
_GZIP = b"\x1f\x8b\x08"
_GZIP_WBITS, _ZLIB_WBITS, _RAW_WBITS = 31, 15, -15
_UNKNOWN_HERE = {"br": "Brotli", "zstd": "Zstandard", "compress": "compress", "x-compress": "compress"}


class PackingError(ValueError):
    """A packing is broken, or of a kind that cannot be undone here; the text says which."""


class Unpacker:
    """Undoes the packings of one body, one within the other, as it comes.

    Args:
        content_encoding: As the server sent it; names are separated by commas.
        layers: How many packings are undone; with 0 the bytes are passed on as they are.

    Attributes:
        is_packed: Whether the bytes that come out are others than those that went in. ``None``: not known yet.
        most_bytes: How many bytes there were so far, where they were most: before, between or after packings.
    """

    def __init__(self, content_encoding: str, layers: int = MOST_LAYERS) -> None:
        self.is_packed: bool | None = None
        self._content_encoding = content_encoding
        self._named = {name.strip().lower() for name in content_encoding.split(",")}
        self._layers = layers
        self._head = b""
        self._in_bytes = 0
        self._inflating = zlib.decompressobj()
        self._wbits = 0
        self._inner: Unpacker | None = None

    @property
    def most_bytes(self) -> int:
        """See the class."""
        return max(self._in_bytes, self._inner.most_bytes if self._inner is not None else 0)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield what comes out, at most 64 KiB at a time.

        A packing may make much of little: the caller checks :attr:`most_bytes` at each step. What comes out
        may be nothing.

        Raises:
            PackingError: See the class.
        """
        self._in_bytes += len(data)
        if self.is_packed is None:
            self._head += data
            if len(self._head) < SNIFF_BYTES:
                yield b""
                return
            data = self._begin()
        yield from self._pass_on(data)

    def finish(self) -> Iterator[bytes]:
        """The body is over; yield what was held back. A packing that ends early is the picture's check to find.

        Raises:
            PackingError: See the class.
        """
        if self.is_packed is None:
            yield from self._pass_on(self._begin())
        if self._inner is not None:
            yield from self._inner.finish()

    def _begin(self) -> bytes:
        """Decide by the first bytes, and return them."""
        head, self._head = self._head, b""
        self._wbits = self._find_packing(head) if self._layers else 0
        self.is_packed = self._wbits != 0
        if self.is_packed:
            self._inflating = zlib.decompressobj(self._wbits)
            self._inner = Unpacker(self._content_encoding, self._layers - 1)
        return head

    def _find_packing(self, head: bytes) -> int:
        """Return zlib's number for the packing, 0 for none."""
        if sniff(head) is not None:
            return 0
        if head.startswith(_GZIP):
            return _GZIP_WBITS
        if "deflate" in self._named:
            if _can_inflate(head, _ZLIB_WBITS):
                return _ZLIB_WBITS
            # The standard means the zlib format; some servers leave its frame out.
            return _RAW_WBITS if _can_inflate(head, _RAW_WBITS) else 0
        for name in self._named & _UNKNOWN_HERE.keys():
            raise PackingError(f"packed the picture with {_UNKNOWN_HERE[name]}, unasked")
        return 0

    def _pass_on(self, data: bytes) -> Iterator[bytes]:
        if self._inner is None:
            yield data
            return
        while data:
            if self._inflating.eof:
                if self._wbits != _GZIP_WBITS or not data.startswith(_GZIP[:2]):
                    yield b""  # stray bytes behind it
                    return
                self._inflating = zlib.decompressobj(self._wbits)
            try:
                piece = self._inflating.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise PackingError(
                    "packed the picture in a way that cannot be undone: the packing is damaged"
                ) from error
            yield from self._inner.feed(piece)
            data = self._inflating.unconsumed_tail or self._inflating.unused_data


def _can_inflate(head: bytes, wbits: int) -> bool:
    try:
        zlib.decompressobj(wbits).decompress(head, _PIECE_BYTES)
    except zlib.error:
        return False
    return True
