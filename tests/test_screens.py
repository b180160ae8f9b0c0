"""What people see, on real pseudo-terminals: live and plain screens, quiet, colours, narrow and dumb terminals."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from suno_cover_cli.base.text import cells_of, fold
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.cli.main import build_app, narrow_command
from suno_cover_cli.completion.table import COMMANDS
from tests.cli_fixtures import Cli
from tests.terminal_fixtures import PLAIN, Terminal, strip_escapes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")

COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
DRAWING = ("\x1b[?25l", "\x1b[2K", "\x1b[1A")


def run_on_terminal(
    cli: Cli, *words: str, columns: int = 80, streams: str = "02", **environ: str
) -> tuple[int, str, str]:
    """Run the program on a terminal; return its code, what the terminal was sent, and a stdout that is a pipe."""
    with Terminal(columns, 40, answer=PLAIN) as terminal:
        cli.start_on(terminal, *words, streams=streams, **environ)
        code, stdout = terminal.finish()
        return code, terminal.sent.decode("utf-8", "replace"), stdout


def test_a_terminal_gets_a_live_line_that_leaves_only_what_happened(cli: Cli) -> None:
    """Elapsed time, channel and next check are drawn while a job runs; at the end plain lines remain."""
    code, sent, stdout = run_on_terminal(cli, "generate", "--sandbox", "x", "--preview", "off")
    assert code == 0
    assert re.search(r"x  waiting  callback open; check in \d+ s", strip_escapes(sent))
    assert any(sign in sent for sign in DRAWING)
    assert COLOUR.search(sent)
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h"), "the cursor is given back"
    assert len(stdout.splitlines()) == 2
    assert "done       x: 2 covers" in strip_escapes(sent)


def test_paths_are_printed_once_where_stdout_is_the_same_terminal(cli: Cli) -> None:
    """With stdout and stderr on one terminal each saved path appears once, whole, for copying."""
    code, sent, _ = run_on_terminal(
        cli, "generate", "--sandbox", "sandbox-instant", "--preview", "off", streams="012"
    )
    assert code == 0
    lines = strip_escapes(sent).splitlines()
    assert [line for line in lines if line.startswith("covers/")] == sorted(
        {line for line in lines if line.startswith("covers/")}, key=lines.index
    )
    assert len([line for line in lines if line.endswith((".png", "cover_1.png"))]) == 2


def test_quiet_says_nothing_when_all_is_well_and_errors_all_the_same(cli: Cli) -> None:
    """--quiet leaves stderr empty for a success, on a terminal and in a pipe, and tells what went wrong."""
    code, sent, stdout = run_on_terminal(cli, "generate", "--sandbox", "sandbox-instant", "--quiet")
    assert (code, sent) == (0, "")
    assert len(stdout.splitlines()) == 2
    piped = cli.run("generate", "--sandbox", "sandbox-instant", "--quiet")
    assert (piped.code, piped.stderr) == (0, "")
    failed = cli.run("generate", "--sandbox", "sandbox-failed-501", "--quiet")
    assert failed.code == 6
    assert "failed" in failed.stderr


def test_a_pipe_gets_plain_lines(cli: Cli) -> None:
    """In a pipe there is one line per change, without colours, bars or cursor movements."""
    run = cli.run("generate", "--sandbox", "sandbox-instant")
    assert run.code == 0
    assert "\x1b" not in run.stderr + run.stdout
    labels = [line.split()[0] for line in run.stderr.splitlines()]
    assert labels[-1] == "done"
    assert {"callback", "submitted", "saved"} <= set(labels)


def test_no_color_takes_the_colours_and_leaves_the_rest(cli: Cli) -> None:
    """NO_COLOR keeps the live line and drops every colour, FORCE_COLOR notwithstanding."""
    _, sent, _ = run_on_terminal(
        cli, "generate", "--sandbox", "y", "--preview", "off", NO_COLOR="1", FORCE_COLOR="1"
    )
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", sent)
    assert "callback open; check in" in sent


def test_force_color_colours_a_pipe_and_draws_nothing(cli: Cli) -> None:
    """FORCE_COLOR brings colours into a log, but no cursor movements and no bars; NO_COLOR goes before it."""
    run = cli.run("generate", "--sandbox", "sandbox-instant", FORCE_COLOR="1")
    assert COLOUR.search(run.stderr)
    assert not any(sign in run.stderr for sign in DRAWING)
    assert "\x1b" not in run.stdout
    assert "\x1b" not in cli.run("generate", "--sandbox", "sandbox-instant", FORCE_COLOR="1", NO_COLOR="1").stderr


def test_a_dumb_terminal_gets_plain_lines(cli: Cli) -> None:
    """TERM=dumb means lines without a single escape sequence."""
    code, sent, _ = run_on_terminal(cli, "generate", "--sandbox", "sandbox-instant", TERM="dumb")
    assert code == 0
    assert "\x1b" not in sent
    assert "done       sandbox-instant: 2 covers" in sent


def test_a_dumb_terminal_shows_each_path_once_in_the_order_of_things(cli: Cli) -> None:
    """With TERM=dumb, too, a path is printed once where both streams meet, before the end of its job is said."""
    code, sent, _ = run_on_terminal(cli, "generate", "--sandbox", "a", "b", streams="012", TERM="dumb", columns=60)
    lines = sent.replace("\r\n", "\n").splitlines()
    paths = [line for line in lines if line.endswith(".png")]
    assert (code, len(paths), len(set(paths))) == (0, 4, 4)
    assert all(path.startswith("covers/") for path in paths)
    assert lines[-1].startswith("total      2 jobs: 2 succeeded; 4 covers")
    assert max(map(len, lines)) < 60
    assert "\x1b" not in sent


def test_both_streams_of_one_log_keep_their_order(cli: Cli) -> None:
    """In a log that takes both streams, what is said after the product stands after it."""
    script = "suno-cover generate --sandbox a b >/dev/null 2>&1; suno-cover history -n 1 2>&1"
    run = cli.shell(script)
    assert [line.split()[0] for line in run.lines[-1:]] == ["The"], run.stdout


def test_jobs_that_are_only_submitted_are_counted_as_that(cli: Cli) -> None:
    """After ``--no-wait`` the jobs of a batch are submitted, and no covers are spoken of."""
    for on in (False, True):
        words = ("generate", "--sandbox", "a", "b", "--no-wait")
        told = strip_escapes(run_on_terminal(cli, *words)[1]) if on else cli.run(*words).stderr
        assert re.search(r"^\r*total      2 jobs: 2 submitted in [\d.]+ s$", told, re.MULTILINE), told


def test_a_misspelt_scenario_is_told(cli: Cli) -> None:
    """An id that begins as a scenario's and names none is made as any other, with the scenario probably meant."""
    run = cli.run("generate", "--sandbox", "sandbox-fialed-501", "sandbox-instant-3", "song")
    assert run.code == 0
    assert run.stderr.count("has no scenario") == 1
    assert 'the sandbox has no scenario "fialed-501"' in run.stderr
    assert "Did you mean sandbox-failed-501? All of them: suno-cover sandbox --list" in run.stderr


def test_no_default_is_told_twice() -> None:
    """The help of an option names its default once."""
    app = build_app()
    for path in COMMANDS:
        words = [*path.split(), "--help"]
        shown = CliRunner().invoke(app, words, env={"COLUMNS": "200", "TERM": "dumb"}).stdout
        twice = [line for line in shown.splitlines() if "(default" in line and "[default" in line]
        assert twice == [], path


def test_a_foreign_text_draws_nothing(cli: Cli) -> None:
    """Escape sequences and markup in a service's words are neither obeyed nor shown on a terminal."""
    code, sent, _ = run_on_terminal(cli, "generate", "--sandbox", "sandbox-hostile-text", "--preview", "off")
    assert code == 6
    assert "owned" not in sent
    assert "\x1b[31mred" not in sent
    assert "[bold red]markup[/bold red]" in strip_escapes(sent).replace("\n", " ")


@pytest.mark.parametrize("columns", [60, 120])
def test_the_live_line_never_wraps(cli: Cli, columns: int) -> None:
    """Whatever the width, what is drawn over and over stays on one line, because it could not be wiped else."""
    _, sent, _ = run_on_terminal(cli, "generate", "--sandbox", "x" * 60, "--preview", "off", columns=columns)
    drawn = [
        part
        for part in re.split(r"[\r\n]", strip_escapes(sent))
        if "callback open" in part or "submitting" in part
    ]
    assert any("check in" in line for line in drawn), drawn
    assert max(map(len, drawn)) <= columns


def test_many_jobs_are_counted_on_one_line(cli: Cli) -> None:
    """Above a handful of jobs only their number and states are drawn, each job once, and their ends are told."""
    ids = [f"song-{n}" for n in range(9)]
    code, sent, stdout = run_on_terminal(cli, "generate", "--sandbox", *ids, "--concurrency", "4", columns=120)
    assert code == 0
    drawn = [line for line in re.split(r"[\r\n]+", strip_escapes(sent)) if "/9 jobs" in line]
    assert drawn
    for line in drawn:
        ended, *parts = line.partition(" ")[2].split("  ")
        counts = {
            part.partition(" ")[2]: int(part.partition(" ")[0])
            for part in parts
            if part[0].isdigit() and not part.endswith(" s")
        }
        assert sum(counts.values()) == 9, line
        assert f"{counts.get('succeeded', 0)}/9 jobs" == ended
    assert strip_escapes(sent).count("done       song-") == 9
    assert len(stdout.splitlines()) == 18


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_batch_is_summed_up(cli: Cli, is_terminal: bool) -> None:
    """At the end: how many jobs ended how, how many covers there are, then the failed ones and what to do."""
    words = ["generate", "--sandbox", "sandbox-failed-501", *(f"song-{n}" for n in range(7))]
    if is_terminal:
        code, sent, _ = run_on_terminal(cli, *words)
        told = strip_escapes(sent)
    else:
        done = cli.run(*words)
        code, told = done.code, done.stderr
    assert code == 6
    lines = [line.rstrip() for line in told.splitlines() if line.strip()]
    at = next(n for n, line in enumerate(lines) if line.startswith("total"))
    assert re.fullmatch(r"total      8 jobs: 7 succeeded, 1 failed; 14 covers in \d+(\.\d)? s", lines[at])
    assert [line for line in lines[:at] if line.startswith("error")] == [
        "error      sandbox-failed-501: failed"
    ], "said once"
    assert " ".join(" ".join(lines[at + 1 :]).split()) == (
        "error sandbox-failed-501: the service ended the job: cover generation failed "
        "Run the same command again; if it fails again, try another music task."
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_what_happened_is_folded_at_blanks(cli: Cli, columns: int) -> None:
    """On a terminal no line reaches the edge, and what is folded stands below its text, not below its label."""
    ids = ["5c79be8e10f14bb28a4a5e5fd5b1f3a0", "sandbox-failed-501", "sandbox-image-404"]
    _, sent, _ = run_on_terminal(cli, "generate", "--sandbox", *ids, "--preview", "off", columns=columns)
    labels = {"callback", "submitted", "error", "retry", "failed", "partial", "done", "total", ""}
    lines = [line for line in re.split(r"[\r\n]+", strip_escapes(sent)) if line[:10].strip() in labels]
    assert max(map(len, lines)) < columns
    assert any(line.startswith(" " * 11 + "Run the same command again") for line in lines)
    assert all(line[10] == " " and line[11] != " " for line in lines if line[11:].strip())
    whole = " ".join(line.strip() for line in lines)
    assert "if it fails again, try another music task." in whole
    assert "callback sandbox-failed-501: received (code 501); asking the service" in re.sub(" +", " ", whole)
    assert "failed sandbox-image-404: image 2: 127.0.0.1 answered 404" in re.sub(" +", " ", whole)


def test_an_error_is_folded_below_its_text(cli: Cli) -> None:
    """A hint that has no room on one line goes on below its first word."""
    _, sent, _ = run_on_terminal(cli, "generate", "x", columns=60, streams="012", SUNO_API_KEY="")
    lines = [line.rstrip() for line in strip_escapes(sent).splitlines()]
    at = next(n for n, line in enumerate(lines) if line.startswith("hint: "))
    assert lines[at + 1 :]
    assert all(line.startswith(" " * 6) and line[6] != " " for line in lines[at + 1 :])
    assert max(map(len, lines)) < 60


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_list_of_jobs_fits_the_terminal(cli: Cli, columns: int) -> None:
    """A header, then each job within the edge, its id and its folder whole. A pipe has one line a job."""
    music = "5c79be8e10f14bb28a4a5e5fd5b1f3a0"
    assert cli.run("generate", "--sandbox", music, "sandbox-image-404").code == 7
    _, sent, _ = run_on_terminal(cli, "history", columns=columns, streams="012")
    header, *lines = [line.rstrip() for line in strip_escapes(sent).splitlines() if line.strip()]
    assert header.split()[:5] == ["AGE", "STATE", "COVERS", "SANDBOX", "TASK"]
    assert max(map(len, [header, *lines])) < columns
    words = " ".join(lines).split()
    assert {
        music,
        "sandbox-image-404",
        *(f"covers/{path.name}" for path in (cli.cwd / "covers").iterdir()),
    } <= set(words)
    assert "1 of 2 images could not be saved" in " ".join(words)
    piped = [line.split("\t") for line in cli.run("history").lines]
    assert [len(fields) for fields in piped] == [6, 6]
    assert {fields[2] for fields in piped} == {music, "sandbox-image-404"}
    assert {fields[5] for fields in piped} == {"sandbox"}


def test_a_limit_counts_all_jobs_together(cli: Cli) -> None:
    """``-n 3`` shows the three newest jobs, of the built-in sandbox and of one that is served, of five."""
    shell = "suno-cover generate --sandbox a b >/dev/null 2>&1; suno-cover sandbox -- suno-cover generate c d"
    assert cli.shell(f"{shell}; suno-cover generate --sandbox e >/dev/null 2>&1").code == 0
    _, sent, _ = run_on_terminal(cli, "history", "-n", "3", columns=100, streams="012")
    lines = [line.split() for line in strip_escapes(sent).splitlines() if line.strip()]
    assert [line[3] for line in lines if line[0] == "now"] in (["e", "d", "c"], ["e", "c", "d"])
    assert [line[3] for line in lines if line[0] == "AGE"] == ["SANDBOX"]
    assert " ".join(lines[-1]) == "The newest 3 of 5 jobs; --limit 0 lists all."


def test_verbose_tells_versions_settings_and_every_read(cli: Cli) -> None:
    """-v starts with what a report of a fault needs, and tells each read with the time of the next."""
    run = cli.run("generate", "--sandbox", "x", "-v", "--no-tunnel", "--poll-interval", "0.2")
    assert run.code == 0
    assert re.search(r"^version    suno-cover \d", run.stderr, re.MULTILINE)
    assert "setting    callback = off (--[no-]tunnel)" in run.stderr
    assert run.stderr.count("next check in") >= 2
    assert len(run.lines) == 2


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_doctor_wraps_at_the_edge_of_the_terminal(cli: Cli, columns: int) -> None:
    """On a terminal no line of the report is wider than it, unless a single word is; verdicts have colours."""
    code, sent, _ = run_on_terminal(
        cli, "doctor", columns=columns, streams="012", SUNO_BASE_URL="http://127.0.0.1:9", HOME=str(Path("/h"))
    )
    assert code == 1
    assert re.search(r"\x1b\[31mfail", sent)
    lines = [line.rstrip() for line in strip_escapes(sent).splitlines()]
    too_long = [line for line in lines if len(line) > columns and len(line.split()[-1]) < columns - 24]
    assert too_long == []
    assert any(line.startswith(" " * 23 + "fix:") or "fix: " in line for line in lines)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_fits_the_terminal(columns: int) -> None:
    """The help of every command fits its terminal, and no option goes without words or with half a name."""
    app = build_app()
    for path in COMMANDS:
        shown = CliRunner().invoke(
            app, [*path.split(), "--help"], prog_name="suno-cover", env={"COLUMNS": str(columns), "TERM": "dumb"}
        )
        lines = shown.stdout.splitlines()
        assert shown.exit_code == 0
        assert max(map(len, lines)) <= columns
        assert "Usage: suno-cover" in shown.stdout
        assert all(option.meaning for option in COMMANDS[path].options), path
        assert all(name in shown.stdout for option in COMMANDS[path].options for name in option.names), path


@pytest.mark.parametrize("columns", [40, 60, 79])
def test_help_is_whole_on_a_narrow_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below 80 columns the help has no panels: no name is cut, no sample's name broken, and every line fits."""
    monkeypatch.setenv("COLUMNS", str(columns))
    command = narrow_command()
    for path in COMMANDS:
        assert not command([*path.split(), "--help"], prog_name="suno-cover", standalone_mode=False)
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= max(columns, 52)
        assert all(name in text for option in COMMANDS[path].options for name in option.names), path
        assert not re.search(r"\u2026|[a-z:,]\.\.\.$", text, re.MULTILINE)
        assert path != "trigger" or all(sample in text for sample in SampleName)


def test_a_narrow_terminal_gets_the_narrow_help(cli: Cli) -> None:
    """The program chooses by its terminal's width."""
    _, narrow, _ = run_on_terminal(cli, "sandbox", "--help", columns=60, streams="012")
    assert "--allow-remote-callbacks" in narrow
    assert "\u256d" not in narrow
    _, wide, _ = run_on_terminal(cli, "sandbox", "--help", columns=80, streams="012")
    assert "\u256d" in wide


def test_a_closed_stderr_stops_nothing(cli: Cli) -> None:
    """With nobody to read stderr the covers are saved all the same."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *cli.command("generate", "--sandbox", "sandbox-instant")],
        cwd=cli.cwd,
        env=cli.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_names_and_their_texts_do_not_mix(cli: Cli, columns: int) -> None:
    """On a narrow terminal the text of a scenario stands below its name; elsewhere it keeps to its column."""
    with Terminal(columns, 400) as terminal:
        cli.start_on(terminal, "sandbox", "--list", streams="012")
        assert terminal.finish()[0] == 0
        lines = terminal.text.splitlines()
    at = lines[0].find("two covers") if columns >= 80 else 4
    assert at > 4 or columns < 80
    assert all(line.startswith(("sandbox-", " " * at)) for line in lines if line)
    assert columns >= 80 or all(" " not in line.strip() for line in lines if line.startswith("sandbox-"))
    assert len(cli.run("sandbox", "--list").lines) == len([line for line in lines if line.startswith("sandbox-")])


@pytest.mark.parametrize("columns", [60, 80])
def test_the_sources_of_profiles_fit_a_terminal(cli: Cli, columns: int) -> None:
    """Their hosts stand on a terminal, whole addresses in a pipe and in JSON."""
    with Terminal(columns, 100) as terminal:
        cli.start_on(terminal, "export", "--list-profiles", streams="012")
        assert terminal.finish()[0] == 0
        lines = terminal.text.splitlines()
    assert all(cells_of(line) < columns for line in lines)
    assert all(line.startswith(" " * 15) for line in lines if "support.distrokid.com" in line)
    assert "https://" not in terminal.text
    assert "https://support.distrokid.com/" in cli.run("export", "--list-profiles").stdout


def test_settings_are_one_a_line_on_a_narrow_terminal(cli: Cli) -> None:
    """Where three columns have no room the source stands behind the value, not alone on the next line."""
    with Terminal(60, 60) as terminal:
        cli.start_on(terminal, "config", "show", streams="012", SUNO_COVER_STATE_DIR="/" + "s" * 36)
        assert terminal.finish()[0] == 0
        lines = terminal.text.splitlines()
    assert "output          covers (default)" in lines
    assert [line.strip() for line in lines if line.strip() == "default"] == []


def test_a_figure_and_its_unit_stay_together() -> None:
    """A line ends before ``30 s`` or ``exit 6``, not within."""
    assert fold("the job took about 30 s (via poll)", 21) == ["the job took about", "30 s (via poll)"]
    assert fold("it would end with exit 6", 24) == ["it would end with", "exit 6"]
    assert fold("it asks for 3000 x 3000 pixels", 22) == ["it asks for", "3000 x 3000 pixels"]
