"""The agent's log as lines, whatever bytes are between them."""

from collections.abc import Iterator
from io import BufferedReader
from typing import IO, cast

_MAX_LINE_CHARS = 64 * 1024


def read_lines(stream: IO[str]) -> Iterator[str]:
    """Yield each line of a log until it ends; bytes that are no text appear as replacement characters.

    pyngrok opens the agent's output as strict text. Such a stream throws away all it has read together with a bad
    byte, up to 8 KiB: it may hold the lines that tell of a loss. The error still has those bytes.

    Args:
        stream: Blocks while the agent says nothing. Longer lines than 64 Ki characters come in pieces.
    """
    begun = ""
    while True:
        try:
            text = stream.readline(_MAX_LINE_CHARS)
        except UnicodeDecodeError as error:
            *whole, begun = (begun + error.object.decode(errors="replace")).split("\n")
            yield from whole
            begun = begun[-_MAX_LINE_CHARS:]
            # The half of a character at the very end is an error at every further read.
            if cast("BufferedReader", getattr(stream, "buffer")).peek(1):  # noqa: B009 -- IO[str] does not tell of it
                continue
            text = ""
        if begun or text:
            yield begun + text
        if not text:
            return
        begun = ""
