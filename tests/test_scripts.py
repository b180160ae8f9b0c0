"""Shell scripts as people write them for machines that nobody watches, run as they stand against the sandbox."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.cli_fixtures import Cli, Run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="these are scripts for bash")


def at_sandbox(cli: Cli, script: str, *, generation_time: float = 0.2, **environ: str) -> Run:
    """Run a bash script with the sandbox's environment, as ``sandbox -- COMMAND`` does."""
    (cli.cwd / "script.sh").write_text(f"set -euo pipefail\n{script}")
    return cli.shell(
        f"exec suno-cover sandbox --generation-time {generation_time} -- bash script.sh", 50, **environ
    )


def test_a_batch_is_tried_again_until_all_is_done(cli: Cli) -> None:
    """A loop over --failed-to ends: each round tries what is worth another try, and the last list is empty."""
    run = at_sandbox(
        cli,
        """
        printf 'song-1\\nsong-2\\nsong-3\\n' > todo.txt
        rounds=0
        until suno-cover generate --input todo.txt --failed-to again.txt --timeout 0.6s --poll-interval 0.2s
        do
          rounds=$((rounds + 1)); test "$rounds" -lt 20
          grep -v '^#' again.txt > todo.txt
        done
        test "$(ls covers/*/cover_*.png | wc -l)" = 6
        test -z "$(grep -v '^#' again.txt || true)"
        """,
        generation_time=1.0,
    )
    assert run.code == 0, run.stderr


def test_a_matrix_of_processes_shares_one_folder(cli: Cli) -> None:
    """Several processes at once, as xargs -P starts them, save each cover once and all end with 0."""
    run = at_sandbox(
        cli,
        """
        seq 1 6 | xargs -P 3 -I{} suno-cover generate song-{} --quiet --poll-interval 0.2s > paths.txt
        test "$(sort -u paths.txt | wc -l)" = 12
        xargs ls < paths.txt > /dev/null
        """,
    )
    assert run.code == 0, run.stderr


def test_a_cached_folder_costs_no_second_job(cli: Cli) -> None:
    """With folder and state kept from an earlier run, the same command changes no file and prints the same."""
    run = at_sandbox(
        cli,
        """
        suno-cover generate song-1 song-2 --poll-interval 0.2s | sort > first.txt
        stat -c '%n %Y %i' covers/*/* > before.txt
        suno-cover generate song-1 song-2 --poll-interval 0.2s | sort > second.txt
        stat -c '%n %Y %i' covers/*/* > after.txt
        diff first.txt second.txt
        diff before.txt after.txt
        """,
    )
    assert run.code == 0, run.stderr


def test_objects_go_through_pipes(cli: Cli) -> None:
    """--json feeds jq: states, paths and checksums of each job, one object a line."""
    run = at_sandbox(
        cli,
        """
        suno-cover generate --json song-1 song-2 --poll-interval 0.2s > jobs.ndjson
        test "$(jq -r .state jobs.ndjson | sort -u)" = succeeded
        jq -r '.images[] | "\\(.sha256)  \\(.path)"' jobs.ndjson | sha256sum --check --quiet
        suno-cover history --json | jq -e 'select(.type == "history") | .job.images | length == 2' > /dev/null
        """,
    )
    assert run.code == 0, run.stderr


def test_a_job_that_timeout_ends_is_finished_by_resume(cli: Cli) -> None:
    """``timeout`` ends a run with its own code, and resume saves what that run had submitted."""
    run = at_sandbox(
        cli,
        """
        code=0; timeout 4 suno-cover generate song-1 --poll-interval 0.2s || code=$?
        test "$code" = 124
        suno-cover resume --poll-interval 0.2s
        test "$(ls covers/*/cover_*.png | wc -l)" = 2
        """,
        generation_time=8.0,
    )
    assert run.code == 0, run.stderr


def test_a_ready_file_serves_three_runs_in_one_folder(cli: Cli) -> None:
    """A script that waits for the sandbox's ready file runs again and again in the same folder."""
    script = """
        set -eu
        suno-cover sandbox --generation-time 0.2 --ready-file sandbox.env > sandbox.out &
        sandbox=$!
        until [ -e sandbox.env ]; do sleep 0.05; done
        test -s sandbox.out
        . ./sandbox.env
        suno-cover generate song-1 --poll-interval 0.2s --output "covers-$RUN"
        kill "$sandbox"; wait "$sandbox" || true
        test ! -e sandbox.env
    """
    for number in range(3):
        run = cli.shell(script, RUN=str(number))
        assert run.code == 0, run.stderr
    assert len(list(cli.cwd.glob("covers-*/*/cover_*.png"))) == 6


def test_actions_shows_each_failed_job_and_a_summary(cli: Cli) -> None:
    """In GitHub Actions a failed job is an annotation, the run a table, and stdout has paths alone."""
    run = at_sandbox(
        cli,
        """
        export GITHUB_ACTIONS=true GITHUB_STEP_SUMMARY="$PWD/summary.md"
        code=0
        suno-cover generate song-1 sandbox-failed-501 --poll-interval 0.2s > paths.txt 2> words.txt || code=$?
        test "$code" = 6
        grep -q '^::error title=' words.txt
        ! grep -q '^::' paths.txt
        test "$(wc -l < paths.txt)" = 2
        grep -q 'song-1' summary.md
        grep -q 'sandbox-failed-501' summary.md
        """,
    )
    assert run.code == 0, run.stderr + (cli.cwd / "words.txt").read_text()


def test_cron_gives_next_to_nothing(cli: Cli) -> None:
    """An empty environment, no terminal, no standard input: covers are saved, and nothing is asked."""
    run = at_sandbox(
        cli,
        """
        program=$(command -v suno-cover)
        env -i SUNO_BASE_URL="$SUNO_BASE_URL" SUNO_API_KEY="$SUNO_API_KEY" HOME="$PWD" \\
          PYTHONPATH="${PYTHONPATH:-}" "$program" generate song-1 --poll-interval 0.2s \\
          < /dev/null > paths.txt 2> words.txt
        test "$(wc -l < paths.txt)" = 2
        ! grep -q $'\\x1b' words.txt
        test -d .local/state/suno-cover
        """,
    )
    assert run.code == 0, run.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_a_makefile_makes_each_cover_once(cli: Cli) -> None:
    """A rule that prints into its target works, and make finds nothing to do the second time."""
    (cli.cwd / "Makefile").write_text(
        "all: song-1.paths song-2.paths\n%.paths:\n\tsuno-cover generate $* --poll-interval 0.2s > $@.part\n"
        "\tmv $@.part $@\n"
    )
    run = at_sandbox(
        cli, "make -s -j 2 all\ntest \"$(cat *.paths | wc -l)\" = 4\nmake all | grep -q 'Nothing to be done'\n"
    )
    assert run.code == 0, run.stderr


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount")
def test_a_read_only_root_still_makes_covers(cli: Cli) -> None:
    """With nothing but the working folder writable the job runs, and one line says that no history is kept."""
    script = """
        set -eu
        mount --bind "$PWD" "$PWD"
        cd "$PWD"
        mount -o remount,ro,bind /
        suno-cover sandbox --generation-time 0.2 -- suno-cover generate song-1 --poll-interval 0.2s 2> words.txt
        grep -c SUNO_COVER_STATE_DIR words.txt
    """
    probe = ["unshare", "--mount", "mount", "-o", "remount,ro,bind", "/"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("mounts cannot be changed here")
    (cli.cwd / "script.sh").write_text(script)
    run = cli.shell(
        "exec unshare --mount --propagation private bash script.sh", SUNO_COVER_STATE_DIR="", HOME="/root"
    )
    words = (cli.cwd / "words.txt").read_text()
    assert run.code == 0, run.stderr + words
    assert run.lines[-1] == "1", words
    assert "unexpected" not in words
