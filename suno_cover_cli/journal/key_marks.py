"""Which key a job was submitted with, as far as telling keys apart needs it: a mark, from which no key follows.

A mark is a hash of the key, keyed with random bytes that lie in the state folder and nowhere else, and cut to 32
bits. With a journal alone, in a report or in a copy, a key cannot be tested against it, not even one that leaked
elsewhere: the random bytes are missing. With both, a key that fits is still only one of a great many that do: of
four billion keys one fits by chance. That is more than enough to tell the accounts of a person apart; where two
should have the same mark, the service says that it does not know the job.
"""

import hashlib
import hmac
import secrets
from contextlib import suppress
from pathlib import Path

from suno_cover_cli.base.files import FileTakenError, read_capped, replace_file
from suno_cover_cli.base.text import Secret
from suno_cover_cli.journal.rows import MARK_DIGITS, are_of_two_keys

_NAME = "key-salt"
_SALT_BYTES = 16


class KeyMarks:
    """Marks keys with the random bytes of a state folder.

    Args:
        salt: The random bytes; ``None`` where none can be kept, and no job is marked.
    """

    def __init__(self, salt: bytes | None) -> None:
        self._salt = salt

    @classmethod
    def open(cls, state_dir: Path) -> "KeyMarks":
        """Read the random bytes of a state folder, made where there are none. Blocks."""
        file = state_dir / _NAME
        with suppress(OSError, FileTakenError):
            if not file.exists():
                replace_file(file, secrets.token_bytes(_SALT_BYTES), mode=0o600, overwrite=False)
        salt = None
        with suppress(OSError):
            salt = read_capped(file, _SALT_BYTES)
        return cls(salt if salt is not None and len(salt) == _SALT_BYTES else None)

    def mark(self, base_url: str, key: Secret) -> str | None:
        """Return the mark of a key at a service; ``None`` where nothing can be kept."""
        if self._salt is None:
            return None
        named = f"{base_url.lower()}\n{key.reveal()}"
        digest = hmac.new(self._salt, named.encode(), hashlib.sha256).hexdigest()
        return self._salt_name + digest[:MARK_DIGITS]

    def is_foreign(self, mark: str | None, base_url: str, key: Secret) -> bool:
        """Tell whether a job was submitted with another key than this one.

        It was not as far as is known when it has no mark, or one made with random bytes that are lost.
        """
        return are_of_two_keys(mark, self.mark(base_url, key))

    @property
    def _salt_name(self) -> str:
        return hashlib.sha256(self._salt or b"").hexdigest()[:MARK_DIGITS]
