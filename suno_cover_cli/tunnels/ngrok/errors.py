"""ngrok's error codes: what each means for us and what the user can do (https://ngrok.com/docs/errors).

The code is looked for where ngrok puts it (``ERR_NGROK_<number>`` in an error's text, the ``Ngrok-Error-Code``
header), the words shown are ours: ngrok's own quote the token (105, 107).
"""

import json
import re

import msgspec

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.text import Redactor, Secret, clean

_CODE = re.compile(r"ERR_NGROK_([0-9]{1,6})")
_MAX_TEXT_CHARS = 20_000
_NOT_FOUND = 404
# The agent never gives up; one failed session may be a hiccup, three in a row are no internet.
_MAX_FAILED_SESSIONS = 3
_TOO_OLD_CODES = (120, 121)

TOKEN_PAGE = "https://dashboard.ngrok.com/get-started/your-authtoken"  # noqa: S105 -- the address of a page
_ERROR_PAGE = "https://ngrok.com/docs/errors/err_ngrok_{}"
UPDATE_HINT = "Run: ngrok update (or get the latest from https://ngrok.com/download)."
_DOCTOR = "suno-cover doctor shows the step that fails."


class _Trouble(msgspec.Struct, frozen=True, kw_only=True):
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


_NO_TOKEN = _Trouble(
    code="ngrok_no_token",
    message="ngrok needs an authtoken and none is set",
    hint=f"Get a free one at {TOKEN_PAGE}, then: export NGROK_AUTHTOKEN=...",
    is_permanent=True,
)
_BAD_TOKEN = _Trouble(
    code="ngrok_bad_token",
    message="ngrok refused the authtoken from {source}: malformed, outdated or revoked",
    hint=f"Copy the current one from {TOKEN_PAGE}, then: export NGROK_AUTHTOKEN=...",
    is_permanent=True,
)
_SESSION_LIMIT = _Trouble(
    code="ngrok_session_limit",
    message="the ngrok account has as many agents online as its plan allows",
    hint="Another run holds the agent: wait until it ends (a free plan allows 1 to 3), or see https://dashboard.ngrok.com/agents.",
)
# Pooling would let two agents share the domain, and callbacks would land in either process: never proposed.
_DOMAIN_ONLINE = _Trouble(
    code="ngrok_domain_online",
    message="the ngrok domain is already online through another agent",
    hint="Another run of the account holds it; wait until it ends or pass another --domain.",
)
_TOO_OLD = _Trouble(
    code="ngrok_too_old",
    message="the ngrok agent is too old",
    hint=UPDATE_HINT,
    is_permanent=True,
)
_EMAIL = _Trouble(
    code="ngrok_email",
    message="ngrok wants the e-mail address of the account verified first",
    hint="Verify it at https://dashboard.ngrok.com/user/settings.",
    is_permanent=True,
)
_DOMAIN = _Trouble(
    code="ngrok_domain",
    message="the ngrok domain belongs to another account or is not part of the account's plan",
    hint="Check --domain against https://dashboard.ngrok.com/domains.",
    is_permanent=True,
)
_LIMIT = _Trouble(
    code="ngrok_limit",
    message="the ngrok account has used up a rate or monthly limit",
    hint="See https://dashboard.ngrok.com/usage.",
)
_OFFLINE = _Trouble(
    code="ngrok_offline",
    message="the ngrok agent cannot reach ngrok: no internet, DNS, a firewall or TLS interception",
    hint=_DOCTOR,
)
_PROXY = _Trouble(
    code="ngrok_proxy",
    message="ngrok through an HTTP proxy is a paid feature",
    hint="Let the agent connect directly (the default).",
    is_permanent=True,
)
_BLOCKED = _Trouble(
    code="ngrok_blocked",
    message="ngrok has blocked this address or account",
    hint="Ask support@ngrok.com, quoting the code.",
    is_permanent=True,
)
_LISTENER = _Trouble(
    code="ngrok_listener",
    message="the ngrok agent is up but cannot reach our own listener: this is a fault of suno-cover",
    hint="Please report it, with the output of suno-cover doctor.",
)
_ENDPOINT_OFFLINE = _Trouble(
    code="ngrok_endpoint_offline",
    message="ngrok says that the public address is offline",
    hint=_DOCTOR,
)

_TROUBLES = {
    4018: _NO_TOKEN,
    **dict.fromkeys((105, 106, 107, 300), _BAD_TOKEN),
    108: _SESSION_LIMIT,
    334: _DOMAIN_ONLINE,
    **dict.fromkeys(_TOO_OLD_CODES, _TOO_OLD),
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


def explain_code(number: int, *, source: str = "ngrok's settings", detail: str = "") -> TunnelError:
    """Turn one of ngrok's codes into an error with the next step.

    Args:
        number: Of ``ERR_NGROK_<number>``.
        source: Where the token came from, such as ``NGROK_AUTHTOKEN``; never its value.
        detail: ngrok's own words, secrets removed; shown only for codes that are not in the table.
    """
    trouble = _TROUBLES.get(number)
    if trouble is None:
        shown = clean(detail, 200)
        trouble = _Trouble(
            code="ngrok_refused",
            message=f"ngrok refused{f': {shown}' if shown else ''}",
            hint=f"See {_ERROR_PAGE.format(number)}.",
        )
    message = trouble.message.replace("{source}", source)
    return plain_error(
        trouble.code, f"{message} (ERR_NGROK_{number})", trouble.hint, is_permanent=trouble.is_permanent
    )


def no_token() -> TunnelError:
    """Return the error of a run without any token: for most a normal way to work, so it is said in few words."""
    return TunnelError(
        "NGROK_AUTHTOKEN is not set",
        code=_NO_TOKEN.code,
        hint=_NO_TOKEN.hint,
        is_permanent=True,
        is_expected=True,
    )


def bad_token(source: str, reason: str) -> TunnelError:
    """Return the error for a token that cannot be one; ``reason`` never quotes it."""
    message = f"{source} does not hold an authtoken: {reason}"
    return plain_error(_BAD_TOKEN.code, message, _BAD_TOKEN.hint, is_permanent=True)


def too_old() -> TunnelError:
    """Return the error for an agent that gives itself away by what it lacks rather than by a code."""
    return plain_error(_TOO_OLD.code, _TOO_OLD.message, _TOO_OLD.hint, is_permanent=True)


def offline(detail: str) -> TunnelError:
    """Return the error for an agent that does not get through; ``detail`` is its own reason, secrets removed."""
    shown = clean(detail, 160)
    return plain_error(_OFFLINE.code, f"{_OFFLINE.message}{f' ({shown})' if shown else ''}", _OFFLINE.hint)


def plain_error(code: str, message: str, hint: str = _DOCTOR, *, is_permanent: bool = False) -> TunnelError:
    """Return an error that ngrok has no code for."""
    return TunnelError(message, code=code, hint=hint, is_permanent=is_permanent)


class Explainer:
    """Turns what one agent says into errors of ours, its token taken out.

    Attributes:
        trouble: Why the last session failed: the reason to give when time is up.
    """

    def __init__(self) -> None:
        self._redactor = Redactor()
        self._token_source = ""
        self._failed_sessions = 0
        self.trouble: TunnelError | None = None

    def learn(self, token: Secret, source: str) -> None:
        """Take out this token from now on; ``source`` is where it came from."""
        self._redactor.add(token)
        self._token_source = source

    def shown(self, text: object, limit: int = 200) -> str:
        """Return a text of the agent's as it may be shown."""
        return clean(self._redactor.redact(str(text)), limit)

    def forget(self, trouble: TunnelError | None = None) -> None:
        """Begin anew, with another agent."""
        self._failed_sessions = 0
        self.trouble = trouble

    def note_session(self, message: str, reason: str | None) -> None:
        """Keep why a session failed.

        Raises:
            TunnelError: It fails for good: the agent itself would never stop trying.
        """
        code = find_code(reason)
        if code is not None:
            self.trouble = explain_code(code, source=self._token_source, detail=self.shown(reason))
        if "failed to reconnect" in message:
            self._failed_sessions += 1
            if code is None:
                self.trouble = offline(self.shown(reason or ""))
            if self.trouble is not None and self._failed_sessions >= _MAX_FAILED_SESSIONS:
                raise self.trouble

    def refusal(self, status: int, body: bytes) -> TunnelError:
        """Explain an answer of the agent's local API that is none of 2xx."""
        if status == _NOT_FOUND:
            return too_old()  # it knows no endpoints yet
        said = _reason_in(body.decode("utf-8", "replace"))
        code = find_code(said)
        if code is not None:
            return explain_code(code, source=self._token_source, detail=self.shown(said))
        message = f"the ngrok agent refused to open a tunnel: HTTP {status}, {self.shown(said, 160)}"
        return plain_error("ngrok_api", message)

    def end(self, how: str, last_words: str) -> TunnelError:
        """Explain an agent that has ended before it was connected.

        Args:
            how: Such as ``ended with exit status 1``.
            last_words: The last line of its standard error.
        """
        code = find_code(last_words)
        if code is not None:
            return explain_code(code, source=self._token_source)
        if self.trouble is not None:
            return self.trouble
        said = self.shown(last_words) or f"it {how} without a message"
        return plain_error("ngrok_exited", f"the ngrok agent did not start: {said}")


def _reason_in(body: str) -> str:
    """Return the words of a refusal by the local API: ``details.err``, else ``msg``, else what there is."""
    try:
        refusal = json.loads(body)
        return str(refusal.get("details", {}).get("err") or refusal["msg"])
    except (ValueError, LookupError, AttributeError):
        return body
