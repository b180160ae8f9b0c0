"""Events in words: each line names its job the same way, and says what is so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suno_cover_cli.base.events import (
    CallbackReceived,
    CallbackRejected,
    Event,
    ImageFailed,
    ImageRetried,
    ImageSaved,
    JobEnded,
    JobFound,
    JobPolled,
    JobStarted,
    JobSubmitted,
    NoteRaised,
    TunnelFailed,
    WarningRaised,
)
from suno_cover_cli.base.models import JobError, JobResult, JobState, SavedImage
from suno_cover_cli.ui.screen import progress_of
from suno_cover_cli.ui.words import EventLines

IMAGE = SavedImage(url="u", path="covers/c/1.png", bytes=10, format="png", width=1, height=1, sha256="0")


def ids(job: int) -> dict[str, object]:
    """Return what every event of a job says of it."""
    return {"job": job, "music_task_id": f"music-{job}", "task_id": f"cover-{job}"}


def failed(job: int, message: str = "it broke") -> JobEnded:
    """Return the end of a job that failed."""
    error = JobError(code="job_failed", message=message, hint="Try another.")
    result = JobResult(music_task_id=f"music-{job}", state=JobState.FAILED, error=error)
    return JobEnded(**ids(job), result=result)  # type: ignore[arg-type]


def said(lines: EventLines, *events: Event) -> list[str]:
    """Return what is said of some events."""
    return [str(line) for event in events for line in lines.lines_of(event)]


def steps(job: int) -> list[Event]:
    """Return one event of each kind that has words, from the start of a job to its end."""
    about: dict[str, object] = ids(job)
    return [
        JobStarted(**about, name=f"typed-{job}"),  # type: ignore[arg-type]
        JobSubmitted(**about, callback=True),  # type: ignore[arg-type]
        JobPolled(**about, state="running", next_s=30.0),  # type: ignore[arg-type]
        CallbackReceived(**about, code=200),  # type: ignore[arg-type]
        CallbackRejected(**about, reason="it names another task"),  # type: ignore[arg-type]
        ImageRetried(**about, n=1, reason="503"),  # type: ignore[arg-type]
        ImageSaved(**about, n=1, image=IMAGE),  # type: ignore[arg-type]
        ImageFailed(**about, n=2, url="u", error="gone"),  # type: ignore[arg-type]
        failed(job),
    ]


def test_every_line_of_several_jobs_begins_with_what_was_typed() -> None:
    """Submits, reads, callbacks, images and ends name the job as the user does, right behind the label."""
    lines = EventLines(2)
    told = [line for job in (1, 2) for line in said(lines, *steps(job)) if line.strip()]
    assert len(told) == 16
    assert all(line[11:].startswith(("typed-1", "typed-2")) for line in told), told
    assert not any("music-" in line or "for cover-" in line for line in told)


def test_the_lines_of_a_single_job_do_not_repeat_its_name() -> None:
    """With one job only its submit, its reads and its end name it."""
    told = said(EventLines(1), *steps(1))
    assert "callback   received (code 200); asking the service" in told
    assert "failed     image 2: gone" in told
    assert told[-2:] == ["error      typed-1: it broke", "           Try another."]


def test_what_waits_for_nothing_says_nothing_of_waiting() -> None:
    """With --no-wait a submit is a submit: no polling, no callback."""
    submitted = JobSubmitted(**ids(1))  # type: ignore[arg-type]
    assert said(EventLines(1, waits=False), submitted) == ["submitted  music-1 as cover-1"]
    assert said(EventLines(1), submitted) == ["submitted  music-1 as cover-1; polling"]


def test_a_job_that_is_waited_for_was_not_submitted() -> None:
    """``wait`` says what it waits for."""
    found = JobFound(job=1, task_id="cover-1")
    assert said(EventLines(1), JobStarted(job=1, task_id="cover-1", name="cover-1"), found) == [
        "waiting    for cover-1"
    ]


def test_an_id_that_the_service_does_not_list_is_said_at_once() -> None:
    """Who typed an id need not wait for the end of the grace to see a slip; of a new job it says nothing."""
    polled = JobPolled(job=1, task_id="cover-1", state="absent", next_s=30.0)
    typed = said(EventLines(1), JobFound(job=1, task_id="cover-1"), polled, polled)
    assert typed[1:] == ["state      cover-1 is not listed by the service yet; next check in 30 s"]
    assert said(EventLines(1), JobSubmitted(job=1, task_id="cover-1"), polled)[1:] == []


@pytest.mark.parametrize(
    ("lines", "is_expected", "expected"),
    [
        (EventLines(1), False, ["callback   no way in: checking every 30 s instead", "           Look."]),
        (EventLines(1), True, ["callback   no way in: checking every 30 s instead"]),
        (EventLines(1, needs_tunnel=True), False, []),
        (EventLines(1, needs_tunnel=True), True, []),
    ],
)
def test_only_a_run_that_polls_says_so(lines: EventLines, is_expected: bool, expected: list[str]) -> None:
    """Where a callback is required, the error that ends the run speaks; where none is set up, one faint line."""
    event = TunnelFailed(code="x", message="no way in", hint="Look.", is_expected=is_expected)
    found = lines.lines_of(event)
    assert [str(line) for line in found] == expected
    assert not is_expected or all(line.tone == "faint" for line in found)


def test_a_summary_counts_each_job_once_and_names_the_failed_ones_in_order() -> None:
    """The counts add up to all jobs; the failed ones stand last, each with its next step, up to a screenful."""
    lines = EventLines(50)
    for job in range(40, 0, -1):
        lines.lines_of(JobStarted(job=job, name=f"song-{job}"))
        lines.lines_of(failed(job, f"reason {job}"))
    done = JobResult(state=JobState.SUCCEEDED, images=(IMAGE,))
    lines.lines_of(JobEnded(job=41, result=done))
    total, *rest = map(str, lines.summary.lines(4.0))
    assert total == "total      50 jobs: 1 succeeded, 40 failed, 9 not ended; 1 cover in 4.0 s"
    assert rest[:2] == ["error      song-21: reason 21", "           Try another."]
    assert rest[-3:-1] == ["error      song-40: reason 40", "           Try another."]
    assert "20 more" in rest[-1]


def test_a_hint_belongs_to_its_line() -> None:
    """What --quiet keeps of a warning it keeps with its hint; a note it does not keep."""
    lines = EventLines(1)
    assert {line.tone for line in lines.lines_of(WarningRaised(code="x", message="m", hint="h"))} == {"warning"}
    assert {line.tone for line in lines.lines_of(NoteRaised(code="x", message="m", hint="h"))} == {"faint"}


@given(st.floats(0.0, 1e9), st.floats(0.01, 1e5))
def test_a_bar_grows_with_time_and_is_never_full(elapsed_s: float, usual_s: float) -> None:
    """At the usual time it is at nine tenths; however long it takes, it does not claim to be done."""
    assert 0.0 <= progress_of(elapsed_s, usual_s) < 0.995
    assert progress_of(elapsed_s, usual_s) <= progress_of(elapsed_s * 1.5 + 0.1, usual_s)
    assert progress_of(usual_s, usual_s) == pytest.approx(0.9)
