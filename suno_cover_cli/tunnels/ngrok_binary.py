"""The agent's executable: where it is looked for, and how it is fetched when there is none."""

import os
import secrets
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.request import urlopen

import msgspec

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.text import clean
from suno_cover_cli.tunnels.ngrok_errors import plain_error

VARIABLE = "PYNGROK_NGROK_PATH"
_DOWNLOAD_PAGE = "https://ngrok.com/download"
_CHUNK_BYTES = 256 * 1024
_MIB = 1024 * 1024
_MAX_BYTES = 400 * _MIB
# A real agent is a native program of 20 MB and more; what pip or pyenv put on the PATH under its name is small
# and says whose it is.
_MAX_SHIM_BYTES = 2 * _MIB
_SHIM_MARKS = (b"pyngrok", b"pyenv")
_PROGRAM_STARTS = (
    b"\x7fELF",
    b"MZ",
    b"#!",
    *(bytes.fromhex(magic) for magic in ("cffaedfe", "cefaedfe", "feedfacf", "feedface", "cafebabe")),
)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class FoundAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An executable and where it was found, in words a person knows."""

    path: Path
    source: str


def find_agent(explicit: str | None, environ: Mapping[str, str], default: Path) -> FoundAgent | None:
    """Look for the agent: ``--ngrok-path``, ``PYNGROK_NGROK_PATH``, a real one on PATH, pyngrok's copy.

    Args:
        explicit: Value of ``--ngrok-path``, or ``None``.
        environ: The environment.
        default: Where pyngrok keeps its copy.

    Returns:
        ``None`` when there is none and one has to be downloaded.

    Raises:
        TunnelError: A path that was given is no program; nothing else is tried then.
    """
    for given, source in ((explicit, "--ngrok-path"), (environ.get(VARIABLE), VARIABLE)):
        if given:
            path = Path(given).expanduser().absolute()
            if not _is_executable(path):
                raise plain_error(
                    "ngrok_missing",
                    f'there is no ngrok agent at "{clean(given, 200)}" ({source})',
                    f"Correct {source}, or leave it out to have the agent found or downloaded.",
                    is_permanent=True,
                )
            return FoundAgent(path=path, source=source)
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder or ".").absolute() / default.name
        if _is_executable(path) and not is_shim(path):
            return FoundAgent(path=path, source="PATH")
    return FoundAgent(path=default, source="pyngrok's copy") if _is_executable(default) else None


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def is_shim(path: Path) -> bool:
    """Tell whether a program called ngrok is only a Python tool's stand-in for it."""
    try:
        if path.stat().st_size > _MAX_SHIM_BYTES:
            return False
        content = path.read_bytes()
    except OSError:
        return True  # what cannot be read cannot be told to be an agent
    return any(mark in content for mark in _SHIM_MARKS)


class _BadArchiveError(Exception):
    """What came is not the archive that was asked for."""


_FETCH_ERRORS = (
    OSError,
    EOFError,
    HTTPException,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    _BadArchiveError,
)


class Download:
    """Fetches the agent once, with retries, into a private folder, and moves it into place when whole.

    Blocks; made for a thread. No checksum is published for these archives: what vouches for them is TLS, the
    archive's own checks, and the first bytes of a program.

    Args:
        url: The archive, ``.tgz`` or ``.zip``.
        target: Where the executable goes.
        scratch: Private folder for the archive.
        abandoned: Once set, the download ends with an error at the next chunk.
        max_attempts: Tries in all.
        retry_s: Pause before the second try; twice that before the third.
        timeout_s: For connecting and for each read.
        max_bytes: Of the archive, and of the executable in it.
        notify: Takes lines for people.
    """

    def __init__(
        self,
        url: str,
        target: Path,
        *,
        scratch: Path,
        abandoned: threading.Event,
        notify: Callable[[str], None],
        max_attempts: int = 3,
        retry_s: float = 0.5,
        timeout_s: float = 6.0,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._url = url
        self._target = target
        self._scratch = scratch
        self._abandoned = abandoned
        self._notify = notify
        self._max_attempts = max_attempts
        self._retry_s = retry_s
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self.progress = "nothing yet"

    def run(self) -> Path:
        """Fetch, check and install; return the executable.

        Raises:
            TunnelError: Every attempt failed, or it was abandoned.
        """
        self._notify(f"The ngrok agent is not installed; downloading it once to {self._target} ...")
        reason = ""
        for attempt in range(self._max_attempts):
            if self._abandoned.wait(self._retry_s * attempt):
                break
            try:
                self._install(self._fetch())
            except _FETCH_ERRORS as error:
                reason = clean(getattr(error, "reason", None) or error, 160) or type(error).__name__
            else:
                self._notify("The ngrok agent is installed.")
                return self._target
        raise self._failure(reason)

    def _failure(self, reason: str) -> TunnelError:
        detail = "abandoned" if self._abandoned.is_set() else f"{self._max_attempts} attempts: {reason}"
        return plain_error(
            "ngrok_download",
            f"the ngrok agent could not be downloaded ({detail})",
            f"Install it from {_DOWNLOAD_PAGE}, or say where it is with --ngrok-path.",
        )

    def _fetch(self) -> Path:
        archive = self._scratch / self._url.rsplit("/", 1)[-1]
        with urlopen(self._url, timeout=self._timeout_s) as answer:  # noqa: S310 -- pyngrok's own https address
            length = answer.headers.get("Content-Length", "")
            total_bytes = int(length) if length.isdecimal() else None
            with archive.open("wb") as stream:
                received_bytes = self._copy(answer, stream, total_bytes)
        if total_bytes is not None and received_bytes != total_bytes:
            raise _BadArchiveError(f"{received_bytes} of {total_bytes} bytes came")
        return archive

    def _install(self, archive: Path) -> None:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that moving into place is one step on one file system.
        program = self._target.with_name(f".{self._target.name}-{secrets.token_hex(4)}")
        try:
            with program.open("xb") as stream:
                self._extract(archive, stream)
            with program.open("rb") as stream:
                if not stream.read(4).startswith(_PROGRAM_STARTS):
                    raise _BadArchiveError("the archive holds no program")
            program.chmod(0o700)
            program.replace(self._target)
        finally:
            program.unlink(missing_ok=True)

    def _extract(self, archive: Path, into: BinaryIO) -> None:
        """Copy the one member that counts; its name is compared, never used as a path."""
        name = self._target.name
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:
                if name not in opened.namelist():
                    raise _BadArchiveError(f"the archive holds no {name}")
                with opened.open(name) as member:
                    self._copy(member, into)
            return
        with tarfile.open(archive, "r:gz") as opened_tar:
            for entry in opened_tar:
                is_wanted = entry.isfile() and entry.name.removeprefix("./") == name
                if is_wanted and (content := opened_tar.extractfile(entry)) is not None:
                    self._copy(content, into)
                    return
        raise _BadArchiveError(f"the archive holds no {name}")

    def _copy(self, source: _Readable, into: BinaryIO, total_bytes: int | None = None) -> int:
        copied_bytes = 0
        while chunk := source.read(_CHUNK_BYTES):
            copied_bytes += len(chunk)
            if copied_bytes > self._max_bytes:
                raise _BadArchiveError(f"more than {self._max_bytes // _MIB} MiB")
            if self._abandoned.is_set():
                raise _BadArchiveError("abandoned")
            into.write(chunk)
            if total_bytes:
                self.progress = f"{copied_bytes / _MIB:.1f} of {total_bytes / _MIB:.1f} MiB"
        return copied_bytes
