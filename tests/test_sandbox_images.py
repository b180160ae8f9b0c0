"""The sandbox's image host: real pictures, distinct and repeatable, and every fault an image host can have."""

import asyncio
import io
import re
import struct
import zlib

import pytest
from PIL import Image

from suno_cover_cli.sandbox.replies import FLOOD_BYTES
from tests.sandbox_fixtures import PlainClient, WatchedClock, count_key_leaks, serving

PNG_START = b"\x89PNG\r\n\x1a\n"


async def urls_of(client: PlainClient, music_task_id: str) -> list[str]:
    """Make a job without generation time and return its image addresses."""
    return await client.image_urls(await client.make(music_task_id))


async def test_pictures_are_pictures() -> None:
    """Covers are PNGs of 1024 x 1024 pixels that decode, served as such."""
    async with serving(generation_s=0) as (_, client):
        exchange = await client.image((await urls_of(client, "m"))[0])
    assert exchange.content_type == "image/png"
    with Image.open(io.BytesIO(exchange.body)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (1024, 1024))
        assert len(image.convert("RGB").getcolors() or []) > 10


async def test_addresses() -> None:
    """An address is unix seconds and 32 hex digits, as the service's are, and no two are the same."""
    async with serving(generation_s=0) as (sandbox, client):
        urls = await urls_of(client, "m") + await urls_of(client, "n")
    assert all(re.fullmatch(re.escape(sandbox.url) + r"/s/\d{10}_[0-9a-f]{32}\.png", url) for url in urls)
    assert len({url[-36:] for url in urls}) == 4


async def test_no_two_covers_are_alike() -> None:
    """The covers of one job and of different jobs differ in bytes and in colours."""
    async with serving(generation_s=0) as (_, client):
        bodies = [(await client.image(url)).body for name in ("m", "n") for url in await urls_of(client, name)]
    colours = set()
    for body in bodies:
        with Image.open(io.BytesIO(body)) as image:
            colours.add(image.convert("RGB").getpixel((256, 256)))
    assert (len(set(bodies)), len(colours)) == (4, 4)


async def test_covers_come_again() -> None:
    """Another sandbox serves the same bytes for the same music task."""
    seen = []
    for _ in range(2):
        async with serving(generation_s=0) as (_, client):
            seen.append([(await client.image(url)).body for url in await urls_of(client, "m")])
    assert seen[0] == seen[1]


async def test_same() -> None:
    """The scenario of reused covers serves the same bytes for different jobs."""
    async with serving(generation_s=0) as (_, client):
        first, second = [await urls_of(client, f"sandbox-image-same-{n}") for n in (1, 2)]
        bodies = [(await client.image(url)).body for url in (*first, *second)]
    assert bodies[:2] == bodies[2:]
    assert bodies[0] != bodies[1]


@pytest.mark.parametrize("image_bytes", [4096, 5000, 65536, 300_001])
async def test_exact_size(image_bytes: int) -> None:
    """Pictures have the size that was asked for, to the byte, and decode."""
    async with serving(generation_s=0, image_bytes=image_bytes) as (_, client):
        bodies = [(await client.image(url)).body for url in await urls_of(client, "m")]
    assert [len(body) for body in bodies] == [image_bytes] * 2
    assert bodies[0] != bodies[1]
    with Image.open(io.BytesIO(bodies[0])) as image:
        image.load()
        # Most of the bytes are pixels: a decoder has real work.
        assert image.width * image.height > image_bytes / 2


async def test_keys_are_refused() -> None:
    """An image request that carries a key is refused, and the sandbox remembers it."""
    async with serving(generation_s=0) as (sandbox, client):
        url = (await urls_of(client, "m"))[0]
        assert count_key_leaks(sandbox) == 0
        assert (await client.image(url, Authorization=f"Bearer {sandbox.api_key}")).status == 400
        assert count_key_leaks(sandbox) == 1
        assert sandbox.request_log[-1].authorized


@pytest.mark.parametrize("path", ["/s/", "/s/1700000000_" + "0" * 32 + ".png", "/s/../etc/passwd", "/s/x.png"])
async def test_unknown_address(path: str) -> None:
    """An address that names no image is 404."""
    async with serving() as (sandbox, client):
        assert (await client.image(sandbox.url + path)).status == 404


@pytest.mark.parametrize(
    ("wanted", "status", "slice_"),
    [
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=100-199", 206, slice(100, 200)),
        ("bytes=100-999999", 206, slice(100, None)),
        ("bytes=-5", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=200-100", 416, slice(0)),
        ("bytes=999999-", 416, slice(0)),
    ],
)
async def test_ranges(wanted: str, status: int, slice_: slice) -> None:
    """A range that can be served is served alone, one beyond the end is 416, anything else gets the whole."""
    async with serving(generation_s=0) as (_, client):
        url = (await urls_of(client, "m"))[0]
        whole = (await client.image(url)).body
        part = await client.image(url, Range=wanted)
    assert (part.status, part.body) == (status, whole[slice_])
    if status == 206:
        start = slice_.start
        assert part.headers["content-range"] == f"bytes {start}-{start + len(part.body) - 1}/{len(whole)}"


async def test_range_of_another_picture() -> None:
    """A range is not served when If-Range names other content."""
    async with serving(generation_s=0) as (_, client):
        one, other = await urls_of(client, "m")
        etags = [(await client.image(url)).headers["etag"] for url in (one, other)]
        assert (await client.image(one, Range="bytes=10-", **{"If-Range": etags[0]})).status == 206
        assert (await client.image(one, Range="bytes=10-", **{"If-Range": etags[1]})).status == 200


async def test_truncated() -> None:
    """A broken transfer promises all, gives half, and can be resumed to a picture."""
    async with serving(generation_s=0) as (_, client):
        url = (await urls_of(client, "sandbox-image-truncated"))[0]
        first = await client.image(url)
        assert first.ending == "half"
        assert int(first.headers["content-length"]) // 2 == len(first.body) > 0
        rest = await client.image(url, Range=f"bytes={len(first.body)}-", **{"If-Range": first.headers["etag"]})
    assert rest.status == 206
    with Image.open(io.BytesIO(first.body + rest.body)) as image:
        image.load()


async def test_truncated_always() -> None:
    """The transfer that always breaks offers no ranges and honours none."""
    async with serving(generation_s=0) as (_, client):
        url = (await urls_of(client, "sandbox-image-truncated-always"))[1]
        for _ in range(3):
            exchange = await client.image(url, Range="bytes=100-")
            assert (exchange.status, exchange.ending) == (200, "half")
            assert "accept-ranges" not in exchange.headers


async def test_expired() -> None:
    """Expired addresses are 410 for good; the next read of the job, and only that, gives fresh ones."""
    async with serving(generation_s=0) as (_, client):
        task_id = await client.make("sandbox-image-expired")
        old = await client.image_urls(task_id)
        assert await client.image_urls(task_id) == old
        assert [(await client.image(url)).status for url in old] == [410, 410]
        fresh = await client.image_urls(task_id)
        assert not set(fresh) & set(old)
        assert await client.image_urls(task_id) == fresh
        assert [(await client.image(url)).status for url in (*old, *fresh)] == [410, 410, 200, 200]
        assert await client.image_urls(task_id) == fresh


@pytest.mark.parametrize(
    ("agent", "status"),
    [("Python/3.12 aiohttp/3.13", 403), ("python-requests/2.32", 403), ("", 403), ("suno-cover/1.0", 200)],
)
async def test_picky(agent: str, status: int) -> None:
    """The picky host refuses libraries that do not say who uses them."""
    async with serving(generation_s=0) as (_, client):
        url = (await urls_of(client, "sandbox-image-picky"))[0]
        assert (await client.image(url, **{"User-Agent": agent})).status == status


async def test_redirects() -> None:
    """Redirects lead to the same host where they are harmless and into a private network where they are not."""
    async with serving(generation_s=0) as (_, client):
        url = (await urls_of(client, "sandbox-image-redirect"))[0]
        assert (await client.image(url)).headers["location"] == url
        private = (await urls_of(client, "sandbox-image-redirect-private"))[1]
        assert (await client.image(private)).headers["location"].startswith("http://10.0.0.1/")


@pytest.mark.parametrize(("scenario", "length"), [("image-huge", None), ("image-huge-declared", str(2 * 1024**3))])
async def test_huge(scenario: str, length: str | None) -> None:
    """A huge image begins as a PNG, tells no length or 2 GiB, and goes on."""
    async with serving(generation_s=0) as (_, client):
        exchange = await client.image((await urls_of(client, f"sandbox-{scenario}"))[1])
    assert exchange.ending == "flood"
    assert exchange.headers.get("content-length") == length
    assert exchange.body.startswith(PNG_START)


async def test_floods_end() -> None:
    """Who takes everything of a flood gets 60 MiB and a broken connection, not gigabytes."""
    async with serving(generation_s=0) as (_, client):
        url = (await urls_of(client, "sandbox-image-huge"))[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        writer.write(f"GET /s/{url.rpartition('/')[2]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        taken = 0
        try:
            while chunk := await reader.read(1 << 20):
                taken += len(chunk)
        except ConnectionError:
            pass  # the sandbox resets what it has had enough of
        finally:
            writer.close()
    assert FLOOD_BYTES * 0.9 < taken < FLOOD_BYTES * 1.1


async def test_bomb() -> None:
    """The bomb is a small, valid PNG stream of 900 million pixels."""
    async with serving(generation_s=0) as (_, client):
        body = (await client.image((await urls_of(client, "sandbox-image-bomb"))[1])).body
    assert len(body) < 200_000
    width, height, depth = struct.unpack(">IIB", body[16:25])
    assert (width, height, depth) == (30_000, 30_000, 1)
    start = body.index(b"IDAT")
    (length,) = struct.unpack(">I", body[start - 4 : start])
    inflater = zlib.decompressobj()
    inflated, rest = 0, body[start + 4 : start + 4 + length]
    while chunk := inflater.decompress(rest, 1 << 22):
        inflated += len(chunk)
        rest = inflater.unconsumed_tail
    assert (inflated, inflater.eof) == (height * (1 + width // 8), True)


async def test_jpeg() -> None:
    """The JPEGs decode, differ from each other and are announced as PNGs."""
    async with serving(generation_s=0) as (_, client):
        urls = await urls_of(client, "sandbox-image-jpeg")
        exchanges = [await client.image(url) for url in urls]
    assert all(url.endswith(".png") for url in urls)
    assert {exchange.content_type for exchange in exchanges} == {"image/png"}
    assert exchanges[0].body != exchanges[1].body
    for exchange in exchanges:
        with Image.open(io.BytesIO(exchange.body)) as image:
            image.load()
            assert image.format == "JPEG"


async def test_corrupt() -> None:
    """The corrupt cover has the right length and beginning; only decoding it shows the damage."""
    async with serving(generation_s=0) as (_, client):
        good, bad = [(await client.image(url)).body for url in await urls_of(client, "sandbox-image-corrupt")]
    assert bad.startswith(PNG_START)
    assert bad.endswith(bytes(len(bad) // 2))
    assert good.startswith(PNG_START)
    with Image.open(io.BytesIO(bad)) as image, pytest.raises(OSError, match="data stream"):
        image.load()


async def test_slow() -> None:
    """A slow cover takes 50 ms to begin, divided by the time scale."""
    clock = WatchedClock()
    async with serving(generation_s=0, clock=clock, time_scale=10) as (_, client):
        url = (await urls_of(client, "sandbox-image-slow"))[0]
        pending = asyncio.create_task(client.image(url))
        await clock.pass_sleep(0.005)
        assert (await pending).status == 200


async def test_hostile_urls() -> None:
    """The hostile list names a file, another protocol and no address at all."""
    async with serving(generation_s=0) as (_, client):
        schemes = [url.partition(":")[0] for url in await urls_of(client, "sandbox-hostile-urls")]
    assert schemes == ["file", "ftp", "http"]
