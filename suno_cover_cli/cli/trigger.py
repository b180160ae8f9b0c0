"""``trigger``: send a sample callback to any receiver, offline."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.options.groups import JsonOptions, WebhookKeyOptions
from suno_cover_cli.options.senders import ReceiverOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.callbacks.bodies import Headers
    from suno_cover_cli.callbacks.samples import Sample
    from suno_cover_cli.callbacks.targets import Target
    from suno_cover_cli.wiring.context import Context

_MAX_AT_ONCE = 100


def _complete_sample(incomplete: str) -> list[tuple[str, str]]:
    return [(name.value, name.description) for name in SampleName if name.startswith(incomplete)]


def scenario(text: str) -> SampleName:
    """Find a sample by its name; help shows the name of this function as the kind of the argument.

    Raises:
        typer.BadParameter: There is none of that name.
    """
    try:
        return SampleName(text)
    except ValueError:
        raise typer.BadParameter(f"no such sample; there are {', '.join(SampleName)}") from None


@dataclass(frozen=True, kw_only=True)
class TriggerOptions(WebhookKeyOptions, JsonOptions, ReceiverOptions):
    """Options of the command."""

    sample: Annotated[
        SampleName,
        typer.Argument(
            metavar="SCENARIO",
            parser=scenario,
            autocompletion=_complete_sample,
            help="success, failed-501, duplicate, bad-signature ...",
            show_default=False,
        ),
    ]
    task_id: Annotated[
        str | None, typer.Option("--task-id", metavar="ID", help="Cover task id to name; random otherwise.")
    ] = None
    image_urls: Annotated[
        list[str] | None, typer.Option("--image", metavar="URL", help="Image to name; may be repeated.")
    ] = None
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, metavar="N", help="How often.")] = 1
    send_rate: Annotated[
        str | None,
        typer.Option("--rate", metavar="N/TIME", help="Without waiting for answers, such as 20/1s."),
    ] = None


def trigger(options: TriggerOptions) -> None:
    """Send a sample callback to any receiver, offline: no key, no account, no service.

    Samples: success, failed-501, refunded-531, error-500, validation-400,
    timeout-408, duplicate, late, malformed, empty, huge, wrong-task, unsigned,
    bad-signature, stale-signature.

    Exit code: 0 when the receiver answered 200 within 15 s each time, as the
    service wants it; 5 when it never answered; 1 otherwise.

    Example: suno-cover trigger success --to 3000/suno-cover-callback
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_trigger(options, context), is_json=options.json)


def prepare_trigger(options: TriggerOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest: send the sample and report what the receiver answered.

    Raises:
        UsageError: A receiver, an id or a rate that cannot be, or a key that is needed and missing.
    """
    from suno_cover_cli.base.settings import parse_rate
    from suno_cover_cli.base.task_ids import checked_cover_task_id
    from suno_cover_cli.callbacks.samples import LATE_S, build_sample
    from suno_cover_cli.callbacks.targets import parse_target

    target = parse_target(options.to)
    task_id = checked_cover_task_id(options.task_id) if options.task_id is not None else None
    limit, window_s = parse_rate(options.send_rate) if options.send_rate is not None else (None, 0.0)
    sources = context.sources(options.profile)
    key = context.webhook_key(sources, options)
    scheme = context.providers.scheme_of(context.provider(sources, options))
    now_s = context.clock.time()
    images = tuple(options.image_urls or ())
    samples = [
        sample
        for _ in range(options.count)
        for sample in build_sample(options.sample, now_s=now_s, task_id=task_id, image_urls=images)
    ]
    # Whatever needs a key that is missing says so here, before anything is sent.
    samples[0].headers(key, scheme, now_s)
    if samples[0].delay_s >= LATE_S:
        context.output.write_words(f"Waiting {LATE_S:g} s, as the service does before its second attempt.")
    pause_s = window_s / limit if limit is not None else None

    def headers_of(sample: "Sample") -> "Headers":
        return sample.headers(key, scheme, context.clock.time())

    return _send_all(target, samples, headers_of, pause_s, context)


async def _send_all(
    target: "Target",
    samples: "list[Sample]",
    headers_of: "Callable[[Sample], Headers]",
    pause_s: float | None,
    context: "Context",
) -> "ExitCode":
    """Send one after the other; with a rate, or within a sample, the next does not wait for an answer."""
    import asyncio

    from suno_cover_cli.callbacks.delivery import CallbackSender, Delivery
    from suno_cover_cli.listen.deliveries import exit_code_of, write_delivery

    clock, deliveries = context.clock, list[Delivery]()
    places = asyncio.Semaphore(_MAX_AT_ONCE)

    async with CallbackSender(target, clock=clock) as sender, asyncio.TaskGroup() as group:

        async def send(sample: "Sample") -> None:
            try:
                delivery = await sender.deliver(sample.body, headers_of(sample))
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
