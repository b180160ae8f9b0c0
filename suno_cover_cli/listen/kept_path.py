"""The public path of ``listen``, kept from run to run: an address that was given to a sender goes on working."""

import re
import secrets
from contextlib import suppress
from pathlib import Path

from suno_cover_cli.base.files import replace_file

_NAME = "listen-path"
_PATH = re.compile(r"/callback/[0-9a-f]{32}")
_MAX_BYTES = 100


def keep_path(state_dir: Path, *, is_new: bool) -> str:
    """Return the path of the last run, or a new secret one that the next run will return. Blocks.

    Where nothing can be kept, the path is a new one each time.

    Args:
        state_dir: Where it is kept, readable by its owner alone.
        is_new: Make a new one in any case.
    """
    file = state_dir / _NAME
    if not is_new:
        with suppress(OSError, ValueError), file.open("rb") as stream:
            kept = stream.read(_MAX_BYTES).decode().strip()
            if _PATH.fullmatch(kept):
                return kept
    path = f"/callback/{secrets.token_hex(16)}"
    with suppress(OSError):
        replace_file(file, f"{path}\n".encode(), mode=0o600)
    return path
