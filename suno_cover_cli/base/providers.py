"""The providers: everything in which one of them differs from the others, as data, and nowhere else.

A new provider is a :class:`Provider` in this module and its name in :data:`PROVIDERS`. The words of
``--provider``, the look-up of keys, the hints, what ``doctor`` names, the check of callbacks, what child processes
must not see and the tables of the reference page follow from it. Light: ``--help`` reads it.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, NewType

LINKS_LIVE_S = 14 * 24 * 3600.0
"""How long links to images live at most: the providers document 14 days, some have seen them die after one."""

_NOTHING: Mapping[str, str] = MappingProxyType({})

WEBHOOK_KEY_VARIABLE = "SUNO_WEBHOOK_KEY"
"""Holds the key that signs callbacks, of whichever provider."""

ChildEnviron = NewType("ChildEnviron", dict[str, str])
"""An environment that has passed :func:`without_secrets`: what starts a program takes no other."""


class Calls(NamedTuple):
    """Paths of a provider's calls, each appended to the base URL.

    Attributes:
        submit: ``POST``; asks for a cover.
        record: ``GET``; reads a cover job.
        balance: ``GET``; reads what is left of the account's credits.
        music: ``GET``; reads the record of a piece of music, for its title.
    """

    submit: str
    record: str
    balance: str
    music: str


class SignatureScheme(NamedTuple):
    """How callbacks are signed: an HMAC in one header, in most schemes with a time stamp in another.

    Attributes:
        signature_header: Holds the digest.
        timestamp_header: Holds the time of sending in unix seconds; empty for a scheme without one, which then
            has no maximum age.
        signed: What is signed, with ``{task_id}``, ``{timestamp}`` and ``{body}`` for what came.
        algorithm: Of the HMAC, as :mod:`hashlib` spells it.
        encoding: Of the digest.
        prefix: Stands before the digest, such as ``sha256=``.
    """

    signature_header: str
    timestamp_header: str
    signed: str = "{task_id}.{timestamp}"
    algorithm: str = "sha256"
    encoding: Literal["base64", "hex"] = "base64"
    prefix: str = ""


class Habits(NamedTuple):
    """Where requests and answers of a provider differ from the contract that the providers share.

    Attributes:
        music_field: Field of a submit that names the music task.
        callback_field: Field of a submit that holds the callback address.
        id_parameter: Query parameter of both reads.
        envelope_fields: Its spelling of ``code``, ``msg`` and ``data`` -> the contract's.
        data_fields: Its spelling of a field of ``data`` -> the contract's.
        codes: Its code -> the documented code that means the same.
    """

    music_field: str = "taskId"
    callback_field: str = "callBackUrl"
    id_parameter: str = "taskId"
    envelope_fields: Mapping[str, str] = _NOTHING
    data_fields: Mapping[str, str] = _NOTHING
    codes: Mapping[int, int] = MappingProxyType({})


class Provider(NamedTuple):
    """One provider.

    Attributes:
        name: As users type it and as the journal keeps it.
        site: As people know it, such as ``kie.ai``.
        base_url: Its documented address, without a trailing slash.
        calls: Its paths.
        key_variable: Environment variable that holds the API key.
        key_page: Where a person gets a key.
        image_host: Where its examples have their images; others occur.
        log_page: Where a person sees the tasks of the account; empty when the provider shows none.
        webhook_page: Where a person gets the key that signs callbacks; empty when it signs none.
        signature: How it signs callbacks, or ``None``.
        habits: Where it differs from the contract.
        also_for: Other services that it stands for, for the reference page.
    """

    name: str
    site: str
    base_url: str
    calls: Calls
    key_variable: str
    key_page: str
    image_host: str = "https://tempfile.aiquickdraw.com/"
    log_page: str = ""
    webhook_page: str = ""
    signature: SignatureScheme | None = None
    habits: Habits = Habits()
    also_for: str = ""


class Providers(NamedTuple):
    """The providers that a run knows; the first is the default."""

    known: tuple[Provider, ...]

    @property
    def default(self) -> Provider:
        """The provider when none is named."""
        return self.known[0]

    @property
    def names(self) -> tuple[str, ...]:
        """As users type them."""
        return tuple(provider.name for provider in self.known)

    @property
    def key_variables(self) -> tuple[str, ...]:
        """Environment variables that hold API keys."""
        return tuple(dict.fromkeys(provider.key_variable for provider in self.known))

    def find(self, name: str) -> Provider | None:
        """Return the provider of a name as users may type it, or ``None``."""
        wanted = name.strip().lower()
        return next((provider for provider in self.known if provider.name == wanted), None)

    def signing(self) -> Iterator[Provider]:
        """Yield the providers that sign callbacks."""
        return (provider for provider in self.known if provider.signature is not None)

    def scheme_of(self, provider: Provider) -> SignatureScheme:
        """Return how callbacks are signed; for a provider that signs none, how the first does that signs any.

        A webhook key means that callbacks are to be checked, a reseller's for example, which nothing documents.

        Raises:
            LookupError: No provider signs callbacks.
        """
        scheme = provider.signature or next((one.signature for one in self.signing()), None)
        if scheme is None:
            raise LookupError("no provider signs callbacks")
        return scheme


_SUNOAPI_CALLS = Calls(
    submit="/api/v1/suno/cover/generate",
    record="/api/v1/suno/cover/record-info",
    balance="/api/v1/generate/credit",
    music="/api/v1/generate/record-info",
)

SUNOAPI = Provider(
    name="sunoapi",
    site="sunoapi.org",
    base_url="https://api.sunoapi.org",
    calls=_SUNOAPI_CALLS,
    key_variable="SUNO_API_KEY",
    key_page="https://sunoapi.org/api-key",
    also_for="services with the same contract",
)

KIE_SIGNATURE = SignatureScheme(signature_header="X-Webhook-Signature", timestamp_header="X-Webhook-Timestamp")

KIE = Provider(
    name="kie",
    site="kie.ai",
    base_url="https://api.kie.ai",
    calls=_SUNOAPI_CALLS._replace(balance="/api/v1/chat/credit"),
    key_variable="KIE_API_KEY",
    key_page="https://kie.ai/api-key",
    log_page="https://kie.ai/logs",
    webhook_page="https://kie.ai/settings",
    signature=KIE_SIGNATURE,
)

PROVIDERS = Providers((SUNOAPI, KIE))
"""The providers of the program. Passed on by the builder of a run's context, so that a test can hand in others."""


def without_secrets(environ: Mapping[str, str], secret: Iterable[str]) -> ChildEnviron:
    """Return a copy without the variables that hold keys and tokens.

    Args:
        environ: The environment.
        secret: Their names. There is no list of them: they follow from what a run knows of providers and tunnels.
    """
    # Windows knows no difference between SUNO_API_KEY and suno_api_key, and a dict of its variables does.
    names = {name.upper() for name in secret}
    return ChildEnviron({name: value for name, value in environ.items() if name.upper() not in names})
