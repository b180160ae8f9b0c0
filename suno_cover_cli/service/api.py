"""The service over HTTP: submit, read, balance. Retries live here; what an answer means lives in answers."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import AnswerLostError, UnavailableError, connection_reason, reason_of
from suno_cover_cli.base.events import RequestRetried, Sink
from suno_cover_cli.base.models import Envelope, JobRecord, Submission
from suno_cover_cli.base.providers import Provider
from suno_cover_cli.base.proxies import Proxy, find_proxy
from suno_cover_cli.base.retries import read_retry_after
from suno_cover_cli.base.settings import Settings, parse_rate
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.service.answers import decode_envelope, read_credits, read_record, read_submission, read_title
from suno_cover_cli.service.limiter import Priority, RequestLimiter
from suno_cover_cli.service.shared_window import MAX_SHARED_LIMIT, SharedWindow, window_path

_MAX_BODY_BYTES = 1024 * 1024

T = TypeVar("T")


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently a call is repeated.

    Attributes:
        max_attempts: Tries of one call, the first included.
        base_s: First back-off in seconds; it doubles, with full jitter on the upper half.
        max_s: Longest back-off.
        maintenance_s: Pause after a 455; no call starts during it.
        has_deadline: The caller gives up by itself: a call that came too fast is repeated until then, which is
            never counted as a failure, and whatever time the service asks to wait is waited.
        max_asked_s: Without a deadline, the longest time that is waited when the service asks for it.
    """

    max_attempts: int = 5
    base_s: float = 0.5
    max_s: float = 10.0
    maintenance_s: float = 30.0
    has_deadline: bool = False
    max_asked_s: float = 120.0


JOBS = RetryPolicy(has_deadline=True)
"""For jobs: each has a deadline of its own."""


@asynccontextmanager
async def open_api(
    settings: Settings,
    key: Secret,
    *,
    clock: Clock,
    sink: Sink,
    user_agent: str,
    policy: RetryPolicy | None = None,
    writes: bool = True,
) -> AsyncIterator["SunoApi"]:
    """Open the API of the settings' service, within the limit that all processes of the user keep together.

    Args:
        settings: Service, rate and state folder.
        key: Of the account.
        clock: Time.
        sink: Hears of every retry.
        user_agent: Sent with every call.
        policy: Patience; by default that of a command that makes a call or two.
        writes: The file of the limit is made where there is none.
    """
    limit, window_s = parse_rate(settings.rate)
    shared = None
    if limit is not None and limit <= MAX_SHARED_LIMIT:
        path = await asyncio.to_thread(window_path, settings.state_dir, settings.base_url, key)
        shared = SharedWindow(path, clock, makes_file=writes)
    async with (
        RequestLimiter(limit, window_s, clock=clock, shared=shared) as limiter,
        SunoApi(
            base_url=settings.base_url,
            key=key,
            provider=settings.provider,
            limiter=limiter,
            clock=clock,
            sink=sink,
            user_agent=user_agent,
            policy=policy,
        ) as api,
    ):
        yield api


class SunoApi:
    """One account at one service. An async context manager: entering opens the session, leaving closes it.

    Every attempt of every call takes a slot of the shared limiter. Redirects are not followed: a key goes
    where the user pointed it and nowhere else.

    Args:
        base_url: Scheme, host and optional prefix, no trailing slash.
        key: API key, sent as ``Authorization: Bearer``.
        provider: Whose paths, field names and codes count.
        limiter: Shared by all calls of the process.
        clock: Time.
        sink: Hears of every retry.
        user_agent: Sent with every call.
        policy: Patience.

    Attributes:
        trouble: Why calls are being held now, in one line; empty when they are not.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: Secret,
        provider: Provider,
        limiter: RequestLimiter,
        clock: Clock,
        sink: Sink,
        user_agent: str,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._base_url = base_url
        self._key = key
        self._provider = provider
        self._limiter = limiter
        self._clock = clock
        self._sink = sink
        self._user_agent = user_agent
        self._policy = policy or RetryPolicy()
        self._session: aiohttp.ClientSession | None = None
        self._held_until = 0.0
        self.trouble = ""
        self._proxy: Proxy | None = None

    async def __aenter__(self) -> Self:
        self._proxy = await asyncio.to_thread(find_proxy, self._base_url)
        self._session = aiohttp.ClientSession(
            headers={
                "Authorization": f"Bearer {self._key.reveal()}",
                # kie.ai documents this header for GET as well.
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": self._user_agent,
            },
            # connect is left open: it would count the wait for a pooled connection too.
            timeout=aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def submit(self, music_task_id: str, callback_url: str) -> Submission:
        """Ask for a cover of one piece of music.

        Repeated after a lost or unreadable answer: the service documents one cover job per music task and
        answers a repeat with the earlier id instead of charging again, so this is safe here.

        Args:
            music_task_id: Id of the music task, already validated.
            callback_url: Where the service calls back; any address will do without a listener.

        Raises:
            RefusedError: Unknown music task, bad field, unsafe id, or a duplicate without an id.
            AccountError: Key refused or out of credits.
            JobFailedError: The provider switched the feature off.
            UnavailableError: Still failing after all attempts.
        """
        provider = self._provider
        habits = provider.habits
        body = msgspec.json.encode({habits.music_field: music_task_id, habits.callback_field: callback_url})
        may_exist = False

        async def attempt() -> Submission:
            nonlocal may_exist
            try:
                answer = await self._request("POST", provider.calls.submit, Priority.SUBMIT, body=body)
                return read_submission(answer, provider)
            except UnavailableError as error:
                may_exist = may_exist or error.code not in {"throttled", "maintenance", "network"}
                raise

        submission = await self._repeat("submit", attempt)
        if submission.is_existing and may_exist:
            # The earlier job the service speaks of is the one whose answer we lost a moment ago.
            return Submission(task_id=submission.task_id)
        return submission

    async def fetch_job(self, task_id: str) -> JobRecord:
        """Read one cover job once, retries on faults included.

        Raises:
            SunoCoverError: Refused, or unavailable after all attempts.
        """

        async def attempt() -> JobRecord:
            return read_record(await self._read(self._provider.calls.record, task_id), task_id, self._provider)

        return await self._repeat("read", attempt)

    async def fetch_title(self, music_task_id: str) -> str | None:
        """Read the title of a piece of music; ``None`` when its record has none. Untrusted text.

        The call belongs to the same service (both providers document it under "music generation details").

        Raises:
            SunoCoverError: Refused, or unavailable after all attempts.
        """

        async def attempt() -> str | None:
            return read_title(await self._read(self._provider.calls.music, music_task_id), self._provider)

        return await self._repeat("title", attempt)

    async def fetch_credits(self) -> float:
        """Read the balance, a decimal.

        Raises:
            SunoCoverError: Refused, or unavailable after all attempts.
        """

        async def attempt() -> float:
            answer = await self._request("GET", self._provider.calls.balance, Priority.READ)
            return read_credits(answer, self._provider)

        return await self._repeat("balance", attempt)

    async def _repeat(self, call: str, attempt: Callable[[], Awaitable[T]]) -> T:
        failures = refusals = 0
        while True:
            try:
                answer = await attempt()
            except UnavailableError as error:
                if error.code == "throttled":
                    refusals += 1
                    self.trouble = error.message
                else:
                    failures += 1
                self._check_worth_repeating(error, failures, refusals)
                delay_s = self._delay_s(error, failures, refusals)
                self._report_retry(call, error, delay_s)
            else:
                self.trouble = ""
                return answer
            await self._clock.sleep(delay_s)

    def _report_retry(self, call: str, error: UnavailableError, delay_s: float) -> None:
        now = self._clock.monotonic()
        if error.code == "throttled":
            if now < self._held_until:
                return  # One refusal holds all calls, and those under way are refused with it: that is one fact.
            self._held_until = now + delay_s
        self._sink.emit(RequestRetried(call=call, reason=error.message, delay_s=delay_s))

    def _check_worth_repeating(self, error: UnavailableError, failures: int, refusals: int) -> None:
        """Raise what is final.

        Raises:
            UnavailableError: The error itself; one that asks for too long a wait says so.
        """
        policy, asked_s = self._policy, error.retry_after_s or 0.0
        counted = failures if policy.has_deadline else failures + refusals
        if error.code == "tls" or counted >= policy.max_attempts:
            raise error
        if asked_s > policy.max_asked_s and not policy.has_deadline:
            error.message += f"; it asks to wait {asked_s:.0f} s"
            raise error

    def _delay_s(self, error: UnavailableError, failures: int, refusals: int) -> float:
        policy, asked_s = self._policy, error.retry_after_s or 0.0
        if error.code == "maintenance":
            delay_s = max(policy.maintenance_s, asked_s)
            self._limiter.pause(delay_s)
            return delay_s
        if error.code == "throttled":
            # Everybody slows down: the limit is the account's, not this call's. Half a window is the mean time
            # until a slot comes free when others use it, too.
            window_s = self._limiter.window_s
            delay_s = max(_jittered(window_s / 2, refusals, 6 * window_s), asked_s)
            self._limiter.pause(delay_s)
            return delay_s
        return max(_jittered(policy.base_s, failures, policy.max_s), asked_s)

    async def _read(self, path: str, task_id: str) -> Envelope:
        return await self._request(
            "GET", path, Priority.READ, params={self._provider.habits.id_parameter: task_id}
        )

    async def _request(
        self,
        method: str,
        path: str,
        priority: Priority,
        *,
        params: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Envelope:
        if self._session is None:
            raise RuntimeError("SunoApi is used outside its context")
        async with self._limiter.slot(priority):
            try:
                async with self._session.request(
                    method,
                    self._base_url + path,
                    params=params,
                    data=body,
                    proxy=None if self._proxy is None else self._proxy.address.reveal(),
                    allow_redirects=False,
                ) as response:
                    status = response.status
                    retry_after_s = read_retry_after(response.headers.get("Retry-After"), self._clock.time())
                    raw = await _read_capped(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _network_error(error, self._base_url, self._proxy) from error
        try:
            envelope = decode_envelope(status, raw, self._provider)
        except UnavailableError as error:
            error.retry_after_s = retry_after_s
            raise
        envelope.retry_after_s = retry_after_s
        return envelope


def _jittered(first_s: float, attempts: int, max_s: float) -> float:
    """Return a back-off that doubles with each attempt, up to a bound, with jitter on its upper half."""
    # More doublings than this would only overflow.
    ceiling_s = min(first_s * 2.0 ** min(attempts - 1, 30), max_s)
    return random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311 -- jitter


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    """Read a body of at most 1 MiB; a longer one is cut, which makes it unreadable rather than endless."""
    chunks, size = [], 0
    async for chunk in response.content.iter_chunked(64 * 1024):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_BODY_BYTES:
            break
    return b"".join(chunks)


def _network_error(error: BaseException, base_url: str, proxy: Proxy | None) -> UnavailableError:
    where = clean(base_url, 100)
    status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
    if proxy is not None and (fault := proxy.describe_error(error, status)) is not None:
        # Nothing has left for the service yet.
        return UnavailableError(
            fault,
            code="network",
            hint=proxy.advice,
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return UnavailableError(
            f"the connection to {where} is not trusted: {clean(connection_reason(error), 200)}",
            code="tls",
            hint="If your network inspects TLS, point SSL_CERT_FILE at its certificate; else check the clock.",
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnavailableError(
            f"cannot connect to {where}: {clean(reason_of(error.os_error), 200)}",
            code="network",
            hint="Check the network and the proxy settings; suno-cover doctor shows which step fails.",
        )
    if isinstance(error, aiohttp.InvalidURL):
        return UnavailableError(f"{where} is not a usable address", code="tls", hint="Check --base-url.")
    what = "no answer in time" if isinstance(error, TimeoutError) else clean(error, 200) or type(error).__name__
    return AnswerLostError(
        f"the answer of {where} was lost: {what}",
        hint="Run the same command again: the service returns the job it already has.",
    )
