"""Pictures that carry marks, and other people's tools to read what ours has written."""

import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from PIL import Image, PngImagePlugin

AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
AIGC = '{"Label":"1","ContentProducer":"Prod & <Co>","ProduceID":"42"}'
OTHER_AIGC = '{"Label":"2","ContentProducer":"else","ProduceID":"7"}'
IPTC_NS = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
TC260_NS = "http://www.tc260.org.cn/ns/AIGC/1.0/"
RDF_NS = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}


def xmp(properties: str = "", attributes: str = "", about: str = "") -> bytes:
    """Return a packet with properties as elements and as attributes."""
    namespaces = (
        f'xmlns:Iptc4xmpExt="{IPTC_NS}" xmlns:TC260="{TC260_NS}" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF_NS}"><rdf:Description rdf:about="{about}"'
        f' {namespaces} {attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def aigc_xmp(label: str = AIGC) -> bytes:
    """Return a packet with a TC260 label, as services in China write it."""
    return xmp(f"<TC260:AIGC>{escape(label)}</TC260:AIGC>")


def marked(
    suffix: str,
    *,
    packet: bytes | None = None,
    exif: Image.Exif | None = None,
    aigc_text: str = "",
    side: int = 48,
    height: int | None = None,
) -> bytes:
    """Return a picture file with marks in it; the text chunk is PNG's alone."""
    image = Image.radial_gradient("L").resize((side, height or side)).convert("RGB")
    options: dict[str, Any] = {} if exif is None else {"exif": exif.tobytes()}
    if suffix == "png":
        info = PngImagePlugin.PngInfo()
        if packet is not None:
            info.add_itxt("XML:com.adobe.xmp", packet.decode())
        if aigc_text:
            info.add_text("AIGC", aigc_text)
        options["pnginfo"] = info
    elif packet is not None:
        options["xmp"] = packet
    file = io.BytesIO()
    image.save(file, FORMATS[suffix], **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Return a PNG with a chunk after its header."""
    return png[:33] + png_chunk(kind, data) + png[33:]


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """Return a JPEG with a segment at its beginning."""
    return jpeg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]


def c2pa(suffix: str, content: bytes) -> bytes:
    """Return a picture with the beginning of content credentials where its format keeps them."""
    jumbf = (
        struct.pack(">I4sI4s", 40, b"jumb", 32, b"jumd") + b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\3c2pa\0"
    )
    if suffix == "png":
        return with_chunk(content, b"caBX", jumbf)
    if suffix == "jpg":
        return with_segment(content, 0xEB, b"JP\0\1\0\0\0\1" + jumbf)
    if suffix == "webp":
        body = content[8:] + struct.pack("<4sI", b"C2PA", len(jumbf)) + jumbf + bytes(len(jumbf) % 2)
        return b"RIFF" + struct.pack("<I", len(body)) + body
    owner = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    return content + struct.pack(">I4s", 24 + len(jumbf), b"uuid") + owner + jumbf


def pixels_of(content: bytes) -> bytes:
    """Decode a picture."""
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB").tobytes()


def tool(name: str) -> str:
    """Return the path of a program; tests that need one are skipped where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def exiftool(path: Path, *tags: str) -> dict[str, Any]:
    """Read a file with ExifTool: group and tag -> value."""
    run = subprocess.run(
        [tool("exiftool"), "-j", "-G1", "-a", *tags, str(path)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(run.stdout)[0]
    return found
