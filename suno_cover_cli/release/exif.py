"""EXIF (CIPA DC-008): which of its tags say where a picture comes from, and how it is kept with other pixels.

A structure is patched where it lies, never written anew: what is not understood here stays byte for byte.
"""

import struct
from collections.abc import Iterator

import msgspec

ORIGIN_TAGS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x8298: "Copyright",
    0x9003: "DateTimeOriginal",
    0x9286: "UserComment",
    0xA420: "ImageUniqueID",
}
"""Tags that say who or what made a picture; ``UserComment`` may hold an AIGC label as JSON."""

_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_USER_COMMENT = 0x9286
_THUMBNAIL_OFFSET, _THUMBNAIL_BYTES = 0x0201, 0x0202
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_TYPE_BYTES = {1: 1, 2: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_MAX_TAGS = 1000
_CHARSET_BYTES = 8


class ExifError(Exception):
    """A structure that cannot be read, and why in words."""


class _Entry(msgspec.Struct, frozen=True):
    """One tag: its type, how many values, and where they lie in the structure."""

    tag: int
    kind: int
    count: int
    at: int


class _Structure:
    """A TIFF structure in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        if order is None or len(data) < 8:  # noqa: PLR2004 -- the length of a header
            raise ExifError("it does not begin like one")
        self._order = order
        self.first = self.number(4, _LONG)

    def number(self, at: int, kind: int) -> int:
        """Read an integer of type SHORT or LONG."""
        try:
            found: tuple[int] = struct.unpack_from(self._order + ("H" if kind == _SHORT else "I"), self.data, at)
        except struct.error:
            raise ExifError("it is cut off") from None
        return found[0]

    def write(self, at: int, kind: int, value: int) -> None:
        """Write an integer of type SHORT or LONG, or a whole number as RATIONAL, over what is there."""
        if kind == _RATIONAL:
            struct.pack_into(self._order + "II", self.data, at, value, 1)
        else:
            struct.pack_into(self._order + ("H" if kind == _SHORT else "I"), self.data, at, value)

    def entries(self, directory: int) -> Iterator[_Entry]:
        """Yield the tags of one directory whose values lie within the structure."""
        for n in range(min(self.number(directory, _SHORT), _MAX_TAGS)):
            at = directory + 2 + 12 * n
            tag, kind = self.number(at, _SHORT), self.number(at + 2, _SHORT)
            count = self.number(at + 4, _LONG)
            size = _TYPE_BYTES.get(kind, 1) * count
            start = at + 8 if size <= 4 else self.number(at + 8, _LONG)  # noqa: PLR2004 -- the room in an entry
            if start + size <= len(self.data):
                yield _Entry(tag, kind, count, start)

    def next_link(self, directory: int) -> int:
        """Return where the offset of the next directory stands."""
        return directory + 2 + 12 * self.number(directory, _SHORT)

    def places_of(self, directory: int, tag: int) -> list[int]:
        """Return where the entries of a tag stand in one directory, also of one whose value lies nowhere."""
        count = min(self.number(directory, _SHORT), _MAX_TAGS)
        places = (directory + 2 + 12 * n for n in range(count))
        return [at for at in places if self.number(at, _SHORT) == tag]

    def drop_entry(self, directory: int, at: int) -> None:
        """Take one entry out of a directory: what follows moves up, values elsewhere stay where they are."""
        end = min(self.next_link(directory) + 4, len(self.data))
        self.data[at:end] = self.data[at + 12 : end] + bytes(12)
        struct.pack_into(self._order + "H", self.data, directory, self.number(directory, _SHORT) - 1)

    def all_entries(self) -> list[_Entry]:
        """Return the tags of the main directory and of the EXIF one below it."""
        found = list(self.entries(self.first))
        for entry in [entry for entry in found if entry.tag == _EXIF_IFD]:
            found += self.entries(self.number(entry.at, _LONG))
        return found

    def text(self, entry: _Entry) -> str:
        """Return a value as text; empty when it is none."""
        value = bytes(self.data[entry.at : entry.at + _TYPE_BYTES.get(entry.kind, 1) * entry.count])
        if entry.tag != _USER_COMMENT:
            return value.strip(b"\0 ").decode("utf-8", "replace")
        charset, value = value[:_CHARSET_BYTES], value[_CHARSET_BYTES:]
        if charset.startswith(b"UNICODE"):
            return value.decode("utf-16-le" if self._order == "<" else "utf-16-be", "replace").strip("\0 ")
        return value.strip(b"\0 ").decode("utf-8", "replace")


def read_origin(data: bytes) -> dict[str, str]:
    """Return name -> text of the :data:`ORIGIN_TAGS` that are there and not empty.

    Raises:
        ExifError: It cannot be read.
    """
    structure = _Structure(data)
    found = {
        ORIGIN_TAGS[entry.tag]: structure.text(entry)
        for entry in structure.all_entries()
        if entry.tag in ORIGIN_TAGS
    }
    return {name: text for name, text in found.items() if text}


def read_orientation(data: bytes) -> int:
    """Return how the pixels have to be turned, 1 to 8 as EXIF counts; 1 where nothing is said.

    Raises:
        ExifError: It cannot be read.
    """
    structure = _Structure(data)
    for entry in structure.entries(structure.first):
        if entry.tag == _ORIENTATION and entry.kind == _SHORT:
            value = structure.number(entry.at, _SHORT)
            return value if value in range(1, 9) else 1
    return 1


def has_orientation(data: bytes) -> bool:
    """Tell whether an orientation is given, including the one that turns nothing.

    Raises:
        ExifError: It cannot be read.
    """
    structure = _Structure(data)
    return bool(structure.places_of(structure.first, _ORIENTATION))


def for_new_pixels(data: bytes, *, width: int, height: int, dpi: int) -> bytes:
    """Return the structure as it is true of a picture made from this one: upright, sRGB, of another size.

    The orientation goes: upright pixels need none, and there are stores that refuse the tag whatever it says.
    The thumbnail goes, because it shows the old picture.

    Args:
        data: The structure.
        width: Pixels.
        height: Pixels.
        dpi: Pixels per inch.

    Returns:
        The structure; empty when the orientation was all it said.

    Raises:
        ExifError: It cannot be read.
    """
    structure = _Structure(data)
    new_values = dict.fromkeys((0x0100, 0xA002), width) | dict.fromkeys((0x0101, 0xA003), height)
    # Resolutions with inches as their unit, and sRGB as the colour space.
    new_values |= {0x011A: dpi, 0x011B: dpi, 0x0128: 2, 0xA001: 1}
    for entry in structure.all_entries():
        if entry.tag in new_values and entry.kind in {_SHORT, _LONG, _RATIONAL} and entry.count == 1:
            structure.write(entry.at, entry.kind, new_values[entry.tag])
    _drop_thumbnail(structure)
    # From the last to the first, because what follows one that goes moves up.
    for at in reversed(structure.places_of(structure.first, _ORIENTATION)):
        structure.drop_entry(structure.first, at)
    return bytes(structure.data) if structure.number(structure.first, _SHORT) else b""


def _drop_thumbnail(structure: _Structure) -> None:
    link = structure.next_link(structure.first)
    second = structure.number(link, _LONG) if link + 4 <= len(structure.data) else 0
    if not second:
        return
    structure.write(link, _LONG, 0)
    # A second directory that cannot be read was never shown, and nothing leads to it now.
    try:
        values = {e.tag: structure.number(e.at, e.kind) for e in structure.entries(second) if e.kind == _LONG}
    except ExifError:
        return
    start, size = values.get(_THUMBNAIL_OFFSET, 0), values.get(_THUMBNAIL_BYTES, 0)
    if not 0 < start < start + size <= len(structure.data):
        return
    if start + size == len(structure.data):
        del structure.data[start:]
    else:
        structure.data[start : start + size] = bytes(size)
