"""Reads the body of a request as JSON, however it was packed: compressed, in another charset, as a form.

Any program may call, so every step is bounded: 1 MiB unpacked, few layers, few fields. The bytes as they
came are the caller's to keep; nothing here changes them.
"""

import importlib
import re
import zlib
from collections.abc import Callable
from functools import cache, partial
from io import BytesIO
from itertools import accumulate
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from suno_cover_cli.base.text import with_whole_characters
from suno_cover_cli.callbacks.charsets import CODECS, SNIFFED_BYTES, declared_charset, decode_text

MAX_BODY_BYTES = 1024 * 1024
"""A real callback has a few hundred bytes; a body above this, packed or unpacked, is not read as one."""

Headers = tuple[tuple[str, str], ...]
"""Header lines in the order and spelling they were sent."""

WORD_CHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
"""Of what a method and the name of a header line are made: pattern of one character (RFC 9110, 5.6.2)."""

OF_ONE_BODY = frozenset({"content-encoding", "content-md5", "digest", "content-digest"})
"""Header fields, in lower case, that are true of the very bytes of one body, and of no other's."""

_TOO_LARGE = "over 1 MiB"
_MAX_LAYERS = 3
_MAX_MEMBERS = 16
# A Zstandard frame may ask for a window of gigabytes before it holds a byte.
_ZSTD_WINDOW_LOG = 23
_MAX_FIELDS = 1000
_MAX_KEY_PARTS = 8
_MAX_BRACKETS = 500
_MAX_PARTS = 20_000
_MAX_DEPTH = 64
_STEPS = bytes.maketrans(b"[{]}", b"\0\0\1\1")
_STEP_OF = (1, -1)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class UnreadableError(Exception):
    """The bytes are not JSON in any packing known here; the text says why, in words of our own."""


class TooLargeError(UnreadableError):
    """The body, packed or unpacked, is over :data:`MAX_BODY_BYTES`."""


class BrokenOffError(UnreadableError):
    """A compressed body breaks off.

    Attributes:
        plain: What was unpacked before that, to a little over :data:`MAX_BODY_BYTES` at most.
    """

    def __init__(self, coding: str, plain: bytes) -> None:
        super().__init__(f"{coding} that breaks off")
        self.plain = plain


class ReadBody(NamedTuple):
    """A body made plain.

    Attributes:
        json: UTF-8 text that is meant to be JSON, its characters whole; of a form, its fields as a JSON object.
        packing: How it came, such as ``gzip`` or ``form, gbk``; empty for plain UTF-8.
    """

    json: bytes
    packing: str


def read_body(body: bytes, headers: Headers) -> ReadBody:
    """Unpack a body, find its charset, and turn a form into JSON.

    Args:
        body: As sent.
        headers: As sent; ``Content-Encoding`` and ``Content-Type`` are hints that may be wrong.

    Raises:
        UnreadableError: It is too large, breaks off, or is packed in a way that cannot be read here.
    """
    codings = codings_of(headers)
    if body[:1] == b"{" and body[1:2] != b"\0" and not codings and body.isascii():
        # What nearly every sender sends; looking further took as long as parsing it.
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError(_TOO_LARGE)
        return ReadBody(with_whole_characters(body), "")
    content_type = header_value(headers, "content-type")
    plain, packing = unpack(body, codings)
    if not plain.strip():
        raise UnreadableError("no body" if not body else "an empty body")
    boundary = _BOUNDARY.search(content_type)
    if boundary and "multipart/" in content_type.lower():
        mark = (boundary[1] or boundary[2]).encode("utf-8", "surrogateescape")
        json = _json_of_form(_multipart_pairs(plain, mark))
        return ReadBody(with_whole_characters(json), ", ".join([*packing, "form"]))
    text, charset = decode_text(plain, declared_charset(content_type))
    packing += [charset] if charset != "utf-8" else []
    if _FORM.match(text):
        json, packing = _json_of_form(_form_pairs(text, charset)), [*packing, "form"]
    else:
        json = text.encode("utf-8", "replace")
    return ReadBody(with_whole_characters(json), ", ".join(packing))


def codings_of(headers: Headers) -> list[str]:
    """Return how a body was compressed, as its headers say, in the order in which that was done."""
    value = header_value(headers, "content-encoding")
    if not value:
        return []
    return [one for one in map(str.strip, value.lower().split(",")) if one not in {"", "identity"}]


def header_value(headers: Headers, name: str) -> str:
    """Return the value of a header, lines of the same name joined with commas; ``name`` in lower case."""
    return ", ".join([value for key, value in headers if key.lower() == name])


def is_too_deep(json: bytes) -> bool:
    """Tell whether JSON is nested more than 64 levels deep, or has over 20,000 lists and objects.

    Looked at instead of decoded: a decoder that goes down to the interpreter's limit fails whatever is called
    meanwhile, such as the finalizers of connections, and that would be seen on the terminal.
    """
    if len(json) <= _MAX_BRACKETS:
        return False
    count = json.count(b"[") + json.count(b"{")
    if count <= _MAX_BRACKETS:
        return False
    if count > _MAX_PARTS:
        return True
    # What stands between quotes, and quotes that stand in a text, do not count.
    outside = b"".join(json.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(map(_STEP_OF.__getitem__, steps)), default=0) > _MAX_DEPTH


# --- compression ----------------------------------------------------------------------------------------


def unpack(body: bytes, codings: list[str]) -> tuple[bytes, list[str]]:
    """Undo the codings of a body, the last one first; also return the names of those that were undone.

    A body that is plain JSON in spite of its header stays as it is, and one that is compressed without saying so
    is recognised by its first bytes: both are what proxies leave behind.

    Raises:
        UnreadableError: A coding is unknown here, the data breaks off, or it is over 1 MiB.
    """
    if len(codings) > _MAX_LAYERS:
        raise UnreadableError(f"compressed {len(codings)} times over")
    undone = []
    for coding in reversed(codings) if codings else _sniff_coding(body):
        try:
            body = _undo(coding, body)
        except TooLargeError:
            raise
        except UnreadableError:
            if body.lstrip()[:1] in {b"{", b"["} or not codings:
                break
            raise
        undone.append(coding)
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError(_TOO_LARGE)
    return body, undone


def _sniff_coding(body: bytes) -> list[str]:
    for magic, coding in ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if body.startswith(magic):
            return [coding]
    # RFC 1950: method 8, and the first two bytes are a multiple of 31.
    is_zlib = len(body) > 2 and body[0] == 0x78 and int.from_bytes(body[:2]) % 31 == 0  # noqa: PLR2004 -- the RFC's
    return ["deflate"] if is_zlib else []


def _undo(coding: str, body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError(_TOO_LARGE)
    undo = _CODINGS.get(coding)
    if undo is None:
        raise UnreadableError("compressed in a way that is unknown here")
    try:
        plain = undo(body)
    except UnreadableError:
        raise
    except Exception as error:
        # Each library has an exception of its own, which can only be named when the library is there.
        raise UnreadableError(f"not {coding}, though its header says so") from error
    if len(plain) > MAX_BODY_BYTES:
        raise TooLargeError(f"{coding} of over 1 MiB when unpacked")
    return plain


def _ungzip(body: bytes) -> bytes:
    return _members(body, partial(zlib.decompressobj, 31), "gzip")


def _inflate(body: bytes) -> bytes:
    # The standard means zlib's format; some senders leave its frame out.
    try:
        return _members(body, zlib.decompressobj, "deflate")
    except zlib.error:
        return _members(body, partial(zlib.decompressobj, -15), "deflate")


def _members(body: bytes, make: Callable[[], Any], name: str) -> bytes:
    """Unpack what may be several streams in a row, to one byte above the bound at most."""
    plain: bytes = b""
    for _ in range(_MAX_MEMBERS):
        stream = make()
        plain += stream.decompress(body, MAX_BODY_BYTES + 1 - len(plain))
        if len(plain) > MAX_BODY_BYTES:
            return plain
        if not stream.eof:
            raise BrokenOffError(name, plain)
        body = stream.unused_data
        if not body.strip(b"\0"):
            return plain
    raise UnreadableError(f"{name} in more than {_MAX_MEMBERS} parts")


def _unbrotli(body: bytes) -> bytes:
    library = _library("brotli", "brotlicffi")
    if library is None:
        raise UnreadableError("compressed with br, which needs the Python package brotli")
    stream = library.Decompressor()
    try:
        plain: bytes = stream.process(body, output_buffer_limit=MAX_BODY_BYTES + 1)
    except TypeError:
        # Before 1.2 it unpacks to any size at once, and a hundred bytes may be a gigabyte.
        raise UnreadableError("compressed with br, which needs the Python package brotli 1.2 or newer") from None
    if len(plain) <= MAX_BODY_BYTES and not stream.is_finished():
        raise BrokenOffError("br", plain)
    return plain


def _unzstd(body: bytes) -> bytes:
    if (library := _library("compression.zstd", "backports.zstd")) is not None:
        options = {library.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return _members(body, partial(library.ZstdDecompressor, options=options), "zstd")
    if (library := _library("zstandard")) is not None:
        stream = library.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW_LOG)
        with stream.stream_reader(BytesIO(body)) as reader:
            plain: bytes = reader.read(MAX_BODY_BYTES + 1)
            return plain
    raise UnreadableError("compressed with zstd, which needs the Python package backports.zstd")


@cache
def _library(*names: str) -> ModuleType | None:
    """Import the first of some libraries that is there; none of them has to be."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


_CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _ungzip,
    "x-gzip": _ungzip,
    "deflate": _inflate,
    "br": _unbrotli,
    "zstd": _unzstd,
}

# --- forms ----------------------------------------------------------------------------------------------

_BOUNDARY = re.compile(r"boundary=(?:\"([^\"]{1,200})\"|([^\s;,]{1,200}))", re.IGNORECASE)
_FORM = re.compile(r"\s*[\w.%+-]{1,100}(?:\[[\w%]{0,100}\]|%5B[\w%]{0,100}%5D)*=", re.IGNORECASE)
_PART_NAME = re.compile(rb"\bname=(?:\"([^\"]{0,200})\"|([^\s;]{1,200}))", re.IGNORECASE)
_KEY_PART = re.compile(r"\[([^\[\]]*)\]")


def _form_pairs(text: str, charset: str) -> list[tuple[str, str]]:
    if charset == "utf-8":
        # What is percent-encoded has a charset of its own.
        _, charset = decode_text(unquote_to_bytes(text[:SNIFFED_BYTES]))
    try:
        return parse_qsl(
            text.strip(),
            keep_blank_values=True,
            encoding=CODECS.get(charset, charset),
            errors="replace",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise UnreadableError(f"a form of more than {_MAX_FIELDS} fields") from None


def _multipart_pairs(body: bytes, boundary: bytes) -> list[tuple[str, str]]:
    parts = body.split(b"--" + boundary, _MAX_FIELDS + 2)[1:]
    if not parts:
        raise UnreadableError("a multipart form without its boundary")
    if len(parts) > _MAX_FIELDS + 1:
        raise UnreadableError(f"a form of more than {_MAX_FIELDS} fields")
    pairs = []
    for part in parts:
        head, blank, value = part.replace(b"\r\n", b"\n").partition(b"\n\n")
        name = _PART_NAME.search(head)
        if blank and name:
            declared = declared_charset(head.decode("latin-1"))
            key, _ = decode_text(name[1] or name[2] or b"")
            pairs.append((key, decode_text(value.removesuffix(b"\n"), declared)[0]))
    return pairs


def _json_of_form(pairs: list[tuple[str, str]]) -> bytes:
    """Return the JSON that a form carries: the field that holds an object, or an object of its fields.

    ``data[taskId]``, ``images[]`` and repeated names mean what they do in PHP.
    """
    if "code" not in dict(pairs):
        for _, value in pairs:
            if value.lstrip().startswith("{"):
                return value.encode("utf-8", "replace")
    fields: dict[str, Any] = {}
    for key, value in pairs:
        _put(fields, [key.partition("[")[0], *_KEY_PART.findall(key)[:_MAX_KEY_PARTS]], value)
    return msgspec.json.encode(_with_lists(fields))


def _put(fields: dict[str, Any], names: list[str], value: str) -> None:
    """Put a value where a path of names leads; what is in the way there stays."""
    *folders, last = names
    for name in folders:
        inner = fields.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        fields = inner
    before = fields.get(last) if last else None
    if before is None:
        fields[last or str(len(fields))] = value
    elif isinstance(before, list):
        before.append(value)
    elif isinstance(before, str):
        fields[last] = [before, value]


def _with_lists(fields: dict[str, Any]) -> dict[str, Any] | list[Any]:
    """Make lists of what was numbered; a single image, or a list of them as JSON text, becomes a list too."""
    made = {key: _with_lists(value) if isinstance(value, dict) else value for key, value in fields.items()}
    if made and all(key.isdecimal() for key in made):
        return list(made.values())
    images = made.get("images")
    if isinstance(images, str) and images:
        made["images"] = msgspec.Raw(images.encode()) if _is_list(images) else [images]
    return made


def _is_list(text: str) -> bool:
    try:
        json = text.encode()
        return not is_too_deep(json) and isinstance(msgspec.json.decode(with_whole_characters(json)), list)
    except ValueError:
        return False
