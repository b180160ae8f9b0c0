"""What ``doctor`` checks on this machine: program, settings, keys, folders, journal."""

import os
import platform
import shutil
import sys
from pathlib import Path

from suno_cover_cli.base.clock import in_daemon_thread
from suno_cover_cli.base.errors import SunoCoverError, disk_hint
from suno_cover_cli.base.events import WarningRaised
from suno_cover_cli.base.files import is_folder
from suno_cover_cli.base.folders import JOURNAL_NAME, LEAST_FREE_BYTES, probe_folder
from suno_cover_cli.base.providers import WEBHOOK_KEY_VARIABLE, Provider
from suno_cover_cli.base.text import clean
from suno_cover_cli.doctor.checks import Doctor, Finding, Subject, failed, passed, skipped, warned
from suno_cover_cli.journal.check import JournalReport, check_journal, repair_journal
from suno_cover_cli.journal.rows import SANDBOX_SERVICE
from suno_cover_cli.ui.words import format_bytes, format_count
from suno_cover_cli.wiring.context import package_versions
from suno_cover_cli.wiring.origins import is_gone

_SCARCE_FREE_BYTES = 256 * 1024 * 1024


async def check_setup(subject: Subject, doctor: Doctor) -> None:
    """Program, settings and keys."""
    doctor.add("python", passed(f"{platform.python_version()} at {sys.executable}"))
    await doctor.check("packages", lambda: _check_packages(subject))
    await doctor.check("settings", lambda: _check_settings(subject))
    await doctor.check("api key", lambda: _check_key(subject))
    await doctor.check("webhook key", lambda: _check_webhook_key(subject))


async def _check_packages(subject: Subject) -> Finding:
    versions = await in_daemon_thread(lambda: package_versions(subject.context.tunnels.packages))
    missing = [name for name, number in versions.items() if not number[:1].isdigit()]
    if missing:
        return failed(f"{', '.join(missing)} cannot be found", "Install suno-cover again into a new environment.")
    return passed(", ".join(f"{name} {number}" for name, number in versions.items()))


async def _check_settings(subject: Subject) -> Finding:
    if subject.settings_error is not None:
        raise subject.settings_error
    config = subject.sources.config
    if not config.is_there:
        return passed(f"no settings file ({config.path}); none is needed")
    profile = f", profile {subject.sources.profile}" if subject.sources.profile else ""
    return passed(f"{config.path}{profile}")


async def _check_key(subject: Subject) -> Finding:
    if isinstance(subject.key, SunoCoverError):
        raise subject.key
    return passed(f"from {subject.key_source}")


async def _check_webhook_key(subject: Subject) -> Finding:
    if isinstance(subject.webhook_key, SunoCoverError):
        raise subject.webhook_key
    provider = subject.settings.provider
    if subject.webhook_key is None:
        return passed("not set; every callback is checked by reading the job with the API key")
    if provider.signature is None and not subject.settings.is_loopback:
        return warned(
            f"set, but {provider.site} signs nothing: unsigned callbacks will be refused",
            f"Unset {WEBHOOK_KEY_VARIABLE} and webhook-key for this provider.",
        )
    return passed("set; unsigned and stale callbacks are refused")


async def check_folders(subject: Subject, doctor: Doctor) -> None:
    """Output folder, space, journal, what is left to do."""
    output = subject.settings.output
    await doctor.check("output", lambda: in_daemon_thread(lambda: _look_at_folder(output)))
    await doctor.check("free space", lambda: in_daemon_thread(lambda: _look_at_space(output)))
    state = subject.settings.state_dir
    await doctor.check("state", lambda: in_daemon_thread(lambda: _look_at_folder(state)))
    now = subject.context.clock.time()
    reports: list[JournalReport] = []

    async def look_at_journal() -> Finding:
        path, clock = state / JOURNAL_NAME, subject.context.clock
        found = await in_daemon_thread(lambda: check_journal(path, now))
        done = list[WarningRaised]()
        if found.is_damaged:
            done = await in_daemon_thread(lambda: repair_journal(path, clock))
            found = await in_daemon_thread(lambda: check_journal(path, now))
        reports.append(found)
        return _judge_journal(found, path, done)

    if not await doctor.check("journal", look_at_journal, limit_s=10.0):
        for name in ("unfinished", "links", "logs"):
            doctor.add(name, skipped("the journal cannot be read"))
        return
    await doctor.check("unfinished", lambda: in_daemon_thread(lambda: _judge_unfinished(reports[0])))
    doctor.add("links", _judge_links(reports[0]))
    doctor.add("logs", _judge_logs(reports[0], subject.settings.provider))


def _look_at_folder(folder: Path) -> Finding:
    """Tell whether a folder can be written, or made where it is not there yet. Leaves no trace."""
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not is_folder(there):
        return failed(
            f"{folder} cannot be made: {there} is not a folder", "Move it away or choose another folder."
        )
    try:
        probe_folder(there)
    except OSError as error:
        return failed(
            f"{there} cannot be written: {error.strerror}",
            disk_hint(error, "Change its permissions, or choose another folder (--output, SUNO_COVER_STATE_DIR)."),
        )
    return passed(f"{folder} can be {'written' if there == folder.absolute() else 'made'}")


def _look_at_space(folder: Path) -> Finding:
    there = folder.absolute()
    while not is_folder(there) and there != there.parent:
        there = there.parent
    try:
        free_bytes = shutil.disk_usage(there).free
    except OSError as error:
        return failed(f"the disk of {there} cannot be read: {error.strerror}", "Choose another --output.")
    space = f"{format_bytes(free_bytes)} on the disk of {there}"
    if free_bytes < LEAST_FREE_BYTES:
        return failed(f"only {space}", "Free some space or choose another --output.")
    if free_bytes < _SCARCE_FREE_BYTES:
        return warned(f"only {space}", "Free some space before a large batch.")
    return passed(space)


def _judge_journal(report: JournalReport, path: Path, done: list[WarningRaised]) -> Finding:
    if not report.is_there:
        return passed("none yet; the first job makes it")
    if report.trouble:
        return failed(
            f"{path}: {report.trouble}", "Set SUNO_COVER_STATE_DIR to another folder until that is repaired."
        )
    if done:
        return warned("; ".join(note.message for note in done), done[0].hint)
    return passed(f"sound; {format_count(report.jobs, 'job')}")


def _judge_unfinished(report: JournalReport) -> Finding:
    gone = {service: jobs for service, jobs in report.unfinished_at.items() if is_gone(service)}
    if gone:
        return warned(
            f"{format_count(report.unfinished, 'job')} not finished,"
            f" {sum(gone.values())} of a sandbox that is gone:"
            f" {', '.join(clean(service, 100) for service in sorted(gone))}",
            "See them with: suno-cover history --state unfinished; forget one with: suno-cover history --prune ID",
        )
    if not report.unfinished:
        return passed("nothing is left to do")
    sandboxed, unfinished = report.unfinished_at.get(SANDBOX_SERVICE, 0), format_count(report.unfinished, "job")
    if sandboxed == report.unfinished:
        return warned(f"{unfinished} of the sandbox not finished", "Go on with: suno-cover resume --sandbox")
    rest = f", {sandboxed} of the sandbox (suno-cover resume --sandbox)" if sandboxed else ""
    return warned(f"{unfinished} not finished{rest}", "Go on with: suno-cover resume")


def _judge_links(report: JournalReport) -> Finding:
    if report.expired:
        return warned(
            f"{format_count(report.expired, 'job')} with images missing for over 14 days: links are gone by then",
            "See them with: suno-cover history --state partial",
        )
    return passed("no missing image has an expired link")


def _judge_logs(report: JournalReport, provider: Provider) -> Finding:
    theirs = f"; the provider's own: {provider.log_page}" if provider.log_page else ""
    recorded = (
        f"{format_count(report.events, 'callback')} recorded here" if report.events else "none recorded here"
    )
    return passed(f"{recorded}{theirs}")
