"""``--write-metadata``: a JSON beside the covers that says where they come from. Everything here blocks."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.files import read_capped, replace_file
from suno_cover_cli.base.models import FailedImage, JobRecord, SavedImage
from suno_cover_cli.base.providers import LINKS_LIVE_S
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.rows import JobRow

METADATA_NAME = "metadata.json"

_GENERATOR = "suno-cover"
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MAX_OLD_BYTES = 1024 * 1024


def metadata_of(
    record: JobRecord,
    row: JobRow,
    *,
    saved: tuple[SavedImage, ...],
    failed: tuple[FailedImage, ...],
    title: str | None,
    now: float,
) -> dict[str, Any]:
    """Put together what is known of a job and its covers.

    Args:
        record: As the service has it.
        row: As the journal has it.
        saved: Checked files, those of earlier runs included.
        failed: What could not be saved.
        title: Of the piece of music, when it was asked for.
        now: Epoch seconds.
    """
    completed_at = record.completed_at or record.created_at or now
    return {
        "v": 1,
        "generator": _GENERATOR,
        "ai_generated": True,
        "notice": "AI-generated",
        "digital_source_type": _SOURCE_TYPE,
        "task_id": record.task_id,
        "music_task_id": row.music_task_id or (clean(record.music_task_id, 128) if record.music_task_id else None),
        "title": clean(title, 200) if title else None,
        "provider": row.provider,
        "service": row.service,
        "created_at": _iso(record.created_at),
        "completed_at": _iso(record.completed_at),
        "saved_at": _iso(now),
        "links_expire_at": _iso(completed_at + LINKS_LIVE_S),
        "images": [
            {
                "file": Path(image.path).name,
                "url": image.url,
                "format": image.format,
                "width": image.width,
                "height": image.height,
                "bytes": image.bytes,
                "sha256": image.sha256,
                "ai_generated": True,
            }
            for image in saved
        ],
        "picked": row.pick.picked if row.pick is not None else None,
        "failed_images": [{"url": image.url, "error": image.error} for image in failed],
    }


def write_metadata(folder: Path, facts: dict[str, Any]) -> Path:
    """Write ``metadata.json`` into the folder of a job; one of an earlier run is replaced.

    Raises:
        UsageError: Another program's file bears the name, or the folder is a link.
        OSError: As the system says.
    """
    path = folder / METADATA_NAME
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link, which is not followed", code="file_exists", hint="Remove the link.")
    if not _is_ours(path):
        raise UsageError(
            f"{path} is there and not from this program", code="file_exists", hint="Move it away and run again."
        )
    replace_file(path, json.dumps(facts, ensure_ascii=False, indent=2).encode("utf-8", "replace") + b"\n")
    return path


def _is_ours(path: Path) -> bool:
    try:
        old = json.loads(read_capped(path, _MAX_OLD_BYTES))
    except FileNotFoundError:
        return True
    except (ValueError, RecursionError):
        return False
    return isinstance(old, dict) and old.get("generator") == _GENERATOR


def _iso(epoch_s: float | None) -> str | None:
    """Write a time as people and programs read it, or ``None`` for one that no calendar has."""
    if epoch_s is None:
        return None
    try:
        return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None
