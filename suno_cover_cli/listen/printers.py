"""Where ``listen`` prints: its product, and words for people, neither of which may ever hold up an answer.

A terminal that was stopped with Ctrl-S, or a reader that stands still, takes nothing for as long as it likes.
Both streams are therefore written by threads, and what waits for them is bounded.
"""

from collections.abc import Callable
from typing import TextIO

import msgspec

from suno_cover_cli.ui.choice import Paint
from suno_cover_cli.ui.output import Output
from suno_cover_cli.ui.words import LABEL_CHARS, Line
from suno_cover_cli.ui.writer import LineWriter

_MAX_PRODUCT_BYTES = 16 * 1024 * 1024
MAX_WORDS_BYTES = 1024 * 1024
_FINISH_S = 1.0


class ProductPrinter:
    """Prints lines of the product; those that come before the first one is due are held back.

    Args:
        write_line: Queues text for the stream.
        waiting_bytes: How much of it the stream has not taken.
        on_dropped: Told how many lines were not printed, once the stream takes some again.
        max_waiting_bytes: Above this, lines are dropped.
    """

    def __init__(
        self,
        write_line: Callable[[str], None],
        waiting_bytes: Callable[[], int],
        *,
        on_dropped: Callable[[int], None],
        max_waiting_bytes: int = _MAX_PRODUCT_BYTES,
    ) -> None:
        self._write_line = write_line
        self._waiting_bytes = waiting_bytes
        self._on_dropped = on_dropped
        self._max_waiting_bytes = max_waiting_bytes
        self._dropped = 0
        self._held: list[tuple[str, int]] | None = []
        self._held_bytes = 0

    def begin(self, first: str | None) -> None:
        """Print the first line, and whatever waited for it."""
        if first is not None:
            self._write_line(first)
        held, self._held = self._held, None
        for text, lines in held or ():
            self.write(text, lines)

    def write(self, text: str, lines: int) -> None:
        """Print so many lines, in one piece."""
        if self._held is not None:
            self._held_bytes += len(text)
            if self._held_bytes <= self._max_waiting_bytes:
                self._held.append((text, lines))
            else:
                self._dropped += lines
        elif self._waiting_bytes() > self._max_waiting_bytes:
            self._dropped += lines
        else:
            self.report_dropped()
            self._write_line(text)

    def report_dropped(self) -> None:
        """Say what is missing, if anything is."""
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._on_dropped(dropped)


class WordsPrinter:
    """Prints lines for people on stderr.

    Args:
        output: Of the command.
        paint: For where they go.
        print_text: Prints them elsewhere, in the order of what is printed there.
    """

    def __init__(self, output: Output, *, paint: Paint, print_text: Callable[[str], None] | None = None) -> None:
        self._output = output
        self._paint = paint
        self._writer = LineWriter(_Encoded(output.streams.stderr), on_closed=lambda: None)  # type: ignore[arg-type]
        self._print = print_text or self.print_text

    def say(self, line: Line) -> None:
        """Print one line, folded where the terminal has no room for it; never blocks."""
        line = msgspec.structs.replace(line, text=self._output.complete(line.text))
        text = "\n".join(line.folded(self._output.words_columns))
        self._print(f"{self._paint(text[:LABEL_CHARS], line.tone)}{text[LABEL_CHARS:]}")

    def break_line(self) -> None:
        """Begin a new line; never blocks."""
        self._print("")

    def print_text(self, text: str) -> None:
        """Print text on stderr, unless very much is waiting there already; never blocks."""
        if self._writer.waiting_bytes < MAX_WORDS_BYTES:
            lines = self._output.redactor.redact(text).split("\n")
            self._writer.write_line("\n".join(map(self._output.guarded, lines)))

    def waiting_bytes(self) -> int:
        """How much stderr has still to take."""
        return self._writer.waiting_bytes

    async def wait_written(self) -> None:
        """Wait until all so far is said, or a moment."""
        await self._writer.wait_written()

    def finish(self) -> None:
        """Wait until all is said, a moment at most."""
        self._writer.finish(_FINISH_S)


class _Encoded:
    """A text stream as the binary one that a writer of lines expects."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Write text."""
        self._stream.write(data.decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        """Let it be seen."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the descriptor behind it."""
        return self._stream.fileno()
