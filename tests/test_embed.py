"""A cover in a song: the sound and all other tags come through, and a song is whole at every moment."""

import base64
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import mutagen
import pytest
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, TDAT, TIT2, TYER
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus
from PIL import Image

from suno_cover_cli.base.errors import RequirementError, SunoCoverError, UsageError
from suno_cover_cli.release.audio import SongError, find_format, hash_sound
from suno_cover_cli.release.embed import Cover, prepare_cover
from suno_cover_cli.release.marks import marks_of
from suno_cover_cli.release.tags import put_front_cover, read_front_cover
from tests.image_fixtures import names_in, picture
from tests.label_fixtures import AI, AIGC, aigc_xmp, marked
from tests.release_fixtures import content_of, quarters, save
from tests.song_fixtures import (
    FORMATS,
    TAGS,
    embed,
    make_song,
    seen_by_ffprobe,
    sound_of,
    stream_of,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes, links and signals mean this on POSIX only")


@pytest.fixture(scope="session")
def cover(tmp_path_factory: pytest.TempPathFactory) -> Cover:
    """A cover of 300 pixels, ready for songs."""
    return prepare_cover(save(quarters(300), tmp_path_factory.mktemp("cover") / "cover.png"))


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One song of each format; copy what you change."""
    folder = tmp_path_factory.mktemp("songs")
    return {suffix: make_song(folder / f"song.{suffix}") for suffix in FORMATS}


def copied(songs: dict[str, Path], suffix: str, folder: Path) -> Path:
    """Copy a song into a folder."""
    return Path(shutil.copy(songs[suffix], folder / f"my song.{suffix}"))


def front_of(path: Path) -> bytes | None:
    """Return the front cover of a song."""
    with path.open("rb") as stream:
        return read_front_cover(stream, find_format(stream))


# --- every format ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_cover_goes_into_every_format(songs: dict[str, Path], cover: Cover, tmp_path: Path, suffix: str) -> None:
    """Ffmpeg hears the same sound and the same packets, sees the picture, and reads the same tags as before."""
    song = copied(songs, suffix, tmp_path)
    before, heard, packets = seen_by_ffprobe(song), sound_of(song), stream_of(song)
    embedded = embed(song, cover)
    assert (embedded.action, embedded.format, embedded.path) == ("embedded", suffix, str(song))
    assert sound_of(song) == heard
    assert stream_of(song) == packets
    after = seen_by_ffprobe(song)
    assert after["pictures"] == [("mjpeg", 300, 300)]
    assert {key: after["tags"][key] for key in before["tags"]} == before["tags"]
    assert before["tags"]["title"] == TAGS["title"]
    assert names_in(tmp_path) == [song.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_second_cover_takes_the_place_of_the_first(
    songs: dict[str, Path], cover: Cover, tmp_path: Path, suffix: str
) -> None:
    """There is one front cover afterwards; the same one again changes nothing."""
    song = copied(songs, suffix, tmp_path)
    embed(song, cover)
    content = song.read_bytes()
    assert embed(song, cover).action == "unchanged"
    assert song.read_bytes() == content
    other = prepare_cover(save(Image.new("RGB", (310, 310), "navy"), tmp_path / "other.png"))
    embedded = embed(song, other)
    assert embedded.action == "replaced"
    assert embedded.previous is not None
    assert (embedded.previous.width, embedded.previous.bytes) == (300, len(cover.image.content))
    assert seen_by_ffprobe(song)["pictures"] == [("mjpeg", 310, 310)]
    assert sound_of(song) == sound_of(songs[suffix])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_song_without_tags_gets_its_first(cover: Cover, tmp_path: Path, suffix: str) -> None:
    """A song that says nothing of itself takes a cover too."""
    song = make_song(
        tmp_path / f"bare.{suffix}", "-map_metadata", "-1", "-fflags", "+bitexact", tags={}, seconds=0.5
    )
    heard = sound_of(song)
    embed(song, cover)
    assert seen_by_ffprobe(song)["pictures"] == [("mjpeg", 300, 300)]
    assert sound_of(song) == heard


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_larger_cover_is_not_replaced_unasked(
    songs: dict[str, Path], cover: Cover, tmp_path: Path, suffix: str
) -> None:
    """A smaller picture takes the place of a larger one only with --replace."""
    song = copied(songs, suffix, tmp_path)
    embed(song, cover)
    small = prepare_cover(save(quarters(200), tmp_path / "small.png"))
    content = song.read_bytes()
    with pytest.raises(RequirementError, match="larger cover: 300 x 300") as info:
        embed(song, small)
    assert (info.value.exit_code, info.value.code) == (12, "larger_cover")
    assert "--replace" in info.value.hint
    assert song.read_bytes() == content
    assert embed(song, small, replace=True).action == "replaced"
    assert seen_by_ffprobe(song)["pictures"] == [("mjpeg", 200, 200)]


# --- what is there stays -----------------------------------------------------------------------------------


def pictures(count: int = 10) -> list[tuple[int, bytes]]:
    """Make pictures of other kinds around one front cover: kind of picture, content."""
    kinds = [4, 3, 0, 5, 6, 7, 8, 9, 10, 11][:count]
    return [(kind, content_of(Image.new("RGB", (20 + n, 20), "olive"), "JPEG")) for n, kind in enumerate(kinds)]


def blocks() -> list[Picture]:
    """Make FLAC pictures of them."""
    found = []
    for kind, content in pictures():
        block = Picture()
        block.type, block.mime, block.desc, block.data = kind, "image/jpeg", f"no {kind}", content
        found.append(block)
    return found


def test_of_ten_pictures_in_an_mp3_only_the_front_changes(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """The nine others stay byte for byte, the front cover keeps its description, odd frames stay."""
    song = copied(songs, "mp3", tmp_path)
    tags = ID3(song)
    for kind, content in pictures():
        tags.add(APIC(encoding=3, mime="image/jpeg", type=kind, desc=f"nö {kind}", data=content))
    tags.add(COMM(encoding=3, lang="deu", desc="x", text="Grüße"))
    tags.save(song)
    embed(song, cover)
    found = ID3(song)
    shown = {frame.type: frame for frame in found.getall("APIC")}
    assert {kind: frame.data for kind, frame in shown.items() if kind != 3} == {
        kind: content for kind, content in pictures() if kind != 3
    }
    assert shown[3].data == cover.image.content
    assert shown[3].desc == "nö 3"
    assert found["COMM:x:deu"].text == ["Grüße"]


def test_of_ten_pictures_in_a_flac_only_the_front_changes(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """The same for FLAC, where the order stays too."""
    song = copied(songs, "flac", tmp_path)
    flac = FLAC(song)
    for block in blocks():
        flac.add_picture(block)
    flac.save()
    embed(song, cover)
    found = FLAC(song).pictures
    assert [block.type for block in found] == [kind for kind, _ in pictures()]
    assert [block.data for block in found if block.type != 3] == [data for kind, data in pictures() if kind != 3]
    assert (found[1].data, found[1].desc, found[1].width) == (cover.image.content, "no 3", 300)


def test_of_ten_pictures_in_an_opus_only_the_front_changes(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """The same for Opus; a comment that claims to be a picture and is none stays as it is."""
    song = copied(songs, "opus", tmp_path)
    opus = OggOpus(song)
    entries = [base64.b64encode(block.write()).decode() for block in blocks()]
    opus["metadata_block_picture"] = ["no base64 at all!", *entries]
    opus.save()
    embed(song, cover)
    found = OggOpus(song)["metadata_block_picture"]
    assert (found[0], found[1], found[3:]) == ("no base64 at all!", entries[0], entries[2:])
    assert Picture(base64.b64decode(found[2])).data == cover.image.content


def test_of_ten_pictures_in_an_m4a_only_the_first_changes(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """MP4 knows no kinds, so the first is the cover; the others stay."""
    song = copied(songs, "m4a", tmp_path)
    mp4 = MP4(song)
    mp4["covr"] = [MP4Cover(content) for _, content in pictures()]
    mp4["----:com.apple.iTunes:own"] = [b"kept"]
    mp4.save()
    embed(song, cover)
    found = MP4(song)
    assert [bytes(one) for one in found["covr"]] == [cover.image.content, *[data for _, data in pictures()[1:]]]
    assert found["----:com.apple.iTunes:own"] == [b"kept"]


@pytest.mark.parametrize("version", [3, 4])
def test_id3_keeps_its_version_and_its_dates(
    songs: dict[str, Path], cover: Cover, tmp_path: Path, version: int
) -> None:
    """Frames that only one version knows come through, because the version does."""
    song = copied(songs, "mp3", tmp_path)
    tags = ID3(song, translate=False)
    if version == 3:
        tags.add(TYER(encoding=0, text="1999"))
        tags.add(TDAT(encoding=0, text="3112"))
    else:
        tags.update_to_v24()
        tags.add(mutagen.id3.TDRC(encoding=0, text="1999-12-31T23:59"))
    tags.save(song, v2_version=version)
    embed(song, cover)
    assert song.read_bytes()[3] == version
    found = ID3(song, translate=False)
    assert [str(found[name]) for name in ("TYER", "TDAT")] == ["1999", "3112"] if version == 3 else True
    assert version == 3 or str(found["TDRC"]) == "1999-12-31 23:59"


def test_the_oldest_id3_becomes_one_that_can_be_written(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """ID3v2.2 is carried over to 2.3 with its text and its picture."""
    text = b"\0Old Title"
    frames = b"TT2" + len(text).to_bytes(3) + text
    sound = songs["mp3"].read_bytes()
    sound = sound[sound.index(b"\xff\xfb") :]
    song = tmp_path / "old.mp3"
    song.write_bytes(b"ID3\2\0\0" + bytes((0, 0, 0, len(frames))) + frames + sound)
    embed(song, cover)
    assert song.read_bytes()[3] == 3
    assert str(ID3(song)["TIT2"]) == "Old Title"
    assert front_of(song) == cover.image.content


def test_an_id3v1_tag_stays_byte_for_byte(songs: dict[str, Path], cover: Cover, tmp_path: Path) -> None:
    """The short tag at the end is not brought into line with the long one."""
    song = copied(songs, "mp3", tmp_path)
    short = b"TAG" + b"Another title".ljust(30, b"\0") + b"Another artist".ljust(30, b"\0") + bytes(64) + b"\7"
    assert len(short) == 128
    song.write_bytes(song.read_bytes()[:-128] + short)
    embed(song, cover)
    assert song.read_bytes()[-128:] == short
    assert str(ID3(song)["TIT2"]) == TAGS["title"]


def test_tags_at_the_end_of_an_mp3_are_not_taken_for_sound(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """APEv2 and ID3v1 behind the sound stay, and a change in them is not a change of the sound."""
    song = copied(songs, "mp3", tmp_path)
    content = song.read_bytes()
    item = struct.pack("<II", 5, 0) + b"Title\0" + b"hello"
    footer = b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, 0) + bytes(8)
    song.write_bytes(content[:-128] + item + footer + content[-128:])
    embed(song, cover)
    assert item + footer in song.read_bytes()
    with song.open("rb") as tagged, songs["mp3"].open("rb") as plain:
        assert hash_sound(tagged, find_format(tagged)) == hash_sound(plain, find_format(plain))


# --- the sound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_checksum_of_the_sound_sees_each_change(songs: dict[str, Path], suffix: str) -> None:
    """Whatever byte of the sound changes, the checksum does, or the file counts as damaged."""
    content = bytearray(songs[suffix].read_bytes())
    whole = io.BytesIO(content)
    audio_format = find_format(whole)
    expected = hash_sound(whole, audio_format)
    # From the middle on there is nothing but sound in each of these files.
    for at in range(len(content) // 2, len(content) * 9 // 10, len(content) // 50):
        changed = bytearray(content)
        changed[at] ^= 0x40
        try:
            assert hash_sound(io.BytesIO(changed), audio_format) != expected
        except SongError:
            continue


@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart"), ("-movflags", "+frag_keyframe+empty_moov")])
def test_an_mp4_may_be_laid_out_in_any_order(cover: Cover, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Tables behind the sound, before it, or in fragments: the sound is found and comes through."""
    song = make_song(tmp_path / "song.m4a", *options, seconds=4)
    heard = sound_of(song)
    embed(song, cover)
    assert sound_of(song) == heard
    assert seen_by_ffprobe(song)["pictures"] == [("mjpeg", 300, 300)]


def test_sound_that_would_not_come_through_is_not_written(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """A library that spoils the sound is found out, and the song stays as it was."""

    def spoil(stream: Any, audio_format: Any, image: Any) -> None:
        put_front_cover(stream, audio_format, image)
        stream.seek(-2000, 2)
        stream.write(b"spoilt")

    song = copied(songs, "mp3", tmp_path)
    content = song.read_bytes()
    with pytest.raises(SunoCoverError, match="would have changed"):
        embed(song, cover, spoil)
    assert song.read_bytes() == content
    assert names_in(tmp_path) == [song.name]


# --- files ---------------------------------------------------------------------------------------------------


def test_a_folder_for_the_tagged_songs_leaves_the_songs_alone(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """With --out the tagged copy goes there; a name that is taken there is not replaced unasked."""
    song = copied(songs, "flac", tmp_path)
    content = song.read_bytes()
    embedded = embed(song, cover, out=tmp_path / "out" / "deep")
    assert Path(embedded.path) == tmp_path / "out" / "deep" / song.name
    assert song.read_bytes() == content
    assert front_of(Path(embedded.path)) == cover.image.content
    with pytest.raises(UsageError, match="is there already") as info:
        embed(song, cover, out=tmp_path / "out" / "deep")
    assert "--overwrite" in info.value.hint
    assert embed(song, cover, out=tmp_path / "out" / "deep", overwrite=True).action == "embedded"


def test_backups_keep_every_state_of_a_song(songs: dict[str, Path], cover: Cover, tmp_path: Path) -> None:
    """--backup gives the song as it was a name of its own, and never one that is taken."""
    song = copied(songs, "mp3", tmp_path)
    first = song.read_bytes()
    assert embed(song, cover, backup=True).backup == f"{song}.bak"
    second = song.read_bytes()
    other = prepare_cover(save(Image.new("RGB", (310, 310), "navy"), tmp_path / "other.png"))
    assert embed(song, other, backup=True).backup == f"{song}.bak2"
    assert Path(f"{song}.bak").read_bytes() == first
    assert Path(f"{song}.bak2").read_bytes() == second


def test_a_dry_run_changes_nothing(songs: dict[str, Path], cover: Cover, tmp_path: Path) -> None:
    """It says what would be done, down to a name that is taken and the refusal of a larger cover."""
    song = copied(songs, "m4a", tmp_path)
    content, status = song.read_bytes(), song.stat()
    embedded = embed(song, cover, dry_run=True, out=tmp_path / "out")
    assert (embedded.action, embedded.dry_run) == ("embedded", True)
    assert (song.read_bytes(), song.stat().st_mtime_ns) == (content, status.st_mtime_ns)
    assert names_in(tmp_path) == [song.name]
    (tmp_path / "out").mkdir()
    taken = tmp_path / "out" / song.name
    taken.write_bytes(b"another song")
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="is there already"):
            embed(song, cover, dry_run=dry_run, out=taken.parent)
    assert embed(song, cover, dry_run=True, out=taken.parent, overwrite=True).action == "embedded"
    assert taken.read_bytes() == b"another song"
    embed(song, cover)
    with pytest.raises(RequirementError):
        embed(song, prepare_cover(save(quarters(100), tmp_path / "s.png")), dry_run=True)


@posix_only
def test_a_link_stays_and_what_it_leads_to_is_tagged(songs: dict[str, Path], cover: Cover, tmp_path: Path) -> None:
    """The link is not replaced by a file."""
    (tmp_path / "music").mkdir()
    song = copied(songs, "ogg", tmp_path / "music")
    link = tmp_path / "link.ogg"
    link.symlink_to(song)
    embed(link, cover)
    assert link.is_symlink()
    assert front_of(song) == cover.image.content
    assert names_in(tmp_path) == ["link.ogg", song.name]
    loop = tmp_path / "loop.mp3"
    loop.symlink_to(loop)
    with pytest.raises(SunoCoverError):
        embed(loop, cover)


@posix_only
def test_mode_and_attributes_stay(songs: dict[str, Path], cover: Cover, tmp_path: Path) -> None:
    """The tagged song belongs to whom the old one did; when it was changed is now, for players and backups."""
    song = copied(songs, "mp3", tmp_path)
    song.chmod(0o640)
    os.utime(song, (1_000_000_000, 1_000_000_000))
    has_attributes = hasattr(os, "setxattr")
    if has_attributes:
        try:
            os.setxattr(song, "user.rating", b"5")
        except OSError:
            has_attributes = False
    embed(song, cover)
    assert song.stat().st_mode & 0o777 == 0o640
    assert song.stat().st_mtime > 1_700_000_000
    if has_attributes:
        assert os.getxattr(song, "user.rating") == b"5"


@posix_only
def test_a_read_only_song_is_left_alone(songs: dict[str, Path], cover: Cover, tmp_path: Path) -> None:
    """Somebody has said that it is not to be changed; --out still makes a copy."""
    song = copied(songs, "mp3", tmp_path)
    song.chmod(0o444)
    content = song.read_bytes()
    with pytest.raises(UsageError, match="read-only") as info:
        embed(song, cover)
    assert "chmod u+w" in info.value.hint
    assert "--out" in info.value.hint
    assert song.read_bytes() == content
    assert embed(song, cover, out=tmp_path / "out").action == "embedded"


@posix_only
def test_other_names_of_a_song_are_mentioned(songs: dict[str, Path], cover: Cover, tmp_path: Path) -> None:
    """A hard link goes on leading to the song as it was, and that is said."""
    song = copied(songs, "mp3", tmp_path)
    other = tmp_path / "other.mp3"
    other.hardlink_to(song)
    assert any("hard links" in warning for warning in embed(song, cover).warnings)
    assert front_of(other) is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp3", b"", "is empty"),
        ("text.mp3", b"This is no song at all. " * 100, "not a song"),
        ("picture.mp3", picture("JPEG"), "not a song"),
        ("raw.aac", b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(500), "raw AAC"),
        ("rf64.wav", b"RF64\xff\xff\xff\xffWAVE", "more than 4 GiB"),
        ("speex.ogg", b"OggS\0\2" + bytes(20) + b"\1\x08Speex   ", "another codec"),
        ("cut.flac", b"fLaC\0\0\0\x22" + bytes(10), "damaged"),
        (
            "piped.wav",
            b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + bytes(16) + b"data\xff\xff\xff\xff" + bytes(99),
            "damaged",
        ),
        ("drm.m4p", struct.pack(">I4s4sI", 20, b"ftyp", b"M4P ", 0) + b"M4P ", "protected"),
        ("cut.m4a", struct.pack(">I4s4sI", 20, b"ftyp", b"M4A ", 0) + b"M4A \0\0\xff\xffmoov", "damaged"),
    ],
)
def test_what_cannot_take_a_cover_is_named(
    cover: Cover, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    """No song, a damaged one, a protected one: the message says which, and the file stays as it is."""
    song = tmp_path / name
    song.write_bytes(content)
    with pytest.raises(RequirementError, match=words) as info:
        embed(song, cover)
    assert name in info.value.message
    assert info.value.hint
    assert song.read_bytes() == content
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_song_ends_in_an_error_of_ours(
    songs: dict[str, Path], cover: Cover, tmp_path: Path, suffix: str
) -> None:
    """Cut off anywhere, a song is tagged or refused; nothing unexpected comes out, no file is left over."""
    content = songs[suffix].read_bytes()
    song = tmp_path / f"cut.{suffix}"
    for part in range(1, 20):
        song.write_bytes(content[: len(content) * part // 20])
        before = song.read_bytes()
        try:
            embed(song, cover)
        except (RequirementError, SunoCoverError):
            assert song.read_bytes() == before
        assert names_in(tmp_path) == [song.name]


def test_what_is_not_there_is_a_usage_error(cover: Cover, tmp_path: Path) -> None:
    """No such file, or a folder."""
    for path in (tmp_path / "none.mp3", tmp_path):
        with pytest.raises(UsageError):
            embed(path, cover)


@posix_only
def test_a_full_disk_leaves_the_song_as_it_was(songs: dict[str, Path], tmp_path: Path) -> None:
    """Where the copy finds no room, the error names the song and nothing is left over."""
    song = copied(songs, "wav", tmp_path)
    picture_path = save(quarters(300), tmp_path / "cover.png")
    content = song.read_bytes()
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from suno_cover_cli.base.errors import SunoCoverError\n"
        "from suno_cover_cli.release.embed import prepare_cover\n"
        "from tests.song_fixtures import embed\n"
        "cover = prepare_cover(Path(sys.argv[2])); song = Path(sys.argv[1])\n"
        # Room for the copy, then for the copy but not for the picture.
        "for limit in (song.stat().st_size // 2, song.stat().st_size + 1000):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try:\n        embed(song, cover)\n"
        "    except SunoCoverError as error:\n        print(error.code, error.message)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(song), str(picture_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert run.stdout.count("disk_full") == 2, run.stdout
    assert "my song.wav" in run.stdout
    assert song.read_bytes() == content
    assert names_in(tmp_path) == ["cover.png", song.name]


def test_a_song_that_changes_meanwhile_is_not_overwritten(
    songs: dict[str, Path], cover: Cover, tmp_path: Path
) -> None:
    """What another program writes while the copy is tagged is not lost."""
    song = copied(songs, "mp3", tmp_path)

    def interfere(stream: Any, audio_format: Any, image: Any) -> None:
        put_front_cover(stream, audio_format, image)
        tags = ID3(song)
        tags["TIT2"] = TIT2(encoding=3, text="Changed meanwhile")
        tags.save(song)

    with pytest.raises(SunoCoverError, match="changed by another program"):
        embed(song, cover, interfere)
    assert str(ID3(song)["TIT2"]) == "Changed meanwhile"


# --- the picture -----------------------------------------------------------------------------------------


def test_a_large_cover_is_reduced_and_a_small_one_left(tmp_path: Path) -> None:
    """No side is longer than --max-edge, the shape stays, and nothing is enlarged."""
    wide = prepare_cover(save(quarters(3000, 1500), tmp_path / "wide.png"))
    assert (wide.image.width, wide.image.height) == (1400, 700)
    assert prepare_cover(save(quarters(100), tmp_path / "small.png"), max_edge=600).image.width == 100
    assert prepare_cover(tmp_path / "wide.png", max_edge=600).image.width == 600
    with Image.open(io.BytesIO(wide.image.content)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (1400, 700))
        assert "progressive" not in image.info


def test_labels_go_into_the_song_with_the_picture(songs: dict[str, Path], tmp_path: Path) -> None:
    """The embedded picture carries what the cover carried, and the AI label."""
    path = tmp_path / "labelled.png"
    path.write_bytes(marked("png", packet=aigc_xmp()))
    song = copied(songs, "flac", tmp_path)
    embedded = embed(song, prepare_cover(path))
    assert embedded.marks.kept == ["xmp", "aigc"]
    assert embedded.cover_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    content = front_of(song)
    assert content is not None
    marks = marks_of(io.BytesIO(content))
    assert (marks.values("aigc"), marks.values("digital_source_type")) == ([AIGC], [AI])


@pytest.mark.long
def test_a_song_of_two_gibibytes_takes_a_cover_in_bounded_memory(cover: Cover, tmp_path: Path) -> None:
    """Two GiB of sound are copied and compared block by block."""
    song = tmp_path / "long.wav"
    size = 2 * 1024**3
    head = (
        b"RIFF"
        + struct.pack("<I", size + 36)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 2, 48000, 192000, 4, 16)
    )
    with song.open("wb") as file:
        file.write(head + b"data" + struct.pack("<I", size))
        file.truncate(size + 44)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from suno_cover_cli.release.embed import prepare_cover\n"
        "from tests.song_fixtures import embed\n"
        "embed(Path(sys.argv[1]), prepare_cover(Path(sys.argv[2])))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    picture_path = save(quarters(300), tmp_path / "cover.png")
    run = subprocess.run(
        [sys.executable, "-c", script, str(song), str(picture_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert int(run.stdout) < 200 * 1024
    assert front_of(song) == cover.image.content
