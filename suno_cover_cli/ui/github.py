"""GitHub Actions: an annotation for each failed job and each warning, a summary of the jobs on the run's page.

The runner reads commands from every line of both streams: ``::error title=T::text`` at its start, blanks aside,
and the older ``##[error]text`` anywhere in it. Foreign text must never be one.
Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

import asyncio
import errno
import html
import os
import re
import stat
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from suno_cover_cli.base.errors import SunoCoverError, reason_of
from suno_cover_cli.base.events import Event, JobEnded, JobStarted, TunnelFailed, WarningRaised
from suno_cover_cli.base.models import JobResult
from suno_cover_cli.base.text import clean
from suno_cover_cli.ui.output import Output

_MAX_SUMMARY_BYTES = 1024 * 1024
"""What one step may write to its summary (documented)."""

_SUMMARY = "GITHUB_STEP_SUMMARY"
_MAX_FILES = 8
_LAST_LINE_BYTES = 200
_CELL_CHARACTERS = 1000
# What is markup within a cell: an underscore is none between letters. Addresses become links by themselves.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)


class GitHubReport:
    """A sink that annotates the run. An async context manager: leaving it writes the summary, however it is left.

    Args:
        output: Its stderr takes the annotations.
        environ: Names the file of the summary, ``GITHUB_STEP_SUMMARY``.
    """

    def __init__(self, output: Output, environ: Mapping[str, str]) -> None:
        self._output = output
        self._path = environ.get(_SUMMARY, "")
        self._names: dict[int, str] = {}
        self._rows: dict[int, str] = {}
        self._room_bytes = _MAX_SUMMARY_BYTES
        self._more = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._path or not self._rows:
            return
        try:
            await asyncio.to_thread(_append, self._path, self._table)
        except OSError as error:
            _report_unwritten(self._output, error)

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        match event:
            case JobStarted():
                self._names[event.job] = event.name
            case JobEnded():
                name = self._name_of(event)
                self._names.pop(event.job, None)
                error = event.result.error
                if error is not None:
                    self._output.annotate("error", f"{name}: {event.result.state}", error.message, error.hint)
                if self._path:
                    self._add_row(event.job, name, event.result)
            case WarningRaised():
                self._output.annotate("warning", "suno-cover", event.message, event.hint)
            case TunnelFailed(is_expected=False):
                self._output.annotate("warning", "suno-cover", event.message, event.hint)

    def _name_of(self, event: JobEnded) -> str:
        name = clean(self._names.get(event.job) or event.music_task_id or event.task_id or "job", 128)
        return name if event.result.title is None else f"{event.result.title} ({name})"

    def _add_row(self, job: int, name: str, result: JobResult) -> None:
        state = str(result.state)
        if result.error is not None:
            said = filter(None, [result.error.message.rstrip(". "), result.error.hint])
            state += self._output.complete(f": {'. '.join(said)}")
        files = [image.path for image in result.images[:_MAX_FILES]]
        files += [f"and {len(result.images) - _MAX_FILES} more"] if len(result.images) > _MAX_FILES else []
        # Before it is escaped: a secret with an escape in it would not be found.
        hide = self._output.redactor.redact
        cells = [_cell(hide(name)), _cell(hide(state)), "<br>".join(_cell(hide(file)) for file in files)]
        row = f"| {' | '.join(cells)} | {result.elapsed_s:.1f} |\n"
        self._room_bytes -= len(row.encode())
        # What has no room is counted: a batch of a hundred thousand must not fill the memory either.
        if self._room_bytes < 0:
            self._more += 1
        else:
            self._rows[job] = row

    def _table(self, room_bytes: int) -> str:
        """Make the summary, no longer than ``room_bytes``."""
        head = "### Covers\n\n| song | state | files | seconds |\n| --- | --- | --- | ---: |\n"
        parts, more = [head], self._more
        left = room_bytes - len(head) - _LAST_LINE_BYTES
        for _, row in sorted(self._rows.items()):
            left -= len(row.encode())
            if left < 0:
                more += 1
            else:
                parts.append(row)
        if more:
            parts.append(f"\nand {more} more: there is no room for them here.\n")
        return "".join(parts) + "\n" if room_bytes > len(head) + _LAST_LINE_BYTES else ""


def sum_up_failure(output: Output, error: SunoCoverError) -> None:
    """Append one line to the summary: what stopped the run outside of any job, and the next step. Blocks.

    Args:
        output: Its environment names the file of the summary; without one, or annotations, nothing is done.
        error: What the run ends with.
    """
    path = output.streams.environ.get(_SUMMARY, "")
    if not path or not output.annotates:
        return
    said = ". ".join(filter(None, [clean(error.message).rstrip(". "), clean(error.hint)]))
    # The empty line before it ends a table or a list that was written there.
    line = f"\n\nsuno-cover stopped: {_cell(output.shown(said))}\n\n"
    try:
        _append(path, lambda room_bytes: line if len(line.encode()) <= room_bytes else "")
    except OSError as problem:
        _report_unwritten(output, problem)


def _report_unwritten(output: Output, error: OSError) -> None:
    output.write_words(f"note       the job summary could not be written: {reason_of(error)}")


def _cell(text: str) -> str:
    """Return a text that is shown as it is in a cell of a Markdown table: no markup, no HTML, no second cell."""
    shown = _MARKDOWN.sub(r"\\\g<0>", html.escape(clean(text, _CELL_CHARACTERS), quote=False))
    return _ADDRESS.sub(lambda found: f"&#{ord(found[0])};", shown)


def _append(path: str, table: Callable[[int], str]) -> None:
    """Append to the file of the summary.

    Raises:
        OSError: As the system says, also of what is not a plain file: nothing may keep the run waiting.
    """
    # A pipe without a reader is refused at once instead of waited for.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        content = table(_MAX_SUMMARY_BYTES - found.st_size).encode()
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
