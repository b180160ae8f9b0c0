"""Thousands of jobs in one command, and what one that waits costs."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.bench.lab import BenchError, Lab, Service
from tests.bench.processes import usage_of, wait_for_usage
from tests.bench.rows import Figure, Rounds, Row, Unit, at_least, at_most, ratio_at_most
from tests.bench.samples import Samples

_COVER_BYTES = 64 * 1024
_MIB = 1024 * 1024
_FLAT = 1.15


def measure_batch(lab: Lab) -> Rounds:
    """Batches of growing size, limiter off, every check and every durable step on."""
    # Whether time per job stays flat cannot be seen between sizes that the short form has time for.
    sizes = lab.choose((240,), (100, 700, 5000))
    rounds: list[dict[int, tuple[float, int]]] = []
    with lab.serve("--image-bytes", str(_COVER_BYTES)) as service:
        alone_s = min(_run_batch(lab, service, 1)[0] for _ in range(3))
        while True:
            # In turn, so that what slows the machine down for a while slows all sizes.
            rounds.append({size: _run_batch(lab, service, size) for size in sizes})
            yield list(_rows_of(rounds, sizes, alone_s))


def _rows_of(
    rounds: Sequence[Mapping[int, tuple[float, int]]], sizes: Sequence[int], alone_s: float
) -> Iterator[Row]:
    """Rows of batches.

    Args:
        rounds: By size, seconds and peak memory in bytes.
        sizes: Growing.
        alone_s: What one job takes, the start of the process included.
    """
    largest = sizes[-1]
    yield Row(
        figure=f"{largest:,} jobs in a batch, two 64 KiB covers each: jobs per second, whole process",
        unit=Unit.PER_SECOND,
        samples=Samples(ours=tuple(largest / runs[largest][0] for runs in rounds)),
        goal=at_least(100),
        note="the service runs on the same cores",
    )
    yield Row(
        figure=f"{largest:,} jobs in a batch: peak memory",
        unit=Unit.BYTES,
        samples=Samples(ours=tuple(float(runs[largest][1]) for runs in rounds)),
        goal=at_most(250 * _MIB),
    )
    # What the start of the process takes is no part of a job's time.
    job_s = {size: tuple((runs[size][0] - alone_s) / (size - 1) for runs in rounds) for size in sizes}
    for small, large in pairwise(sizes):
        yield Row(
            figure=f"time per job, {large:,} jobs",
            unit=Unit.SECONDS,
            samples=Samples(ours=job_s[large], baseline=job_s[small]),
            baseline=f"the same, {small:,} jobs",
            goal=ratio_at_most(_FLAT),
        )


def _run_batch(lab: Lab, service: Service, size: int) -> tuple[float, int]:
    """Run a batch to its end; return its seconds and its peak memory in bytes."""
    folder = lab.new_folder()
    begun = time.perf_counter()
    with _generate(lab, service, folder, size, "--json") as child:
        code, peak_bytes = wait_for_usage(child)
        took_s = time.perf_counter() - begun
    saved = sum(1 for _ in (folder / "covers").glob("*/cover_2.png"))
    if code != 0 or saved != size:
        raise BenchError(f"a batch of {size} ended with exit {code} and {saved} jobs saved")
    return took_s, peak_bytes


def measure_waiting_jobs(lab: Lab) -> Rounds:
    """Memory by which a process grows with each job that waits for its callback."""
    few, many = lab.choose((100, 800), (100, 2100))
    figure = f"memory per waiting job ({few:,} to {many:,} jobs)"
    grown: list[float] = []
    with lab.serve("--generation-time", "1h") as service:
        while True:
            sizes = [_memory_while_waiting(lab, service, count) for count in (few, many)]
            grown.append((sizes[1] - sizes[0]) / (many - few))
            yield [
                Row(figure=figure, unit=Unit.BYTES, samples=Samples(ours=tuple(grown)), goal=at_most(20 * 1024))
            ]


def _memory_while_waiting(lab: Lab, service: Service, count: int) -> int:
    """Return the resident bytes of a process all jobs of which are submitted and wait."""
    folder = lab.new_folder()
    options = ("--events", "--concurrency", str(count), "--poll-interval", "1h", "--timeout", "2h")
    with _generate(lab, service, folder, count, *options) as child:
        submitted, begun = 0, ""
        with (folder / "output").open() as lines:
            while submitted < count:
                text = lines.read()
                # What is read ends anywhere, also in the midst of a word: count whole lines only.
                whole, _, begun = (begun + text).rpartition("\n")
                submitted += whole.count('"job_submitted"')
                if not text:
                    if child.poll() is not None:
                        raise BenchError(f"a batch that was to wait ended with exit {child.returncode}")
                    time.sleep(0.05)
        time.sleep(1.0)  # for what is still under way to settle
        return usage_of(child.pid).memory_bytes


@contextmanager
def _generate(
    lab: Lab, service: Service, folder: Path, count: int, *options: str
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run ``generate`` over new ids, its words in ``output`` of the folder."""
    ids = folder / "ids"
    ids.write_text("".join(f"{lab.new_id()}\n" for _ in range(count)))
    arguments = ("generate", "-i", str(ids), "-o", str(folder / "covers"), "--rate", "off", "--quiet", *options)
    environ = lab.environ | service.environ | {"SUNO_COVER_STATE_DIR": str(folder / "state")}
    with (
        (folder / "output").open("w") as output,
        subprocess.Popen(
            lab.program(*arguments), env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as child,
    ):
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


FIGURES = (
    Figure(name="batch", measure=measure_batch, rounds=(1, 1)),
    Figure(name="waiting-jobs", measure=measure_waiting_jobs, rounds=(1, 2)),
)
