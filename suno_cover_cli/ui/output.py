"""The product on stdout and the words for people on stderr, each with one owner.

stdout carries saved paths, ids or JSON lines and nothing else. It is written by a thread of its own, because a
reader that stands still must not stop callbacks from being answered. :mod:`sinks` turn events into lines.
"""

import errno
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import SunoCoverError, describe_unwritten
from suno_cover_cli.base.folders import seen_from
from suno_cover_cli.base.models import json_text
from suno_cover_cli.base.text import Redactor, clean, columns_of, fold, pad
from suno_cover_cli.ui.writer import LineWriter

_COMMAND = re.compile(r"^([ \t]*)::", re.MULTILINE)
# With less room than this beside a column of names, texts stand below them.
_LEAST_TEXT_CELLS = 34


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """Streams and terminal facts, handed in once instead of looked up everywhere.

    Attributes:
        stdin: Binary standard input.
        stdout: Binary standard output.
        stderr: Text standard error.
        stdout_is_terminal: A person looks at stdout.
        stderr_is_terminal: A person looks at stderr.
        are_one: Both lead to the same place, a terminal or a log, where the order of their lines is seen.
        environ: The environment.
    """

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: TextIO
    stdout_is_terminal: bool
    stderr_is_terminal: bool
    environ: Mapping[str, str]
    are_one: bool = False

    @property
    def draws(self) -> bool:
        """Whether stderr is a terminal that can be drawn on."""
        return self.stderr_is_terminal and self.environ.get("TERM") != "dumb"


def standard_streams() -> Streams:
    """Return this process's own streams."""
    return Streams(
        stdin=sys.stdin.buffer,
        stdout=sys.stdout.buffer,
        stderr=sys.stderr,
        stdout_is_terminal=sys.stdout.isatty(),
        stderr_is_terminal=sys.stderr.isatty(),
        environ=os.environ,
        are_one=_are_one(sys.stdout, sys.stderr),
    )


def _are_one(stdout: TextIO, stderr: TextIO) -> bool:
    try:
        return os.path.sameopenfile(stdout.fileno(), stderr.fileno())
    except (OSError, ValueError):
        return False


def error_object(error: SunoCoverError) -> dict[str, Any]:
    """Make the object that ``--json`` prints for a failure outside any job."""
    return {
        "v": 1,
        "type": "error",
        "code": error.code,
        "message": clean(error.message),
        "hint": error.hint,
    }


class Output:
    """Both streams of one command.

    Args:
        streams: Where things go.
        clock: Stamps events.
        is_json: Failures outside a job are printed as objects too.
        is_quiet: No words for people except errors.

    Attributes:
        annotates: Errors are annotations of a GitHub Actions run, too.
        complete: Completes the commands that a text for people names.
        here: The folder you are in, once it is known: paths below it are printed from there.
    """

    def __init__(self, streams: Streams, *, clock: Clock, is_json: bool = False, is_quiet: bool = False) -> None:
        self.streams = streams
        self.clock = clock
        self.is_json = is_json
        self.is_quiet = is_quiet
        self.redactor = Redactor()
        self.here: Path | None = None
        self.complete: Callable[[str], str] = lambda text: text
        self.on_closed: Callable[[], None] = lambda: None
        # Whatever the settings say of annotations, the runner of GitHub Actions reads commands from our lines.
        self._is_in_actions = streams.environ.get("GITHUB_ACTIONS") == "true"
        self.annotates = self._is_in_actions
        self._writer = LineWriter(streams.stdout, self._report_closed)

    def check_product(self) -> None:
        """Find out before anything is submitted that the product has no way out.

        Raises:
            SunoCoverError: stdout was closed by the caller, or is open for reading only.
        """
        try:
            os.write(self.streams.stdout.fileno(), b"")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.EBADF:
                self.is_json = False  # an object has no way out either
                raise SunoCoverError(
                    describe_unwritten(error),
                    code="stdout_closed",
                    hint="Nothing was submitted. Send it to a file, a pipe or /dev/null.",
                ) from None

    def write_line(self, line: str) -> None:
        """Print one line of the product."""
        self._writer.write_line(self.guarded(self.redactor.redact(line)))

    def write_row(self, line: str, *, hang: int = 0) -> None:
        """Print one line that people read of the product, folded where a terminal has no room for it."""
        for part in fold(line, self.product_columns, " " * hang):
            self.write_line(part)

    def seen(self, path: Path) -> Path:
        """Return a path as it is printed, see :func:`~suno_cover_cli.base.folders.seen_from`."""
        return seen_from(self.here, path)

    def write_pair(self, name: str, text: str, *, width: int) -> None:
        """Print a name and what there is to say of it, in two columns, or below it on a narrow terminal.

        Args:
            name: Stands first.
            text: Of it.
            width: Of the column of names.
        """
        columns = self.product_columns
        if columns and columns - width < _LEAST_TEXT_CELLS:
            self.write_row(name)
            for part in fold(f"    {text}", columns, " " * 4):
                self.write_line(part)
        else:
            self.write_row(f"{pad(name, width)}{text}", hang=width)

    def shown(self, text: str) -> str:
        """Return words for people without secrets, the commands in them as you would have to type them."""
        return self.redactor.redact(self.complete(text))

    def guarded(self, text: str) -> str:
        """Return text that holds no command for the runner of GitHub Actions, where that is what reads it."""
        if not self._is_in_actions or not ("::" in text or "##[" in text):
            return text
        # JSON stays the same JSON; in words a blank does no harm.
        text = text.replace("##[", "\\u0023#[" if text.startswith("{") else "## [")
        return _COMMAND.sub(r"\1: :", text)

    @property
    def product_columns(self) -> int:
        """The width of the terminal that is stdout; 0 where it is none and nothing has to fit."""
        streams = self.streams
        return columns_of(streams.stdout, streams.environ) if streams.stdout_is_terminal else 0

    @property
    def words_columns(self) -> int:
        """The width of the terminal that is stderr; 0 where it is none and nothing has to fit."""
        streams = self.streams
        return columns_of(streams.stderr, streams.environ) if streams.stderr_is_terminal else 0

    def write_words(self, line: str, *, hang: int = 0) -> None:
        """Print one line for people; a stderr that is gone stops nothing.

        Args:
            line: Folded where a terminal has no room for it.
            hang: Blanks before what is folded.
        """
        if self.streams.are_one:
            # Two writers of one terminal would overtake each other.
            self._writer.drain()
        try:
            for part in fold(self.shown(line), self.words_columns, " " * hang):
                self.streams.stderr.write(self.guarded(part) + "\n")
            self.streams.stderr.flush()
        except (OSError, ValueError):
            self.is_quiet = True

    def write_labelled(self, label: str, text: str) -> None:
        """Print ``label: text`` for people; what is folded stands below the text."""
        self.write_words(f"{label}: {text}", hang=len(label) + 2)

    def write_error(self, error: SunoCoverError, **about: str) -> None:
        """Report an error and the next step to take; under ``--json`` on stdout as well.

        Args:
            error: What to report.
            about: Keys of the object that say which of several inputs it belongs to.
        """
        if self.is_json:
            self.write_line(json_text({**error_object(error), "hint": self.complete(error.hint), **about}))
        self.write_labelled("error", clean(error.message))
        if error.hint:
            self.write_labelled("hint", error.hint)
        self.annotate("error", "suno-cover", error.message, error.hint)

    def annotate(self, kind: Literal["error", "warning"], title: str, message: str, hint: str = "") -> None:
        """Annotate a GitHub Actions run; does nothing anywhere else."""
        if not self.annotates:
            return
        text = "\n".join(filter(None, [clean(message), clean(self.complete(hint))]))
        try:
            self.streams.stderr.write(
                annotation(kind, self.redactor.redact(clean(title, 200)), self.redactor.redact(text)) + "\n"
            )
            self.streams.stderr.flush()
        except (OSError, ValueError):
            self.is_quiet = True

    def _report_closed(self) -> None:
        self.on_closed()

    @property
    def is_closed(self) -> bool:
        """Whether no more can be written to stdout: its reader is gone, or there is a :attr:`failure`."""
        return self._writer.is_closed

    @property
    def failure(self) -> OSError | None:
        """Why stdout cannot be written although its reader did not leave, such as a full disk."""
        return self._writer.failure

    @property
    def waiting_bytes(self) -> int:
        """How much of the product the reader of stdout has still to take."""
        return self._writer.waiting_bytes

    async def wait_written(self) -> None:
        """Wait until the product so far is written; two seconds at most, as a reader may stand still."""
        await self._writer.wait_written()

    def finish(self, timeout_s: float | None = None) -> None:
        """Wait until stdout is written."""
        self._writer.finish(timeout_s)


def annotation(kind: Literal["error", "warning"], title: str, text: str) -> str:
    """Return the command for one annotation of GitHub Actions; nothing in it can end it or begin another."""
    return f"::{kind} title={_escaped(title, is_property=True)}::{_escaped(text)}"


def _escaped(text: str, *, is_property: bool = False) -> str:
    shown = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return shown.replace(":", "%3A").replace(",", "%2C") if is_property else shown
