"""From the callback to files with their final names, and many files from a server that is far away."""

import json
import os
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from suno_cover_cli.base.files import sync_folder
from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.images.check import ImageChecker
from tests.bench.figures.commands import submit
from tests.bench.lab import BenchError, Lab, Service, read_line
from tests.bench.relay import Relay
from tests.bench.rows import Figure, Rounds, Row, Unit, one_row, ratio_at_most
from tests.bench.samples import Samples, measure_pairs, settle

_COVER_BYTES = 2 * 1024 * 1024
_COVERS = 200
_GENERATION_S = 0.3
_CONNECTIONS = 16
_CONTENT_TYPE = "Content-Type: application/json"


def measure_callback_to_covers(lab: Lab) -> Rounds:
    """Wait for a callback like any job, then be quick."""
    curl = lab.tool("curl")
    with lab.serve("--image-bytes", str(_COVER_BYTES), "--generation-time", f"{_GENERATION_S}s") as service:
        task_id = submit(service, lab.new_id())
        time.sleep(_GENERATION_S + 0.1)  # the baseline's job is done once for all pairs
        folder = lab.new_folder()
        covers = [folder / "1.png", folder / "2.png"]
        explains = lab.choose(False, True)
        checked: list[float] = []

        def baseline() -> float:
            begun = time.perf_counter()
            address = f"{service.url}/api/v1/suno/cover/record-info?{urlencode({'taskId': task_id})}"
            key = f"Authorization: Bearer {service.key}"
            told = subprocess.run(
                [curl, "-sS", "-f", "-H", key, "-H", _CONTENT_TYPE, address], capture_output=True, check=True
            )
            urls = json.loads(told.stdout)["data"]["response"]["images"]
            outputs = [word for url, cover in zip(urls, covers, strict=True) for word in ("-o", str(cover), url)]
            subprocess.run(
                [curl, "-sS", "-f", "--parallel", "--parallel-immediate", *outputs],
                capture_output=True,
                check=True,
            )
            took_s = time.perf_counter() - begun
            if explains:
                settle()
                checked.append(took_s + _check_alone(covers))
            return took_s

        for samples in measure_pairs(lambda: _save_after_callback(lab, service), baseline):
            bare = Row(
                figure="callback arrives \N{RIGHTWARDS ARROW} both 2 MiB covers checked and renamed",
                unit=Unit.SECONDS,
                samples=samples,
                baseline="one GET + `curl --parallel`, no check, nothing durable",
                goal=ratio_at_most(1.2),
            )
            fair = Row(
                figure="\N{HORIZONTAL ELLIPSIS} against a baseline that makes the same checks",
                unit=Unit.SECONDS,
                samples=Samples(ours=samples.ours, baseline=tuple(checked[1:])),
                baseline="the same curl, then both files decoded, hashed and synced in two threads",
            )
            yield [bare, fair] if explains else [bare]


def _save_after_callback(lab: Lab, service: Service) -> float:
    """Return the seconds from the callback's first byte at the public address to the second path on stdout."""
    with Relay() as relay:
        options = ("--public-url", relay.url, "--listen-port", str(relay.target_port), "-o", str(lab.new_folder()))
        with lab.process(lab.program("generate", *options, lab.new_id()), service.environ) as waiting:
            paths = [read_line(waiting) for _ in range(2)]
            took_s = time.perf_counter() - relay.called_at
            if waiting.wait() != 0 or sum(Path(path).stat().st_size for path in paths) != 2 * _COVER_BYTES:
                raise BenchError("generate did not save both covers")
    return took_s


def _check_alone(paths: list[Path]) -> float:
    """Decode, hash and sync files that are there, as the downloader does; return the seconds."""
    checker = ImageChecker(ChildEnviron(dict(os.environ)))
    contents = [path.read_bytes() for path in paths]

    def check(n: int) -> None:
        copy = paths[n].with_suffix(".copy")
        with copy.open("w+b") as file:
            file.write(contents[n])
            checker.check(file)
            file.flush()
            os.fsync(file.fileno())
            sync_folder(copy.parent)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(abs, range(2)))  # the threads exist
        begun = time.perf_counter()
        list(threads.map(check, range(2)))
        return time.perf_counter() - begun


def measure_many_covers(lab: Lab, tool: str) -> Rounds:
    """Download covers that each take 50 ms to begin, with the same number of connections as the baseline."""
    with lab.serve() as service:
        task_ids = [submit(service, lab.new_id("image-slow")) for _ in range(_COVERS // 2)]
        urls = [url for task_id in task_ids for url in _image_urls(service, task_id)]
        command = _download_command(lab, tool, urls)
        yield from one_row(
            measure_pairs(partial(_save_many, lab, urls), partial(lab.run, command), warm_up=False),
            figure=f"{_COVERS} covers, server with 50 ms latency, {_CONNECTIONS} connections",
            unit=Unit.SECONDS,
            baseline=f"`{tool} {'-j' if tool == 'aria2c' else '--parallel'}`, no check",
            goal=ratio_at_most(1.1),
        )


def _save_many(lab: Lab, urls: list[str]) -> float:
    command = lab.subject("save_covers", str(lab.new_folder()), str(_CONNECTIONS))
    done = subprocess.run(
        command, input="\n".join(urls), env=lab.environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchError(done.stderr[-2000:])
    return float(done.stdout)


def _download_command(lab: Lab, tool: str, urls: list[str]) -> list[str]:
    """Return the command line that downloads all; each run replaces the files of the one before."""
    folder = lab.new_folder()
    if tool == "aria2c":
        names = [line for n, url in enumerate(urls) for line in (url, f"  out=cover_{n}.png")]
        (folder / "list").write_text("\n".join(names))
        quiet = ("-q", "--no-conf", "--allow-overwrite=true", "--auto-file-renaming=false")
        one_each = ("-x1", "-s1", f"-j{_CONNECTIONS}")
        return [lab.tool(tool), *quiet, *one_each, "-d", str(folder), "-i", str(folder / "list")]
    lines = [f'url = "{url}"\noutput = "{folder / f"cover_{n}.png"}"' for n, url in enumerate(urls)]
    (folder / "list").write_text("\n".join(lines))
    crowd = ("--parallel", "--parallel-immediate", "--parallel-max", str(_CONNECTIONS))
    return [lab.tool(tool), "-sS", "-f", *crowd, "-K", str(folder / "list")]


def _image_urls(service: Service, task_id: str) -> list[str]:
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"}
    address = f"{service.url}/api/v1/suno/cover/record-info?{urlencode({'taskId': task_id})}"
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:  # noqa: S310 -- this machine
        return list(json.load(answer)["data"]["response"]["images"])


FIGURES = (
    Figure(name="callback-to-covers", measure=measure_callback_to_covers, rounds=(4, 25)),
    Figure(name="many-covers", measure=partial(measure_many_covers, tool="aria2c"), rounds=(3, 11)),
    Figure(name="many-covers-curl", measure=partial(measure_many_covers, tool="curl"), rounds=(0, 11)),
)
