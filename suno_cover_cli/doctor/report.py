"""``doctor``: look at everything a job needs, change nothing, name the fix."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from suno_cover_cli.base.errors import KeyRefusedError, UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.keys import load_api_key, load_webhook_key
from suno_cover_cli.base.settings import Sources, load_settings
from suno_cover_cli.base.settings_file import ConfigFile
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import fold
from suno_cover_cli.doctor.callbacks import check_callbacks
from suno_cover_cli.doctor.checks import CheckResult, Doctor, Status
from suno_cover_cli.doctor.machine import check_folders, check_setup
from suno_cover_cli.doctor.options import DoctorOptions
from suno_cover_cli.doctor.service import check_images, check_service
from suno_cover_cli.doctor.subject import Subject
from suno_cover_cli.ui.choice import choose_paint
from suno_cover_cli.ui.output import Output, json_line
from suno_cover_cli.ui.words import format_count
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.details import package_versions

_GROUPS: tuple[tuple[str, Callable[[Subject, Doctor], Coroutine[Any, Any, None]]], ...] = (
    ("setup", check_setup),
    ("service", check_service),
    ("callbacks", check_callbacks),
    ("images", check_images),
    ("folders", check_folders),
)
_MARK_CHARS = 6
_TONES = {Status.PASS: "good", Status.WARN: "warning", Status.FAIL: "bad"}


def examine(options: DoctorOptions, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Read settings and keys, and return the rest of the command. What is wrong with them is a finding, too."""
    subject = _admit(options, context)
    return _examine(subject)


def _admit(options: DoctorOptions, context: Context) -> Subject:
    environ = context.output.streams.environ
    subject = Subject(context, options, package_versions())
    try:
        where = context.sources(options.profile)
        subject.settings = load_settings({name: getattr(options, name, None) for name in SETTINGS}, where)
    except UsageError as error:
        subject.settings_error = error
        nothing = ConfigFile(path=Path("config.toml"), is_there=False)
        where = Sources({}, nothing, None, context.providers)
        subject.settings = load_settings({}, where)
    subject.where = where
    try:
        subject.key, subject.key_source = load_api_key(
            subject.settings.provider, where, key_file=options.api_key_file, stdin=context.output.streams.stdin
        )
    except (KeyRefusedError, UsageError) as error:
        subject.key_error = error
    try:
        subject.webhook_key = load_webhook_key(
            subject.settings.provider,
            where,
            key_file=options.webhook_key_file,
            stdin=context.output.streams.stdin,
        )
    except UsageError as error:
        subject.webhook_key_error = error
    webhook_key = subject.webhook_key
    for secret in (subject.key, webhook_key.secret if webhook_key is not None else None):
        context.output.redactor.add(secret)
    subject.environ = environ
    return subject


async def _examine(subject: Subject) -> ExitCode:
    """Run all groups at once and print them in their order, each line as soon as its turn has come."""
    output = subject.context.output
    results: list[CheckResult] = []
    queues: dict[str, asyncio.Queue[CheckResult | None]] = {name: asyncio.Queue() for name, _ in _GROUPS}
    printer = _Printer(output)

    async def run_group(name: str, check: Callable[[Subject, Doctor], Coroutine[Any, Any, None]]) -> None:
        queue = queues[name]
        try:
            await check(subject, Doctor(name, subject.context.clock, queue.put_nowait))
        finally:
            queue.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        for name, check in _GROUPS:
            group.create_task(run_group(name, check))
        for queue in queues.values():
            while (result := await queue.get()) is not None:
                results.append(result)
                printer.print_result(result)
    printer.print_end(results)
    return ExitCode.FAILURE if any(result.status is Status.FAIL for result in results) else ExitCode.OK


class _Printer:
    """Writes the report to stdout: it is the product of this command."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._group = ""
        self._width = 0
        streams = output.streams
        if streams.stdout_is_terminal:
            self._width = output.product_columns
        self._paint = choose_paint(streams.environ, is_terminal=streams.stdout_is_terminal)

    def print_result(self, result: CheckResult) -> None:
        if self._output.is_json:
            return
        if result.group != self._group:
            self._write(f"{'' if not self._group else chr(10)}{result.group.capitalize()}")
            self._group = result.group
        mark = self._paint(f"{result.status:<{_MARK_CHARS - 2}}", _TONES[result.status])
        label = f"{result.name:<12}"
        indent = " " * (2 + _MARK_CHARS - 2 + 2 + 12 + 1)
        first, *more = fold(f"{indent}{result.message}", self._width, indent)
        if result.hint:
            more += fold(f"{indent}fix: {result.hint}", self._width, indent)
        self._write(f"  {mark}  {label} {first.removeprefix(indent)}")
        for line in more:
            self._write(line)

    def print_end(self, results: list[CheckResult]) -> None:
        counts = Counter(result.status for result in results)
        if self._output.is_json:
            report = {
                "v": 1,
                "type": "doctor",
                "ok": not counts[Status.FAIL],
                "checks": [msgspec.structs.asdict(result) for result in results],
            }
            self._output.write_line(json_line(report))
            return
        told = [f"{counts[Status.PASS]} passed"]
        told += [format_count(counts[Status.WARN], "warning")] if counts[Status.WARN] else []
        told += [f"{counts[Status.FAIL]} failed"] if counts[Status.FAIL] else []
        self._write(f"\n{', '.join(told)}")

    def _write(self, text: str) -> None:
        for line in text.split("\n"):
            self._output.write_line(line)
