"""Keys: from the environment, a private file, standard input or the settings file; never from a flag."""

from pathlib import Path
from typing import BinaryIO

from suno_cover_cli.errors import KeyRefusedError, UsageError
from suno_cover_cli.settings import Provider, Sources
from suno_cover_cli.text import Secret

_MAX_SECRET_FILE_BYTES = 64 * 1024
_MAX_KEY_CHARS = 4096


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
        raw = stdin.read(_MAX_SECRET_FILE_BYTES + 1) if path == "-" else _read_capped(Path(path).expanduser())
        text = tidy_key(raw.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read the {what} from {path}: {error.strerror}", hint="Check the path.") from None
    except UnicodeDecodeError:
        raise UsageError(f"the {what} in {path} is not text", hint="Check the path.") from None
    return _checked_secret(text, f"the {what} in {'standard input' if path == '-' else path}")


def _read_capped(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_MAX_SECRET_FILE_BYTES + 1)


def _checked_secret(text: str, what: str) -> Secret:
    if not text:
        raise UsageError(f"{what} is empty", hint="Put the key there and run the same command again.")
    if len(text) > _MAX_KEY_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"{what} holds something that is no key", hint="Copy the key alone, on one line.")
    return Secret(text)


def load_api_key(
    provider: Provider, where: Sources, *, key_file: str | None, stdin: BinaryIO
) -> tuple[Secret, str]:
    """Find the API key and say where it came from.

    Args:
        provider: Decides the name of the environment variable.
        where: Environment and settings file.
        key_file: Path given with ``--api-key-file``, ``-`` for standard input, or ``None``.
        stdin: Binary stream behind ``-``.

    Raises:
        KeyRefusedError: There is none; the hint says where to get one.
        UsageError: What is there cannot be a key.
    """
    if key_file is not None:
        return read_secret_file(key_file, stdin=stdin, what="API key"), key_file
    variable = provider.key_variable
    if text := tidy_key(where.environ.get(variable, "")):
        return _checked_secret(text, f"the environment variable {variable}"), variable
    if text := tidy_key(where.config.section(where.profile).get("api-key", "")):
        return _checked_secret(text, f"api-key in {where.config.path}"), str(where.config.path)
    raise KeyRefusedError(
        f"there is no API key: {variable} is not set",
        code="no_key",
        hint=f"Get one at {provider.key_page}, then: export {variable}=...  "
        "(or try everything without one: suno-cover generate --sandbox ID)",
    )


def load_webhook_key(where: Sources, *, key_file: str | None, stdin: BinaryIO) -> Secret | None:
    """Find the key that signs callbacks, or ``None`` when there is none.

    Raises:
        UsageError: What is there cannot be a key.
    """
    if key_file is not None:
        return read_secret_file(key_file, stdin=stdin, what="webhook key")
    if text := tidy_key(where.environ.get("SUNO_WEBHOOK_KEY", "")):
        return _checked_secret(text, "the environment variable SUNO_WEBHOOK_KEY")
    if text := tidy_key(where.config.section(where.profile).get("webhook-key", "")):
        return _checked_secret(text, f"webhook-key in {where.config.path}")
    return None
