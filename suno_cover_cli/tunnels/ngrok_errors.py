"""ngrok's error codes: what each means for us and what the user can do (ngrok's documentation, "Errors").

The code is looked for where ngrok puts it (``ERR_NGROK_<number>`` in an error's text, the ``Ngrok-Error-Code``
header), the words shown are ours: ngrok's own quote the token (105, 107).
"""

import re

import msgspec

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.text import clean

_CODE = re.compile(r"ERR_NGROK_([0-9]{1,6})")
_MAX_TEXT_CHARS = 20_000
TOO_OLD_CODES = frozenset({120, 121})

_TOKEN_PAGE = "https://dashboard.ngrok.com/get-started/your-authtoken"  # noqa: S105 -- the address of a page
_ERROR_PAGE = "https://ngrok.com/docs/errors/err_ngrok_{}"
_DOCTOR = "suno-cover doctor shows the step that fails."


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What one of ngrok's refusals comes to.

    Attributes:
        code: Stable word for scripts.
        message: One line; ``{source}`` stands for where the token came from.
        hint: The next step.
        is_permanent: Whether the same attempt would fail again.
    """

    code: str
    message: str
    hint: str
    is_permanent: bool = False


_NO_TOKEN = Trouble(
    code="ngrok_no_token",
    message="ngrok wants an authtoken and there is none",
    hint=f"Get a free one at {_TOKEN_PAGE}, then: export NGROK_AUTHTOKEN=...",
    is_permanent=True,
)
_BAD_TOKEN = Trouble(
    code="ngrok_bad_token",
    message="ngrok refused the authtoken from {source}: malformed, outdated or revoked",
    hint=f"Copy the present one from {_TOKEN_PAGE}, then: export NGROK_AUTHTOKEN=...",
    is_permanent=True,
)
_SESSION_LIMIT = Trouble(
    code="ngrok_session_limit",
    message="the ngrok account has as many agents online as its plan allows",
    hint="Another run holds the agent: wait for its end (a free plan allows 1 to 3), or see https://dashboard.ngrok.com/agents.",
)
# Pooling would let two agents share the domain, and callbacks would land in either process: never proposed.
_DOMAIN_ONLINE = Trouble(
    code="ngrok_domain_online",
    message="the ngrok domain is already online through another agent",
    hint="Another run of the account holds it; wait for its end or pass another --domain.",
)
_TOO_OLD = Trouble(
    code="ngrok_too_old",
    message="the ngrok agent is too old",
    hint="Run: ngrok update (or get the latest from https://ngrok.com/download).",
    is_permanent=True,
)
_EMAIL = Trouble(
    code="ngrok_email",
    message="ngrok wants the e-mail address of the account verified first",
    hint="Verify it at https://dashboard.ngrok.com/user/settings.",
    is_permanent=True,
)
_DOMAIN = Trouble(
    code="ngrok_domain",
    message="the ngrok domain belongs to somebody else or is not part of the account's plan",
    hint="Check --domain against https://dashboard.ngrok.com/domains.",
    is_permanent=True,
)
_LIMIT = Trouble(
    code="ngrok_limit",
    message="the ngrok account has used up a rate or monthly limit",
    hint="See https://dashboard.ngrok.com/usage.",
)
_OFFLINE = Trouble(
    code="ngrok_offline",
    message="the ngrok agent cannot reach ngrok: no internet, DNS, a firewall or TLS interception",
    hint=_DOCTOR,
)
_PROXY = Trouble(
    code="ngrok_proxy",
    message="ngrok through an HTTP proxy is a paid feature",
    hint="Let the agent connect directly (the default).",
    is_permanent=True,
)
_BLOCKED = Trouble(
    code="ngrok_blocked",
    message="ngrok has blocked this address or account",
    hint="Ask support@ngrok.com, quoting the code.",
    is_permanent=True,
)
_LISTENER = Trouble(
    code="ngrok_listener",
    message="the ngrok agent is up but cannot reach our own listener: this is a fault of suno-cover",
    hint="Please report it, with the output of suno-cover doctor.",
)
_ENDPOINT_OFFLINE = Trouble(
    code="ngrok_endpoint_offline",
    message="ngrok says that the public address is offline",
    hint=_DOCTOR,
)

_TROUBLES = {
    4018: _NO_TOKEN,
    **dict.fromkeys((105, 106, 107, 300), _BAD_TOKEN),
    108: _SESSION_LIMIT,
    334: _DOMAIN_ONLINE,
    **dict.fromkeys(TOO_OLD_CODES, _TOO_OLD),
    123: _EMAIL,
    **dict.fromkeys((313, 314, 320), _DOMAIN),
    **dict.fromkeys((702, *range(714, 729), 734), _LIMIT),
    **dict.fromkeys(range(8001, 8007), _OFFLINE),
    9009: _PROXY,
    **dict.fromkeys((9040, 8014), _BLOCKED),
    8012: _LISTENER,
    3200: _ENDPOINT_OFFLINE,
}


def find_code(text: str | None) -> int | None:
    """Return the number of the first ``ERR_NGROK_<number>`` in a text, or ``None``."""
    match = _CODE.search((text or "")[:_MAX_TEXT_CHARS])
    return int(match.group(1)) if match else None


def explain_code(ngrok_code: int, *, source: str = "ngrok's settings", detail: str = "") -> TunnelError:
    """Turn one of ngrok's codes into an error with the next step.

    Args:
        ngrok_code: The number.
        source: Where the token came from, such as ``NGROK_AUTHTOKEN``; never its value.
        detail: ngrok's own words, secrets removed; shown only for codes that are not in the table.
    """
    trouble = _TROUBLES.get(ngrok_code)
    if trouble is None:
        shown = clean(detail, 200)
        trouble = Trouble(
            code="ngrok_refused",
            message=f"ngrok refused{f': {shown}' if shown else ''}",
            hint=f"See {_ERROR_PAGE.format(ngrok_code)}.",
        )
        return _error(trouble, ngrok_code, message=trouble.message)
    return _error(trouble, ngrok_code, message=trouble.message.format(source=source))


def too_old() -> TunnelError:
    """Return the error for an agent that gives itself away by what it lacks rather than by a code."""
    return _error(_TOO_OLD, None, message=_TOO_OLD.message)


def offline(detail: str) -> TunnelError:
    """Return the error for an agent that does not get through; ``detail`` is its own reason, secrets removed."""
    shown = clean(detail, 160)
    return _error(_OFFLINE, None, message=f"{_OFFLINE.message}{f' ({shown})' if shown else ''}")


def plain_error(code: str, message: str, hint: str = _DOCTOR, *, is_permanent: bool = False) -> TunnelError:
    """Return an error that ngrok has no code for."""
    error = TunnelError(message, code=code, hint=hint)
    error.is_permanent = is_permanent
    return error


def _error(trouble: Trouble, ngrok_code: int | None, *, message: str) -> TunnelError:
    suffix = f" (ERR_NGROK_{ngrok_code})" if ngrok_code is not None else ""
    error = plain_error(trouble.code, message + suffix, trouble.hint, is_permanent=trouble.is_permanent)
    error.ngrok_code = ngrok_code
    return error
