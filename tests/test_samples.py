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
from suno_cover_cli.callbacks.delivery import CallbackSender
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.callbacks.samples import LATE_S, build_sample
from suno_cover_cli.callbacks.signature import check_signature
from suno_cover_cli.callbacks.targets import Target
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
    """The names are the documented fifteen, each with a description that fits a line of help."""
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
    ]
    assert all(0 < len(name.description) < 70 for name in SampleName)


@pytest.mark.parametrize("name", sorted(SUCCESSES))
def test_a_success_names_its_task_and_images(name: SampleName) -> None:
    """Every successful sample carries the task and images asked for, except for the task that is to be wrong."""
    for sample in build_sample(name, now_s=NOW, task_id=TASK, image_urls=("https://a.example/1.png",)):
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
        assert dict(headers)["Content-Type"] == "application/json"


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


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (SampleName.SUCCESS, 200),
        (SampleName.FAILED_501, 200),
        (SampleName.MALFORMED, 400),
        (SampleName.EMPTY, 400),
        (SampleName.HUGE, 413),
        (SampleName.UNSIGNED, 401),
        (SampleName.BAD_SIGNATURE, 401),
        (SampleName.STALE_SIGNATURE, 401),
    ],
)
async def test_a_careful_receiver_answers_each_as_it_deserves(name: SampleName, status: int) -> None:
    """The listener, as a receiver that checks everything, takes the good samples and refuses the others."""
    async with new_listener(webhook_key=KEY, clock=ManualClock(start=NOW)) as listener:
        url = listener.local_url + listener.open_inbox().path
        async with CallbackSender(Target(url), clock=SystemClock()) as sender:
            for sample in build_sample(name, now_s=NOW):
                assert (
                    await sender.deliver(sample.body, sample.headers(KEY, KIE_SIGNATURE, NOW))
                ).status == status


def test_the_names_cost_nothing_to_complete() -> None:
    """Completing a command line with the samples' names imports none of the heavy modules."""
    program = (
        "import sys; known = set(sys.modules); import suno_cover_cli.callbacks.sample_names as names;"
        "print(len(names.SampleName), *(set(sys.modules) - known))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("15 ")
    assert not {"msgspec", "asyncio", "aiohttp", "ssl", "hashlib", "json"} & set(shown.split())
