"""Commands of the journal inside the test's loop."""

from pathlib import Path
from typing import Any

from suno_cover_cli.cli.history import HistoryOptions, prepare_history
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.wiring.jobs import Unfinished
from suno_cover_cli.wiring.listed_jobs import prepare_listed_jobs
from suno_cover_cli.wiring.resume import prepare_resumption
from tests.cli_fixtures import InProcess, Run
from tests.clocks import ScaledClock

SPEED = 30.0


class Commands(InProcess):
    """generate, wait, resume and history of one user on one machine; time is thirty times as fast."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.clock = ScaledClock(SPEED)

    async def begin(self, *music_task_ids: str, environ: dict[str, str], **options: Any) -> Run:
        """Run ``generate --json``."""
        wanted: dict[str, Any] = {
            "output": self.covers,
            "json": True,
            "poll_interval_s": 5.0,
            "task_ids": list(music_task_ids),
            **options,
        }
        made = JobCommandOptions(**wanted)
        return await self.run(
            lambda context: prepare_listed_jobs(made, context, Unfinished()),
            is_json=made.json,
            clock=self.clock,
            environ=environ,
        )

    async def leave(self, *music_task_ids: str, environ: dict[str, str], **options: Any) -> Run:
        """Run ``generate --no-wait``."""
        return await self.begin(*music_task_ids, environ=environ, no_wait=True, json=False, **options)

    async def wait(self, *task_ids: str, environ: dict[str, str], **options: Any) -> Run:
        """Run ``wait --json``."""
        wanted: dict[str, Any] = {
            "output": self.covers,
            "json": True,
            "poll_interval_s": 5.0,
            "submits": False,
            "task_ids": list(task_ids),
            **options,
        }
        made = JobCommandOptions(**wanted)
        return await self.run(
            lambda context: prepare_listed_jobs(made, context, Unfinished()),
            is_json=True,
            clock=self.clock,
            environ=environ,
        )

    async def resume(self, *, environ: dict[str, str] | None = None, **options: Any) -> Run:
        """Run ``resume --json``."""
        made = JobCommandOptions(**{"json": True, "poll_interval_s": 5.0, **options})
        return await self.run(
            lambda context: prepare_resumption(made, context, Unfinished()),
            is_json=True,
            clock=self.clock,
            environ=environ,
        )

    async def history(self, *, as_text: bool = False, **options: Any) -> Run:
        """Run ``history --json``, or without ``--json``."""
        made = HistoryOptions(**options)
        return await self.run(
            lambda context: prepare_history(made, context), is_json=not as_text, clock=self.clock
        )


def by_fixed_port(port: int) -> dict[str, Any]:
    """Let callbacks come by an address of the user's own."""
    return {"public_url": f"http://127.0.0.1:{port}", "listen_port": port}
