"""The labels of a picture kept in what is made from it, and the AI label added where it is missing.

Every mark that is there is kept: to lose one is what labelling rules forbid. One is added, IPTC's
``trainedAlgorithmicMedia``, because every cover here is made by a trained model. A producer is never filled in:
that would be a forgery.
"""

import hashlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec

from suno_cover_cli.base.errors import ImageError, disk_code, disk_hint
from suno_cover_cli.base.files import replace_file
from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.kinds import SNIFF_BYTES, sniff
from suno_cover_cli.release.containers import RawMarks, read_raw_marks
from suno_cover_cli.release.exif import ExifError, for_new_pixels
from suno_cover_cli.release.inserting import (
    MAX_SEGMENT_PACKET_BYTES,
    JpegHeaders,
    NoRoomError,
    checksum_of,
    put_xmp,
)
from suno_cover_cli.release.marks import Kind, aigc_of, extended_packets, interpret, marks_of_exif
from suno_cover_cli.release.xmp import (
    TRAINED_ALGORITHMIC_MEDIA,
    XmpError,
    XmpLabels,
    add_to_xmp,
    is_trained_algorithmic,
    parse_xmp,
    without_orientation,
)


class CarriedMarks(msgspec.Struct, kw_only=True):
    """What became of the marks of a picture in another file made from it.

    Attributes:
        kept: Kinds that are in the new file as they were in the old one.
        lost: Kinds that could not be kept; ``warnings`` says why.
        added: Kinds that the old file did not have.
        warnings: In words.
    """

    kept: list[Kind] = []
    lost: list[Kind] = []
    added: list[Kind] = []
    warnings: list[str] = []

    def keep(self, kind: Kind) -> None:
        """Note that a kind is in the new file."""
        if kind not in self.kept:
            self.kept.append(kind)

    def lose(self, kind: Kind, reason: str) -> None:
        """Note a loss."""
        if kind not in self.lost:
            self.lost.append(kind)
        self.warnings.append(reason)


def carry_into_jpeg(
    jpeg: bytes, raw: RawMarks, *, width: int, height: int, dpi: int
) -> tuple[bytes, CarriedMarks]:
    """Put the marks of a picture into a JPEG made from it, and the AI label where there is none.

    Args:
        jpeg: As an encoder made it, upright and in sRGB.
        raw: What the picture held.
        width: Of the JPEG.
        height: Of the JPEG.
        dpi: Its pixels per inch.
    """
    headers, carried = JpegHeaders(), CarriedMarks()
    if raw.exif is not None:
        try:
            exif = for_new_pixels(raw.exif, width=width, height=height, dpi=dpi)
            if exif:
                headers.add_exif(exif)
                for mark in marks_of_exif(raw.exif):
                    carried.keep(mark.kind)
        except (ExifError, NoRoomError) as error:
            carried.lose("exif", f"its EXIF could not be kept: {error}")
    _carry_xmp(headers, raw, carried)
    if raw.iptc is not None:
        try:
            headers.add_iptc(raw.iptc)
            carried.keep("iptc")
        except NoRoomError as error:
            carried.lose("iptc", f"its IPTC records could not be kept: {error}")
    if raw.has_c2pa:
        carried.lose(
            "c2pa",
            "its content credentials (C2PA) end with the pixels they sign: keep the original beside the export",
        )
    carried.warnings += raw.troubles
    return headers.put_into(jpeg), carried


def _carry_xmp(headers: JpegHeaders, raw: RawMarks, carried: CarriedMarks) -> None:
    main, others = _sort_packets(raw, carried)
    labels = _readable(([] if main is None else [main]) + extended_packets(raw.extended_xmp))
    if labels:
        carried.keep("xmp")
    source_types = [text for found in labels for text in found.source_types]
    if not source_types:
        carried.added.append("digital_source_type")
    else:
        carried.keep("digital_source_type")
        if not any(map(is_trained_algorithmic, source_types)):
            carried.warnings.append(f"it is labelled {clean(source_types[0], 120)}, which is kept as it is")
    in_xmp = [text for found in labels for text in found.aigc]
    known = [aigc_of(text) or text for text in in_xmp]
    beside = [text for text in [*raw.aigc_texts, *raw.aigc_comments] if (aigc_of(text) or text) not in known]
    if in_xmp or beside:
        carried.keep("aigc")
    # A packet has room for one AIGC label; one that differs goes beside it.
    aigc = beside.pop(0) if beside and not in_xmp else ""
    for text in beside:
        try:
            headers.add_aigc_comment(text)
        except NoRoomError as error:
            carried.lose("aigc", f"an AIGC label could not be kept: {error}")
    _add_main_packet(headers, main, source_type="" if source_types else TRAINED_ALGORITHMIC_MEDIA, aigc=aigc)
    for segment in raw.extended_xmp:
        headers.add_raw(segment)
    for other in others:
        headers.add_xmp(other)


def _add_main_packet(headers: JpegHeaders, main: bytes | None, *, source_type: str, aigc: str) -> None:
    packet = None if main is None else without_orientation(main)
    if source_type or aigc:
        packet = add_to_xmp(packet, source_type=source_type, aigc=aigc)
    if packet is None:
        return
    try:
        headers.add_xmp(packet)
    except NoRoomError:
        # What is too long for one segment goes on in others; the labels stand in the first.
        own = parse_xmp(packet)
        labels = {"source_type": next(iter(own.source_types), ""), "aigc": next(iter(own.aigc), "")}
        headers.add_xmp(add_to_xmp(None, **labels, extension=checksum_of(packet)))
        headers.add_extended_xmp(packet)


def _sort_packets(raw: RawMarks, carried: CarriedMarks) -> tuple[bytes | None, list[bytes]]:
    """Return the packet that is the picture's, and those that are kept beside it byte for byte."""
    main: bytes | None = None
    others = []
    for packet in raw.xmp:
        try:
            parse_xmp(packet)
        except XmpError as error:
            if error.is_hostile or len(packet) > MAX_SEGMENT_PACKET_BYTES:
                carried.lose("xmp", f"its XMP was left out: {error}")
            else:
                carried.keep("xmp")
                carried.warnings.append(f"its XMP cannot be read ({error}) and is kept byte for byte")
                others.append(packet)
            continue
        if main is None:
            main = packet
        else:
            others.append(packet)
    return main, others


def _readable(packets: list[bytes]) -> list[XmpLabels]:
    found = []
    for packet in packets:
        with suppress(XmpError):
            found.append(parse_xmp(packet))
    return found


def add_label(path: Path) -> str:
    """Add the AI label to a saved picture, if it has no source type; its pixels and marks stay byte for byte.

    Returns:
        Why nothing was added, in words; empty when the file carries the label now.

    Raises:
        ImageError: It is not a picture, or cannot be read or written.
    """
    try:
        content = path.read_bytes()
        labelled, reason = _with_label(content)
        if labelled is not None:
            replace_file(path, labelled, mode=path.stat().st_mode & 0o777)
    except OSError as error:
        raise ImageError(
            f"the label could not be added to {clean(path, 400)}: {error.strerror}",
            code=disk_code(error, "label_failed"),
            hint=f"The picture itself is saved. {disk_hint(error, 'Fix the permissions, then run it again.')}",
        ) from None
    return reason


def label_saved(image: SavedImage) -> tuple[SavedImage, str]:
    """Add the AI label to a saved cover.

    Returns:
        What the job object says of the file as it stands then, and why nothing was added, if so.

    Raises:
        ImageError: It cannot be read or written.
    """
    path = Path(image.path)
    reason = add_label(path)
    if reason:
        return image, reason
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return msgspec.structs.replace(image, sha256=sha256, bytes=len(content)), ""


def _with_label(content: bytes) -> tuple[bytes | None, str]:
    raw = read_raw_marks(BytesIO(content))
    image_format = sniff(content[:SNIFF_BYTES])
    if interpret(raw).has_source_type:
        return None, ""
    if raw.has_c2pa:
        return None, "it carries content credentials (C2PA), which any change would break"
    if image_format is None or len(raw.xmp) > 1:
        return None, "it holds more than one XMP packet"
    try:
        packet = add_to_xmp(raw.xmp[0] if raw.xmp else None, source_type=TRAINED_ALGORITHMIC_MEDIA)
        return put_xmp(content, image_format, packet), ""
    except XmpError as error:
        return None, f"its XMP cannot be read: {error}"
    except NoRoomError as error:
        return None, str(error)
