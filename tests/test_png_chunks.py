"""A whole PNG is usable by every command, whatever lies beside its pixels: exported, embedded, shown."""

import hashlib
import io
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from suno_cover_cli.base.png_chunks import open_for_pillow
from suno_cover_cli.release.measures import measure_border
from suno_cover_cli.release.pictures import open_picture
from suno_cover_cli.ui.preview_encoder import sheet_of
from suno_cover_cli.web.covers import Cover
from suno_cover_cli.web.looks import Looker
from suno_cover_cli.web.thumbnails import ThumbnailFolder
from tests.gallery_fixtures import marks_of
from tests.picture_corpus import chunk, photo, png, pngs, saved

PNGS = pngs()
"""Each is a whole picture, which the downloader saves."""


def pixels_of(content: bytes) -> bytes:
    """Decode a picture without anything that lies beside its pixels."""
    kept = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"sRGB"}
    plain, place = content[:8], 8
    while place < len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        if kind in kept and not (kind == b"sRGB" and length != 1):
            data = content[place + 8 : place + 8 + length]
            plain += chunk(kind, data)
        place += 12 + length
    with Image.open(io.BytesIO(plain)) as image:
        return image.convert("RGBA").tobytes()


@pytest.mark.parametrize("name", PNGS)
def test_a_picture_that_was_saved_is_opened(tmp_path: Path, name: str) -> None:
    """``export``, ``embed`` and ``pick --auto`` open it, and its pixels are those of the file."""
    path = tmp_path / "cover.png"
    path.write_bytes(PNGS[name])
    with open_picture(path) as picture:
        size = (picture.facts.width, picture.facts.height)
        assert picture.load((0, 0, *size), size).size == size
    with path.open("rb") as file, Image.open(open_for_pillow(file)[0]) as image:
        assert image.convert("RGBA").tobytes() == pixels_of(PNGS[name])


@pytest.mark.parametrize("name", [name for name in PNGS if "depth" not in name])
def test_a_picture_that_was_saved_is_shown(tmp_path: Path, name: str) -> None:
    """The gallery has a small picture of it, and a terminal a preview."""
    content, path = PNGS[name], tmp_path / "cover.png"
    path.write_bytes(content)
    with open_picture(path) as picture:
        width, height = picture.facts.width, picture.facts.height
    cover = Cover(
        n=1,
        path=str(path),
        size_bytes=len(content),
        width=width,
        height=height,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    looker = Looker(ThumbnailFolder(tmp_path / "thumbnails"), marks_of, measure_border)
    assert looker.look(cover).state == "ok"
    (grid,) = sheet_of([(path, "a cover")], protocol="blocks", columns=80, rows=24, cell=(8, 16)).renderables
    assert grid.row_count == 2  # type: ignore[union-attr]


def test_a_large_profile_still_makes_the_colours(tmp_path: Path) -> None:
    """A profile of more than 1 MiB is used: its colours are changed to sRGB, as those of a small one are."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    large = int.to_bytes(len(swapped) + 1200 * 1024, 4) + swapped[4:] + bytes(1200 * 1024)
    seen = []
    for number, profile in enumerate((swapped, large)):
        path = tmp_path / f"{number}.png"
        path.write_bytes(png(before=chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))))
        with open_picture(path) as picture:
            assert not picture.facts.is_srgb
            size = (picture.facts.width, picture.facts.height)
            seen.append(picture.load((0, 0, *size), size).tobytes())
    assert seen[0] == seen[1] != pixels_of(path.read_bytes())


def test_an_ordinary_picture_is_not_copied(tmp_path: Path) -> None:
    """What Pillow reads as it is costs no second copy in memory."""
    path = tmp_path / "cover.png"
    path.write_bytes(saved(photo(), "PNG"))
    with path.open("rb") as file:
        assert open_for_pillow(file) == (file, None)
        assert file.tell() == 0


@pytest.mark.parametrize("cut", [0, 7, 8, 20, 40, 100])
def test_what_is_cut_is_left_to_the_decoder(cut: int) -> None:
    """The bytes of a file that ends anywhere are handed on, without an error of their own."""
    file = io.BytesIO(PNGS["png with text of 3 MiB"][:cut])
    opened, profile = open_for_pillow(file)
    assert (opened.tell(), profile) == (0, None)
