"""Bodies however they are packed: compressed, in any charset, as forms; and what they may cost."""

import gzip
import json
import sys
import time
import zlib
from collections.abc import Callable
from importlib import import_module
from urllib.parse import quote_from_bytes, urlencode

import pytest

from suno_cover_cli.callbacks import bodies
from suno_cover_cli.callbacks.bodies import is_too_deep
from suno_cover_cli.callbacks.content import CallbackContent, NotACallbackError, parse_callback
from tests.callback_cases import TASK

brotli = import_module("brotli")
zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

IMAGE = "https://media.example/1.png"
SAID = "成功: Größe, カバー"
JSON = {"code": 200, "msg": SAID, "data": {"taskId": TASK, "images": [IMAGE]}}
RAW = json.dumps(JSON, ensure_ascii=False).encode()
BOMB = b" " * 50_000_000


def deflate_raw(body: bytes) -> bytes:
    """Compress as some senders do under the name of deflate."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", deflate_raw),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "twice": ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    "gzip in parts": ("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
}


def read(body: bytes, **headers: str) -> CallbackContent:
    """Parse a body that came with headers; ``content_type`` stands for ``Content-Type``."""
    return parse_callback(body, tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def why_not(body: bytes, **headers: str) -> str:
    """Return the reason for which a body is no callback."""
    with pytest.raises(NotACallbackError) as caught:
        read(body, **headers)
    return str(caught.value)


@pytest.mark.parametrize("name", PACKERS)
def test_a_compressed_body_is_read(name: str) -> None:
    """gzip, deflate with and without its frame, br and zstd are unpacked, several of them in their order."""
    coding, pack = PACKERS[name]
    content = read(pack(RAW), Content_Encoding=coding)
    assert (content.task_id, content.message, content.image_urls) == (TASK, SAID, (IMAGE,))
    assert content.packing == ", ".join(reversed(coding.split(", ")))


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
def test_a_compressed_body_that_does_not_say_so_is_read(name: str) -> None:
    """A proxy that drops Content-Encoding leaves the first bytes, which tell it."""
    assert read(PACKERS[name][1](RAW)).message == SAID


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "exi", "identity", "utf-8"])
def test_a_plain_body_that_is_called_compressed_is_read(coding: str) -> None:
    """A proxy that unpacks and leaves the header in place costs nothing."""
    content = read(RAW, content_encoding=coding)
    assert (content.message, content.packing) == (SAID, "")


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw deflate", "br", "zstd", "twice"])
def test_a_bomb_is_refused_at_one_mebibyte(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would unpack to 50 MB is called too large, and no more than about 1 MiB of it is ever unpacked."""
    coding, pack = PACKERS[name]
    unpacked = []
    original = bodies._undo  # noqa: SLF001 -- the one place where a body grows

    def watch(coding: str, body: bytes) -> bytes:
        plain = original(coding, body)
        unpacked.append(len(plain))
        return plain

    monkeypatch.setattr(bodies, "_undo", watch)
    assert "over 1 MiB when unpacked" in why_not(pack(BOMB), content_encoding=coding)
    assert all(size <= 1024 * 1024 for size in unpacked)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_what_breaks_off_says_so(name: str) -> None:
    """Half a compressed body is told from a whole one in another format."""
    coding, pack = PACKERS[name]
    assert why_not(pack(RAW)[:-9], content_encoding=coding) == f"{coding} that breaks off"


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [
        (b"\x00\x01\x02", "gzip", "not gzip, though its header says so"),
        (b"\x00\x01\x02", "exi", "compressed in a way that is unknown here"),
        (gzip.compress(RAW), "gzip, gzip, gzip, gzip", "compressed 4 times over"),
        (b"".join([gzip.compress(b"")] * 40) + gzip.compress(RAW), "gzip", "gzip in more than 16 parts"),
    ],
    ids=["junk", "unknown", "four times", "many parts"],
)
def test_what_cannot_be_unpacked_says_why(body: bytes, coding: str, reason: str) -> None:
    """A wrong or unknown coding, too many layers and too many parts each have words of their own."""
    assert why_not(body, content_encoding=coding) == reason


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "backports.zstd")])
def test_without_a_library_the_package_is_named(
    coding: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where br or zstd cannot be read, the reason names the package that would do it."""
    monkeypatch.setattr(bodies, "_library", lambda *_: None)
    assert package in why_not(PACKERS[coding][1](RAW), content_encoding=coding)


CHINESE, TAIWANESE, JAPANESE, WESTERN = (
    "歌词被拒绝了",
    "歌詞被拒絕了",
    "カバーの生成に失敗",
    "Größe geändert, déjà",
)


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize(
    ("charset", "said"),
    [
        ("utf-8", SAID),
        ("utf-8-sig", SAID),
        *[(f"utf-{bits}{end}", SAID) for bits in (16, 32) for end in ("", "-le", "-be")],
        ("iso-8859-1", WESTERN),
        ("windows-1252", f"{WESTERN} \u2013 \u201cfertig\u201d"),
        ("gbk", CHINESE),
        ("gb2312", CHINESE),
        ("gb18030", CHINESE),
        ("big5", TAIWANESE),
        ("shift_jis", JAPANESE),
    ],
)
def test_any_charset_is_read(charset: str, said: str, is_declared: bool) -> None:
    """Words arrive as they were meant, whether the charset is declared or has to be found, with a mark or none."""
    text = json.dumps({**JSON, "msg": said}, ensure_ascii=False)
    content_type = f'application/json; charset="{charset.upper()}"' if is_declared else "application/json"
    content = read(text.encode(charset), content_type=content_type)
    assert (content.message, content.task_id) == (said, TASK)


@pytest.mark.parametrize("name", ["rot13", "idna", "unicode_escape", "zip", "no-such-charset", "x" * 3000, "\x00"])
def test_a_charset_nobody_should_use_is_passed_over(name: str) -> None:
    """Codecs that are no charsets, and names that are none, are not looked up: the bytes decide."""
    assert read(RAW, content_type=f"application/json; charset={name}").message == SAID


def multipart(*fields: tuple[str, str], boundary: str = "----x1") -> tuple[bytes, str]:
    """Return a multipart form and its content type."""
    parts = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields
    )
    return f"{parts}--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


MANY = multipart(*[("a", "1")] * 1001)
FLAT_FIELDS = (("code", "200"), ("msg", SAID), ("taskId", TASK), ("images", IMAGE))
PHP_FIELDS = (("code", "200"), ("msg", SAID), ("data[taskId]", TASK), ("data[images][]", IMAGE))
NUMBERED_FIELDS = (*PHP_FIELDS[:3], ("data[images][0]", IMAGE), ("data[images][1]", IMAGE))
FORMS = {
    "the whole callback in a field": (("payload", RAW.decode()),),
    "the whole callback among others": (("sender", "suno"), ("body", RAW.decode())),
    "data as JSON": (("code", "200"), ("msg", SAID), ("data", json.dumps(JSON["data"]))),
    "flat": FLAT_FIELDS,
    "flat, images repeated": (*FLAT_FIELDS, ("images", IMAGE)),
    "flat, images as JSON": (*FLAT_FIELDS[:3], ("images", json.dumps([IMAGE]))),
    "brackets": PHP_FIELDS,
    "numbers in brackets": NUMBERED_FIELDS,
}


@pytest.mark.parametrize("way", ["urlencoded", "multipart", "undeclared"])
@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_read(name: str, way: str) -> None:
    """A form that holds the callback in a field, or in flat or nested fields, is the callback."""
    fields = FORMS[name]
    body, content_type = urlencode(fields).encode(), "application/x-www-form-urlencoded"
    if way == "multipart":
        body, content_type = multipart(*fields)
    content = read(body, **({} if way == "undeclared" else {"content_type": content_type}))
    assert (content.task_id, content.code, set(content.image_urls)) == (TASK, 200, {IMAGE})
    assert content.packing == "form"
    if name != "data as JSON":
        assert content.message == SAID


def test_a_form_in_gbk_is_read() -> None:
    """What is percent-encoded may be in another charset than the form."""
    said = quote_from_bytes(CHINESE.encode("gbk"))
    assert read(f"code=400&msg={said}&taskId={TASK}".encode()).message == CHINESE


def test_json_that_is_called_a_form_is_json() -> None:
    """``curl -d`` calls everything a form."""
    content = read(RAW, content_type="application/x-www-form-urlencoded")
    assert (content.message, content.packing) == (SAID, "")


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"", "", "no body"),
        (b" \r\n", "", "an empty body"),
        (b"{}", "", "JSON, but not {code, data: {taskId}}"),
        (b"a=1&b=2", "", "a form, but not {code, data: {taskId}}"),
        (b"hello", "", "not JSON"),
        (b"&".join([b"a=1"] * 1001), "", "a form of more than 1000 fields"),
        (*MANY, "a form of more than 1000 fields"),
        (b"--other\r\n\r\n", "multipart/form-data; boundary=x", "a multipart form without its boundary"),
        (b" " * (1024 * 1024 + 1), "", "over 1 MiB"),
        (b'{"code":200,"data":{"taskId":"a"}' + b" " * (1024 * 1024) + b"}", "", "over 1 MiB"),
    ],
)
def test_what_is_no_callback_says_what_it_is(body: bytes, content_type: str, reason: str) -> None:
    """Nothing, an empty form, other text and forms of endless fields each have words of their own."""
    assert why_not(body, content_type=content_type).startswith(reason)


@pytest.mark.parametrize(
    ("json_bytes", "is_deep"),
    [
        (b"[" * 64 + b"]" * 64, False),
        (b"[1," + b"[]," * 600 + b"1]", False),
        (b"[" + b"[1," * 600, True),
        (b'{"a":' * 501 + b"1" + b"}" * 501, True),
        (b'{"lyrics":"' + b"[Verse]" * 600 + b'"}', False),
        (b'{"lyrics":"\\\\"' + b',"x":[' * 600, True),
        (b'{"lyrics":"\\"' + b"[" * 600 + b'"}', False),
        (b"[{}," * 300 + b"[" * 600, True),
        (b"[" + b"{}," * 30_000, True),
    ],
)
def test_depth_is_told_from_length(json_bytes: bytes, is_deep: bool) -> None:
    """Brackets in texts and long lists are no depth; 64 levels are enough for anybody."""
    assert is_too_deep(json_bytes) is is_deep


HOSTILE = {
    "brackets": b"[]," * 300_000,
    "quotes": b'"' * 1_000_000,
    "escapes": b'{"a":"' + b'\\"' * 500_000,
    "fields": b"a=1&" * 250_000,
    "percent": b"a=" + b"%41" * 300_000,
    "open keys": b"a[" * 400_000 + b"=1",
    "parts": b"--x\r\n" * 200_000,
    "high bytes": b"\x81\xfe" * 500_000,
    "gzip of nothing": gzip.compress(b"") * 50_000,
    "a gzip bomb": gzip.compress(BOMB),
    "a br bomb": brotli.compress(BOMB, quality=5),
    "numbers": b'{"code":' + b"9" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_body_takes_long(name: str) -> None:
    """A body of 1 MiB made to be slow is read or refused in less than half a second of processor time."""
    coding = {"a br bomb": "br"}.get(name, "gzip")
    headers = (("content-type", "multipart/form-data; boundary=x" if name == "parts" else "text/plain"),)
    if "bomb" in name or "gzip" in name:
        headers = (("content-encoding", coding),)
    took_s = []
    for _ in range(3):  # the best of three: other processes make the processor's caches slower
        began_s = time.process_time()
        with pytest.raises(NotACallbackError):
            parse_callback(HOSTILE[name], headers)
        took_s.append(time.process_time() - began_s)
    assert min(took_s) < 0.5


NOT_READ = (
    *(b"hello", b"", b" ", b"[]", b"null", b"{", b"{}", b"<html></html>", b"\x00" * 50, b"\xff\xfe\xfd"),
    *(b'"text"', b"7", b'{"code":200}', b'{"code":"x","data":{"taskId":"a"}}', b'{"data":{"taskId":"a"}}'),
    *(b"[" * 600, b'{"code":200,"data":{"taskId":"../x"}}', b"\x1b[31mred", b"a=1&b=2", RAW[:-3]),
)
"""Bodies that are no callback."""
