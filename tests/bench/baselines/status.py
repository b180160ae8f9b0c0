"""What one would write to read one job: nothing but aiohttp."""

import asyncio
import json
import os
import sys

import aiohttp


async def main(task_id: str) -> None:
    """Read the job and print its data."""
    base, key = os.environ["SUNO_BASE_URL"], os.environ["SUNO_API_KEY"]
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        session.get(f"{base}/api/v1/suno/cover/record-info", params={"taskId": task_id}) as answer,
    ):
        sys.stdout.write(json.dumps((await answer.json())["data"]) + "\n")


asyncio.run(main(sys.argv[1]))
