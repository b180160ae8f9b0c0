"""The forwarder everybody writes first: an aiohttp handler that posts the body on and answers as the receiver did.

``forwarder.py URL``. Prints its own address.
"""

import asyncio
import sys

import aiohttp
from aiohttp import web


async def main(receiver: str) -> None:
    """Serve until standard input ends."""
    async with aiohttp.ClientSession() as session:

        async def forward(request: web.Request) -> web.Response:
            headers = {"Content-Type": request.headers["Content-Type"]}
            async with session.post(receiver, data=await request.read(), headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), content_type=answer.content_type
                )

        app = web.Application()
        app.router.add_post("/callback", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}/callback\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


asyncio.run(main(sys.argv[1]))
