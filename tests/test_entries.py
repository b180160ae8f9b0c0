"""Every entry of the service's list ends as saved or as failed in the job object, whatever it is."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli_fixtures import Cli, Run
from tests.image_fixtures import names_in, picture

PNG = picture()


@asynccontextmanager
async def service(images: Any, *, silent: bool = False) -> AsyncIterator[str]:
    """Run a service whose only job is done and has these images; ``{url}`` stands for its own address."""
    never = asyncio.Event()

    async def read(_request: web.Request) -> web.Response:
        return web.json_response({"code": 200, "msg": "success", "data": {"successFlag": 1, "response": filled}})

    async def send(_request: web.Request) -> web.Response:
        if silent:
            await never.wait()
        return web.Response(body=PNG)

    app = web.Application()
    app.router.add_get("/api/v1/suno/cover/record-info", read)
    app.router.add_get("/{name}", send)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"

    def fill(entry: Any) -> Any:
        return entry.replace("{url}", address) if isinstance(entry, str) else entry

    filled = {"images": [fill(entry) for entry in images] if isinstance(images, list) else fill(images)}
    try:
        yield address
    finally:
        never.set()
        await runner.cleanup()


async def wait_for(cli: Cli, address: str, *options: str) -> tuple[Run, dict[str, Any]]:
    """Run ``wait --json`` for the job and return what it left behind."""
    run = await cli.run_beside(
        *("wait", "the-job", "--json", "--base-url", address, "--poll-interval", "5", *options),
        SUNO_API_KEY="key-1",
    )
    return run, run.objects[0]


NO_ADDRESSES = [
    None,
    {"url": "https://a.example/1.png"},
    7,
    "",
    True,
    ["https://a.example/1.png"],
    "x" * 5_000,
    "null",
]


@pytest.mark.parametrize("entry", NO_ADDRESSES, ids=lambda entry: str(entry)[:20])
async def test_an_entry_that_is_no_address_is_failed_not_lost(cli: Cli, entry: Any) -> None:
    """Beside a good image, whatever is no address is told as failed, and the exit code says one is missing."""
    async with service(["{url}/1.png", entry]) as address:
        run, job = await wait_for(cli, address)
    assert run.code == 7
    assert [image["n"] for image in job["images"]] == [1]
    assert len(job["failed_images"]) == 1
    assert len(job["failed_images"][0]["url"]) <= 2_000
    assert job["failed_images"][0]["error"]


async def test_a_list_of_no_addresses_ends_at_once(cli: Cli) -> None:
    """A list of nothing but such entries is the service's last word: no further read, and each is told."""
    began_s = time.monotonic()
    async with service(NO_ADDRESSES) as address:
        run, job = await wait_for(cli, address)
    assert time.monotonic() - began_s < 20
    assert (run.code, job["state"]) == (7, "partial")
    assert len(job["failed_images"]) == len(NO_ADDRESSES)


async def test_the_seventieth_image_is_saved_too(cli: Cli, tmp_path: Path) -> None:
    """A long list is saved to its end."""
    async with service([f"{{url}}/{n}.png" for n in range(1, 71)]) as address:
        run, job = await wait_for(cli, address, "--output", str(tmp_path / "many"))
    assert (run.code, len(job["images"]), job["failed_images"]) == (0, 70, [])
    assert len(names_in(tmp_path / "many")) == 70


async def test_a_single_address_instead_of_a_list(cli: Cli) -> None:
    """A service that sends one address where a list is promised is understood."""
    async with service("{url}/1.png") as address:
        run, job = await wait_for(cli, address)
    assert (run.code, len(job["images"])) == (0, 1)


async def test_what_is_late_is_told_as_late(cli: Cli) -> None:
    """An image host that never answers costs the images, at the deadline, and not the truth about the job."""
    began_s = time.monotonic()
    async with service(["{url}/1.png", "{url}/2.png"], silent=True) as address:
        run, job = await wait_for(cli, address, "--timeout", "1")
    assert time.monotonic() - began_s < 1 + 15 + 10
    assert (run.code, job["state"]) == (7, "partial")
    assert [image["error"] for image in job["failed_images"]] == [
        "it had not arrived at the end of the time limit"
    ] * 2
    assert "still running" not in run.stdout + run.stderr
