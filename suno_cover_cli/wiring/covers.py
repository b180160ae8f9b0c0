"""What the commands from a cover to a release share: the journal to look in, and the pictures they name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.history import JobHistory
from suno_cover_cli.journal.picks import PickStore
from suno_cover_cli.journal.run_locks import RunLocks
from suno_cover_cli.options.groups import ProfileOptions
from suno_cover_cli.release.choosing import Source, find_picked, is_file_name
from suno_cover_cli.wiring.context import Context


class CoverJournal(msgspec.Struct, frozen=True):
    """Jobs and choices, open for reading and writing."""

    jobs: JobHistory
    picks: PickStore

    async def find_source(self, word: str) -> Source:
        """Return the picture that an argument means: a file, or the picked cover of a job.

        Raises:
            SunoCoverError: See :func:`~suno_cover_cli.release.choosing.find_picked`.
        """
        if await asyncio.to_thread(is_file_name, word):
            return Source(path=Path(word))
        return await find_picked(self.jobs, word)

    async def find_twin(self, source: Source, sha256: str) -> str:
        """Say that another job has the same picture; empty when none does, or none is asked about."""
        if source.row is None:
            return ""
        twin = await self.picks.find_twin(source.row, sha256)
        if twin is None:
            return ""
        return f"the same picture belongs to {clean(twin, 128)} too: stores refuse one cover for several releases"


@asynccontextmanager
async def open_covers(context: Context, state_dir: Path) -> AsyncIterator[CoverJournal]:
    """Open the journal.

    Raises:
        DatabaseError: It cannot be used.
        UsageError: A newer version of the program wrote it.
    """
    async with context.open_journal(state_dir) as database:
        jobs = JobHistory(database, RunLocks(state_dir / "runs"))
        yield CoverJournal(jobs, PickStore(database, clock=context.clock))


def state_folder_of(context: Context) -> Path:
    """Return the folder of the journal. Blocks: it reads the settings file.

    Raises:
        UsageError: A setting that cannot be.
    """
    settings, _ = context.settings(ProfileOptions())
    return settings.state_dir
