"""Runs one command: the event loop, signals, a stdout that takes no more, unexpected errors, the exit code.

A signal cancels the command, clean-up gets two seconds, and then the process ends by that signal, so that a
shell sees what happened. A second signal ends it at once.

Before it begins, what runs that were killed left behind is removed, secrets first.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import SunoCoverError, UsageError, describe_unwritten, shortage_of
from suno_cover_cli.base.exits import ExitCode, ToldExit
from suno_cover_cli.base.files import sweep_parts
from suno_cover_cli.base.folders import JOURNAL_NAME, state_folder
from suno_cover_cli.base.settings_file import config_path
from suno_cover_cli.base.text import clean
from suno_cover_cli.options.typed import hint_completer
from suno_cover_cli.tunnels.choice import TunnelKinds
from suno_cover_cli.ui.output import Output, standard_streams
from suno_cover_cli.wiring.context import Context

_CLEAN_UP_S = 1.8
_GC_THRESHOLD = 10_000
_POSIX_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")

Command = Callable[[], Coroutine[Any, Any, int]]
"""Does what may block (reads files, standard input, settings) and returns the rest, for the loop."""


@contextmanager
def loading() -> Iterator[None]:
    """Import what is imported late without looking for garbage in it: all of it stays."""
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_collecting:
            gc.freeze()
            gc.enable()


def run_command(
    begin: Callable[[Context], Coroutine[Any, Any, int]],
    *,
    is_json: bool = False,
    is_quiet: bool = False,
    on_interrupt: Callable[[], str | None] = lambda: None,
) -> NoReturn:
    """Run a command over this process's own streams and leave the process.

    Args:
        begin: Does what may block (reads files, standard input, settings) and returns the rest, for the loop.
        is_json: Failures go to stdout as objects, too.
        is_quiet: Only warnings and errors on stderr.
        on_interrupt: See :func:`run`.
    """
    output = Output(standard_streams(), clock=SystemClock(), is_json=is_json, is_quiet=is_quiet)
    output.complete = hint_completer(sys.argv[1:])
    context = Context(output=output)

    def begin_swept() -> Coroutine[Any, Any, int]:
        sweep_leftovers(output.streams.environ, context.tunnels)
        return begin(context)

    run(begin_swept, output, on_interrupt=on_interrupt)


class _Ending:
    """Which signal asked the command to end, if any did, and who handled signals before."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.previous: dict[int, Any] = {}


def run(command: Command, output: Output, *, on_interrupt: Callable[[], str | None] = lambda: None) -> NoReturn:
    """Run a command to its end and leave the process.

    Args:
        command: See :data:`Command`; what it returns ends with the exit code.
        output: Told of errors; finished before the process ends.
        on_interrupt: Says how to go on after a signal, or ``None`` when there is nothing to go on with.
    """
    if not gc.isenabled():
        # It was off while the program was loaded. All of that stays, and need never be looked through.
        gc.freeze()
        gc.enable()
    # What a job or a callback leaves behind is freed with its last reference; circles are few. Those that are
    # still under way are looked through less often like this.
    gc.set_threshold(_GC_THRESHOLD, 10, 10)
    ending = _Ending()
    code: int = ExitCode.FAILURE
    try:
        code = asyncio.run(_run_until_signal(command(), output, ending))
    except (asyncio.CancelledError, KeyboardInterrupt):
        if ending.signal is None and not output.is_closed:
            ending.signal = signal.SIGINT
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 -- the last stop: reported without secrets
        code = report_end(error, output)
    if ending.signal is not None:
        if line := on_interrupt():
            output.write_words(line)
        output.finish(timeout_s=0.2)
        _end_by(ending.signal, ending.previous.get(ending.signal))
    _finish(code, output, on_interrupt)


def _finish(code: int, output: Output, on_interrupt: Callable[[], str | None]) -> NoReturn:
    """Leave when the product is written; when it could not be, no ``code`` may say that all went well."""
    output.finish()
    if output.failure is not None:
        unwritten = _report_unwritten(output.failure, output, on_interrupt())
        code = code or unwritten
    elif output.is_closed and hasattr(signal, "SIGPIPE"):
        _end_by(signal.SIGPIPE)
    raise ToldExit(code)


async def _run_until_signal(work: Coroutine[Any, Any, int], output: Output, ending: _Ending) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: _report_stray(context, output, ending))
    working = asyncio.ensure_future(work)
    output.on_closed = lambda: _cancel_from_thread(loop, working)

    def end(number: int) -> None:
        ending.signal = number
        for name in _POSIX_SIGNALS:
            _restore_default(name)
        # Clean-up that hangs must not keep a person waiting: the signal itself comes after two seconds.
        last_resort = threading.Timer(_CLEAN_UP_S, _kill_this_process, (number,))
        last_resort.daemon = True
        last_resort.start()
        working.cancel()

    _install(loop, end, ending)
    return await working


def _install(loop: asyncio.AbstractEventLoop, end: Callable[[int], None], ending: _Ending) -> None:
    for name in _POSIX_SIGNALS:
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            # nohup asked for it to be ignored. SIGINT is taken even so: shells ignore it for "command &",
            # and a user who sends it by hand means it.
            continue
        ending.previous[number] = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, end, number)
        except NotImplementedError:
            # Windows: its loop takes no handlers, but a plain one reaches the loop all the same.
            signal.signal(number, lambda number, _frame: loop.call_soon_threadsafe(end, number))


def _restore_default(name: str) -> None:
    number = getattr(signal, name, None)
    if number is not None:
        loop = asyncio.get_running_loop()
        try:
            loop.remove_signal_handler(number)
        except NotImplementedError:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(number, signal.SIG_DFL)


def _cancel_from_thread(loop: asyncio.AbstractEventLoop, working: "asyncio.Future[int]") -> None:
    try:
        loop.call_soon_threadsafe(working.cancel)
    except RuntimeError:
        # The loop is closed: there is nothing left to cancel.
        return


def _end_by(number: int, previous: Any = None) -> NoReturn:
    """End this process by a signal, as if it had never been handled here; main thread only.

    Args:
        number: The signal.
        previous: Who handled it before. For SIGINT that is Python or its loop, which would only raise.
    """
    if callable(previous) and number != signal.SIGINT:
        signal.signal(number, previous)
        _kill_this_process(number)
    signal.signal(number, signal.SIG_DFL)
    _kill_this_process(number)
    os._exit(128 + number)


def _kill_this_process(number: int) -> None:
    """Send a signal to ourselves; from any thread."""
    if os.name == "posix":
        os.kill(os.getpid(), number)
    else:
        # There a signal sent to oneself is a TerminateProcess with the number as exit code.
        os._exit(128 + number)


def _report_stray(context: dict[str, Any], output: Output, ending: _Ending) -> None:
    """Report a fault that nothing waited for; asyncio itself would print it whole, secrets included."""
    error = context.get("exception")
    if ending.signal is None and not output.is_closed:
        _report_unexpected(error if isinstance(error, BaseException) else RuntimeError(context["message"]), output)


def _report_unwritten(failure: OSError, output: Output, resume_command: str | None) -> int:
    """A full disk is not a reader that left: the caller has to know that the product is not whole."""
    if resume_command:
        output.write_words(resume_command)
    error = SunoCoverError(describe_unwritten(failure), hint="Make room for it, or send it elsewhere.")
    output.write_error(error)
    return error.exit_code


def report_end(error: BaseException, output: Output) -> int:
    """Report what ended the command, on the page of a GitHub Actions run as well; return the exit code.

    A task group fails with all that went wrong in it; the first known error names the cause.
    """
    known = [one for one in _leaves(error) if isinstance(one, SunoCoverError)]
    if known:
        output.write_error(known[0])
    told = known[0] if known else _report_unexpected(error, output)
    if output.annotates:
        from suno_cover_cli.ui.github import sum_up_failure

        sum_up_failure(output, told)
    return told.exit_code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _report_unexpected(error: BaseException, output: Output) -> SunoCoverError:
    """Report a fault of the machine by its name and any other as one of ours; return what was reported."""
    for cause in _leaves(error):
        found: BaseException = cause
        if isinstance(cause, ImportError):
            # A library that cannot be opened is said not to be there.
            from suno_cover_cli.journal.opening import find_shortage

            found = find_shortage() or cause
        if (shortage := shortage_of(found)) is not None:
            reason = clean(getattr(found, "strerror", "") or "out of memory", 200)
            short = SunoCoverError(f"{shortage.what}: {reason}", code=shortage.code, hint=shortage.hint)
            output.write_error(short)
            return short
    shown = SunoCoverError(
        f"unexpected {type(error).__name__}: {clean(error, 300)}",
        hint="This is a fault of suno-cover. Run again with SUNO_COVER_TRACEBACK=1 and report what it prints.",
    )
    output.write_error(shown)
    if output.streams.environ.get("SUNO_COVER_TRACEBACK"):
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            output.write_words(clean(line, 1000))
    return shown


def sweep_leftovers(environ: Mapping[str, str], tunnels: TunnelKinds) -> None:
    """Remove what killed runs left. Blocks; raises nothing: the command itself says what is wrong with a folder.

    A file that is being written, and a run itself, holds a lock for as long as it lives: what is not locked is
    dead. When nothing died, this costs the reading of three small folders.
    """
    # Whichever it is that names no folder is reported where it is used.
    with suppress(OSError, RuntimeError, ValueError, UsageError):
        config = config_path(environ).resolve()
        sweep_parts(config.parent, config.name)
    with suppress(OSError, RuntimeError, ValueError):
        state = state_folder(environ)
        if state.is_dir():
            _sweep_state(state, tunnels)


def _sweep_state(state: Path, tunnels: TunnelKinds) -> None:
    for kind in tunnels.known:
        with suppress(OSError, RuntimeError):  # a user without a home
            kind.sweep(state)
    sweep_parts(state)
    runs = state / "runs"
    if not any(runs.glob("*.lock")):
        return
    from suno_cover_cli.journal.run_locks import RunLocks

    if RunLocks(runs).sweep():
        from suno_cover_cli.journal.check import find_begun_folders

        for folder in find_begun_folders(state / JOURNAL_NAME):
            with suppress(OSError):
                sweep_parts(folder, with_downloads=True)
