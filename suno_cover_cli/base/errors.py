"""Errors a user can meet.

Every class carries its exit code, a stable ``code`` for scripts and a ``hint``: the next step to take.
Errors differ by class and code, never by their text::

    SunoCoverError                 1  unexpected
    |-- UsageError                 2  options, settings, folders, found before any network
    |-- RefusedError               3  the service will not do this (400, 404, 413, 422, unknown id)
    |-- AccountError               4
    |   |-- KeyRefusedError           no key, or 401
    |   `-- CreditsError              402, or 429 that speaks of credits
    |-- UnavailableError           5  network, 5xx, 455 and 429 after all retries
    |   |-- UnreadableAnswerError     HTML, empty or broken JSON where an answer should be
    |   `-- AnswerLostError           the submit went out, its answer never came
    |-- JobFailedError             6  the service ended the job (408, 500, 501, 505, 531)
    |-- ImageError                 7  one image could not be saved
    |-- TunnelError                9  no tunnel, or it was lost
    |-- NotPickedError            11  several variants of a cover, and none chosen
    `-- RequirementError          12  a store, a song or a picture does not allow it
"""

import errno
import os
import re
from typing import NamedTuple

from suno_cover_cli.base.exits import ExitCode

_FIRST_NUMBER = re.compile(r"\[Errno (\d+)\]")


class SunoCoverError(Exception):
    """Base of everything reported to the user.

    Attributes:
        message: What happened, one line, no secrets. May quote the service; clean it before showing it.
        code: Stable word for scripts, such as ``key_refused``.
        hint: The next step to take, or an empty string.
        exit_code: What the process ends with when this error decides it.
        is_lasting: The same command would end the same way: it is not worth another try.
    """

    exit_code: ExitCode = ExitCode.FAILURE
    is_lasting: bool = False
    code: str = "unexpected"
    hint: str = ""

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint


class UsageError(SunoCoverError):
    """Wrong options, settings or folders, found before any network."""

    exit_code = ExitCode.USAGE
    is_lasting = True
    code = "usage"


class RefusedError(SunoCoverError):
    """The service refused the request and repeating it would not help."""

    exit_code = ExitCode.REFUSED
    is_lasting = True
    code = "refused"


class AccountError(SunoCoverError):
    """The account cannot do this."""

    exit_code = ExitCode.ACCOUNT
    code = "account"


class KeyRefusedError(AccountError):
    """No key, or the service answered 401."""

    code = "key_refused"


class CreditsError(AccountError):
    """402, or a 429 whose message speaks of credits."""

    code = "out_of_credits"


class UnavailableError(SunoCoverError):
    """The network or the service did not answer usefully, retries included.

    Attributes:
        retry_after_s: Seconds the service asked to wait, or ``None``.
    """

    exit_code = ExitCode.UNAVAILABLE
    code = "unavailable"
    retry_after_s: float | None = None


class UnreadableAnswerError(UnavailableError):
    """An answer that is not the documented JSON: HTML, empty, truncated."""

    code = "unreadable_answer"


class AnswerLostError(UnavailableError):
    """A request may have been carried out, but its answer never came."""

    code = "answer_lost"


class JobFailedError(SunoCoverError):
    """The service ended the job as failed."""

    exit_code = ExitCode.JOB_FAILED
    code = "job_failed"


class ImageError(SunoCoverError):
    """One image could not be saved."""

    exit_code = ExitCode.IMAGES_MISSING
    code = "image_failed"


class TunnelError(SunoCoverError):
    """No tunnel could be had, or it was lost.

    Attributes:
        is_permanent: Whether trying again in this run is pointless.
        is_expected: Nothing failed: no tunnel has been set up, which is a normal way to work.
    """

    exit_code = ExitCode.NO_TUNNEL
    code = "no_tunnel"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        is_permanent: bool = False,
        is_expected: bool = False,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.is_permanent = is_permanent
        self.is_expected = is_expected


class NotPickedError(SunoCoverError):
    """A job has several variants and none was chosen, or none of them will do."""

    exit_code = ExitCode.NOT_PICKED
    code = "not_picked"


class RequirementError(SunoCoverError):
    """What is asked for would not meet a requirement; says which, and the hint what would do."""

    exit_code = ExitCode.REQUIREMENT
    code = "requirement"


def reason_of(error: OSError) -> str:
    """Say in the system's own words why a connection could not be made: ``Connection refused``.

    asyncio puts the address there instead, or, when a name has several, the errors of all of them. A name that
    cannot be looked up brings words, but a number that is none of the system's.
    """
    said = error.strerror or str(error)
    if "Connect call failed" not in said:
        return said or "no reason given"
    found = _FIRST_NUMBER.search(said)
    number = error.errno or (int(found[1]) if found is not None else 0)
    return os.strerror(number) if number else said


def connection_reason(error: Exception) -> str:
    """Say why a connection failed, in the system's or in TLS's own words.

    The HTTP client's text for it repeats the address, and shows objects of its own.
    """
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    verdict: str = getattr(cause, "verify_message", "")
    return verdict or (reason_of(cause) if isinstance(cause, OSError) else str(cause)) or type(error).__name__


def explain_bind_error(
    error: OSError | OverflowError, host: str, port: int, *, option: str = "--port"
) -> UsageError:
    """Turn the failure to listen on an address into what the user can do about it.

    Args:
        error: Of the bind.
        host: That was to be listened on.
        port: The same.
        option: By which the user chooses the port.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        hint = f"Pass {option} 0 for any free port, or stop the program that uses this one"
        return UsageError(f"Port {port} on {host} is in use", code="port_in_use", hint=hint)
    if number in {errno.EACCES, errno.EPERM}:
        hint = f"Pass {option} 0 for any free port, or one above 1023"
        return UsageError(f"Port {port} on {host} may not be used", code="port_refused", hint=hint)
    if isinstance(error, OverflowError):
        return UsageError(f"{port} is not a port", code="bad_port", hint=f"Pass {option} 0 to 65535")
    # Only the listener's host is the user's to choose.
    hint = "Pass --listen-host 127.0.0.1, or another address of this machine"
    return UsageError(f"{host} is not an address to listen on", code="bad_host", hint=hint)


class Shortage(NamedTuple):
    """What the system has run out of: a code for scripts, in words, and what to do about it."""

    code: str
    what: str
    hint: str


_FULL = Shortage("disk_full", "no room", "Free some space, then run the command again.")
_SCARCE = Shortage(
    "out_of_resources",
    "the system is out of file handles or memory",
    "Close other programs or raise the limit (ulimit -n), then run the command again.",
)
_FAILING = Shortage("disk_failing", "the disk reports an error", "Use a folder on another disk.")
_SHORTAGES = {
    **dict.fromkeys((errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)), _FULL),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), _SCARCE),
    errno.EIO: _FAILING,
}


def shortage_of(error: BaseException) -> Shortage | None:
    """Return what the system has run out of, by what it raised; ``None`` when that is not what is wrong.

    Advice on permissions would be misleading then.
    """
    if isinstance(error, OSError):
        return _SHORTAGES.get(error.errno or 0)
    return _SCARCE if isinstance(error, MemoryError) else None


def disk_hint(error: OSError, otherwise: str) -> str:
    """Return what to do about a file that cannot be read or written: about a shortage, or else what is given."""
    shortage = shortage_of(error)
    return otherwise if shortage is None else shortage.hint


def disk_code(error: OSError, otherwise: str) -> str:
    """Return the code of a failure to read or write a file: that of a shortage, or else what is given."""
    shortage = shortage_of(error)
    return otherwise if shortage is None else shortage.code


def describe_unwritten(error: OSError) -> str:
    """Say why the product cannot be written to standard output, perhaps because the caller closed it (``>&-``)."""
    if error.errno == errno.EBADF:
        return "standard output is closed"
    return f"standard output cannot be written: {reason_of(error)}"
