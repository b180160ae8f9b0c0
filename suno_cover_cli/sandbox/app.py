"""The sandbox itself: one server on loopback, in front of API and image host."""

import contextlib
import hmac
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Self

import msgspec
from aiohttp import web

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.errors import UsageError, explain_bind_error
from suno_cover_cli.sandbox.callback_sender import CallbackSender
from suno_cover_cli.sandbox.image_host import IMAGE_PREFIX, ImageHost
from suno_cover_cli.sandbox.jobs import JobRegistry, KeyLine, SandboxJob, StateFile
from suno_cover_cli.sandbox.pictures import MIN_IMAGE_BYTES
from suno_cover_cli.sandbox.service import IMITATIONS, Reply, Service

SUBMIT_PATH = "/api/v1/suno/cover/generate"
RECORD_PATH = "/api/v1/suno/cover/record-info"
MUSIC_PATH = "/api/v1/generate/record-info"
CREDIT_PATHS = ("/api/v1/generate/credit", "/api/v1/chat/credit")
# 20 requests in any 10 s, the excess refused and not queued (documented by kie.ai).
LIMIT_REQUESTS = 20
LIMIT_WINDOW_S = 10.0
_LOG_LENGTH = 10_000
# aiohttp waits 60 s for open connections by default; here no work is lost.
_SHUTDOWN_S = 0.1

Route = Callable[[web.BaseRequest], Awaitable[Reply]]


class LoggedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request that was answered.

    Attributes:
        at_s: When it came in, on the sandbox's monotonic clock.
        method: HTTP method.
        path: Without the query.
        music_task_id: Of the job it was about, if there was one.
        task_id: Cover task id it was about, if there was one.
        authorized: An ``Authorization`` header came with it, right or wrong.
        status: HTTP status of the answer; 0 when the connection was cut.
    """

    at_s: float
    method: str
    path: str
    music_task_id: str | None
    task_id: str | None
    authorized: bool
    status: int


class Sandbox:
    """An imitation of the service. Entering means serving; leaving takes less than a second.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        generation_s: How long a cover takes in the default scenarios.
        time_scale: Divides every delay of the sandbox: with 60 a minute takes a second.
        api_key: The only key that is accepted; ``None`` makes one up, which the state file keeps.
        webhook_key: Signs callbacks the way kie.ai does.
        provider: Whose habits to imitate, one of :data:`~suno_cover_cli.sandbox.service.IMITATIONS`.
        allow_remote_callbacks: Callbacks may go to other machines.
        state_file: Jobs are kept here and known again after a restart, a kill included.
        image_bytes: Exact size of each PNG, 4,096 or more; ``None`` for small pictures.
        enforce_limit: More than 20 API requests in 10 s are refused with 429.
        clock: Time.

    Attributes:
        api_key: The key that is accepted.
        request_log: The latest 10,000 requests, oldest first.

    Raises:
        UsageError: An argument makes no sense, or on entering: the port is taken, the state file is not ours.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        generation_s: float = 1.0,
        time_scale: float = 1.0,
        api_key: str | None = None,
        webhook_key: str | None = None,
        provider: str = "sunoapi",
        allow_remote_callbacks: bool = False,
        state_file: Path | None = None,
        image_bytes: int | None = None,
        enforce_limit: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if provider not in IMITATIONS:
            raise UsageError(f"the sandbox does not imitate {provider}", hint=f"Use {' or '.join(IMITATIONS)}.")
        if time_scale <= 0 or generation_s < 0:
            raise UsageError("the time scale must be above 0 and the generation time not below it")
        if image_bytes is not None and image_bytes < MIN_IMAGE_BYTES:
            raise UsageError(f"a picture needs at least {MIN_IMAGE_BYTES} bytes")
        self._host = host
        self._port = port
        self._imitation = IMITATIONS[provider]
        self._clock = clock or SystemClock()
        self.api_key = api_key or f"sandbox-{secrets.token_hex(16)}"
        self._is_key_made_up = api_key is None
        self.request_log: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self._admitted: deque[float] | None = deque(maxlen=LIMIT_REQUESTS) if enforce_limit else None
        self._registry = JobRegistry(self._clock, generation_s=generation_s / time_scale, time_scale=time_scale)
        self._state_file = StateFile(state_file, self._registry)
        self._callback_sender = CallbackSender(
            clock=self._clock,
            time_scale=time_scale,
            webhook_key=webhook_key,
            allow_remote=allow_remote_callbacks,
            state_file=self._state_file,
        )
        self._service = Service(
            registry=self._registry,
            state_file=self._state_file,
            callback_sender=self._callback_sender,
            clock=self._clock,
            time_scale=time_scale,
            imitation=self._imitation,
        )
        self._image_host = ImageHost(
            self._registry, clock=self._clock, time_scale=time_scale, image_bytes=image_bytes
        )
        self._routes: dict[str, tuple[str, Route]] = {
            SUBMIT_PATH: ("POST", self._service.submit),
            RECORD_PATH: ("GET", self._service.fetch_record),
            MUSIC_PATH: ("GET", self._service.fetch_music),
            **dict.fromkeys(CREDIT_PATHS, ("GET", self._service.fetch_credit)),
        }

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._state_file)
            if self._is_key_made_up:
                if self._state_file.api_key is not None:
                    self.api_key = self._state_file.api_key
                else:
                    # On a full disk it is another one after a restart; whoever has this one is served.
                    with contextlib.suppress(OSError):
                        await self._state_file.commit(KeyLine(api_key=self.api_key))
            await stack.enter_async_context(self._callback_sender)
            # What fails is answered with 500; nothing but words of our own goes to the terminal.
            silent = logging.Logger("sandbox", logging.CRITICAL + 1)  # noqa: LOG001 -- ours alone, no parent
            server = web.Server(self._answer, access_log=None, logger=silent)
            runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            try:
                await web.TCPSite(runner, self._host, self._port).start()
            except (OSError, OverflowError) as error:
                raise explain_bind_error(error, self._host, self._port) from error
            self._port = int(runner.addresses[0][1])
            self._service.base_url = self.url
            self._callback_sender.serve_images_from(self.url)
            for job in self.jobs.values():
                self._callback_sender.resume(job)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """Base address of API and image host; the port is known once entered."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    @property
    def jobs(self) -> Mapping[str, SandboxJob]:
        """Facts of every job by cover task id, oldest first."""
        return self._registry.jobs

    async def wait_settled(self, task_id: str) -> None:
        """Wait until the last callback of a job has been acknowledged or given up."""
        await self._callback_sender.wait_settled(self.jobs[task_id])

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request and write it into the log."""
        at_s = self._clock.monotonic()
        try:
            reply = await self._route(request, at_s)
        except web.HTTPRequestEntityTooLarge:
            reply = self._service.refuse(413, "The request body is too long")
        gone = request.transport is None or request.transport.is_closing()
        self.request_log.append(
            LoggedRequest(
                at_s=at_s,
                method=request.method,
                path=request.path,
                music_task_id=reply.music_task_id,
                task_id=reply.task_id,
                authorized="Authorization" in request.headers,
                status=0 if gone else reply.response.status,
            )
        )
        return reply.response

    async def _route(self, request: web.BaseRequest, at_s: float) -> Reply:
        path = request.path
        if path.startswith(IMAGE_PREFIX) and request.method == "GET":
            entry = self._image_host.find(path)
            response = await self._image_host.serve(request, entry)
            return (
                Reply(response) if entry is None else Reply(response, entry.job.music_task_id, entry.job.task_id)
            )
        method, route = self._routes.get(path, (None, None))
        if route is None:
            return Reply(web.json_response({"code": 404, "msg": "Not Found", "data": None}, status=404))
        if request.method != method:
            return Reply(web.Response(status=405, headers={"Allow": method or ""}))
        refusal = self._refusal(request, at_s)
        return await route(request) if refusal is None else refusal

    def _refusal(self, request: web.BaseRequest, at_s: float) -> Reply | None:
        """Return the answer to a request without the key, of no JSON type or too fast; ``None`` for a good one."""
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self.api_key}".encode()):
            return self._service.refuse(401, "You do not have access permissions")
        wants_json_type = self._imitation.wants_json_type_on_get or request.method == "POST"
        if wants_json_type and request.content_type != "application/json":
            return self._service.refuse(400, "Content-Type must be application/json")
        if self._admitted is None:
            return None
        if len(self._admitted) == LIMIT_REQUESTS and at_s - self._admitted[0] < LIMIT_WINDOW_S:
            return self._service.refuse(429, "Your call frequency is too high. Please try again later.")
        self._admitted.append(at_s)
        return None
