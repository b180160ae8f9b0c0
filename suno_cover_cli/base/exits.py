"""Exit codes: the contract with shells and scripts, listed in the reference."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller. Signals end it by the signal itself (130, 143, 129 in a shell)."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    REFUSED = 3
    ACCOUNT = 4
    UNAVAILABLE = 5
    JOB_FAILED = 6
    IMAGES_MISSING = 7
    PENDING = 8
    NO_TUNNEL = 9
    BAD_SIGNATURE = 10
    NOT_PICKED = 11
    REQUIREMENT = 12

    @classmethod
    def of_all(cls, codes: "Iterable[ExitCode]") -> "ExitCode":
        """Return the code of several jobs: 0, the one way in which some failed, or 1."""
        bad = set(codes) - {cls.OK}
        return bad.pop() if len(bad) == 1 else cls.FAILURE if bad else cls.OK

    @property
    def meaning(self) -> str:
        """What it means, for people: README's table is made of these."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "all done and saved",
    ExitCode.FAILURE: "unexpected error, or a batch that failed in several ways",
    ExitCode.USAGE: "wrong usage or settings; nothing was submitted",
    ExitCode.REFUSED: "the service refused the request: unknown music task, bad field",
    ExitCode.ACCOUNT: "no key, the key was refused, or the account is out of credits",
    ExitCode.UNAVAILABLE: "network or service unavailable, all retries included",
    ExitCode.JOB_FAILED: "the service ended the job as failed",
    ExitCode.IMAGES_MISSING: "the job is done, but some images could not be saved",
    ExitCode.PENDING: "still running at the deadline; nothing is lost, continue with `resume`",
    ExitCode.NO_TUNNEL: "a tunnel was required and could not be opened",
    ExitCode.BAD_SIGNATURE: "`verify`: the signature is wrong or stale",
    ExitCode.NOT_PICKED: "`pick`, `export`, `embed`: several variants and none picked, or picked `none`",
    ExitCode.REQUIREMENT: "`pick`, `export`, `embed`: a requirement is not met or a cover is gone; it says which",
}


class ToldExit(SystemExit):
    """The end of a command that has already told all there is to tell."""
