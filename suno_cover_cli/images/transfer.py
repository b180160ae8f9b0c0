"""One save's bytes: what has come, of which version of the file, and what becomes of it.

What arrives is written, hashed and looked at in a thread while more arrives: one visit to the thread takes all
that has come since the one before. When the last byte is there, only the end of it is left to do.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from aiohttp import ClientResponse
from yarl import URL

from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.images.check import ImageChecker
from suno_cover_cli.images.decoding import Stop
from suno_cover_cli.images.failures import AttemptError, host_of
from suno_cover_cli.images.files import ImageFolder, PartFile
from suno_cover_cli.images.kinds import NotAnImageError, UnsupportedImageError

_VISIT_BYTES = 64 * 1024
_MOST_WAITING_BYTES = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", re.IGNORECASE)
# A host that fails so often for a part of a file may still send all of it.
_MOST_PART_FAILURES = 2


SomeError = TypeVar("SomeError", NotAnImageError, UnsupportedImageError)


class Transfer:
    """What the attempts of one save share.

    Args:
        url: Of the picture, as the service announced it.
        address: The same, checked.
        folder: Receives the file.
        stem: Its name without extension.
        checker: Begins the check of what comes.
        overwrite: Replace what bears the name.
        on_progress: Told bytes so far and in all.

    Attributes:
        total_bytes: What the server said the file has, if it did.
        is_named: A file of ours has been given its name.
    """

    def __init__(
        self,
        url: str,
        address: URL,
        folder: ImageFolder,
        stem: str,
        checker: ImageChecker,
        *,
        overwrite: bool,
        on_progress: Callable[[int, int | None], None] | None,
    ) -> None:
        self.url = url
        self.address = address
        self.total_bytes: int | None = None
        self.is_named = False
        self._host = ""
        self._folder = folder
        self._stem = stem
        self._checker = checker
        self._overwrite = overwrite
        self._on_progress = on_progress
        self._part = PartFile(folder.path, stem)
        self._stop = Stop()
        self._check = checker.begin(self._stop)
        self._etag: str | None = None
        self._asked_from = 0
        self._has_begun = False
        self._part_failures = 0
        self._broken_at: set[int] = set()
        self._is_prepared = False

    # --- for the loop: nothing here blocks ---

    @property
    def received_bytes(self) -> int:
        """How many bytes of the file are there."""
        return self._part.size_bytes

    def ask(self) -> dict[str, str]:
        """Return the fields of the next request: what asks for the missing rest, if the file can be recognised."""
        self._has_begun = False
        self._asked_from = self.received_bytes if self._etag is not None else 0
        if not self._asked_from or self._etag is None:
            return {}
        return {"Range": f"bytes={self._asked_from}-", "If-Range": self._etag}

    def begin(self, response: ClientResponse) -> bool:
        """Look at an answer that comes with a body; tell whether it is the rest that was asked for, or all.

        Raises:
            AttemptError: It is another part of the file.
        """
        self._host, self._has_begun = host_of(response), True
        is_part = response.status == HTTPStatus.PARTIAL_CONTENT
        first, total = _read_range(response) if is_part else (0, response.content_length)
        if is_part and self._asked_from and first:
            is_same = response.headers.get("ETag", self._etag) == self._etag
            if not is_same or first != self.received_bytes or {total, self.total_bytes} - {None, self.total_bytes}:
                raise AttemptError(f"{self._host} sent another part of the picture than was asked for")
            return True
        if first:
            raise AttemptError(f"{self._host} sent only a part of the picture, without being asked to")
        # All of it; also as a 206 that nothing asked for, as long as it begins at the first byte.
        etag = response.headers.get("ETag", "")
        self._etag = etag if etag.startswith('"') else None
        self.total_bytes = total
        return False

    def note_packed(self) -> None:
        """What comes out of a packing has another length than was announced, and cannot be asked for in parts."""
        self._etag = self.total_bytes = None

    def report_progress(self, received_bytes: int) -> None:
        """Pass the number of bytes so far on to the caller that asked for it."""
        if self._on_progress is not None:
            self._on_progress(received_bytes, self.total_bytes)

    def check_length(self, received_bytes: int) -> None:
        """Compare what came with what was announced.

        Raises:
            AttemptError: Nothing came, or not all of it.
        """
        if received_bytes == 0:
            raise AttemptError(f"{self._host} sent an empty picture", code="image_truncated")
        if self.total_bytes is not None and received_bytes < self.total_bytes:
            raise AttemptError(
                f"{self._host} sent {received_bytes} of {self.total_bytes} bytes", code="image_truncated"
            )

    def note_failure(self, error: AttemptError) -> bool:
        """Take an attempt's failure down; tell whether it broke off where an earlier one did.

        Then no more may ever come: the announced length may be wrong, and the picture still whole.
        """
        if self._asked_from == self.received_bytes > 0:
            self._part_failures += 1
            if error.refuses_parts or self._part_failures >= _MOST_PART_FAILURES:
                self._etag = None
        if not self._has_begun or not self.received_bytes:
            return False
        is_again = self.received_bytes in self._broken_at
        self._broken_at.add(self.received_bytes)
        return is_again

    def sent(self, error: SomeError) -> SomeError:
        """Return an error that names what came, with the host it came from."""
        return type(error)(f"{self._host} sent {error.message}", hint=error.hint)

    def stop(self) -> None:
        """End a check that is under way: the save is over."""
        self._stop.set()

    # --- for a thread: everything here blocks ---

    def prepare(self) -> SavedImage | None:
        """Make the folder ready, once; return the whole picture that is there already.

        Raises:
            ImageError: See :meth:`ImageFolder.prepare`.
        """
        if self._is_prepared:
            return None
        existing = self._folder.prepare(self._stem, self.url, overwrite=self._overwrite)
        self._is_prepared = True
        return existing

    def take(self, data: bytes) -> None:
        """Look at the next bytes of the file and write them.

        Raises:
            ImageError: See :meth:`PictureCheck.feed` and :meth:`PartFile.append`.
        """
        self._check.feed(data)
        self._part.append(data)

    def restart(self) -> None:
        """Forget the bytes that have come."""
        self._part.restart()
        self._check = self._checker.begin(self._stop)

    def forget(self) -> None:
        """Forget them, and do not ask for the rest of that file any more."""
        self._etag = None
        self.restart()

    def finish(self, rest: bytes = b"") -> SavedImage:
        """Take the last bytes, finish the check and give the file its name.

        Raises:
            ImageError: See :meth:`PictureCheck.finish` and :meth:`ImageFolder.publish`.
        """
        if rest:
            self.take(rest)
        picture = self._check.finish(self._part.flushed())
        image = self._folder.publish(self._part, picture, self.url, overwrite=self._overwrite)
        self.is_named = True
        return image

    def discard(self) -> None:
        """Remove what is not finished, for good."""
        self._part.discard()


class Intake:
    """The way of one body's pieces to a thread.

    Args:
        take: Blocks; given all that has come since it was last called.
        run: Runs a function in a thread.
    """

    def __init__(
        self, take: Callable[[bytes], None], run: "Callable[[Callable[[bytes], None], bytes], Awaitable[None]]"
    ) -> None:
        self._take = take
        self._run = run
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._visit: asyncio.Future[None] | None = None

    async def give(self, piece: bytes) -> None:
        """Take one piece; wait only when the thread cannot keep up.

        Raises:
            ImageError: Of an earlier visit.
        """
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._visit is not None and (self._visit.done() or self._waiting_bytes >= _MOST_WAITING_BYTES):
            await self._settle()
        if self._visit is None and self._waiting_bytes >= _VISIT_BYTES:
            self._begin_visit()

    async def finish(self) -> bytes:
        """Wait for the thread; return what is left to be taken.

        Raises:
            ImageError: Of a visit.
        """
        await self._settle()
        return self._taken()

    async def flush(self) -> None:
        """Have all of it taken.

        Raises:
            ImageError: Of a visit.
        """
        await self._settle()
        if self._waiting:
            self._begin_visit()
            await self._settle()

    def _begin_visit(self) -> None:
        self._visit = asyncio.ensure_future(self._run(self._take, self._taken()))
        # A save that was cancelled does not come back for what became of it.
        self._visit.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _taken(self) -> bytes:
        """Return all that waits, which then waits no longer."""
        pieces, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return b"".join(pieces)

    async def _settle(self) -> None:
        visit, self._visit = self._visit, None
        if visit is not None:
            await visit


def _read_range(response: ClientResponse) -> tuple[int, int | None]:
    """Return first byte and total size by a ``Content-Range``; without a readable one, all is taken to come."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None:
        return 0, response.content_length
    first, last, total = match.groups()
    return int(first), int(total) if total != "*" else None if int(first) else int(last) + 1
