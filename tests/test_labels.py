"""Labels: every mark of a picture is read, kept in what is made from it, and one is added where it is missing."""

import io
import json
import random
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.release.containers import RawMarks, read_raw_marks
from suno_cover_cli.release.exif import for_new_pixels, has_orientation, read_origin
from suno_cover_cli.release.labels import CarriedMarks, add_label, carry_into_jpeg
from suno_cover_cli.release.marks import Marks, marks_of, read_marks
from suno_cover_cli.release.xmp import XmpError, add_to_xmp, parse_xmp, without_orientation
from tests.label_fixtures import (
    AI,
    AIGC,
    FORMATS,
    OTHER_AIGC,
    RDF_NS,
    aigc_xmp,
    c2pa,
    exiftool,
    marked,
    pixels_of,
    with_chunk,
    with_segment,
    xmp,
)
from tests.label_fixtures import (
    IPTC_NS as NS,
)

SUFFIXES = sorted(FORMATS)


def marks_in(content: bytes) -> Marks:
    """Read the marks of a file in memory."""
    return marks_of(io.BytesIO(content))


def exif_of(orientation: int = 1) -> Image.Exif:
    """Make EXIF that says where a picture is from, and one thing that is not true of another picture."""
    exif = Image.Exif()
    exif[0x0131], exif[0x0112] = "Generator 1", orientation
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a comment"
    exif.get_ifd(0x8769)[0xA002] = 48
    return exif


def carried(content: bytes) -> tuple[bytes, CarriedMarks]:
    """Carry the marks of a picture into a small JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (30, 30), "navy").save(file, "JPEG")
    raw = read_raw_marks(io.BytesIO(content))
    return carry_into_jpeg(file.getvalue(), raw, width=30, height=30, dpi=300)


# --- reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_read(suffix: str) -> None:
    """XMP, EXIF and content credentials are found where each format keeps them."""
    content = c2pa(suffix, marked(suffix, packet=aigc_xmp(), exif=exif_of()))
    marks = marks_in(content)
    assert {mark.kind for mark in marks.found} == {"xmp", "aigc", "exif", "c2pa"}
    assert marks.values("aigc") == [AIGC]
    assert "Generator 1" in marks.values("exif")[0]
    assert marks.troubles == ()
    assert marks_in(marked(suffix)).found == ()


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_the_text_chunk_of_a_png_is_read_in_each_of_its_three_kinds(kind: bytes) -> None:
    """An AIGC label may be plain, packed or international text."""
    data = {
        b"tEXt": b"AIGC\0" + AIGC.encode(),
        b"zTXt": b"AIGC\0\0" + zlib.compress(AIGC.encode()),
        b"iTXt": b"AIGC\0\1\0en\0\0" + zlib.compress(AIGC.encode()),
    }[kind]
    assert marks_in(with_chunk(marked("png"), kind, data)).values("aigc") == [AIGC]


@pytest.mark.parametrize(
    ("properties", "attributes"),
    [
        (f"<Iptc4xmpExt:DigitalSourceType>{AI}</Iptc4xmpExt:DigitalSourceType>", ""),
        (f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{AI}"/>', ""),
        ("", f'Iptc4xmpExt:DigitalSourceType="{AI}"'),
        (
            f'<i:DigitalSourceType xmlns:i="{NS}"><rdf:Bag><rdf:li>{AI}</rdf:li></rdf:Bag></i:DigitalSourceType>',
            "",
        ),
    ],
    ids=["element", "resource", "attribute", "list under another prefix"],
)
def test_a_source_type_is_read_however_it_is_written(properties: str, attributes: str) -> None:
    """XMP may write a property as an element, as a resource, as an attribute, under any prefix."""
    marks = marks_in(marked("png", packet=xmp(properties, attributes)))
    assert marks.values("digital_source_type") == [AI]
    assert marks.has_source_type


def test_a_source_type_inside_a_structure_speaks_of_something_else() -> None:
    """What is said of a place or an ingredient is read, but does not label the picture itself."""
    inside = (
        '<Iptc4xmpExt:LocationCreated><rdf:Bag><rdf:li rdf:parseType="Resource">'
        f"<Iptc4xmpExt:DigitalSourceType>{AI}</Iptc4xmpExt:DigitalSourceType></rdf:li></rdf:Bag>"
        "</Iptc4xmpExt:LocationCreated>"
        f'<Iptc4xmpExt:ArtworkOrObject><rdf:Description Iptc4xmpExt:DigitalSourceType="{AI}"/>'
        "</Iptc4xmpExt:ArtworkOrObject>"
    )
    content = marked("png", packet=xmp(inside))
    marks = marks_in(content)
    assert [mark.carrier for mark in marks.found if mark.kind == "digital_source_type"] == ["xmp (nested)"] * 2
    assert not marks.has_source_type
    exported, result = carried(content)
    assert result.added == ["digital_source_type"]
    assert marks_in(exported).has_source_type


def test_an_aigc_label_as_a_structure_is_read_as_json() -> None:
    """Some services write the fields of the label as properties of their own."""
    fields = "<TC260:Label>1</TC260:Label><TC260:ContentProducer>P</TC260:ContentProducer>"
    inside = f'<TC260:AIGC rdf:parseType="Resource">{fields}</TC260:AIGC>'
    (value,) = marks_in(marked("png", packet=xmp(inside))).values("aigc")
    assert json.loads(value) == {"Label": "1", "ContentProducer": "P"}


@pytest.mark.parametrize("charset", [b"ASCII\0\0\0", b"UNICODE\0", b"\0" * 8])
def test_an_aigc_label_in_exif_is_read(charset: bytes) -> None:
    """EXIF keeps it as a user comment, in one of several encodings."""
    exif = Image.Exif()
    text = json.dumps({"AIGC": json.loads(AIGC)})
    # Pillow writes big-endian structures, and so its comments have to be.
    exif.get_ifd(0x8769)[0x9286] = charset + text.encode("utf-16-be" if charset[:1] == b"U" else "ascii")
    marks = marks_in(marked("jpg", exif=exif))
    assert marks.values("aigc") == [text]
    assert "ContentProducer Prod & <Co>" in next(mark for mark in marks.found if mark.kind == "aigc").describe()


def test_what_imagemagick_makes_of_metadata_is_read() -> None:
    """It keeps other formats' metadata in PNG texts of its own, in hexadecimal."""
    packet = aigc_xmp()
    text = b"Raw profile type xmp\0\nxmp\n%8d\n" % len(packet) + packet.hex().encode() + b"\n"
    assert marks_in(with_chunk(marked("png"), b"tEXt", text)).values("aigc") == [AIGC]


# --- hostile and broken -----------------------------------------------------------------------------------


BOMB = b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>' + xmp("<dc:title>&b;</dc:title>")


@pytest.mark.parametrize(
    "packet",
    [
        BOMB,
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>" * 5000 + b"</a>" * 5000,
        xmp("x" * (4 * 1024 * 1024)),
        xmp(f"<TC260:AIGC>{'x' * 70_000}</TC260:AIGC>"),
    ],
    ids=["entities", "external", "deep", "large", "long value"],
)
def test_hostile_xmp_is_refused_and_reported(packet: bytes) -> None:
    """No entity is expanded; what is refused is left out of an export, and that is said."""
    with pytest.raises(XmpError) as info:
        parse_xmp(packet)
    assert info.value.is_hostile
    content = marked("png", packet=packet)
    assert any("XMP" in trouble for trouble in marks_in(content).troubles)
    exported, result = carried(content)
    assert result.lost == ["xmp"]
    assert any("XMP was left out" in warning for warning in result.warnings)
    assert packet[:200] not in exported


@pytest.mark.parametrize("packet", [b"<x:xmpmeta", b"", b"<a/>", xmp().replace(b"</rdf:RDF>", b"")])
def test_broken_xmp_is_kept_byte_for_byte_and_reported(packet: bytes) -> None:
    """What cannot be read may be readable for others: it stays, with the label beside it."""
    content = marked("jpg")
    content = with_segment(content, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    exported, result = carried(content)
    assert result.lost == []
    assert packet in exported
    assert any("cannot be read" in warning for warning in result.warnings)
    assert marks_in(exported).values("digital_source_type") == [AI]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_read_without_an_unexpected_error(suffix: str) -> None:
    """Whatever bits have changed, reading ends with marks or with an error that is ours."""
    chance = random.Random(13)  # noqa: S311 -- no secret
    plain = marked("jpg")
    whole = c2pa(suffix, marked(suffix, packet=aigc_xmp(), exif=exif_of(), side=16))
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            raw = read_raw_marks(io.BytesIO(content[: chance.randint(0, len(content))]))
        except ImageError:
            continue
        jpeg, _ = carry_into_jpeg(plain, raw, width=48, height=48, dpi=300)
        # The decoder warns of damaged EXIF, which is kept as far as it can be read.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pixels_of(jpeg) == pixels_of(plain)


def test_a_block_that_claims_to_be_huge_costs_nothing() -> None:
    """A chunk of 2 GiB is reported and not read."""
    png = marked("png")
    claimed = png[:33] + struct.pack(">I4s", 2**31, b"iTXt") + b"XML:com.adobe.xmp\0" + png[33:]
    assert any("too large" in trouble for trouble in marks_in(claimed).troubles)
    packed = b"AIGC\0\0" + zlib.compress(bytes(64 * 1024 * 1024))
    assert any("cannot be unpacked" in trouble for trouble in marks_in(with_chunk(png, b"zTXt", packed)).troubles)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    """A file of another kind and one that is not there are errors that name them."""
    path = tmp_path / "a.png"
    with pytest.raises(ImageError, match=r"a\.png"):
        read_marks(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(ImageError):
        read_marks(path)


# --- keeping --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_mark_is_kept_and_the_missing_one_added(suffix: str) -> None:
    """A JPEG made from a picture carries its XMP and EXIF, and says that a model made it."""
    exported, result = carried(marked(suffix, packet=aigc_xmp(), exif=exif_of()))
    assert (result.kept, result.lost, result.added) == (["exif", "xmp", "aigc"], [], ["digital_source_type"])
    marks = marks_in(exported)
    assert marks.values("aigc") == [AIGC]
    assert marks.values("digital_source_type") == [AI]
    assert "Generator 1" in marks.values("exif")[0]
    assert "a comment" in marks.values("exif")[0]


def test_other_programs_read_the_same(tmp_path: Path) -> None:
    """ExifTool finds the old label and the new one, true sizes, and no warning that the source did not have."""
    path = tmp_path / "exported.jpg"
    path.write_bytes(carried(marked("png", packet=aigc_xmp(), exif=exif_of(orientation=6)))[0])
    found = exiftool(path)
    assert found["XMP-TC260:Aigc"] == AIGC
    assert found["XMP-iptcExt:DigitalSourceType"] == AI
    assert found["IFD0:Software"] == "Generator 1"
    assert "IFD0:Orientation" not in found
    assert found["ExifIFD:ExifImageWidth"] == 30
    assert "ExifTool:Warning" not in found


def test_all_that_was_in_a_packet_stays_byte_for_byte() -> None:
    """Only a node is added: no other byte of foreign XMP changes."""
    packet = xmp("<dc:title>&#x4e2d; <![CDATA[<b>]]></dc:title><!-- kept -->", about="uuid:1")
    added = add_to_xmp(packet, source_type=AI)
    start = added.index(b"<rdf:Description xmlns:rdf=")
    end = added.index(b"</rdf:Description>\n", start) + len(b"</rdf:Description>\n")
    assert added[:start] + added[end:] == packet
    assert b'rdf:about="uuid:1"' in added[start:end]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_wide_encodings_become_utf8(encoding: str) -> None:
    """A packet in another encoding is read, and written as picture files want it."""
    packet = aigc_xmp().decode().encode(encoding)
    assert parse_xmp(packet).aigc == (AIGC,)
    assert add_to_xmp(packet, source_type=AI).decode("utf-8")


def test_an_empty_packet_takes_a_label() -> None:
    """RDF that is opened and closed in one tag is opened."""
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF_NS}"/></x:xmpmeta>'.encode()
    assert parse_xmp(add_to_xmp(packet, source_type=AI)).source_types == (AI,)


def test_a_source_type_that_is_there_is_kept_and_none_added() -> None:
    """A label that says something else is not overwritten: that is for the user to decide, and is said."""
    other = AI.replace("trainedAlgorithmicMedia", "digitalCapture")
    packet = xmp(f"<Iptc4xmpExt:DigitalSourceType>{other}</Iptc4xmpExt:DigitalSourceType>")
    exported, result = carried(marked("png", packet=packet))
    assert marks_in(exported).values("digital_source_type") == [other]
    assert result.added == []
    assert any("digitalCapture" in warning for warning in result.warnings)
    ours = packet.replace(b"digitalCapture", b"trainedAlgorithmicMedia")
    assert carried(marked("png", packet=ours))[1].warnings == []


def test_the_label_of_a_text_chunk_goes_into_xmp() -> None:
    """A JPEG has no text chunks, so what stood in one stands in XMP; two that differ are both kept."""
    exported, result = carried(marked("png", aigc_text=AIGC))
    assert [(mark.carrier, mark.value) for mark in marks_in(exported).found if mark.kind == "aigc"] == [
        ("xmp", AIGC)
    ]
    assert result.kept == ["aigc"]
    spaced = json.dumps(json.loads(AIGC), indent=1)
    assert marks_in(carried(marked("png", packet=aigc_xmp(), aigc_text=spaced))[0]).values("aigc") == [AIGC]
    both = carried(marked("png", packet=aigc_xmp(), aigc_text=OTHER_AIGC))[0]
    assert marks_in(both).values("aigc") == [AIGC, OTHER_AIGC]
    assert marks_in(carried(both)[0]).values("aigc") == [AIGC, OTHER_AIGC]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_content_credentials_are_lost_and_that_is_said(suffix: str) -> None:
    """They sign the pixels, so new pixels end them; the words name what to keep."""
    _, result = carried(c2pa(suffix, marked(suffix)))
    assert result.lost == ["c2pa"]
    assert any("keep the original" in warning for warning in result.warnings)


def test_orientation_and_thumbnail_do_not_outlive_the_pixels(tmp_path: Path) -> None:
    """A picture that was turned says so nowhere any more, and shows no small picture of what it was."""
    exif = exif_of(orientation=6)
    packet = xmp("", 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"')
    path = tmp_path / "a.jpg"
    path.write_bytes(marked("jpg", packet=packet, exif=exif))
    thumbnail = marked("jpg", side=16)
    raw = read_raw_marks(io.BytesIO(path.read_bytes()))
    assert raw.exif is not None
    raw.exif = with_thumbnail(raw.exif, thumbnail)
    path.write_bytes(carry_into_jpeg(marked("jpg"), raw, width=48, height=48, dpi=300)[0])
    assert thumbnail[-40:] not in path.read_bytes()[: -len(thumbnail)]
    found = exiftool(path, "-n")
    assert not any("Orientation" in name or "Thumbnail" in name for name in found)
    assert (found["IFD0:Software"], found["ExifIFD:UserComment"]) == ("Generator 1", "a comment")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("place", range(3))
def test_only_the_orientation_goes_from_exif(order: str, place: int) -> None:
    """First, last or between others: the other tags stay, in either byte order; alone it takes the EXIF along."""
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, 8, 0)
    others = [struct.pack(order + "HHI4s", tag, 2, 4, text) for tag, text in ((0x010F, b"abc"), (0x0131, b"def"))]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)

    def exif(*entries: bytes) -> bytes:
        return head + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)

    given = exif(*others[:place], entry, *others[place:])
    made = for_new_pixels(given, width=1, height=1, dpi=300)
    assert (has_orientation(given), has_orientation(made)) == (True, False)
    assert made == exif(*others) + bytes(12)
    assert read_origin(made) == {"Make": "abc", "Software": "def"}
    twice = for_new_pixels(exif(entry, others[0], entry, others[1]), width=1, height=1, dpi=300)
    assert twice == exif(*others) + bytes(24)
    assert for_new_pixels(exif(entry, entry), width=1, height=1, dpi=300) == b""


def test_an_orientation_as_an_element_of_xmp_goes() -> None:
    """However it is written, the packet stays one that can be read, with all else in it."""
    packet = xmp('<t:Orientation xmlns:t="http://ns.adobe.com/tiff/1.0/"> 8 </t:Orientation>', "")
    assert parse_xmp(packet).orientation == "8"
    left = without_orientation(packet)
    assert parse_xmp(left).orientation == ""
    assert len(packet) - len(left) < 120


def with_thumbnail(exif: bytes, thumbnail: bytes) -> bytes:
    """Add a second directory with a thumbnail to a big-endian structure that has one directory."""
    count = int.from_bytes(exif[8:10])
    link = 10 + 12 * count
    directory = struct.pack(">HHHIIHHIII", 2, 0x0201, 4, 1, len(exif) + 30, 0x0202, 4, 1, len(thumbnail), 0)
    return exif[:link] + struct.pack(">I", len(exif)) + exif[link + 4 :] + directory + thumbnail


def test_records_of_the_older_iptc_standard_are_kept(tmp_path: Path) -> None:
    """They go from JPEG to JPEG, without what else Photoshop kept beside them."""
    records = b"\x1c\x02\x50\0\x06Author" + b"\x1c\x02\x74\0\x09Copyright"
    resource = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 4) + b"junk"
    resource += b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
    exported, result = carried(with_segment(marked("jpg"), 0xED, b"Photoshop 3.0\0" + resource))
    assert result.kept == ["iptc"]
    assert b"junk" not in exported
    path = tmp_path / "a.jpg"
    path.write_bytes(exported)
    assert exiftool(path)["IPTC:By-line"] == "Author"


def test_a_packet_too_long_for_a_segment_goes_on_in_others(tmp_path: Path) -> None:
    """XMP of 150 KB arrives whole, and the labels stand where every reader looks."""
    packet = aigc_xmp().replace(
        b"</TC260:AIGC>", b"</TC260:AIGC><dc:title>" + b"long " * 30_000 + b"end</dc:title>"
    )
    exported, result = carried(marked("png", packet=packet))
    assert result.lost == []
    path = tmp_path / "a.jpg"
    path.write_bytes(exported)
    found = exiftool(path)
    assert found["XMP-dc:Title"].endswith("end")
    assert found["XMP-TC260:Aigc"] == AIGC
    assert found["XMP-iptcExt:DigitalSourceType"] == AI
    again, result = carried(exported)
    assert (result.lost, result.added) == ([], [])
    path.write_bytes(again)
    assert exiftool(path)["XMP-dc:Title"] == found["XMP-dc:Title"]


# --- adding to an original --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("packet", [None, aigc_xmp()], ids=["no xmp", "xmp"])
def test_a_label_is_added_without_touching_anything_else(
    tmp_path: Path, suffix: str, packet: bytes | None
) -> None:
    """Pixels and other marks of the original stay byte for byte; the second time there is nothing to do."""
    path = tmp_path / f"cover.{suffix}"
    before = marked(suffix, packet=packet, exif=exif_of(), aigc_text=AIGC)
    path.write_bytes(before)
    path.chmod(0o640)
    assert add_label(path) == ""
    after = path.read_bytes()
    assert exiftool(path)["XMP-iptcExt:DigitalSourceType"] == AI
    assert pixels_of(after) == pixels_of(before)
    was, found = read_raw_marks(io.BytesIO(before)), read_raw_marks(io.BytesIO(after))
    assert (found.exif, found.aigc_texts) == (was.exif, was.aigc_texts)
    assert marks_in(after).values("aigc") == marks_in(before).values("aigc")
    assert path.stat().st_mode & 0o777 == 0o640
    assert add_label(path) == ""
    assert path.read_bytes() == after


def test_a_lossless_webp_with_transparency_stays_transparent(tmp_path: Path) -> None:
    """The longer header that a label needs says what the short one said."""
    path = tmp_path / "a.webp"
    image = Image.new("RGBA", (20, 10), (10, 20, 30, 40))
    image.save(path, lossless=True, exact=True)
    assert add_label(path) == ""
    with Image.open(path) as labelled:
        assert (labelled.mode, labelled.size) == ("RGBA", (20, 10))
        assert labelled.tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (c2pa("png", marked("png")), "content credentials"),
        (marked("avif"), "AVIF"),
        (marked("png", packet=b"<broken"), "cannot be read"),
    ],
    ids=["signed", "avif", "broken"],
)
def test_an_original_that_takes_no_label_is_left_alone(tmp_path: Path, content: bytes, reason: str) -> None:
    """What a change would harm is not changed, and the reason is given."""
    path = tmp_path / "cover"
    path.write_bytes(content)
    assert reason in add_label(path)
    assert path.read_bytes() == content


def test_raw_marks_of_two_files_are_apart() -> None:
    """Reading one file leaves nothing behind for the next."""
    read_raw_marks(io.BytesIO(marked("png", aigc_text=AIGC)))
    assert RawMarks() == read_raw_marks(io.BytesIO(marked("png")))
