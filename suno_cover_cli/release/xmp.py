"""XMP packets (ISO 16684-1): the AI labels in one, and how others are added while every byte of it stays.

A packet is foreign text. It is parsed with a bound on its size and its depth, and one that declares a document
type is refused, so that no entity is ever expanded or fetched.
"""

import json
import re
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import msgspec

MAX_PACKET_BYTES = 4 * 1024 * 1024
"""Larger packets are not read. Those that editors write are some kilobytes long."""

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for a picture that a trained model made (https://cv.iptc.org/newscodes/digitalsourcetype/)."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
# One that cannot stand in an address or a name.
_SEPARATOR = "\n"
_RDF_ROOT = f"{_RDF}{_SEPARATOR}RDF"
_ABOUT = f"{_RDF}{_SEPARATOR}about"
_RESOURCE = f"{_RDF}{_SEPARATOR}resource"
_SOURCE_TYPE = f"{_IPTC_EXT}{_SEPARATOR}DigitalSourceType"
_AIGC = f"{_TC260}{_SEPARATOR}AIGC"
_ORIENTATION = f"{_TIFF}{_SEPARATOR}Orientation"
_MAX_DEPTH = 100
_MAX_VALUE_CHARS = 64 * 1024
_MAX_TAG_BYTES = 200
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">\n</rdf:RDF></x:xmpmeta>\n'
    '<?xpacket end="w"?>'
)


class XmpError(Exception):
    """A packet that cannot be read, and why in words.

    Attributes:
        is_hostile: It is built to harm its reader: too large, too deep, or with a document type.
    """

    def __init__(self, reason: str, *, is_hostile: bool = False) -> None:
        super().__init__(reason)
        self.is_hostile = is_hostile


class XmpLabels(msgspec.Struct, frozen=True, kw_only=True):
    """What a packet says.

    Attributes:
        source_types: Values of ``Iptc4xmpExt:DigitalSourceType`` that speak of the picture itself.
        nested_source_types: Values of it that speak of something inside: an ingredient, a place, an artwork shown.
        aigc: Values of ``TC260:AIGC``, JSON as a rule; one written as a structure is made JSON.
        orientation: ``tiff:Orientation``, or empty.
    """

    source_types: tuple[str, ...] = ()
    nested_source_types: tuple[str, ...] = ()
    aigc: tuple[str, ...] = ()
    orientation: str = ""


class _Reader:
    """Walks one packet; see :func:`parse_xmp`."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._path: list[str] = []
        self._values: list[tuple[int, str, list[str], dict[str, str]]] = []
        self.own: dict[str, list[str]] = {_SOURCE_TYPE: [], _AIGC: [], _ORIENTATION: []}
        self.nested: list[str] = []
        self.about: str | None = None
        self.rdf_end = -1
        self.rdf_tag = b""
        self.tiff_prefix = "tiff"
        self._parser = expat.ParserCreate("utf-8", _SEPARATOR)
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartNamespaceDeclHandler = self._note_prefix
        self._parser.StartElementHandler = self._start
        self._parser.CharacterDataHandler = self._read_text
        self._parser.EndElementHandler = self._end

    def read(self) -> None:
        """Walk the packet from its first byte to its last.

        Raises:
            XmpError: It cannot be read.
        """
        try:
            self._parser.Parse(self._packet, True)  # noqa: FBT003 -- positional in expat
        except expat.ExpatError as error:
            raise XmpError(f"not well-formed XML ({error})") from None
        if self.rdf_end < 0:
            raise XmpError("no rdf:RDF in it")

    @staticmethod
    def _refuse_doctype(*_: Any) -> None:
        raise XmpError("it declares a document type", is_hostile=True)

    def _note_prefix(self, prefix: str | None, uri: str) -> None:
        if uri == _TIFF and prefix:
            self.tiff_prefix = prefix

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= _MAX_DEPTH:
            raise XmpError("it is nested too deeply", is_hostile=True)
        if name == _RDF_ROOT and not self.rdf_tag:
            start = self._parser.CurrentByteIndex + 1
            self.rdf_tag = re.split(rb"[\s/>]", self._packet[start : start + _MAX_TAG_BYTES], maxsplit=1)[0]
        is_node = self._path[-1:] == [_RDF_ROOT]
        if is_node and self.about is None:
            self.about = attributes.get(_ABOUT)
        for attribute, value in attributes.items():
            if attribute in self.own:
                self._keep(attribute, value, is_own=is_node)
        if self._values:
            _, _, _, fields = self._values[-1]
            fields.update({key.rpartition(_SEPARATOR)[2]: value for key, value in attributes.items()})
        if name in self.own:
            # An address may be given as text or as a resource.
            text = [attributes[_RESOURCE]] if _RESOURCE in attributes else []
            fields = {key.rpartition(_SEPARATOR)[2]: value for key, value in attributes.items()}
            self._values.append((len(self._path), name, text, fields))
        self._path.append(name)

    def _read_text(self, text: str) -> None:
        for depth, _, parts, fields in self._values[-1:]:
            if sum(map(len, parts)) + len(text) > _MAX_VALUE_CHARS:
                raise XmpError("a value in it is too long", is_hostile=True)
            parts.append(text)
            if len(self._path) > depth + 1 and text.strip():
                key = self._path[-1].rpartition(_SEPARATOR)[2]
                fields[key] = fields.get(key, "") + text

    def _end(self, name: str) -> None:
        self._path.pop()
        if self._values and self._values[-1][0] == len(self._path):
            depth, _, parts, fields = self._values.pop()
            value = "".join(parts).strip()
            fields = {key: text for key, text in fields.items() if key not in {"parseType", "resource", "lang"}}
            if name == _AIGC and "Label" in fields and not value.startswith("{"):
                value = json.dumps(fields, ensure_ascii=False)
            self._keep(name, value, is_own=depth >= 2 and self._path[depth - 2] == _RDF_ROOT)  # noqa: PLR2004 -- RDF, node, property
        if name == _RDF_ROOT and self.rdf_end < 0:
            self.rdf_end = self._parser.CurrentByteIndex

    def _keep(self, name: str, value: str, *, is_own: bool) -> None:
        if not value:
            return
        if is_own or name == _AIGC:
            self.own[name].append(value)
        elif name == _SOURCE_TYPE:
            self.nested.append(value)


def parse_xmp(packet: bytes) -> XmpLabels:
    """Read the labels of a packet.

    Raises:
        XmpError: It cannot be read; nothing can be added to it either.
    """
    reader = _read(packet)[1]
    return XmpLabels(
        source_types=tuple(reader.own[_SOURCE_TYPE]),
        nested_source_types=tuple(reader.nested),
        aigc=tuple(reader.own[_AIGC]),
        orientation=next(iter(reader.own[_ORIENTATION]), ""),
    )


def add_to_xmp(packet: bytes | None, *, source_type: str = "", aigc: str = "", extension: str = "") -> bytes:
    """Return a packet with labels added in a node of their own; all that was there stays as it was.

    Args:
        packet: ``None`` makes a new one. UTF-16 and UTF-32 become UTF-8, which is what picture files hold.
        source_type: Value of ``Iptc4xmpExt:DigitalSourceType``; empty adds none.
        aigc: Value of ``TC260:AIGC``; empty adds none.
        extension: Checksum of a packet that goes on elsewhere in the file (JPEG); empty when none does.

    Raises:
        XmpError: The packet cannot be read.
    """
    text, reader = _read(packet if packet is not None else _EMPTY.encode())
    properties = ""
    if source_type:
        properties += _property("Iptc4xmpExt", "DigitalSourceType", _IPTC_EXT, source_type)
    if aigc:
        properties += _property("TC260", "AIGC", _TC260, aigc)
    if extension:
        properties += _property("xmpNote", "HasExtendedXMP", "http://ns.adobe.com/xmp/note/", extension)
    # All nodes of a packet speak of the same thing, so they name it alike.
    about = quoteattr(reader.about or "")
    node = f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={about}>{properties}</rdf:Description>\n'.encode()
    before, after = text[: reader.rdf_end], text[reader.rdf_end :]
    tag = b"</" + reader.rdf_tag
    if not after.startswith(tag):
        # It is <rdf:RDF .../> without content, which ends where the tag does: opened and closed it has room.
        before, after = before[:-2] + b">\n", tag + b">" + after
    added = before + node + after
    found = parse_xmp(added)
    if (source_type and source_type not in found.source_types) or (aigc and aigc not in found.aigc):
        raise XmpError("it is written so that nothing can be added")
    return added


def without_orientation(packet: bytes) -> bytes:
    """Return a packet without ``tiff:Orientation``, for pixels that stand as they are stored.

    Raises:
        XmpError: The packet cannot be read.
    """
    text, reader = _read(packet)
    if not reader.own[_ORIENTATION]:
        return packet
    prefix = re.escape(reader.tiff_prefix.encode())
    text = re.sub(rb"\s" + prefix + rb":Orientation\s*=\s*([\"'])\s*\d\s*\1", b"", text)
    return re.sub(
        rb"<" + prefix + rb":Orientation(?:\s[^<>]*)?>\s*\d\s*</" + prefix + rb":Orientation\s*>", b"", text
    )


def is_trained_algorithmic(source_type: str) -> bool:
    """Tell whether a value says that a trained model made the picture, or parts of it."""
    word = source_type.rstrip("/").rpartition("/")[2]
    return word in {"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"}


def _property(prefix: str, name: str, uri: str, value: str) -> str:
    return f'<{prefix}:{name} xmlns:{prefix}="{uri}">{escape(value)}</{prefix}:{name}>'


def _read(packet: bytes) -> tuple[bytes, _Reader]:
    """Return a packet as UTF-8, and what walked it."""
    if len(packet) > MAX_PACKET_BYTES:
        raise XmpError(f"it is larger than {MAX_PACKET_BYTES // 1024 // 1024} MiB", is_hostile=True)
    # Some writers end it as a C string.
    text = _as_utf8(packet).strip(b"\0 \t\r\n")
    reader = _Reader(text)
    reader.read()
    return text, reader


def _as_utf8(packet: bytes) -> bytes:
    for signs, encoding in (
        ((b"\xff\xfe\0\0", b"<\0\0\0"), "utf-32-le"),
        ((b"\0\0\xfe\xff", b"\0\0\0<"), "utf-32-be"),
        ((b"\xff\xfe", b"<\0"), "utf-16-le"),
        ((b"\xfe\xff", b"\0<"), "utf-16-be"),
    ):
        if packet.startswith(signs):
            try:
                return packet.decode(encoding).lstrip("\ufeff").encode()
            except UnicodeError:
                raise XmpError(f"not {encoding}, as it begins") from None
    return packet
