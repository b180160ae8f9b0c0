"""One sync of a folder for all names that were given before it began."""

import asyncio
from collections.abc import Awaitable, Callable

from suno_cover_cli.images.files import ImageFolder


class FolderSync:
    """Makes the names in one folder durable, and those of the folders above.

    Args:
        files: The folder.
        run: Runs a blocking function in a thread.
    """

    def __init__(self, files: ImageFolder, run: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self._files = files
        self._run = run
        self._above: asyncio.Future[None] | None = None
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin with the folders above: what is to be given a name here is still on its way."""
        if self._above is None:
            self._above = asyncio.ensure_future(self._run(self._files.sync_above))

    async def wait(self) -> None:
        """Wait for a sync that begins after this call: every name given before is durable then."""
        if self._next is None:
            self._next = asyncio.create_task(self._sync(self._current))
        await asyncio.shield(self._next)

    async def _sync(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        # A caller that comes from here on may have given a name too late for this sync.
        self._current, self._next = self._next, None
        await self._run(self._files.sync)
        self.begin()
        if self._above is not None:
            await self._above
