"""Exit codes: the contract with shells and scripts, listed in README."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller. Signals end it by the signal itself (130, 143, 129 in a shell)."""

    OK = 0
    """All done and saved."""
    FAILURE = 1
    """Unexpected error, or a batch that failed in several ways."""
    USAGE = 2
    """Wrong usage or settings."""
    REFUSED = 3
    """The service refused the request: unknown music task, bad field."""
    ACCOUNT = 4
    """Key refused, or out of credits."""
    UNAVAILABLE = 5
    """Network or service unavailable after retries."""
    JOB_FAILED = 6
    """The service ended the job as failed."""
    IMAGES_MISSING = 7
    """Job done, but some images could not be saved."""
    PENDING = 8
    """Still running at the deadline; nothing is lost."""
    NO_TUNNEL = 9
    """A tunnel was required and none could be had."""
    BAD_SIGNATURE = 10
    """``verify``: the signature is wrong or stale."""


class ToldExit(SystemExit):
    """The end of a command that has already told all there is to tell."""
