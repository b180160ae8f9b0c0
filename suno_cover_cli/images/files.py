"""From first byte to final name: a file that exists under its own name is whole, checked and on the disk.

Everything here blocks and is meant for a thread.
"""

import contextlib
import os
import re
import secrets
import stat
import sys
import threading
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path

from suno_cover_cli.base.errors import ImageError, shortage_of
from suno_cover_cli.base.files import (
    READ_FLAGS,
    FileTakenError,
    lock_part,
    make_folders,
    remove_unless_locked,
    rename_to_new,
    sync_file,
    sync_folder,
)
from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.check import ImageChecker, Picture
from suno_cover_cli.images.kinds import ImageFormat

_BEGIN_SYNC_BYTES = 1024 * 1024
_PART_NAME = re.compile(r"(.+)\.[0-9a-f]{8}\.part", re.DOTALL)


class ImageFolder:
    """One target folder, as the saves into it see it; for any thread.

    Args:
        path: Where pictures go; made when missing.
        checker: Tells whole pictures from others.
    """

    def __init__(self, path: Path, checker: ImageChecker) -> None:
        self.path = path
        self._checker = checker
        self._lock = threading.Lock()
        self._is_made = False
        # Left by runs that were killed before this one began: stem -> names.
        self._leftovers: dict[str, list[str]] = {}

    def find_saved(self, stem: str, url: str) -> SavedImage | None:
        """Return the whole picture that is already there under a stem, if any; sweep on the way.

        Raises:
            ImageError: ``bad_name``; the stem is not a plain file name.
        """
        check_stem(stem)
        if self.path.is_symlink():
            return None
        with self._lock, contextlib.suppress(OSError):
            if not self._is_made:
                self._find_leftovers()
        self._sweep(stem)
        return self._find_whole(stem, url)

    def prepare(self, stem: str, url: str, *, overwrite: bool) -> SavedImage | None:
        """Make the folder, sweep what a dead run left, and look whether the name is still free.

        Returns:
            ``None``, or the whole picture that another has put there in the meantime.

        Raises:
            ImageError: ``bad_name``, ``file_exists``, ``folder_unwritable`` or ``disk_full``.
        """
        check_stem(stem)
        with self._lock, explain_os_errors(self.path):
            if not self._is_made:
                self._make()
        self._sweep(stem)
        taken = None if overwrite else next(self._existing(stem), None)
        if taken is None:
            return None
        return self._accept_existing(taken, stem, url)

    def publish(self, part: "PartFile", picture: Picture, url: str, *, overwrite: bool) -> SavedImage:
        """Give a ``.part`` file that was found whole its final name; :meth:`sync` then makes that durable.

        Returns:
            The file; or the whole picture that took the name in the meantime.

        Raises:
            ImageError: ``file_exists`` when something that is not a picture took the name in the meantime;
                ``folder_unwritable`` or ``disk_full``.
        """
        path = self.path / (part.stem + picture.format.suffix)
        try:
            with explain_os_errors(self.path):
                part.publish(path, overwrite=overwrite)
                if overwrite:
                    self._remove_others(part.stem, path)
        except FileTakenError:
            part.discard()
            return self._accept_existing(path, part.stem, url)
        return describe(path, url, picture)

    def sync(self) -> None:
        """Make the names in the folder durable."""
        sync_folder(self.path)

    def sync_above(self) -> None:
        """Make the names of the folder and of the one above durable: what made them may have been killed."""
        sync_folder(self.path.parent)
        sync_folder(self.path.parent.parent)

    def _make(self) -> None:
        if self.path.is_symlink():
            # The service named it: a link of that name was planted, and following it would write elsewhere.
            raise ImageError(
                f"{clean(self.path, 400)} is a link, which is not followed",
                code="folder_unwritable",
                hint="Remove the link or choose another folder with --output, then run suno-cover resume.",
            )
        make_folders(self.path)
        with contextlib.suppress(OSError):
            self._find_leftovers()
        self._is_made = True

    def _find_leftovers(self) -> None:
        with os.scandir(self.path) as entries:
            for entry in entries:
                if (match := _PART_NAME.fullmatch(entry.name)) is not None:
                    self._leftovers.setdefault(match[1], []).append(entry.name)

    def _sweep(self, stem: str) -> None:
        """Remove ``.part`` files of a stem whose writer is dead; a living one holds a lock on its own."""
        for name in self._leftovers.pop(stem, ()):
            # Gone already, still open on Windows, not ours to remove: each is a reason to leave it.
            with contextlib.suppress(OSError):
                remove_unless_locked(self.path / name)

    def _accept_existing(self, taken: Path, stem: str, url: str) -> SavedImage:
        """Settle for a whole picture that took the name; anything else there is the user's to move."""
        saved = self._find_whole(stem, url)
        if saved is None:
            raise _file_exists(taken) from None
        return saved

    def _find_whole(self, stem: str, url: str) -> SavedImage | None:
        for path in self._existing(stem):
            with contextlib.suppress(ImageError):
                return describe(path, url, self._check_file(path))
        return None

    def _existing(self, stem: str) -> Iterator[Path]:
        """Yield what lies under a stem with a known extension, dangling links included."""
        for image_format in ImageFormat:
            path = self.path / (stem + image_format.suffix)
            if os.path.lexists(path):
                yield path

    def _check_file(self, path: Path) -> Picture:
        """Check a file that was there before; a link, a folder or a pipe is not a picture."""
        with explain_os_errors(self.path):
            if path.is_symlink():
                raise _file_exists(path)
            descriptor = os.open(path, READ_FLAGS)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise _file_exists(path)
                return self._checker.check(file)

    def _remove_others(self, stem: str, keep: Path) -> None:
        """After an overwrite, one picture bears the stem: drop what lies there in another format."""
        for path in list(self._existing(stem)):
            if path != keep and (path.is_symlink() or path.is_file()):
                path.unlink()


class PartFile:
    """A download on its way: ``<stem>.<random>.part`` in the target folder, locked while it lives.

    Written by one thread at a time; :meth:`discard` may come from another at any moment.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.stem = stem
        self._folder = folder
        self._lock = threading.Lock()
        self._file: BufferedRandom | None = None
        self._path: Path
        self._is_discarded = False
        self._begun_bytes = 0
        self.size_bytes = 0

    def append(self, data: bytes | bytearray) -> None:
        """Write at the end; the first call makes the file.

        Raises:
            ImageError: ``disk_full`` or ``folder_unwritable``.
        """
        with self._lock, explain_os_errors(self._folder):
            file = self._opened()
            file.write(data)
            self.size_bytes += len(data)
            if self.size_bytes - self._begun_bytes >= _BEGIN_SYNC_BYTES:
                self._begin_sync(file)

    def restart(self) -> None:
        """Forget what was written."""
        with self._lock, explain_os_errors(self._folder):
            if self._file is not None:
                self._file.seek(0)
                self._file.truncate()
            self.size_bytes = self._begun_bytes = 0

    def flushed(self) -> BufferedRandom:
        """Return the file, for reading what was written."""
        with self._lock, explain_os_errors(self._folder):
            file = self._opened()
            file.flush()
            return file

    def publish(self, path: Path, *, overwrite: bool) -> None:
        """Put the file on the disk and then under ``path``, in one step that a crash cannot halve.

        Raises:
            FileTakenError: ``path`` exists and ``overwrite`` is off.
            OSError: As the system says.
        """
        with self._lock:
            file = self._opened()
            sync_file(file)
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

    def _begin_sync(self, file: BufferedRandom) -> None:
        """Have the system begin to put on the disk what it has, so that little is left to do; waits for nothing.

        At 100 Mbit/s the sync of 16 MiB takes 8 ms instead of 43 then.
        """
        if sys.platform == "linux":
            file.flush()
            with contextlib.suppress(OSError):
                os.posix_fadvise(
                    file.fileno(), self._begun_bytes, self.size_bytes - self._begun_bytes, os.POSIX_FADV_DONTNEED
                )
        self._begun_bytes = self.size_bytes

    def _opened(self) -> BufferedRandom:
        if self._is_discarded:
            # A write that was still queued when its save was cancelled must not bring the file back.
            raise ValueError("the .part file was discarded")
        while self._file is None:
            path = self._folder / f"{self.stem}.{secrets.token_hex(4)}.part"
            # "x": never a file, never through a link, that is there already.
            file = path.open("x+b")
            if lock_part(file.fileno()):
                self._file, self._path = file, path
            else:
                file.close()  # swept away between its making and its locking
        return self._file


def check_stem(stem: str) -> None:
    """See that a stem is a plain file name.

    Raises:
        ImageError: ``bad_name``; it is not.
    """
    if stem in {"", ".", ".."} or "\0" in stem or Path(stem).name != stem:
        raise ImageError(
            f'"{clean(stem, 80)}" cannot be a file name', code="bad_name", hint="Choose another --name."
        )


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
    """Turn the system's refusals into ``disk_full``, ``out_of_resources`` or ``folder_unwritable``."""
    try:
        yield
    except OSError as error:
        shown, reason = clean(folder, 400), clean(error.strerror or error, 100)
        if (shortage := shortage_of(error)) is not None:
            raise ImageError(
                f"{shortage.what}, for {shown}: {reason}",
                code=shortage.code,
                hint=shortage.hint.replace("run the command again", "run suno-cover resume"),
            ) from error
        raise ImageError(
            f"cannot write in {shown}: {reason}",
            code="folder_unwritable",
            hint="Fix the folder's permissions or choose another with --output, then run suno-cover resume.",
        ) from error


def _file_exists(path: Path) -> ImageError:
    return ImageError(
        f"{clean(path, 400)} exists and is not a whole picture",
        code="file_exists",
        hint="Move it away, or run again with --overwrite.",
    )
