"""Pictures of every kind that a user may have, and exports of them."""

import io
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, ImageCms

from suno_cover_cli.release.export import Exported, ExportWishes, export_cover
from suno_cover_cli.release.profiles import Profile

SMALL = 120
"""Side of the files that tests make: a store of their own asks for no more."""


def store(**wishes: Any) -> Profile:
    """Return a made-up store, so that files are small and tests quick."""
    given = {"name": "store", "title": "A store", "source": "made up", "checked": "2026-11-26", "side": SMALL}
    return msgspec.convert(given | wishes, Profile)


def export(source: Path, out: Path, profile: Profile | None = None, **wishes: Any) -> Exported:
    """Export one picture."""
    return export_cover(source, ExportWishes(profile=profile or store(), out=out, **wishes))


def quarters(width: int = SMALL, height: int | None = None) -> Image.Image:
    """Draw a picture whose four quarters are red, green, blue and white: it cannot be taken for itself turned."""
    height = height or width
    image = Image.new("RGB", (width, height), "white")
    image.paste("red", (0, 0, width // 2, height // 2))
    image.paste("lime", (width // 2, 0, width, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    return image


def corners(path: Path) -> list[str]:
    """Name the colours in the middle of each quarter of a picture, row by row."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    named = {
        "red": (255, 0, 0),
        "lime": (0, 255, 0),
        "blue": (0, 0, 255),
        "white": (255, 255, 255),
        "black": (0, 0, 0),
        "grey": (128, 128, 128),
    }
    found = []
    for x, y in ((1, 1), (3, 1), (1, 3), (3, 3)):
        pixel = image.getpixel((width * x // 4, height * y // 4))
        assert isinstance(pixel, tuple)
        found.append(
            min(named, key=lambda name: sum((a - b) ** 2 for a, b in zip(named[name], pixel, strict=True)))
        )
    return found


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    """Save a picture and return its path."""
    image.save(path, **options)
    return path


def other_profile() -> bytes:
    """Return the sRGB profile with red and blue exchanged: whoever heeds it sees other colours."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {}
    for n in range(int.from_bytes(content[128:132])):
        at = 132 + 12 * n
        tags[bytes(content[at : at + 4])] = at
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    content[red : red + 4], content[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(content)


def content_of(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file in memory."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()
