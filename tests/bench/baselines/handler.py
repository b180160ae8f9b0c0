"""The receiver everybody writes first: aiohttp, one route. Prints its port."""

import asyncio
import sys

from aiohttp import web


async def receive(request: web.Request) -> web.Response:
    """Take a callback."""
    await request.json()
    return web.json_response({"status": "received"})


async def main() -> None:
    """Serve until standard input ends."""
    app = web.Application()
    app.router.add_post("/callback", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}/callback\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


asyncio.run(main())
