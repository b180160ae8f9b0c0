"""URL -> checked file.

A save is a few attempts. One attempt is a request (:mod:`imagehost`), a body that is looked at from its first
bytes on, and a finishing step in a thread: write, full check (:mod:`imagecheck`), fsync, final name
(:mod:`imagefiles`). What may be connected to at all is decided in :mod:`addresses`.
"""

import asyncio
import functools
import os
import re
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from aiohttp import ClientError, ClientResponse
from aiohttp.abc import AbstractResolver
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.base.retries import repeat
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.addresses import AddressGuard
from suno_cover_cli.images.check import (
    SNIFF_BYTES,
    DamagedImageError,
    ImageChecker,
    NotAnImageError,
    load_decoder,
    sniff,
)
from suno_cover_cli.images.files import ImageFolder, PartFile
from suno_cover_cli.images.hosts import AttemptError, ImageHosts, is_packed, read_body, read_retry_after

_FLUSH_BYTES = 256 * 1024
# What is no picture, or a broken one, at its source seldom mends itself.
_CONTENT_ATTEMPTS = 3
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")

P = ParamSpec("P")
T = TypeVar("T")


class Downloader:
    """Saves images. Entering opens its sessions; leaving closes them.

    Nothing it sends carries a key, a cookie or a ``.netrc`` entry. Proxies are taken from the environment or
    the system, TLS authorities from ``SSL_CERT_FILE`` or the system.

    Args:
        allow_loopback: The service itself is on this machine: loopback, and http to it, is allowed too.
        clock: Waits between attempts.
        user_agent: Sent as ``User-Agent``; image hosts answer 403 to some default ones.
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
        self._checker = ImageChecker(max_pixels)
        self._slots = asyncio.Semaphore(max_concurrent)
        # The next pictures arrive while the last ones are checked, but only so many wait for their check.
        self._places = asyncio.Semaphore(2 * max_concurrent)
        # Decoding keeps a core busy, fsync keeps a thread waiting: a few more threads than cores.
        self._threads = ThreadPoolExecutor((os.cpu_count() or 1) + 4, thread_name_prefix="images")
        self._backoff = wait_exponential(multiplier=0.5, max=20) + wait_random(0, 0.5)

    async def __aenter__(self) -> Self:
        await self._hosts.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Every save waits for its own last step, so the threads are idle unless somebody was in a hurry.
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._hosts.__aexit__(exc_type, exc, traceback)

    def prepare(self) -> None:
        """Load the decoder in a thread, beside whatever else is waited for; returns at once."""
        self._threads.submit(load_decoder)

    async def find_saved(self, folder: Path, stem: str, url: str) -> SavedImage | None:
        """Return the whole picture that is already in ``folder`` under ``stem``, whatever its format.

        Args:
            folder: Need not exist.
            stem: File name without extension.
            url: Taken over into the answer.

        Raises:
            ImageError: ``bad_name``; ``stem`` is not a plain file name.
        """
        return await self._run(ImageFolder(folder, stem, self._checker).find_saved, url)

    async def save(
        self,
        url: str,
        folder: Path,
        stem: str,
        *,
        overwrite: bool = False,
        on_progress: Callable[[int, int | None], None] | None = None,
        on_retry: Callable[[str], None] | None = None,
    ) -> SavedImage:
        """Fetch one image into ``folder/stem.<extension by content>``, whole, checked and on the disk.

        Args:
            url: As the service announced it; untrusted.
            folder: Made when missing.
            stem: File name without extension.
            overwrite: Replace what bears the name.
            on_progress: Told bytes so far and in all (``None``: the server does not say) as they arrive.
            on_retry: Told in one line why an attempt failed, before the next.

        Returns:
            The file; or the whole picture that another process put there first.

        Raises:
            ImageError: With the codes ``image_forbidden_address``, ``image_unavailable``, ``image_gone``
                (403, 404 or 410 that stays), ``image_too_large``, ``image_not_an_image``, ``image_truncated``,
                ``image_too_many_pixels``, ``disk_full``, ``folder_unwritable``, ``file_exists`` and
                ``bad_name``.
        """
        self._guard.check_url(url)
        files = ImageFolder(folder, stem, self._checker)
        transfer = _Transfer(url, files, PartFile(folder, stem), overwrite=overwrite, on_progress=on_progress)

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
            return await repeat(lambda: self._attempt(transfer), go_on, worth_repeating=AttemptError)
        except BaseException:
            await self._run(transfer.part.discard)
            raise

    async def _attempt(self, transfer: "_Transfer") -> SavedImage:
        try:
            async with self._places:
                existing = await self._run(transfer.prepare)
                if existing is not None:
                    return existing
                tail = await self._fetch(transfer)
                return await self._run(transfer.finish, tail)
        except (DamagedImageError, NotAnImageError) as error:
            await self._run(transfer.forget)
            raise AttemptError(
                error.message, code=error.code, hint=error.hint, max_attempts=_CONTENT_ATTEMPTS
            ) from error

    async def _fetch(self, transfer: "_Transfer") -> bytearray:
        """Let the network do its part, within its slot and its time; return what is still to be written."""
        async with self._slots:
            try:
                async with (
                    asyncio.timeout(self._max_s),
                    self._hosts.request(transfer.url, transfer.range_headers) as response,
                ):
                    await self._begin(transfer, response)
                    return await self._receive(transfer, response)
            except TimeoutError as error:
                raise ImageError(
                    f"the picture was not whole after {self._max_s:g} s",
                    code="image_unavailable",
                    hint="Run suno-cover resume when the network is faster.",
                ) from error

    async def _begin(self, transfer: "_Transfer", response: ClientResponse) -> None:
        """Decide whether the answer is the whole picture, the rest that was asked for, or neither."""
        if response.status == HTTPStatus.OK:
            if transfer.part.size_bytes:
                await self._run(transfer.part.restart)
            transfer.note_whole(response)
        elif not transfer.fits(response):
            await self._run(transfer.forget)
            raise AttemptError(f"{_host_of(response)} sent another part of the picture than was asked for")
        if transfer.total_bytes is not None:
            self._check_size(transfer.total_bytes, response)

    async def _receive(self, transfer: "_Transfer", response: ClientResponse) -> bytearray:
        """Read the body, write what fills the buffer, and return the rest.

        A small picture is all rest: it is written, checked and named in one visit to a thread.
        """
        part, tail = transfer.part, bytearray()
        received = part.size_bytes
        is_known = received > 0
        try:
            async for piece, wire_bytes in read_body(response):
                tail += piece
                received += len(piece)
                # A packed body may be large on either side of the unpacking.
                self._check_size(max(received, wire_bytes), response)
                if not is_known and received >= SNIFF_BYTES:
                    is_known = _check_first_bytes(tail, response)
                if len(tail) >= _FLUSH_BYTES:
                    await self._run(part.append, tail)
                    tail = bytearray()
                transfer.report_progress(received)
            transfer.check_length(received, response)
        except (ClientError, OSError, AttemptError):
            if transfer.etag is not None:
                # What has come need not come again.
                await self._run(part.append, tail)
            raise
        return tail

    def _check_size(self, size_bytes: int, response: ClientResponse) -> None:
        if size_bytes > self._max_bytes:
            limit = f"{self._max_bytes / 1024 / 1024:g} MiB"
            raise ImageError(
                f"{_host_of(response)} sends more than {limit}",
                code="image_too_large",
                hint="No cover is that large. Look at the address before you trust it.",
            )

    def _is_enough(self, state: RetryCallState) -> bool:
        """Tell whether the attempt that just failed was the last that this kind of failure is worth."""
        return state.attempt_number >= min(
            self._max_attempts, _failure_of(state).max_attempts or self._max_attempts
        )

    def _delay_s(self, state: RetryCallState) -> float:
        asked_s = read_retry_after(_failure_of(state).retry_after, self._clock.time())
        return max(self._backoff(state), asked_s)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in a thread of our own; when cancelled, it still runs to its end."""
        call = functools.partial(function, *args, **kwargs)
        doing = asyncio.get_running_loop().run_in_executor(self._threads, call)
        # Whoever is cancelled does not come back for the outcome, and asyncio would complain about that.
        doing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(doing)


class _Transfer:
    """What the attempts of one save share: the target, and what has arrived with which validator."""

    def __init__(
        self,
        url: str,
        files: ImageFolder,
        part: PartFile,
        *,
        overwrite: bool,
        on_progress: Callable[[int, int | None], None] | None,
    ) -> None:
        self.url = url
        self.part = part
        self.etag: str | None = None
        self.total_bytes: int | None = None
        self._is_prepared = False
        self._files = files
        self._overwrite = overwrite
        self._on_progress = on_progress

    @property
    def range_headers(self) -> dict[str, str]:
        """What asks for the missing rest, if the server gave something to recognise the file by."""
        if self.etag is None or self.part.size_bytes == 0:
            return {}
        return {"Range": f"bytes={self.part.size_bytes}-", "If-Range": self.etag}

    def prepare(self) -> SavedImage | None:
        """Make the folder ready, once; return the whole picture that is there already. Blocks."""
        if self._is_prepared:
            return None
        existing = self._files.prepare(self.url, overwrite=self._overwrite)
        self._is_prepared = True
        return existing

    def forget(self) -> None:
        """Start from nothing at the next attempt. Blocks."""
        self.etag = None
        self.part.restart()

    def finish(self, tail: bytearray) -> SavedImage:
        """Write the last bytes, check the whole and give it its name. Blocks."""
        self.part.append(tail)
        return self._files.publish(self.part, self.url, overwrite=self._overwrite)

    def note_whole(self, response: ClientResponse) -> None:
        """Take down a 200: its length, and its ETag if that is a strong one and the body comes unpacked."""
        etag = response.headers.get("ETag", "")
        self.total_bytes = None if is_packed(response) else response.content_length
        self.etag = etag if etag.startswith('"') and not is_packed(response) else None

    def fits(self, response: ClientResponse) -> bool:
        """Tell whether an answer is exactly the rest that was asked for, of the same file."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or response.status != HTTPStatus.PARTIAL_CONTENT or not self.range_headers:
            return False
        first, last, total = match.groups()
        if total == "*":
            total = str(self.total_bytes or int(last) + 1)
        return (
            response.headers.get("ETag", self.etag) == self.etag
            and not is_packed(response)
            and int(first) == self.part.size_bytes
            and self.total_bytes in {None, int(total)}
        )

    def report_progress(self, received_bytes: int) -> None:
        """Pass the number of bytes so far on to whoever asked for it."""
        if self._on_progress is not None:
            self._on_progress(received_bytes, self.total_bytes)

    def check_length(self, received_bytes: int, response: ClientResponse) -> None:
        """Compare what came with what was announced.

        Raises:
            AttemptError: Nothing came, or not all of it.
        """
        if received_bytes == 0:
            raise AttemptError(f"{_host_of(response)} sent an empty picture", code="image_truncated")
        if self.total_bytes not in {None, received_bytes}:
            raise AttemptError(
                f"{_host_of(response)} sent {received_bytes} of {self.total_bytes} bytes", code="image_truncated"
            )


def _check_first_bytes(head: bytearray, response: ClientResponse) -> bool:
    """Stop at the first bytes of a body that cannot become a picture.

    Raises:
        NotAnImageError: It cannot.
    """
    if sniff(head) is None:
        raise NotAnImageError(f"{_host_of(response)} sent {clean(response.content_type, 60)}, not a picture")
    return True


def _host_of(response: ClientResponse) -> str:
    return clean(response.url.host or "", 100)


def _failure_of(state: RetryCallState) -> AttemptError:
    """Return the failure tenacity asks about; only :class:`AttemptError` is ever retried."""
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, AttemptError):
        raise TypeError(f"{error!r} is not a failed attempt")
    return error
