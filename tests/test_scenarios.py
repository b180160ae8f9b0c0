"""Every scenario of the sandbox through the whole of ``generate``: outcome, exit code and job object."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.sandbox.scenarios import SCENARIOS
from tests.cli_fixtures import InProcess
from tests.clocks import ScaledClock
from tests.sandbox_fixtures import count_key_leaks

SPEED = 30.0


@dataclass(frozen=True)
class Expected:
    """What the contract gives a scenario; the defaults are those of a plain success."""

    exit_code: int = 0
    state: str = "succeeded"
    via: str | None = "callback"
    code: int | None = 200
    saved: int = 2
    failed: int = 0
    error: str | None = None
    image_format: str = "png"


def refused(exit_code: int, error: str) -> Expected:
    """Return the outcome of a submit that the service would not take."""
    return Expected(exit_code, "rejected", None, None, 0, 0, error)


def unavailable(error: str) -> Expected:
    """Return the outcome of a submit nobody knows the fate of: pending, for a restart."""
    return Expected(5, "pending", None, None, 0, 0, error)


def failed(code: int | None, error: str = "job_failed", via: str = "callback") -> Expected:
    """Return the outcome of a job that the service ended."""
    return Expected(6, "failed", via, code, 0, 0, error)


def partial(saved: int, missing: int, error: str = "images_missing") -> Expected:
    """Return the outcome of a job some of whose images cannot be had."""
    return Expected(7, "partial", "callback", 200, saved, missing, error)


BY_POLL = Expected(via="poll")
BY_EXISTING = Expected(via="existing")
ONE_MISSING = partial(1, 1)
PENDING = Expected(8, "pending", None, None, 0, 0, "deadline")

OUTCOMES: dict[str, Expected] = {
    "success": Expected(),
    "instant": Expected(),
    "slow": Expected(),
    "stuck": PENDING,
    "one-image": Expected(saved=1),
    "untitled": Expected(),
    "hostile-title": Expected(),
    "three-images": Expected(saved=3),
    "many-images": Expected(saved=12),
    "no-images": partial(0, 0, "no_images"),
    "failed-501": failed(501),
    "failed-501-code": failed(501),
    "failed-500": failed(500),
    "refunded-531": failed(531, "job_refunded"),
    "timeout-408": failed(408),
    "hostile-text": failed(501),
    "hostile-id": refused(3, "unsafe_id"),
    "documented-shape": Expected(),
    "words-for-flags": Expected(),
    "words-failed": failed(501),
    "loose-types": Expected(),
    "unknown-flag": Expected(),
    "early-error-message": Expected(),
    "null-first": Expected(),
    "unknown-record": Expected(3, "rejected", None, None, 0, 0, "unknown_cover_task"),
    "record-lags": Expected(),
    "record-stuck": PENDING,
    "callback-lost": BY_POLL,
    "callback-early": Expected(),
    "callback-twice": Expected(),
    "callback-late": BY_POLL,
    "callback-malformed": BY_POLL,
    "callback-forged": Expected(),
    "callback-forged-failure": Expected(),
    "callback-failed-unconfirmed": failed(501),
    "callback-other-task": Expected(),
    "callback-snake-case": Expected(),
    "callback-unsigned": Expected(),
    "callback-bad-signature": Expected(),
    "callback-stale-signature": Expected(),
    "duplicate-400": BY_EXISTING,
    "duplicate-409": BY_EXISTING,
    "duplicate-409-bare": refused(3, "already_made"),
    "unknown-422": refused(3, "unknown_music_task"),
    "bad-request-400": refused(3, "bad_request"),
    "not-found-404": refused(3, "wrong_base_url"),
    "too-long-413": refused(3, "refused"),
    "auth-401": refused(4, "key_refused"),
    "credits-402": refused(4, "out_of_credits"),
    "credits-429": refused(4, "out_of_credits"),
    "disabled-505": Expected(6, "failed", None, None, 0, 0, "job_failed"),
    "busy-429": Expected(),
    "busy-429-always": PENDING,
    "rate-limited": Expected(),
    "busy-405": Expected(),
    "maintenance-455": Expected(),
    "maintenance-455-always": unavailable("maintenance"),
    "error-500": Expected(),
    "http-502": Expected(),
    "http-502-always": unavailable("unavailable"),
    "redirect-307": refused(3, "wrong_base_url"),
    "answer-lost": Expected(),
    "answer-lost-always": unavailable("answer_lost"),
    "answer-hangs": Expected(),
    "truncated-body": Expected(),
    "empty-body": Expected(),
    "empty-body-always": unavailable("unreadable_answer"),
    "garbage-body": Expected(),
    "no-task-id": Expected(),
    "hostile-answer": unavailable("unreadable_answer"),
    "hostile-nesting": unavailable("unreadable_answer"),
    "poll-flaky": Expected(),
    "poll-busy": Expected(),
    "read-401": Expected(4, "pending", None, None, 0, 0, "key_refused"),
    "read-502-always": PENDING,
    "image-jpeg": Expected(image_format="jpeg"),
    "image-same": Expected(),
    "image-slow": Expected(),
    "image-picky": Expected(),
    "image-redirect": Expected(),
    "image-truncated": Expected(),
    "image-cut": Expected(),
    "image-empty-once": Expected(),
    "image-403": Expected(),
    "image-500": Expected(),
    "image-expired": Expected(),
    "image-403-always": ONE_MISSING,
    "image-404": ONE_MISSING,
    "image-500-always": ONE_MISSING,
    "image-truncated-always": ONE_MISSING,
    "image-corrupt": ONE_MISSING,
    "image-html": ONE_MISSING,
    "image-empty": ONE_MISSING,
    "image-huge": ONE_MISSING,
    "image-huge-declared": ONE_MISSING,
    "image-bomb": ONE_MISSING,
    "image-redirect-loop": ONE_MISSING,
    "image-redirect-private": ONE_MISSING,
    "images-404": partial(0, 2),
    "images-html": partial(0, 2),
    "hostile-urls": partial(0, 3),
}


def test_every_scenario_is_in_the_table() -> None:
    """A scenario cannot be added without saying what it must come to."""
    assert set(OUTCOMES) == set(SCENARIOS)


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_the_list_promises_what_the_table_says(name: str) -> None:
    """The exit code that ``sandbox --list`` prints is the one the program ends with."""
    assert SCENARIOS[name].exit_code.value == OUTCOMES[name].exit_code


@pytest.mark.parametrize("name", sorted(OUTCOMES))
async def test_scenario(name: str, in_process: InProcess) -> None:
    """Each scenario ends with the exit code, job object and files the contract gives it."""
    expected = OUTCOMES[name]
    async with Sandbox(generation_s=1.0, time_scale=SPEED) as sandbox:
        timeout_s = 40.0 if expected is PENDING else 300.0
        run = await in_process.generate(
            f"sandbox-{name}",
            options=JobCommandOptions(
                output=in_process.covers, json=True, poll_interval_s=5.0, timeout_s=timeout_s
            ),
            clock=ScaledClock(SPEED),
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
        )
        assert run.code == expected.exit_code, run.stderr
        (result,) = run.objects
        assert {key: result[key] for key in ("v", "type", "state", "via", "code")} == {
            "v": 1,
            "type": "job",
            "state": expected.state,
            "via": expected.via,
            "code": expected.code,
        }
        assert result["music_task_id"] == f"sandbox-{name}"
        assert (result["error"] or {}).get("code") == expected.error
        assert len(result["images"]) == expected.saved
        assert len(result["failed_images"]) == expected.failed
        assert count_key_leaks(sandbox) == 0
        assert len({job.music_task_id for job in sandbox.jobs.values()}) == len(sandbox.jobs)
    _check_files(in_process.covers, result["task_id"], [image["path"] for image in result["images"]], expected)


def _check_files(covers: Path, task_id: str | None, paths: list[str], expected: Expected) -> None:
    """Nothing but the promised files is there, each opens, and none lies outside the job's folder."""
    there = {path for path in covers.rglob("*") if path.is_file()}
    assert there == {Path(path) for path in paths}
    for path in there:
        assert path.parent == covers / str(task_id)
        with Image.open(path) as image:
            image.load()
            assert (image.format or "").lower() == expected.image_format
