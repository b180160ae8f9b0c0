"""``trigger``: send a sample callback to any receiver, offline."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.base.text import clean, did_you_mean
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JsonOptions, ReceiverOptions, WebhookKeyOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.callbacks.bodies import Headers
    from suno_cover_cli.callbacks.exchanges import Delivery
    from suno_cover_cli.callbacks.samples import Expectation, Sample
    from suno_cover_cli.callbacks.sending.delivery import CallbackSender
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
        others = did_you_mean(text, SampleName).rstrip() or f"There are {', '.join(SampleName)}."
        raise typer.BadParameter(f'no such sample: "{clean(text, 40)}". {others}') from None


@dataclass(frozen=True, kw_only=True)
class TriggerOptions(WebhookKeyOptions, JsonOptions, ReceiverOptions):
    """Options of the command."""

    sample: Annotated[
        SampleName | None,
        typer.Argument(
            metavar="[SCENARIO]",
            parser=scenario,
            autocompletion=_complete_sample,
            help="success, failed-501, duplicate, bad-signature ...",
            show_default=False,
        ),
    ] = None
    task_id: Annotated[
        str | None,
        typer.Option("--task-id", metavar="ID", help="Cover task id in the callback; random otherwise."),
    ] = None
    image_urls: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="URL", help="Image address in the callback; may be repeated."),
    ] = None
    count: Annotated[
        int, typer.Option("--times", min=1, max=1_000_000, metavar="N", help="How many times to send it.")
    ] = 1
    send_rate: Annotated[
        str | None,
        typer.Option(
            "--pace", metavar="N/TIME", help="Send at this rate without waiting for answers, such as 20/1s."
        ),
    ] = None
    expected: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="STATUS",
            help="What the receiver should answer: 200, 4xx, 401,403. (default: what suits the sample)",
        ),
    ] = None


def trigger(options: TriggerOptions) -> None:
    """Send a sample callback to any receiver, offline: no key, no account, no service.

    Covers: success, failed-501, refunded-531, error-500, validation-400,
    timeout-408, duplicate, late, wrong-task.

    Other kinds: music-text, music-first, music-complete, music-error, lyrics,
    wav, video, vocal, market.

    Signatures: unsigned, bad-signature, stale-signature.

    Packings: malformed, empty, huge, flat, form, gzip, deflate, gbk, utf-16.

    Exit code: 0 when the receiver answered within 15 s each time as it should:
    200 as a rule, as the service wants it; 401 or 403 to a wrong signature; 4xx
    to what is not a callback. 5 when it never answered; 1 otherwise.

    Example: suno-cover trigger success --to 3000/suno-cover-callback
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_trigger(options, context), is_json=options.json)


COMMAND = Command(trigger)


def prepare_trigger(options: TriggerOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest: send the sample and report what the receiver answered.

    Raises:
        UsageError: A receiver, an id, a rate or a body that cannot be, or a key that is needed and missing.
    """
    from suno_cover_cli.base.settings import parse_rate
    from suno_cover_cli.callbacks.samples import LATE_S, parse_expectation
    from suno_cover_cli.listen.deliveries import make_sender

    sender = make_sender(options, context)
    limit, window_s = parse_rate(options.send_rate, "--pace") if options.send_rate is not None else (None, 0.0)
    expected = parse_expectation(options.expected) if options.expected is not None else None
    sources = context.sources(options.profile)
    key = context.webhook_key(sources, options)
    scheme = context.providers.scheme_of(context.provider(sources, options))
    samples = _samples_of(options, context)
    # Whatever needs a key that is missing says so here, before anything is sent.
    samples[0].headers(key, scheme, context.clock.time())
    if samples[0].delay_s >= LATE_S:
        context.output.write_words(f"Waiting {LATE_S:g} s, as the service does before its second attempt.")
    pause_s = window_s / limit if limit is not None else None

    def headers_of(sample: "Sample") -> "Headers":
        return sample.headers(key, scheme, context.clock.time())

    wanted = [(sample, expected or sample.expectation(key)) for sample in samples]
    return _send_all(sender, wanted, headers_of, pause_s, context)


def _samples_of(options: TriggerOptions, context: "Context") -> "list[Sample]":
    """Return the requests to send, in their order.

    Raises:
        UsageError: An id or a body that cannot be, or neither a sample nor a body.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.task_ids import checked_cover_task_id
    from suno_cover_cli.callbacks.content import NotACallbackError, parse_callback
    from suno_cover_cli.callbacks.samples import Sample, build_sample
    from suno_cover_cli.listen.deliveries import read_body_file

    task_id = checked_cover_task_id(options.task_id) if options.task_id is not None else None
    if (options.sample is None) is (options.body_file is None):
        alone = "" if options.sample is None else ", not both"
        hint = "suno-cover trigger --help lists the samples."
        raise UsageError(f"Give a sample or --body FILE{alone}", hint=hint)
    if options.body_file is not None:
        if options.image_urls:
            raise UsageError("--image has no effect on --body", hint="Write the addresses into that body.")
        body = read_body_file(options.body_file, context.output.streams.stdin)
        try:
            task_id = task_id or parse_callback(body).task_id
        except NotACallbackError:
            task_id = task_id or ""
        is_json = body.lstrip()[:1] in {b"{", b"["}
        content_type = "application/json" if is_json else "application/octet-stream"
        return [Sample("body", task_id, body, packing=(("Content-Type", content_type),))] * options.count
    sample, now_s, images = options.sample or SampleName.SUCCESS, context.clock.time(), options.image_urls or ()
    return [
        one
        for _ in range(options.count)
        for one in build_sample(sample, now_s=now_s, task_id=task_id, image_urls=tuple(images))
    ]


async def _send_all(
    sender: "CallbackSender",
    wanted: "list[tuple[Sample, Expectation]]",
    headers_of: "Callable[[Sample], Headers]",
    pause_s: float | None,
    context: "Context",
) -> "ExitCode":
    """Send one after the other; with a rate, or within a sample, the next does not wait for an answer."""
    import asyncio

    from suno_cover_cli.listen.deliveries import exit_code_of, write_delivery

    clock = context.clock
    deliveries: list[tuple[Delivery, Expectation]] = []
    advised: set[str] = set()
    places = asyncio.Semaphore(_MAX_AT_ONCE)

    async with sender, asyncio.TaskGroup() as group:

        async def send(sample: "Sample", expectation: "Expectation") -> None:
            try:
                delivery = await sender.deliver(sample.body, headers_of(sample))
            finally:
                places.release()
            deliveries.append((delivery, expectation))
            write_delivery(context.output, sample.name, sample.task_id, delivery, expectation, advised=advised)

        sending: set[asyncio.Task[None]] = set()
        for n, (sample, expectation) in enumerate(wanted):
            if sample.delay_s:
                await clock.sleep(sample.delay_s)
            elif n and pause_s is not None:
                await clock.sleep(pause_s)
            elif sending:
                await asyncio.wait(sending)
                sending.clear()
            await places.acquire()
            sending.add(group.create_task(send(sample, expectation)))
    return exit_code_of(deliveries)
