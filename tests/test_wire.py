"""Answers as they come over the wire, byte by byte: the picture is saved unchanged, or refused in words."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import ImageError
from tests.downloader_fixtures import make_downloader
from tests.image_fixtures import names_in, picture

PNG = picture()
LENGTH = b"Content-Length: %d" % len(PNG)


def answer(*fields: bytes, body: bytes = PNG, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Put an answer together."""
    return b"\r\n".join([status, *fields, b"", b""]) + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Frame a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


CHUNKS = chunked(PNG[:100], PNG[100:])
CHUNKED = b"Transfer-Encoding: chunked"

SAVED = {
    "plain": answer(LENGTH),
    "field of 9,000 bytes": answer(LENGTH, b"X-Long: " + b"a" * 9_000),
    "field of 70,000 bytes": answer(LENGTH, b"X-Long: " + b"a" * 70_000),
    "150 fields": answer(LENGTH, *(b"X-%d: a" % n for n in range(150))),
    "5,000 fields": answer(LENGTH, *(b"X-%d: a" % n for n in range(5_000))),
    "length twice": answer(LENGTH, LENGTH),
    "length as a list": answer(LENGTH + b", %d" % len(PNG)),
    "length with a plus": answer(b"Content-Length: +%d" % len(PNG)),
    "length with zeros": answer(b"Content-Length: 000000%d" % len(PNG)),
    "length with blanks": answer(b"Content-Length:   %d  " % len(PNG)),
    "length empty": answer(b"Content-Length:"),
    "length negative": answer(b"Content-Length: -1"),
    "length in words": answer(b"Content-Length: many"),
    "two lengths that differ": answer(LENGTH, b"Content-Length: 7"),
    "length too large": answer(b"Content-Length: %d" % (len(PNG) + 9)),
    "length and chunks": answer(LENGTH, CHUNKED, body=CHUNKS),
    "no length": answer(b"Server: x"),
    "no fields": answer(),
    "transfer coding identity": answer(LENGTH, b"Transfer-Encoding: identity"),
    "chunks": answer(CHUNKED, body=CHUNKS),
    "chunks twice named": answer(CHUNKED, CHUNKED, body=CHUNKS),
    "chunks in capitals": answer(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS),
    "chunks with extensions": answer(CHUNKED, body=CHUNKS.replace(b"64\r\n", b'64;a="b";c\r\n', 1)),
    "chunks with leading zeros": answer(CHUNKED, body=CHUNKS.replace(b"64\r\n", b"00064\r\n", 1)),
    "chunks with blanks": answer(CHUNKED, body=CHUNKS.replace(b"64\r\n", b"64  \r\n", 1)),
    "chunks without CR": answer(CHUNKED, body=b"64\n%b\n%x\n%b\n0\n\n" % (PNG[:100], len(PNG) - 100, PNG[100:])),
    "chunks with trailers": answer(CHUNKED, body=CHUNKS[:-2] + b"X-Sum: 1\r\nX-B: 2\r\n\r\n"),
    "chunks without the last line": answer(CHUNKED, body=CHUNKS[:-2]),
    "HTTP/1.0": answer(status=b"HTTP/1.0 200 OK"),
    "HTTP/1.2": answer(LENGTH, status=b"HTTP/1.2 200 OK"),
    "HTTP/2": answer(LENGTH, status=b"HTTP/2 200"),
    "http in small letters": answer(LENGTH, status=b"http/1.1 200 ok"),
    "ICY": answer(LENGTH, status=b"ICY 200 OK"),
    "no reason": answer(LENGTH, status=b"HTTP/1.1 200"),
    "two blanks": answer(LENGTH, status=b"HTTP/1.1  200  OK"),
    "reason that is no text": answer(LENGTH, status=b"HTTP/1.1 200 \xff\xfe\x01"),
    "201": answer(LENGTH, status=b"HTTP/1.1 201 Created"),
    "203": answer(LENGTH, status=b"HTTP/1.1 203 Transformed"),
    "206": answer(LENGTH, b"Content-Range: bytes 0-%d/*" % (len(PNG) - 1), status=b"HTTP/1.1 206 Part"),
    "206 without a range": answer(LENGTH, status=b"HTTP/1.1 206 Part"),
    "lines without CR": answer(LENGTH, body=b"").replace(b"\r\n", b"\n") + PNG,
    "empty lines before": b"\r\n\r\n" + answer(LENGTH),
    "100 before": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(LENGTH),
    "103 before": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(LENGTH),
    "folded field": answer(LENGTH, b"X-A: b\r\n  c\r\n\td"),
    "line without a colon": answer(LENGTH, b"nonsense"),
    "field without a name": answer(LENGTH, b": x"),
    "blank before the colon": answer(b"Content-Length : %d" % len(PNG)),
    "brackets in a name": answer(LENGTH, b"X(A): b"),
    "name that is no text": answer(LENGTH, b"X\xe4\xff: b"),
    "value that is no text": answer(LENGTH, b"X-A: \xe4\xff"),
    "control characters": answer(LENGTH, b"X-A: a\x01\x7f\x1b[31m"),
    "NUL": answer(LENGTH, b"X-A: a\0b"),
    "CR within a value": answer(LENGTH, b"X-A: a\rb"),
    "content type that makes no sense": answer(LENGTH, b"Content-Type: ;;=\xff"),
    "content type of a page": answer(LENGTH, b"Content-Type: text/html"),
    "cookies that make no sense": answer(LENGTH, b"Set-Cookie: ;;=\x01"),
    "upgrade": answer(LENGTH, b"Upgrade: h2c", b"Connection: Upgrade"),
    "bytes behind": answer(LENGTH, body=PNG + b"stray"),
    "an answer behind": answer(LENGTH) + answer(b"Content-Length: 0", body=b""),
    "encoding empty": answer(LENGTH, b"Content-Encoding:"),
    "encoding none": answer(LENGTH, b"Content-Encoding: none"),
    "encoding utf-8": answer(LENGTH, b"Content-Encoding: utf-8"),
    "encoding binary": answer(LENGTH, b"Content-Encoding: binary"),
    "encoding aws-chunked": answer(LENGTH, b"Content-Encoding: aws-chunked"),
    "encoding that is no text": answer(LENGTH, b"Content-Encoding: \x1b[31m\xff"),
    "encoding that is not true": answer(LENGTH, b"Content-Encoding: br"),
    "gzip": answer(b"Content-Encoding: gzip", body=gzip.compress(PNG)),
    "gzip of members": answer(b"Content-Encoding: gzip", body=gzip.compress(PNG[:9]) + gzip.compress(PNG[9:])),
    "gzip twice": answer(
        b"Content-Encoding: gzip", b"Content-Encoding: gzip", body=gzip.compress(gzip.compress(PNG))
    ),
    "deflate": answer(b"Content-Encoding: deflate", body=zlib.compress(PNG)),
    "deflate without its frame": answer(b"Content-Encoding: deflate", body=zlib.compress(PNG)[2:-4]),
    "gzip, unnamed": answer(body=gzip.compress(PNG)),
    "bytes behind the picture": answer(body=PNG + b"stray"),
}

REFUSED = {
    "nothing at all": (b"", "broke off before it answered"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "something that is not HTTP"),
    "cut in the head": (b"HTTP/1.1 200 OK\r\nContent-Le", "broke off before it answered"),
    "cut in the body": (answer(LENGTH, body=PNG[:-2]), f"sent {len(PNG) - 2} of {len(PNG)} bytes"),
    "cut between chunks": (answer(CHUNKED, body=chunked(PNG[:500], end=b"")), "broke off in the middle"),
    "cut without a length": (answer(body=PNG[:-2]), "the PNG picture is cut off"),
    "no body": (answer(b"Content-Length: 0", body=b""), "sent an empty picture"),
    "204": (answer(body=b"", status=b"HTTP/1.1 204 No Content"), "answered 204"),
    "a part": (
        answer(b"Content-Range: bytes 1-%d/%d" % (len(PNG) - 1, len(PNG)), body=PNG[1:], status=b"HTTP/1.1 206 P"),
        "sent only a part of the picture",
    ),
    "a page that begins with a refresh": (answer(body=b'<meta http-equiv="refresh">'), "sent a web page (HTML)"),
    "a page": (answer(b"Content-Type: image/png", body=b"<!DOCTYPE html><p>no"), "sent a web page (HTML)"),
    "JSON": (answer(body=b'{"error": "expired"}'), "sent a JSON answer"),
    "XML": (answer(body=b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"), "(AccessDenied)"),
    "GIF": (answer(body=picture("GIF")), "sent a GIF picture"),
    "TIFF": (answer(body=picture("TIFF")), "sent a TIFF picture"),
    "BMP": (answer(body=picture("BMP")), "sent a BMP picture"),
    "HEIC": (answer(body=b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)), "sent a HEIC picture"),
    "HEIC in a container": (answer(body=b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99)), "sent a HEIC picture"),
    "JPEG XL": (answer(body=b"\xff\x0a" + bytes(99)), "sent a JPEG XL picture"),
    "SVG": (
        answer(body=b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "sent an SVG drawing",
    ),
    "PDF": (answer(body=b"%PDF-1.7 ..."), "sent a PDF document"),
    "MP4": (answer(body=b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(99)), "sent a video"),
    "zeros": (answer(body=bytes(999)), "sent nothing but zero bytes"),
    "404": (answer(LENGTH, status=b"HTTP/1.1 404 Not Found"), "answered 404"),
    "redirect to nowhere": (answer(b"Location: http://10.0.0.1/", status=b"HTTP/1.1 302 F"), "leads to 10.0.0.1"),
    "redirect to no address": (answer(b"Location: http://[", status=b"HTTP/1.1 302 Found"), "is not valid"),
}


@asynccontextmanager
async def wire(raw: bytes, step: int) -> AsyncIterator[str]:
    """Run a server that answers every request with the same bytes, so many at a time, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for start in range(0, len(raw), step):
                writer.write(raw[start : start + step])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/cover.png"


@pytest.mark.parametrize("step", [1_000_000, 701], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", SAVED)
async def test_a_whole_picture_is_saved_however_it_is_sent(tmp_path: Path, name: str, step: int) -> None:
    """Whatever a head says or leaves out, a whole picture is saved, and as it was."""
    async with wire(SAVED[name], step) as url, make_downloader(max_attempts=3) as downloader:
        await downloader.save(url, tmp_path, "cover_1")
    saved = (tmp_path / "cover_1.png").read_bytes()
    assert saved.removesuffix(b"stray") == PNG
    assert names_in(tmp_path) == ["cover_1.png"]


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_whole_picture_is_refused_in_its_own_words(tmp_path: Path, name: str) -> None:
    """What is not saved is named for what it is, in one line without the words of any library, and with a hint."""
    raw, words = REFUSED[name]
    async with wire(raw, 701) as url, make_downloader(max_attempts=2) as downloader:
        with pytest.raises(ImageError) as info:
            await downloader.save(url, tmp_path, "cover_1")
    assert words in info.value.message
    assert info.value.message.isprintable()
    assert "Error" not in info.value.message
    assert info.value.hint
    assert names_in(tmp_path) == []


async def test_connections_are_used_again(tmp_path: Path) -> None:
    """Answers that end where they say so leave the connection for the next picture; loose ones do not."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                raw = answer(CHUNKED, body=CHUNKS) if b"chunks" in head else answer(LENGTH, LENGTH)
                writer.write(raw + b"stray" if b"stray" in head else raw)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, make_downloader() as downloader:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for n, path in enumerate(("a", "chunks", "b", "stray", "c")):
            await downloader.save(f"{address}/{path}", tmp_path, f"cover_{n}")
        assert connections == 2
    assert len(names_in(tmp_path)) == 5
