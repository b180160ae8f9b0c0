"""The window of an account in a file of the state folder, so that all processes of a user keep one limit.

Each look at it takes the system's lock on the file, which a killed process cannot keep, reads a few hundred bytes
and writes them back. Where that does not work (no folder, no locks, a full disk), each process keeps the limit
over its own calls alone. Everything here blocks, and is meant for a thread.
"""

import hashlib
import hmac
import os
import platform
import random
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.text import Secret
from suno_cover_cli.service.window import Ask, Grant, Window, settle

MAX_SHARED_LIMIT = 2000
"""A limit far above any account's makes for a large file; each process keeps such a one alone."""

_FOLDER = "limits"
_MAX_BYTES = 1024 * 1024
_PATIENCE_S = 1.0
"""A look takes a tenth of a millisecond. A lock held for this long belongs to a stopped process."""

_UNUSED_S = 24 * 3600.0
# Something else in the file's place, such as a pipe, must not be waited for.
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# filelock opens and removes a file for each turn: ten times the cost of the turn itself.
if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30  # beyond the end: a locked byte cannot be read there

    def _try_lock(handle: int) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _try_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


def window_path(state_dir: Path, base_url: str, key: Secret) -> Path:
    """Return where the window of an account is kept.

    Its name is a keyed hash: it tells neither the key nor, without the key, the service. Machines that share a
    home have a file each, because their monotonic clocks have nothing in common, and so does each start of one.

    Args:
        state_dir: Folder of the user's state.
        base_url: Of the service.
        key: Of the account.
    """
    try:
        boot = _BOOT_ID.read_text("ascii").strip()
    except OSError:
        boot = ""  # moments of an earlier start then count as just now, for one window
    named = f"{base_url.lower()}\n{platform.node()}\n{boot}"
    digest = hmac.new(key.reveal().encode(), named.encode(), hashlib.sha256)
    return state_dir / _FOLDER / digest.hexdigest()[:32]


class SharedWindow:
    """The window of an account, shared through a file.

    Args:
        path: See :func:`window_path`.
        clock: Time; its monotonic seconds are those of every process on the machine.
        makes_file: Otherwise the file is used only where there is one.
    """

    def __init__(self, path: Path, clock: Clock, *, makes_file: bool = True) -> None:
        self._path = path
        self._makes_file = makes_file
        self._clock = clock
        self._handle: int | None = None
        self._is_shared = True

    def settle(self, ask: Ask) -> Grant:
        """See :func:`window.settle`; all is granted where nothing can be shared. Blocks for a moment."""
        handle = self._open_locked()
        if handle is None:
            return Grant(ask.wanted)
        try:
            # The moment is taken with the lock held: none that was written down before lies ahead of it.
            ask = msgspec.structs.replace(ask, now=self._clock.monotonic())
            raw = _read(handle)
            window = _decode(raw, ask)
            grant = settle(window, ask)
            # In one step and never shorter than before: a process that is killed here leaves no half of it.
            _write(handle, msgspec.json.encode(window).ljust(len(raw)))
        except OSError:
            self._is_shared = False
            return Grant(ask.wanted)
        finally:
            with suppress(OSError):
                _unlock(handle)
        return grant

    def leave(self, ask: Ask) -> None:
        """Tell the last answers and ask no more. Blocks for a moment."""
        if self._handle is not None:
            self.settle(ask)
        self._close()

    def _open_locked(self) -> int | None:
        """Return the file with its lock held, or ``None`` when it is not available, now and from now on."""
        while self._is_shared:
            try:
                if self._handle is None:
                    self._handle = self._open()
                _lock(self._handle)
                found = os.fstat(self._handle)
            except OSError:
                break
            if not stat.S_ISREG(found.st_mode):
                break
            if found.st_nlink:
                return self._handle
            # Swept away as unused by another process, while this one was idle.
            self._close()
        self._is_shared = False
        self._close()
        return None

    def _open(self) -> int:
        if not self._makes_file:
            return os.open(self._path, os.O_RDWR | _PLAIN)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(self._path.parent)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o600)

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _read(handle: int) -> bytes:
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, _MAX_BYTES)


def _write(handle: int, content: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, content)


def _decode(raw: bytes, ask: Ask) -> Window:
    if not raw:
        return Window()
    try:
        return msgspec.json.decode(raw, type=Window)
    except msgspec.MsgspecError:
        # Whatever has become of it: nothing more is known than that others may have called until now.
        return Window(length_s=ask.rate.window_s, paused_until=ask.now + ask.rate.window_s)


def _lock(handle: int) -> None:
    """Take the lock on a file.

    Raises:
        OSError: It is not available within :data:`_PATIENCE_S` seconds, or there are no locks.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            _try_lock(handle)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.0002, 0.001))  # noqa: S311 -- jitter
        else:
            return


def _sweep(folder: Path) -> None:
    """Remove the windows of accounts that have not been used for a day."""
    now = time.time()
    for path in folder.iterdir():
        with suppress(OSError):
            if now - path.stat().st_mtime < _UNUSED_S:
                continue
            handle = os.open(path, os.O_RDWR | _PLAIN)
            try:
                _try_lock(handle)
                if now - os.fstat(handle).st_mtime >= _UNUSED_S:
                    path.unlink()
            finally:
                os.close(handle)
