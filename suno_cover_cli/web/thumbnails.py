"""Small pictures of covers, made once: WebP files named by the hash of what they show, the oldest going first.

Everything here blocks and belongs into a thread. A file that is missing, damaged or cannot be written costs the
time to make it again, never more.
"""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

EDGE = 600
"""Longest edge in pixels: 300 on a screen that puts two pixels where one was."""

_TRIM_TO = 0.95
_STALE_PART_S = 3600.0


class ThumbnailFolder:
    """The files of one folder, shared with other galleries of the same user.

    Args:
        folder: Made (mode 0700) when the first file is written.
        max_bytes: Of all files together.
        max_files: How many.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 256 * 1024 * 1024, max_files: int = 30_000) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_files = max_files
        # What others may have written is unknown, so the first file leads to a look at all of them.
        self._new_bytes = max_bytes
        self._new_files = 0

    def read(self, sha256: str) -> bytes | None:
        """Return the small picture of a cover, or ``None``; one that is read counts as new."""
        path = self._path_of(sha256)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content

    def write(self, sha256: str, content: bytes) -> None:
        """Keep a small picture, if the disk takes it."""
        path = self._path_of(sha256)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # No fsync: what a crash leaves half is not a picture, and is made again.
            part.write_bytes(content)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            return
        self._new_bytes += len(content)
        self._new_files += 1
        if self._new_bytes > self._max_bytes * (1 - _TRIM_TO) or self._new_files > self._max_files * (
            1 - _TRIM_TO
        ):
            self._trim()

    def _path_of(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.webp"

    def _trim(self) -> None:
        """Delete the files that were read longest ago until there is room for new ones, and parts of dead runs."""
        self._new_bytes = self._new_files = 0
        stale = time.time() - _STALE_PART_S
        kept: list[tuple[float, int, str]] = []
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".webp"):
                        kept.append((facts.st_mtime, facts.st_size, entry.path))
                    elif entry.name.endswith(".part") and facts.st_mtime < stale:
                        Path(entry.path).unlink()
        kept.sort()
        total_bytes, total_files = sum(size for _, size, _ in kept), len(kept)
        for _, size, path in kept:
            if total_bytes <= self._max_bytes * _TRIM_TO and total_files <= self._max_files * _TRIM_TO:
                return
            with suppress(OSError):
                Path(path).unlink()
            total_bytes -= size
            total_files -= 1
