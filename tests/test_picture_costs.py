"""What a picture may cost: memory and time have bounds that no file can move."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from suno_cover_cli.images.check import ImageChecker
from suno_cover_cli.images.decoding import Stop, StoppedError
from suno_cover_cli.images.jpeg import JpegCheck
from suno_cover_cli.images.kinds import ImageFormat, TooManyPixelsError
from tests.image_fixtures import ENVIRON
from tests.picture_corpus import EOI, png, saved

MIB = 1024 * 1024
BOUND_MIB = 200
POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="Windows counts memory elsewhere")

MEASURE = """
import os, re, resource, sys
from pathlib import Path
from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.images.check import ImageChecker

checker = ImageChecker(os.environ)

def peak():
    # Linux counts what a process had before it became this program into its resource usage, not into its status.
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search("VmHWM:\\s+(\\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
with open(sys.argv[1], "rb") as file:
    try:
        told = checker.check(file).format.value
    except ImageError as error:
        told = error.code
print(told, peak() - before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_KIB = 1 if sys.platform == "linux" else 1024


def measure(path: Path) -> tuple[str, float, float]:
    """Check a file in a process of its own; return what came of it, and MiB taken there and in its decoder."""
    command = [sys.executable, "-c", MEASURE, str(path)]
    told, here, there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return told, int(here) / 1024 / _KIB, int(there) / 1024 / _KIB


def scans(side: int, count: int) -> bytes:
    """Return a small JPEG of one scan after the other, each of which goes over all of a large picture."""
    body = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True).removesuffix(EOI)
    return body + body[body.rindex(b"\xff\xda") :] * count + EOI


@POSIX_ONLY
@pytest.mark.parametrize(
    ("name", "told", "limit_mib"),
    [
        ("large.png", "png", 16),
        ("large.jpg", "jpeg", BOUND_MIB),
        ("large.webp", "webp", BOUND_MIB),
        ("huge.avif", "image_too_many_pixels", 60),
    ],
)
def test_memory_of_a_picture_is_bounded(tmp_path: Path, name: str, told: str, limit_mib: int) -> None:
    """The largest pictures of each format take no more than is promised, whether they are taken or refused."""
    path = tmp_path / name
    side = {"large.png": 7_000, "large.jpg": 6_000, "large.webp": 4_000}.get(name, 6_900)
    image = Image.new("RGB", (side, side), "teal")
    options: dict[str, Any] = {"huge.avif": {"speed": 10}, "large.png": {"compress_level": 1}}.get(
        name, {"quality": 1}
    )
    image.save(path, **options)
    ended, here_mib, there_mib = measure(path)
    assert ended == told
    assert here_mib < limit_mib
    assert there_mib < limit_mib + 40  # an interpreter and a library of its own


def test_scans_without_end_are_refused() -> None:
    """A small JPEG of thousands of scans is given up after as much work as it is worth; one of some is taken."""
    body = scans(400, 200)
    check = JpegCheck(50_000_000, lambda: None)
    check.feed(body)
    assert check.finish() == (400, 400)
    with pytest.raises(TooManyPixelsError, match="scans"):
        JpegCheck(50_000_000, lambda: None, max_visits=200 * 50 * 50).feed(body)


def test_a_check_ends_between_scans() -> None:
    """A check that is no longer wanted ends within one scan, however many are to come."""
    stop, body = Stop(), scans(2_000, 300)
    checker = ImageChecker(ENVIRON).begin(stop)
    outcome: list[object] = []

    def look() -> None:
        try:
            checker.feed(body)
        except StoppedError as error:
            outcome.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert len(outcome) == 1


def test_a_decoder_ends_with_its_check() -> None:
    """The program that decodes for a check is ended with it, at once and also when it is only just starting."""
    for is_early in (False, True):
        stop = Stop()
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=-1
        )
        assert child.stdout is not None
        if is_early:
            stop.set()
        with stop.ending(child):
            if not is_early:
                assert child.stdout.readline() == b"\n"
                threading.Thread(target=stop.set).start()
            child.stdout.read()
        assert child.returncode not in {None, 0}
        child.stdout.close()


def test_no_decoder_is_left_behind() -> None:
    """A stopped check of a WebP raises and leaves no file, no thread and no program at work."""
    stop = Stop()
    check = ImageChecker(ENVIRON).begin(stop)
    body = saved(Image.new("RGB", (400, 400)), "WEBP")
    with tempfile.TemporaryFile() as file:
        file.write(body)
        check.feed(body)
        stop.set()
        with pytest.raises(StoppedError):
            check.finish(file)


def test_pixels_have_a_limit_in_every_format() -> None:
    """More pixels than allowed are refused by what a file says of itself."""
    with tempfile.TemporaryFile() as file:
        for image_format in ImageFormat:
            body = saved(Image.new("RGB", (64, 64)), image_format.value.upper())
            file.seek(0)
            file.truncate()
            file.write(body)
            with pytest.raises(TooManyPixelsError):
                ImageChecker(ENVIRON, max_pixels=64 * 64 - 1).check(file)
            assert ImageChecker(ENVIRON, max_pixels=64 * 64).check(file).width == 64


def test_rows_of_one_byte_cost_no_more_than_others() -> None:
    """A PNG of a million rows is looked at in whole stretches, not row by row."""
    body = png(0, 1, size=(1, 1_000_000))
    began_s = time.thread_time()
    with tempfile.TemporaryFile() as file:
        file.write(body)
        assert ImageChecker(ENVIRON).check(file).height == 1_000_000
    assert time.thread_time() - began_s < 2
