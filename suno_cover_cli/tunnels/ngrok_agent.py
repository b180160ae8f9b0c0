"""One life of the ngrok agent, in a thread of its own, where pyngrok may block.

It does block: on a pipe while the agent says nothing, on HTTP. So the thread is a daemon that nobody ever has to
wait for, and it is freed by ending the agent. It lives as long as the agent does, because Linux ties the agent's
parent-death signal to the thread that started it. After the start the thread reads the agent's log itself:
pyngrok's own monitor dies of one byte that is not text, and spins once the pipe is closed.
"""

import json
import math
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from suno_cover_cli.base.errors import TunnelError, UsageError
from suno_cover_cli.base.text import Redactor, Secret, clean
from suno_cover_cli.tunnels.ngrok_binary import Download, FoundAgent
from suno_cover_cli.tunnels.ngrok_errors import explain_code, find_code, offline, plain_error, too_old
from suno_cover_cli.tunnels.ngrok_home import AgentHome, private_home
from suno_cover_cli.tunnels.ngrok_log import read_lines
from suno_cover_cli.tunnels.ngrok_reports import (
    AgentEnded,
    AgentFailed,
    AgentOpened,
    AgentPlan,
    AgentReport,
    AgentStarting,
    LinkChanged,
)
from suno_cover_cli.tunnels.ngrok_setup import (
    bypass_proxies_on_loopback,
    find_token,
    locate_agent,
    silence_pyngrok,
)
from suno_cover_cli.tunnels.tunnel import checked_public_url

if TYPE_CHECKING:
    from pyngrok.log import NgrokLog
    from pyngrok.process import NgrokProcess

_MAX_ERRAND_BYTES = 64 * 1024
_API_TIMEOUT_S = 1.0
_VERSION_TIMEOUT_S = 3.0
# The agent goes on for ever; one failed session may be a hiccup, three in a row are no internet.
_MAX_FAILED_SESSIONS = 3
# Version 3 of the configuration came with 3.16 (3.15.0 had it and was withdrawn; ngrok's issue tracker, 2024).
_FIRST_WITH_CONFIG_3 = (3, 16)
_LOSSES = ("session closed", "failed to reconnect", "heartbeat timeout")


class AgentThread:
    """Finds, starts, follows and ends one agent.

    Args:
        plan: What to do.
        report: Told what happens, in the thread; the last report is :class:`AgentEnded`.
        notify: Takes lines for people, in the thread.
    """

    def __init__(
        self, plan: AgentPlan, report: Callable[[AgentReport], None], notify: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._report = report
        self._notify = notify
        self._stopping = threading.Event()
        self._download_abandoned = threading.Event()
        self._download: Download | None = None
        self._processes: dict[str, NgrokProcess] = {}
        self._path = ""
        self._errand: subprocess.Popen[bytes] | None = None
        self._signalled: set[tuple[int, bool]] = set()
        self._redactor = Redactor()
        self._origin = "no settings at all"
        self._web_url: str | None = None
        self._session_facts: set[str] = set()
        self._failed_sessions = 0
        self.trouble: TunnelError | None = None
        """Why the last session failed; the reason to give when time is up."""
        self._thread = threading.Thread(target=self._run, name="ngrok-agent", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def download_progress(self) -> str | None:
        """How much of the agent has been downloaded, or ``None`` when nothing is being downloaded."""
        return None if self._download is None else self._download.progress

    def finish_download_only(self) -> None:
        """Let a download under way come to its end, for the next run, and then start no agent."""
        self._stopping.set()

    def signal(self, *, force: bool) -> None:
        """Ask the agent to end, or force it. Does not block; may be repeated until :class:`AgentEnded` comes.

        pyngrok's own ``kill`` waits for a lock that is held while the agent starts: the very case that matters.
        """
        self._stopping.set()
        self._download_abandoned.set()
        known = self._processes.get(self._path)
        for child in (None if known is None else known.proc, self._errand):
            # Once each: an agent that is told twice to end may skip its good-bye, and leave the domain taken.
            if child is not None and (child.pid, force) not in self._signalled:
                self._signalled.add((child.pid, force))
                with suppress(OSError):  # it has just ended by itself
                    child.kill() if force else child.terminate()

    # --- everything below runs in the thread -------------------------------------------------------------

    def _run(self) -> None:
        try:
            with private_home(self._plan.state_dir) as home:
                self._live(home)
        except TunnelError as error:
            self._report(AgentFailed(error))
        except Exception as error:  # noqa: BLE001 -- a thread's last line: pyngrok's slips are reasons, not tracebacks
            reason = clean(self._redactor.redact(str(error)), 200) or type(error).__name__
            self._report(AgentFailed(plain_error("ngrok_failed", f"the ngrok agent could not be used ({reason})")))
        finally:
            self._report(AgentEnded())

    def _live(self, home: AgentHome) -> None:
        bypass_proxies_on_loopback(os.environ)
        silence_pyngrok()
        from pyngrok import process

        self._processes = process._current_processes  # noqa: SLF001 -- see signal()
        token = self._find_token()
        agent = self._find_agent(home, token)
        home.write_config(token)
        launcher = home.install_launcher(
            agent.path, private_variables=self._plan.private_variables, use_proxy=self._plan.use_proxy
        )
        self._path = str(launcher)
        try:
            try:
                opened = self._open(home)
            except TunnelError as error:
                if error.code != "ngrok_too_old" or self._stopping.is_set() or not self._plan.may_update:
                    raise
                self._update(agent)
                opened = self._open(home)
            self._report(opened)
            self._follow(opened)
        finally:
            self._end_child()

    def _find_token(self) -> Secret | None:
        found = find_token(self._plan.token, self._notify)
        if found is None:
            return None
        self._redactor.add(found.token)
        self._origin = found.source
        return found.token

    def _find_agent(self, home: AgentHome, token: Secret | None) -> FoundAgent:
        from pyngrok import installer

        found, default = locate_agent(self._plan.ngrok_path, os.environ)
        if found is not None:
            return found
        if token is None:
            raise explain_code(4018)  # 10 MiB would be fetched only to hear this from ngrok
        url = self._plan.download_url or installer.get_ngrok_cdn_url("3")
        self._report(AgentStarting())
        self._download = Download(
            url, default, scratch=home.path, abandoned=self._download_abandoned, notify=self._notify
        )
        try:
            return FoundAgent(path=self._download.run(), source="download")
        finally:
            self._download = None

    def _open(self, home: AgentHome) -> AgentOpened:
        """Start the agent and have it open a tunnel.

        Raises:
            TunnelError: With ngrok's code where there is one.
        """
        from pyngrok import conf, exception, ngrok

        self._session_facts.clear()
        config = conf.PyngrokConfig(
            ngrok_path=self._path,
            config_path=str(home.config),
            monitor_thread=False,
            log_event_callback=self._watch_start,
            # Never the one that decides: it is not looked at while the agent says nothing.
            startup_timeout=math.ceil(self._plan.startup_s) + 5,
            # Ctrl-C goes to the whole process group; the agent must outlast it until jobs are told.
            start_new_session=os.name == "posix",
        )
        # Taken from the environment by pyngrok, it would end up on the agent's command line.
        config.auth_token = None
        wanted = {"url": f"https://{self._plan.domain}"} if self._plan.domain else {}
        if self._stopping.is_set():
            raise _stopped()
        self._report(AgentStarting())
        try:
            ngrok.get_ngrok_process(config)
            tunnel = ngrok.connect(
                addr=self._plan.local_url.result(),
                name=f"suno-cover-{secrets.token_hex(4)}",
                pyngrok_config=config,
                **wanted,
            )
        except exception.PyngrokError as error:
            raise self._explain(error, home) from None
        except CancelledError:
            raise _stopped() from None
        try:
            url = checked_public_url(str(tunnel.public_url), allows_loopback=False)
        except UsageError as error:
            raise plain_error(
                "ngrok_url", f"the ngrok agent named a public URL of no use: {error.message}"
            ) from None
        return AgentOpened(url, str(tunnel.api_url))

    def _watch_start(self, log: "NgrokLog") -> None:
        """Look at each line of a starting agent; pyngrok passes on what is raised here."""
        if self._stopping.is_set():
            raise _stopped()
        message, reason = log.msg or "", self._redactor.redact(log.err or "")
        code = find_code(log.err)
        if code is not None:
            self.trouble = explain_code(code, source=self._origin, detail=reason)
        if "starting web service" in message and log.addr:
            self._web_url = f"http://{log.addr}"
        elif "failed to reconnect" in message:
            self._failed_sessions += 1
            if code is None:
                self.trouble = offline(reason)
            if self.trouble is not None and self._failed_sessions >= _MAX_FAILED_SESSIONS:
                raise self.trouble
        elif "client session established" in message or "tunnel session started" in message:
            self._session_facts.add(message)
            if len(self._session_facts) > 1:
                self._refuse_old_agent()

    def _refuse_old_agent(self) -> None:
        """Tell an agent without endpoints by its 404: pyngrok takes that for "not ready" and waits on."""
        from pyngrok import exception, ngrok

        try:
            ngrok.api_request(f"{self._web_url}/api/endpoints", timeout=_API_TIMEOUT_S)
        except exception.PyngrokNgrokHTTPError as error:
            if error.status_code == 404:  # noqa: PLR2004 -- HTTP
                raise too_old() from None
        except (exception.PyngrokError, ValueError):
            return  # pyngrok asks next, and says what is wrong

    def _explain(self, error: Exception, home: AgentHome) -> TunnelError:
        from pyngrok import exception

        if self._stopping.is_set():
            return _stopped()
        detail = self._redactor.redact(str(getattr(error, "ngrok_error", None) or ""))
        code = find_code(getattr(error, "ngrok_error_code", None))
        if isinstance(error, exception.PyngrokNgrokHTTPError):
            # Refusals of the local API carry their code in the body, where pyngrok does not look.
            detail = self._redactor.redact(_reason_in(error.body))
            code = find_code(error.body)
            if code is None:
                return plain_error(
                    "ngrok_api",
                    f"the ngrok agent refused to open a tunnel: HTTP {error.status_code}, {clean(detail, 160)}",
                )
        last_words = home.last_words()
        code = code or find_code(last_words)
        if code is not None:
            return explain_code(code, source=self._origin, detail=detail)
        if self.trouble is not None:
            return self.trouble
        if self._is_old():
            return too_old()
        shown = clean(self._redactor.redact(last_words), 200) or clean(detail, 200) or "it gave no reason"
        return plain_error("ngrok_exited", f"the ngrok agent did not start: {shown}")

    def _is_old(self) -> bool:
        """Ask the agent for its version: one that knows no version 3 configuration ends without a code."""
        shown = self._run_errand("--version", timeout_s=_VERSION_TIMEOUT_S)
        match = re.search(rb"version (\d{1,4})\.(\d{1,4})", shown)
        return match is not None and (int(match[1]), int(match[2])) < _FIRST_WITH_CONFIG_3

    def _update(self, agent: FoundAgent) -> None:
        self._end_child()
        self._notify(f"The ngrok agent {agent.path} is too old; updating it ...")
        self.trouble = too_old()
        self._run_errand("update", timeout_s=None)
        self._failed_sessions = 0

    def _run_errand(self, argument: str, *, timeout_s: float | None) -> bytes:
        """Run the agent for one short task and return what it prints; :meth:`signal` ends it early."""
        self._errand = subprocess.Popen(  # noqa: S603 -- the same program as before
            [self._path, argument], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with self._errand as errand:
            if self._stopping.is_set():
                errand.kill()
            try:
                return errand.communicate(timeout=timeout_s)[0][:_MAX_ERRAND_BYTES]
            except subprocess.TimeoutExpired:
                errand.kill()
                return b""
            finally:
                self._errand = None

    def _follow(self, opened: AgentOpened) -> None:
        """Read the agent's log until it ends, and report each loss and return of ngrok once."""
        from pyngrok.log import NgrokLog

        known = self._processes.get(self._path)
        url, is_up = opened.url, True
        if known is None or known.proc.stdout is None:
            return
        for line in read_lines(known.proc.stdout):
            log = NgrokLog(line)
            message = log.msg or ""
            if is_up and any(loss in message for loss in _LOSSES):
                is_up = False
                reason = clean(self._redactor.redact(f"{message}: {log.err}" if log.err else message), 200)
                self._report(LinkChanged(is_up=False, reason=reason, url=url))
            elif not is_up and "client session established" in message:
                is_up = True
                url = self._present_url(opened.inspector) or url
                self._report(LinkChanged(is_up=True, reason=clean(message, 200), url=url))
        known.proc.wait()

    def _present_url(self, api_url: str) -> str | None:
        """Ask the agent where its tunnel is now; ``None`` when it does not say."""
        from pyngrok import exception, ngrok

        try:
            answer = ngrok.api_request(f"{api_url}/api/endpoints", timeout=_API_TIMEOUT_S)
            endpoints: Any = answer.get("endpoints") or answer.get("tunnels") or [{}]
            return checked_public_url(str(endpoints[0].get("url")), allows_loopback=False)
        except (exception.PyngrokError, UsageError, OSError, ValueError, LookupError, AttributeError):
            return None

    def _end_child(self) -> None:
        """Leave no process, and nothing of it in pyngrok's books."""
        from pyngrok import process

        known = self._processes.get(self._path)
        process.kill_process(self._path)
        if known is not None and known.proc.stdout is not None:
            known.proc.stdout.close()


def _stopped() -> TunnelError:
    return plain_error("ngrok_stopped", "the tunnel was no longer wanted")


def _reason_in(body: str) -> str:
    """Return the words of a refusal by the local API: ``details.err``, else ``msg``, else what there is."""
    try:
        refusal = json.loads(body)
        return str(refusal.get("details", {}).get("err") or refusal["msg"])
    except (ValueError, LookupError, AttributeError):
        return body
