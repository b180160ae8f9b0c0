"""``resume``: finish every unfinished job of the journal, with the folder and options of its first run."""

from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from suno_cover_cli.base.errors import SunoCoverError
from suno_cover_cli.base.events import Event, NullSink, Sink, WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.settings import Settings, checked_value, named_provider
from suno_cover_cli.base.text import clean
from suno_cover_cli.jobs.batch import BatchRunner
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest
from suno_cover_cli.jobs.workflow import CoverWorkflow
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.rows import JobOptions, JobRow
from suno_cover_cli.options.jobs import JobCommandOptions
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.details import report_details
from suno_cover_cli.wiring.jobs import SANDBOX_SERVICE, JobStart, Unfinished, open_sink, open_workflow
from suno_cover_cli.wiring.key_ring import KeyRing

_NO_CALLBACK = JobOptions(callback="off")


class _Account(msgspec.Struct, frozen=True):
    """Whom jobs belong to: those of one account share one set of parts."""

    service: str
    provider: str


class _LateSink:
    """A sink for those who speak before the screen is there; what they say is passed on when it is."""

    def __init__(self) -> None:
        self._said: list[Event] = []
        self._sink: Sink | None = None

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if self._sink is None:
            self._said.append(event)
        else:
            self._sink.emit(event)

    def open(self, sink: Sink) -> None:
        """Pass on what was said and what will be."""
        self._sink = sink
        for event in self._said:
            sink.emit(event)
        self._said.clear()


def prepare_resumption(
    options: JobCommandOptions, context: Context, unfinished: Unfinished
) -> Coroutine[Any, Any, ExitCode]:
    """Read settings and keys, and return the rest of the command.

    Raises:
        UsageError: A value that cannot be.
    """
    settings, sources = context.settings(options)
    if options.verbosity:
        report_details(context, settings)
    ring = KeyRing(context, options, settings, sources)
    webhook_key = context.webhook_key(sources, options)
    return _Resumption(options, context, unfinished, settings=settings, ring=ring, webhook_key=webhook_key).run()


class _Resumption:
    """One run of the command."""

    def __init__(
        self,
        options: JobCommandOptions,
        context: Context,
        unfinished: Unfinished,
        *,
        settings: Settings,
        ring: KeyRing,
        webhook_key: WebhookKey | None,
    ) -> None:
        self._options = options
        self._context = context
        self._unfinished = unfinished
        self._settings = settings
        self._ring = ring
        self._webhook_key = webhook_key
        self._sink: Sink = NullSink()
        self._workflows: dict[_Account, CoverWorkflow] = {}
        self._codes: list[ExitCode] = []

    async def run(self) -> ExitCode:
        """Finish what can be finished.

        Raises:
            DatabaseError: The journal cannot be used.
            UsageError: It was written by a newer version.
        """
        early = _LateSink()
        async with AsyncExitStack() as stack:
            # The journal first: how many jobs there are decides what the screen looks like.
            journal = await stack.enter_async_context(
                Journal(self._settings.state_dir, clock=self._context.clock, sink=early, required=True)
            )
            claims = await journal.claim_unfinished()
            rows = [claim.row for claim in claims if not claim.is_busy]
            self._sink = await open_sink(
                stack,
                self._context,
                self._options,
                self._settings,
                job_count=len(rows),
                unfinished=self._unfinished,
            )
            early.open(self._sink)
            self._report_busy(len(claims) - len(rows))
            if not claims:
                self._context.output.write_words("Nothing to resume: every job of the journal has ended.")
            if not rows:
                return ExitCode.OK
            ready: list[JobRow] = []
            for account, group in _grouped(rows).items():
                ready += await self._open_account(stack, journal, account, group)
            self._unfinished.job_count = len(ready)
            batch = BatchRunner(self._run_job, concurrency=self._options.concurrency)
            for code in self._codes:
                batch.note(code)
            return await batch.run(_requests(ready))

    async def _open_account(
        self, stack: AsyncExitStack, journal: Journal, account: _Account, rows: list[JobRow]
    ) -> list[JobRow]:
        """Open the parts of one account and return which of its jobs can be run with them.

        When there is no way for callbacks, jobs that insist on them are left; the others poll.
        """
        wishes = [row.options for row in rows if _wants_callback(row)]
        failure = await self._try_to_open(stack, journal, account, wishes[-1] if wishes else _NO_CALLBACK)
        if failure is None:
            return rows
        left = rows
        if wishes and await self._try_to_open(stack, journal, account, _NO_CALLBACK) is None:
            left = [row for row in rows if _wants_callback(row) and row.options.callback == "required"]
        self._codes.extend([failure.exit_code] if left else [])
        self._report_failure(account, failure, left=len(left), polling=len(rows) - len(left))
        await journal.release(left)
        left_ids = {row.id for row in left}
        return [row for row in rows if row.id not in left_ids]

    async def _try_to_open(
        self, stack: AsyncExitStack, journal: Journal, account: _Account, kept: JobOptions
    ) -> SunoCoverError | None:
        """Open the parts of an account with the callbacks of one of its jobs; return why that failed."""
        try:
            async with AsyncExitStack() as attempt:
                self._workflows[account] = await self._open(attempt, journal, account, kept)
                stack.push_async_exit(attempt.pop_all())
        except SunoCoverError as error:
            return error
        return None

    async def _open(
        self, stack: AsyncExitStack, journal: Journal, account: _Account, kept: JobOptions
    ) -> CoverWorkflow:
        settings, key = self._settings, None
        if account.service != SANDBOX_SERVICE:
            known = self._context.providers
            provider = named_provider(account.provider, "the journal", known)
            base_url = checked_value("base_url", account.service, "the journal", known)
            key = self._ring.find(base_url, provider)
            settings = msgspec.structs.replace(settings, provider=provider, base_url=base_url)
        settings = msgspec.structs.replace(settings, callback=kept.callback, domain=kept.domain)
        options = replace(
            self._options,
            public_url=kept.public_url,
            listen_host=kept.listen_host,
            listen_port=kept.listen_port,
            domain=kept.domain,
            ngrok_path=kept.ngrok_path,
        )
        start = JobStart(settings=settings, key=key, webhook_key=self._webhook_key)
        parts = await open_workflow(stack, self._context, options, start, sink=self._sink, journal=journal)
        return parts.workflow

    async def _run_job(self, request: JobRequest) -> JobOutcome:
        return await self._workflows[_Account(request.service, request.provider)].run_job(request)

    def _report_busy(self, count: int) -> None:
        if count:
            jobs = "1 job is" if count == 1 else f"{count} jobs are"
            self._sink.emit(
                WarningRaised(code="jobs_busy", message=f"{jobs} being run by another process and left to it")
            )

    def _report_failure(self, account: _Account, error: SunoCoverError, *, left: int, polling: int) -> None:
        told = [f"jobs left as they are: {left}"] if left else []
        told += [f"jobs that poll instead: {polling}"] if polling else []
        self._sink.emit(
            WarningRaised(
                code="jobs_left" if left else "no_callbacks",
                message=f"{clean(account.service, 100)}: {error.message}; {', '.join(told)}",
                hint=error.hint,
            )
        )


def _grouped(rows: list[JobRow]) -> dict[_Account, list[JobRow]]:
    groups: dict[_Account, list[JobRow]] = {}
    for row in rows:
        groups.setdefault(_Account(row.service, row.provider), []).append(row)
    return groups


def _wants_callback(row: JobRow) -> bool:
    """Tell whether the job is still to be submitted with an address to call.

    Nobody calls for the others: the inbox they had went with the run that opened it.
    """
    return row.task_id is None and row.options.callback != "off"


def _requests(rows: list[JobRow]) -> Iterator[JobRequest]:
    for n, row in enumerate(rows, 1):
        yield JobRequest(
            n=n,
            service=row.service,
            provider=row.provider,
            output=Path(row.output),
            absolute_output=row.output,
            options=row.options,
            music_task_id=row.music_task_id,
            task_id=row.task_id,
            row_id=row.id,
        )
