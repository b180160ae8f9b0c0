"""Commands of the journal inside the test's loop."""

from pathlib import Path

from suno_cover_cli.cli.generate import generate
from suno_cover_cli.cli.history import HistoryOptions, history
from suno_cover_cli.cli.resume import resume
from suno_cover_cli.wiring.job_options import JobCommandOptions
from suno_cover_cli.wiring.jobs import Unfinished
from suno_cover_cli.wiring.listed_jobs import prepare_listed_jobs
from tests.cli_fixtures import CallbackOptions, InProcess, Run
from tests.clocks import ScaledClock

SPEED = 30.0


class Commands(InProcess):
    """generate, wait, resume and history of one user on one machine; time is thirty times as fast."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.clock = ScaledClock(SPEED)

    async def begin(self, *music_task_ids: str, environ: dict[str, str], **options: object) -> Run:
        """Run ``generate --json``."""
        wanted = {"output": self.covers, "json": True, "poll_interval_s": 5.0, **options}
        made = JobCommandOptions(**wanted)  # type: ignore[arg-type]
        return await self.run(
            lambda context: generate(list(music_task_ids), None, made, context, Unfinished()),
            is_json=made.json,
            clock=self.clock,
            environ=environ,
        )

    async def leave(self, *music_task_ids: str, environ: dict[str, str], **options: object) -> Run:
        """Run ``generate --no-wait``."""
        return await self.begin(*music_task_ids, environ=environ, wait=False, json=False, **options)

    async def wait(self, *task_ids: str, environ: dict[str, str], **options: object) -> Run:
        """Run ``wait --json``."""
        wanted = {"output": self.covers, "json": True, "poll_interval_s": 5.0, "submits": False, **options}
        made = JobCommandOptions(**wanted)  # type: ignore[arg-type]
        return await self.run(
            lambda context: prepare_listed_jobs(list(task_ids), None, made, context, Unfinished()),
            is_json=True,
            clock=self.clock,
            environ=environ,
        )

    async def resume(self, *, environ: dict[str, str] | None = None, **options: object) -> Run:
        """Run ``resume --json``."""
        made = JobCommandOptions(**{"json": True, "poll_interval_s": 5.0, **options})  # type: ignore[arg-type]
        return await self.run(
            lambda context: resume(made, context, Unfinished()), is_json=True, clock=self.clock, environ=environ
        )

    async def history(self, *, as_text: bool = False, **options: object) -> Run:
        """Run ``history --json``, or without ``--json``."""
        made = HistoryOptions(**options)  # type: ignore[arg-type]
        return await self.run(lambda context: history(made, context), is_json=not as_text, clock=self.clock)


def by_fixed_port(port: int) -> CallbackOptions:
    """Let callbacks come by an address of the user's own."""
    return CallbackOptions(public_url=f"http://127.0.0.1:{port}", listen_port=port)
