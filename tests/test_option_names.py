"""An option means the same in every command; old names go on working, and hints repeat what you gave."""

from collections import defaultdict
from pathlib import Path

import pytest
import typer

from suno_cover_cli.base.providers import PROVIDERS
from suno_cover_cli.cli.main import build_app
from suno_cover_cli.completion.table import COMMANDS
from suno_cover_cli.options.typed import RENAMED, hint_completer, renew_names
from tests.cli_fixtures import Cli

SAME_IN_OTHER_WORDS = {
    "--header": "one receiver or several",
    "--insecure": "one receiver or several",
    "--json": "listen prints its events as they come",
    "--list": "what the command knows, and nothing else is done",
    "--max-age": "of a signature's stamp",
    "--once": "one round of what the command waits for",
    "--open": "on the desktop: the folder, or the page",
    "--out": "the folder for the files that are made",
    "--overwrite": "existing files",
    "--profile": "a set of values by its name: export knows those of stores alone",
    "--ready-file": "what a script needs, once it is ready",
    "--sandbox": "of the built-in imitation",
    "--timeout": "a time limit",
    "--verbose": "say more",
    "-v": "say more",
}
"""Option whose help differs from command to command -> why it means the same all the same."""


def test_an_option_means_the_same_in_every_command() -> None:
    """Options of one name have one help text, or stand in a list that says why their texts differ."""
    texts: dict[str, set[str]] = defaultdict(set)
    (root,) = [typer.main.get_command(build_app())]
    groups = [root]
    while groups:
        group = groups.pop()
        groups += getattr(group, "commands", {}).values()
        for parameter in group.params:
            for name in (*parameter.opts, *parameter.secondary_opts):
                if name.startswith("-") and not getattr(parameter, "hidden", False):
                    texts[name].add(getattr(parameter, "help", "") or "")
    assert {name for name, found in texts.items() if len(found) > 1} == set(SAME_IN_OTHER_WORDS)


def test_old_names_are_offered_nowhere() -> None:
    """Neither help nor TAB knows an old name, and each new one is an option of its command."""
    for (command, old), new in RENAMED.items():
        names = {name for option in COMMANDS[command].options for name in option.names}
        assert new in names
        assert old not in names
    assert not any("--callback" in option.names for known in COMMANDS.values() for option in known.options)


@pytest.mark.parametrize(
    ("typed", "meant", "said"),
    [
        ("history --events -n 3", "history --callbacks -n 3", "--callbacks"),
        (
            "sandbox --port 0 --limit -- suno-cover --limit",
            "sandbox --port 0 --throttle -- suno-cover --limit",
            "--t",
        ),
        ("sandbox --limit make --limit 3", "sandbox --throttle make --limit 3", "--throttle"),
        ("trigger success --rate=20/1s --to 3000", "trigger success --pace=20/1s --to 3000", "--pace"),
        ("trigger --count 3 --image --rate", "trigger --times 3 --image --rate", "--times"),
        ("generate x --callback off", "generate x --callback off", "--no-tunnel"),
        ("doctor --callback=required", "doctor --callback=required", "--tunnel"),
        ("generate x --callback off -q", "generate x --callback off -q", ""),
        ("generate x --events --rate 20/10s", "generate x --events --rate 20/10s", ""),
        ("listen --count 3 -- run --rate", "listen --count 3 -- run --rate", ""),
        ("generate x --out=a", "generate x --output=a", "--out is called --output by generate."),
        ("wait --out a --output b", "wait --output a --output b", "--output by wait."),
        ("listen --out a -- run --out b", "listen --output a -- run --out b", "--output by listen."),
        ("export x --output a", "export x --out a", "--output is called --out by export."),
        ("embed a.mp3 --output=b --cover --output", "embed a.mp3 --out=b --cover --output", "--out by embed."),
        ("export x --output a --quiet", "export x --out a --quiet", ""),
        ("export x --out a", "export x --out a", ""),
        ("generate x --output a", "generate x --output a", ""),
        ("pick x --out a", "pick x --out a", ""),
        ("export x -- --output", "export x -- --output", ""),
        ("", "", ""),
    ],
)
def test_an_old_name_is_taken_for_the_new_one(typed: str, meant: str, said: str) -> None:
    """Of the options alone, not of their values nor of a program's words; one line says what to write."""
    words, lines = renew_names(typed.split())
    assert words == meant.split()
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_old_names_go_on_working(cli: Cli) -> None:
    """Each old name does what it did, and stderr has one line of hint; with --quiet none."""
    events = cli.run("history", "--events")
    assert (events.code, events.stderr.count("hint: --events is called --callbacks now")) == (0, 1)
    assert "No such event has been recorded" in events.stderr
    served = cli.run("sandbox", "--limit", "--", "true")
    assert (served.code, "hint: --limit is called --throttle now" in served.stderr) == (0, True)
    sent = cli.run("trigger", "success", "--to", "9", "--count", "2", "--rate", "100/1s")
    assert (sent.code, len(sent.lines)) == (5, 2)
    assert sent.stderr.count(" is called --") == 2
    off = cli.run("generate", "--sandbox", "sandbox-instant", "--poll-interval", "0.2", "--callback", "off")
    assert (off.code, off.stderr.count("hint: ")) == (0, 1)
    assert "(via poll)" in off.stderr
    quiet = cli.run("generate", "--sandbox", "sandbox-instant", "--callback", "auto", "--quiet")
    assert (quiet.code, quiet.stderr) == (0, "")
    refused = cli.run("generate", "--sandbox", "x", "--callback", "maybe")
    assert (refused.code, "required" in refused.stderr) == (2, True)


def test_the_folder_is_found_by_either_name(cli: Cli) -> None:
    """``--out`` of a job and ``--output`` of an export name the folder, with a line that gives the usual name."""
    made = cli.run("generate", "--sandbox", "song", "--poll-interval", "0.2", "--no-tunnel", "--out", "mine")
    assert (made.code, made.stderr.count("hint: --out is called --output by generate.")) == (0, 1)
    assert made.lines
    assert all(Path(line).parts[0] == "mine" for line in made.lines)
    exported = cli.run("export", made.lines[0], "--upscale", "lanczos", "--output=stores")
    assert exported.code == 0, exported.stderr
    assert exported.stderr.count("hint: --output is called --out by export.") == 1
    assert [Path(line).parts[0] for line in exported.lines] == ["stores"]
    nowhere = cli.run("pick", "song", "1", "--out", "mine")
    assert (nowhere.code, "has no option --out" in nowhere.stderr) == (2, True)
    for command in ("generate", "export"):
        offered = cli.run(command, "--help").stdout
        assert ("--output" in offered, "--out " in offered) == (command == "generate", command == "export")


def test_a_tunnel_is_left_out_or_demanded_by_one_name(cli: Cli) -> None:
    """``--no-tunnel`` polls, ``--tunnel`` overrides the settings file; doctor takes both as generate does."""
    Path(cli.environ["SUNO_COVER_CONFIG"]).write_text('callback = "off"\n')
    polled = cli.run("generate", "--sandbox", "sandbox-instant", "--poll-interval", "0.2", "--no-tunnel", "-v")
    assert "callback = off (--[no-]tunnel)" in polled.stderr
    called = cli.run("generate", "--sandbox", "called", "--tunnel")
    assert (called.code, "(via callback)" in called.stderr) == (0, True)
    doctor = cli.run("doctor", "--no-tunnel", "--json", SUNO_BASE_URL="http://127.0.0.1:9")
    (tunnel,) = [check for check in doctor.objects[0]["checks"] if check["name"] == "tunnel"]
    assert tunnel["message"] == "skipped: --no-tunnel"


WORK = "--profile work --provider kie"


@pytest.mark.parametrize(
    ("typed", "hint", "completed"),
    [
        (f"generate x {WORK}", "Run suno-cover resume in a while.", f"Run suno-cover resume {WORK} in a while."),
        ("generate --sandbox x", "suno-cover resume --sandbox", "suno-cover resume --sandbox"),
        ("generate --sandbox x", "Go on with: suno-cover wait abc", "Go on with: suno-cover wait --sandbox abc"),
        ("generate x -o 'a'", "suno-cover wait abc", "suno-cover wait --output ''\"'\"'a'\"'\"'' abc"),
        ("generate x --out a", "suno-cover wait abc", "suno-cover wait --output a abc"),
        ("generate x --output=a;b", "suno-cover wait abc", "suno-cover wait --output 'a;b' abc"),
        ("generate x --profile work", "suno-cover export abc", "suno-cover export abc"),
        ("generate x --api-key-file - --timeout 3", "suno-cover resume", "suno-cover resume"),
        ("generate x --api-key-file key.txt", "suno-cover doctor.", "suno-cover doctor --api-key-file key.txt."),
        (
            "listen --profile work -- run --provider kie",
            "suno-cover wait abc",
            "suno-cover wait --profile work abc",
        ),
        ("generate x --provider kie", "suno-cover is fine", "suno-cover is fine"),
        ("export x --profile apple", "suno-cover export --list-profiles", "suno-cover export --list-profiles"),
        ("export x --profile apple", "suno-cover pick x 2", "suno-cover pick x 2"),
    ],
)
def test_a_hint_repeats_the_options_that_were_given(typed: str, hint: str, completed: str) -> None:
    """Account, service, folder and sandbox go on with the command that a hint names, where it takes them."""
    assert hint_completer(typed.split())(hint) == completed


def test_a_resume_that_is_named_works_as_typed(cli: Cli) -> None:
    """What an interrupted run of a profile names can be typed: it finishes the job with the same profile."""
    kie = next(name for name in PROVIDERS.names if name != PROVIDERS.default.name)
    Path(cli.environ["SUNO_COVER_CONFIG"]).write_text(f'[profiles.work]\nprovider = "{kie}"\n')
    run = cli.run("generate", "--sandbox", "slow", "--profile", "work", "--timeout", "0.01", "--no-tunnel")
    assert run.code == 8, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "Go on with: " in line]
    command = line.partition("Go on with: ")[2].split()
    assert command[1:5] == ["resume", "--sandbox", "--profile", "work"]
    # One that never ends, and in another journal: resume would wait for it.
    words = ("generate", "--sandbox", "sandbox-stuck", "--profile", "work", "--timeout", "0.2", "--no-tunnel")
    told = cli.run(*words, "--json", SUNO_COVER_STATE_DIR=str(cli.cwd / "other"))
    assert told.objects[0]["error"]["hint"] == f"Go on with: {' '.join(command)}".replace("slow", "sandbox-stuck")
    assert cli.run(*command[1:], "--poll-interval", "0.3").code == 0


@pytest.mark.parametrize("has_other_key", [False, True])
def test_a_profile_without_a_key_is_told_how_to_get_one(cli: Cli, has_other_key: bool) -> None:
    """The command that keeps a key names the profile that lacks it, also beside a key of another provider."""
    kie = next(name for name in PROVIDERS.names if name != PROVIDERS.default.name)
    config = Path(cli.environ["SUNO_COVER_CONFIG"])
    other = 'api-key = "kkkkkkkkkkkkkkkkkkkk"' if has_other_key else ""
    config.write_text(f'{other}\n[profiles.work]\nprovider = "{kie}"\n')
    config.chmod(0o600)
    run = cli.run("generate", "x", "--profile", "work")
    assert run.code == 4, run.stderr
    assert "suno-cover config set --profile work api-key -" in run.stderr
