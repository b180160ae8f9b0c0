"""README and the pages of ``.github``: what they promise runs, what is generated is fresh, links work."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from suno_cover_cli.base.providers import PROVIDERS
from tests.cli_fixtures import Cli
from tests.docs import (
    ENVIRONMENT,
    EVENTS_SCHEMA,
    MAN_PAGE,
    PAGES,
    PARTS,
    README,
    ROOT,
    event_types,
    events_schema,
    man_page,
    renewed,
)

TEXT = README.read_text(encoding="utf-8")


def snippet(name: str) -> str:
    """Return the fenced block that follows a script marker."""
    found = re.search(rf"<!-- script: {name} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None, name
    return found[1]


def spaced_once(text: str) -> str:
    """Return a text without the widths of its columns: Rich chooses them, and before 14.3 made some wider."""
    return re.sub(" +", " ", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_fresh(page: Path) -> None:
    """Exit codes, environment, settings, job object and help are what the program has today."""
    text = page.read_text(encoding="utf-8")
    assert spaced_once(renewed(text)) == spaced_once(text), "run: python -m tests.docs --write"


def test_the_manual_page_is_fresh() -> None:
    """The manual page says what the program's help says today."""
    assert MAN_PAGE.read_text(encoding="utf-8") == man_page(), "run: python -m tests.docs --write"


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man here")
def test_man_reads_the_page_without_a_complaint() -> None:
    """The manual page is right roff: man has nothing to warn of, and every command stands in it."""
    environ = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MAN_KEEP_FORMATTING": ""}
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(MAN_PAGE)],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "generate" in done.stdout
    assert "--upscale" in done.stdout or "--poll-interval" in done.stdout


def test_the_schema_of_events_is_fresh() -> None:
    """The published JSON Schema is that of the events the program has today."""
    assert EVENTS_SCHEMA.read_text(encoding="utf-8") == events_schema(), "run: python -m tests.docs --write"


def test_every_generated_part_has_a_page() -> None:
    """Nothing that is generated is missing from the pages."""
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in PARTS if f"<!-- generated: {name} -->" not in shown] == []


@pytest.mark.parametrize(
    "words", ["generate --sandbox sandbox-image-404 sandbox-failed-501 sandbox-unknown-422", "wait --sandbox {id}"]
)
def test_every_line_of_events_is_as_the_reference_says(cli: Cli, words: str) -> None:
    """Events of jobs that succeed, fail and miss images have the published shape; ``type`` names one of them."""
    task_id = cli.run("generate", "--sandbox", "--no-wait", "song").lines[0]
    run = cli.run(*words.format(id=task_id).split(), "--events", "--poll-interval", "0.3")
    validator = Draft202012Validator(json.loads(events_schema()))
    assert run.objects
    for line in run.objects:
        assert [fault.message for fault in validator.iter_errors(line)] == [], line
    kinds = {line["type"] for line in run.objects}
    assert {"job_started", "job_polled", "image_saved", "job"} <= kinds
    assert kinds <= {*event_types(), "job"}
    assert ("job_submitted" in kinds) == words.startswith("generate")


def test_readme_is_a_page_that_a_person_reads() -> None:
    """README stays under 300 lines; what is for looking up lies in the pages beside it."""
    assert len(TEXT.splitlines()) < 300


def test_every_variable_of_the_source_is_in_the_table() -> None:
    """Every environment variable of ours that is read is explained, and none is explained in vain."""
    keys = "|".join(PROVIDERS.key_variables)
    names = set()
    for path in (ROOT / "suno_cover_cli").rglob("*.py"):
        names |= set(
            re.findall(
                rf"\b(?:SUNO_(?!COVER_COMPLETE)[A-Z_]+|{keys}|NGROK_AUTHTOKEN|PYNGROK_NGROK_PATH)\b",
                path.read_text(encoding="utf-8"),
            )
        )
    # Handed to the desktop's own notifier on Windows, never read by us.
    assert names - {"SUNO_COVER_TITLE", "SUNO_COVER_TEXT"} == set(ENVIRONMENT)


def test_the_shell_script_runs_as_printed(cli: Cli) -> None:
    """The script README gives for CI works against the sandbox, word for word."""
    run = cli.shell(snippet("shell"))
    assert run.code == 0, run.stderr
    assert len(list(cli.cwd.rglob("cover_*.png"))) == 2


def test_a_signed_sample_is_verified_as_printed(cli: Cli) -> None:
    """README's lines about signatures end with ok, although listen has recorded an unsigned sample before."""
    printed = snippet("signatures").replace("http://127.0.0.1:PORT/callback/...", '"$url"')
    lines = [line for line in printed.splitlines() if "3000/hook" not in line]
    start = """
        set -eu
        umask 077
        echo a-key-of-mine > key.txt
        suno-cover listen --no-tunnel --ready-file ready > listened &
        listen=$!
        trap 'kill "$listen"; wait "$listen" || true' EXIT
        until [ -e ready ]; do sleep 0.1; done
        url=$(cat ready)
        suno-cover trigger success --to "$url"
    """
    run = cli.shell("\n".join([start, *lines]))
    assert run.code == 0, run.stderr
    assert run.lines[-1].startswith("ok ")


def test_the_steps_of_the_actions_job_run_as_printed(cli: Cli) -> None:
    """Each run line of the GitHub Actions job, the installation aside, works against the sandbox."""
    lines = [line.partition("run: ")[2] for line in snippet("actions").splitlines() if "run: " in line]
    assert lines[0] == "pipx install ."
    (cli.cwd / "songs.csv").write_text("song-1\nsong-2\n")
    for line in lines[1:]:
        run = cli.shell(f"suno-cover sandbox --generation-time 0.2 -- {line} --json --poll-interval 0.2")
        assert run.code == 0, run.stderr
        assert {job["state"] for job in run.objects} == {"succeeded"}


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / ".github").glob("*.md"))], ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Pictures, files and headings that a page links to exist."""
    text = page.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"(?:\]\(|\b(?:src|srcset)=\")([^)\"]+)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (page.parent / target).is_file(), target


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a checkout knows what belongs to it")
def test_the_top_level_holds_nothing_else() -> None:
    """pyproject.toml, README.md, LICENSE, the package, tests, completions and dotfiles: nothing else."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tops = {Path(line).parts[0] for line in listed.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= {
        "pyproject.toml", "README.md", "LICENSE", "suno_cover_cli", "tests", "completions",
    }  # fmt: skip
