"""What went wrong with a request, in words of ours: a library's own may quote addresses with secrets in them."""

import contextlib
import ssl
from collections.abc import Iterator

import aiohttp
from yarl import URL

from suno_cover_cli.base.errors import ImageError, reason_of
from suno_cover_cli.base.text import clean
from suno_cover_cli.images.addresses import ForbiddenAddressError, forbidden_address

RESUME_HINT = "Run suno-cover resume in a while: it fetches what is missing."

_FEW_ATTEMPTS = 2
_MOST_PATIENCE_S = 120.0
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_GONE = frozenset({403, 404, 410})
_FORBIDDEN = 403
_PASSING = frozenset({204, 205, 408, 409, 421, 425, 429})
# What hosts that send no parts of files answer to a request for one.
_NO_PARTS = frozenset({400, 403, 404, 405, 406, 409, 410, 412, 416, 417, 501})

# OpenSSL's numbers (X509_V_ERR_...): what is wrong with a certificate, and what helps.
_OWN_AUTHORITY_HINT = "Behind a company proxy, point SSL_CERT_FILE at its authority; then run suno-cover resume."
_CERTIFICATES = {
    9: ("is not valid yet", "Check this machine's date and time, then run suno-cover resume."),
    10: ("has expired", "Check this machine's date and time; if they are right, run suno-cover resume later."),
    18: ("is signed by itself", _OWN_AUTHORITY_HINT),
    19: ("is signed by an authority of its own", _OWN_AUTHORITY_HINT),
    20: ("is signed by an authority that is not known here, or lacks the rest of its chain", _OWN_AUTHORITY_HINT),
    21: ("comes without the rest of its chain", "Run suno-cover resume when the host is fixed."),
    23: ("has been withdrawn", "Look at the address before you trust it."),
    62: ("is that of another host", "Look at the address before you trust it."),
    64: ("is that of another host", "Look at the address before you trust it."),
}
_UNKNOWN_CERTIFICATE = ("is not trusted", _OWN_AUTHORITY_HINT)
# OpenSSL's reasons for a handshake that came to nothing. Each is final: the next try would end alike.
_HANDSHAKES = {
    "UNSUPPORTED_PROTOCOL": "speaks only a version of TLS that is too old to be safe",
    "TLSV1_ALERT_PROTOCOL_VERSION": "refuses the versions of TLS that this machine uses",
    "WRONG_VERSION_NUMBER": "does not speak TLS on this port",
    "HTTP_REQUEST": "does not speak TLS on this port",
    "NO_CIPHERS_AVAILABLE": "supports no encryption that this machine accepts",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "supports no encryption that this machine accepts",
    "DH_KEY_TOO_SMALL": "uses keys that are too small to be safe",
    "EE_KEY_TOO_SMALL": "uses keys that are too small to be safe",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "asks for a client certificate",
    "TLSV1_UNRECOGNIZED_NAME": "does not know this name",
}


# The first kind that fits.
_FAILURES = (
    (aiohttp.ClientProxyConnectionError, "the proxy cannot be reached"),
    (aiohttp.ClientConnectorDNSError, "the name {host} cannot be resolved"),
    (aiohttp.ClientPayloadError, "{host} broke off in the middle of the picture"),
    (aiohttp.ServerDisconnectedError, "{host} broke off before it answered"),
    (TimeoutError, "{host} was silent for too long"),
    (aiohttp.ClientConnectorSSLError, "{host} and this machine did not agree on an encryption"),
    (aiohttp.ClientResponseError, "{host} answered with something that is not HTTP"),
)


class AttemptError(ImageError):
    """One attempt failed in a way that another may not.

    Attributes:
        max_attempts: How many attempts in all this kind of failure is worth; ``None``: as many as allowed.
        retry_after: The server's ``Retry-After`` header, unread, or ``None``.
        refuses_parts: The server may have refused only because a part of the file was asked for.
    """

    code = "image_unavailable"
    hint = RESUME_HINT

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        max_attempts: int | None = None,
        retry_after: str | None = None,
        refuses_parts: bool = False,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.max_attempts = max_attempts
        self.retry_after = retry_after
        self.refuses_parts = refuses_parts


def check_status(response: aiohttp.ClientResponse, *, asked_for_part: bool) -> None:
    """Sort answers by their status: pass what comes with a body, raise for the rest.

    Args:
        response: Of which only status and fields are there.
        asked_for_part: The request had a ``Range``; then a part (206) is fine and a refusal may mean that alone.

    Raises:
        AttemptError: What may pass. Image hosts behind a cache answer even 403 and 404 in passing.
        ImageError: Any other status.
    """
    status = response.status
    message = f"{host_of(response)} answered {status}"
    is_success = 200 <= status < 300  # noqa: PLR2004 -- statuses
    if is_success and status not in _PASSING:
        return
    if asked_for_part and status in _NO_PARTS:
        raise AttemptError(f"{message} when asked for the rest of a picture", refuses_parts=True)
    if status in _GONE:
        raise AttemptError(
            message,
            code="image_gone",
            hint="Links live for about 14 days at most; suno-cover resume asks the service for fresh ones.",
            max_attempts=None if status == _FORBIDDEN else _FEW_ATTEMPTS,
        )
    if status in _PASSING or status >= 500:  # noqa: PLR2004 -- the same
        raise AttemptError(message, retry_after=response.headers.get("Retry-After"))
    raise ImageError(message, code="image_unavailable", hint=RESUME_HINT)


def check_patience(error: AttemptError, asked_s: float) -> None:
    """See whether a server asks for no longer a pause than a run is worth.

    Raises:
        ImageError: It asks for longer; the text says how long.
    """
    if asked_s > _MOST_PATIENCE_S:
        raise ImageError(
            f"{error.message} and asks to wait {_spell(asked_s)}",
            code=error.code,
            hint="Run suno-cover resume after that: it fetches what is missing.",
        ) from error


def host_of(response: aiohttp.ClientResponse) -> str:
    """Return the host that answered, fit to be shown."""
    return clean(response.url.host or "", 100)


@contextlib.contextmanager
def explain_network_errors(url: URL) -> Iterator[None]:
    """Turn what the network does to a request into an :class:`ImageError` of one line."""
    try:
        yield
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        raise _explain(error, url) from error


def _explain(error: Exception, url: URL) -> ImageError:
    """Sort out what is final; everything else may be over in a moment."""
    host = clean(url.host or "", 100)
    if isinstance(error, (aiohttp.InvalidURL, UnicodeError)):
        return forbidden_address(url)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        what, hint = _CERTIFICATES.get(getattr(error.certificate_error, "verify_code", 0), _UNKNOWN_CERTIFICATE)
        return ImageError(f"the certificate of {host} {what}", code="image_unavailable", hint=hint)
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ForbiddenAddressError):
            return forbidden_address(url)
        if isinstance(error.os_error, ssl.SSLError) and (said := _HANDSHAKES.get(error.os_error.reason or "")):
            return ImageError(f"{host} {said}", code="image_unavailable", hint="Look at the address and its port.")
    is_proxy = isinstance(error, (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError))
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.host != url.raw_host:
        # A name that is looked up here and is not that of the image's host is the proxy's.
        is_proxy, host = True, f"of the proxy, {clean(error.host, 100)},"
    return AttemptError(
        _describe(error, host, is_secure=url.scheme == "https"),
        code="image_truncated" if isinstance(error, aiohttp.ClientPayloadError) else None,
        hint="Check HTTPS_PROXY, then run suno-cover resume." if is_proxy else None,
    )


def _describe(error: Exception, host: str, *, is_secure: bool) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    for kind, words in _FAILURES:
        if isinstance(error, kind):
            return words.format(host=host)
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if is_secure and isinstance(error, aiohttp.ClientConnectorError) and isinstance(cause, ConnectionResetError):
        return f"{host} broke off the TLS handshake; it may speak only versions that are too old"
    reason = f": {clean(reason_of(cause), 200)}" if isinstance(cause, OSError) else ""
    return f"no connection to {host}{reason}"


def _spell(delay_s: float) -> str:
    """Write a long time the short way: ``an hour``, ``5 minutes``, ``3 days``."""
    for unit_s, one, many in ((_DAY_S, "a day", "days"), (_HOUR_S, "an hour", "hours")):
        count = round(delay_s / unit_s)
        if delay_s >= unit_s * 0.95:
            return one if count == 1 else f"{count} {many}"
    return f"{max(round(delay_s / _MINUTE_S), 1)} minutes"
