"""URL -> checked file.

A save is a few attempts. One attempt is a request (:mod:`hosts`), a body that is written and checked while it
comes (:mod:`transfer`, :mod:`check`), and a final name (:mod:`files`). What may be connected to at all is decided
in :mod:`addresses`.
"""

import asyncio
import functools
import os
import ssl
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from aiohttp import ClientError, ClientResponse
from aiohttp.abc import AbstractResolver
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.base.retries import read_retry_after, repeat
from suno_cover_cli.images.addresses import AddressGuard
from suno_cover_cli.images.check import ImageChecker
from suno_cover_cli.images.failures import AttemptError, check_patience, host_of
from suno_cover_cli.images.files import ImageFolder
from suno_cover_cli.images.hosts import MOST_LAYERS, ImageHosts, Unpacker, read_body
from suno_cover_cli.images.kinds import DamagedImageError, NotAnImageError, UnsupportedImageError
from suno_cover_cli.images.transfer import Intake, Transfer

# A source that sends no picture, or a broken one, seldom recovers by itself.
_CONTENT_ATTEMPTS = 3
_WAITING_THREADS = 8

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")


class Downloader:
    """Saves images. Entering opens its sessions; leaving closes them.

    Nothing it sends carries a key, a cookie or a ``.netrc`` entry. Proxies are taken from the environment or
    the system, TLS authorities from ``SSL_CERT_FILE`` or the system.

    Args:
        allow_loopback: The service itself is on this machine: loopback, and http to it, is allowed too.
        clock: Waits between attempts.
        user_agent: Sent as ``User-Agent``; image hosts answer 403 to some default ones.
        environ: For the program that decodes some formats.
        max_bytes: Larger images are refused, counted on what arrives and on what it unpacks to.
        max_attempts: Attempts per image.
        max_concurrent: Transfers at a time in this process.
        connect_s: Limit for name, connection and TLS together, in seconds.
        idle_s: Longest silence of a server, in seconds.
        max_s: Limit for one attempt in seconds, against servers that drip.
        max_pixels: Larger pictures are refused; see :class:`ImageChecker`.
        ssl_context: Trust to use instead of the default one.
        resolver: Turns names into addresses instead of the system; its answers are checked like any.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool,
        clock: Clock,
        user_agent: str,
        environ: ChildEnviron,
        max_bytes: int = 50 * 1024 * 1024,
        max_attempts: int = 5,
        max_concurrent: int = 16,
        connect_s: float = 15.0,
        idle_s: float = 30.0,
        max_s: float = 300.0,
        max_pixels: int = 50_000_000,
        ssl_context: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guard = AddressGuard(allow_loopback=allow_loopback)
        self._hosts = ImageHosts(
            self._guard,
            user_agent=user_agent,
            connect_s=connect_s,
            idle_s=idle_s,
            max_connections=max_concurrent,
            ssl_context=ssl_context,
            resolver=resolver,
        )
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_attempts = max_attempts
        self._max_s = max_s
        self._checker = ImageChecker(environ, max_pixels)
        self._slots = asyncio.Semaphore(max_concurrent)
        # The next pictures arrive while the last ones are checked, but only so many wait for their check.
        self._places = asyncio.Semaphore(2 * max_concurrent)
        self._folders: weakref.WeakValueDictionary[Path, TargetFolder] = weakref.WeakValueDictionary()
        # Unpacking keeps a core busy, syncing keeps a thread waiting: some more threads than cores.
        self._threads = ThreadPoolExecutor((os.cpu_count() or 1) + _WAITING_THREADS, thread_name_prefix="images")
        self._backoff = wait_exponential(multiplier=0.5, max=20) + wait_random(0, 0.5)

    async def __aenter__(self) -> Self:
        await self._hosts.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Every save waits for its own last step, so the threads are idle unless a caller left early.
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._hosts.__aexit__(exc_type, exc, traceback)

    async def find_saved(self, folder: Path, stem: str, url: str) -> SavedImage | None:
        """Return the whole picture that is already in ``folder`` under ``stem``, whatever its format.

        Args:
            folder: Need not exist.
            stem: File name without extension.
            url: Taken over into the answer.

        Raises:
            ImageError: ``bad_name``; ``stem`` is not a plain file name.
        """
        return await self._run(self._target(folder).files.find_saved, stem, url)

    async def save(
        self,
        url: str,
        folder: Path,
        stem: str,
        *,
        overwrite: bool = False,
        on_progress: Callable[[int, int | None], None] | None = None,
        on_retry: Callable[[str], None] | None = None,
        turn: AbstractAsyncContextManager[object] | None = None,
    ) -> SavedImage:
        """Fetch one image into ``folder/stem.<extension by content>``, whole, checked and on the disk.

        Args:
            url: As the service announced it; untrusted.
            folder: Made when missing.
            stem: File name without extension.
            overwrite: Replace what bears the name.
            on_progress: Told bytes so far and in all (``None``: the server does not say) as they arrive.
            on_retry: Told in one line why an attempt failed, before the next.
            turn: Entered for as long as the image keeps others from being fetched: until it has its name.

        Returns:
            The file; or the whole picture that another process put there first.

        Raises:
            ImageError: With the codes ``image_forbidden_address``, ``image_unavailable``, ``image_gone``
                (403, 404 or 410 that stays), ``image_too_large``, ``image_not_an_image``, ``image_truncated``,
                ``image_too_many_pixels``, ``disk_full``, ``folder_unwritable``, ``file_exists`` and
                ``bad_name``.
        """
        address = self._guard.check_url(url)
        target = self._target(folder)
        transfer = Transfer(
            url, address, target.files, stem, self._checker, overwrite=overwrite, on_progress=on_progress
        )

        async def go_on(again: Callable[[], Awaitable[SavedImage]]) -> SavedImage:
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(AttemptError),
                stop=self._is_enough,
                wait=self._delay_s,
                before_sleep=None if on_retry is None else lambda state: on_retry(_failure_of(state).message),
                sleep=self._clock.sleep,
                reraise=True,
            )
            return await retrying(again)

        try:
            async with turn or nullcontext():
                attempt = functools.partial(self._attempt, transfer, target)
                image = await repeat(attempt, go_on, worth_repeating=AttemptError)
            if transfer.is_named:
                await target.wait_durable()
        except BaseException:
            transfer.stop()
            # Not in a thread of ours: all of them may be at work on what is no longer wanted.
            await asyncio.shield(asyncio.to_thread(transfer.discard))
            raise
        return image

    async def _attempt(self, transfer: Transfer, target: "TargetFolder") -> SavedImage:
        try:
            async with self._places:
                existing = await self._run(transfer.prepare)
                if existing is not None:
                    return existing
                target.begin_sync()
                rest = await self._fetch(transfer)
                return await self._run(transfer.finish, rest)
        except (NotAnImageError, DamagedImageError) as error:
            await self._run(transfer.forget)
            shown = transfer.sent(error) if isinstance(error, NotAnImageError) else error
            if isinstance(error, NotAnImageError) and error.is_lasting:
                raise shown from error
            raise AttemptError(
                shown.message, code=shown.code, hint=shown.hint, max_attempts=_CONTENT_ATTEMPTS
            ) from error
        except UnsupportedImageError as error:
            raise transfer.sent(error) from error
        except AttemptError as error:
            check_patience(error, self._asked_s(error))
            if transfer.note_failure(error):
                return await self._settle_for(transfer, error)
            raise

    async def _settle_for(self, transfer: Transfer, error: AttemptError) -> SavedImage:
        """Take what has come for all there is, if it is a whole picture.

        Raises:
            AttemptError: ``error``: it is none.
        """
        try:
            return await self._run(transfer.finish)
        except (DamagedImageError, NotAnImageError):
            await self._run(transfer.forget)
            raise error from None

    async def _fetch(self, transfer: Transfer) -> bytes:
        """Let the network do its part, within its slot and its time; return what is still to be taken."""
        async with self._slots:
            try:
                async with (
                    asyncio.timeout(self._max_s),
                    self._hosts.request(transfer.address, transfer.ask()) as response,
                ):
                    is_rest = await self._begin(transfer, response)
                    return await self._receive(transfer, response, is_rest=is_rest)
            except TimeoutError as error:
                raise ImageError(
                    f"the picture was not whole after {self._max_s:g} s",
                    code="image_unavailable",
                    hint="Run suno-cover resume when the network is faster.",
                ) from error

    async def _begin(self, transfer: Transfer, response: ClientResponse) -> bool:
        """Decide what an answer is; see :meth:`Transfer.begin`."""
        try:
            is_rest = transfer.begin(response)
        except AttemptError:
            await self._run(transfer.forget)
            raise
        if not is_rest and transfer.received_bytes:
            await self._run(transfer.restart)
        if transfer.total_bytes is not None:
            self._check_size(transfer.total_bytes, response)
        return is_rest

    async def _receive(self, transfer: Transfer, response: ClientResponse, *, is_rest: bool) -> bytes:
        """Read the body and have it taken as it comes; return the end of it, for the last visit to a thread.

        A small picture is all end: it is written, checked and named in one visit.
        """
        received = transfer.received_bytes
        encoding = response.headers.get("Content-Encoding", "")
        unpacker = Unpacker(encoding, layers=0 if is_rest else MOST_LAYERS)
        intake = Intake(transfer.take, self._run)
        try:
            async for piece in read_body(response, unpacker):
                if unpacker.is_packed:
                    transfer.note_packed()
                received += len(piece)
                # A packed body may be large on either side of the unpacking.
                self._check_size(max(received, unpacker.most_bytes), response)
                await intake.give(piece)
                transfer.report_progress(received)
            transfer.check_length(received)
        except (ClientError, OSError, AttemptError):
            # What has come need not come again, or may turn out to be all.
            await intake.flush()
            raise
        return await intake.finish()

    def _check_size(self, size_bytes: int, response: ClientResponse) -> None:
        if size_bytes > self._max_bytes:
            limit = f"{self._max_bytes / 1024 / 1024:g} MiB"
            raise ImageError(
                f"{host_of(response)} sends more than {limit}",
                code="image_too_large",
                hint="No cover is that large. Look at the address before you trust it.",
            )

    def _is_enough(self, state: RetryCallState) -> bool:
        """Tell whether the attempt that just failed was the last that this kind of failure is worth."""
        return state.attempt_number >= min(
            self._max_attempts, _failure_of(state).max_attempts or self._max_attempts
        )

    def _delay_s(self, state: RetryCallState) -> float:
        return max(self._backoff(state), self._asked_s(_failure_of(state)))

    def _asked_s(self, error: AttemptError) -> float:
        """Return the seconds that the server asked to wait."""
        return read_retry_after(error.retry_after, self._clock.time()) or 0.0

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in a thread of our own; when cancelled, it still runs to its end."""
        # Not run_in_executor: its chain of futures, and the shield it would need, take a tenth of the loop's time.
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 -- whatever it raises is the caller's
                loop.call_soon_threadsafe(_settle, outcome.set_exception, error, outcome)
            else:
                loop.call_soon_threadsafe(_settle, outcome.set_result, result, outcome)

        # One that is still waiting for a thread when the downloader is left never runs.
        self._threads.submit(call).add_done_callback(
            lambda done: done.cancelled() and loop.call_soon_threadsafe(outcome.cancel)
        )
        return await outcome

    def _target(self, path: Path) -> "TargetFolder":
        """Return what all saves into one folder share."""
        target = self._folders.get(path)
        if target is None:
            target = self._folders[path] = TargetFolder(ImageFolder(path, self._checker), self._run)
        return target


class TargetFolder:
    """One folder, and what makes the names in it and in those above durable: one sync for many names.

    Args:
        files: The folder.
        run: Runs a blocking function in a thread.
    """

    def __init__(self, files: ImageFolder, run: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self.files = files
        self._run = run
        self._above: asyncio.Future[None] | None = None
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    def begin_sync(self) -> None:
        """Begin with the folders above: what is to be given a name here is still on its way."""
        if self._above is None:
            self._above = asyncio.ensure_future(self._run(self.files.sync_above))

    async def wait_durable(self) -> None:
        """Wait for a sync that begins after this call: every name given before is durable then."""
        if self._next is None:
            self._next = asyncio.create_task(self._sync(self._current))
        await asyncio.shield(self._next)

    async def _sync(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        # A caller that comes from here on may have given a name too late for this sync.
        self._current, self._next = self._next, None
        await self._run(self.files.sync)
        self.begin_sync()
        if self._above is not None:
            await self._above


def _settle(settle: Callable[[V], None], value: V, outcome: "asyncio.Future[T]") -> None:
    """Pass on what a thread brought, unless the caller was cancelled meanwhile."""
    if not outcome.done():
        settle(value)


def _failure_of(state: RetryCallState) -> AttemptError:
    """Return the failure tenacity asks about; only :class:`AttemptError` is ever retried."""
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, AttemptError):
        raise TypeError(f"{error!r} is not a failed attempt")
    return error
