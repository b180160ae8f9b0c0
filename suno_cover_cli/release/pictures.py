"""Pictures of the user's as they come, and as plain upright RGB in sRGB. Everything here blocks.

A picture of 50 million pixels, the most that is taken, costs 8 bytes a pixel on its way, and some 150 MB beside.
"""

import hashlib
import os
import shlex
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from suno_cover_cli.base.errors import RequirementError, SunoCoverError, UsageError
from suno_cover_cli.base.png_chunks import open_for_pillow
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.kinds import SNIFF_BYTES, ImageFormat, sniff
from suno_cover_cli.release.containers import RawMarks, find_reader, is_baseline, read_raw_marks
from suno_cover_cli.release.exif import ExifError, read_orientation
from suno_cover_cli.release.marks import has_orientation_tag

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsProfile

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 256 * 1024 * 1024
SONG_SUFFIXES = frozenset({".mp3", ".flac", ".m4a", ".ogg", ".oga", ".opus", ".wav", ".aif", ".aiff"})
"""How the names of songs end, which people give where a picture is wanted."""

_OTHERS = {
    b"GIF8": "a GIF",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"BM": "a BMP",
    b"8BPS": "a Photoshop document",
    b"%PDF": "a PDF",
    b"<svg": "an SVG",
    b"<?xml": "an XML document",
    b"<!DO": "a web page",
    b"<htm": "a web page",
}
_COLOURS = {"1": "black and white", "L": "greyscale", "LA": "greyscale", "P": "palette", "PA": "palette"}
_DEEP_GREY = frozenset({"I;16", "I;16B", "I;16L", "I"})
_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_FIRST_ACROSS = 5
# A profile holds the moment when it was made; a fixed one makes equal files of equal pictures.
_PROFILE_DATE = slice(24, 36)
_FIXED_DATE = bytes.fromhex("07ea00010001000000000000")


class PictureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it stands.

    Attributes:
        path: As it was given.
        sha256: Of the file, hex.
        size_bytes: Of the file.
        format: See :class:`ImageFormat`.
        width: Pixels, as the picture is seen.
        height: The same.
        colour: In words: ``RGB``, ``CMYK``, ``greyscale``, ``palette``, ``16-bit greyscale`` ...
        is_srgb: Its colours are sRGB: by its profile, or because it has none.
        has_alpha: Parts of it may be transparent.
        is_animated: It has more than one frame.
        is_turned: EXIF says that it has to be turned to be seen upright.
        has_orientation: EXIF or XMP has an orientation tag, whatever it says.
        is_baseline: A JPEG that is not progressive.
        dpi: Pixels per inch, or ``None`` where the file says nothing.
    """

    path: Path
    sha256: str
    size_bytes: int
    format: ImageFormat
    width: int
    height: int
    colour: str
    is_srgb: bool
    has_alpha: bool
    is_animated: bool
    is_turned: bool
    has_orientation: bool
    is_baseline: bool
    dpi: int | None

    @property
    def is_square(self) -> bool:
        """Whether both sides are equal."""
        return self.width == self.height


class OpenPicture:
    """A picture file that was opened and looked at, its pixels not decoded yet.

    Attributes:
        facts: See :class:`PictureFacts`.
        raw: What it holds beside its pixels.
        notes: What becomes of it on the way to plain RGB, in words.
    """

    def __init__(self, facts: PictureFacts, raw: RawMarks, image: "Image", orientation: int) -> None:
        self.facts = facts
        self.raw = raw
        self.notes: list[str] = []
        self._image = image
        self._orientation = orientation

    def load(self, box: tuple[int, int, int, int], size: tuple[int, int]) -> "Image":
        """Decode, turn upright, cut out, scale, and make RGB in sRGB of it.

        What is large is made small before its colours are changed, so that it is in memory twice at most.

        Args:
            box: What to take of the upright picture: left, top, right and bottom in pixels.
            size: Width and height that become of it.

        Raises:
            RequirementError: It cannot be decoded.
        """
        from PIL.Image import Resampling

        image = _decode(self._image, self.facts.path)
        if self.facts.is_animated:
            self.notes.append("it is animated: its first frame is taken")
        profile = image.info.get("icc_profile")
        image = _expand(_turn(image, self._orientation))
        if size != (box[2] - box[0], box[3] - box[1]):
            image = image.resize(size, Resampling.LANCZOS, box=box)
        elif size != image.size:
            image = image.crop(box)
        return self._to_srgb(self._flatten(image), profile)

    def _flatten(self, image: "Image") -> "Image":
        """Put a picture with transparency on white; leave others as they are."""
        from PIL import Image

        if image.mode not in {"LA", "RGBA"}:
            return image
        alpha = image.getchannel("A")
        plain = image.convert("L" if image.mode == "LA" else "RGB")
        lowest, _ = alpha.getextrema()
        if lowest == 255:  # noqa: PLR2004 -- opaque everywhere
            return plain
        self.notes.append("its transparent parts become white")
        ground = Image.new(plain.mode, plain.size, "white")
        ground.paste(plain, mask=alpha)
        return ground

    def _to_srgb(self, image: "Image", profile: bytes | None) -> "Image":
        if profile is not None and not self.facts.is_srgb:
            from PIL import ImageCms

            try:
                converted = ImageCms.profileToProfile(
                    image, ImageCms.ImageCmsProfile(BytesIO(profile)), _srgb(), outputMode="RGB"
                )
            except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
                self.notes.append("its colour profile cannot be used: its colours are taken as they are")
            else:
                if converted is not None:
                    return converted
        if image.mode == "CMYK":
            self.notes.append("it is CMYK without a usable colour profile: its colours are approximate")
        return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def open_picture(path: Path) -> Iterator[OpenPicture]:
    """Open a picture file of the user's and look at it.

    Raises:
        UsageError: There is no such file, or it is not one that can be read.
        RequirementError: It is not a picture in a known format, damaged, or too large.
    """
    with _opened(path) as file:
        head = file.read(max(SNIFF_BYTES, 16))
        found = _format_of(path, head)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
        raw = read_raw_marks(file)
        orientation = _orientation_of(raw)
        file.seek(0)
        with _quietly():
            try:
                plain, profile = open_for_pillow(file)
                image = find_reader(found)(plain)
            except Exception as error:  # a damaged file leads decoders to raise nearly anything
                raise damaged(path) from error
        with image:
            if profile is not None:
                image.info["icc_profile"] = profile
            if image.width * image.height > MAX_PIXELS:
                raise RequirementError(
                    f"{clean(path, 400)} has {image.width} x {image.height} pixels, more than 50 million",
                    code="too_many_pixels",
                    hint="Scale it down first: stores want 3000 x 3000.",
                )
            # EXIF's higher numbers swap the sides.
            is_across = orientation >= _FIRST_ACROSS
            dpi = image.info.get("dpi")
            facts = PictureFacts(
                path=path,
                sha256=sha256,
                size_bytes=size_bytes,
                format=found,
                width=image.height if is_across else image.width,
                height=image.width if is_across else image.height,
                colour="16-bit greyscale" if image.mode in _DEEP_GREY else _COLOURS.get(image.mode, image.mode),
                is_srgb=_is_srgb(image),
                has_alpha=image.mode in _ALPHA or "transparency" in image.info,
                is_animated=getattr(image, "n_frames", 1) > 1,
                is_turned=orientation != 1,
                has_orientation=has_orientation_tag(raw),
                is_baseline=found is ImageFormat.JPEG and is_baseline(file),
                dpi=round(dpi[0]) if dpi else None,
            )
            yield OpenPicture(facts, raw, image, orientation)


def _format_of(path: Path, head: bytes) -> ImageFormat:
    """Return the format by the first bytes.

    Raises:
        RequirementError: It is none that is known.
    """
    found = sniff(head)
    if found is not None:
        return found
    shown = clean(path, 400)
    if path.suffix.lower() in SONG_SUFFIXES:
        raise RequirementError(
            f"{shown} is an audio file, not a picture",
            code="not_a_picture",
            hint=f"Put a cover into it: suno-cover embed {shlex.quote(shown)} --cover ID|FILE",
        )
    raise RequirementError(
        f"{shown} is {_name_of(head)}, not a picture in PNG, JPEG, WebP or AVIF",
        code="not_a_picture",
        hint="Convert it to PNG first, or give another file.",
    )


def damaged(path: Path) -> RequirementError:
    """Return the error for a picture that cannot be decoded."""
    return RequirementError(
        f"{clean(path, 400)} is cut off or damaged", code="damaged_picture", hint="Fetch or make it again."
    )


def srgb_profile() -> bytes:
    """Return the sRGB profile that goes into files: 588 bytes, the same ones each time."""
    content = bytearray(_srgb().tobytes())
    content[_PROFILE_DATE] = _FIXED_DATE
    return bytes(content)


def size_of(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a picture in memory, of any common kind; ``None`` when it is not one."""
    from PIL import Image

    try:
        with _quietly(), Image.open(BytesIO(content), formats=("JPEG", "PNG", "GIF", "BMP", "WEBP")) as image:
            return image.size
    except Exception:  # noqa: BLE001 -- foreign bytes lead decoders to raise nearly anything
        return None


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file, which may be behind a link, without waiting for the other end of a pipe."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except OSError as error:
        raise UsageError(
            f"cannot read {clean(path, 400)}: {error.strerror}", code="unreadable_file", hint="Check the path."
        ) from None
    try:
        # A folder opens too, but is not a stream.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{clean(path, 400)} is not a file", code="unreadable_file", hint="Check the path.")
        if status.st_size > MAX_FILE_BYTES:
            raise RequirementError(
                f"{clean(path, 400)} is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB",
                code="too_large",
                hint="Save it smaller first.",
            )
    except SunoCoverError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _name_of(head: bytes) -> str:
    if not head:
        return "empty"
    return next((name for start, name in _OTHERS.items() if head.startswith(start)), "something else")


def _orientation_of(raw: RawMarks) -> int:
    try:
        return 1 if raw.exif is None else read_orientation(raw.exif)
    except ExifError:
        return 1


def _is_srgb(image: "Image") -> bool:
    """Tell by what the profile of a picture does, not by its name: whether it leaves a few colours as they are."""
    from PIL import Image, ImageCms

    profile = image.info.get("icc_profile")
    if profile is None:
        return image.mode != "CMYK"
    if image.mode in {"CMYK", "L", "LA", "1"}:
        return False
    steps = bytes(range(0, 256, 51))
    probe = Image.frombytes(
        "RGB",
        (6, 6),
        b"".join(
            bytes((r, g, steps[(n + r) % 6])) for n, (r, g) in enumerate((r, g) for r in steps for g in steps)
        ),
    )
    try:
        seen = ImageCms.profileToProfile(probe, ImageCms.ImageCmsProfile(BytesIO(profile)), _srgb())
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False
    if seen is None:
        return False
    return all(abs(one - other) <= 1 for one, other in zip(probe.tobytes(), seen.tobytes(), strict=True))


def _srgb() -> "ImageCmsProfile":
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _decode(image: "Image", path: Path) -> "Image":
    try:
        with _quietly():
            image.seek(0)
            image.load()
    except MemoryError as error:
        raise RequirementError(f"{clean(path, 400)} does not fit into memory", code="too_many_pixels") from error
    except Exception as error:  # as above
        raise damaged(path) from error
    return image


def _turn(image: "Image", orientation: int) -> "Image":
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _expand(image: "Image") -> "Image":
    """Make eight bits a channel of deep greys, palettes and single bits; transparency becomes a channel."""
    if image.mode in _DEEP_GREY:
        # A plain conversion would cut off all that is brighter than 255.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in {"P", "PA"} or (image.mode == "RGB" and "transparency" in image.info):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "L" and "transparency" in image.info:
        return image.convert("LA")
    return image


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the decoder from warning on stderr of damaged metadata, which it can do without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
