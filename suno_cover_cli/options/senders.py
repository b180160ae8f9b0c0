"""The options of the commands that send callbacks to a receiver: trigger, replay."""

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, kw_only=True)
class ReceiverOptions:
    """Where callbacks are sent."""

    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL|PORT",
            help="The receiver: 3000, 3000/hook, host:port/hook or a URL.",
            show_default=False,
        ),
    ]
