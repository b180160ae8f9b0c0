"""Scenarios of the API's own answers: refusals, outages, answers that are lost, empty or no answers at all."""

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.sandbox.script import Answer, Ending, Scenario

_ACCEPTED = Answer(makes_job=True, names_job=True)
_RECORD = Answer(shows_record=True)
_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>cloudflare</body>\r\n</html>\r\n"
_BAD_GATEWAY = Answer(status=502, raw=_HTML, content_type="text/html")
_TOO_FAST = "Your call frequency is too high. Please try again later."
_BUSY = Answer(code=429, msg=_TOO_FAST)
_MAINTENANCE = Answer(code=455, msg="The system is under maintenance. Please try again later.")
# Deep enough to break a decoder that recurses, small enough to sit in memory for nothing.
_NESTED = b'{"code":200,"msg":"success","data":' + b"[" * 20_000 + b"]" * 20_000 + b"}"

_REFUSALS = (
    # One cover job per music task (documented): these behave as if it had been made by an earlier run.
    Scenario(
        name="duplicate-400",
        summary="a cover was made before: 400 with its id",
        submits=(Answer(code=400, msg="A cover already exists for this task", makes_job=True, names_job=True),),
        generation=0,
        deliveries=(),
    ),
    Scenario(
        name="duplicate-409",
        summary="a cover was made before: 409 with its id",
        submits=(Answer(code=409, msg="A cover already exists for this task", makes_job=True, names_job=True),),
        generation=0,
        deliveries=(),
    ),
    Scenario(
        name="duplicate-409-bare",
        summary="a cover was made before: 409 without its id",
        exit_code=ExitCode.REFUSED,
        submits=(Answer(code=409, msg="A cover already exists for this task", makes_job=True),),
        generation=0,
        deliveries=(),
    ),
    Scenario(
        name="unknown-422",
        summary="no such music task",
        exit_code=ExitCode.REFUSED,
        submits=(Answer(code=422, msg="Original music record does not exist"),),
    ),
    Scenario(
        name="bad-request-400",
        summary="plain bad input, no earlier id",
        exit_code=ExitCode.REFUSED,
        submits=(Answer(code=400, msg="Please check the request parameters"),),
    ),
    Scenario(
        name="not-found-404",
        summary="code 404, as for a wrong path",
        exit_code=ExitCode.REFUSED,
        submits=(Answer(code=404, msg="The requested resource does not exist"),),
    ),
    Scenario(
        name="too-long-413",
        summary="code 413, text too long",
        exit_code=ExitCode.REFUSED,
        submits=(Answer(code=413, msg="The prompt is too long"),),
    ),
    Scenario(
        name="auth-401",
        summary="the key is refused",
        exit_code=ExitCode.ACCOUNT,
        submits=(Answer(code=401, msg="You do not have access permissions"),),
    ),
    Scenario(
        name="credits-402",
        summary="out of credits",
        exit_code=ExitCode.ACCOUNT,
        submits=(Answer(code=402, msg="Insufficient credits"),),
    ),
    Scenario(
        name="credits-429",
        summary="out of credits, reported as 429",
        exit_code=ExitCode.ACCOUNT,
        submits=(Answer(code=429, msg="The current credits are insufficient. Please top up."),),
    ),
    Scenario(
        name="disabled-505",
        summary="the feature is switched off",
        exit_code=ExitCode.JOB_FAILED,
        submits=(Answer(code=505, msg="This feature is temporarily disabled"),),
    ),
)

_OUTAGES = (
    Scenario(name="busy-429", summary="too fast, twice; then accepted", submits=(_BUSY, _BUSY, _ACCEPTED)),
    Scenario(
        name="busy-429-always",
        summary="too fast, every time",
        exit_code=ExitCode.PENDING,
        submits=(_BUSY,),
    ),
    Scenario(
        name="rate-limited",
        summary="too fast, with Retry-After of one second; then accepted",
        submits=(Answer(code=429, msg=_TOO_FAST, status=429, headers=(("Retry-After", "1"),)), _ACCEPTED),
    ),
    Scenario(
        name="busy-405",
        summary="too fast, reported as 405 and 430; then accepted",
        submits=(Answer(code=405, msg=_TOO_FAST), Answer(code=430, msg=_TOO_FAST), _ACCEPTED),
    ),
    Scenario(
        name="maintenance-455",
        summary="maintenance, twice; then accepted",
        submits=(_MAINTENANCE, _MAINTENANCE, _ACCEPTED),
    ),
    Scenario(
        name="maintenance-455-always",
        summary="maintenance, every time",
        exit_code=ExitCode.UNAVAILABLE,
        submits=(_MAINTENANCE,),
    ),
    Scenario(
        name="error-500",
        summary="a server fault, once; then accepted",
        submits=(Answer(code=500, msg="Internal server error"), _ACCEPTED),
    ),
    Scenario(
        name="http-502",
        summary="a gateway's HTML, twice; then accepted",
        submits=(_BAD_GATEWAY, _BAD_GATEWAY, _ACCEPTED),
    ),
    Scenario(
        name="http-502-always",
        summary="a gateway's HTML, every time",
        exit_code=ExitCode.UNAVAILABLE,
        submits=(_BAD_GATEWAY,),
    ),
    Scenario(
        name="redirect-307",
        summary="the submit is redirected to a foreign host",
        exit_code=ExitCode.REFUSED,
        submits=(Answer(status=307, raw=b"", headers=(("Location", "https://evil.invalid/collect"),)),),
    ),
)

# In all of these the job exists although the answer is not usable; a repeat gets the same id.
_LOST = (
    Scenario(
        name="answer-lost",
        summary="the connection is cut after the job was made",
        submits=(Answer(makes_job=True, ending=Ending.CUT), _ACCEPTED),
    ),
    Scenario(
        name="answer-lost-always",
        summary="every answer to the submit is cut off",
        exit_code=ExitCode.UNAVAILABLE,
        submits=(Answer(makes_job=True, ending=Ending.CUT),),
    ),
    Scenario(
        name="answer-hangs",
        summary="the job is made, the answer never comes; the next one does",
        submits=(Answer(makes_job=True, ending=Ending.HELD), _ACCEPTED),
    ),
    Scenario(
        name="truncated-body",
        summary="half an answer; the next one is whole",
        submits=(Answer(makes_job=True, names_job=True, ending=Ending.SHORT), _ACCEPTED),
    ),
    Scenario(
        name="empty-body",
        summary="200 without a body; the next answer is whole",
        submits=(Answer(makes_job=True, raw=b""), _ACCEPTED),
    ),
    Scenario(
        name="empty-body-always",
        summary="200 without a body, every time",
        exit_code=ExitCode.UNAVAILABLE,
        submits=(Answer(makes_job=True, raw=b""),),
    ),
    Scenario(
        name="garbage-body",
        summary="200 with HTML; the next answer is whole",
        submits=(Answer(makes_job=True, raw=_HTML, content_type="text/html"), _ACCEPTED),
    ),
    Scenario(
        name="no-task-id",
        summary="success without an id; the next answer has it",
        submits=(Answer(makes_job=True), _ACCEPTED),
    ),
    Scenario(
        name="hostile-answer",
        summary="the answer to the submit never ends",
        exit_code=ExitCode.UNAVAILABLE,
        submits=(Answer(makes_job=True, ending=Ending.ENDLESS),),
    ),
    Scenario(
        name="hostile-nesting",
        summary="the answer to the submit is 20,000 arrays deep",
        exit_code=ExitCode.UNAVAILABLE,
        submits=(Answer(makes_job=True, raw=_NESTED),),
    ),
)

_READS = (
    Scenario(
        name="poll-flaky",
        summary="reads answer 500, 502, garbage and half an answer first",
        reads=(
            Answer(code=500, msg="Internal server error"),
            _BAD_GATEWAY,
            Answer(raw=b'{"code":200,"msg":"succ\xff\xfe'),
            Answer(shows_record=True, ending=Ending.SHORT),
            Answer(raw=b""),
            _RECORD,
        ),
    ),
    Scenario(name="poll-busy", summary="the first two reads are too fast", reads=(_BUSY, _BUSY, _RECORD)),
    Scenario(
        name="read-401",
        summary="the key is refused once the job runs",
        exit_code=ExitCode.ACCOUNT,
        reads=(Answer(code=401, msg="You do not have access permissions"),),
    ),
    Scenario(
        name="read-502-always",
        summary="reads answer a gateway's HTML, every time; no callback",
        exit_code=ExitCode.PENDING,
        reads=(_BAD_GATEWAY,),
        deliveries=(),
    ),
)

ANSWER_SCENARIOS = (*_REFUSALS, *_OUTAGES, *_LOST, *_READS)
