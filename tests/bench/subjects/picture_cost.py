"""Checks one picture and prints what became of it, the seconds it took and the most memory, here or in a decoder.

``picture_cost.py FILE``; memory is counted in bytes, beyond what a tiny picture of its kind takes.
"""

import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.images.check import ImageChecker

_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def peak_bytes() -> int:
    """Return the most memory this process has had.

    Linux counts what a process had before it became this program into its resource usage, but not into its status.
    """
    status = Path("/proc/self/status")
    if status.exists() and (match := _PEAK.search(status.read_text())):
        return int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT_BYTES


def main(path: Path) -> None:
    """Check it as it would be checked when it comes."""
    checker = ImageChecker(ChildEnviron(dict(os.environ)))
    with tempfile.TemporaryFile() as tiny:
        Image.new("RGB", (8, 8)).save(tiny, Image.open(path).format)
        checker.check(tiny)
    before, before_there = peak_bytes(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    begun = time.perf_counter()
    with path.open("rb") as file:
        try:
            told = checker.check(file).format.value
        except ImageError as error:
            told = error.code
    took_s = time.perf_counter() - begun
    there = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before_there
    sys.stdout.write(f"{told} {took_s} {max(peak_bytes() - before, there * _UNIT_BYTES)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
