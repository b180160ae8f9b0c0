"""Signatures of callbacks: the documented formula, and every way a pair of headers can be wrong."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.signature import SignatureReport, check_signature, sign

KEY = WebhookKey(Secret("whk_0123456789"), KIE_SIGNATURE)
OTHER_KEY = WebhookKey(Secret("another"), KIE_SIGNATURE)
TASK = "21aee3c3c2a01fa5e030b3799fa4dd56"
STAMP = "1700000000"
# printf '%s' "$TASK.$STAMP" | openssl dgst -sha256 -hmac "$KEY" -binary | base64
BY_OPENSSL = "ZRh71eL24QM4BbptbK9r4cHYnXnNRfOI6GDHvuY8j3w="
NOW = 1_700_000_000.0


def headers_of(timestamp: str | None, signature: str | None) -> Headers:
    """Return the headers that came, the absent ones left out."""
    pairs = (("x-webhook-timestamp", timestamp), ("X-WEBHOOK-SIGNATURE", signature))
    return tuple((name, value) for name, value in pairs if value is not None)


def check(
    *, timestamp: str | None = STAMP, signature: str | None = BY_OPENSSL, task: str = TASK, now_s: float = NOW
) -> SignatureReport:
    """Check a pair that is right unless a test says otherwise."""
    return check_signature(KEY, task, headers=headers_of(timestamp, signature), body=b"", now_s=now_s)


def test_signs_as_openssl_does() -> None:
    """A signature of ours is the one that another implementation of the documented formula makes."""
    assert sign(KEY, TASK, STAMP) == BY_OPENSSL


def test_a_right_pair_is_ok_and_tells_its_age() -> None:
    """A right signature with a fresh stamp is accepted, and its age is told in seconds."""
    report = check(now_s=NOW + 12)
    assert (report.state, report.reason, report.age_s) == (SignatureState.OK, "", 12.0)


def test_without_a_key_nothing_is_checked() -> None:
    """Without a webhook key even nonsense is left unchecked, never called wrong."""
    report = check_signature(None, TASK, headers=headers_of("x", "y"), body=b"", now_s=NOW)
    assert report == SignatureReport(state=SignatureState.UNCHECKED)


@pytest.mark.parametrize(
    ("timestamp", "signature", "named"),
    [
        (None, BY_OPENSSL, ["X-Webhook-Timestamp"]),
        (STAMP, None, ["X-Webhook-Signature"]),
        ("", "", ["X-Webhook-Timestamp", "X-Webhook-Signature"]),
    ],
)
def test_a_missing_header_is_named(timestamp: str | None, signature: str | None, named: list[str]) -> None:
    """When a header is absent or empty the verdict is missing, and the report names each absent one."""
    report = check(timestamp=timestamp, signature=signature)
    assert report.state is SignatureState.MISSING
    assert [name for name in ("X-Webhook-Timestamp", "X-Webhook-Signature") if name in report.reason] == named


@pytest.mark.parametrize("offset_s", [-300, -299, 0, 299, 300])
def test_five_minutes_either_way_are_allowed(offset_s: int) -> None:
    """A stamp up to and including five minutes old, or as far ahead, is accepted."""
    assert check(now_s=NOW + offset_s).state is SignatureState.OK


@pytest.mark.parametrize(("offset_s", "words"), [(301, "301 s old"), (-301, "301 s ahead")])
def test_beyond_five_minutes_a_right_pair_is_stale(offset_s: int, words: str) -> None:
    """A right signature whose stamp is too old or too far ahead is stale, and the report says by how much."""
    report = check(now_s=NOW + offset_s)
    assert report.state is SignatureState.STALE
    assert report.age_s == offset_s
    assert words in report.reason


@pytest.mark.parametrize(
    ("age_s", "max_age_s", "words"),
    [
        (300.2, 300.0, "301 s old, 300 s are allowed"),
        (-300.2, 300.0, "301 s ahead of this machine's clock, 300 s are allowed"),
        (0.7, 0.5, "1 s old, 0.5 s are allowed"),
        (2_000_000.1, 2_000_000.0, "2000001 s old, 2000000 s are allowed"),
    ],
)
def test_a_stamp_that_is_a_little_too_old_reads_so(age_s: float, max_age_s: float, words: str) -> None:
    """The age shown is above what is allowed, however little it is too old."""
    headers = headers_of(STAMP, BY_OPENSSL)
    report = check_signature(KEY, TASK, headers=headers, body=b"", now_s=NOW + age_s, max_age_s=max_age_s)
    assert report.state is SignatureState.STALE
    assert report.reason.endswith(words)


@pytest.mark.parametrize(
    ("signed", "words"),
    [
        ("{task_id}.{timestamp}", "another key, another task id or another timestamp"),
        ("{timestamp}.{body}", "another key, another timestamp or another body"),
        ("{body}", "another key or another body"),
    ],
)
def test_only_what_is_signed_is_called_different(signed: str, words: str) -> None:
    """A wrong signature is put down to the key and what is signed, a body only where it is."""
    scheme = KIE_SIGNATURE._replace(signed=signed)
    key, other = (WebhookKey(Secret(secret), scheme) for secret in ("right", "wrong"))
    headers = headers_of(STAMP, sign(other, TASK, STAMP, b"{}"))
    report = check_signature(key, TASK, headers=headers, body=b"{}", now_s=NOW)
    assert report.reason == f"{words} was signed"


def test_the_allowed_age_can_be_set() -> None:
    """The maximum age is a parameter."""
    report = check_signature(
        KEY, TASK, headers=headers_of(STAMP, BY_OPENSSL), body=b"", now_s=NOW + 11, max_age_s=10
    )
    assert report.state is SignatureState.STALE


def test_a_wrong_signature_is_bad_even_when_its_stamp_is_old() -> None:
    """Nobody without the key gets to hear that a stamp is stale: a wrong signature is bad whatever its age."""
    report = check(signature=sign(OTHER_KEY, TASK, STAMP), now_s=NOW + 4000)
    assert report.state is SignatureState.BAD
    assert report.age_s == 4000


@pytest.mark.parametrize(
    ("timestamp", "signature", "words"),
    [
        (STAMP, sign(OTHER_KEY, TASK, STAMP), "another key"),
        (STAMP, sign(KEY, "another-task", STAMP), "another task id"),
        (STAMP, sign(KEY, TASK, "1700000001"), "another timestamp"),
        (STAMP, BY_OPENSSL.rstrip("="), "not base64"),
        (STAMP, BY_OPENSSL + "A", "not base64"),
        (STAMP, "caf\xe9 \x1b[31m", "not base64"),
        (STAMP, "\udcff", "not base64"),
        (STAMP, base64.b64encode(b"short").decode(), "holds 5 bytes"),
        ("1700000000123", sign(KEY, TASK, "1700000000123"), "milliseconds"),
        ("2023-11-14T22:13:20Z", sign(KEY, TASK, "2023-11-14T22:13:20Z"), "unix seconds"),
        ("\u0661\u0667", sign(KEY, TASK, "\u0661\u0667"), "unix seconds"),
        ("-1", sign(KEY, TASK, "-1"), "unix seconds"),
        ("9" * 400, sign(KEY, TASK, "9" * 400), "unix seconds"),
    ],
)
def test_the_wrong_part_is_named(timestamp: str, signature: str, words: str) -> None:
    """Every way to be wrong is bad, and the report says which part it is without quoting the sender."""
    report = check(timestamp=timestamp, signature=signature)
    assert report.state is SignatureState.BAD
    assert words in report.reason
    assert words.startswith("another") or report.reason.startswith(("X-Webhook-Signature", "X-Webhook-Timestamp"))
    assert report.reason.isprintable()


# Bytes of headers that are not UTF-8 are lone surrogates by the time they get here.
ANYTHING = st.characters(exclude_categories=())


@given(
    task=st.text(ANYTHING, max_size=40),
    stamp=st.text(ANYTHING, max_size=20),
    signature=st.text(ANYTHING, max_size=60),
)
@example(task="\udcff", stamp=STAMP, signature=BY_OPENSSL)
@example(task=TASK, stamp="\udcff", signature=BY_OPENSSL)
@example(task="\ud800", stamp="\ud800", signature="\ud800")
@example(task=TASK, stamp="0", signature="\ud800")
def test_no_text_breaks_the_check(task: str, stamp: str, signature: str) -> None:
    """Whatever the headers hold, the check ends in a verdict, and never in ok without the key."""
    report = check_signature(KEY, task, headers=headers_of(stamp, signature), body=b"", now_s=NOW)
    assert report.state in {SignatureState.MISSING, SignatureState.BAD}
