"""From a picture of any shape to a square JPEG of a given weight: cut, pad, scale, write on, encode. Blocks."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from suno_cover_cli.base.errors import RequirementError, UsageError
from suno_cover_cli.base.text import clean
from suno_cover_cli.release.pictures import srgb_profile

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

Fit = Literal["refuse", "pad", "crop"]

BEST_QUALITY, LEAST_QUALITY = 95, 85
_FULL_COLOUR, _HALF_COLOUR = 0, 2
_SUBSAMPLINGS = {_FULL_COLOUR: "4:4:4", _HALF_COLOUR: "4:2:0"}

# Of the shorter side: what GB 45438-2025 asks of a visible label at least.
_LABEL_HEIGHT = 0.05
_MAX_LABEL_CHARS = 60
_MAX_LABEL_WIDTH = 0.9
# Fonts that can write Chinese, by the names under which systems keep them; Pillow knows where to look.
_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "msyh.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
)
# No font has a glyph for it, so it looks like every other character that is missing.
_MISSING = "\U0010ffff"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture becomes a square.

    Attributes:
        box: What is taken of it: left, top, right, bottom in pixels.
        size: Width and height of that when it is scaled.
        side: Of the square; larger than a side of ``size`` where bars are added.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    side: int

    @property
    def scale(self) -> float:
        """By which factor pixels are enlarged; below 1 they are made smaller."""
        # By the longer side: the shorter one may be rounded up to a single pixel.
        return max(self.size) / max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def is_padded(self) -> bool:
        """Whether bars are added."""
        return self.size != (self.side, self.side)


def shape_of(width: int, height: int, fit: Fit, side: int) -> Shape:
    """Return how a picture becomes a square of a given side; never by stretching it."""
    if fit == "pad" and width != height:
        scale = side / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return Shape(box=(0, 0, width, height), size=size, side=side)
    least = min(width, height)
    left, top = (width - least) // 2, (height - least) // 2
    return Shape(box=(left, top, left + least, top + least), size=(side, side), side=side)


def pad(image: "Image", side: int) -> "Image":
    """Put a picture in the middle of a square of the colour that its outer pixels have on average."""
    from PIL import Image
    from PIL.Image import Resampling

    width, height = image.size
    if width < height:
        edges = [image.crop((0, 0, 1, height)), image.crop((width - 1, 0, width, height))]
    else:
        edges = [image.crop((0, 0, width, 1)), image.crop((0, height - 1, width, height))]
    means = [edge.resize((1, 1), Resampling.BOX).tobytes() for edge in edges]
    red, green, blue = (sum(values) // 2 for values in zip(*means, strict=True))
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def checked_label(text: str) -> str:
    """Return a visible label as it can be written, however it was typed.

    Raises:
        UsageError: Nothing of it can be seen, or it is too long.
    """
    shown = clean(text, len(text) + 1)
    if not shown:
        reason = "the visible label is empty"
    elif len(shown) > _MAX_LABEL_CHARS:
        reason = f"the visible label has {len(shown)} characters"
    else:
        return shown
    raise UsageError(
        reason, code="bad_label", hint=f"Use 1 to {_MAX_LABEL_CHARS} characters, such as AI-generated."
    )


def write_label(image: "Image", text: str) -> None:
    """Write a label into the lower right corner, light on dark, as high as rules for visible labels ask.

    Raises:
        UsageError: See :func:`checked_label`.
        RequirementError: It is too wide for the picture, or no font here can write it.
    """
    from PIL import Image, ImageDraw

    shown = checked_label(text)
    height = round(min(image.size) * _LABEL_HEIGHT)
    font = _font_for(shown, height)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), shown, font=font)
    if right - left > image.width * _MAX_LABEL_WIDTH:
        raise RequirementError(
            "the visible label is too wide for the picture", code="bad_label", hint="Shorten it."
        )
    gap = height // 2
    box = (image.width - (right - left) - 3 * gap, image.height - (bottom - top) - 3 * gap)
    plate = (round(right - left) + 2 * gap, round(bottom - top) + 2 * gap)
    where = (round(box[0]), round(box[1]), round(box[0]) + plate[0], round(box[1]) + plate[1])
    image.paste(Image.blend(image.crop(where), Image.new("RGB", plate, "black"), 0.6), where)
    draw.text((where[0] + gap - left, where[1] + gap - top), shown, font=font, fill="white")


def _font_for(text: str, height: int) -> "FreeTypeFont":
    from PIL import ImageFont

    # The letters of a font are about seven tenths of its size.
    size = round(height / 0.7)
    candidates: list[Callable[[], object]] = [lambda: ImageFont.load_default(size)]
    candidates += [lambda name=name: ImageFont.truetype(name, size) for name in _WIDE_FONTS]  # type: ignore[misc]
    for load in candidates:
        try:
            font = load()
        except OSError:
            continue
        if isinstance(font, ImageFont.FreeTypeFont) and _can_write(font, text):
            return font
    raise RequirementError(
        f'no font here can write "{clean(text, 60)}"',
        code="no_font",
        hint="Install a font such as Noto Sans CJK, or write the label in Latin letters.",
    )


def _can_write(font: "FreeTypeFont", text: str) -> bool:
    missing = bytes(font.getmask(_MISSING))
    return all(char.isspace() or bytes(font.getmask(char)) != missing for char in set(text))


def describe_weight(size_bytes: int) -> str:
    """Write the size of a file as stores count it, ``1.9 MB``; less than they ever limit as ``312 KiB``."""
    return f"{size_bytes / 1_000_000:.1f} MB" if size_bytes >= 1024**2 else f"{max(size_bytes // 1024, 1)} KiB"


def describe_limit(size_bytes: int) -> str:
    """Write the most that a file may weigh as :func:`describe_weight` does, a whole number without a point."""
    return f"{size_bytes / 1_000_000:g} MB" if size_bytes >= 1024**2 else describe_weight(size_bytes)


class Encoded(msgspec.Struct, frozen=True, kw_only=True):
    """A JPEG, and how it was made: ``quality`` 85 to 95, ``subsampling`` of colours ``4:4:4`` or ``4:2:0``."""

    content: bytes
    quality: int
    subsampling: str


def encode(
    image: "Image",
    *,
    dpi: int,
    max_bytes: int | None,
    source: Path,
    finish: Callable[[bytes], bytes] = lambda jpeg: jpeg,
) -> Encoded:
    """Encode as a baseline JPEG with an sRGB profile, as good as a weight allows.

    Args:
        image: RGB in sRGB.
        dpi: Pixels per inch, written into the file.
        max_bytes: What the file may weigh, or ``None``.
        source: Path of the picture that it is made from, for messages.
        finish: Makes the file of what the encoder wrote, metadata included.

    Raises:
        RequirementError: It would weigh more even at quality 85 with half of the colour.
    """
    profile = srgb_profile()

    def encoded(quality: int, subsampling: int) -> Encoded:
        file = BytesIO()
        image.save(
            file,
            "JPEG",
            quality=quality,
            subsampling=subsampling,
            icc_profile=profile,
            dpi=(dpi, dpi),
        )
        return Encoded(content=finish(file.getvalue()), quality=quality, subsampling=_SUBSAMPLINGS[subsampling])

    least = 0
    for subsampling in (_FULL_COLOUR, _HALF_COLOUR):
        best = _best_that_fits(lambda quality, half=subsampling: encoded(quality, half), max_bytes)  # type: ignore[misc]
        if max_bytes is None or len(best.content) <= max_bytes:
            return best
        least = len(best.content)
    raise RequirementError(
        f"{clean(source, 400)} weighs {describe_weight(least)} even at quality {LEAST_QUALITY}, "
        f"of {describe_limit(max_bytes or 0)} allowed",
        code="too_heavy",
        hint="It is full of fine noise: smooth it in an editor, or choose a store that takes more with --profile.",
    )


def _best_that_fits(encoded: Callable[[int], Encoded], max_bytes: int | None) -> Encoded:
    """Return the best quality within the weight; the least one where none is."""
    best = encoded(BEST_QUALITY)
    if max_bytes is None or len(best.content) <= max_bytes:
        return best
    best = encoded(LEAST_QUALITY)
    low, high = LEAST_QUALITY, BEST_QUALITY
    while len(best.content) <= max_bytes and high - low > 1:
        middle = (low + high) // 2
        tried = encoded(middle)
        if len(tried.content) <= max_bytes:
            best, low = tried, middle
        else:
            high = middle
    return best
