"""The samples of ``trigger``: each is what its name says, as a real listener judges it."""

import json
import subprocess
import sys

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.content import NotACallbackError, parse_callback
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.callbacks.samples import LATE_S, build_sample, is_expected, parse_expectation
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.callbacks.sending.targets import Target
from suno_cover_cli.callbacks.signature import check_signature
from tests.clocks import ManualClock
from tests.listener_fixtures import TASK, new_listener

KEY = WebhookKey(Secret("whk_0123456789"), KIE_SIGNATURE)
NOW = 1_700_000_000.0
SUCCESSES = {
    SampleName.SUCCESS,
    SampleName.DUPLICATE,
    SampleName.LATE,
    SampleName.HUGE,
    SampleName.WRONG_TASK,
    SampleName.UNSIGNED,
    SampleName.BAD_SIGNATURE,
    SampleName.STALE_SIGNATURE,
}


def test_every_sample_the_contract_names_is_there() -> None:
    """The names are the documented ones, each with a description that fits a line of help."""
    assert [name.value for name in SampleName] == [
        "success",
        "failed-501",
        "refunded-531",
        "error-500",
        "validation-400",
        "timeout-408",
        "duplicate",
        "late",
        "malformed",
        "empty",
        "huge",
        "wrong-task",
        "unsigned",
        "bad-signature",
        "stale-signature",
        *("music-text", "music-first", "music-complete", "music-error", "lyrics", "wav", "video", "vocal"),
        *("market", "flat", "form", "gzip", "deflate", "gbk", "utf-16"),
    ]
    assert all(0 < len(name.description) < 70 for name in SampleName)


@pytest.mark.parametrize("name", sorted(SUCCESSES))
def test_a_success_names_its_task_and_images(name: SampleName) -> None:
    """Every successful sample carries the task and images asked for, but for the wrong task and one too large."""
    for sample in build_sample(name, now_s=NOW, task_id=TASK, image_urls=("https://a.example/1.png",)):
        if name is SampleName.HUGE:
            with pytest.raises(NotACallbackError, match="over 1 MiB"):
                parse_callback(sample.body)
            assert json.loads(sample.body)["data"]["images"] == ["https://a.example/1.png"]
            continue
        content = parse_callback(sample.body)
        assert (content.code, content.image_urls) == (200, ("https://a.example/1.png",))
        assert content.task_id == sample.task_id
        assert (sample.task_id == TASK) is (name is not SampleName.WRONG_TASK)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (SampleName.FAILED_501, 501),
        (SampleName.REFUNDED_531, 531),
        (SampleName.ERROR_500, 500),
        (SampleName.VALIDATION_400, 400),
        (SampleName.TIMEOUT_408, 408),
    ],
)
def test_a_failure_carries_its_code_and_null_for_images(name: SampleName, code: int) -> None:
    """Every failing sample has its code, some words, and null where images would be."""
    (sample,) = build_sample(name, now_s=NOW, task_id=TASK)
    sent = json.loads(sample.body)
    assert (sent["code"], sent["data"]) == (code, {"taskId": TASK, "images": None})
    assert sent["msg"]


def test_without_arguments_a_sample_looks_like_the_real_thing() -> None:
    """Left alone, a success has a new task id of 32 hex digits and two images in the service's form."""
    (one,), (other,) = (build_sample(SampleName.SUCCESS, now_s=NOW) for _ in range(2))
    content = parse_callback(one.body)
    assert len(content.task_id) == 32
    assert int(content.task_id, 16)
    assert one.task_id != other.task_id
    assert [url.partition("_")[0] for url in content.image_urls] == [
        "https://tempfile.aiquickdraw.com/s/1700000000",
        "https://tempfile.aiquickdraw.com/s/1700000001",
    ]


@pytest.mark.parametrize("name", [SampleName.MALFORMED, SampleName.EMPTY])
def test_what_is_meant_to_be_no_callback_is_none(name: SampleName) -> None:
    """The malformed and the empty sample cannot be read as a callback."""
    (sample,) = build_sample(name, now_s=NOW, task_id=TASK)
    with pytest.raises(NotACallbackError):
        parse_callback(sample.body)
    assert (sample.body == b"") is (name is SampleName.EMPTY)


def test_timing_is_part_of_a_sample() -> None:
    """A duplicate comes twice with the same bytes, 50 ms apart; a late one a minute later; the rest at once."""
    first, second = build_sample(SampleName.DUPLICATE, now_s=NOW)
    assert (first.body, first.delay_s, second.delay_s) == (second.body, 0.0, 0.05)
    delays = {name: [one.delay_s for one in build_sample(name, now_s=NOW)] for name in SampleName}
    assert delays.pop(SampleName.LATE) == [LATE_S]
    assert delays.pop(SampleName.DUPLICATE) == [0.0, 0.05]
    assert set(map(tuple, delays.values())) == {(0.0,)}


@pytest.mark.parametrize("name", list(SampleName))
def test_samples_are_signed_as_their_names_say(name: SampleName) -> None:
    """With a key every sample is rightly signed but the three that are about signatures."""
    expected = {
        SampleName.UNSIGNED: SignatureState.MISSING,
        SampleName.BAD_SIGNATURE: SignatureState.BAD,
        SampleName.STALE_SIGNATURE: SignatureState.STALE,
    }.get(name, SignatureState.OK)
    for sample in build_sample(name, now_s=NOW, task_id=TASK):
        headers = sample.headers(KEY, KIE_SIGNATURE, NOW + 5)
        report = check_signature(KEY, sample.task_id, headers=headers, body=sample.body, now_s=NOW + 5)
        assert report.state is expected
        kind = "application/x-www-form-urlencoded" if name is SampleName.FORM else "application/json"
        assert dict(headers)["Content-Type"].startswith(kind)


def test_without_a_key_only_the_bad_signature_is_sent() -> None:
    """Without a key a sample has no signature, except for the one that is to be wrong."""
    for name in set(SampleName) - {SampleName.STALE_SIGNATURE}:
        for sample in build_sample(name, now_s=NOW):
            headers = dict(sample.headers(None, KIE_SIGNATURE, NOW))
            assert ("X-Webhook-Signature" in headers) is (name is SampleName.BAD_SIGNATURE)


def test_a_stale_signature_needs_the_key() -> None:
    """A right signature cannot be made without the key: exit 2, naming the option."""
    (sample,) = build_sample(SampleName.STALE_SIGNATURE, now_s=NOW)
    with pytest.raises(UsageError) as caught:
        sample.headers(None, KIE_SIGNATURE, NOW)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "--webhook-key-file" in caught.value.hint


@pytest.mark.parametrize("has_key", [True, False])
async def test_a_careful_receiver_answers_each_sample_as_is_expected(has_key: bool) -> None:
    """The listener, which checks everything, gives to every sample an answer that the sample expects."""
    key = KEY if has_key else None
    names = [name for name in SampleName if has_key or not name.endswith("-signature")]
    async with new_listener(webhook_key=key, clock=ManualClock(start=NOW)) as listener:
        url = listener.local_url + listener.open_inbox(is_read=False).path
        async with CallbackSender(Target(url), clock=SystemClock()) as sender:
            for name in names:
                for sample in build_sample(name, now_s=NOW):
                    delivery = await sender.deliver(sample.body, sample.headers(key, KIE_SIGNATURE, NOW))
                    assert is_expected(delivery.status, sample.expectation(key)), (name, delivery.status)


@pytest.mark.parametrize(
    ("name", "status", "is_right"),
    [
        (SampleName.SUCCESS, 200, True),
        (SampleName.SUCCESS, 204, False),
        (SampleName.SUCCESS, None, False),
        (SampleName.MALFORMED, 422, True),
        (SampleName.MALFORMED, 200, False),
        (SampleName.MALFORMED, 500, False),
        (SampleName.EMPTY, 400, True),
        (SampleName.BAD_SIGNATURE, 401, True),
        (SampleName.BAD_SIGNATURE, 403, True),
        (SampleName.BAD_SIGNATURE, 200, False),
        (SampleName.STALE_SIGNATURE, 401, True),
        (SampleName.UNSIGNED, 200, False),
        (SampleName.UNSIGNED, 401, True),
        (SampleName.HUGE, 200, True),
        (SampleName.HUGE, 413, True),
        (SampleName.HUGE, 502, False),
        (SampleName.GZIP, 415, True),
        (SampleName.MUSIC_ERROR, 200, True),
        (SampleName.MUSIC_ERROR, 400, False),
    ],
)
def test_each_sample_has_its_own_expectation(name: SampleName, status: int | None, is_right: bool) -> None:
    """A receiver that knows the key is right to refuse what is wrong, and wrong to accept it."""
    (sample,) = build_sample(name, now_s=NOW)
    assert is_expected(status, sample.expectation(KEY)) is is_right


@pytest.mark.parametrize(
    ("text", "statuses"), [("200", {200}), ("4xx", set(range(400, 500))), (" 401, 5XX", {401, *range(500, 600)})]
)
def test_an_expectation_can_be_given(text: str, statuses: set[int]) -> None:
    """``--expect`` takes a status, a class of them, or several with commas."""
    wanted = parse_expectation(text)
    assert {status for status in range(100, 1000) if is_expected(status, wanted)} == statuses


@pytest.mark.parametrize("text", ["", "20", "2000", "ok", "200,", "6xx", "4x", "\u0662\u0660\u0660", "-200"])
def test_what_is_no_expectation_is_a_usage_error(text: str) -> None:
    """Anything else ends in exit 2 with the forms that would do."""
    with pytest.raises(UsageError) as caught:
        parse_expectation(text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "4xx" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "kind", "stage"),
    [
        (SampleName.MUSIC_TEXT, "music", "text"),
        (SampleName.MUSIC_FIRST, "music", "first"),
        (SampleName.MUSIC_COMPLETE, "music", "complete"),
        (SampleName.MUSIC_ERROR, "music", "error"),
        (SampleName.LYRICS, "lyrics", "complete"),
        (SampleName.WAV, "wav", "complete"),
        (SampleName.VIDEO, "video", "complete"),
        (SampleName.VOCAL, "vocal", "complete"),
        (SampleName.MARKET, "market", "complete"),
        *[
            (name, "cover", "complete")
            for name in (
                *(SampleName.FLAT, SampleName.FORM, SampleName.GZIP),
                *(SampleName.DEFLATE, SampleName.GBK, SampleName.UTF_16),
            )
        ],
    ],
)
def test_a_sample_is_of_the_kind_its_name_says(name: SampleName, kind: str, stage: str) -> None:
    """Samples of other calls, and of covers in other packings, are read as what they are."""
    (sample,) = build_sample(name, now_s=NOW, task_id=TASK)
    content = parse_callback(sample.body, sample.headers(None, KIE_SIGNATURE, NOW))
    assert (content.kind, content.stage, content.task_id) == (kind, stage, TASK)
    packings = {"flat": "", "form": "form", "gzip": "gzip", "deflate": "deflate", "gbk": "gb18030"}
    assert content.packing == packings.get(name, "utf-16-le" if name is SampleName.UTF_16 else "")


def test_the_names_cost_nothing_to_complete() -> None:
    """Completing a command line with the samples' names imports none of the heavy modules."""
    program = (
        "import sys; known = set(sys.modules); import suno_cover_cli.callbacks.sample_names as names;"
        "print(len(names.SampleName), *(set(sys.modules) - known))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("30 ")
    assert not {"msgspec", "asyncio", "aiohttp", "ssl", "hashlib", "json"} & set(shown.split())
