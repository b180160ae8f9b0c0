"""``doctor``: look at everything a job needs, change nothing, name the fix."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import json_text
from suno_cover_cli.base.text import fold
from suno_cover_cli.doctor.callbacks import check_callbacks
from suno_cover_cli.doctor.checks import CheckResult, Doctor, Status, Subject, load_subject
from suno_cover_cli.doctor.machine import check_folders, check_setup
from suno_cover_cli.doctor.options import DoctorOptions
from suno_cover_cli.doctor.service import check_images, check_service
from suno_cover_cli.ui.choice import choose_paint
from suno_cover_cli.ui.output import Output
from suno_cover_cli.wiring.context import Context

_GROUPS: tuple[tuple[str, Callable[[Subject, Doctor], Coroutine[Any, Any, None]]], ...] = (
    ("setup", check_setup),
    ("service", check_service),
    ("callbacks", check_callbacks),
    ("images", check_images),
    ("folders", check_folders),
)
_LABEL_CHARS = 11
_NAME_CHARS = 12
_MARK_CHARS = 6
_VERDICTS = ("passed", "skipped", "warning", "failed")
_GLUE = "\u00a0"  # stands for a blank at which no line is broken
_TONES = {Status.PASS: "good", Status.WARN: "warning", Status.FAIL: "bad"}


def examine(options: DoctorOptions, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Read settings and keys, and return the rest of the command. What is wrong with them is a finding, too."""
    return _examine(load_subject(options, context))


async def _examine(subject: Subject) -> ExitCode:
    """Run all groups at once and print each as soon as its turn has come; what needs a hand comes last."""
    output = subject.context.output
    printer = _Printer(output, is_verbose=subject.options.verbosity > 0)
    results: list[CheckResult] = []

    async def run_group(name: str, check: Callable[[Subject, Doctor], Coroutine[Any, Any, None]]) -> Doctor:
        doctor = Doctor(name, subject.context.clock)
        await check(subject, doctor)
        return doctor

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run_group(name, check)) for name, check in _GROUPS]
        for task in running:
            found = (await task).results
            results += found
            if not output.is_json:
                printer.print_group(found)
    if output.is_json:
        output.write_line(json_text(_as_json(results)))
    else:
        printer.print_end(results)
    return ExitCode.FAILURE if any(one.finding.status is Status.FAIL for one in results) else ExitCode.OK


def _as_json(results: list[CheckResult]) -> dict[str, Any]:
    """Return the report for scripts; its keys, groups and names are for good."""
    return {
        "v": 1,
        "type": "doctor",
        "ok": all(one.finding.status is not Status.FAIL for one in results),
        "checks": [
            {
                "group": one.group,
                "name": one.name,
                "status": one.finding.status,
                "message": one.finding.message,
                "hint": one.finding.hint,
                "elapsed_ms": one.elapsed_ms,
            }
            for one in results
        ],
    }


class _Printer:
    """Writes the report to stdout: it is the product of this command.

    Args:
        output: Streams.
        is_verbose: Show what passed, one line a check.
    """

    def __init__(self, output: Output, *, is_verbose: bool) -> None:
        self._output = output
        self._is_verbose = is_verbose
        streams = output.streams
        self._columns = output.product_columns if streams.stdout_is_terminal else 0
        self._paint = choose_paint(streams.environ, is_terminal=streams.stdout_is_terminal)

    def print_group(self, results: list[CheckResult]) -> None:
        """Print one group in a line: how many checks passed, and which did not."""
        self._print_row(results[0].group.capitalize(), _sum_up(results), _worst(results))
        for one in results if self._is_verbose else []:
            if _verdict(one) in {"passed", "skipped"}:
                text = f"  {one.name:<{_NAME_CHARS}} {one.finding.message}"
                for line in fold(text, self._columns, " " * (_NAME_CHARS + 3)):
                    self._output.write_line(line)

    def print_end(self, results: list[CheckResult]) -> None:
        """Print the totals, and then what needs a hand with its fix, the worst last."""
        counts = Counter(map(_verdict, results))
        total = ", ".join(_count(verdict, counts[verdict]) for verdict in _VERDICTS if counts[verdict])
        self._print_row("In all", total, _worst(results))
        for verdict in ("warning", "failed"):
            for one in results:
                if _verdict(one) == verdict:
                    self._print_trouble(one)

    def _print_row(self, label: str, text: str, worst: Status) -> None:
        painted = self._paint(label, _TONES[worst])
        # Names of two words stay together.
        for line in fold(f"{label:<{_LABEL_CHARS}}{text}", self._columns, " " * _LABEL_CHARS):
            self._output.write_line(line.replace(_GLUE, " ").replace(label, painted, 1))
            label = painted = ""

    def _print_trouble(self, one: CheckResult) -> None:
        status, message, hint, _ = one.finding
        self._output.write_line("")
        mark = f"{status:<{_MARK_CHARS}}"
        lines = self._folded(f"{mark}{one.name}: {message}")
        if hint:
            lines += self._folded(f"{' ' * _MARK_CHARS}fix: {hint}")
        for line in lines:
            self._output.write_line(line.replace(mark, self._paint(mark, _TONES[status]), 1))

    def _folded(self, text: str) -> list[str]:
        return fold(text, self._columns, " " * _MARK_CHARS)


def _verdict(one: CheckResult) -> str:
    if one.finding.is_skipped:
        return "skipped"
    return {Status.PASS: "passed", Status.WARN: "warning", Status.FAIL: "failed"}[one.finding.status]


def _count(verdict: str, count: int) -> str:
    noun = "warnings" if verdict == "warning" and count > 1 else verdict
    return f"{count}{_GLUE}{noun}"


def _sum_up(results: list[CheckResult]) -> str:
    """Say what came of a group: ``4 passed: listener, answer, path, content; 1 skipped: tunnel (--no-tunnel)``."""
    parts = []
    for verdict in _VERDICTS:
        found = [one for one in results if _verdict(one) == verdict]
        if not found:
            continue
        names = ", ".join(one.name.replace(" ", _GLUE) for one in found)
        reasons = {one.finding.message.removeprefix("skipped: ") for one in found}
        why = f" ({reasons.pop()})" if verdict == "skipped" and len(reasons) == 1 else ""
        parts.append(f"{_count(verdict, len(found))}: {names}{why}")
    return "; ".join(parts)


def _worst(results: list[CheckResult]) -> Status:
    found = {one.finding.status for one in results if not one.finding.is_skipped}
    return next((status for status in (Status.FAIL, Status.WARN) if status in found), Status.PASS)
