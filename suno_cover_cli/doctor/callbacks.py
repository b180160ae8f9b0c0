"""What ``doctor`` checks of callbacks: a real listener, its answers, the agent, a real tunnel and what it does."""

import subprocess
from contextlib import AsyncExitStack

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.environment import ChildEnviron
from suno_cover_cli.base.errors import TunnelError, UsageError
from suno_cover_cli.base.events import NullSink
from suno_cover_cli.base.providers import SignatureScheme
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.callbacks.delivery import ANSWER_S, CallbackSender, Delivery
from suno_cover_cli.callbacks.inbox import CallbackInbox
from suno_cover_cli.callbacks.listener import CallbackListener
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.callbacks.samples import build_sample
from suno_cover_cli.doctor.checks import Doctor, Finding, failed, in_daemon_thread, passed, warned
from suno_cover_cli.doctor.subject import Subject
from suno_cover_cli.tunnels.channel import CallbackChannel
from suno_cover_cli.tunnels.ngrok_setup import find_token, locate_agent
from suno_cover_cli.tunnels.probe import HttpProbe
from suno_cover_cli.tunnels.tunnel import PublicUrl
from suno_cover_cli.wiring.callbacks import choose_tunnel

_VERSION_S = 3.0
_TUNNEL_S = 14.0
_INSTEAD = "; jobs are polled every 30 s instead"
_NETWORK_HINT = "Check the internet connection and the firewall; the agent's own check is: ngrok diagnose"
_AGENT_HINT = "Run the agent by hand to see what it says: ngrok http 80"
# Where the usual hint is to ask the doctor.
_HINTS = {
    **dict.fromkeys(("ngrok_offline", "ngrok_timeout", "tunnel_timeout"), _NETWORK_HINT),
    "probe_failed": "Check that it forwards to {local_url}, and what curl gets from it.",
}
_OK, _BAD_REQUEST, _NOT_FOUND = 200, 400, 404


async def check_callbacks(subject: Subject, doctor: Doctor) -> None:
    """Bind a listener, call it, open a way to it, and call it through that."""
    async with AsyncExitStack() as stack:
        checks = _CallbackChecks(subject, stack)
        if not await doctor.check("listener", checks.bind):
            return
        await doctor.check("answer", checks.check_answer, limit_s=ANSWER_S + 1)
        await doctor.check("path", checks.check_path)
        await doctor.check("content", checks.check_content)
        if (reason := checks.reason_for_no_tunnel()) is not None:
            doctor.tell("tunnel", passed(reason))
            return
        if subject.options.public_url is None:
            await doctor.check("ngrok agent", checks.check_agent)
            await doctor.check("ngrok token", checks.check_token)
        if checks.may_open:
            if await doctor.check("tunnel", checks.open_tunnel, limit_s=_TUNNEL_S) and checks.is_open:
                await doctor.check("public", checks.check_public, limit_s=ANSWER_S + 1)
        else:
            hint = "Install the ngrok agent, or run a job, and check again."
            doctor.tell("tunnel", checks.judge("not tried", hint, instead=_INSTEAD))


class _CallbackChecks:
    """The listener under examination, and what is known of the way to it.

    Args:
        subject: Settings and keys.
        stack: Closes what is opened here.
    """

    def __init__(self, subject: Subject, stack: AsyncExitStack) -> None:
        self._patient = subject
        self._stack = stack
        self._clock: Clock = subject.context.clock
        self._listener: CallbackListener | None = None
        self._inbox: CallbackInbox | None = None
        self._channel: CallbackChannel | None = None
        self.may_open = subject.options.opens_tunnel

    @property
    def is_open(self) -> bool:
        """Whether there is a public URL."""
        return self._channel is not None and self._channel.url is not None

    def judge(self, message: str, hint: str, *, instead: str = "") -> Finding:
        """Return what a missing tunnel means: a failure for who insists on one, else a slower way."""
        if self._patient.settings.callback == "required":
            return failed(message, hint)
        return warned(f"{message}{instead}", hint)

    def reason_for_no_tunnel(self) -> str | None:
        """Say why no tunnel is wanted, or ``None`` when one is."""
        settings = self._patient.settings
        if settings.callback == "off":
            return f"not wanted: callback = off ({settings.sources['callback']})"
        if not self._patient.options.opens_tunnel:
            return "not checked: --no-tunnel"
        wants_own = self._patient.options.public_url is not None
        if settings.is_loopback and settings.callback == "auto" and not wants_own and not self._environ_token:
            return "not needed: the service is on this machine"
        return None

    @property
    def _environ_token(self) -> Secret:
        return Secret(self._patient.environ.get("NGROK_AUTHTOKEN", "").strip())

    async def bind(self) -> Finding:
        """Bind the listener where jobs would bind it."""
        options = self._patient.options
        self._listener = await self._stack.enter_async_context(
            CallbackListener(
                clock=self._clock,
                host=options.listen_host,
                port=options.listen_port,
                webhook_key=self._patient.webhook_key,
            )
        )
        self._inbox = self._listener.open_inbox()
        return passed(f"bound to {self._listener.local_url}")

    async def check_answer(self) -> Finding:
        """Send a sample callback, as the service would, and see it arrive."""
        delivery = await self._call(self._local_url, SampleName.SUCCESS)
        if delivery.status != _OK:
            return failed(f"answers {_told(delivery)}", "This is a fault of suno-cover: please report it.")
        await self._known_inbox.receive()
        return passed(f"200 after {delivery.latency_ms:.0f} ms (the service waits 15 s)")

    async def check_path(self) -> Finding:
        """Call a path that nobody has."""
        delivery = await self._call(f"{self._local_url}x", SampleName.SUCCESS)
        if delivery.status != _NOT_FOUND:
            return failed(
                f"a wrong path answers {_told(delivery)}", "This is a fault of suno-cover: please report it."
            )
        return passed("only POST to a secret path is taken; others get 404 or 405")

    async def check_content(self) -> Finding:
        """Send JSON that breaks off."""
        delivery = await self._call(self._local_url, SampleName.MALFORMED)
        if delivery.status != _BAD_REQUEST:
            return failed(f"broken JSON is answered {_told(delivery)}", "This is a fault of suno-cover.")
        return passed("JSON of a callback is read; anything else gets 400")

    async def check_agent(self) -> Finding:
        """Find the agent and ask it for its version; nothing is downloaded."""
        environ = self._patient.environ
        try:
            agent, default = await in_daemon_thread(
                lambda: locate_agent(self._patient.options.ngrok_path, environ)
            )
        except TunnelError as error:
            self.may_open = False
            return self.judge(error.message, error.hint)
        if agent is None:
            self.may_open = False
            return self.judge(
                "not installed", f"The first tunnel downloads it to {default}; or see https://ngrok.com/download"
            )
        version = await in_daemon_thread(
            lambda: _ask_version(str(agent.path), self._patient.context.child_environ)
        )
        if version is None:
            return self.judge(
                f"{agent.path} does not tell its version", "Install it again: https://ngrok.com/download"
            )
        return passed(f"{version} at {agent.path} ({agent.source})")

    async def check_token(self) -> Finding:
        """Find the token; whether ngrok takes it is for the tunnel to tell."""
        told: list[str] = []
        found = await in_daemon_thread(lambda: find_token(self._environ_token or None, told.append))
        if found is None:
            return self.judge(
                "; ".join(["no authtoken", *told]),
                "Get a free one at https://dashboard.ngrok.com/get-started/your-authtoken, "
                "then: export NGROK_AUTHTOKEN=...",
            )
        self._patient.context.output.redactor.add(found.token)
        return passed(f"from {found.source}")

    async def open_tunnel(self) -> Finding:
        """Open a real tunnel and see our own answer come back through it."""
        subject = self._patient
        listener = self._known_listener
        try:
            tunnel = choose_tunnel(
                subject.context,
                subject.options,
                subject.settings,
                local_url=listener.local_url,
                may_update=False,
            )
        except UsageError as error:
            return failed(error.message, error.hint)
        probe = await self._stack.enter_async_context(HttpProbe(user_agent=subject.context.user_agent))
        began_s = self._clock.monotonic()
        self._channel = await self._stack.enter_async_context(
            CallbackChannel(listener, tunnel, sink=NullSink(), clock=self._clock, probe=probe.fetch, mend=False)
        )
        url = await self._channel.wait_open()
        if url is None:
            failure = self._channel.failure or TunnelError("no tunnel")
            hint = _HINTS.get(failure.code, failure.hint)
            if hint.startswith("suno-cover doctor"):
                hint = _AGENT_HINT
            return self.judge(failure.message, hint.replace("{local_url}", listener.local_url), instead=_INSTEAD)
        how = "your own address" if isinstance(tunnel, PublicUrl) else "ngrok"
        return passed(f"{url} ({how}) leads here; opened in {self._clock.monotonic() - began_s:.1f} s")

    async def check_public(self) -> Finding:
        """Call back through the public URL, as the service would: it resolves, no firewall, 200 in time."""
        if self._channel is None or self._channel.url is None:
            raise RuntimeError("there is no public URL")
        delivery = await self._call(f"{self._channel.url}{self._known_inbox.path}", SampleName.SUCCESS)
        if delivery.status != _OK:
            return self.judge(
                f"a callback through it gets {_told(delivery)}",
                "Something between ngrok and this machine rejects POST requests: check proxies and firewalls.",
            )
        await self._known_inbox.receive()
        return passed(f"a callback came through after {delivery.latency_ms:.0f} ms")

    async def _call(self, url: str, name: SampleName) -> Delivery:
        now_s = self._clock.time()
        (sample, *_) = build_sample(name, now_s=now_s)
        async with CallbackSender(url, clock=self._clock) as sender:
            headers = sample.headers(self._patient.webhook_key, self._scheme, now_s)
            return await sender.deliver(sample.body, headers)

    @property
    def _scheme(self) -> SignatureScheme:
        return self._patient.context.providers.scheme_of(self._patient.settings.provider)

    @property
    def _local_url(self) -> str:
        return f"{self._known_listener.local_url}{self._known_inbox.path}"

    @property
    def _known_listener(self) -> CallbackListener:
        if self._listener is None:
            raise RuntimeError("the listener is not bound")
        return self._listener

    @property
    def _known_inbox(self) -> CallbackInbox:
        if self._inbox is None:
            raise RuntimeError("the listener is not bound")
        return self._inbox


def _told(delivery: Delivery) -> str:
    return f"HTTP {delivery.status}" if delivery.status is not None else delivery.error


def _ask_version(agent: str, environ: ChildEnviron) -> str | None:
    """Run ``ngrok --version`` without our secrets; ``None`` when it does not say."""
    try:
        done = subprocess.run(  # noqa: S603 -- the agent that jobs would run
            [agent, "--version"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    shown = clean(done.stdout.decode("utf-8", "replace"), 60)
    return shown if done.returncode == 0 and shown else None
