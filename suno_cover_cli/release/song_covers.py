"""A picture made ready for songs: a plain JPEG of moderate size that keeps its labels. Blocks."""

from pathlib import Path

import msgspec

from suno_cover_cli.release.export import MarksReport
from suno_cover_cli.release.labels import carry_into_jpeg
from suno_cover_cli.release.pictures import PictureFacts, open_picture
from suno_cover_cli.release.profiles import DEFAULT_DPI
from suno_cover_cli.release.rendering import encode
from suno_cover_cli.release.tags import CoverImage

DEFAULT_MAX_EDGE = 1400
"""Pixels of the longer side of an embedded picture: enough for every player, light for every song."""

# Time to put a picture into Ogg and Opus grows with the square of its size: this much takes a tenth of a second.
_MAX_COVER_BYTES = 2_000_000


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """A picture made ready for songs.

    Attributes:
        image: What goes into the tags.
        source: Path of the picture it was made from.
        source_sha256: Of that file, hex.
        marks: What became of labels.
        warnings: What to know, one sentence each.
    """

    image: CoverImage
    source: str
    source_sha256: str
    marks: MarksReport
    warnings: list[str]


def prepare_cover(source: Path, *, max_edge: int = DEFAULT_MAX_EDGE) -> Cover:
    """Make a picture ready for songs: a plain JPEG, no side longer than ``max_edge`` pixels, labels kept.

    Raises:
        UsageError: It cannot be read.
        RequirementError: It is not a picture, damaged, or too large.
    """
    with open_picture(source) as picture:
        facts, raw = picture.facts, picture.raw
        width, height = _reduced(facts, max_edge)
        image = picture.load((0, 0, facts.width, facts.height), (width, height))
        warnings = list(picture.notes)
    report: MarksReport

    def with_marks(jpeg: bytes) -> bytes:
        nonlocal report
        made, marks = carry_into_jpeg(jpeg, raw, width=width, height=height, dpi=DEFAULT_DPI)
        report = MarksReport(kept=marks.kept, lost=marks.lost, added=marks.added)
        warnings[len(picture.notes) :] = marks.warnings
        return made

    content = encode(image, dpi=DEFAULT_DPI, max_bytes=_MAX_COVER_BYTES, finish=with_marks).content
    return Cover(
        image=CoverImage(content, width=width, height=height),
        source=str(source),
        source_sha256=facts.sha256,
        marks=report,
        warnings=warnings,
    )


def _reduced(facts: PictureFacts, max_edge: int) -> tuple[int, int]:
    scale = min(1.0, max_edge / max(facts.width, facts.height))
    return max(1, round(facts.width * scale)), max(1, round(facts.height * scale))
