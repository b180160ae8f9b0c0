"""Finds the charset of bytes that are meant to be text, as far as senders of callbacks use one."""

import re
from codecs import getincrementaldecoder

SNIFFED_BYTES = 4096
"""How much of a text is looked at to find its charset."""

_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]{1,40})", re.IGNORECASE)
# Python's own look-up takes any name, never forgets those it does not know, and knows codecs that are slow on
# purpose-made input. Senders name one of these.
_CHARSETS = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **{name: name for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")},
    **{f"utf-{bits}{end}": f"utf-{bits}-{end}" for bits in (16, 32) for end in ("le", "be")},
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "windows-1252", "cp1252"), "latin-1"),
    **dict.fromkeys(("gbk", "gb2312", "gb18030", "cp936", "x-gbk"), "gb18030"),
    **dict.fromkeys(("big5", "big-5", "big5-hkscs", "cp950"), "big5"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "windows-31j", "cp932"), "shift_jis"),
    **{name: name for name in ("euc-jp", "euc-kr", "koi8-r", "iso-8859-15", "windows-1251")},
}
CODECS = {"latin-1": "cp1252", "big5": "big5hkscs", "shift_jis": "cp932"}
"""What Python calls those charsets that senders use in a wider sense than the standard of the name."""

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
# JSON and forms begin with an ASCII character, which shows in the zeros beside it (RFC 4627, section 3).
_ZEROS = (
    (re.compile(rb"[^\0]\0\0\0", re.DOTALL), "utf-32-le"),
    (re.compile(rb"\0\0\0[^\0]", re.DOTALL), "utf-32-be"),
    (re.compile(rb"[^\0]\0", re.DOTALL), "utf-16-le"),
    (re.compile(rb"\0[^\0]", re.DOTALL), "utf-16-be"),
)
# The characters of a charset that most of any real text is made of: UTF-8 sequences, one of which may lack its
# end; the first level of GB 2312, the frequent half of Big5, kana and the first level of JIS, letters with accents
# between ASCII ones. The other branch takes what else the charset might make of the bytes.
_COMMON = {
    "utf-8": rb"([\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{2,3})|[\x80-\xff]",
    "gb18030": rb"([\xa1-\xa3\xb0-\xd7][\xa1-\xfe])|[\x80-\xff].?",
    "big5": rb"([\xa1-\xa3\xa4-\xc6][\x40-\x7e\xa1-\xfe])|[\x80-\xff].?",
    "shift_jis": (
        rb"(\x81[\x40-\x7e\x80-\xac]|\x82[\x4f-\xf1]|\x83[\x40-\x96]|[\x88-\x97][\x40-\x7e\x80-\xfc])"
        rb"|[\xa1-\xdf]|[\x80-\xff].?"
    ),
    "latin-1": rb"((?<![\x80-\xff])[\xa0-\xff](?![\x80-\xff]))|[\x80-\xff]",
}
_COMMON_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in _COMMON.items()}


def decode_text(raw: bytes, declared: str = "", *, is_cut: bool = False) -> tuple[str, str]:
    """Turn bytes into text; also return the charset that was found.

    Order: a byte order mark, the zeros that UTF-16 and UTF-32 have, the charset that was declared, UTF-8, and
    what the bytes look like.

    Args:
        raw: Any bytes.
        declared: A name of :data:`_CHARSETS`, or empty.
        is_cut: More followed: the part of a character that stands last is left out.
    """
    for mark, charset in _MARKS:
        if raw.startswith(mark):
            return _decode(raw[len(mark) :], charset, "replace", is_cut=is_cut), charset
    for zeros, charset in _ZEROS:
        if zeros.match(raw):
            return _decode(raw, charset, "replace", is_cut=is_cut), charset
    if raw.isascii():
        return raw.decode("ascii"), "utf-8"
    for charset in (declared, "utf-8", _sniff_charset(raw)):
        try:
            return _decode(raw, CODECS.get(charset, charset), "strict", is_cut=is_cut), charset
        except (UnicodeDecodeError, LookupError):
            continue
    if charset == "utf-8":
        # A text in it was cut within a character before more was put behind it.
        return _decode(raw, charset, "replace", is_cut=is_cut), charset
    return raw.decode("latin-1"), "latin-1"


def _decode(raw: bytes, codec: str, errors: str, *, is_cut: bool) -> str:
    return getincrementaldecoder(codec)(errors).decode(raw, final=False) if is_cut else raw.decode(codec, errors)


def declared_charset(content_type: str) -> str:
    """Return the charset that a ``Content-Type`` names, by our name for it; empty for none or an unknown one."""
    found = _CHARSET.search(content_type)
    return _CHARSETS.get(found[1].lower(), "") if found else ""


def _sniff_charset(raw: bytes) -> str:
    """Return the charset in which most characters beyond ASCII are common ones."""
    start = raw[:SNIFFED_BYTES]
    shares = {}
    for charset, pattern in _COMMON_PATTERNS.items():
        found = [match[1] is not None for match in pattern.finditer(start)]
        shares[charset] = sum(found) / len(found) if found else 0.0
    # Of equals, the first: the one that more senders use.
    likeliest = max(shares, key=lambda charset: shares[charset])
    return likeliest if shares[likeliest] else "latin-1"
