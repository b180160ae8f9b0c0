"""Fixtures for everybody: no blocking calls in our own code while a loop runs, an environment of one's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from tests.cli_fixtures import Cli, InProcess

pytest_plugins = ["tests.tunnel_fixtures"]


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    """Fail a test in which this package blocks the event loop."""
    with blockbuster_ctx("suno_cover_cli"):
        yield


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run the real program in an environment with an empty home and no settings."""
    return Cli(tmp_path)


@pytest.fixture
def in_process(tmp_path: Path) -> InProcess:
    """Run commands inside the test's own loop, against whatever clock the test hands in."""
    return InProcess(tmp_path)
