"""What the gallery knows of jobs and their covers, and what it asks of their store."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from suno_cover_cli.base.models import Picked


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """One variant as it was saved.

    Attributes:
        n: Its number, from 1.
        path: Absolute path of its file; never leaves this process.
        size_bytes: Of the file.
        width: Pixels.
        height: Pixels.
        sha256: Of the file, hex.
    """

    n: int
    path: str
    size_bytes: int
    width: int
    height: int
    sha256: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job that has covers.

    Attributes:
        id: Names it between page and server; later jobs have larger ones.
        task_id: Cover task id.
        music_task_id: Or ``None``.
        title: Of the piece of music, untrusted, or ``None``.
        covers: In order of their numbers.
        picked: See :data:`~suno_cover_cli.base.models.Picked`.
        is_sandbox: An imitation of the service made it.
        created_at: Epoch seconds.
        links_expire_at: When the service forgets its images, in epoch seconds, or ``None``.
    """

    id: int
    task_id: str
    music_task_id: str | None = None
    title: str | None = None
    covers: tuple[Cover, ...]
    picked: Picked = None
    is_sandbox: bool = False
    created_at: float = 0.0
    links_expire_at: float | None = None

    def cover(self, n: int) -> Cover | None:
        """Return a variant by its number."""
        return next((cover for cover in self.covers if cover.n == n), None)


class Changes(msgspec.Struct, frozen=True):
    """What other processes did since the last look.

    Attributes:
        jobs: New or changed.
        decided: Ids of those among them whose choice has changed.
        gone: Ids of jobs that are gone.
    """

    jobs: Sequence[Job] = ()
    decided: frozenset[int] = frozenset()
    gone: Sequence[int] = ()


class PickConflictError(Exception):
    """A pick that another process has overtaken; ``picked`` is what counts now."""

    def __init__(self, picked: Picked) -> None:
        super().__init__("picked elsewhere meanwhile")
        self.picked = picked


class JobSource(Protocol):
    """The jobs of a gallery, wherever they are kept. Other processes may change them at any time."""

    async def load(self, *, before: int | None, limit: int) -> Sequence[Job]:
        """Return jobs that have covers, newest first, of ids below ``before``."""
        ...

    async def find(self, job_id: int) -> Job | None:
        """Return one of the gallery's jobs as it is now."""
        ...

    async def look_for_changes(self) -> Changes:
        """Return what others have changed since this was asked last; what :meth:`pick` did is left out."""
        ...

    async def count_undecided(self) -> int:
        """Count the jobs without a decision."""
        ...

    async def pick(self, job: Job, picked: Picked, *, was: Picked) -> None:
        """Keep a choice; what returns is on disk.

        Args:
            job: As it is now.
            picked: The choice, ``None`` to take it back.
            was: The choice that this one replaces.

        Raises:
            PickConflictError: Another choice than ``was`` counts by now.
        """
        ...
