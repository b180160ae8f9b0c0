"""The picture check: what is whole is told apart from everything else, whatever it costs to find out."""

import io
import random
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.images.check import ImageChecker
from suno_cover_cli.images.kinds import (
    SNIFF_BYTES,
    DamagedImageError,
    ImageFormat,
    NotAnImageError,
    TooManyPixelsError,
    sniff,
)
from tests.image_fixtures import ENVIRON, picture
from tests.listener_fixtures import PATIENCE_S

FORMATS = ["PNG", "JPEG", "WEBP", "AVIF"]


def check(body: bytes, **options: int) -> tuple[str, int, int]:
    """Check bytes and return format, width and height."""
    with tempfile.TemporaryFile() as file:
        file.write(body)
        found = ImageChecker(ENVIRON, **options).check(file)
    return found.format.value, found.width, found.height


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claim(width: int, height: int) -> bytes:
    """Return a PNG of one bit a pixel that claims a size and holds no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_whole_pictures_pass(image_format: str, mode: str) -> None:
    """Whole pictures of every accepted format pass, grey, coloured or see-through."""
    if (image_format, mode) == ("JPEG", "RGBA"):
        mode = "CMYK"
    file = io.BytesIO()
    Image.new(mode, (31, 17)).save(file, image_format)
    assert check(file.getvalue()) == (image_format.lower(), 31, 17)


def test_progressive_and_animated_pictures_pass() -> None:
    """Progressive JPEGs, PNGs of 16 bits and animations are pictures too."""
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, "JPEG", progressive=True)
    assert check(file.getvalue())[0] == "jpeg"
    file = io.BytesIO()
    Image.new("I;16", (40, 40)).save(file, "PNG")
    assert check(file.getvalue())[0] == "png"
    for image_format in ("PNG", "WEBP"):
        file = io.BytesIO()
        frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green")]
        frames[0].save(file, image_format, save_all=True, append_images=frames[1:])
        assert check(file.getvalue())[0] == image_format.lower()


@pytest.mark.parametrize("image_format", FORMATS)
def test_cut_pictures_fail(image_format: str) -> None:
    """A picture that is cut anywhere before its last pixel fails, at whatever byte the cut is."""
    body = picture(image_format)
    for length in {SNIFF_BYTES, 30, *range(100, len(body) - 40, 97)}:
        with pytest.raises(DamagedImageError):
            check(body[:length])


def test_png_is_read_to_its_end_mark() -> None:
    """A PNG must be whole to its last chunk, although its pixels are complete before."""
    body = picture("PNG")
    for length in range(len(body) - 13, len(body)):
        with pytest.raises(DamagedImageError):
            check(body[:length])


def test_flipped_bits_in_png_fail() -> None:
    """A single flipped bit anywhere in a PNG fails its checksum, even where it would still decode."""
    body = picture("PNG")
    for place in range(SNIFF_BYTES, len(body), 211):
        rotten = bytearray(body)
        rotten[place] ^= 0x10
        with pytest.raises(ImageError):
            check(bytes(rotten))


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "ICO", "PPM", "PDF", "EPS", "TGA", "PCX", "DDS"])
def test_other_formats_are_never_decoded(image_format: str) -> None:
    """Pillow's other decoders are not offered foreign bytes."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, image_format)
    with pytest.raises(NotAnImageError):
        check(file.getvalue())


@pytest.mark.parametrize("body", [b"", b"\x89PNG", b"<html>", b"RIFF....WAVE", b"....ftypisom", b"\0" * 50])
def test_what_is_no_picture(body: bytes) -> None:
    """Bytes that begin like no accepted format are no picture."""
    with pytest.raises(NotAnImageError):
        check(body)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_hostile_bytes_end_as_an_image_error(data: st.DataObject) -> None:
    """However a picture is mangled, the check either passes or fails with an image error of one line."""
    body = bytearray(picture(data.draw(st.sampled_from(FORMATS)), side=24))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(SNIFF_BYTES, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    try:
        outcome: object = check(bytes(body))[0]
    except ImageError as error:
        outcome = error.message.isprintable() and bool(error.hint)
    assert outcome in {True, *(found.value for found in ImageFormat)}


@given(st.binary(max_size=64))
def test_sniffing_never_fails(head: bytes) -> None:
    """Any bytes at all can be sniffed, and the first few decide."""
    assert sniff(head) == sniff(head[:SNIFF_BYTES])


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (50_000_001, 1)])
def test_claims_of_pixels_are_refused_unseen(width: int, height: int) -> None:
    """A picture that claims too many pixels is refused before memory is taken, without Pillow's own warning."""
    with pytest.raises(TooManyPixelsError):
        check(claim(width, height))  # a warning would be an error here, as everywhere in these tests


def test_huge_webp_is_refused_unseen() -> None:
    """A WebP that claims hundreds of millions of pixels is refused, whether its size or its rest is seen first."""
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_000).to_bytes(3, "little") * 2
    body = b"WEBP" + extended + b"VP8 " + bytes(4)
    with pytest.raises((TooManyPixelsError, DamagedImageError)):
        check(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_limit_is_exact() -> None:
    """A picture of exactly the allowed number of pixels passes."""
    assert check(picture(side=64), max_pixels=64 * 64) == ("png", 64, 64)
    with pytest.raises(TooManyPixelsError):
        check(picture(side=64), max_pixels=64 * 64 - 1)


class Held(io.BufferedReader):
    """A picture that stops where the whole of it is about to be decoded, until it may go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.is_decoded = threading.Event()
        self.may_go_on = threading.Event()
        self._looks = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Count how often a look at it begins; the second is the decoder's."""
        self._looks += 1
        if self._looks == 2:
            self.is_decoded.set()
            assert self.may_go_on.wait(PATIENCE_S)
        return super().seek(offset, whence)


def test_large_pictures_take_turns(tmp_path: Path) -> None:
    """What takes much memory is decoded one picture at a time, and each gets its turn."""
    path = tmp_path / "cover.webp"
    path.write_bytes(picture("WEBP"))
    checker = ImageChecker(ENVIRON)
    with Held(path) as first, Held(path) as second, ThreadPoolExecutor(2) as pool:
        checks = [pool.submit(checker.check, first)]
        assert first.is_decoded.wait(PATIENCE_S)
        checks.append(pool.submit(checker.check, second))
        second.may_go_on.set()
        assert not second.is_decoded.wait(0.5)
        first.may_go_on.set()
        assert [check.result(PATIENCE_S).width for check in checks] == [64, 64]


def test_noise_is_no_picture() -> None:
    """Random bytes behind a good beginning are damaged pictures, never an unexpected error."""
    noise = random.Random(7)  # noqa: S311 -- noise, not a secret
    for head in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x00\x10\x00\x00WEBP", b"\0\0\0\x1cftypavif"):
        for _ in range(20):
            with pytest.raises(ImageError):
                check(head + noise.randbytes(300))


def test_a_png_needs_no_decoder() -> None:
    """A PNG is checked without Pillow, which takes longer to load than most covers take to come."""
    script = """
import io, sys, tempfile
from suno_cover_cli.images.check import ImageChecker

with tempfile.TemporaryFile() as file:
    file.write(sys.stdin.buffer.read())
    print(ImageChecker({}).check(file).format.value, "PIL" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], input=picture("PNG"), capture_output=True, timeout=20, check=False
    )
    assert (done.stdout, done.stderr) == (b"png False\n", b"")
