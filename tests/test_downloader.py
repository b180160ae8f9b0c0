"""The downloader against a real server: what is saved, what is tried again, and what is said when it fails."""

import asyncio
import gzip
import hashlib
import itertools
import zlib
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.models import SavedImage
from tests.downloader_fixtures import (
    AGENT,
    CountingClock,
    ImageHost,
    Meter,
    Step,
    broken,
    make_downloader,
    ranged,
    refused,
    status,
    whole,
)
from tests.image_fixtures import names_in, picture

PNG = picture()
LARGE = picture(side=640)
ETAG = '"v1"'


@pytest.mark.parametrize(
    ("image_format", "name"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("AVIF", "avif")]
)
async def test_extension_follows_content(tmp_path: Path, image_format: str, name: str) -> None:
    """A picture gets the extension of its bytes, whatever its URL and its content type say."""
    body = picture(image_format)
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(whole(body, Content_Type="text/plain"), name="cover.png")
        image = await downloader.save(url, tmp_path / "covers" / "id", "cover_1")
    path = tmp_path / "covers" / "id" / f"cover_1.{name}"
    assert names_in(tmp_path) == [path.name]
    assert path.read_bytes() == body
    assert (image.url, image.path, image.bytes) == (url, str(path), len(body))
    assert (image.format, image.width, image.height) == (image_format.lower(), 64, 64)
    assert image.sha256 == hashlib.sha256(body).hexdigest()


async def test_request_carries_nothing_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image host sees the tool's own user agent and neither key, nor .netrc login, nor cookie."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SUNO_API_KEY", "sk-secret")
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(whole(PNG, Set_Cookie="id=1"), host="localhost")
        for stem in ("a", "b"):
            await downloader.save(url, tmp_path, stem)
    for request in host.requests:
        assert request.headers["User-Agent"] == AGENT
        assert request.headers["Accept-Encoding"] == "identity"
        assert not {"Authorization", "Cookie", "Range"} & set(request.headers)
        assert "secret" not in str(request.headers)


async def test_signed_url_is_sent_as_given(tmp_path: Path) -> None:
    """A URL that can go on the wire as it stands is not re-quoted, so its signature still fits."""
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(whole(PNG))
        await downloader.save(f"{url}?name=%2C%7e+%20x&sig=a%2fb%3D", tmp_path, "cover_1")
    assert host.requests[0].raw_path == "/cover.png?name=%2C%7e+%20x&sig=a%2fb%3D"


async def test_progress_grows_to_the_total(tmp_path: Path) -> None:
    """Progress is told in growing byte counts that end at the announced total."""
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        await downloader.save(host.serve(whole(LARGE)), tmp_path, "a", on_progress=meter)
    counts = [received for received, _ in meter.told]
    assert counts == sorted(set(counts))
    assert meter.told[-1] == (len(LARGE), len(LARGE))
    assert {total for _, total in meter.told} == {len(LARGE)}


@pytest.mark.parametrize("code", [403, 404, 408, 410, 425, 429, 500, 502, 503, 520])
async def test_passing_refusals_are_tried_again(tmp_path: Path, code: int) -> None:
    """A status that may pass is followed by another attempt, and the reason is told in one line."""
    told: list[str] = []
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(status(code), whole(PNG))
        await downloader.save(url, tmp_path, "cover_1", on_retry=told.append)
    assert told == [f"127.0.0.1 answered {code}"]
    assert names_in(tmp_path) == ["cover_1.png"]


@pytest.mark.parametrize(
    ("code", "attempts", "word"),
    [
        (403, 5, "image_gone"),
        (404, 2, "image_gone"),
        (410, 2, "image_gone"),
        (429, 5, "image_unavailable"),
        (503, 5, "image_unavailable"),
        (401, 1, "image_unavailable"),
        (418, 1, "image_unavailable"),
        (304, 1, "image_unavailable"),
    ],
)
async def test_lasting_refusals_end(tmp_path: Path, code: int, attempts: int, word: str) -> None:
    """A status that stays ends the save after as many attempts as it is worth, and leaves no file."""
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(status(code))
        with refused(word) as info:
            await downloader.save(url, tmp_path, "cover_1")
    assert str(code) in info.value.message
    assert len(host.requests) == attempts
    assert names_in(tmp_path) == []


async def test_backoff_doubles_with_jitter(tmp_path: Path) -> None:
    """The waits between attempts double from half a second, each with up to half a second of jitter."""
    clock = CountingClock()
    async with ImageHost() as host, make_downloader(clock) as downloader:
        with refused("image_unavailable"):
            await downloader.save(host.serve(status(500)), tmp_path, "cover_1")
    for wait_s, least_s in zip(clock.waits, [0.5, 1, 2, 4], strict=True):
        assert least_s <= wait_s <= least_s + 0.5


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        ("7", 7),
        ("120", 120),
        (formatdate(CountingClock().now + 12, usegmt=True), 12),
        (formatdate(CountingClock().now - 12, usegmt=True), 0),
        ("soon", 0),
    ],
)
async def test_retry_after_is_honoured(tmp_path: Path, header: str, expected_s: float) -> None:
    """Retry-After is honoured as seconds and as a date, up to two minutes; anything else changes nothing."""
    clock = CountingClock()
    async with ImageHost() as host, make_downloader(clock) as downloader:
        await downloader.save(host.serve(status(429, Retry_After=header), whole(PNG)), tmp_path, "a")
    assert clock.waits == [pytest.approx(max(expected_s, 0.75), abs=0.25 if expected_s == 0 else 0.01)]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("3600", "an hour"),
        ("300", "5 minutes"),
        ("7200", "2 hours"),
        (formatdate(CountingClock().now + 3 * 86_400, usegmt=True), "3 days"),
    ],
)
async def test_long_retry_after_is_told(tmp_path: Path, header: str, words: str) -> None:
    """A host that asks for a longer pause than a run is worth is not asked again, and what it asks is told."""
    clock = CountingClock()
    async with ImageHost() as host, make_downloader(clock) as downloader:
        with refused("image_unavailable") as info:
            await downloader.save(host.serve(status(503, Retry_After=header)), tmp_path, "a")
    assert info.value.message == f"127.0.0.1 answered 503 and asks to wait {words}"
    assert (len(host.requests), clock.waits) == (1, [])


async def test_broken_transfer_resumes(tmp_path: Path) -> None:
    """What has arrived before a break is not sent again when the host offers ranges and a strong ETag."""
    cut = 700_000
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, cut, meter, ETag=ETAG), ranged(LARGE, ETAG))
        image = await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert host.requests[1].headers["Range"] == f"bytes={cut}-"
    assert host.requests[1].headers["If-Range"] == ETAG
    assert image.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert names_in(tmp_path) == ["cover_1.png"]


async def test_resume_survives_a_refusal(tmp_path: Path) -> None:
    """A busy answer between two parts of a picture does not cost the first part."""
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, 5_000, meter, ETag=ETAG), status(503), ranged(LARGE, ETAG))
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert host.requests[2].headers["Range"] == "bytes=5000-"
    assert (tmp_path / "cover_1.png").read_bytes() == LARGE


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"v1"'}, {"ETag": "v1"}])
async def test_no_resume_without_a_strong_validator(tmp_path: Path, headers: dict[str, str]) -> None:
    """Without a strong ETag nothing proves that the rest belongs to the same picture, so all is sent again."""
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, 700_000, None, **headers), whole(LARGE))
        await downloader.save(url, tmp_path, "cover_1")
    assert "Range" not in host.requests[1].headers
    assert (tmp_path / "cover_1.png").read_bytes() == LARGE


async def test_changed_picture_replaces_the_first_part(tmp_path: Path) -> None:
    """When the picture changed between two attempts, the new one is saved whole."""
    changed = picture(side=300, seed=2)
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, 700_000, meter, ETag=ETAG), ranged(changed, '"v2"'))
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert host.requests[1].headers["If-Range"] == ETAG
    assert (tmp_path / "cover_1.png").read_bytes() == changed


def partial(start: int, total: int | str, etag: str = ETAG, **headers: str) -> Step:
    """Answer 206 from ``start`` on, whatever was asked for."""
    content_range = f"bytes {start}-{len(LARGE) - 1}/{total}"
    return whole(LARGE[start:], 206, Content_Range=content_range, ETag=etag, **headers)


@pytest.mark.parametrize(
    "lie",
    [
        partial(699_999, len(LARGE)),
        partial(700_000, len(LARGE) + 1),
        partial(700_000, len(LARGE), etag='"v2"'),
        whole(LARGE[700_000:], 206, ETag=ETAG),
        whole(LARGE[700_000:], 206, ETag=ETAG, Content_Range="bytes 700000-x/y"),
        status(416),
    ],
)
async def test_wrong_part_starts_over(tmp_path: Path, lie: Step) -> None:
    """A part that is not exactly the one asked for is thrown away with what was there, and all is fetched."""
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, 700_000, meter, ETag=ETAG), lie, ranged(LARGE, ETAG))
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert "Range" in host.requests[1].headers
    assert "Range" not in host.requests[2].headers
    assert (tmp_path / "cover_1.png").read_bytes() == LARGE


@pytest.mark.parametrize("total", [len(LARGE), "*"])
async def test_right_part_is_taken(tmp_path: Path, total: int | str) -> None:
    """The part that was asked for is taken, also from a host that leaves the total open."""
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, 700_000, meter, ETag=ETAG), partial(700_000, total), status(500))
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert (tmp_path / "cover_1.png").read_bytes() == LARGE


async def test_rest_may_come_in_several_parts(tmp_path: Path) -> None:
    """A host that sends less than the rest is asked for what is still missing then."""
    some = whole(LARGE[500_000:900_000], 206, Content_Range=f"bytes 500000-899999/{len(LARGE)}", ETag=ETAG)
    told: list[str] = []
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, 500_000, meter, ETag=ETAG), some, ranged(LARGE, ETAG))
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter, on_retry=told.append)
    assert host.requests[2].headers["Range"] == "bytes=900000-"
    assert told[1] == f"127.0.0.1 sent 900000 of {len(LARGE)} bytes"
    assert (tmp_path / "cover_1.png").read_bytes() == LARGE


@pytest.mark.parametrize("content_range", [f"bytes 0-{len(PNG) - 1}/{len(PNG)}", f"bytes 0-{len(PNG) - 1}/*", ""])
async def test_whole_part_that_was_not_asked_for_is_taken(tmp_path: Path, content_range: str) -> None:
    """A 206 to a request without Range is a whole picture when it says so, or when the picture says so."""
    headers = {"Content_Range": content_range} if content_range else {}
    async with ImageHost() as host, make_downloader() as downloader:
        await downloader.save(host.serve(whole(PNG, 206, **headers)), tmp_path, "cover_1")
    assert (tmp_path / "cover_1.png").read_bytes() == PNG


@pytest.mark.parametrize(("first", "last"), [(1, len(PNG) - 1), (0, len(PNG) - 3)])
async def test_true_part_that_was_not_asked_for_is_refused(tmp_path: Path, first: int, last: int) -> None:
    """A 206 to a request without Range is not saved when it is not all, however often it comes."""
    unasked = whole(PNG[first : last + 1], 206, Content_Range=f"bytes {first}-{last}/{len(PNG)}")
    async with ImageHost() as host, make_downloader() as downloader:
        with pytest.raises(ImageError):
            await downloader.save(host.serve(unasked), tmp_path, "cover_1")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("code", [400, 403, 404, 405, 406, 412, 416, 500, 501, 503])
async def test_host_that_refuses_parts_is_asked_for_all(tmp_path: Path, code: int) -> None:
    """A host that breaks off and then refuses to send the rest is asked for the whole picture again."""
    meter = Meter()

    async def refuse_parts(request: web.Request) -> web.StreamResponse:
        step = status(code) if "Range" in request.headers else whole(LARGE, ETag=ETAG)
        return await step(request)

    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(LARGE, 700_000, meter, ETag=ETAG), refuse_parts)
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert "Range" in host.requests[1].headers
    assert (tmp_path / "cover_1.png").read_bytes() == LARGE


async def test_damage_is_seen_while_the_picture_comes(tmp_path: Path) -> None:
    """A damaged first part of a PNG is not resumed: what has come is looked at before more is asked for."""
    rotten = LARGE[:600_000] + bytes(100_000) + LARGE[700_000:]
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(rotten, 700_000, meter, ETag=ETAG), ranged(LARGE, ETAG))
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert ["Range" in request.headers for request in host.requests] == [False, False]
    assert (tmp_path / "cover_1.png").read_bytes() == LARGE


async def test_first_part_that_was_bad_is_not_kept(tmp_path: Path) -> None:
    """A picture that turns out to be damaged only after a resume is fetched from its beginning."""
    cover = picture("WEBP", side=300)
    rotten = cover[:16] + b"\xff\xff\xff\x7f" + cover[20:]
    meter, cut = Meter(), len(cover) // 2
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(broken(rotten, cut, meter, ETag=ETAG), ranged(cover, ETAG))
        await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert ["Range" in request.headers for request in host.requests] == [False, True, False]
    assert (tmp_path / "cover_1.webp").read_bytes() == cover


@pytest.mark.parametrize("extra", [1, 100_000])
async def test_announced_length_may_be_wrong(tmp_path: Path, extra: int) -> None:
    """A host that breaks off twice at the same byte has sent all there is, if that is a whole picture."""

    async def boast(request: web.Request) -> web.StreamResponse:
        return await broken(PNG, len(PNG), Content_Length=str(len(PNG) + extra))(request)

    async with ImageHost() as host, make_downloader() as downloader:
        await downloader.save(host.serve(boast), tmp_path, "cover_1")
    assert len(host.requests) == 2
    assert (tmp_path / "cover_1.png").read_bytes() == PNG


def unframed(body: bytes) -> Step:
    """Answer with a body that ends where the connection ends."""

    async def step(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + body)
        request.transport.close()
        return web.Response()

    return step


@pytest.mark.parametrize(
    ("step", "word", "attempts"),
    [
        (broken(PNG, len(PNG) - 1), "image_truncated", 5),
        (whole(b""), "image_truncated", 5),
        (status(204), "image_unavailable", 5),
        (unframed(PNG[:-30]), "image_truncated", 3),
        (whole(PNG[: len(PNG) // 2].ljust(len(PNG), b"\0")), "image_truncated", 3),
        (whole(b"<html>" * 5_000, Content_Type="text/html"), "image_not_an_image", 3),
        (whole(b"hello"), "image_not_an_image", 3),
        (whole(b"GIF89a" + bytes(100)), "image_not_an_image", 1),
    ],
)
async def test_what_is_no_whole_picture_is_never_saved(
    tmp_path: Path, step: Step, word: str, attempts: int
) -> None:
    """Short, empty, damaged and foreign bodies are tried again and then told apart, and leave no file."""
    async with ImageHost() as host, make_downloader() as downloader:
        with refused(word):
            await downloader.save(host.serve(step), tmp_path, "cover_1")
    assert len(host.requests) == attempts
    assert names_in(tmp_path) == []


async def test_html_ends_at_its_first_bytes(tmp_path: Path) -> None:
    """A page in place of a picture is left after its first bytes and named for what it is, not quoted."""

    async def endless_page(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html; x=[31mred[/]"})
        await response.prepare(request)
        while request.transport is not None:
            await response.write(b"<html>\x1b[31m" * 1000)
        return response

    async with ImageHost() as host, make_downloader() as downloader:
        with refused("image_not_an_image") as info:
            await downloader.save(host.serve(endless_page), tmp_path, "cover_1")
    assert info.value.message == "127.0.0.1 sent a web page (HTML), not a picture"


async def test_announced_size_is_refused_unread(tmp_path: Path) -> None:
    """A body announced beyond the cap is refused before it is read."""
    async with ImageHost() as host, make_downloader() as downloader:
        with refused("image_too_large") as info:
            await downloader.save(host.serve(broken(PNG, 10, Content_Length=str(2 << 30))), tmp_path, "cover_1")
    assert len(host.requests) == 1
    assert "50 MiB" in info.value.message


def endless(*chunks: bytes, **headers: str) -> Step:
    """Send the chunks, the last for ever."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for chunk in itertools.chain(chunks, itertools.repeat(chunks[-1])):
            await response.write(chunk)
        return response

    return step


ENDLESS = PNG[:33] + b"\x7f\xff\xff\xfftEXt"
"""The beginning of a PNG whose text goes on for two gigabytes."""


def zip_bomb() -> list[bytes]:
    """Return a gzip stream that begins like a PNG and goes on with zeros, a mebibyte in each later chunk."""
    squeezer = zlib.compressobj(9, wbits=31)
    head = squeezer.compress(ENDLESS) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return [head, squeezer.compress(bytes(1 << 20)) + squeezer.flush(zlib.Z_FULL_FLUSH)]


def empty_blocks() -> list[bytes]:
    """Return a gzip stream that goes on for ever without ever yielding another byte."""
    return [zip_bomb()[0], b"\0\0\0\xff\xff" * 20_000]


@pytest.mark.parametrize(
    "step",
    [
        endless(ENDLESS, bytes(65_536)),
        endless(*zip_bomb(), **{"Content-Encoding": "gzip"}),
        endless(*empty_blocks(), **{"Content-Encoding": "gzip"}),
        endless(gzip.compress(PNG), bytes(65_536), **{"Content-Encoding": "gzip"}),
    ],
    ids=["plain", "unpacks to much", "unpacks to nothing", "goes on after its end"],
)
async def test_endless_bodies_end_at_the_cap(tmp_path: Path, step: Step) -> None:
    """A body without end is cut at the cap, counted on the wire and after unpacking, and leaves no file."""
    async with ImageHost() as host, make_downloader(max_bytes=3 << 20) as downloader:
        with refused("image_too_large"):
            await downloader.save(host.serve(step), tmp_path, "cover_1")
    assert len(host.requests) == 1
    assert names_in(tmp_path) == []


def raw_deflate(body: bytes) -> bytes:
    """Compress as servers do that leave the zlib format's frame out."""
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(body) + squeezer.flush()


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (gzip.compress(PNG), "gzip"),
        (zlib.compress(PNG), "deflate"),
        (raw_deflate(PNG), "deflate"),
        (gzip.compress(PNG) + b"more", "X-GZip"),
        (gzip.compress(PNG[:500]) + gzip.compress(PNG[500:]), "gzip"),
        (gzip.compress(zlib.compress(PNG)), "deflate, gzip"),
        (gzip.compress(gzip.compress(PNG)), "gzip, gzip"),
        (gzip.compress(PNG), "gzip, aws-chunked"),
        (gzip.compress(PNG), "utf-8"),
    ],
    # Not the bytes: gzip writes down the second, and every process of the suite collects by itself.
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
async def test_packed_picture_is_unpacked(tmp_path: Path, packed: bytes, encoding: str) -> None:
    """A host that packs although plain bytes were asked for is understood, and its length is not the file's."""
    meter = Meter()
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(whole(packed, Content_Encoding=encoding, ETag=ETAG))
        image = await downloader.save(url, tmp_path, "cover_1", on_progress=meter)
    assert image.bytes == len(PNG)
    assert meter.told[-1] == (len(PNG), None)
    assert (tmp_path / "cover_1.png").read_bytes() == PNG


@pytest.mark.parametrize(
    "encoding",
    ["", "none", "utf-8", "identity", "binary", "aws-chunked", "8bit", "gzip", "br", "gzip, gzip"],
)
async def test_encoding_that_means_nothing(tmp_path: Path, encoding: str) -> None:
    """A picture that comes as it is is saved as it is, whatever its Content-Encoding claims."""
    async with ImageHost() as host, make_downloader() as downloader:
        await downloader.save(host.serve(whole(PNG, Content_Encoding=encoding)), tmp_path, "cover_1")
    assert (tmp_path / "cover_1.png").read_bytes() == PNG


@pytest.mark.parametrize(
    ("packed", "encoding", "words"),
    [
        (b"\x0b\x02\x80hello, world\x03", "br", "packed the picture with Brotli, which was not asked for"),
        (b"\x28\xb5\x2f\xfd and so on", "zstd", "packed the picture with Zstandard, which was not asked for"),
        (gzip.compress(PNG)[:-8] + bytes(8), "gzip", "cannot be undone: the packing is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
async def test_packing_that_cannot_be_undone(tmp_path: Path, packed: bytes, encoding: str, words: str) -> None:
    """A packing that is unknown here, or damaged, is told in one line."""
    async with ImageHost() as host, make_downloader() as downloader:
        with refused("image_unavailable") as info:
            await downloader.save(host.serve(whole(packed, Content_Encoding=encoding)), tmp_path, "cover_1")
    assert words in info.value.message
    assert names_in(tmp_path) == []


async def test_packing_that_ends_early(tmp_path: Path) -> None:
    """A picture whose packing breaks off is not saved."""
    async with ImageHost() as host, make_downloader() as downloader:
        with refused("image_truncated"):
            cut = gzip.compress(PNG)[:-100]
            await downloader.save(host.serve(whole(cut, Content_Encoding="gzip")), tmp_path, "cover_1")
    assert names_in(tmp_path) == []


async def test_too_many_pixels(tmp_path: Path) -> None:
    """A picture of more pixels than any cover has is refused at once."""
    async with ImageHost() as host, make_downloader(max_pixels=64 * 64 - 1) as downloader:
        with refused("image_too_many_pixels"):
            await downloader.save(host.serve(whole(PNG)), tmp_path, "cover_1")
    assert len(host.requests) == 1
    assert names_in(tmp_path) == []


def stalling(headers_first: bool, gone: asyncio.Event) -> Step:
    """Accept the request, perhaps begin to answer, and then say nothing until the client is gone."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(PNG))})
        if headers_first:
            await response.prepare(request)
            await response.write(PNG[:100])
        await gone.wait()
        return response

    return step


@pytest.mark.parametrize("headers_first", [False, True])
async def test_silent_host_is_given_up(tmp_path: Path, headers_first: bool) -> None:
    """A host that falls silent before or within the picture is tried again and then given up."""
    gone = asyncio.Event()
    async with ImageHost() as host, make_downloader(idle_s=0.05, max_attempts=2) as downloader:
        with refused("image_unavailable") as info:
            await downloader.save(host.serve(stalling(headers_first, gone)), tmp_path, "cover_1")
        gone.set()
    assert info.value.message == "127.0.0.1 was silent for too long"
    assert len(host.requests) == 2


async def test_dripping_host_is_given_up(tmp_path: Path) -> None:
    """A host that sends a byte now and then runs into the limit of the whole attempt."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in PNG:
            await response.write(bytes([byte]))
            await asyncio.sleep(0.01)
        return response

    async with ImageHost() as host, make_downloader(idle_s=5, max_s=0.2) as downloader:
        with refused("image_unavailable") as info:
            async with asyncio.timeout(5):
                await downloader.save(host.serve(drip), tmp_path, "cover_1")
    assert info.value.message == "the picture was not whole after 0.2 s"
    assert len(host.requests) == 1
    assert names_in(tmp_path) == []


async def test_refused_connection(tmp_path: Path) -> None:
    """A host that cannot be reached is tried again and then named with the system's reason."""
    clock = CountingClock()
    async with ImageHost() as host:
        url = host.serve(whole(PNG))
    async with make_downloader(clock) as downloader:
        with refused("image_unavailable") as info:
            await downloader.save(url, tmp_path, "cover_1")
    assert info.value.message == "no connection to 127.0.0.1: Connection refused"
    assert len(clock.waits) == 4


async def test_transfers_at_a_time_are_limited(tmp_path: Path) -> None:
    """However many saves are asked for, no more transfers than allowed run at a time, and that many do."""
    running, most = 0, 0
    full = asyncio.Event()

    async def counted(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        running -= 1
        return await whole(PNG)(request)

    async with ImageHost() as host, make_downloader(max_concurrent=3) as downloader:
        url = host.serve(counted)
        async with asyncio.TaskGroup() as group:
            for n in range(12):
                group.create_task(downloader.save(url, tmp_path, f"cover_{n}"))
    assert most == 3
    assert len(names_in(tmp_path)) == 12


async def test_waiting_for_the_next_attempt_takes_no_place(tmp_path: Path) -> None:
    """A picture that waits to be tried again does not keep the others from being fetched."""
    again = asyncio.Event()

    class PatientClock(CountingClock):
        async def sleep(self, delay_s: float) -> None:
            """Wait until the other picture is there."""
            self.waits.append(delay_s)
            await again.wait()

    async with ImageHost() as host, make_downloader(PatientClock(), max_concurrent=1) as downloader:
        busy = host.serve(status(503), whole(PNG), name="busy")
        async with asyncio.TaskGroup() as group:
            group.create_task(downloader.save(busy, tmp_path, "a"))
            await downloader.save(host.serve(whole(PNG)), tmp_path, "b")
            assert names_in(tmp_path) == ["b.png"]
            again.set()
    assert names_in(tmp_path) == ["a.png", "b.png"]


async def test_cancelled_save_leaves_nothing(tmp_path: Path) -> None:
    """A save that is cancelled in the middle removes what it had written."""
    meter, gone = Meter(), asyncio.Event()

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(LARGE[:700_000])
        await gone.wait()
        return response

    async with ImageHost() as host, make_downloader() as downloader:
        save = asyncio.create_task(downloader.save(host.serve(stall), tmp_path, "a", on_progress=meter))
        await meter.wait_for(700_000)
        while not names_in(tmp_path):  # noqa: ASYNC110 -- nothing tells when a file has been made
            await asyncio.sleep(0)
        assert [name.rpartition(".")[2] for name in names_in(tmp_path)] == ["part"]
        save.cancel()
        with pytest.raises(asyncio.CancelledError):
            await save
        gone.set()
        assert names_in(tmp_path) == []


async def test_a_downloader_that_is_left_keeps_no_caller_waiting(tmp_path: Path) -> None:
    """What still waits for a thread when the downloader is left ends as cancelled; what has one, ends with it."""
    (tmp_path / "a.png").write_bytes(LARGE)
    async with make_downloader() as downloader:
        looks = [asyncio.create_task(downloader.find_saved(tmp_path, "a", "")) for _ in range(200)]
        await asyncio.sleep(0)
    outcomes = await asyncio.wait_for(asyncio.gather(*looks, return_exceptions=True), 10)
    found = [outcome for outcome in outcomes if isinstance(outcome, SavedImage)]
    assert {type(outcome) for outcome in outcomes if outcome not in found} == {asyncio.CancelledError}
    assert {image.bytes for image in found} == {len(LARGE)}


async def test_two_savers_of_one_cover_agree(tmp_path: Path) -> None:
    """Two runs that save the same cover at once both end with the one whole file, and nothing else is left."""
    together = asyncio.Barrier(2)

    async def at_once(request: web.Request) -> web.StreamResponse:
        await together.wait()
        return await whole(LARGE)(request)

    async with ImageHost() as host, make_downloader() as first, make_downloader() as second:
        url = host.serve(at_once)
        images = await asyncio.gather(first.save(url, tmp_path, "cover_1"), second.save(url, tmp_path, "cover_1"))
    assert images[0] == images[1]
    assert names_in(tmp_path) == ["cover_1.png"]


async def test_name_taken_by_something_else(tmp_path: Path) -> None:
    """What is no picture is not overwritten, and the image is not even asked for."""
    (tmp_path / "cover_1.png").write_text("my notes")
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(whole(PNG))
        assert await downloader.find_saved(tmp_path, "cover_1", url) is None
        with refused("file_exists") as info:
            await downloader.save(url, tmp_path, "cover_1")
        assert "--overwrite" in info.value.hint
        assert host.requests == []
        assert (tmp_path / "cover_1.png").read_text() == "my notes"
        await downloader.save(url, tmp_path, "cover_1", overwrite=True)
    assert (tmp_path / "cover_1.png").read_bytes() == PNG


async def test_saved_picture_is_found_again(tmp_path: Path) -> None:
    """A whole picture under the stem is found whatever its extension, and saving it again asks for nothing."""
    async with ImageHost() as host, make_downloader() as downloader:
        url = host.serve(whole(picture("JPEG")))
        image = await downloader.save(url, tmp_path, "cover_1")
        assert await downloader.find_saved(tmp_path, "cover_1", url) == image
        assert await downloader.save(url, tmp_path, "cover_1") == image
        assert await downloader.find_saved(tmp_path, "cover_2", url) is None
        assert await downloader.find_saved(tmp_path / "nowhere", "cover_1", url) is None
    assert len(host.requests) == 1
