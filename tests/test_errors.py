"""The words for why a connection could not be made."""

import asyncio
import errno
import os
import socket

import pytest

from suno_cover_cli.base.errors import reason_of


async def test_a_refused_connection_is_told_in_the_systems_words() -> None:
    """Asyncio's own text for a port where nobody listens, with its number and address, is not shown."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="Connect call failed") as raised:
            await asyncio.open_connection("127.0.0.1", reserved.getsockname()[1])
    assert reason_of(raised.value) == os.strerror(errno.ECONNREFUSED)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 9), [Errno 113] ..."),
            os.strerror(111),
        ),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (socket.gaierror(8, "nodename nor servname provided"), "nodename nor servname provided"),
        (OSError(), "no reason given"),
        (OSError("Connect call failed"), "Connect call failed"),
    ],
)
def test_each_shape_of_reason_has_words(error: OSError, words: str) -> None:
    """Several addresses at once, names that are not known, and errors without a word are told."""
    assert reason_of(error) == words
