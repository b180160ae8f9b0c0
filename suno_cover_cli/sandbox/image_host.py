"""The image host: ``/s/<unix seconds>_<32 hex>.png``, without keys, with every fault an image host can have."""

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.sandbox.jobs import ImageEntry, JobRegistry
from suno_cover_cli.sandbox.pictures import PictureCache, draw_bomb
from suno_cover_cli.sandbox.replies import cut, send_flood, send_short
from suno_cover_cli.sandbox.script import Serve, step_at

IMAGE_PREFIX = "/s/"
_IMAGE_PATH = re.compile(r"/s/[0-9]{1,12}_([0-9a-f]{32})\.png")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")
_LIBRARY_AGENTS = ("Python/", "Python-urllib/", "python-requests/", "python-httpx/", "Go-http-client/")
_SLOW_S = 0.05
_HTML = b"<!doctype html><title>Just a moment...</title><p>Checking your browser.</p>"
_PRIVATE_URL = "http://10.0.0.1/s/cover.png"
_GIB = 1024**3

Server = Callable[[web.BaseRequest, ImageEntry, str], Awaitable[web.StreamResponse]]


class ImageHost:
    """Serves the images of all jobs.

    Args:
        registry: Knows which address is which image.
        clock: Time.
        time_scale: Divides the delays of slow images.
        image_bytes: See :class:`PictureCache`.
    """

    def __init__(self, registry: JobRegistry, *, clock: Clock, time_scale: float, image_bytes: int | None) -> None:
        self._registry = registry
        self._clock = clock
        self._time_scale = time_scale
        self._pictures = PictureCache(image_bytes)
        self._servers: dict[Serve, Server] = {
            Serve.PNG: self._serve_png,
            Serve.JPEG: self._serve_jpeg,
            Serve.SAME: self._serve_same,
            Serve.SLOW: self._serve_slow,
            Serve.PICKY: self._serve_picky,
            Serve.CORRUPT: self._serve_corrupt,
            Serve.SHORT: self._serve_short,
            Serve.SHORT_PLAIN: self._serve_short,
            Serve.HUGE: self._serve_huge,
            Serve.HUGE_DECLARED: self._serve_huge_declared,
            Serve.EXPIRED: self._serve_expired,
        }

    def find(self, path: str) -> ImageEntry | None:
        """Return the image that a path names."""
        match = _IMAGE_PATH.fullmatch(path)
        return None if match is None else self._registry.find_image(match[1])

    async def serve(self, request: web.BaseRequest, entry: ImageEntry | None) -> web.StreamResponse:
        """Answer a request for an image as its scenario says."""
        if "Authorization" in request.headers:
            return web.Response(status=400, text="Do not send your key to an image host.")
        if entry is None:
            return web.Response(status=404, text="Not Found")
        job = entry.job
        steps = job.scenario.pictures[entry.n]
        step = steps[0] if len(steps) == 1 else step_at(steps, job.count_hit(entry.n))
        server = self._servers.get(step)
        if server is not None:
            return await server(request, entry, job.image_token(entry.n))
        return _serve_plain(request, step)

    async def _picture_of(self, entry: ImageEntry, token: str) -> bytes:
        return await self._pictures.png(token, title=entry.job.music_task_id, n=entry.n)

    async def _serve_png(self, request: web.BaseRequest, entry: ImageEntry, token: str) -> web.StreamResponse:
        return _ranged(request, await self._picture_of(entry, token), token)

    async def _serve_jpeg(self, request: web.BaseRequest, _: ImageEntry, token: str) -> web.StreamResponse:
        return _ranged(request, await self._pictures.jpeg(token), token)

    async def _serve_same(self, request: web.BaseRequest, entry: ImageEntry, _: str) -> web.StreamResponse:
        token = f"{entry.n:032x}"
        return _ranged(request, await self._pictures.png(token), token)

    async def _serve_slow(self, request: web.BaseRequest, entry: ImageEntry, token: str) -> web.StreamResponse:
        await self._clock.sleep(_SLOW_S / self._time_scale)
        return await self._serve_png(request, entry, token)

    async def _serve_picky(self, request: web.BaseRequest, entry: ImageEntry, token: str) -> web.StreamResponse:
        agent = request.headers.get("User-Agent", "")
        if not agent or agent.startswith(_LIBRARY_AGENTS):
            return web.Response(status=403, body=_HTML, content_type="text/html")
        return await self._serve_png(request, entry, token)

    async def _serve_corrupt(self, request: web.BaseRequest, entry: ImageEntry, token: str) -> web.StreamResponse:
        # The right length and the right beginning, but no pixels that can be decoded.
        whole = await self._picture_of(entry, token)
        return _ranged(request, whole[: len(whole) // 2].ljust(len(whole), b"\0"), token)

    async def _serve_short(self, request: web.BaseRequest, entry: ImageEntry, token: str) -> web.StreamResponse:
        headers = {"Content-Type": "image/png"}
        if Serve.SHORT in entry.job.scenario.pictures[entry.n]:
            headers |= _resume_headers(token)
        return await send_short(request, await self._picture_of(entry, token), status=200, headers=headers)

    async def _serve_huge(self, request: web.BaseRequest, _: ImageEntry, token: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        return await send_flood(request, await self._start(token), response=response)

    async def _serve_huge_declared(
        self, request: web.BaseRequest, _: ImageEntry, token: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        response.content_length = 2 * _GIB
        return await send_flood(request, await self._start(token), response=response)

    async def _serve_expired(self, request: web.BaseRequest, entry: ImageEntry, token: str) -> web.StreamResponse:
        if entry.edition > 0:
            return await self._serve_png(request, entry, token)
        entry.job.edition_is_stale = entry.job.edition == 0
        return web.Response(status=410, text="Gone")

    async def _start(self, token: str) -> bytes:
        """Return the beginning of a true PNG: a flood should look good at first."""
        return (await self._pictures.png(token))[:2048]


def _serve_plain(request: web.BaseRequest, step: Serve) -> web.StreamResponse:
    """Serve what needs no picture of the job."""
    match step:
        case Serve.EMPTY:
            response = web.Response(body=b"", content_type="image/png")
        case Serve.HTML:
            response = web.Response(body=_HTML, content_type="text/html")
        case Serve.BOMB:
            response = web.Response(body=draw_bomb(), content_type="image/png")
        case Serve.REDIRECT:
            response = web.Response(status=302, headers={"Location": str(request.url)})
        case Serve.REDIRECT_PRIVATE:
            response = web.Response(status=302, headers={"Location": _PRIVATE_URL})
        case Serve.CUT:
            response = cut(request)
        case _:
            response = web.Response(status=step.value)
    return response


def _resume_headers(token: str) -> dict[str, str]:
    return {"Accept-Ranges": "bytes", "ETag": f'"{token}"'}


def _ranged(request: web.BaseRequest, body: bytes, token: str) -> web.Response:
    """Serve a picture, or the part of it that ``Range`` asks for."""
    headers = {"Content-Type": "image/png", **_resume_headers(token)}
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        return web.Response(body=body, headers=headers)
    start, end = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
    if start > end:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
    return web.Response(status=206, body=body[start : end + 1], headers=headers)
