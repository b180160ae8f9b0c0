"""``resume``: finish every unfinished job of the journal, with the folder and options of its first run."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from suno_cover_cli.base.errors import SunoCoverError, UsageError
from suno_cover_cli.base.events import NoteRaised, NullSink, Sink, WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.settings import Settings, checked_value, is_loopback_url, named_provider
from suno_cover_cli.base.task_ids import collect_task_ids
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.jobs.batch import BatchRunner
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest
from suno_cover_cli.jobs.workflow import CoverWorkflow
from suno_cover_cli.journal.history import JobHistory
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.key_marks import KeyMarks
from suno_cover_cli.journal.rows import SANDBOX_SERVICE, Claim, JobOptions, JobRow
from suno_cover_cli.journal.run_locks import RunLocks
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.ui.words import format_count
from suno_cover_cli.wiring.callbacks import restore_tunnel_options
from suno_cover_cli.wiring.context import Context, KeyRing, report_details
from suno_cover_cli.wiring.jobs import JobStart, LateSink, Unfinished, open_sink, open_workflow
from suno_cover_cli.wiring.origins import is_gone, sandbox_gone

_NO_CALLBACK = JobOptions(callback="off")


class _Account(msgspec.Struct, frozen=True):
    """The account that jobs belong to: those of one account share one set of parts.

    Attributes:
        service: Base URL, or ``sandbox``.
        provider: Its name.
        key_mark: Of the key they are run with; ``None`` without one, or where no mark can be made.
        is_foreign: They were submitted with another key.
    """

    service: str
    provider: str
    key_mark: str | None = None
    is_foreign: bool = False


def prepare_resumption(
    options: JobCommandOptions, context: Context, unfinished: Unfinished
) -> Coroutine[Any, Any, ExitCode]:
    """Read settings and keys, and return the rest of the command.

    Raises:
        UsageError: A value that cannot be.
    """
    ids: tuple[str, ...] = ()
    if options.task_ids:
        ids = collect_task_ids(options.task_ids, None, context.output.streams.stdin, what="task id").ids
    settings, sources = context.settings(options)
    if options.verbosity:
        report_details(context, settings)
    ring = KeyRing(context, options, settings, sources)
    webhook_key = context.webhook_key(sources, options)
    resumption = _Resumption(
        options, context, unfinished, ids=ids, settings=settings, ring=ring, webhook_key=webhook_key
    )
    return resumption.run()


class _Resumption:
    """One run of the command."""

    def __init__(
        self,
        options: JobCommandOptions,
        context: Context,
        unfinished: Unfinished,
        *,
        ids: tuple[str, ...],
        settings: Settings,
        ring: KeyRing,
        webhook_key: WebhookKey | None,
    ) -> None:
        self._options = options
        self._context = context
        self._unfinished = unfinished
        self._ids = dict.fromkeys(ids)
        self._settings = settings
        self._ring = ring
        self._webhook_key = webhook_key
        self._sink: Sink = NullSink()
        self._marks = KeyMarks(None)
        self._keys: dict[_Account, Secret] = {}
        self._workflows: dict[_Account, CoverWorkflow] = {}
        self._codes: list[ExitCode] = []
        self._left: list[JobRow] = []
        self._gone: list[JobRow] = []

    async def run(self) -> ExitCode:
        """Finish what can be finished.

        Raises:
            DatabaseError: The journal cannot be used.
            UsageError: It was written by a newer version, or does not know a job that was named.
        """
        early = LateSink()
        async with AsyncExitStack() as stack:
            # The journal first: how many jobs there are decides what the screen looks like.
            journal = await stack.enter_async_context(
                self._context.open_job_journal(self._settings, early, is_required=True)
            )
            self._marks = await asyncio.to_thread(KeyMarks.open, self._settings.state_dir)
            claims = await journal.claim_unfinished(self._choose)
            rows = [claim.row for claim in claims if not claim.is_busy]
            self._sink = await open_sink(
                stack,
                self._context,
                self._options,
                self._settings,
                job_count=len(rows),
                unfinished=self._unfinished,
                usual_s=await journal.usual_duration_s(rows[0].service) if rows else None,
            )
            early.open(self._sink)
            self._report_busy(len(claims) - len(rows))
            self._report_gone()
            if self._ids:
                await self._report_ended(journal, claims)
            elif not self._options.sandbox:
                self._report_left()
            if not claims and not self._left and not self._gone and not self._ids:
                self._context.output.write_words("Nothing to resume: every job of the journal has ended.")
            ready: list[JobRow] = []
            for account, group in self._grouped(rows).items():
                ready += await self._open_account(stack, journal, account, group)
            self._unfinished.job_count = len(ready)
            batch = BatchRunner(self._run_job, concurrency=self._options.concurrency)
            for code in self._codes:
                batch.note(code)
            return await batch.run(self._requests(ready))

    # --- which jobs -------------------------------------------------------------------------------

    def _choose(self, rows: list[JobRow]) -> list[JobRow]:
        gone = {service for service in {row.service for row in rows} if is_gone(service)}
        self._gone = [row for row in rows if row.service in gone]
        rows = [row for row in rows if row.service not in gone]
        chosen = self._meant(rows)
        taken = {row.id for row in chosen}
        self._left = [row for row in rows if row.id not in taken]
        return chosen

    def _meant(self, rows: list[JobRow]) -> list[JobRow]:
        """Return the jobs that are meant: those named; else those of services a key is known for.

        Jobs of the sandbox are resumed on request, or where there is nothing else and no key for anything else.
        """
        if self._ids:
            return [row for row in rows if self._is_named(row)]
        sandboxed = [row for row in rows if row.service == SANDBOX_SERVICE]
        real = [row for row in rows if row.service != SANDBOX_SERVICE]
        if self._options.sandbox or (self._ring.is_empty and not real):
            return sandboxed
        # Without any key each of them says which one it lacks.
        return real if self._ring.is_empty else [row for row in real if self._is_own(row)]

    def _is_named(self, row: JobRow) -> bool:
        return row.music_task_id in self._ids or row.task_id in self._ids

    def _is_own(self, row: JobRow) -> bool:
        """Tell whether the key that a job was submitted with is here, as far as that is known."""
        account = self._account_of(row)
        return account in self._keys and not account.is_foreign

    def _account_of(self, row: JobRow) -> _Account:
        """Return the account of a job, and keep the key for it if there is one: its own, else its service's."""
        provider = self._context.providers.find(row.provider)
        keys: tuple[Secret, ...] = ()
        if row.service != SANDBOX_SERVICE and provider is not None:
            with suppress(SunoCoverError):
                keys = self._ring.find_all(row.service, provider)
            if is_loopback_url(row.service) and not self._ring.is_current(row.service, provider):
                # Another program may listen there by now: it is shown only the key of the job.
                keys = tuple(key for key in keys if self._marks.mark(row.service, key) == row.key_mark is not None)
        if not keys:
            return _Account(row.service, row.provider)
        own = [key for key in keys if not self._marks.is_foreign(row.key_mark, row.service, key)]
        key = (own or keys)[0]
        account = _Account(
            row.service, row.provider, self._marks.mark(row.service, key), is_foreign=not own and not self._ids
        )
        self._keys[account] = key
        return account

    def _grouped(self, rows: list[JobRow]) -> dict[_Account, list[JobRow]]:
        groups: dict[_Account, list[JobRow]] = {}
        for row in rows:
            groups.setdefault(self._account_of(row), []).append(row)
        return groups

    async def _report_ended(self, journal: Journal, claims: list[Claim]) -> None:
        """Say of each job that was named what there is to say, where nothing is left to do.

        Raises:
            UsageError: The journal does not know it.
        """
        rows = [*self._gone, *(claim.row for claim in claims)]
        unfinished = {task_id for row in rows for task_id in (row.music_task_id, row.task_id)}
        history = JobHistory(journal.database, RunLocks(self._settings.state_dir / "runs"))
        for task_id in self._ids:
            if task_id in unfinished:
                continue
            row = await history.find_job(task_id)
            if row is None:
                raise UsageError(
                    f'the journal knows no job "{task_id}"',
                    code="unknown_job",
                    hint=f"For a cover task: suno-cover wait {task_id}. "
                    f"For a music task: suno-cover generate {task_id}",
                )
            self._sink.emit(NoteRaised(code="job_ended", message=f"{task_id} has ended: {row.state}"))

    def _report_gone(self) -> None:
        """Say which jobs no run can finish any more: their sandbox has ended. They stop nothing but themselves."""
        for row in self._gone if self._ids else []:
            if self._is_named(row):
                error = sandbox_gone(row.service, clean(row.task_id or row.music_task_id, 128))
                self._codes.append(error.exit_code)
                self._sink.emit(WarningRaised(code=error.code, message=error.message, hint=error.hint))
        if self._gone and not self._ids:
            jobs, first = format_count(len(self._gone), "job"), self._gone[0]
            task_id = first.task_id or first.music_task_id
            services = ", ".join(dict.fromkeys(clean(row.service, 100) for row in self._gone))
            self._sink.emit(
                NoteRaised(
                    code="jobs_skipped",
                    message=f"Skipped {jobs} of a sandbox that is gone: {services}",
                    hint=f"Forget them by their ids: suno-cover history --prune {task_id}",
                )
            )

    def _report_left(self) -> None:
        for account, rows in self._grouped(self._left).items():
            jobs = format_count(len(rows), "job")
            if account.service == SANDBOX_SERVICE:
                note = NoteRaised(
                    code="jobs_skipped",
                    message=f"Skipped {jobs} of the sandbox",
                    hint="Resume them with: suno-cover resume --sandbox",
                )
            elif account.is_foreign:
                note = NoteRaised(
                    code="jobs_skipped",
                    message=f"Skipped {jobs} submitted with another key: {_host_of(account)}",
                    hint="Resume them with that key, or by their ids: suno-cover resume TASK_ID",
                )
            else:
                variable = _key_variable(account.provider, self._context)
                address = clean(account.service, 100)
                note = NoteRaised(
                    code="jobs_skipped",
                    message=f"Skipped {jobs} of another service: {_host_of(account)}",
                    hint=f"Resume them with: SUNO_BASE_URL={address} and its key in {variable}",
                )
            self._sink.emit(note)

    # --- the parts they need ----------------------------------------------------------------------

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
            # Without one, the ring says what is missing.
            key = self._keys.get(account) or self._ring.find(base_url, provider)
            settings = msgspec.structs.replace(settings, provider=provider, base_url=base_url)
        settings = msgspec.structs.replace(settings, callback=kept.callback)
        options, settings = restore_tunnel_options(self._options, settings, kept.tunnel)
        start = JobStart(settings=settings, key=key, webhook_key=self._webhook_key)
        return await open_workflow(stack, self._context, options, start, sink=self._sink, journal=journal)

    async def _run_job(self, request: JobRequest) -> JobOutcome:
        account = _Account(request.service, request.provider, request.key_mark)
        return await self._workflows[account].run_job(request)

    def _requests(self, rows: list[JobRow]) -> Iterator[JobRequest]:
        for n, row in enumerate(rows, 1):
            yield JobRequest(
                n=n,
                service=row.service,
                provider=row.provider,
                output=self._context.output.seen(Path(row.output)),
                absolute_output=row.output,
                options=row.options,
                music_task_id=row.music_task_id,
                task_id=row.task_id,
                row_id=row.id,
                typed=row.task_id if row.task_id is not None and row.task_id in self._ids else "",
                key_mark=self._account_of(row).key_mark,
            )

    def _report_busy(self, count: int) -> None:
        if count:
            jobs = "1 job is" if count == 1 else f"{count} jobs are"
            self._sink.emit(
                WarningRaised(code="jobs_busy", message=f"{jobs} being run by another process: skipped")
            )

    def _report_failure(self, account: _Account, error: SunoCoverError, *, left: int, polling: int) -> None:
        parts = [f"jobs left as they are: {left}"] if left else []
        parts += [f"jobs that poll instead: {polling}"] if polling else []
        self._sink.emit(
            WarningRaised(
                code="jobs_left" if left else "no_callbacks",
                message=f"{clean(account.service, 100)}: {error.message}; {', '.join(parts)}",
                hint=error.hint,
            )
        )


def _key_variable(provider_name: str, context: Context) -> str:
    provider = context.providers.find(provider_name)
    return provider.key_variable if provider is not None else "its variable"


def _host_of(account: _Account) -> str:
    return clean(urlsplit(account.service).netloc or account.service, 100)


def _wants_callback(row: JobRow) -> bool:
    """Return whether the job is still to be submitted with an address to call.

    The others are not called back: the inbox they had went with the run that opened it.
    """
    return row.task_id is None and row.options.callback != "off"
