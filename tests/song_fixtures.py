"""Songs of every format, made by ffmpeg, and what other programs see in them."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from suno_cover_cli.release.embed import Cover, Embedded, EmbedWishes, Tagger, embed_cover
from suno_cover_cli.release.tags import put_front_cover
from tests.label_fixtures import tool

FORMATS = ("mp3", "flac", "m4a", "ogg", "opus", "wav", "aiff")
TAGS = {"title": "Night Drive", "artist": "Some One", "album": "An Album", "genre": "Synth"}
_CODECS = {
    "mp3": ("libmp3lame", "-id3v2_version", "3", "-write_id3v1", "1"),
    "flac": ("flac",),
    "m4a": ("aac",),
    "ogg": ("libvorbis",),
    "opus": ("libopus",),
    "wav": ("pcm_s16le",),
    "aiff": ("pcm_s16be", "-write_id3v2", "1"),
}


_made: dict[tuple[object, ...], bytes] = {}
_answers: dict[tuple[str, ...], bytes] = {}


def make_song(path: Path, *options: str, tags: dict[str, str] | None = None, seconds: float = 1.5) -> Path:
    """Make a song with ffmpeg: a tone that goes up, so that no part of it equals another."""
    codec, *more = _CODECS[path.suffix[1:]]
    described = [
        word for key, value in (TAGS if tags is None else tags).items() for word in ("-metadata", f"{key}={value}")
    ]
    sound = f"aevalsrc=sin(2*PI*t*(200+300*t)):s=48000:d={seconds}"
    words = ("-f", "lavfi", "-i", sound, "-c:a", codec, *more, *described, *options)
    kind = (path.suffix, *words)
    if kind not in _made:
        subprocess.run([tool("ffmpeg"), "-v", "error", "-y", *words, path], check=True)
        _made[kind] = path.read_bytes()
    path.write_bytes(_made[kind])
    return path


def sound_of(path: Path) -> str:
    """Hash what ffmpeg hears in a song: its decoded samples."""
    said = _ask(path, "ffmpeg", "-map", "0:a", "-f", "s16le", "-c:a", "pcm_s16le", "-")
    return hashlib.sha256(said).hexdigest()


def stream_of(path: Path) -> str:
    """Hash the encoded packets of a song as ffmpeg reads them."""
    return _ask(path, "ffmpeg", "-map", "0:a", "-c", "copy", "-f", "streamhash", "-").decode().strip()


def seen_by_ffprobe(path: Path) -> dict[str, Any]:
    """Return what ffprobe says: ``tags`` in lower case, and the sizes of its ``pictures``."""
    found = json.loads(_ask(path, "ffprobe", "-show_format", "-show_streams", "-of", "json"))
    tags = dict(found["format"].get("tags", {}))
    for stream in found["streams"]:
        if stream["codec_type"] == "audio":
            tags |= stream.get("tags", {})
    pictures = [
        (stream["codec_name"], stream["width"], stream["height"])
        for stream in found["streams"]
        if stream["codec_type"] == "video"
    ]
    return {"tags": {key.lower(): value for key, value in tags.items()}, "pictures": pictures}


def _ask(path: Path, program: str, *words: str) -> bytes:
    """Return what a program says of a song. Of the same bytes it says the same: it is asked once."""
    question = (hashlib.sha256(path.read_bytes()).hexdigest(), path.suffix, program, *words)
    if question not in _answers:
        run = subprocess.run([tool(program), "-v", "error", "-i", path, *words], capture_output=True, check=True)
        _answers[question] = run.stdout
    return _answers[question]


def embed(song: Path, cover: Cover, put: Tagger = put_front_cover, **wishes: Any) -> Embedded:
    """Put a cover into a song."""
    return embed_cover(song, cover, EmbedWishes(**wishes), put=put)
