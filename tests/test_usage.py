"""Wrong command lines: each gets the one sentence that helps, in the style of every other error."""

import json
import re

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.keys import checked_secret, tidy_key
from tests.cli_fixtures import Cli
from tests.test_listen_forward import unused_port

MISTAKES = {
    # a command by another name
    "list": ("history",),
    "ls": ("history",),
    "tunnel": ("listen",),
    "download abc": ("wait",),
    "create abc": ("generate",),
    "balance": ("credits",),
    "login": ("config set api-key -",),
    "retry": ("resume",),
    "resend last": ("replay",),
    "diagnose": ("doctor",),
    "mock": ("sandbox",),
    "get abc": ("status",),
    "settings": ("config",),
    # a slip of the finger
    "generat abc": ("Did you mean", "generate"),
    "hsitory": ("Did you mean", "history"),
    "config sett name x": ("Did you mean", "config set"),
    "frobnicate": ("there is no command", "--help"),
    # options
    "--overwrite generate abc": ("before the command", "suno-cover generate ... --overwrite"),
    "-o out generate abc": ("before the command", "generate"),
    "status abc --tunnel": ("has no option --tunnel", "generate"),
    "history --sandbox": ("has no option --sandbox", "generate"),
    "generate abc --tunel": ("Did you mean --tunnel?",),
    "generate abc --out-put x": ("Did you mean --output?",),
    "generate abc --colour": ("has no option --colour", "--help"),
    # values
    "generate abc --timeout abc": ("--timeout", "not a duration", "15m"),
    "generate abc --timeout 0": ("--timeout", "more than 0"),
    "generate abc --timeout 5 minutes": ("--timeout", "not a duration"),
    "generate abc --concurrency 0": ("--concurrency", "from 1 to 10000"),
    "generate abc --concurrency many": ("--concurrency", "not a number"),
    "generate abc --listen-port 99999": ("--listen-port", "from 0 to 65535"),
    "listen --count 0": ("--count", "1 or more"),
    "generate abc --rate 5": ("--rate", "20/10s"),
    "generate abc --provider sono": ("provider", "sunoapi"),
    "trigger nonsense --to 3000": ("no such sample", "success"),
    "trigger sucess --to 3000": ("no such sample", "Did you mean success?"),
    "completion bsh": ("there is no script for bsh", "Did you mean bash?"),
    "generate abc --provider kei": ("unknown provider", "Did you mean kie?"),
    "generate abc --label kep": ("unknown label mode", "Did you mean keep?"),
    "config set provider sunopai": ("unknown provider", "Did you mean sunoapi?"),
    "config set outptu x": ("there is no setting", 'Did you mean "output"?'),
    "config get output": ("there is no command", "Try: suno-cover config show"),
    "history --state faild": ("there is no state", "Did you mean failed?"),
    "export abc --fit pda": ("--fit does not take", "Did you mean pad?"),
    "export abc --profile distrokit": ("there is no store", "Did you mean --profile distrokid?"),
    "help generat": ("there is no command", "Did you mean: suno-cover generate"),
    # too little, too much
    "trigger success": ("--to is missing",),
    "status": ("COVER_TASK_ID is missing",),
    "config set": ("KEY is missing",),
    "status a b": ('"b"', "more than"),
    "generate abc --output": ("--output",),
    "generate": ("no music task id was given",),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_wrong_command_line_gets_the_sentence_that_helps(cli: Cli, line: str) -> None:
    """Each mistake ends with 2, one line of error and one of advice on stderr, and nothing on stdout."""
    words = line.replace("5 minutes", "5\x00minutes").split(" ")
    run = cli.run(*(word.replace("\x00", " ") for word in words))
    assert (run.code, run.stdout) == (2, ""), run.stderr
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("error: ") == 1
    assert len(run.stderr.splitlines()) <= 2
    for word in MISTAKES[line]:
        assert word in run.stderr
    assert not re.search(r"Usage:|Invalid value|No such|╭|(?<!there) is no ", run.stderr)


@pytest.mark.parametrize("line", ["--json generate abc", "generate abc --json --nope", "status --json"])
def test_under_json_a_mistake_is_an_object_too(cli: Cli, line: str) -> None:
    """A script that asked for JSON gets what is wrong as one object on stdout, in the same words."""
    run = cli.run(*line.split(" "))
    (told,) = run.objects
    assert {"v": 1, "type": "error", "code": "usage"}.items() <= told.items()
    assert told["message"] in run.stderr
    assert told["hint"] in run.stderr


def test_hostile_words_draw_nothing(cli: Cli) -> None:
    """A command line that carries escape sequences is quoted without them."""
    for words in (["\x1b[31mlist"], ["generate", "--\x1b]0;x\x07y"], ["status", "a", "b\x1b[2J"]):
        run = cli.run(*words)
        assert run.code == 2
        assert "\x1b" not in run.stderr


def test_help_and_version_are_words_as_well_as_options(cli: Cli) -> None:
    """``help``, ``help COMMAND`` and ``version`` answer as their options do."""
    assert cli.run("version").stdout == cli.run("--version").stdout
    assert cli.run("help").stdout == cli.run("--help").stdout
    assert cli.run("help", "status").stdout == cli.run("status", "--help").stdout
    assert cli.run("help", "config", "set").stdout == cli.run("config", "set", "--help").stdout
    assert cli.run("help", "frobnicate").code == 2


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("words", [[], ["config"]])
def test_the_program_alone_shows_its_help(cli: Cli, words: list[str], columns: int) -> None:
    """Without a command the help of the program, or of the group, is the answer; that is no mistake."""
    run = cli.run(*words, COLUMNS=str(columns))
    assert (run.code, run.stderr) == (0, "")
    assert "Usage: suno-cover" in run.stdout
    assert run.stdout.rstrip() == cli.run(*words, "--help", COLUMNS=str(columns)).stdout.rstrip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30", 30.0), ("0.5", 0.5), ("30s", 30.0), ("5min", 300.0), ("15m", 900.0), ("1h", 3600.0)],
)
def test_durations_are_read_as_people_write_them(text: str, expected: float) -> None:
    """Each spelling of the contract is the number of seconds it says."""
    from suno_cover_cli.base.settings_table import parse_duration_s

    assert parse_duration_s(text) == expected
    assert json.dumps(parse_duration_s(f" {text.upper()} ")) == json.dumps(expected)


PLACEHOLDERS = [
    *("...", "\u2026", "sk-...", "****", "<key>", "<your api key>", "[key]", "{api_key}"),
    *("$SUNO_API_KEY", "${KEY}", "%SUNO_API_KEY%", "YOUR_API_KEY", "your-api-key"),
    *("your_suno_api_key_here", "insert-key-here", '"Bearer your-key"', "your key"),
]


@pytest.mark.parametrize("key", PLACEHOLDERS)
def test_a_placeholder_is_told_from_a_key(key: str) -> None:
    """What stands for the key in examples is recognised, in quotes and behind ``Bearer`` as well."""
    with pytest.raises(UsageError, match=r"^the key holds a placeholder, not a key$"):
        checked_secret(tidy_key(key), "the key")


@pytest.mark.parametrize(
    "key",
    ["sk-1234", "key", "a-real-key-0123456789", "xxl-key-1", "9f0c...", "x*y", "your1", "webhook-key", "sk-xxx"],
)
def test_what_may_be_a_key_is_taken_for_one(key: str) -> None:
    """Which keys a provider gives out is not for us to say."""
    assert checked_secret(tidy_key(key), "the key").reveal() == key


@pytest.mark.parametrize(
    ("words", "environ", "place"),
    [
        (("credits",), {"SUNO_API_KEY": "your-api-key"}, "the environment variable SUNO_API_KEY"),
        (("credits", "--api-key-file", "key"), {}, "the API key in key"),
        (("listen", "--no-tunnel", "--webhook-key-file", "key"), {}, "the webhook key in key"),
    ],
)
def test_a_placeholder_is_not_sent_as_a_key(
    cli: Cli, words: tuple[str, ...], environ: dict[str, str], place: str
) -> None:
    """It is a mistake of usage, found before anything is asked, and named with its place."""
    (cli.cwd / "key").write_text("...\n")
    # Nothing listens there: asking would end as a service that is not available.
    run = cli.run(*words, **environ, SUNO_BASE_URL=f"http://127.0.0.1:{unused_port()}")
    assert (run.code, run.stdout) == (2, "")
    assert f"{place} holds a placeholder, not a key" in run.stderr
    assert "Put your own key there" in run.stderr
