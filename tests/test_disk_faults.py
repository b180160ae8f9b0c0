"""Every call of a saving fails in every way: what cannot be done is left, and what failed is told as that."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

STANDINS = Path(__file__).parent / "standins"

NOT_THERE = {"EINVAL", "ENOTSUP", "ENOSYS", "ENOTTY"}
NO_LINKS = NOT_THERE | {"EPERM", "EACCES", "EXDEV", "EMLINK"}
CODES = {"disk_full", "disk_failing", "folder_unwritable", "out_of_resources"}
FULL = {"ENOSPC", "EDQUOT", "EFBIG"}
SCARCE = {"EMFILE", "ENFILE", "ENOMEM"}


@pytest.mark.skipif(sys.platform == "win32", reason="made for POSIX calls")
def test_every_error_at_every_call_of_a_saving(tmp_path: Path) -> None:
    """A cover is saved whole or not at all; what is told fits what is there; the next run sets all right."""
    environ = dict(os.environ)
    compiler = shutil.which("cc")
    if compiler is not None and sys.platform == "linux":
        library = tmp_path / "faults.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, STANDINS / "disk_faults.c"], check=True)
        environ["LD_PRELOAD"] = str(library)
    # Thousands of syncs: in memory, where there is such a place.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as folder:  # noqa: S108, PTH112
        command = [sys.executable, "-m", "tests.standins.disk_fault_runs", folder]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["faults"] == ("Preloaded" if "LD_PRELOAD" in environ else "Replaced")
    outcomes = told["outcomes"]
    assert len(outcomes) > 200
    for call, name, nth, overwrite, ended, named, again, names in outcomes:
        case = f"{call} {name} {nth} {overwrite}: {ended}"
        assert ended == "saved" or ended in CODES | {"file_exists"}, case
        assert named == (ended == "saved"), f"{case}: what is told is not what is there"
        assert (again, names) == ("saved", ["cover_1.png"]), f"{case}: {again}, {names}"
        if call in {"fsync folder", "open folder", "unlink"} or (call == "flock" and name != "EAGAIN"):
            assert ended == "saved", case
        if call == "link" and name in NO_LINKS:
            assert ended == "saved", case
        if call == "fsync file" and nth in {0, 1}:
            assert (ended == "saved") == (name in NOT_THERE | {"EBADF", "EROFS"}), case
        if ended != "saved" and name in FULL:
            assert ended == "disk_full", case
        if ended != "saved" and name in SCARCE:
            assert ended == "out_of_resources", case
