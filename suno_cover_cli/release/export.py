"""A store-ready file of a cover: a square baseline JPEG in sRGB with every label the cover carried. Blocks."""

import re
from pathlib import Path
from typing import Literal

import msgspec

from suno_cover_cli.base.errors import (
    RequirementError,
    SunoCoverError,
    UsageError,
    disk_code,
    disk_hint,
    reason_of,
)
from suno_cover_cli.base.files import FileTakenError, make_folders, replace_file, sweep_parts
from suno_cover_cli.base.naming import plain_part
from suno_cover_cli.base.text import clean
from suno_cover_cli.release.labels import CarriedMarks, carry_into_jpeg
from suno_cover_cli.release.marks import Kind
from suno_cover_cli.release.pictures import PictureFacts, open_picture
from suno_cover_cli.release.profiles import DEFAULT_DPI, Profile
from suno_cover_cli.release.rendering import Fit, Shape, encode, pad, shape_of, write_label

Upscale = Literal["no", "lanczos"]

_DEFAULT_STEM = re.compile(r"cover_\d+")
_MAX_STEM_CHARS = 80


class ExportWishes(msgspec.Struct, frozen=True, kw_only=True):
    """How covers are exported.

    Attributes:
        profile: For which store.
        out: Folder of the files; made when missing.
        fit: What becomes of a picture that is not square.
        upscale: Whether a picture may be enlarged, and how.
        overwrite: Files that are there are replaced.
        visible_label: Text to write on the picture, ``None`` for none.
    """

    profile: Profile
    out: Path
    fit: Fit = "refuse"
    upscale: Upscale = "no"
    overwrite: bool = False
    visible_label: str | None = None


class MarksReport(msgspec.Struct, frozen=True, kw_only=True):
    """Kinds of marks that are in the new file as before, that are not, and that are new in it."""

    kept: list[Kind]
    lost: list[Kind]
    added: list[Kind]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """One exported file as scripts read it.

    Attributes:
        v: Version of this shape; keys may be added.
        type: Always ``export``.
        path: Of the file.
        profile: Name of the profile.
        source: Path of the cover.
        source_sha256: Of that file, hex.
        width: Pixels.
        height: The same.
        scale: Factor by which pixels were enlarged; below 1 they were made smaller.
        quality: Of the JPEG, 85 to 95.
        subsampling: Of its colours, ``4:4:4`` or ``4:2:0``.
        bytes: Its size.
        is_existing: The same file was there already.
        marks: What became of labels.
        warnings: What to know, one sentence each.
    """

    v: Literal[1] = 1
    type: Literal["export"] = "export"
    path: str
    profile: str
    source: str
    source_sha256: str
    width: int
    height: int
    scale: float
    quality: int
    subsampling: str
    bytes: int
    is_existing: bool = False
    marks: MarksReport
    warnings: list[str]


def export_cover(source: Path, wishes: ExportWishes, *, name: str = "") -> Exported:
    """Make a store-ready file of a picture, which itself is only read.

    Args:
        source: The picture.
        wishes: See :class:`ExportWishes`.
        name: Of the file, without profile and extension; by default that of the picture.

    Raises:
        RequirementError: The store would refuse the result, or nothing can be made of the picture.
        UsageError: The picture cannot be read, or a file of the name is there.
        SunoCoverError: The file cannot be written.
    """
    profile = wishes.profile
    if profile.refuses:
        raise RequirementError(
            profile.refuses,
            code="store_refuses",
            hint=f"Choose another store: suno-cover export --list-profiles. Source: {profile.source}",
        )
    with open_picture(source) as picture:
        facts, raw = picture.facts, picture.raw
        shape, warnings = plan(facts, wishes)
        image = picture.load(shape.box, shape.size)
        warnings += picture.notes
    if shape.is_padded:
        image = pad(image, shape.side)
    if wishes.visible_label is not None:
        write_label(image, wishes.visible_label)
        warnings.append("it has a visible label, which several stores refuse: use it for social media only")
    marks = CarriedMarks()

    def with_marks(jpeg: bytes) -> bytes:
        nonlocal marks
        made, marks = carry_into_jpeg(jpeg, raw, width=shape.side, height=shape.side, dpi=DEFAULT_DPI)
        return made

    encoded = encode(image, dpi=DEFAULT_DPI, max_bytes=profile.max_bytes, source=source, finish=with_marks)
    path = wishes.out / f"{file_stem(source, name)}-{profile.name}.jpg"
    is_existing = _write(path, encoded.content, overwrite=wishes.overwrite)
    return Exported(
        path=str(path),
        profile=profile.name,
        source=str(source),
        source_sha256=facts.sha256,
        width=shape.side,
        height=shape.side,
        scale=round(shape.scale, 3),
        quality=encoded.quality,
        subsampling=encoded.subsampling,
        bytes=len(encoded.content),
        is_existing=is_existing,
        marks=MarksReport(kept=marks.kept, lost=marks.lost, added=marks.added),
        warnings=[*warnings, *marks.warnings],
    )


def plan(facts: PictureFacts, wishes: ExportWishes) -> tuple[Shape, list[str]]:
    """Decide on cut, bars and scale; return what to know about them in words too.

    Raises:
        RequirementError: The picture would have to be cut, padded or enlarged, and may not be.
    """
    profile, shown = wishes.profile, clean(facts.path, 400)
    if not facts.is_square and wishes.fit == "refuse":
        raise RequirementError(
            f"{shown} has {facts.width} x {facts.height} pixels: it is not square",
            code="not_square",
            hint="Add --fit crop to cut off what is too long, or --fit pad to add bars.",
        )
    if not facts.is_square and wishes.fit == "pad" and profile.no_border:
        raise RequirementError(
            f"{profile.title_within} refuses pictures with a border, which --fit pad would add to {shown}",
            code="border",
            hint="Use --fit crop, or another store with --profile.",
        )
    available = (max if wishes.fit == "pad" else min)(facts.width, facts.height)
    side = _side_for(facts, available, wishes)
    shape = shape_of(facts.width, facts.height, wishes.fit, side)
    warnings = []
    if shape.scale > 1:
        warnings.append(f"it was enlarged {shape.scale:.2f} times, which adds no detail")
        if profile.name == "store":
            warnings.append("Soundrop and Fresible refuse enlarged pictures")
    elif side < profile.side:
        advice = "" if profile.no_upscaling else "; --upscale lanczos enlarges it"
        warnings.append(
            f"{profile.title_within} advises {profile.side} x {profile.side} pixels, this has {side}{advice}"
        )
    return shape, warnings


def _side_for(facts: PictureFacts, available: int, wishes: ExportWishes) -> int:
    """Return the side of the square, when ``available`` pixels make one without being enlarged."""
    profile = wishes.profile
    if available >= profile.side:
        return profile.side
    if wishes.upscale == "lanczos" and not profile.no_upscaling:
        return profile.side
    if available >= profile.min_side:
        return available
    shown, has = clean(facts.path, 400), f"{facts.width} x {facts.height} pixels"
    factor = profile.side / available
    if profile.no_upscaling:
        raise RequirementError(
            f"{shown} has {has}; {profile.title_within} asks for {profile.pixels} and refuses enlarged pictures",
            code="too_small",
            hint="Start from a larger picture, or choose another store: suno-cover export --list-profiles",
        )
    raise RequirementError(
        f"{shown} has {has}; {profile.title_within} asks for {profile.pixels}",
        code="too_small",
        hint=f"Add --upscale lanczos to enlarge it {factor:.2f} times; that adds no detail.",
    )


def file_stem(source: Path, name: str) -> str:
    """Return how an exported file is called, profile and extension aside.

    A name that only counts (``cover_1``) says nothing outside its folder, so the folder's goes before it.
    """
    stem = source.stem
    if not name and _DEFAULT_STEM.fullmatch(stem):
        name = "-".join(filter(None, (source.absolute().parent.name, stem)))
    return plain_part(name or stem)[:_MAX_STEM_CHARS].strip(". ") or "cover"


def _write(path: Path, content: bytes, *, overwrite: bool) -> bool:
    """Write a file; return whether the very same one was there already.

    Raises:
        UsageError: Another file of the name is there.
        SunoCoverError: It cannot be written.
    """
    try:
        make_folders(path.parent)
        sweep_parts(path.parent)
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return True
        replace_file(path, content, overwrite=overwrite)
    except FileTakenError:
        raise UsageError(
            f"{clean(path, 400)} is there already, with other content",
            code="file_exists",
            hint="Add --overwrite to replace it, or choose another folder with --out.",
        ) from None
    except OSError as error:
        raise SunoCoverError(
            f"cannot write {clean(path, 400)}: {reason_of(error)}",
            code=disk_code(error, "folder_unwritable"),
            hint=disk_hint(error, "Fix the permissions, or choose another folder with --out."),
        ) from None
    return False
