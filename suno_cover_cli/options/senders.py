"""The options of the commands that send callbacks to a receiver: trigger, replay."""

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, kw_only=True)
class ReceiverOptions:
    """Where callbacks are sent, and with what."""

    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL|PORT",
            help="The receiver: 3000, 3000/hook, host:port/hook or a URL, with user:password@ if need be.",
            show_default=False,
        ),
    ]
    body_file: Annotated[
        str | None, typer.Option("--body", metavar="FILE|-", help="Send these bytes instead.", show_default=False)
    ] = None
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="TEXT", help="Send this header along, 'Name: value'; may be repeated."),
    ] = None
    is_insecure: Annotated[bool, typer.Option("--insecure", help="Accept any certificate of the receiver.")] = (
        False
    )
