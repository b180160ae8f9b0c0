"""Files that are either the old one or the new one, never half of it. Everything here blocks.

What is being written has a hidden name of its own in the target folder, ``.<name>.<8 hex digits>.part``, and is
locked for as long as its writer lives. :func:`sweep_parts` removes those whose writer died.
"""

import contextlib
import errno
import os
import re
import secrets
import select
import shutil
import stat
import sys
from collections.abc import Iterator
from io import BufferedRandom, BufferedReader, FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

if sys.platform != "win32":
    import fcntl

_PART_NAME = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)
_ANY_PART_NAME = re.compile(r".+\.[0-9a-f]{8}\.part", re.DOTALL)
_NAME_CHARS = 40
_WRITER_S = 10
_COPY_BYTES = 8 * 1024 * 1024
# What a shell hands over as <(command) has its writer already, however long that takes.
_INHERITED = ("/dev/fd/", "/proc/")
# What a file system answers to what it does not have (FAT, network, FUSE and phone mounts).
_NOT_THERE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY})
_NO_LINKS = _NOT_THERE | {errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK}
_NO_SYNC = _NOT_THERE | {errno.EBADF, errno.EROFS}
# Existing files are opened without following a link and without waiting for a pipe's other end.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FileTakenError(Exception):
    """A name that had to be free came to exist."""


class PendingFile:
    """A file on its way to a name. A context manager: what was not published by its end is removed.

    Args:
        path: The name it is to get; its folder exists.
        mode: Who may read it, as far as the umask allows; 0o600 for secrets.

    Attributes:
        path: Where it is until then.
        stream: Open for reading and writing.
    """

    def __init__(self, path: Path, *, mode: int = 0o666) -> None:
        self._final_path = path
        self._mode = mode
        self._is_published = False
        self.path = path
        self.stream: BufferedRandom

    def __enter__(self) -> Self:
        while True:
            # Cut short: the name it is to get may be as long as names can be.
            name = f".{self._final_path.name[:_NAME_CHARS]}.{secrets.token_hex(4)}.part"
            self.path = self._final_path.with_name(name)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self.stream = os.fdopen(os.open(self.path, flags, self._mode), "w+b")
            if lock_part(self.stream.fileno()):
                return self
            self.stream.close()  # swept away between its making and its locking

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A full disk may refuse the last buffered bytes once more; they are not wanted any longer.
        with contextlib.suppress(OSError):
            self.stream.close()
        if not self._is_published:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def publish(self, *, overwrite: bool = True) -> None:
        """Put the file on the disk and then under its name, in one step that a crash cannot halve.

        Raises:
            FileTakenError: The name is taken and ``overwrite`` is off.
            OSError: As the system says; what was there before is untouched.
        """
        sync_file(self.stream)
        if sys.platform == "win32":
            # An open file cannot be renamed there.
            self.stream.close()
        if overwrite:
            self.path.replace(self._final_path)
        else:
            rename_to_new(self.path, self._final_path)
        self._is_published = True
        sync_folder(self._final_path.parent)


def replace_file(path: Path, content: bytes, *, mode: int = 0o666, overwrite: bool = True) -> None:
    """Write a file aside, put it on the disk and give it its name in one step.

    Args:
        path: Its folder is made when missing.
        content: All of it.
        mode: Who may read it, as far as the umask allows; 0o600 for secrets.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        FileTakenError: The name is taken and ``overwrite`` is off.
        OSError: As the system says; what was there before is untouched.
    """
    make_folders(path.parent)
    with PendingFile(path, mode=mode) as part:
        part.stream.write(content)
        part.publish(overwrite=overwrite)


def sweep_parts(folder: Path, final_name: str | None = None, *, with_downloads: bool = False) -> None:
    """Remove what writers that were killed left in a folder; what a living one holds stays.

    Args:
        folder: Where to look.
        final_name: Only what was to get this name, in a folder that is not ours alone.
        with_downloads: In the folder of a job, also pictures on their way, whose names are not hidden.

    Raises:
        OSError: The folder cannot be read.
    """
    start = "" if final_name is None else f".{final_name[:_NAME_CHARS]}."
    pattern = _ANY_PART_NAME if with_downloads else _PART_NAME
    with os.scandir(folder) as entries:
        names = [one.name for one in entries if one.name.startswith(start) and pattern.fullmatch(one.name)]
    for name in names:
        # Gone already, still open on Windows, not ours to remove: each is a reason to leave it.
        with contextlib.suppress(OSError):
            remove_unless_locked(folder / name)


def rename_to_new(part: Path, path: Path) -> None:
    """Rename without replacing anything, even what appears at the last moment.

    Raises:
        FileTakenError: ``path`` exists.
        OSError: As the system says.
    """
    try:
        if sys.platform == "win32":
            part.rename(path)
        else:
            # A rename would replace; a second name for the same file is refused when it is taken.
            os.link(part, path)
            # The file has its name now. Should the first one stay, the next run removes it.
            with contextlib.suppress(OSError):
                part.unlink()
    except FileExistsError:
        raise FileTakenError from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileTakenError from None
        part.rename(path)


def make_folders(folder: Path) -> None:
    """Make a folder and what leads to it, if they are missing, and their names durable.

    Raises:
        OSError: As the system says.
    """
    missing = []
    for one in (folder, *folder.parents):
        if is_folder(one):
            break
        missing.append(one)
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def is_file(path: Path) -> bool:
    """Tell whether there is a file, as far as can be seen: what lies behind a locked folder counts as missing."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder, as far as can be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False


def sync_file(stream: BufferedRandom) -> None:
    """Put what was written on the disk, as far as its file system can say so.

    Raises:
        OSError: The disk is full or broken.
    """
    stream.flush()
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where that can be done.

    The names are there already: a file system that refuses loses nothing and may stop nothing. Windows opens no
    folders and journals names by itself.
    """
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def lock_part(descriptor: int) -> bool:
    """Lock a new ``.part`` file for as long as it is open; ``False`` when it was swept away before.

    Windows keeps an open file from being removed, so there is nothing to do; where a file system has no
    locks, the file cannot be taken for a dead one either.
    """
    is_ours = True
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            is_ours = not isinstance(error, BlockingIOError)
        else:
            is_ours = os.fstat(descriptor).st_nlink > 0
    return is_ours


def remove_unless_locked(path: Path) -> None:
    """Remove a ``.part`` file that no living writer holds open.

    Raises:
        OSError: It is locked, or cannot be removed.
    """
    if sys.platform == "win32":
        path.unlink()
    else:
        descriptor = os.open(path, READ_FLAGS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def open_plain(path: Path, *, may_stream: bool = False) -> Iterator[FileIO]:
    """Open a file for reading, and do not wait where it is not a file: a pipe could wait endlessly for its writer.

    Args:
        path: A link is followed.
        may_stream: The path may name a pipe on purpose, as ``<(command)`` of a shell is one. It is given some
            seconds for its writer to appear.

    Raises:
        OSError: As the system says, or it is a pipe.
    """
    flags = READ_FLAGS & ~getattr(os, "O_NOFOLLOW", 0)
    with FileIO(os.open(path, flags), "rb") as stream:
        # Devices are left: /dev/null is a fine settings file.
        if stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            if not may_stream:
                raise OSError(errno.EINVAL, "it is a pipe, not a file", str(path))
            if not str(path).startswith(_INHERITED):
                _wait_for_writer(stream, path)
            if sys.platform != "win32":
                os.set_blocking(stream.fileno(), True)
        yield stream


def read_capped(path: Path, max_bytes: int) -> bytes:
    """Read a file, at most one byte more than ``max_bytes``, by which the caller sees that it is too long.

    Raises:
        OSError: See :func:`open_plain`.
    """
    with open_plain(path) as stream:
        return _read_up_to(stream, max_bytes + 1)


def read_given(path: str, stdin: BinaryIO, max_bytes: int) -> bytes:
    """Read what a user names: a file, a pipe, or standard input for ``-``; at most one byte more than allowed.

    Raises:
        OSError: See :func:`open_plain`.
    """
    if path == "-":
        return stdin.read(max_bytes + 1)
    try:
        named = Path(path).expanduser()
    except RuntimeError:
        raise OSError(errno.ENOENT, "there is no such home folder", path) from None
    with open_plain(named, may_stream=True) as stream:
        return _read_up_to(stream, max_bytes + 1)


def _read_up_to(stream: FileIO, max_bytes: int) -> bytes:
    content = bytearray()
    while len(content) < max_bytes and (piece := stream.read(max_bytes - len(content))):
        content += piece
    return bytes(content)


def _wait_for_writer(stream: FileIO, path: Path) -> None:
    """Wait until a writer comes to a pipe that was opened without waiting.

    Raises:
        OSError: None came.
    """
    # One that never had a writer is not ready; one whose writer is gone is at its end.
    if not select.select([stream], [], [], _WRITER_S)[0]:
        raise OSError(errno.EPIPE, f"nothing was written to it in {_WRITER_S} s", str(path))


def copy_content(original: BufferedReader, stream: BinaryIO) -> None:
    """Copy an open file into another; on file systems that can, without copying its blocks. Blocks.

    Raises:
        OSError: As the system says.
    """
    size = original.seek(0, 2)
    original.seek(0)
    copied = 0
    if hasattr(os, "copy_file_range"):
        with contextlib.suppress(OSError):
            while copied < size:
                step = os.copy_file_range(original.fileno(), stream.fileno(), size - copied, copied, copied)
                if not step:
                    break
                copied += step
    original.seek(copied)
    stream.seek(copied)
    shutil.copyfileobj(original, stream, _COPY_BYTES)
    stream.flush()
