"""What one would write to make covers: listener, submit, callback, downloads. Nothing is checked or written down.

``generate.py ID FOLDER`` speaks to the service of the environment; with ``--sandbox`` the imitation of the
service runs inside the script, as in ``suno-cover generate --sandbox``.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import aiohttp
from aiohttp import web


async def generate(music_task_id: str, folder: Path, base: str, key: str) -> None:
    """Make the covers of one piece of music."""
    called: asyncio.Future[dict[str, list[str]]] = asyncio.get_running_loop().create_future()

    async def receive(request: web.Request) -> web.Response:
        called.set_result((await request.json())["data"])
        return web.json_response({"status": "received"})

    app = web.Application()
    app.router.add_post("/callback", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    order = {"taskId": music_task_id, "callBackUrl": f"http://127.0.0.1:{runner.addresses[0][1]}/callback"}
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(f"{base}/api/v1/suno/cover/generate", json=order, headers=headers) as answer:
            (await answer.json())["data"]["taskId"]
        images = (await called)["images"]

        async def download(n: int, url: str) -> None:
            async with session.get(url) as answer:
                (folder / f"cover_{n}.png").write_bytes(await answer.read())

        await asyncio.gather(*(download(n, url) for n, url in enumerate(images, 1)))
    await runner.cleanup()


async def main(music_task_id: str, folder: Path, *, is_sandboxed: bool) -> None:
    """Find the service, or start its imitation, and generate."""
    async with contextlib.AsyncExitStack() as stack:
        if is_sandboxed:
            from suno_cover_cli.sandbox.app import Sandbox

            sandbox = await stack.enter_async_context(Sandbox(generation_s=0))
            base, key = sandbox.url, sandbox.api_key
        else:
            base, key = os.environ["SUNO_BASE_URL"], os.environ["SUNO_API_KEY"]
        await generate(music_task_id, folder, base, key)


target = Path(sys.argv[2])
target.mkdir(parents=True)
asyncio.run(main(sys.argv[1], target, is_sandboxed="--sandbox" in sys.argv[3:]))
