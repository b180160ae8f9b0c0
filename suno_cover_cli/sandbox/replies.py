"""A scripted answer as bytes on a connection: whole, short, cut, held or endless."""

from typing import Any

import msgspec
from aiohttp import web

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.sandbox.script import Answer, Ending

# What a flood sends before it gives up: more than any client should take, cheap enough for a test.
FLOOD_BYTES = 60 * 1024 * 1024
_FLOOD_CHUNK = b" " * (64 * 1024)
_HOLD_S = 60.0


def reply_json(envelope: dict[str, Any], status: int) -> web.Response:
    """Return an envelope as it should be."""
    return web.Response(body=msgspec.json.encode(envelope), status=status, content_type="application/json")


def cut(request: web.BaseRequest) -> web.Response:
    """Reset the connection; the response returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def send_short(
    request: web.BaseRequest, body: bytes, *, status: int, headers: dict[str, str]
) -> web.StreamResponse:
    """Promise all of ``body``, send half of it and close the connection."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return response


async def send_flood(
    request: web.BaseRequest, start: bytes, *, chunk: bytes = _FLOOD_CHUNK, response: web.StreamResponse
) -> web.StreamResponse:
    """Send ``start`` and then ``chunk`` again and again, until the peer or :data:`FLOOD_BYTES` ends it."""
    response.force_close()
    await response.prepare(request)
    try:
        await response.write(start)
        for _ in range(FLOOD_BYTES // len(chunk)):
            await response.write(chunk)
    except ConnectionError:
        return response  # the peer has seen enough, which is what a flood is for
    return cut(request)


async def send_answer(
    request: web.BaseRequest,
    answer: Answer,
    envelope: dict[str, Any],
    *,
    status: int,
    clock: Clock,
    time_scale: float,
) -> web.StreamResponse:
    """Send a scripted answer, as it ends in the script.

    Args:
        request: What is answered.
        answer: The script.
        envelope: The body, unless the script has one of its own.
        status: HTTP status.
        clock: Holds an answer that hangs.
        time_scale: Divides the time it hangs.
    """
    body = msgspec.json.encode(envelope) if answer.raw is None else answer.raw
    headers = {"Content-Type": answer.content_type, **dict(answer.headers)}
    match answer.ending:
        case Ending.WHOLE:
            return web.Response(body=body, status=status, headers=headers)
        case Ending.SHORT:
            return await send_short(request, body, status=status, headers=headers)
        case Ending.CUT:
            return cut(request)
        case Ending.HELD:
            await clock.sleep(_HOLD_S / time_scale)
            return cut(request)
        case Ending.ENDLESS:
            return await send_flood(
                request, body[:-1], response=web.StreamResponse(status=status, headers=headers)
            )
