"""From first byte to final name: a file that exists under its own name is whole, checked and on the disk.

Everything here blocks and is meant for a thread.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
import threading
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.files import (
    READ_FLAGS,
    FileTakenError,
    lock_part,
    remove_unless_locked,
    rename_to_new,
    sync_folder,
)
from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.check import ImageChecker, ImageFormat, Picture

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


class ImageFolder:
    """One target folder as one save sees it.

    Args:
        folder: Where the picture goes; made when missing.
        stem: File name without extension; the extension is decided by the content.
        checker: Tells whole pictures from others.

    Raises:
        ImageError: ``bad_name``; ``stem`` is not a plain file name.
    """

    def __init__(self, folder: Path, stem: str, checker: ImageChecker) -> None:
        if stem in {"", ".", ".."} or "\0" in stem or Path(stem).name != stem:
            raise ImageError(
                f"{clean(stem, 80)!r} cannot be a file name", code="bad_name", hint="Choose another --name."
            )
        self._folder = folder
        self._stem = stem
        self._checker = checker

    def find_saved(self, url: str) -> SavedImage | None:
        """Return the whole picture that is already there under this stem, if any; sweep on the way."""
        with contextlib.suppress(OSError):
            self._sweep()
        for path in self._existing():
            with contextlib.suppress(ImageError):
                return describe(path, url, self._check_file(path))
        return None

    def prepare(self, url: str, *, overwrite: bool) -> SavedImage | None:
        """Make the folder, sweep what a dead run left, and look whether the name is still free.

        Returns:
            ``None``, or the whole picture that somebody else has put there in the meantime.

        Raises:
            ImageError: ``file_exists``, ``folder_unwritable`` or ``disk_full``.
        """
        with explain_os_errors(self._folder):
            self._make()
        with contextlib.suppress(OSError):
            self._sweep()
        taken = None if overwrite else next(self._existing(), None)
        if taken is None:
            return None
        return self._accept_existing(taken, url)

    def publish(self, part: "PartFile", url: str, *, overwrite: bool) -> SavedImage:
        """Check a complete ``.part`` file and give it its final name, durably.

        Returns:
            The file; or the whole picture that took the name in the meantime.

        Raises:
            NotAnImageError, DamagedImageError, TooManyPixelsError: See :meth:`ImageChecker.check`.
            ImageError: ``file_exists`` when something that is no picture took the name in the meantime;
                ``folder_unwritable`` or ``disk_full``.
        """
        picture = part.check(self._checker)
        path = self._folder / (self._stem + picture.format.suffix)
        try:
            with explain_os_errors(self._folder):
                part.publish(path, overwrite=overwrite)
                if overwrite:
                    self._remove_others(path)
                sync_folder(self._folder)
        except FileTakenError:
            part.discard()
            return self._accept_existing(path, url)
        return describe(path, url, picture)

    def _accept_existing(self, taken: Path, url: str) -> SavedImage:
        """Settle for a whole picture that took the name; anything else there is the user's to move."""
        saved = self.find_saved(url)
        if saved is None:
            raise _file_exists(taken) from None
        return saved

    def _existing(self) -> Iterator[Path]:
        """Yield what lies under this stem with a known extension, dangling links included."""
        for image_format in ImageFormat:
            path = self._folder / (self._stem + image_format.suffix)
            if os.path.lexists(path):
                yield path

    def _check_file(self, path: Path) -> Picture:
        """Check a file that was there before; a link, a folder or a pipe is not a picture."""
        with explain_os_errors(self._folder):
            if path.is_symlink():
                raise _file_exists(path)
            descriptor = os.open(path, READ_FLAGS)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise _file_exists(path)
                return self._checker.check(file)

    def _make(self) -> None:
        missing = []
        for folder in (self._folder, *self._folder.parents):
            if folder.is_dir():
                break
            missing.append(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)

    def _sweep(self) -> None:
        """Remove ``.part`` files of this stem whose writer is dead; a living one holds a lock on its own."""
        pattern = re.compile(re.escape(self._stem) + r"\.[0-9a-f]{8}\.part")
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries if pattern.fullmatch(entry.name)]
        for name in names:
            # Gone already, still open on Windows, not ours to remove: each is a reason to leave it.
            with contextlib.suppress(OSError):
                remove_unless_locked(self._folder / name)

    def _remove_others(self, keep: Path) -> None:
        """After an overwrite, one picture bears the stem: drop what lies there in another format."""
        for path in list(self._existing()):
            if path != keep and (path.is_symlink() or path.is_file()):
                path.unlink()


class PartFile:
    """A download on its way: ``<stem>.<random>.part`` in the target folder, locked while it lives.

    Used by one thread at a time; when a save is cancelled while a thread is still writing, :meth:`discard`
    waits for it.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._stem = stem
        self._lock = threading.Lock()
        self._file: BufferedRandom | None = None
        self._path: Path
        self._is_discarded = False
        self.size_bytes = 0

    def append(self, data: bytes | bytearray) -> None:
        """Write at the end; the first call makes the file.

        Raises:
            ImageError: ``disk_full`` or ``folder_unwritable``.
        """
        with self._lock, explain_os_errors(self._folder):
            self._opened().write(data)
            self.size_bytes += len(data)

    def restart(self) -> None:
        """Forget what was written."""
        with self._lock, explain_os_errors(self._folder):
            if self._file is not None:
                self._file.seek(0)
                self._file.truncate()
            self.size_bytes = 0

    def check(self, checker: ImageChecker) -> Picture:
        """Check what was written; see :meth:`ImageChecker.check`."""
        with self._lock, explain_os_errors(self._folder):
            return checker.check(self._opened())

    def publish(self, path: Path, *, overwrite: bool) -> None:
        """Put the file on the disk and then under ``path``, in one step that a crash cannot halve.

        Raises:
            FileTakenError: ``path`` exists and ``overwrite`` is off.
            OSError: As the system says.
        """
        with self._lock:
            file = self._opened()
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":
                # An open file cannot be renamed there, and renaming never replaces.
                file.close()
            if overwrite:
                self._path.replace(path)
            else:
                rename_to_new(self._path, path)
            file.close()
            self._file = None

    def discard(self) -> None:
        """Close and remove the file, if there is one, for good."""
        with self._lock:
            self._is_discarded = True
            if self._file is None:
                return
            # A full disk may refuse the last buffered bytes once more; they are not wanted any longer.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _opened(self) -> BufferedRandom:
        if self._is_discarded:
            # A write that was still queued when its save was cancelled must not bring the file back.
            raise ValueError("the .part file was discarded")
        while self._file is None:
            path = self._folder / f"{self._stem}.{secrets.token_hex(4)}.part"
            # "x": never a file, never through a link, that is there already.
            file = path.open("x+b")
            if lock_part(file.fileno()):
                self._file, self._path = file, path
            else:
                file.close()  # swept away between its making and its locking
        return self._file


def describe(path: Path, url: str, picture: Picture) -> SavedImage:
    """Return what the job object says about one file."""
    return SavedImage(
        url=url,
        path=str(path),
        bytes=picture.size_bytes,
        format=picture.format.value,
        width=picture.width,
        height=picture.height,
        sha256=picture.sha256,
    )


@contextlib.contextmanager
def explain_os_errors(folder: Path) -> Iterator[None]:
    """Turn the system's refusals into ``disk_full`` or ``folder_unwritable``, naming the folder."""
    try:
        yield
    except OSError as error:
        shown, reason = clean(folder, 400), clean(error.strerror or error, 100)
        if error.errno in _FULL:
            raise ImageError(
                f"no room in {shown}: {reason}",
                code="disk_full",
                hint="Free some space, then run suno-cover resume.",
            ) from error
        raise ImageError(
            f"cannot write in {shown}: {reason}",
            code="folder_unwritable",
            hint="Mend the folder's permissions or choose another with --output, then run suno-cover resume.",
        ) from error


def _file_exists(path: Path) -> ImageError:
    return ImageError(
        f"{clean(path, 400)} exists and is not a whole picture",
        code="file_exists",
        hint="Move it away, or run again with --overwrite.",
    )
