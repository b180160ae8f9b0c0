"""Images alone: what is left to do after the last byte, many small ones, and what the worst of them cost."""

import io
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.lab import BenchError, Lab, read_line
from tests.bench.rows import Figure, Goal, Rounds, Row, Unit, at_most, at_most_above, one_row, ratio_at_most
from tests.bench.samples import Samples, measure_pairs

_KIB, _MIB = 1024, 1024 * 1024
_MBIT_PER_S = 100
_AT_ONCE = 8
_PICTURE_MIB = 200  # images.decoding.MAX_MEMORY_BYTES; a bound that follows what it bounds would prove nothing
_GIVE_UP_S = 30.0


@contextmanager
def _host(lab: Lab, size_bytes: int, mbit_per_s: float) -> Iterator[str]:
    with lab.process(lab.subject("image_server", str(size_bytes), str(mbit_per_s))) as server:
        yield f"http://127.0.0.1:{read_line(server)}"


def measure_after_last_byte(
    lab: Lab, *, count: int, size_bytes: int, mbit_per_s: float, goal: Goal, figure: str
) -> Rounds:
    """Save covers from one host as a job does, and download the same with curl, which looks at nothing."""
    curl = lab.tool("curl")
    with _host(lab, size_bytes, mbit_per_s) as address:
        urls = [f"{address}/{n}.png" for n in range(count)]
        folder = lab.new_folder()
        lines = [f'url = "{url}"\noutput = "{folder / str(n)}"' for n, url in enumerate(urls)]
        (folder / "list").write_text("\n".join(lines))
        command = [curl, "-sS", "-f", "--parallel", "--parallel-immediate", "-K", str(folder / "list")]
        yield from one_row(
            measure_pairs(partial(_save, lab, urls), partial(lab.run, command)),
            figure=figure,
            unit=Unit.SECONDS,
            baseline="`curl --parallel`, no check, nothing durable",
            goal=goal,
        )


def _save(lab: Lab, urls: list[str]) -> float:
    command = lab.subject("save_covers", str(lab.new_folder()), "16", str(_AT_ONCE))
    done = subprocess.run(
        command, input="\n".join(urls), env=lab.environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchError(done.stderr[-2000:])
    return float(done.stdout)


def measure_costs(lab: Lab) -> Rounds:
    """Check the pictures that take most, one process each."""
    folder = lab.new_folder()
    pictures: dict[str, Callable[[], bytes]] = {
        "PNG, 49 million pixels of 16 bits": _large_png,
        "JPEG, 49 million pixels": partial(_flat, "JPEG", 7000, subsampling=0),
        "progressive JPEG, 49 million pixels": partial(_flat, "JPEG", 7000, subsampling=2, progressive=True),
        "WebP, 17 million pixels": partial(_flat, "WEBP", 4090, method=0),
        "AVIF, see-through, 12 million pixels": partial(
            _flat, "AVIF", 3400, "RGBA", speed=10, subsampling="4:4:4"
        ),
    }
    for n, make in enumerate(pictures.values()):
        (folder / str(n)).write_bytes(make())
    (folder / "slow").write_bytes(_many_scans())
    while True:
        rows = []
        for n, name in enumerate(pictures):
            told, _, peak_bytes = _check(lab, folder / str(n))
            rows.append(
                Row(
                    figure=f"most memory for {name}",
                    unit=Unit.BYTES,
                    samples=Samples(ours=(peak_bytes,)),
                    goal=at_most(_PICTURE_MIB * _MIB),
                    note=f"ended as: {told}",
                )
            )
        told, took_s, _ = _check(lab, folder / "slow")
        slow = Row(
            figure="until a JPEG of 10,000 scans over 6 million pixels is given up",
            unit=Unit.SECONDS,
            samples=Samples(ours=(took_s,)),
            goal=at_most(_GIVE_UP_S),
            note=f"ended as: {told}",
        )
        yield [*rows, slow]


def _check(lab: Lab, path: Path) -> tuple[str, float, float]:
    command = lab.subject("picture_cost", str(path))
    done = subprocess.run(command, env=lab.environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr[-2000:])
    told, took_s, peak_bytes = done.stdout.split()
    return told, float(took_s), float(peak_bytes)


def _flat(image_format: str, side: int, mode: str = "RGB", **options: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new(mode, (side, side), (200, 90, 10, 128)[: len(mode)]).save(file, image_format, **options)
    return file.getvalue()


def _large_png() -> bytes:
    side = 7000
    squeezer = zlib.compressobj(1)
    pixels = b"".join([*(squeezer.compress(bytes(1 + side * 8)) for _ in range(side)), squeezer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _many_scans() -> bytes:
    body = _flat("JPEG", 2450, "L", progressive=True)[:-2]
    return body + body[body.rindex(b"\xff\xda") :] * 10_000 + b"\xff\xd9"


FIGURES = (
    Figure(
        name="two-covers-100-mbit",
        measure=partial(
            measure_after_last_byte,
            count=2,
            size_bytes=2 * _MIB,
            mbit_per_s=_MBIT_PER_S,
            goal=at_most_above(0.015),
            figure="two covers of 2 MiB at 100 Mbit/s, checked and durable",
        ),
        rounds=(4, 15),
    ),
    Figure(
        name="large-cover-100-mbit",
        measure=partial(
            measure_after_last_byte,
            count=1,
            size_bytes=16 * _MIB,
            mbit_per_s=_MBIT_PER_S,
            goal=at_most_above(0.025),
            figure="one cover of 16 MiB at 100 Mbit/s, checked and durable",
        ),
        rounds=(3, 11),
    ),
    Figure(
        name="two-covers-loopback",
        measure=partial(
            measure_after_last_byte,
            count=2,
            size_bytes=2 * _MIB,
            mbit_per_s=0,
            goal=ratio_at_most(1.5),
            figure="two covers of 2 MiB without a brake, checked and durable",
        ),
        rounds=(4, 25),
    ),
    Figure(
        name="small-covers",
        measure=partial(
            measure_after_last_byte,
            count=50,
            size_bytes=33 * _KIB,
            mbit_per_s=0,
            goal=at_most_above(0.05),
            figure="50 covers of 33 KiB of one job, checked and durable",
        ),
        rounds=(4, 25),
    ),
    Figure(name="picture-costs", measure=measure_costs, rounds=(1, 1)),
)
