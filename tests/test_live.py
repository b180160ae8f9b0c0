"""The real thing: one job at the real service through a real tunnel; asked for with ``-m live``."""

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.cli_fixtures import Cli, Run

NEEDED = ("SUNO_API_KEY", "NGROK_AUTHTOKEN", "SUNO_LIVE_MUSIC_TASK_ID")


@pytest.mark.live
@pytest.mark.timeout(1200)
def test_a_real_job_gives_real_covers(cli: Cli) -> None:
    """With a key, a token and a music task of one's own, the covers of that music are saved and open."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    assert not missing, f"set {', '.join(missing)}"
    passed = {name: os.environ[name] for name in (*NEEDED, "SUNO_BASE_URL") if name in os.environ}
    environ = {**cli.environ, **passed}
    del environ["SSL_CERT_FILE"]
    if trusted := os.environ["LIVE_SSL_CERT_FILE"]:
        environ["SSL_CERT_FILE"] = trusted
    done = subprocess.run(
        cli.command("generate", "--json", os.environ["SUNO_LIVE_MUSIC_TASK_ID"]),
        env=environ,
        cwd=cli.cwd,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    run = Run(done.returncode, done.stdout, done.stderr)
    assert run.code == 0, run.stderr
    (job,) = run.objects
    assert job["images"]
    for image in job["images"]:
        with Image.open(cli.cwd / Path(image["path"])) as opened:
            opened.load()
    assert os.environ["SUNO_API_KEY"] not in run.stdout + run.stderr
