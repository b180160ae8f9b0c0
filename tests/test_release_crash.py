"""export and embed are killed at every write, fsync and rename: what bears a name is whole, nothing is lost.

The short form dies at every fsync, link and rename; ``pytest -m long tests/test_release_crash.py`` everywhere.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from suno_cover_cli.base.files import sweep_parts
from suno_cover_cli.release.audio import find_format, hash_sound
from tests.image_fixtures import names_in
from tests.label_fixtures import tool
from tests.release_fixtures import quarters, save
from tests.song_fixtures import make_song

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")

CALLS = (
    *("fsync", "link", "rename"),
    *(pytest.param(call, marks=pytest.mark.long) for call in ("write", "copy_file_range", "ftruncate", "unlink")),
)
"""Each is a moment to die; a step that a command does not take is simply never reached."""

_MAX_STEPS = 40
_ROOT = Path(__file__).parent.parent
_EXPORT = (
    "import sys; from pathlib import Path; from tests.release_fixtures import export, store\n"
    "export(Path(sys.argv[1]), Path(sys.argv[2]), overwrite=len(sys.argv) > 3)\n"
)
_EMBED = (
    "import sys; from pathlib import Path; from tests.song_fixtures import embed\n"
    "from suno_cover_cli.release.embed import prepare_cover\n"
    "embed(Path(sys.argv[2]), prepare_cover(Path(sys.argv[1])), backup=len(sys.argv) > 3)\n"
)


def killed_at(call: str, n: int, script: str, *arguments: str) -> bool:
    """Run a script that is killed when it enters a system call for the n-th time; tell whether it got that far."""
    watched = (tool("strace"), "-f", "--seccomp-bpf", "-qq", "-o", os.devnull)
    inject = f"inject={call}:signal=KILL:when={n}"
    run = subprocess.run(
        [*watched, "-e", f"trace={call}", "-e", inject, sys.executable, "-c", script, *arguments],
        cwd=_ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
    )
    if run.returncode == 0:
        return False
    assert run.returncode in {-9, 137}, run.stderr
    return True


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
def test_a_killed_export_leaves_no_half_file(tmp_path: Path, call: str, overwrite: bool) -> None:
    """Under the final name there is nothing, the old file or the new one; the original is as it was."""
    source = save(quarters(), tmp_path / "a.png")
    original = source.read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    final = out / "a-store.jpg"
    for n in range(1, _MAX_STEPS):
        if overwrite:
            final.write_bytes(b"old")
        was_killed = killed_at(call, n, _EXPORT, str(source), str(out), *(["x"] * overwrite))
        assert source.read_bytes() == original
        if final.exists() and final.read_bytes() != b"old":
            with Image.open(final) as image:
                image.load()
        assert all(name == final.name or name.startswith(".") for name in names_in(out))
        sweep_parts(out)
        assert set(names_in(out)) <= {final.name}
        if not was_killed:
            break
        final.unlink(missing_ok=True)
    else:
        pytest.fail("it was killed each time")
    assert names_in(out) == [final.name]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("backup", [False, True], ids=["plain", "backup"])
def test_a_killed_embed_leaves_the_song_whole(tmp_path: Path, call: str, backup: bool) -> None:
    """At every moment the song's name leads to a whole song with the same sound, and a backup is the old one."""
    picture = save(quarters(), tmp_path / "cover.png")
    music = tmp_path / "music"
    music.mkdir()
    original = make_song(tmp_path / "song.mp3", seconds=0.3).read_bytes()
    song = music / "song.mp3"
    for n in range(1, _MAX_STEPS):
        for name in names_in(music):
            (music / name).unlink()
        song.write_bytes(original)
        was_killed = killed_at(call, n, _EMBED, str(picture), str(song), *(["x"] * backup))
        with song.open("rb") as now, (tmp_path / "song.mp3").open("rb") as before:
            assert hash_sound(now, find_format(now)) == hash_sound(before, find_format(before))
        kept = music / "song.mp3.bak"
        assert not kept.exists() or kept.read_bytes() == original
        sweep_parts(music)
        assert set(names_in(music)) <= {song.name, kept.name}
        if not was_killed:
            break
    else:
        pytest.fail("it was killed each time")
    assert song.read_bytes() != original
    assert kept.exists() == backup
