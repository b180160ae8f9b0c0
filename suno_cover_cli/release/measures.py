"""What can be measured of a cover as it is seen small, in a list on a phone. Not taste. Blocks."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from suno_cover_cli.release.pictures import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

SMALL_SIDE = 64
"""Pixels of a side at which contrast and edges are measured."""

TARGET_SIDE = 3000
"""Pixels of a side that most stores ask for."""

_WORK_SIDE = 512
_LEAST_SIDE = 8
_BORDER_TOLERANCE = 8
_LEAST_BORDER = 0.01


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """Measures of one picture.

    Attributes:
        width: Pixels, as it is seen.
        height: The same.
        contrast: Spread of brightness at 64 pixels a side: 0 for one tone, 1 for half black, half white.
        edges: Mean step of brightness from pixel to pixel there: 0 for one tone, 1 for a chessboard of pixels.
        border: Width of an even border, as a part of the shorter side; 0 where there is none.
    """

    width: int
    height: int
    contrast: float
    edges: float
    border: float

    @property
    def is_square(self) -> bool:
        """Whether both sides are equal."""
        return self.width == self.height

    @property
    def score(self) -> float:
        """What ``pick --auto`` goes by: contrast and edges together."""
        return self.contrast + self.edges

    @property
    def factor(self) -> float:
        """By how much its shorter side has to be enlarged for 3000 pixels; at most 1 where it need not be."""
        return TARGET_SIDE / min(self.width, self.height)


def measure_picture(path: Path) -> Measures:
    """Measure a picture file.

    Raises:
        UsageError: It cannot be read.
        RequirementError: It is not a picture, damaged, or too large.
    """
    with open_picture(path) as picture:
        width, height = picture.facts.width, picture.facts.height
        scale = min(1.0, _WORK_SIDE / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = picture.load((0, 0, width, height), size)
    contrast, edges = _small_measures(image.convert("L"))
    return Measures(
        width=width,
        height=height,
        contrast=contrast,
        edges=edges,
        border=measure_border(image),
    )


def _small_measures(grey: "Image") -> tuple[float, float]:
    from PIL import ImageChops, ImageStat
    from PIL.Image import Resampling

    small = grey.resize((SMALL_SIDE, SMALL_SIDE), Resampling.LANCZOS)
    # Each pixel with its neighbour below, then with the one to its right.
    steps = [
        ImageStat.Stat(
            ImageChops.difference(
                small.crop((0, 0, SMALL_SIDE - across, SMALL_SIDE - 1 + across)),
                small.crop((across, 1 - across, SMALL_SIDE, SMALL_SIDE)),
            )
        ).mean[0]
        for across in (0, 1)
    ]
    return round(ImageStat.Stat(small).stddev[0] / 127.5, 4), round(sum(steps) / 2 / 255, 4)


def measure_border(image: "Image") -> float:
    """Measure how far the colour of the corner goes along all four sides.

    Args:
        image: RGB; a lossy encoder may have been at it.

    Returns:
        Width as a part of the shorter side; 0 where there is no border, or nothing but one colour.
    """
    from PIL import Image, ImageChops

    if max(image.size) < _LEAST_SIDE:
        return 0.0
    ground = Image.new(image.mode, image.size, tuple(image.crop((0, 0, 1, 1)).tobytes()))
    differs = ImageChops.difference(image, ground).point(lambda value: 255 if value > _BORDER_TOLERANCE else 0)
    inner = differs.getbbox()
    if inner is None:
        return 0.0
    left, top, right, bottom = inner
    least = min(left, top, image.width - right, image.height - bottom) / min(image.size)
    return round(least, 3) if least >= _LEAST_BORDER else 0.0
