"""Keys: from the environment, a private file, standard input or the settings file; never from a flag."""

import re
from typing import BinaryIO, NamedTuple

from suno_cover_cli.base.errors import KeyRefusedError, UsageError
from suno_cover_cli.base.files import read_given
from suno_cover_cli.base.providers import WEBHOOK_KEY_VARIABLE, Provider, SignatureScheme
from suno_cover_cli.base.settings import Sources, is_loopback_url
from suno_cover_cli.base.text import Secret, clean

_MAX_SECRET_FILE_BYTES = 64 * 1024
_MAX_KEY_CHARS = 4096
# What examples have in the place of a key; the name of a variable is one as well.
_PLACEHOLDER = re.compile(
    r"(?:sk-)?(?:<[^>]*>|\[[^\]]*\]|\{[^}]*\}|\$\{?\w+\}?|%\w+%|\.{2,}|\u2026|\*{3,})"
    r"|(?:your|insert|paste|enter|replace)[a-z_ -]*(?:key|secret|token)[a-z_ -]*",
    re.IGNORECASE,
)


class WebhookKey(NamedTuple):
    """The key that signs callbacks, and how it does."""

    secret: Secret
    scheme: SignatureScheme


def tidy_key(text: str) -> str:
    """Take off what people paste along with a key: blanks, quotes, a leading ``Bearer``."""
    key = text.strip().strip("'\"").strip()
    if key[:7].lower() == "bearer ":
        key = key[7:].strip()
    return key


def read_secret_file(path: str, *, stdin: BinaryIO, what: str) -> Secret:
    """Read a secret from a file, or from standard input when the path is ``-``.

    Args:
        path: File, or ``-``.
        stdin: Binary stream behind ``-``.
        what: Name used in messages, such as ``API key``.

    Raises:
        UsageError: Unreadable, empty, too long, or not text.
    """
    try:
        raw = read_given(path, stdin, _MAX_SECRET_FILE_BYTES)
        text = tidy_key(raw.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read the {what} from {path}: {error.strerror}", hint="Check the path.") from None
    except UnicodeDecodeError:
        raise UsageError(f"the {what} in {path} is not text", hint="Check the path.") from None
    return checked_secret(text, f"the {what} in {'standard input' if path == '-' else path}")


def checked_secret(text: str, what: str) -> Secret:
    """Return a tidied text as a secret.

    Raises:
        UsageError: It is empty, a placeholder, or nothing that a key could be.
    """
    if not text:
        raise UsageError(f"{what} is empty", hint="Put the key there and run the same command again.")
    if _PLACEHOLDER.fullmatch(text[:_MAX_KEY_CHARS]):
        hint = "Put your own key there and run the same command again."
        raise UsageError(f"{what} holds a placeholder, not a key", code="placeholder_key", hint=hint)
    if len(text) > _MAX_KEY_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"{what} does not hold a valid key", hint="Copy the key alone, on one line.")
    return Secret(text)


def load_api_key(
    provider: Provider, where: Sources, *, key_file: str | None, stdin: BinaryIO, base_url: str = ""
) -> tuple[Secret, str]:
    """Find the API key and say where it came from.

    Args:
        provider: Decides the name of the environment variable.
        where: Environment and settings file.
        key_file: Path given with ``--api-key-file``, ``-`` for standard input, or ``None``.
        stdin: Binary stream behind ``-``.
        base_url: Of the service, for the hint; empty where that does not matter.

    Raises:
        KeyRefusedError: There is none; the hint says where to get one.
        UsageError: What is there cannot be a key.
    """
    if key_file is not None:
        return read_secret_file(key_file, stdin=stdin, what="API key"), key_file
    variable = provider.key_variable
    if text := tidy_key(where.environ.get(variable, "")):
        return checked_secret(text, f"the environment variable {variable}"), variable
    if (text := tidy_key(where.config.section(where.profile).get("api-key", ""))) and _kept_for(
        where
    ) == provider.name:
        source = where.config.source_of("api-key", where.profile)
        return checked_secret(text, f"api-key in {source}"), source
    raise _no_key(provider, where, base_url)


def _kept_for(where: Sources) -> str:
    """Return the provider that a kept key belongs to: the one its table speaks of. No other gets to see it."""
    values = where.config.values
    profile = where.config.profiles.get(where.profile or "", {})
    table = {**values, **profile} if "api-key" in profile else values
    return str(table.get("provider", where.providers.default.name)).strip().lower()


def _set_key(profile: str | None) -> str:
    return f"suno-cover config set{f' --profile {clean(profile, 60)}' if profile else ''} api-key -"


def _no_key(provider: Provider, where: Sources, base_url: str) -> KeyRefusedError:
    name, variable = provider.name, provider.key_variable
    others = (one for one in where.providers.known if one.key_variable != variable)
    other = next((one for one in others if where.environ.get(one.key_variable)), None)
    if other is not None:
        # The commonest slip with two providers.
        hint = f"{other.key_variable} is set: use --provider {other.name}, or set {variable} for {provider.name}."
    elif where.config.section(where.profile).get("api-key"):
        hint = (
            f"The api-key in {where.config.path} is for {clean(_kept_for(where), 20)}; keep one for {name} in a "
            f"profile: {_set_key(where.profile or name)}{'' if where.profile else f', then add --profile {name}'}"
        )
    elif is_loopback_url(base_url):
        hint = f"It is a service on this machine: suno-cover sandbox prints its key; then export {variable}=..."
    else:
        hint = (
            f"Get one at {provider.key_page}, then: export {variable}=... or {_set_key(where.profile)}  "
            "(or try everything without one: suno-cover generate --sandbox my-song)"
        )
    return KeyRefusedError(f"there is no API key: {variable} is not set", code="no_key", hint=hint)


def hidden_profile_key(provider: Provider, where: Sources) -> str | None:
    """Say in one line when the environment's key hides the one of the profile that was asked for."""
    kept = where.config.profiles.get(where.profile or "", {}).get("api-key", "")
    used = tidy_key(where.environ.get(provider.key_variable, ""))
    if where.profile is None or not kept or not used or used == tidy_key(kept):
        return None
    return f"{provider.key_variable} of the environment is used, not the api-key of profile {where.profile}"


def load_webhook_key(
    provider: Provider, where: Sources, *, key_file: str | None, stdin: BinaryIO
) -> WebhookKey | None:
    """Find the key that signs callbacks, or ``None`` when there is none.

    Args:
        provider: Decides how callbacks are signed.
        where: Environment and settings file.
        key_file: Path given with ``--webhook-key-file``, ``-`` for standard input, or ``None``.
        stdin: Binary stream behind ``-``.

    Raises:
        UsageError: What is there cannot be a key.
    """
    if key_file is not None:
        secret = read_secret_file(key_file, stdin=stdin, what="webhook key")
    elif (found := find_webhook_key(where)) is not None:
        secret, _ = found
    else:
        return None
    return WebhookKey(secret, where.providers.scheme_of(provider))


def find_webhook_key(where: Sources) -> tuple[Secret, str] | None:
    """Find the key that signs callbacks where it is kept, and say where that is.

    Raises:
        UsageError: What is there cannot be a key.
    """
    if text := tidy_key(where.environ.get(WEBHOOK_KEY_VARIABLE, "")):
        return checked_secret(text, f"the environment variable {WEBHOOK_KEY_VARIABLE}"), WEBHOOK_KEY_VARIABLE
    if text := tidy_key(where.config.section(where.profile).get("webhook-key", "")):
        source = where.config.source_of("webhook-key", where.profile)
        return checked_secret(text, f"webhook-key in {source}"), source
    return None
