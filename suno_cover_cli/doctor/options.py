"""The options of ``doctor``."""

from dataclasses import dataclass
from typing import Annotated

from suno_cover_cli.options.declare import verbose_option
from suno_cover_cli.options.groups import (
    CallbackOptions,
    JsonOptions,
    OutputOptions,
    ServiceOptions,
    WebhookKeyOptions,
)


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(ServiceOptions, WebhookKeyOptions, CallbackOptions, OutputOptions, JsonOptions):
    """Options of the command."""

    verbosity: Annotated[int, verbose_option("Show what passed, one line a check.")] = 0
