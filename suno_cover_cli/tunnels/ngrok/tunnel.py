"""The tunnel through ngrok: finds or fetches the agent, has it open a tunnel, and follows it until it ends."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from types import TracebackType
from typing import NamedTuple, Self

from pyngrok.log import NgrokLog

from suno_cover_cli.base.clock import in_daemon_thread, within
from suno_cover_cli.base.errors import TunnelError, UsageError
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.tunnels.ngrok import errors, setup
from suno_cover_cli.tunnels.ngrok.agent import AgentHome, AgentProcess, call_api, private_home, to_the_end
from suno_cover_cli.tunnels.ngrok.setup import FoundAgent
from suno_cover_cli.tunnels.tunnel import Tunnel, TunnelChange, TunnelRequest, checked_public_url

_LEAVING_S = 1.4  # what the end of an agent takes at most
_LOSSES = ("session closed", "failed to reconnect", "heartbeat timeout")


class _Opened(NamedTuple):
    url: str
    api_url: str


class NgrokTunnel(Tunnel):
    """A tunnel through an agent of its own; see :class:`~suno_cover_cli.tunnels.tunnel.Tunnel`.

    Args:
        request: What is wanted. Of its options, ``domain`` and ``ngrok_path`` count.
        deadline_s: For opening, all together, without :attr:`TunnelRequest.install_s`.
    """

    def __init__(self, request: TunnelRequest, *, deadline_s: float = 8.0) -> None:
        self._request = request
        self._deadline_s = deadline_s
        self._local_url: str | None = None
        self._has_local_url = asyncio.Event()
        self._life: _AgentLife | None = None
        self._changes: asyncio.Queue[TunnelChange] = asyncio.Queue()

    async def begin(self) -> None:
        """See :meth:`Tunnel.begin`; returns when nothing is left to do but to wait for a setup."""
        await self._start().waiting.wait()

    def lead_to(self, local_url: str) -> None:
        """See :meth:`Tunnel.lead_to`."""
        self._local_url = local_url
        self._has_local_url.set()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def next_change(self) -> TunnelChange:
        """See :meth:`Tunnel.next_change`."""
        return await self._changes.get()

    async def reopen(self) -> None:
        """See :meth:`Tunnel.reopen`."""
        await self._stop()
        while not self._changes.empty():  # they speak of the agent that was
            self._changes.get_nowait()
        await self._open()

    def _start(self) -> "_AgentLife":
        self._life = _AgentLife(self._request, self._wait_local_url, self._take_change)
        return self._life

    async def _wait_local_url(self) -> str:
        await self._has_local_url.wait()
        return self._local_url or ""

    async def _open(self) -> None:
        life = self._life or self._start()
        try:
            opened = await self._wait_opened(life)
        except TimeoutError:
            raise await self._give_up(life) from None
        except BaseException:
            await self._stop()
            raise
        self.url, self.inspector = opened.url, opened.api_url

    async def _wait_opened(self, life: "_AgentLife") -> _Opened:
        clock, install_s = self._request.clock, self._request.install_s
        try:
            return await within(clock, self._deadline_s, asyncio.shield(life.opened))
        except TimeoutError:
            if not install_s or life.progress is None:
                raise
        return await within(clock, install_s, asyncio.shield(life.opened))

    async def _give_up(self, life: "_AgentLife") -> TunnelError:
        """End what did not open in time, and say as closely as known why it did not."""
        if life.progress is not None and not self._request.install_s:
            life.is_only_installing = True
            return errors.plain_error(
                "ngrok_downloading",
                f"the ngrok agent is still being downloaded ({life.progress})",
                "The next run finds it installed.",
            )
        trouble = life.explainer.trouble
        await self._stop()
        return trouble or errors.plain_error(
            "ngrok_timeout", f"the ngrok agent did not open a tunnel within {self._deadline_s:g} s"
        )

    def _take_change(self, life: "_AgentLife", change: TunnelChange) -> None:
        if life is self._life:
            self.url = change.url or self.url
            self._changes.put_nowait(change)

    async def _stop(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            await life.end()


class _AgentLife:
    """One agent, from being looked for to its end; a task of its own that begins at once.

    Attributes:
        opened: Public URL and the address of the agent's API, or the ``TunnelError`` of why there is none.
        waiting: Set once nothing is left to do but to wait for a setup.
        progress: How much of the agent has been downloaded, or ``None`` while nothing is being downloaded.
        explainer: Knows why the last session failed.
        is_only_installing: A download under way is to come to its end, for the next run, and no agent to start.
    """

    def __init__(
        self,
        request: TunnelRequest,
        wait_local_url: Callable[[], Awaitable[str]],
        report: Callable[["_AgentLife", TunnelChange], None],
    ) -> None:
        self._request = request
        self._wait_local_url = wait_local_url
        self._report = report
        self._environ = setup.agent_environ(request)
        self.explainer = errors.Explainer()
        self.opened: asyncio.Future[_Opened] = asyncio.get_running_loop().create_future()
        self.waiting = asyncio.Event()
        self.progress: str | None = None
        self.is_only_installing = False
        self._task = asyncio.create_task(self._run(), name="ngrok-agent")

    async def end(self) -> None:
        """End the agent and remove its files."""
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=_LEAVING_S)
        self.opened.cancel()
        if not self.opened.cancelled():
            self.opened.exception()  # looked at, or asyncio would complain of one that was not waited for

    async def _run(self) -> None:
        try:
            how = await self._live()
            self._report(self, TunnelChange(lost=True, reason=f"the ngrok agent {how}", is_dead=True))
        except TunnelError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 -- a task's last line: whatever it is must be a reason to poll
            reason = self.explainer.shown(error) or type(error).__name__
            self._fail(errors.plain_error("ngrok_failed", f"the ngrok agent could not be used ({reason})"))
        finally:
            self.waiting.set()

    def _fail(self, error: TunnelError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
        else:
            self._report(self, TunnelChange(lost=True, reason=error.message, is_dead=True))

    async def _live(self) -> str:
        """Go through the life of an agent; return how it ended, once nothing is left of it."""
        token = await self._find_token()
        options, environ = self._request.options, self._request.environ
        agent = await in_daemon_thread(lambda: setup.find_agent(options.get("ngrok_path"), environ))
        async with _lent_home(self._request, agent) as home:
            if agent is None:
                agent = await self._download(home)
            if self.is_only_installing:
                return "was not started"
            await in_daemon_thread(lambda: home.write_config(token))
            try:
                return await self._open_and_follow(agent, home)
            except TunnelError as error:
                may_update = self._request.may_update and not agent.is_snap and not self.opened.done()
                if error.code != "ngrok_too_old" or not may_update:
                    raise
                await self._update(agent, home)
                return await self._open_and_follow(agent, home)

    async def _find_token(self) -> Secret:
        lines: list[str] = []
        found = await in_daemon_thread(lambda: setup.find_token(self._request.environ, lines.append))
        for line in lines:
            self._request.notify(line)
        if found is None:
            # The agent would be started, or 10 MiB fetched, only to hear the same from ngrok.
            raise errors.no_token()
        self.explainer.learn(found.token, found.source)
        self._request.hide(found.token)
        return found.token

    async def _download(self, home: AgentHome) -> FoundAgent:
        def take_progress(progress: str) -> None:
            self.progress = progress

        async def run(command: list[str], environ: Mapping[str, str], take: Callable[[str], object]) -> str:
            return await self._run_program(home, command, environ, take)

        self.progress = "0 %"
        self.waiting.set()
        try:
            return await setup.fetch_agent(self._request, home, run=run, report_progress=take_progress)
        finally:
            self.progress = None

    async def _update(self, agent: FoundAgent, home: AgentHome) -> None:
        self._request.notify(f"The ngrok agent {agent.path} is too old; updating it ...")
        self.explainer.forget(errors.too_old())
        await self._run_program(home, [str(agent.path), "update"], self._environ)
        self.explainer.forget()

    async def _run_program(
        self,
        home: AgentHome,
        command: list[str],
        environ: Mapping[str, str],
        take: Callable[[str], object] = lambda _: None,
    ) -> str:
        """Run a program to its end; return an empty string when all went well, else why it failed."""
        async with AgentProcess.start(home, command, environ) as process:
            async for line in process.lines():
                take(line)
            how = await process.wait()
            return "" if process.is_fine else await process.last_words() or f"it {how}"

    async def _open_and_follow(self, agent: FoundAgent, home: AgentHome) -> str:
        command = [str(agent.path), "start", "--none", "--log", "stdout", "--config", str(home.config)]
        async with AgentProcess.start(home, command, self._environ) as process:
            self.waiting.set()
            lines = process.lines()
            api_url = await self._wait_for_session(lines)
            if api_url is None:
                # It has ended, or only fallen silent: then the deadline ends it.
                how = await process.wait()
                raise await self._explain_end(how, await process.last_words(), agent, home)
            url = await self._create_endpoint(api_url)
            self.opened.set_result(_Opened(url, api_url))
            await self._follow(lines, _Opened(url, api_url))
            return await process.wait()

    async def _wait_for_session(self, lines: AsyncIterator[str]) -> str | None:
        """Read a starting agent's log until it is connected; return its API's address, ``None`` when it ends.

        Raises:
            TunnelError: ngrok cannot be reached; the agent would never stop trying.
        """
        api_url = None
        missing = {"client session established", "tunnel session started"}
        async for line in lines:
            log = NgrokLog(line)
            message = log.msg or ""
            self.explainer.note_session(message, log.err)
            if "starting web service" in message and log.addr:
                api_url = f"http://{log.addr}"
            missing -= {fact for fact in missing if fact in message}
            if not missing and api_url is not None:
                self.explainer.forget()
                return api_url
        return None

    async def _create_endpoint(self, api_url: str) -> str:
        """Ask the agent for a public address.

        Raises:
            TunnelError: It was refused.
        """
        domain = self._request.options.get("domain")
        wanted = {
            "name": f"suno-cover-{secrets.token_hex(4)}",
            "upstream": {"url": await self._wait_local_url()},
            **({"url": f"https://{domain}"} if domain else {}),
        }
        try:
            status, answer = await call_api(f"{api_url}/api/endpoints", wanted)
        except OSError as error:
            reason = self.explainer.shown(error, 160)
            raise errors.plain_error("ngrok_api", f"the ngrok agent does not answer: {reason}") from None
        if status // 100 != 2:  # noqa: PLR2004 -- what succeeds
            raise self.explainer.refusal(status, answer)
        try:
            return checked_public_url(str(json.loads(answer)["url"]), allows_loopback=False)
        except (UsageError, ValueError, LookupError, TypeError) as error:
            message = f"the ngrok agent named a public URL that cannot be used: {self.explainer.shown(error)}"
            raise errors.plain_error("ngrok_url", message) from None

    async def _explain_end(self, how: str, last_words: str, agent: FoundAgent, home: AgentHome) -> TunnelError:
        """Say why an agent has ended before it was connected."""
        error = self.explainer.end(how, last_words)
        if error.code == "ngrok_exited":
            if await self._is_old(agent, home):
                return errors.too_old()
            if agent.is_snap:
                error.hint = (
                    f"It is a snap, which can read few folders: use one from {setup.DOWNLOAD_PAGE} (--ngrok-path)."
                )
        return error

    async def _is_old(self, agent: FoundAgent, home: AgentHome) -> bool:
        """Ask the agent for its version: one that knows no version 3 configuration ends without a code."""
        lines: list[str] = []
        await self._run_program(home, [str(agent.path), "--version"], self._environ, lines.append)
        version = setup.parse_version(" ".join(lines))
        return version is not None and version < setup.FIRST_WITH_CONFIG_3

    async def _follow(self, lines: AsyncIterator[str], opened: _Opened) -> None:
        """Read the agent's log until it ends, and report each loss and return of ngrok once."""
        url, is_up = opened.url, True
        async for line in lines:
            log = NgrokLog(line)
            message = log.msg or ""
            if is_up and any(loss in message for loss in _LOSSES):
                is_up = False
                reason = self.explainer.shown(f"{message}: {log.err}" if log.err else message)
                self._report(self, TunnelChange(lost=True, reason=reason))
            elif not is_up and "client session established" in message:
                is_up = True
                url = await _present_url(opened.api_url) or url
                self._report(self, TunnelChange(lost=False, reason=clean(message, 200), url=url))


async def _present_url(api_url: str) -> str | None:
    """Ask the agent where its tunnel is now; ``None`` when it does not say."""
    try:
        _, answer = await call_api(f"{api_url}/api/endpoints")
        return checked_public_url(str(json.loads(answer)["endpoints"][0]["url"]), allows_loopback=False)
    except (UsageError, OSError, ValueError, LookupError, TypeError):
        return None


@asynccontextmanager
async def _lent_home(request: TunnelRequest, agent: FoundAgent | None) -> AsyncIterator[AgentHome]:
    """Lend a private folder; making and removing it happens in threads."""
    stack = ExitStack()
    is_snap = agent is not None and agent.is_snap
    lending = asyncio.ensure_future(
        in_daemon_thread(lambda: stack.enter_context(private_home(request.state_dir, is_snap=is_snap)))
    )
    try:
        yield await asyncio.shield(lending)
    finally:
        await asyncio.wait({lending})
        await to_the_end(in_daemon_thread(stack.close))
