"""The service's codes: what each means, the error a user sees for it, and the next step to take.

Every documented code has a row of its own; undocumented ones differ by their hundreds.
"""

from collections.abc import Callable

from suno_cover_cli.base.errors import (
    CreditsError,
    JobFailedError,
    KeyRefusedError,
    RefusedError,
    SunoCoverError,
    UnavailableError,
)
from suno_cover_cli.base.models import Envelope
from suno_cover_cli.base.providers import Provider
from suno_cover_cli.base.text import clean

CODE_OK = 200
CODE_ALREADY_MADE = frozenset({400, 409})
CODE_JOB_FAILED = frozenset({408, 501, 505, 531})
"""Codes that end a job when a *read* answers with them (500 there is a server fault: read again)."""

_MEANINGS = {
    200: "done",
    400: "bad request, or a cover was already made",
    401: "key missing or refused",
    402: "not enough credits",
    404: "no such path",
    405: "called too fast",
    408: "the generator was silent for too long",
    409: "a cover was already made",
    413: "text too long",
    422: "a field was refused",
    429: "too many calls, or out of credits",
    430: "called too fast",
    455: "maintenance",
    500: "server fault",
    501: "cover generation failed",
    505: "cover generation is switched off at this provider",
    531: "generation failed, credits were returned",
}


def describe_code(code: int) -> str:
    """Say in a few words what a ``code`` of the service means."""
    return _MEANINGS.get(code, f"code {code}, which the service does not document")


def message_of(envelope: Envelope) -> str:
    """Return the service's own words, cleaned; empty when there are none."""
    return clean(envelope.msg) if isinstance(envelope.msg, str) else ""


def key_refused(said: str, provider: Provider) -> KeyRefusedError:
    """Describe a 401, whether it came in the envelope or as a bare HTTP status."""
    return KeyRefusedError(
        "the service refused the key" + (f': "{said}"' if said else ""),
        hint=f"Check {provider.key_variable}, or --provider if the key is another provider's. "
        f"Keys of {provider.site}: {provider.key_page}",
    )


def _credits(said: str) -> CreditsError:
    return CreditsError(
        "the account is out of credits" + (f': "{said}"' if said else ""),
        hint="Top up, then run the same command again; suno-cover credits shows the balance.",
    )


def _music_refused(said: str) -> RefusedError:
    return RefusedError(
        f'the service refused this music task: "{said or "no reason given"}"',
        code="unknown_music_task",
        hint="Pass the task id that the music generation returned (data.taskId), made with the same provider "
        "and account; not a song id and not one from suno.com.",
    )


def _already_made(said: str, provider: Provider) -> RefusedError:
    log = f" ({provider.log_page})" if provider.log_page else ""
    return RefusedError(
        "a cover was already made for this music task, and the service did not say under which id"
        + (f' ("{said}")' if said else ""),
        code="already_made",
        hint=f"Look the cover task id up in the provider's task log{log}, then: suno-cover wait COVER_TASK_ID",
    )


def throttled(said: str) -> UnavailableError:
    """Describe a call that came too fast, whether it said so in the envelope or by a bare HTTP status."""
    return UnavailableError(
        "the service is being called too fast" + (f': "{said}"' if said else ""),
        code="throttled",
        hint="Lower --rate, or wait a minute; other programs using the same account count too.",
    )


def _maintenance(said: str) -> UnavailableError:
    return UnavailableError(
        "the service is under maintenance" + (f': "{said}"' if said else ""),
        code="maintenance",
        hint="Try again later; nothing was charged.",
    )


def _server_fault(said: str) -> UnavailableError:
    return UnavailableError(
        "the service had a fault (code 500)" + (f': "{said}"' if said else ""),
        code="server_fault",
        hint="Try again in a few minutes.",
    )


def _too_long(said: str) -> RefusedError:
    return RefusedError(f'the service says the text is too long: "{said}"', hint="Check the music task id.")


def _wrong_path(said: str) -> RefusedError:
    return RefusedError(
        f'the service does not know this path (code 404): "{said}"',
        code="wrong_base_url",
        hint="Check --base-url and --provider.",
    )


def _bad_request(said: str) -> RefusedError:
    return RefusedError(
        f'the service refused the request: "{said or "no reason given"}"',
        code="bad_request",
        hint="Check the music task id.",
    )


_PROVIDER_ERRORS: dict[int, Callable[[str, Provider], SunoCoverError]] = {401: key_refused, 409: _already_made}
_CODE_ERRORS: dict[int, Callable[[str], SunoCoverError]] = {
    400: _bad_request,
    402: _credits,
    404: _wrong_path,
    405: throttled,
    413: _too_long,
    422: _music_refused,
    430: throttled,
    455: _maintenance,
    500: _server_fault,
}


def error_of(envelope: Envelope, provider: Provider) -> SunoCoverError:
    """Turn a refusing envelope into the error the user sees; each documented code has its own."""
    error = _error_of_code(envelope, provider)
    if isinstance(error, UnavailableError):
        error.retry_after_s = envelope.retry_after_s
    return error


def _error_of_code(envelope: Envelope, provider: Provider) -> SunoCoverError:
    code, said = envelope.code, message_of(envelope)
    if code == 429:  # noqa: PLR2004 -- one code, two meanings, told apart by the service's words
        return _credits(said) if "credit" in said.lower() or "top up" in said.lower() else throttled(said)
    if code in CODE_JOB_FAILED:
        return job_failed(code, said)
    if (tell := _PROVIDER_ERRORS.get(code)) is not None:
        return tell(said, provider)
    if (make := _CODE_ERRORS.get(code)) is not None:
        return make(said)
    if code >= 500:  # noqa: PLR2004 -- undocumented server-side codes are worth another try
        return UnavailableError(f'the service answered code {code}: "{said}"', hint="Try again in a few minutes.")
    return RefusedError(f'the service answered code {code}: "{said}"', hint="Check the request and the account.")


def job_failed(code: int | None, said: str) -> JobFailedError:
    """Describe a job that the service ended, with the step that makes sense for its code."""
    hints = {
        531: "The credits were returned: run the same command again.",
        505: "The provider switched cover generation off: ask them, or use another provider.",
        408: "The generator was silent for too long: run the same command again later.",
    }
    meaning = describe_code(code) if code is not None and code != CODE_OK else "cover generation failed"
    is_news = said.rstrip(".").casefold() not in {"", meaning.casefold()}
    error = JobFailedError(
        f"the service ended the job: {meaning}" + (f' ("{said}")' if is_news else ""),
        code="job_refunded" if code == 531 else "job_failed",  # noqa: PLR2004 -- documented code
        hint=hints.get(code or 0, "Run the same command again; if it fails again, try another music task."),
    )
    error.is_lasting = code == 505  # noqa: PLR2004 -- documented code
    return error
