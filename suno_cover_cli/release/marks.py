"""What a picture carries beside its pixels: AI labels, and where it comes from.

Four carriers matter:

* XMP, with ``Iptc4xmpExt:DigitalSourceType`` (IPTC Photo Metadata) and ``TC260:AIGC`` (GB 45438-2025),
* the PNG text chunk ``AIGC`` (GB 45438-2025),
* EXIF, whose ``UserComment`` may hold an AIGC label too,
* content credentials (C2PA), which are signed and end with the pixels they speak of.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.text import clean
from suno_cover_cli.release.containers import RawMarks, read_raw_marks
from suno_cover_cli.release.exif import ExifError, has_orientation, read_origin
from suno_cover_cli.release.xmp import XmpError, parse_xmp

Kind = Literal["digital_source_type", "aigc", "xmp", "exif", "iptc", "c2pa"]
"""What a mark is: the words of ``marks`` in JSON."""

KIND_WORDS: dict[Kind, str] = {
    "digital_source_type": "AI label (IPTC)",
    "aigc": "AI label (TC260)",
    "xmp": "XMP",
    "exif": "EXIF",
    "iptc": "IPTC records",
    "c2pa": "content credentials (C2PA)",
}
"""The same for people."""

_MAX_SHOWN_CHARS = 200
_AIGC_LABELS = {"1": "AI-generated", "2": "possibly AI-generated", "3": "suspected to be AI-generated"}


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One mark.

    Attributes:
        kind: See :data:`Kind`.
        carrier: Where it stands: ``xmp``, ``xmp (nested)``, ``png text``, ``jpeg comment``, ``exif`` or ``file``.
        value: As it stands there; foreign text.
    """

    kind: Kind
    carrier: str
    value: str = ""

    def describe(self) -> str:
        """Say what it is on one line, with nothing in it that could draw on a terminal."""
        value = clean(self.value, _MAX_SHOWN_CHARS)
        match self.kind:
            case "digital_source_type":
                return f"AI label (IPTC, {self.carrier}): {value.rstrip('/').rpartition('/')[2]}"
            case "aigc":
                return f"AI label (TC260, {self.carrier}): {_describe_aigc(self.value)}"
            case "exif":
                return f"EXIF: {value}"
            case "xmp":
                return f"XMP: {value}"
            case "iptc":
                return f"IPTC records: {value}"
            case "c2pa":
                return "content credentials (C2PA)"


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """All marks of a file.

    Attributes:
        found: In no particular order of importance; empty when the file carries none.
        troubles: What is there and could not be read, in words.
    """

    found: tuple[Mark, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def has_source_type(self) -> bool:
        """Whether a source type speaks of the picture itself; then none is added."""
        return any(mark.kind == "digital_source_type" and mark.carrier == "xmp" for mark in self.found)

    def values(self, kind: Kind) -> list[str]:
        """Return the values of all marks of a kind."""
        return [mark.value for mark in self.found if mark.kind == kind]


def read_marks(path: Path) -> Marks:
    """Read what a picture file carries. Blocks.

    Raises:
        ImageError: It is not a picture in a known format, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return marks_of(file)
    except OSError as error:
        raise ImageError(
            f"cannot read {clean(path, 400)}: {error.strerror}", code="image_unreadable", hint="Check the path."
        ) from None


def marks_of(file: BinaryIO) -> Marks:
    """Read what an open picture file carries. Blocks.

    Raises:
        ImageError: It is not a picture in a known format.
        OSError: As the system says.
    """
    return interpret(read_raw_marks(file))


def interpret(raw: RawMarks) -> Marks:
    """Make sense of what a file holds beside its pixels."""
    found: list[Mark] = []
    troubles = list(raw.troubles)
    for packet in [*raw.xmp, *extended_packets(raw.extended_xmp)]:
        try:
            labels = parse_xmp(packet)
        except XmpError as error:
            troubles.append(f"XMP that cannot be read: {error}")
            continue
        found.append(Mark(kind="xmp", carrier="file", value=f"{len(packet)} bytes"))
        found += [Mark(kind="digital_source_type", carrier="xmp", value=text) for text in labels.source_types]
        found += [
            Mark(kind="digital_source_type", carrier="xmp (nested)", value=text)
            for text in labels.nested_source_types
        ]
        found += [Mark(kind="aigc", carrier="xmp", value=text) for text in labels.aigc]
    found += [Mark(kind="aigc", carrier="png text", value=text) for text in raw.aigc_texts]
    found += [Mark(kind="aigc", carrier="jpeg comment", value=text) for text in raw.aigc_comments]
    if raw.exif is not None:
        try:
            found += marks_of_exif(raw.exif)
        except ExifError as error:
            troubles.append(f"EXIF that cannot be read: {error}")
    if raw.iptc is not None:
        found.append(Mark(kind="iptc", carrier="file", value=f"{len(raw.iptc)} bytes"))
    if raw.has_c2pa:
        found.append(Mark(kind="c2pa", carrier="file"))
    return Marks(found=tuple(found), troubles=tuple(clean(trouble, _MAX_SHOWN_CHARS) for trouble in troubles))


def extended_packets(segments: list[bytes]) -> list[bytes]:
    """Put a packet together that is spread over JPEG segments (XMP specification part 3, 1.1.3.1).

    Each segment holds a prefix, a checksum as 32 digits, the whole length, its own offset, and its part.
    """
    parts: dict[bytes, dict[int, bytes]] = {}
    for segment in segments:
        body = segment.partition(b"\0")[2]
        parts.setdefault(body[:32], {})[int.from_bytes(body[36:40])] = body[40:]
    return [b"".join(part for _, part in sorted(found.items())) for found in parts.values()]


def aigc_of(text: str) -> dict[str, str] | None:
    """Read an AIGC label, the object itself or one that holds it as ``AIGC``; ``None`` for other text."""
    try:
        value = json.loads(text)
        if isinstance(value, dict) and isinstance(value.get("AIGC"), str):
            value["AIGC"] = json.loads(value["AIGC"])
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and isinstance(value.get("AIGC"), dict):
        value = value["AIGC"]
    if not isinstance(value, dict) or "Label" not in value:
        return None
    return {str(key): str(entry) for key, entry in value.items()}


def marks_of_exif(exif: bytes) -> list[Mark]:
    """Read an EXIF structure, which is a mark itself and may hold an AIGC label.

    Raises:
        ExifError: It cannot be read.
    """
    origin = read_origin(exif)
    found = [
        Mark(kind="aigc", carrier="exif", value=text)
        for name, text in origin.items()
        if name in {"UserComment", "ImageDescription"} and aigc_of(text) is not None
    ]
    parts = ", ".join(f"{name} {clean(text, 60)}" for name, text in origin.items()) or f"{len(exif)} bytes"
    return [*found, Mark(kind="exif", carrier="file", value=parts)]


def has_orientation_tag(raw: RawMarks) -> bool:
    """Tell whether EXIF or XMP that can be read says how to turn a picture, including not at all."""
    with suppress(ExifError):
        if raw.exif is not None and has_orientation(raw.exif):
            return True
    for packet in raw.xmp:
        with suppress(XmpError):
            if parse_xmp(packet).orientation:
                return True
    return False


def _describe_aigc(text: str) -> str:
    fields = aigc_of(text)
    if fields is None:
        return clean(text, _MAX_SHOWN_CHARS)
    label = clean(fields.pop("Label"), 20)
    parts = [_AIGC_LABELS.get(label, f"label {label}")]
    parts += [f"{clean(name, 40)} {clean(value, 80)}" for name, value in fields.items() if value]
    return ", ".join(parts)
