"""``trigger``: send a sample callback to any receiver, offline."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import is_safe_task_id
from suno_cover_cli.base.settings import parse_rate
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.callbacks.delivery import CallbackSender, Delivery, parse_target
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.callbacks.samples import LATE_S, Sample, build_sample
from suno_cover_cli.listen.deliveries import exit_code_of, write_delivery
from suno_cover_cli.ui.output import Output
from suno_cover_cli.wiring.context import Context, ServiceOptions
from suno_cover_cli.wiring.runner import run as run_command

_MAX_AT_ONCE = 100


class TriggerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command; see its help."""

    to: str
    task_id: str | None = None
    image_urls: tuple[str, ...] = ()
    count: int = 1
    rate: str | None = None
    webhook_key_file: str | None = None
    profile: str | None = None


def run(name: SampleName, options: TriggerOptions, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    run_command(lambda: trigger(name, options, Context(output=output)), output)


def trigger(name: SampleName, options: TriggerOptions, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Check the options, and return the rest: send the sample and tell what the receiver answered.

    Raises:
        UsageError: A receiver, an id or a rate that cannot be, or a key that is needed and missing.
    """
    url = parse_target(options.to)
    if options.task_id is not None and not is_safe_task_id(options.task_id):
        raise UsageError(
            f'not a cover task id: "{clean(options.task_id, 60)}"',
            code="bad_id",
            hint="Ids have letters, digits, - and _, at most 128.",
        )
    limit, window_s = parse_rate(options.rate) if options.rate is not None else (None, 0.0)
    where = context.sources(options.profile)
    key = context.webhook_key(where, ServiceOptions(webhook_key_file=options.webhook_key_file))
    now_s = context.clock.time()
    samples = [
        sample
        for _ in range(options.count)
        for sample in build_sample(name, now_s=now_s, task_id=options.task_id, image_urls=options.image_urls)
    ]
    # Whatever needs a key that is missing says so here, before anything is sent.
    samples[0].headers(key, now_s)
    if samples[0].delay_s >= LATE_S:
        context.output.write_words(f"Waiting {LATE_S:g} s, as the service does before its second attempt.")
    pause_s = window_s / limit if limit is not None else None
    return _send_all(url, samples, key, pause_s, context)


async def _send_all(
    url: str, samples: list[Sample], key: Secret | None, pause_s: float | None, context: Context
) -> ExitCode:
    """Send one after the other; with a rate, or within a sample, the next does not wait for an answer."""
    clock, deliveries = context.clock, list[Delivery]()
    places = asyncio.Semaphore(_MAX_AT_ONCE)

    async with CallbackSender(url, clock=clock) as sender, asyncio.TaskGroup() as group:

        async def send(sample: Sample) -> None:
            try:
                delivery = await sender.deliver(sample.body, sample.headers(key, clock.time()))
            finally:
                places.release()
            deliveries.append(delivery)
            write_delivery(context.output, sample.name, sample.task_id, delivery)

        sending: set[asyncio.Task[None]] = set()
        for n, sample in enumerate(samples):
            if sample.delay_s:
                await clock.sleep(sample.delay_s)
            elif n and pause_s is not None:
                await clock.sleep(pause_s)
            elif sending:
                await asyncio.wait(sending)
                sending.clear()
            await places.acquire()
            sending.add(group.create_task(send(sample)))
    return exit_code_of(deliveries)
