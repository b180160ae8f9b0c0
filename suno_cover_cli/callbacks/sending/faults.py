"""Why a delivery did not succeed, and what helps: each kind of failure in words of its own.

The HTTP client's own texts are not for showing: they quote request headers, secrets among them.
"""

import errno
import ssl
from typing import NamedTuple
from urllib.parse import urljoin

import aiohttp
from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError, LineTooLong
from yarl import URL

from suno_cover_cli.base.errors import reason_of
from suno_cover_cli.base.proxies import Proxy
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.sending.reading import ConnectionLostError, NoTunnelError

_LOG = "its log may say why"
_PLAIN = "does it want http://?"
_CHOICES, _SEE_OTHER, _UNAUTHORIZED, _PROXY_LOGIN = 300, 303, 401, 407
_REDIRECTS = {301, 302, 303, 307, 308}
# Said by proxies of what they do not let through, or do not reach.
_ALSO_OF_PROXIES = {403, 502, 503, 504}
# OpenSSL's numbers for what is wrong with a certificate (x509_vfy.h).
_EXPIRED, _NOT_YET_VALID = 10, 9
_WRONG_HOST = {62, 64}


class Fault(NamedTuple):
    """Why there is no answer.

    Attributes:
        error: What happened; the receiver's address and a colon come before it.
        advice: What helps; empty where there is nothing to say.
        is_reached: It was the receiver that something is wrong with, not the way to it.
    """

    error: str
    advice: str = ""
    is_reached: bool = True


def describe_fault(
    error: BaseException,
    *,
    status: int | None,
    received_bytes: int,
    proxy: Proxy | None,
    is_secure: bool,
    has_answered: bool,
) -> Fault:
    """Say what an exception of the HTTP client means.

    Args:
        error: Raised while a request was sent and its answer read.
        status: Of the answer, when that had begun.
        received_bytes: Of its body.
        proxy: On the way to the receiver.
        is_secure: The receiver is asked over TLS: a proxy hands on bytes then; else it is what answers.
        has_answered: The receiver did answer before.
    """
    if status is None and (what := _used_up(error)):
        said = f"was not asked: {what} has no free file descriptors"
        return Fault(said, "ulimit -n raises the limit", is_reached=False)
    if proxy is not None and (fault := _failed_at(proxy, error, is_tunnelled=is_secure, status=status)):
        return fault
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return _not_connected(error, is_secure=is_secure)._replace(is_reached=False)
    if status is not None and isinstance(error, aiohttp.ClientPayloadError | OSError):
        return Fault(f"answered {status}, but its answer broke off after {received_bytes} bytes", _LOG)
    fault = _not_answered(error)
    if isinstance(error, ConnectionLostError) and not (error.has_begun or has_answered or is_secure):
        # Servers that wait for TLS cut what is not, most of them without a word.
        return fault._replace(advice=f"{_LOG}; does it want https://?")
    return fault


def _used_up(error: BaseException) -> str:
    """Return what has no file descriptors left, where that is why no connection could be opened; else nothing."""
    number = getattr(getattr(error, "os_error", error), "errno", None)
    return {errno.EMFILE: "this process", errno.ENFILE: "this machine"}.get(number or 0, "")


def describe_slowness(status: int | None, timeout_s: float, proxy: Proxy | None, *, is_tls_new: bool) -> Fault:
    """Say what it means that the time is over.

    Args:
        status: Of the answer, when that had begun.
        timeout_s: How long the time was.
        proxy: On the way to the receiver.
        is_tls_new: The receiver is asked over TLS, and did not answer before.
    """
    what = "no answer" if status is None else f"answered {status}, but its answer did not end"
    where = "" if proxy is None else f" through {proxy.named}"
    advice = "answer first and do the work afterwards"
    if status is None and is_tls_new:
        # A server of plain HTTP may take the beginning of TLS for that of a request, and wait for the rest.
        advice += f"; {_PLAIN}"
    return Fault(f"{what} within {timeout_s:g} s{where}", advice)


def describe_interim(status: int) -> Fault:
    """Say what a status below 200 means as the last word of a receiver."""
    if status < 100:  # noqa: PLR2004 -- statuses begin there
        return Fault(f"answered with the status {status:03}, which HTTP does not have")
    return Fault(f"answered {status}: it wants another protocol")


def _failed_at(proxy: Proxy, error: BaseException, *, is_tunnelled: bool, status: int | None) -> Fault | None:
    """Say how a proxy failed, or ``None`` where it did not."""
    advice = "NO_PROXY exempts hosts from it"
    refused = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
    if (words := proxy.describe_error(error, refused)) is not None:
        advice = f"{_advise_login(proxy)}; {advice}" if refused == _PROXY_LOGIN else advice
        return Fault(words, advice, is_reached=False)
    if isinstance(error, NoTunnelError) and error.__cause__ is not None:
        error = error.__cause__
    elif is_tunnelled or status is not None or isinstance(error, ValueError):
        return None
    return Fault(f"{proxy.named} {_not_answered(error).error}", advice, is_reached=False)


def _advise_login(proxy: Proxy) -> str:
    if proxy.has_login:
        return "it does not take the login in its address"
    return "does it want a login? (user:password@ in its address)"


def _not_connected(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, *, is_secure: bool
) -> Fault:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(error.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            return Fault(f"cannot be found: no address is known for {clean(error.host, 100)}", "check the name")
        case aiohttp.ClientConnectorSSLError():
            said = str(getattr(error.os_error, "reason", ""))
            if "ALERT" in said:
                # A server that speaks TLS says in an alert what it objects to.
                return Fault(f"refused the TLS handshake ({clean(said, 100).lower().replace('_', ' ')})", _LOG)
            return Fault(f"does not speak TLS on port {error.port}", _PLAIN)
    if is_secure and isinstance(error.os_error, ConnectionResetError | ConnectionAbortedError):
        return Fault("broke off the TLS handshake", _PLAIN)
    reason = clean(reason_of(error.os_error), 200)
    return Fault(f"cannot reach {clean(error.host, 100)}:{error.port}: {reason}", "is it running?")


def _not_answered(error: BaseException) -> Fault:
    match error:
        case ConnectionLostError(reason=OSError() as reason):
            return Fault(f"cut the connection ({clean(reason_of(reason), 200)})", _LOG)
        case ConnectionLostError():
            where = "in the middle of its headers" if error.is_cut_head else "without an answer"
            return Fault(f"hung up {where}", _LOG)
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return _no_http(error if isinstance(error, HttpProcessingError) else error.__cause__)
        case OSError():
            return Fault(f"cut the connection ({clean(reason_of(error), 200)})", _LOG)
        case ValueError():
            # An edited record can hold headers that are not valid.
            return Fault(f"cannot be sent this: {clean(error, 200)}", is_reached=False)
    return Fault(f"failed ({type(error).__name__})")


def _untrusted(error: Exception) -> Fault:
    number = getattr(error, "verify_code", 0)
    advice = "--insecure accepts it"
    if number in _WRONG_HOST:
        return Fault("has a certificate for another host", advice)
    if number in {_EXPIRED, _NOT_YET_VALID}:
        return Fault(f"has a certificate that is {'expired' if number == _EXPIRED else 'not valid yet'}", advice)
    reason = getattr(error, "verify_message", "") if isinstance(error, ssl.SSLError) else ""
    return Fault(f"has a certificate that is not trusted here ({clean(reason, 100)})", advice)


def _no_http(cause: BaseException | None) -> Fault:
    # Its text begins with a status of the client's own making; the message is behind that.
    said = str(getattr(cause, "message", cause)).strip()
    if isinstance(cause, LineTooLong) or "Got more than" in said:
        return Fault("answered with a header line of over 64 KiB")
    if isinstance(cause, BadStatusLine) or said.startswith("Bad status line"):
        return Fault("answered with something that is not HTTP", "is this the right port?")
    return Fault("answered with a header that is not HTTP", _LOG)


def advise(
    url: str, status: int, headers: dict[str, str], *, has_login: bool = False, proxy: Proxy | None = None
) -> str:
    """Say what an answer other than 200 may mean; empty where there is nothing to add.

    Args:
        url: That was asked, with the query of the request.
        status: Of the answer.
        headers: Of the answer, names in lower case.
        has_login: The request bore credentials.
        proxy: That may have answered in place of the receiver.
    """
    if proxy is not None and status == _PROXY_LOGIN:
        return f"{proxy.named} says so: {_advise_login(proxy)}"
    if proxy is not None and status in _ALSO_OF_PROXIES:
        return f"your handler may say so, or {proxy.named}"
    if status == _UNAUTHORIZED and has_login:
        return "your handler does not take this login"
    if status in _REDIRECTS or (status == _CHOICES and headers.get("location")):
        return _redirected(url, headers.get("location", ""), is_after_a_form=status == _SEE_OTHER)
    advice = {
        401: "does your handler want a login? (--header) Or a signed callback?",
        403: "does it want a login, or another Host or Origin? (--header)",
        404: "check the path: requests go to exactly the address that you gave",
        405: f"that path does not take this method{_allowed(headers)}",
        407: "a proxy wants a login",
        413: "the body is larger than your handler takes",
        415: "your handler does not take this Content-Type or Content-Encoding",
        421: "your handler answers under another Host (--header 'Host: ...')",
        422: "your handler misses fields that it wants in the body or query",
        426: "it wants another version of HTTP, or https://",
        429: "your handler accepts no more requests right now",
    }
    return advice.get(status, "")


def _allowed(headers: dict[str, str]) -> str:
    allowed = clean(headers.get("allow", ""), 60)
    return f"; it allows {allowed}" if allowed else ""


def _redirected(url: str, location: str, *, is_after_a_form: bool) -> str:
    if not location:
        return "it redirects without saying where"
    try:
        here, there = URL(url, encoded=True), URL(urljoin(url, location), encoded=True)
        same_path = here.raw_path == there.raw_path
    except ValueError:
        return f"it redirects to {clean(location, 200)}, which is not followed"
    if there.scheme not in {"http", "https"}:
        return f"it redirects to {clean(str(there), 200)}, which is not followed"
    how = "use that address"
    adds = {*there.raw_query_string.split("&")} - {"", *here.raw_query_string.split("&")}
    if there.with_query(None) == here.with_query(None) and not adds:
        how = "it is the same address; does your handler want a cookie?"
    elif there.raw_path == f"{here.raw_path}/" and there.host == here.host:
        how = "add the slash"
    elif f"{there.raw_path}/" == here.raw_path and there.host == here.host:
        how = "leave the slash out"
    elif same_path and there.scheme != here.scheme and there.host == here.host:
        how = f"use {there.scheme}://"
    elif "login" in there.raw_path.lower() or "signin" in there.raw_path.lower():
        how = "does your handler want a login?"
    elif is_after_a_form:
        how = "303 answers a form; the service wants 200"
    return f"it redirects to {clean(str(there), 200)}, which is not followed: {how}"
