"""Pictures of every kind: no whole one is refused, none that lacks something is taken for whole."""

import tempfile

import pytest

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.images.check import ImageChecker, Picture
from suno_cover_cli.images.decoding import Stop
from suno_cover_cli.images.kinds import DamagedImageError
from tests.image_fixtures import ENVIRON
from tests.picture_corpus import EOI, chunk, jpegs, multi_pictures, others, png, pngs

PNGS, JPEGS, MULTI, OTHERS = pngs(), jpegs(), multi_pictures(), others()
ALL = PNGS | JPEGS | MULTI | OTHERS
CODED = {name: body for name, body in JPEGS.items() if "arithmetic" not in name and "one pixel" not in name}
# In these every byte can be seen.
EXACT = {name: body for name, body in CODED.items() if not {"flat,", "flat", "odd", "zeros"} & set(name.split())}
LONG_RUNS = {name: body for name, body in CODED.items() if "flat" not in name and len(body) > 4_000}


def check(body: bytes, piece_bytes: int = 0) -> Picture:
    """Check a file, or what comes in pieces."""
    checker = ImageChecker(ENVIRON)
    with tempfile.TemporaryFile() as file:
        file.write(body)
        if not piece_bytes:
            return checker.check(file)
        coming = checker.begin(Stop())
        for start in range(0, len(body), piece_bytes):
            coming.feed(body[start : start + piece_bytes])
        return coming.finish(file)


def scan_of(body: bytes) -> tuple[int, int]:
    """Return where the longest scan of a JPEG begins and ends."""
    starts = [place for place in range(len(body)) if body.startswith(b"\xff\xda", place)]
    ends = [*starts[1:], body.rindex(EOI)]
    start, end = max(zip(starts, ends, strict=True), key=lambda pair: pair[1] - pair[0])
    return start + 14, end


@pytest.mark.parametrize("name", ALL)
def test_whole_pictures_are_taken(name: str) -> None:
    """A whole picture is whole, with stray bytes behind it and in pieces of any size as well."""
    body = ALL[name]
    first = check(body)
    assert (first.width, first.height) != (0, 0)
    assert (check(body + b"stray bytes").width, check(body + bytes(99)).height) == (first.width, first.height)
    assert check(body, 333) == first


@pytest.mark.parametrize("name", ALL)
def test_cut_pictures_are_not_taken(name: str) -> None:
    """A picture cut at its middle, near its end or by two bytes is damaged, never something unexpected."""
    body = ALL[name]
    for length in {len(body) // 2, len(body) * 9 // 10, len(body) * 99 // 100, len(body) - 2}:
        with pytest.raises(DamagedImageError):
            check(body[:length])


@pytest.mark.parametrize("name", CODED)
def test_data_that_ends_early_is_seen_behind_an_end_mark(name: str) -> None:
    """A JPEG whose data ends early and is closed by an end mark is damaged."""
    body = CODED[name].removesuffix(EOI)
    start = scan_of(CODED[name])[0]
    for length in (start + (len(body) - start) * percent // 100 for percent in (0, 50, 90)):
        with pytest.raises(ImageError):
            check(body[:length] + EOI)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("lacking", [2, 3, 5, 9, 30])
def test_a_few_bytes_that_are_missing_are_seen(name: str, lacking: int) -> None:
    """A JPEG that lacks but the last bytes of its data is damaged, though all of its parts are there."""
    with pytest.raises(ImageError):
        check(EXACT[name][: -2 - lacking] + EOI)


@pytest.mark.parametrize("lacking", [1, 2])
def test_scans_that_are_missing_are_seen(lacking: int) -> None:
    """A progressive JPEG that lacks its last scans is damaged, though each scan it has is whole."""
    body = JPEGS["jpeg RGB 95 0 progressive"]
    for _ in range(lacking):
        body = body[: body.rindex(b"\xff\xda")]
    with pytest.raises(DamagedImageError, match="scans are missing"):
        check(body + EOI)


@pytest.mark.parametrize("name", LONG_RUNS)
def test_stretches_of_zeros_are_seen(name: str) -> None:
    """A JPEG of which a stretch of coded data has become zero is damaged, at whatever place that is."""
    body = LONG_RUNS[name]
    start, end = scan_of(body)
    for place, share in ((0.2, 0.1), (0.5, 0.3), (0.6, 0.05), (0.4, 0.6)):
        first = start + int((end - start) * place)
        length = max(int((end - start) * share), 40)
        with pytest.raises(ImageError):
            check(body[:first] + bytes(min(length, end - first)) + body[min(first + length, end) :])


@pytest.mark.parametrize("name", MULTI)
def test_every_further_picture_is_needed_or_none(name: str) -> None:
    """A file of several pictures that lacks a part of one is damaged; editors that drop all others are right."""
    body = MULTI[name]
    first_end = body.index(EOI + b"\xff\xd8") + 2 if EOI + b"\xff\xd8" in body else body.index(EOI) + 2
    assert check(body[:first_end]).format == "jpeg"
    for length in (first_end + 1, first_end + 700, len(body) - 700, len(body) - 1):
        with pytest.raises(DamagedImageError, match="further picture"):
            check(body[:length])


@pytest.mark.parametrize(
    "body",
    [
        png().replace(b"IDAT", b"IDOT", 1),
        png().replace(b"IHDR", b"IHDR"[::-1], 1),
        png(before=chunk(b"IDAT", b"")[:-1] + b"x"),
        png(3).replace(b"PLTE", b"pLTE", 1),
        png(before=chunk(b"ABCD", b"")),
        png(before=chunk(b"IHDR", bytes(13))),
        png(2, 8).replace(b"\x08\x02\x00\x00\x00", b"\x08\x01\x00\x00\x00", 1),
    ],
)
def test_pngs_that_no_decoder_takes(body: bytes) -> None:
    """Wrong kinds, headers, palettes and checksums of what is needed to draw are damage."""
    with pytest.raises(DamagedImageError):
        check(body)


def test_every_byte_of_the_pixels_counts() -> None:
    """A PNG is damaged by any other bit among its pixels, and by none in its text."""
    body = png(size=(16, 16), before=chunk(b"tEXt", b"Comment\0" + bytes(64)))
    text, pixels = body.index(b"tEXt") + 4, body.index(b"IDAT")
    for place in range(text, text + 70):
        assert check(body[:place] + bytes([body[place] ^ 0x21]) + body[place + 1 :]).width == 16
    for place in range(pixels, len(body) - 12, 7):
        with pytest.raises(DamagedImageError):
            check(body[:place] + bytes([body[place] ^ 0x21]) + body[place + 1 :])
