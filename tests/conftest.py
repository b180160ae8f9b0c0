"""Fixtures for everybody: no blocking calls in our own code while a loop runs, an environment of one's own."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

# Nobody is trusted but whom a test names. It is also quick: the authorities of a system take 30 ms to load, and
# aiohttp loads them when it is imported. Whom the machine trusts is put aside for the live test.
os.environ.setdefault("LIVE_SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE", ""))
os.environ["SSL_CERT_FILE"] = os.devnull

import pytest
from blockbuster import blockbuster_ctx

from tests.cli_fixtures import START_ENVIRON, Cli, InProcess
from tests.starter import Starter

pytest_plugins = ["tests.tunnel_fixtures", "tests.browser", "tests.gallery_pages"]


# Under nohup a hang-up is ignored, by whatever is started here too; the tests send some.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_MEMORY = Path("/dev/shm")  # noqa: S108 -- pytest makes a folder of its own there
_MEMORY_BYTES = 2 << 30


def pytest_configure() -> None:
    """Keep the tests' files in memory, if there is room: journals and covers are synced thousands of times."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


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
