"""A service that counts calls as they arrive, and refuses those above its limit when it is told to."""

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

from tests.image_fixtures import PNG

API_KEY = "counted-0123456789"


class CountingService:
    """Serves the documented calls; a job is done ``generation_s`` seconds after its submit.

    Args:
        limit: Calls in a window.
        window_s: Length of the window in seconds.
        refuses: Answer what is above the limit with 429 instead of only counting it.
        generation_s: How long a cover takes.
        holds: Submits whose music task it returns true for are never answered.
        has_accounts: A job is known to the key alone that it was submitted with, and to no other.

    Attributes:
        arrivals: Moment and music or cover task id of every call, in order.
        refused: How many calls were refused.
        keys: Cover task id -> the key it was read with last.
    """

    def __init__(
        self,
        limit: int,
        window_s: float,
        *,
        refuses: bool = False,
        generation_s: float = 0.5,
        holds: Callable[[str], bool] = lambda _: False,
        has_accounts: bool = False,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._refuses = refuses
        self._generation_s = generation_s
        self._holds = holds
        self._owners: dict[str, str] | None = {} if has_accounts else None
        self._admitted: deque[float] = deque()
        self._made: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.arrivals: list[tuple[float, str]] = []
        self.refused = 0
        self.keys: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/image.png", self._image)
        app.router.add_post("/api/v1/suno/cover/generate", self._submit)
        app.router.add_get("/api/v1/suno/cover/record-info", self._record)
        app.router.add_get("/api/v1/generate/credit", self._credit)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def environ(self) -> dict[str, str]:
        """Variables for a program that is to use it."""
        return {"SUNO_BASE_URL": self.url, "SUNO_API_KEY": API_KEY}

    @property
    def moments(self) -> list[float]:
        """When the calls arrived."""
        return [moment for moment, _ in self.arrivals]

    @property
    def worst_window(self) -> int:
        """The most calls that arrived in any window."""
        moments = self.moments
        return max(sum(1 for other in moments if start <= other < start + self._window_s) for start in moments)

    def best_rate(self, windows: int) -> float:
        """Calls a second in the busiest stretch of so many windows; before and after it there is less to do."""
        moments, length_s = self.moments, windows * self._window_s
        return (
            max(sum(1 for other in moments if start <= other < start + length_s) for start in moments) / length_s
        )

    async def wait_arrivals(self, count: int) -> None:
        """Wait until so many calls have come."""
        async with asyncio.timeout(20):
            while len(self.arrivals) < count:
                self._changed.clear()
                await self._changed.wait()

    def _count(self, about: str) -> web.Response | None:
        """Note a call; return its refusal when it is one too many."""
        now = time.monotonic()
        self.arrivals.append((now, about))
        self._changed.set()
        while self._admitted and now - self._admitted[0] >= self._window_s:
            self._admitted.popleft()
        if self._refuses and len(self._admitted) >= self._limit:
            self.refused += 1
            return _answer(429, "Your call frequency is too high. Please try again later.", status=429)
        self._admitted.append(now)
        return None

    async def _submit(self, request: web.Request) -> web.Response:
        music_task_id = json.loads(await request.read())["taskId"]
        if (refusal := self._count(music_task_id)) is not None:
            return refusal
        if self._holds(music_task_id):
            await asyncio.get_running_loop().create_future()
        task_id = f"c-{music_task_id}"
        self._made.setdefault(task_id, time.monotonic())
        if self._owners is not None:
            self._owners.setdefault(task_id, request.headers["Authorization"])
        return _answer(200, "success", {"taskId": task_id})

    async def _record(self, request: web.Request) -> web.Response:
        task_id = request.query["taskId"]
        self.keys[task_id] = request.headers["Authorization"].removeprefix("Bearer ")
        if (refusal := self._count(task_id)) is not None:
            return refusal
        if self._owners is not None and self._owners.get(task_id) != request.headers["Authorization"]:
            return _answer(200, "success")
        # One that was made elsewhere has been there for long.
        is_done = time.monotonic() - self._made.get(task_id, -math.inf) >= self._generation_s
        images = [f"{self.url}/image.png?of={task_id}"] if is_done else None
        data = {"taskId": task_id, "successFlag": int(is_done), "response": {"images": images}}
        return _answer(200, "success", data)

    async def _credit(self, _: web.Request) -> web.Response:
        return self._count("credit") or _answer(200, "success", 12)

    async def _image(self, request: web.Request) -> web.Response:
        # What follows the picture makes each cover a file of its own.
        return web.Response(body=PNG + request.query["of"].encode())


def _answer(code: int, message: str, data: Any = None, *, status: int = 200) -> web.Response:
    return web.json_response({"code": code, "msg": message, "data": data}, status=status)
