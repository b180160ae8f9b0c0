"""Calls back, as the service does: once the job ends, and again after 1, 5 and 15 minutes without an answer."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.sandbox.jobs import CallbackAttempt, SandboxJob, SettledLine, StateFile
from suno_cover_cli.sandbox.script import Claim, Delivery, Signing

# The source document's schedule; the providers' other pages only say that there are three tries.
RETRY_PAUSES_S = (60.0, 300.0, 900.0)
ANSWER_TIME_S = 15.0
# However much time is scaled, a receiver on a busy machine gets this long.
_LEAST_ANSWER_TIME_S = 1.0
_STALE_S = 3600
_OK = 200
_NOT_ALLOWED = "the callback address is not on loopback"
_FORGED_IMAGE = "https://evil.invalid/x.png"
_FORGED_TASK = "f" * 32


class LoopbackResolver(AbstractResolver):
    """Resolves ``localhost`` and its subdomains without a request to a DNS server, and nothing else."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the loopback address.

        Raises:
            OSError: ``host`` is another machine's name.
        """
        del family  # receivers of this project bind to 127.0.0.1
        if not is_loopback_host(host):
            raise OSError(f"{host} is not on loopback")
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing to release."""


def is_loopback_host(host: str) -> bool:
    """Tell whether a host name or address means this machine and no other."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class CallbackSender:
    """Sends callbacks. Entering opens its session; leaving drops what is still to be sent.

    Args:
        clock: Time.
        time_scale: Divides the pauses of the schedule and the time a receiver has to answer.
        webhook_key: Signs callbacks the way kie.ai does; ``None`` signs nothing.
        allow_remote: Callbacks may leave this machine.
        state_file: Remembers which deliveries are over.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        time_scale: float,
        webhook_key: str | None,
        allow_remote: bool,
        state_file: StateFile,
    ) -> None:
        self._clock = clock
        self._time_scale = time_scale
        self._webhook_key = webhook_key
        self._allow_remote = allow_remote
        self._state_file = state_file
        self._base_url = ""
        self._tls: ssl.SSLContext | None = None
        self._is_open = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        answer_time_s = max(ANSWER_TIME_S / self._time_scale, _LEAST_ANSWER_TIME_S)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=None if self._allow_remote else LoopbackResolver()),
            timeout=aiohttp.ClientTimeout(total=answer_time_s),
            headers={"User-Agent": "suno-cover-sandbox", "Content-Type": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # The group lives in a task of its own, because entering and leaving may happen in different tasks.
        self._host = asyncio.create_task(self._host_deliveries())
        await self._changed.wait()
        self._changed.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._host.cancel()
        await asyncio.wait([self._host])
        await self._session.close()
        if not self._host.cancelled():
            self._host.result()

    async def _host_deliveries(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._group:
                self._is_open = True
                self._changed.set()
                await asyncio.Event().wait()
        finally:
            self._is_open = False
            self._changed.set()

    def serve_images_from(self, base_url: str) -> None:
        """Name the image host, once its port is known."""
        self._base_url = base_url

    async def deliver_before_answer(self, job: SandboxJob) -> None:
        """Send what a scenario wants answered before the submit is."""
        while job.settled < len(job.scenario.deliveries) and job.scenario.deliveries[job.settled].before_answer:
            await self._deliver(job, job.scenario.deliveries[job.settled])

    def schedule(self, job: SandboxJob) -> None:
        """Send the remaining callbacks of a job when they are due."""
        if job.settled < len(job.scenario.deliveries):
            self._group.create_task(self._deliver_all(job))

    def resume(self, job: SandboxJob) -> None:
        """Send what an earlier process left to send, unless its last retry would be over by now."""
        pauses_s = sum(RETRY_PAUSES_S) + sum(delivery.delay_s for delivery in job.scenario.deliveries)
        if self._clock.monotonic() > job.ends_s + pauses_s / self._time_scale:
            job.settled = len(job.scenario.deliveries)
        self.schedule(job)

    async def wait_settled(self, job: SandboxJob) -> None:
        """Wait until the last callback of a job has been acknowledged or given up, or a fault stopped them all."""
        while self._is_open and job.settled < len(job.scenario.deliveries):
            await self._changed.wait()

    async def _deliver_all(self, job: SandboxJob) -> None:
        for delivery in job.scenario.deliveries[job.settled :]:
            due_s = job.created_s + (job.ends_s - job.created_s) * delivery.at
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))
            if delivery.at >= 1:
                job.end_now(self._clock.monotonic())
            await self._clock.sleep(delivery.delay_s / self._time_scale)
            await self._deliver(job, delivery)

    async def _deliver(self, job: SandboxJob, delivery: Delivery) -> None:
        """Send one callback by the schedule until it is answered 200, given up or found not allowed."""
        pauses_s = (0.0, *(RETRY_PAUSES_S if delivery.is_retried else ()))
        status = 0
        for pause_s in pauses_s:
            await self._clock.sleep(pause_s / self._time_scale)
            status, error = await self._post(job, delivery)
            job.callbacks.append(
                CallbackAttempt(at_s=self._clock.monotonic(), claim=delivery.claim, status=status, error=error)
            )
            if status == _OK or error == _NOT_ALLOWED:
                break
        await self._state_file.commit(SettledLine(task_id=job.task_id, status=status))
        job.settled += 1
        # Wakes those who wait now and leaves nothing set for those who come.
        self._changed.set()
        self._changed.clear()

    async def _post(self, job: SandboxJob, delivery: Delivery) -> tuple[int, str]:
        """Send one callback; return the HTTP status of the answer, or 0 and why there was none."""
        url = urlsplit(job.callback_url)
        if not self._allow_remote and not is_loopback_host(url.hostname or ""):
            return 0, _NOT_ALLOWED
        if url.scheme == "https" and self._tls is None:
            # Read when first needed: SSL_CERT_FILE may name the authority of a tunnel on this machine.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        try:
            async with self._session.post(
                job.callback_url,
                data=self._body(job, delivery),
                headers=self._signature(job, delivery),
                allow_redirects=False,
                ssl=self._tls or True,
            ) as response:
                await response.read()
                return response.status, ""
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            return 0, f"{type(failure).__name__}: {failure}"

    def _body(self, job: SandboxJob, delivery: Delivery) -> bytes:
        scenario, task_id = job.scenario, job.task_id
        code, msg, images = scenario.code, scenario.message, None
        if scenario.succeeds:
            images = announced_urls(job, self._base_url)
        match delivery.claim:
            case Claim.NOT_JSON:
                return b"code=200&msg=success\xff"
            case Claim.WRONG_SHAPE:
                return msgspec.json.encode({"code": "done", "data": [task_id]})
            case Claim.FORGED_SUCCESS:
                code, msg, images = 200, "success", (_FORGED_IMAGE,)
            case Claim.FORGED_FAILURE:
                code, msg, images = 501, "Cover generation failed", None
            case Claim.OTHER_TASK:
                code, msg, images, task_id = 200, "success", (_FORGED_IMAGE,), _FORGED_TASK
            case Claim.TRUTH:
                pass
        id_name = "task_id" if delivery.snake_case else "taskId"
        return msgspec.json.encode({"code": code, "msg": msg, "data": {id_name: task_id, "images": images}})

    def _signature(self, job: SandboxJob, delivery: Delivery) -> dict[str, str]:
        """Return the two headers of kie.ai: a time stamp, and the HMAC of task id and stamp."""
        if self._webhook_key is None or delivery.signing is Signing.NONE:
            return {}
        stamp = int(self._clock.time()) - (_STALE_S if delivery.signing is Signing.STALE else 0)
        key = self._webhook_key + ("?" if delivery.signing is Signing.WRONG else "")
        digest = hmac.new(key.encode(), f"{job.task_id}.{stamp}".encode(), hashlib.sha256).digest()
        return {"X-Webhook-Timestamp": str(stamp), "X-Webhook-Signature": base64.b64encode(digest).decode()}


def announced_urls(job: SandboxJob, base_url: str) -> tuple[str, ...]:
    """Return the image addresses that the service tells of a job."""
    if job.scenario.image_urls is not None:
        return job.scenario.image_urls
    return tuple(base_url + path for path in job.image_paths())
