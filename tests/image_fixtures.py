"""Pictures, and what a download does with one once its bytes are here. Quick to import: many processes do."""

import functools
import io
import os
import random
from pathlib import Path

import yarl
from PIL import Image

from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.base.providers import without_secrets
from suno_cover_cli.images.check import ImageChecker
from suno_cover_cli.images.files import ImageFolder
from suno_cover_cli.images.transfer import Transfer


@functools.cache
def picture(image_format: str = "PNG", side: int = 64, seed: int = 1) -> bytes:
    """Return a noisy picture of ``side`` x ``side`` pixels; about 3 bytes a pixel as PNG."""
    pixels = random.Random(seed).randbytes(side * side * 3)  # noqa: S311 -- noise, not a secret
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(file, image_format)
    return file.getvalue()


PNG = picture()
OTHER = picture(seed=2)
ADDRESS = "https://images.example/cover.png"
ENVIRON = without_secrets(os.environ, ())
CHECKER = ImageChecker(ENVIRON)


def names_in(folder: Path) -> list[str]:
    """Return the names of all files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


def begin(folder: Path, stem: str = "cover_1", *, overwrite: bool = False) -> Transfer:
    """Return what a download keeps of one save."""
    files = ImageFolder(folder, CHECKER)
    return Transfer(ADDRESS, yarl.URL(ADDRESS), files, stem, CHECKER, overwrite=overwrite, on_progress=None)


def put(folder: Path, body: bytes = PNG, stem: str = "cover_1", *, overwrite: bool = False) -> SavedImage:
    """Do what a download does with the bytes it received."""
    transfer = begin(folder, stem, overwrite=overwrite)
    try:
        existing = transfer.prepare()
        if existing is not None:
            return existing
        transfer.take(body[:1000])
        return transfer.finish(body[1000:])
    finally:
        transfer.discard()


def find(folder: Path, stem: str = "cover_1") -> SavedImage | None:
    """Look for what is already there."""
    return ImageFolder(folder, CHECKER).find_saved(stem, ADDRESS)
