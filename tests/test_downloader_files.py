"""The way to a final name: nothing half-written bears one, nothing of the user's is touched, nothing stays."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.images.downloader import TargetFolder
from suno_cover_cli.images.files import ImageFolder, PartFile
from suno_cover_cli.images.kinds import DamagedImageError
from tests.downloader_fixtures import refused
from tests.image_fixtures import CHECKER, OTHER, PNG, begin, find, names_in, picture, put

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files, limits or signals")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """The target folder and what leads to it are made on the way."""
    image = put(tmp_path / "a" / "b" / "c")
    assert Path(image.path).read_bytes() == PNG
    assert find(tmp_path / "a" / "b" / "c") == image


@pytest.mark.parametrize("stem", ["", ".", "..", "a/b", "../a", "/a", "a\0b"])
def test_names_that_are_paths(tmp_path: Path, stem: str) -> None:
    """A stem that is not a plain file name is refused before anything is touched."""
    with refused("bad_name"):
        put(tmp_path, stem=stem)
    assert names_in(tmp_path) == []


def test_damaged_picture_gets_no_name(tmp_path: Path) -> None:
    """A file that fails the check never gets its final name."""
    with pytest.raises(DamagedImageError):
        put(tmp_path, PNG[:-1])
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_stem_is_taken_in_any_format(tmp_path: Path, suffix: str) -> None:
    """A whole picture under the stem is settled for, and anything else there is left alone and reported."""
    there = tmp_path / f"cover_1{suffix}"
    there.write_bytes(OTHER)
    assert put(tmp_path).path == str(there)
    there.write_bytes(OTHER[:-1])
    with refused("file_exists") as info:
        put(tmp_path)
    assert str(there) in info.value.message
    assert "--overwrite" in info.value.hint
    assert there.read_bytes() == OTHER[:-1]
    assert names_in(tmp_path) == [there.name]


def test_name_taken_at_the_last_moment(tmp_path: Path) -> None:
    """What takes the name between the first look and the last step is never replaced."""
    transfer = begin(tmp_path)
    assert transfer.prepare() is None
    transfer.take(PNG)
    (tmp_path / "cover_1.png").write_bytes(OTHER)
    image = transfer.finish()
    assert (tmp_path / "cover_1.png").read_bytes() == OTHER
    assert image == find(tmp_path)
    assert names_in(tmp_path) == ["cover_1.png"]


def test_notes_that_took_the_name_at_the_last_moment(tmp_path: Path) -> None:
    """A file that is no picture and takes the name at the last moment is reported, not replaced."""
    transfer = begin(tmp_path)
    transfer.take(PNG)
    (tmp_path / "cover_1.png").write_text("my notes")
    with refused("file_exists"):
        transfer.finish()
    assert (tmp_path / "cover_1.png").read_text() == "my notes"
    assert names_in(tmp_path) == ["cover_1.png"]


def test_many_writers_of_one_name(tmp_path: Path) -> None:
    """However many write the same name at once, one whole picture is there and all are told of that one."""
    together = threading.Barrier(8)

    def write(n: int) -> SavedImage:
        together.wait()
        return put(tmp_path, picture(seed=n))

    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(write, range(8)))
    assert names_in(tmp_path) == ["cover_1.png"]
    assert set(images) == {find(tmp_path)}


def test_overwrite_leaves_one_picture(tmp_path: Path) -> None:
    """With overwrite the new picture alone bears the stem, whatever format the old one had."""
    put(tmp_path, picture("JPEG"))
    (tmp_path / "cover_1.txt").write_text("my notes")
    (tmp_path / "cover_10.jpg").write_bytes(OTHER)
    put(tmp_path, PNG, overwrite=True)
    put(tmp_path, OTHER, overwrite=True)
    assert names_in(tmp_path) == ["cover_1.png", "cover_1.txt", "cover_10.jpg"]
    assert (tmp_path / "cover_1.png").read_bytes() == OTHER


@posix_only
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", ["secret.png", "missing.png"])
def test_links_are_not_followed(tmp_path: Path, target: str, overwrite: bool) -> None:
    """A link under the final name is neither read nor written through; overwriting replaces the link itself."""
    outside, folder = tmp_path / "outside", tmp_path / "covers"
    outside.mkdir()
    folder.mkdir()
    (outside / "secret.png").write_bytes(OTHER)
    (folder / "cover_1.png").symlink_to(outside / target)
    assert find(folder) is None
    if overwrite:
        put(folder, overwrite=True)
        assert not (folder / "cover_1.png").is_symlink()
    else:
        with refused("file_exists"):
            put(folder)
    assert names_in(outside) == ["secret.png"]
    assert (outside / "secret.png").read_bytes() == OTHER


@posix_only
def test_strange_things_under_the_name(tmp_path: Path) -> None:
    """A pipe or a folder under the final name is reported at once; nobody waits for a pipe's other end."""
    os.mkfifo(tmp_path / "cover_1.png")
    (tmp_path / "cover_2.png").mkdir()
    for stem in ("cover_1", "cover_2"):
        assert find(tmp_path, stem) is None
        with refused("file_exists"):
            put(tmp_path, stem=stem)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Where the file system has no hard links, a picture gets its name all the same and replaces nothing."""

    def refuse(_source: str, _target: str) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    transfer = begin(tmp_path)
    transfer.take(PNG)
    put(tmp_path, OTHER)
    assert transfer.finish() == find(tmp_path)
    assert (tmp_path / "cover_1.png").read_bytes() == OTHER
    assert names_in(tmp_path) == ["cover_1.png"]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    """A file where the folder should be is reported with the path and the way out."""
    (tmp_path / "covers").write_text("my notes")
    with refused("folder_unwritable") as info:
        put(tmp_path / "covers" / "id")
    assert str(tmp_path / "covers" / "id") in info.value.message
    assert "--output" in info.value.hint
    assert find(tmp_path / "covers" / "id") is None


@posix_only
@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_that_is_a_link(tmp_path: Path, overwrite: bool) -> None:
    """A link planted where the folder of a job would be is not followed, not for reading either."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "cover_1.png").write_bytes(OTHER)
    (tmp_path / "id").symlink_to(tmp_path / "outside")
    assert find(tmp_path / "id") is None
    with refused("folder_unwritable") as info:
        put(tmp_path / "id", overwrite=overwrite)
    assert "is a link" in info.value.message
    assert (tmp_path / "outside" / "cover_1.png").read_bytes() == OTHER
    assert names_in(tmp_path / "outside") == ["cover_1.png"]


async def test_one_sync_serves_all_names_given_before_it(tmp_path: Path) -> None:
    """Names that are given together are made durable together; one that comes during a sync waits for the next."""
    syncs, may_end = 0, asyncio.Event()

    async def run(step: Callable[[], None]) -> None:
        nonlocal syncs
        syncs += step.__name__ == "sync"
        await may_end.wait()
        step()

    sync = TargetFolder(ImageFolder(tmp_path, CHECKER), run)
    first = [asyncio.create_task(sync.wait_durable()) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = [asyncio.create_task(sync.wait_durable()) for _ in range(10)]
    await asyncio.sleep(0)
    assert syncs == 1
    may_end.set()
    await asyncio.gather(*first, *late)
    assert syncs == 2


@posix_only
def test_folder_that_vanishes(tmp_path: Path) -> None:
    """A folder that is removed while a picture arrives is reported, not made up for."""
    folder = tmp_path / "covers"
    folder.mkdir()
    transfer = begin(folder)
    transfer.take(PNG)
    shutil.rmtree(folder)
    with refused("folder_unwritable"):
        transfer.finish()
    transfer.discard()


FILL = """
import pathlib, resource, sys
from tests.image_fixtures import names_in, put
from suno_cover_cli.base.errors import ImageError

resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    put(pathlib.Path(sys.argv[1]))
except ImageError as error:
    print(error.code, error.hint, names_in(pathlib.Path(sys.argv[1])))
"""


@posix_only
def test_full_disk(tmp_path: Path) -> None:
    """When the system takes no more bytes, that is said, and the unfinished file makes room again."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "disk_full Free some space, then run suno-cover resume. []\n"


def test_discarded_file_stays_away(tmp_path: Path) -> None:
    """A write that comes after the end of its save does not bring the file back."""
    part = PartFile(tmp_path, "cover_1")
    part.append(PNG)
    part.discard()
    with pytest.raises(ValueError, match="discarded"):
        part.append(PNG)
    part.discard()
    assert names_in(tmp_path) == []


HOLD = """
import pathlib, signal, sys
from tests.image_fixtures import PNG, begin

transfer = begin(pathlib.Path(sys.argv[1]))
transfer.take(PNG[:1000])
print("held", flush=True)
signal.pause()
"""


@posix_only
def test_leftovers_of_dead_runs_are_swept(tmp_path: Path) -> None:
    """What a killed run left is removed by the next one, what a living run writes is not, nor what is not ours."""
    strangers = ["cover_1.notes.part", "cover_1.part", "cover_10.0123abcd.part"]
    for name in strangers:
        (tmp_path / name).write_text("my notes")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as living:
        assert living.stdout is not None
        assert living.stdout.readline() == "held\n"
        put(tmp_path, stem="cover_1")
        assert len(names_in(tmp_path)) == len(strangers) + 2
        living.kill()
    assert len(names_in(tmp_path)) == len(strangers) + 2
    assert find(tmp_path) is not None
    assert names_in(tmp_path) == sorted([*strangers, "cover_1.png"])


WRITE_ON = """
import itertools, pathlib, sys
from tests.image_fixtures import picture, put

body = picture(side=200)
for n in itertools.count():
    put(pathlib.Path(sys.argv[1]), body, f"cover_{n}")
    print(n, flush=True)
"""


@posix_only
@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=pytest.mark.long)])
def test_kill_at_any_moment(tmp_path: Path, kills: int) -> None:
    """Wherever a run is killed, every file that bears a final name is a whole picture."""
    for n in range(kills):
        folder = tmp_path / str(n)
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_ON, str(folder)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            while int(writer.stdout.readline()) < n % 20:
                pass
            writer.send_signal(signal.SIGKILL)
        named = [name for name in names_in(folder) if not name.endswith(".part")]
        assert len(named) > n % 20
        assert all(find(folder, name.removesuffix(".png")) for name in named)


def test_unexpected_system_errors_name_the_folder(tmp_path: Path) -> None:
    """Any other refusal of the system is told with its own words."""
    with refused("folder_unwritable") as info:
        put(tmp_path / ("a" * 300))
    assert os.strerror(errno.ENAMETOOLONG) in info.value.message
    assert isinstance(info.value, ImageError)
