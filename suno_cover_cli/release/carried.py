"""What the saved covers of a job carry: their labels, or why that cannot be said."""

import asyncio
from typing import Any

import msgspec

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.rows import JobRow
from suno_cover_cli.release.choosing import path_of, variants_of
from suno_cover_cli.release.marks import Mark, read_marks


class CarriedMarks(msgspec.Struct, frozen=True, kw_only=True):
    """Marks of one cover.

    Attributes:
        n: Number of the variant.
        file: Name of the file.
        marks: What it carries.
        troubles: What could not be read, in words; the file itself among it when it is gone.
    """

    n: int
    file: str
    marks: tuple[Mark, ...] = ()
    troubles: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say it on one line."""
        told = [mark.describe() for mark in self.marks] + list(self.troubles)
        return f"{clean(self.file, 200)}: {'; '.join(told) or 'no label'}"

    def entry(self) -> dict[str, Any]:
        """Return it as scripts read it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


async def carried_marks(row: JobRow) -> list[CarriedMarks]:
    """Read the marks of every saved cover of a job."""
    found = []
    for n, image in variants_of(row).items():
        path = path_of(row, image)
        try:
            marks = await asyncio.to_thread(read_marks, path)
        except ImageError as error:
            found.append(CarriedMarks(n=n, file=path.name, troubles=(clean(error.message, 200),)))
            continue
        found.append(CarriedMarks(n=n, file=path.name, marks=marks.found, troubles=marks.troubles))
    return found
