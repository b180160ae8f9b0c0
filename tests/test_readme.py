"""README: what it promises runs, what is generated in it is fresh, what it names exists."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli_fixtures import Cli
from tests.readme import ENVIRONMENT, README, ROOT, renewed

TEXT = README.read_text(encoding="utf-8")


def snippet(name: str) -> str:
    """Return the fenced block that follows a script marker."""
    found = re.search(rf"<!-- script: {name} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None, name
    return found[1]


def test_generated_parts_are_fresh() -> None:
    """Exit codes, environment, job object and help in README are what the program has today."""
    assert renewed(TEXT) == TEXT, "run: python -m tests.readme --write"


def test_every_variable_of_the_source_is_in_the_table() -> None:
    """No environment variable of ours is read that README does not explain, and none is explained in vain."""
    names = set()
    for path in (ROOT / "suno_cover_cli").rglob("*.py"):
        names |= set(
            re.findall(
                r"\b(?:SUNO_(?!COVER_COMPLETE)[A-Z_]+|KIE_API_KEY|NGROK_AUTHTOKEN|PYNGROK_NGROK_PATH)\b",
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


def test_the_steps_of_the_actions_job_run_as_printed(cli: Cli) -> None:
    """Each run line of the GitHub Actions job, the installation aside, works against the sandbox."""
    lines = [
        line.strip().removeprefix("- ").removeprefix("run: ")
        for line in snippet("actions").splitlines()
        if "run:" in line
    ]
    assert "pip install ." in lines
    for line in lines:
        if line != "pip install .":
            run = cli.shell(line)
            assert run.code == 0, run.stderr
            assert run.objects[0]["state"] == "succeeded"


def test_relative_links_lead_somewhere() -> None:
    """Pictures, files and headings README links to exist."""
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"(?:\]\(|\b(?:src|srcset)=\")([^)\"]+)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (ROOT / target).is_file(), target


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a checkout knows what belongs to it")
def test_the_top_level_holds_nothing_else() -> None:
    """pyproject.toml, README.md, LICENSE, the package, tests, completions and dotfiles: nothing else."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tops = {Path(line).parts[0] for line in listed.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= {
        "pyproject.toml", "README.md", "LICENSE", "suno_cover_cli", "tests", "completions",
    }  # fmt: skip
