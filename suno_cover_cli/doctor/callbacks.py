"""What ``doctor`` checks of callbacks: a real listener, its answers, the agent, a real tunnel and what it does."""

from contextlib import AsyncExitStack
from functools import partial

from suno_cover_cli.base.clock import Clock, in_daemon_thread
from suno_cover_cli.base.errors import TunnelError, UsageError
from suno_cover_cli.base.events import NullSink
from suno_cover_cli.callbacks.exchanges import Delivery
from suno_cover_cli.callbacks.listener import CallbackListener
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.callbacks.samples import build_sample
from suno_cover_cli.callbacks.sending.delivery import ANSWER_S, CallbackSender
from suno_cover_cli.callbacks.sending.targets import Target
from suno_cover_cli.doctor.checks import Doctor, Finding, Subject, failed, passed, skipped, warned
from suno_cover_cli.tunnels.choice import DIRECT
from suno_cover_cli.tunnels.tunnel import TunnelCheck
from suno_cover_cli.wiring.callbacks import choose_tunnel, open_channel, refuse_malformed_proxy

_TUNNEL_S = 14.0
_INSTEAD = "; jobs are checked every 30 s instead"
_OK, _BAD_REQUEST, _NOT_FOUND = 200, 400, 404


async def check_callbacks(subject: Subject, doctor: Doctor) -> None:
    """Bind a listener, call it, open a way to it, and call it through that."""
    async with AsyncExitStack() as stack:
        bound: list[CallbackListener] = []

        async def bind() -> Finding:
            listener = CallbackListener(
                clock=subject.context.clock,
                host=subject.options.listen_host,
                port=subject.options.listen_port,
                webhook_key=subject.usable_webhook_key,
            )
            bound.append(await stack.enter_async_context(listener))
            return passed(f"bound to {listener.local_url}")

        if not await doctor.check("listener", bind):
            return
        calls = _Calls(subject, bound[0])
        await doctor.check("answer", calls.check_answer, limit_s=ANSWER_S + 1)
        await doctor.check("path", calls.check_path)
        await doctor.check("content", calls.check_content)
        if subject.options.tunnel is False:
            doctor.add("tunnel", skipped("--no-tunnel"))
        elif subject.settings.callback == "off":
            source = subject.settings.sources["callback"]
            doctor.add("tunnel", skipped(f"turned off: callback = off ({source})"))
        else:
            await _check_tunnel(subject, doctor, calls, stack)


async def _check_tunnel(subject: Subject, doctor: Doctor, calls: "_Calls", stack: AsyncExitStack) -> None:
    try:
        chosen = choose_tunnel(subject.context, subject.options, subject.settings, may_update=False)
        await in_daemon_thread(lambda: refuse_malformed_proxy(chosen))
    except UsageError as error:
        doctor.add("tunnel", failed(error.message, error.hint))
        return
    if chosen.kind is DIRECT:
        doctor.add("tunnel", skipped("the service is on this machine"))
        return
    troubles: list[TunnelError] = []
    for check in chosen.kind.checks(chosen.request):
        await doctor.check(check.name, partial(_ask_kind, subject, check, troubles))
    if any(error.is_permanent for error in troubles):
        doctor.add("tunnel", _judge(subject, f"not tried{_INSTEAD}", "See the fix before this one."))
        return
    began_s = subject.context.clock.monotonic()
    channel = await open_channel(stack, subject.context, chosen, calls.listener, sink=NullSink(), reconnects=False)

    async def wait_open() -> Finding:
        if (url := await channel.wait_open()) is None:
            failure = channel.failure or TunnelError("no tunnel")
            hint = chosen.kind.advise(failure)
            if failure.code == "probe_failed":
                hint = f"Check that it forwards to {calls.listener.local_url}, and what curl gets from it."
            return _judge(subject, f"{failure.message}{_INSTEAD}", hint)
        elapsed_s = subject.context.clock.monotonic() - began_s
        return passed(f"{url} ({chosen.kind.name}) leads here; opened in {elapsed_s:.1f} s")

    if await doctor.check("tunnel", wait_open, limit_s=_TUNNEL_S) and channel.url is not None:
        check_public = partial(calls.check_public, channel.url, chosen.kind.name)
        await doctor.check("public", check_public, limit_s=ANSWER_S + 1)


async def _ask_kind(subject: Subject, check: TunnelCheck, troubles: list[TunnelError]) -> Finding:
    try:
        return passed(await in_daemon_thread(check.run))
    except TunnelError as error:
        troubles.append(error)
        return _judge(subject, error.message, error.hint)


def _judge(subject: Subject, message: str, hint: str) -> Finding:
    """Return what a missing tunnel means: a failure where one is required, else a slower way."""
    if subject.settings.callback == "required":
        return failed(message.removesuffix(_INSTEAD), hint)
    return warned(message, hint)


class _Calls:
    """Calls to the listener under examination, as the service makes them.

    Args:
        subject: Settings and keys.
        listener: Bound.
    """

    def __init__(self, subject: Subject, listener: CallbackListener) -> None:
        self.listener = listener
        self._inbox = listener.open_inbox()
        self._subject = subject
        self._clock: Clock = subject.context.clock

    async def check_answer(self) -> Finding:
        """Send a sample callback and see it arrive."""
        delivery = await self._call(self._local_url, SampleName.SUCCESS)
        if delivery.answered != _OK:
            return failed(f"answers {_outcome(delivery)}", "This is a fault of suno-cover: please report it.")
        await self._inbox.receive()
        return passed(f"200 after {delivery.latency_ms:.0f} ms (the service waits 15 s)")

    async def check_path(self) -> Finding:
        """Call a path that is not the inbox's."""
        delivery = await self._call(f"{self._local_url}x", SampleName.SUCCESS)
        if delivery.answered != _NOT_FOUND:
            return failed(
                f"a wrong path answers {_outcome(delivery)}", "This is a fault of suno-cover: please report it."
            )
        return passed("only POST to a secret path counts; other paths get 404")

    async def check_content(self) -> Finding:
        """Send JSON that breaks off."""
        delivery = await self._call(self._local_url, SampleName.MALFORMED)
        is_signed = self._subject.usable_webhook_key is not None
        if delivery.answered != (_BAD_REQUEST if is_signed else _OK):
            return failed(f"broken JSON is answered {_outcome(delivery)}", "This is a fault of suno-cover.")
        if is_signed:
            return passed("signed callbacks wake the job; anything else gets 400 or 401")
        await self._inbox.receive()
        return passed(
            "callbacks are read in any encoding; one that cannot be read still makes the job check the service"
        )

    async def check_public(self, public_url: str, kind: str) -> Finding:
        """Call back through the public URL: it resolves, no firewall, 200 in time."""
        delivery = await self._call(f"{public_url}{self._inbox.path}", SampleName.SUCCESS)
        if delivery.answered != _OK:
            return _judge(
                self._subject,
                f"a callback through it gets {_outcome(delivery)}",
                f"Something between {kind} and this machine rejects POST requests: check proxies and firewalls.",
            )
        await self._inbox.receive()
        return passed(f"a callback came through after {delivery.latency_ms:.0f} ms")

    @property
    def _local_url(self) -> str:
        return f"{self.listener.local_url}{self._inbox.path}"

    async def _call(self, url: str, name: SampleName) -> Delivery:
        now_s = self._clock.time()
        (sample, *_) = build_sample(name, now_s=now_s)
        scheme = self._subject.context.providers.scheme_of(self._subject.settings.provider)
        headers = sample.headers(self._subject.usable_webhook_key, scheme, now_s)
        async with CallbackSender(Target(url), clock=self._clock) as sender:
            return await sender.deliver(sample.body, headers)


def _outcome(delivery: Delivery) -> str:
    return f"HTTP {delivery.answered}" if delivery.answered is not None else delivery.error
