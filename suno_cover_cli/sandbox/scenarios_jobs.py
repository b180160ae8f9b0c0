"""Scenarios of the job itself: how it ends, what record-info says meanwhile, what becomes of its callbacks."""

from math import inf

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.sandbox.script import Answer, Claim, Delivery, RecordStyle, Scenario, Serve, Signing

_RECORD = Answer(shows_record=True)
_NOTHING_YET = Answer()
_ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m"
_HOSTILE_TEXT = f"{_ESCAPES} [bold red]markup[/bold red] [/nope] \u202etxt.exe\r\nsecond line\x00"

_ENDS = (
    Scenario(name="success", summary="two covers, one callback"),
    Scenario(name="instant", summary="done as soon as it is accepted", generation=0),
    Scenario(name="slow", summary="takes five times as long", generation=5),
    Scenario(
        name="stuck",
        summary="never ends and never calls back",
        exit_code=ExitCode.PENDING,
        generation=inf,
        deliveries=(),
    ),
    Scenario(name="one-image", summary="one cover", pictures=((Serve.PNG,),)),
    Scenario(name="untitled", summary="the piece of music has no record and no title", music_title=None),
    Scenario(
        name="hostile-title",
        summary="the title is a path with escape sequences",
        music_title=f"../../{_HOSTILE_TEXT}",
    ),
    Scenario(name="three-images", summary="three covers", pictures=((Serve.PNG,),) * 3),
    Scenario(name="many-images", summary="twelve covers", pictures=((Serve.PNG,),) * 12),
    Scenario(
        name="no-images",
        summary="done, with an empty list of covers",
        exit_code=ExitCode.IMAGES_MISSING,
        pictures=(),
    ),
    Scenario(
        name="failed-501",
        summary="the generation fails",
        exit_code=ExitCode.JOB_FAILED,
        code=501,
        message="Cover generation failed",
    ),
    Scenario(
        name="failed-501-code",
        summary="the generation fails; record-info reports it as its own code",
        exit_code=ExitCode.JOB_FAILED,
        code=501,
        message="Cover generation failed",
        fails_in_envelope=True,
    ),
    Scenario(
        name="failed-500",
        summary="the generation fails with a server fault",
        exit_code=ExitCode.JOB_FAILED,
        code=500,
        message="Internal error, please try again later",
    ),
    Scenario(
        name="refunded-531",
        summary="the generation fails and the credits come back",
        exit_code=ExitCode.JOB_FAILED,
        code=531,
        message="Generation failed, credits have been refunded. Please try again.",
    ),
    Scenario(
        name="timeout-408",
        summary="upstream was silent for ten minutes",
        exit_code=ExitCode.JOB_FAILED,
        code=408,
        message="Upstream timed out",
        fails_in_envelope=True,
    ),
    Scenario(
        name="hostile-text",
        summary="fails with escape sequences and markup in its message",
        exit_code=ExitCode.JOB_FAILED,
        code=501,
        message=_HOSTILE_TEXT,
    ),
    Scenario(
        name="hostile-id",
        summary="the cover task id is a path out of the folder",
        exit_code=ExitCode.REFUSED,
        hostile_id=True,
    ),
)

_RECORDS = (
    Scenario(
        name="documented-shape",
        summary="record-info as documented: ISO times, errorCode 200",
        record_style=RecordStyle.DOCUMENTED,
    ),
    Scenario(
        name="words-for-flags",
        summary="record-info says PENDING and SUCCESS",
        record_style=RecordStyle.WORDS,
    ),
    Scenario(
        name="words-failed",
        summary="record-info says GENERATE_COVER_FAILED",
        exit_code=ExitCode.JOB_FAILED,
        code=501,
        message="Cover generation failed",
        record_style=RecordStyle.WORDS,
    ),
    Scenario(
        name="loose-types",
        summary="numbers as text, unknown fields, no msg",
        record_style=RecordStyle.LOOSE,
    ),
    Scenario(
        name="unknown-flag",
        summary="an unknown flag while it runs",
        record_style=RecordStyle.UNKNOWN_FLAG,
    ),
    Scenario(
        name="early-error-message",
        summary="errorMessage is set while it waits; it succeeds",
        record_style=RecordStyle.EARLY_ERROR,
    ),
    Scenario(
        name="null-first",
        summary="the first three reads know nothing of it",
        reads=(_NOTHING_YET, _NOTHING_YET, _NOTHING_YET, _RECORD),
    ),
    Scenario(
        name="unknown-record",
        summary="accepted, but record-info never knows it; no callback",
        exit_code=ExitCode.REFUSED,
        reads=(_NOTHING_YET,),
        deliveries=(),
    ),
    Scenario(
        name="record-lags",
        summary="record-info is two seconds behind the callback",
        reads=(_NOTHING_YET, _RECORD),
        record_lag_s=2,
    ),
    Scenario(
        name="record-stuck",
        summary="the callback says done, record-info never does",
        exit_code=ExitCode.PENDING,
        record_lag_s=inf,
    ),
)

_CALLBACKS = (
    Scenario(name="callback-lost", summary="no callback comes", deliveries=()),
    Scenario(
        name="callback-early",
        summary="the callback comes before the submit is answered",
        generation=0,
        deliveries=(Delivery(before_answer=True),),
    ),
    Scenario(
        name="callback-twice",
        summary="the callback comes twice, 50 ms apart",
        deliveries=(Delivery(), Delivery(delay_s=0.05)),
    ),
    Scenario(
        name="callback-late",
        summary="the callback comes ten minutes after the end",
        deliveries=(Delivery(delay_s=600),),
    ),
    Scenario(
        name="callback-malformed",
        summary="the callbacks are not JSON, then of a wrong shape; no true one comes",
        deliveries=(
            Delivery(claim=Claim.NOT_JSON, is_retried=False),
            Delivery(claim=Claim.WRONG_SHAPE, is_retried=False),
        ),
    ),
    Scenario(
        name="callback-forged",
        summary="a forged success with foreign images comes first",
        deliveries=(Delivery(claim=Claim.FORGED_SUCCESS, at=0.5, is_retried=False), Delivery()),
    ),
    Scenario(
        name="callback-forged-failure",
        summary="a forged failure comes first; the job succeeds",
        deliveries=(Delivery(claim=Claim.FORGED_FAILURE, at=0.5, is_retried=False), Delivery()),
    ),
    Scenario(
        name="callback-failed-unconfirmed",
        summary="the callback says 501, record-info always says running",
        exit_code=ExitCode.JOB_FAILED,
        code=501,
        message="Cover generation failed",
        record_lag_s=inf,
    ),
    Scenario(
        name="callback-other-task",
        summary="a callback about another task comes first",
        deliveries=(Delivery(claim=Claim.OTHER_TASK, at=0.5, is_retried=False), Delivery()),
    ),
    Scenario(
        name="callback-snake-case",
        summary="the callback spells task_id",
        deliveries=(Delivery(snake_case=True),),
    ),
    Scenario(
        name="callback-unsigned",
        summary="with a webhook key set: the callback is not signed",
        deliveries=(Delivery(signing=Signing.NONE),),
    ),
    Scenario(
        name="callback-bad-signature",
        summary="with a webhook key set: the signature is wrong",
        deliveries=(Delivery(signing=Signing.WRONG),),
    ),
    Scenario(
        name="callback-stale-signature",
        summary="with a webhook key set: the signature is an hour old",
        deliveries=(Delivery(signing=Signing.STALE),),
    ),
)

JOB_SCENARIOS = (*_ENDS, *_RECORDS, *_CALLBACKS)
