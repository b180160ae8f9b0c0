"""Fixtures for everybody: no blocking calls in our own code while a loop runs, an environment of one's own."""

import gc
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Nobody is trusted but whom a test names. It is also quick: the authorities of a system take 30 ms to load, and
# aiohttp loads them when it is imported. Whom the machine trusts is put aside for the live test.
os.environ.setdefault("LIVE_SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE", ""))
os.environ["SSL_CERT_FILE"] = os.devnull

import pytest
from blockbuster import blockbuster_ctx

from tests.cli_fixtures import START_ENVIRON, Cli, InProcess
from tests.starter import Starter

# Byte code is kept, also where PYTHONDONTWRITEBYTECODE says otherwise: without it each process of a run spends 8 s
# on rewriting the asserts of all test files.
sys.dont_write_bytecode = False

pytest_plugins = ["tests.tunnel_fixtures", "tests.browser", "tests.gallery_pages"]


# Under nohup a hang-up is ignored, by whatever is started here too; the tests send some.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_MEMORY = Path("/dev/shm")  # noqa: S108 -- pytest makes a folder of its own there
_MEMORY_BYTES = 2 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory, if there is room: journals and covers are synced thousands of times."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    # Workers collect all files in the same order, so each would compile them all: first each compiles its share.
    tests, worker = Path(__file__).parent, getattr(config, "workerinput", None)
    if worker is not None and [Path(word).resolve() for word in config.args] == [tests]:
        for path in sorted(tests.glob("test_*.py"))[int(worker["workerid"][2:]) :: worker["workercount"]]:
            with suppress(Exception, pytest.skip.Exception):  # collecting meets it again, and reports it
                importlib.import_module(f"tests.{path.stem}")


# What is loaded and collected stays to the end: it is not garbage, and looking for some takes time.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on look for garbage, but among what comes."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _no_blocking_calls() -> Iterator[None]:
    """Fail a test in which this package blocks the event loop."""
    with blockbuster_ctx("suno_cover_cli") as watch:
        # Coverage's own, taken by every thread that meets a file for the first time.
        watch.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
        yield


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    """Run the real program without loading its libraries each time."""
    with Starter({"PATH": os.environ["PATH"], **START_ENVIRON}) as starter:
        yield starter


@pytest.fixture
def cli(tmp_path: Path, starter: Starter) -> Cli:
    """Run the real program in an environment with an empty home and no settings."""
    return Cli(tmp_path, starter)


@pytest.fixture
def in_process(tmp_path: Path) -> InProcess:
    """Run commands inside the test's own loop, against whatever clock the test hands in."""
    return InProcess(tmp_path)
