"""From a cover to a release by its commands: pick, export, embed, in a process of their own."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.cli_fixtures import Cli
from tests.label_fixtures import aigc_xmp, c2pa, exiftool, marked, pixels_of
from tests.release_fixtures import quarters, save
from tests.song_fixtures import FORMATS, TAGS, make_song, seen_by_ffprobe, sound_of
from tests.terminal_fixtures import PLAIN, Terminal

SONG = "night-drive"


@pytest.fixture
def covers(cli: Cli) -> list[Path]:
    """The two covers of a finished job of the sandbox."""
    run = cli.run("generate", "--sandbox", SONG, "--preview", "off")
    assert run.code == 0, run.stderr
    return [cli.cwd / line for line in sorted(run.lines)]


def printed(cli: Cli, path: Path) -> str:
    """Return a path below the working folder as every command prints it."""
    return str(path.relative_to(cli.cwd))


def sha256_of(path: Path) -> str:
    """Hash a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the whole way ---------------------------------------------------------------------------------------


def test_one_line_leads_from_two_covers_to_a_release(cli: Cli) -> None:
    """The line of the documentation: generate, pick, export, embed, with the labels read back by ExifTool."""
    songs = [make_song(cli.cwd / f"song.{suffix}") for suffix in FORMATS]
    heard = [sound_of(song) for song in songs]
    run = cli.shell(
        f"suno-cover generate --sandbox {SONG} --preview off >/dev/null"
        f" && suno-cover pick {SONG} --auto"
        f" && suno-cover export {SONG} --profile distrokid --upscale lanczos"
        f" && suno-cover embed song.* --cover {SONG}",
        timeout_s=60,
    )
    assert run.code == 0, run.stderr
    picked, exported, *embedded = run.lines
    assert (cli.cwd / picked).is_file()
    assert exported == f"exports/{SONG}-distrokid.jpg"
    assert sorted(embedded) == sorted(song.name for song in songs)
    with Image.open(cli.cwd / exported) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (3000, 3000))
    assert exiftool(cli.cwd / exported)["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert "distributor" in run.stderr
    assert "labels: added AI label (IPTC)" in run.stderr
    assert [sound_of(song) for song in songs] == heard
    for song in songs:
        seen = seen_by_ffprobe(song)
        assert len(seen["pictures"]) == 1
        assert seen["tags"]["title"] == TAGS["title"]


def test_a_label_is_added_to_the_original_only_when_asked(cli: Cli) -> None:
    """--label add leaves the pixels; the job object has the checksum of the file as it stands."""
    plain = cli.run("generate", "--sandbox", SONG, "--json").objects[0]["images"]
    before = [(cli.cwd / image["path"]).read_bytes() for image in plain]
    assert b"trainedAlgorithmicMedia" not in b"".join(before)
    run = cli.run("generate", "--sandbox", SONG, "--json", "--label", "add")
    labelled = run.objects[0]["images"]
    for image, content in zip(labelled, before, strict=True):
        path = cli.cwd / image["path"]
        assert (image["sha256"], image["bytes"]) == (sha256_of(path), path.stat().st_size)
        assert exiftool(path)["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
        assert pixels_of(path.read_bytes()) == pixels_of(content)
    again = cli.run("generate", "--sandbox", SONG, "--json", "--label", "add")
    assert [image["sha256"] for image in again.objects[0]["images"]] == [image["sha256"] for image in labelled]
    assert "already there" in again.stderr
    assert cli.run("generate", "--sandbox", SONG, "--label", "maybe").code == 2


# --- pick --------------------------------------------------------------------------------------------------


def test_a_choice_is_printed_kept_and_taken_back(cli: Cli, covers: list[Path]) -> None:
    """The path is the product; history and export know the choice; --clear takes it back."""
    run = cli.run("pick", SONG, "2")
    assert (run.code, run.lines) == (0, [printed(cli, covers[1])])
    assert not Path(run.lines[0]).is_absolute()
    entry = cli.run("history", "--json").objects[0]
    assert entry["job"]["picked"] == 2
    assert cli.run("pick", "--list").lines == [f"2     of 2  {SONG}  {printed(cli, covers[1])}"]
    assert cli.run("pick", SONG, "none").lines == ["none"]
    assert cli.run("pick", "--list", "--json").objects[0]["picked"] == "none"
    assert "taken back" in cli.run("pick", SONG, "--clear").stderr
    assert cli.run("pick", "--list", "--json").objects[0]["picked"] is None


def test_a_choice_as_json_holds_the_checksum_of_the_file(cli: Cli, covers: list[Path]) -> None:
    """Scripts get number, path and checksum, and with --auto the measures."""
    (found,) = cli.run("pick", SONG, "1", "--json").objects
    assert (found["v"], found["type"], found["picked"]) == (1, "pick", 1)
    assert (found["path"], found["sha256"]) == (str(covers[0]), sha256_of(covers[0]))
    assert found["music_task_id"] == SONG
    save(Image.new("RGB", (512, 512), "grey"), covers[0])
    save(quarters(512), covers[1])
    (found,) = cli.run("pick", SONG, "--auto", "--json").objects
    assert found["picked"] == 2
    assert [one["n"] for one in found["measures"]] == [1, 2]
    assert found["measures"][0]["contrast"] == 0
    assert found["sha256"] == sha256_of(covers[1])


def test_measures_are_printed_and_not_called_taste(cli: Cli, covers: list[Path]) -> None:
    """--auto says what it went by."""
    save(quarters(512), covers[0])
    run = cli.run("pick", SONG, "--auto")
    assert run.lines == [printed(cli, covers[0])]
    assert run.stderr.count("contrast 0.") == 2
    assert "edges" in run.stderr
    assert "not taste" in run.stderr
    assert "was changed since it was saved" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pick", SONG), "no terminal to ask on"),
        (("pick", SONG, "3"), "has no variant 3"),
        (("pick", SONG, "first"), "is not a variant"),
        (("pick", SONG, "0"), "is not a variant"),
        (("pick", SONG, "\u0662"), "is not a variant"),
        (("pick", SONG, "9" * 5000), "is not a variant"),
        (("pick", SONG, "1", "--auto"), "exclude each other"),
        (("pick",), "no job is named"),
        (("pick", "nothing", "1"), "hint: suno-cover history lists those it knows.\n"),
        (("pick", "nothing"), "knows no job"),
        (("pick", "n" * 300, "1"), "knows no job"),
        (("pick", "a.png", "1"), "a.png is a file, not the id of a job\nhint: suno-cover history lists the jobs."),
        (("gallery", "--no-open", "nothing"), "hint: suno-cover history lists those it knows.\n"),
        (("export", "nothing"), "a picture file may be given instead"),
        (("export", "n" * 300), "knows no job"),
        (("export",), "nothing to export"),
        (("export", SONG, "--profile", "distrokit"), "--profile distrokid"),
        (("export", SONG, "--profile", "nosuch"), "hint: suno-cover export --list-profiles lists them."),
        (("export", SONG, "--visible-label", ""), "the visible label is empty"),
        (("export", SONG, "--visible-label", "x" * 70), "has 70 characters"),
        (("export", SONG, "--fit", "stretch"), "refuse, pad or crop"),
        (("export", SONG, "--upscale", "ai"), "no or lanczos"),
        (("export", "none.png"), "cannot read none.png"),
        (("embed", "song.mp3"), "--cover"),
        (("embed", "none.mp3", "--cover", "a.png"), "there is no none.mp3"),
        (("embed", "a.mp3", "--cover", "a.png", "--out", "x", "--backup"), "exclude each other"),
    ],
)
def test_what_cannot_be_is_a_usage_error(
    cli: Cli, covers: list[Path], arguments: tuple[str, ...], words: str
) -> None:
    """Exit 2, with what is wrong and what would do."""
    assert len(covers) == 2
    save(quarters(64), cli.cwd / "a.png")
    run = cli.run(*arguments)
    assert run.code == 2, run.stderr
    assert words in run.stderr
    assert "hint:" in run.stderr
    assert run.stdout == ""


def test_a_job_without_covers_is_told_how_to_get_them(cli: Cli) -> None:
    """A job that failed has nothing to pick."""
    assert cli.run("generate", "--sandbox", "sandbox-failed-501").code == 6
    run = cli.run("pick", "sandbox-failed-501", "1")
    assert run.code == 2
    assert "no cover of sandbox-failed-501 is saved" in run.stderr


# --- not picked, gone, changed ------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [None, "none"])
def test_several_variants_and_none_picked_ends_with_11(cli: Cli, covers: list[Path], choice: str | None) -> None:
    """Export and embed never guess which cover is meant."""
    assert len(covers) == 2
    if choice is not None:
        cli.run("pick", SONG, choice)
    song = make_song(cli.cwd / "song.mp3", seconds=0.3)
    content = song.read_bytes()
    for arguments in (("export", SONG), ("embed", "song.mp3", "--cover", SONG)):
        run = cli.run(*arguments)
        assert run.code == 11, run.stderr
        assert f"suno-cover pick {SONG}" in run.stderr
    assert song.read_bytes() == content
    (error,) = cli.run("export", SONG, "--json").objects
    assert (error["type"], error["code"]) == ("error", "not_picked")


def test_a_single_variant_needs_no_pick(cli: Cli) -> None:
    """Where there is nothing to choose, the cover is taken."""
    assert cli.run("generate", "--sandbox", "sandbox-one-image", "--preview", "off").code == 0
    run = cli.run("export", "sandbox-one-image", "--upscale", "lanczos")
    assert run.code == 0, run.stderr


def test_a_picked_cover_that_is_gone_or_changed_is_not_guessed(cli: Cli, covers: list[Path]) -> None:
    """What lies at the path now is not what was chosen: exit 12, and what to do."""
    cli.run("pick", SONG, "1")
    content = covers[0].read_bytes()
    save(quarters(512), covers[0])
    changed = cli.run("export", SONG, "--upscale", "lanczos")
    assert (changed.code, "was changed since it was saved" in changed.stderr) == (12, True)
    covers[0].unlink()
    gone = cli.run("export", SONG, "--upscale", "lanczos")
    assert (gone.code, "suno-cover wait" in gone.stderr) == (12, True)
    assert not (cli.cwd / "exports").exists()
    covers[0].write_bytes(content)
    assert cli.run("export", SONG, "--upscale", "lanczos").code == 0


def test_a_choice_outlives_later_runs(cli: Cli, covers: list[Path]) -> None:
    """Running the job again changes nothing about what was picked."""
    cli.run("pick", SONG, "2")
    assert cli.run("generate", "--sandbox", SONG, "--json").objects[0]["picked"] == 2
    run = cli.run("export", SONG, "--upscale", "lanczos", "--json")
    assert run.objects[0]["source"] == str(covers[1])


def test_the_file_of_a_cover_leads_to_its_job(cli: Cli, covers: list[Path]) -> None:
    """Where only an id will do, the file of a known cover is answered with the id."""
    for arguments in (("pick", str(covers[1]), "2"), ("pick", str(covers[1])), ("gallery", str(covers[1]))):
        run = cli.run(*arguments)
        assert run.code == 2
        assert "is a file, not the id of a job" in run.stderr
        assert f"hint: It is variant 2 of {SONG}: give {SONG} instead." in run.stderr


def test_all_ways_to_pick_meet_a_cover_that_is_gone_alike(cli: Cli, covers: list[Path]) -> None:
    """Exit 12 with the command that fetches it again; no other file would do."""
    covers[1].unlink()
    for choice in ("2", "--auto"):
        run = cli.run("pick", SONG, choice, "--json")
        assert (run.code, run.objects[0]["code"]) == (12, "cover_gone")
        assert "suno-cover wait" in run.stderr
        assert "give the file itself" not in run.stderr
    assert cli.run("pick", SONG, "1").code == 0


def test_a_cover_that_changed_is_said_to_have(cli: Cli, covers: list[Path]) -> None:
    """Lists, history and measures name a file with other content than was saved, and one that is gone."""
    cli.run("pick", SONG, "2")
    assert cli.run("pick", "--list", "--json").objects[0]["file"] == "ok"
    assert "(changed" not in cli.run("history", SONG).stdout
    content = covers[1].read_bytes()
    covers[1].write_bytes(covers[0].read_bytes())
    assert cli.run("pick", "--list").lines == [
        f"2     of 2  {SONG}  {printed(cli, covers[1])}  (changed since it was picked)"
    ]
    assert cli.run("pick", "--list", "--json").objects[0]["file"] == "changed"
    assert "cover_2.png (changed since it was saved): no label" in cli.run("history", SONG).stdout
    first, second = cli.run("history", SONG, "--json").objects[0]["marks"]
    assert (first["is_changed"], second["is_changed"]) == (False, True)
    measured = cli.run("pick", SONG, "--auto")
    assert measured.lines == [printed(cli, covers[0])]
    assert "cover_2.png was changed since it was saved; it is measured as it is now" in measured.stderr
    cli.run("pick", SONG, "2")
    assert cli.run("pick", "--list", "--json").objects[0]["file"] == "ok", "it was picked as it is now"
    covers[1].write_bytes(content)
    cli.run("pick", SONG, "2")
    covers[1].unlink()
    assert cli.run("pick", "--list").lines == [f"2     of 2  {SONG}  {printed(cli, covers[1])}  (missing)"]


def test_history_says_what_a_cover_carries(cli: Cli, covers: list[Path]) -> None:
    """Labels of each saved file are listed with the job; so is a file without any, and one that is gone."""
    covers[0].write_bytes(c2pa("png", marked("png", packet=aigc_xmp())))
    run = cli.run("history", SONG)
    assert "cover_1.png (changed since it was saved): XMP" in run.stdout
    assert "AI label (TC260, xmp): AI-generated, ContentProducer Prod & <Co>" in run.stdout
    assert "content credentials (C2PA)" in run.stdout
    assert "cover_2.png: no label" in run.stdout
    covers[1].unlink()
    first, second = cli.run("history", SONG, "--json").objects[0]["marks"]
    assert [mark["kind"] for mark in first["marks"]] == ["xmp", "aigc", "c2pa"]
    assert "cannot read" in second["troubles"][0]


# --- export --------------------------------------------------------------------------------------------------


def test_an_export_as_json_has_the_keys_of_the_contract(cli: Cli, covers: list[Path]) -> None:
    """One object for each file; the original is named with its checksum and untouched."""
    cli.run("pick", SONG, "1")
    before = sha256_of(covers[0])
    run = cli.run("export", SONG, "--upscale", "lanczos", "--out", "release/files", "--json")
    (found,) = run.objects
    keys = {"path", "profile", "source", "source_sha256", "scale", "quality", "bytes", "marks", "warnings"}
    assert keys <= set(found)
    assert set(found["marks"]) == {"kept", "lost", "added"}
    assert found["path"] == f"release/files/{SONG}-store.jpg"
    assert found["source_sha256"] == before == sha256_of(covers[0])
    assert found["bytes"] == (cli.cwd / found["path"]).stat().st_size


def test_requirements_that_are_not_met_end_with_12(cli: Cli, covers: list[Path]) -> None:
    """Too small, not square, a store that refuses: which requirement, and what would do."""
    cli.run("pick", SONG, "1")
    save(quarters(640, 480), cli.cwd / "wide.png")
    for arguments, words in (
        ((SONG,), "--upscale lanczos"),
        (("wide.png",), "--fit crop"),
        ((SONG, "--profile", "soundrop", "--upscale", "lanczos"), "refuses enlarged"),
        ((SONG, "--profile", "bandcamp"), "made by AI"),
    ):
        run = cli.run("export", *arguments)
        assert run.code == 12, run.stderr
        assert words in run.stderr
    assert not (cli.cwd / "exports").exists()
    assert len(covers) == 2


def test_one_cover_that_fails_does_not_stop_the_others(cli: Cli) -> None:
    """Every picture is tried; the exit code is that of the failures, or 1 when they differ."""
    save(quarters(100), cli.cwd / "small.png")
    save(quarters(3000), cli.cwd / "large.png")
    run = cli.run("export", "small.png", "large.png")
    assert (run.code, run.lines) == (12, ["exports/large-store.jpg"])
    run = cli.run("export", "small.png", "none.png", "large.png", "nothing", "--json")
    assert run.code == 1
    assert [(found["type"], found["source"]) for found in run.objects] == [
        ("error", "small.png"),
        ("error", "none.png"),
        ("export", "large.png"),
        ("error", "nothing"),
    ]


def test_a_check_tells_and_writes_nothing(cli: Cli, covers: list[Path]) -> None:
    """Each requirement in words: exit 12 while the store would refuse the file, 0 for what export makes."""
    cli.run("pick", SONG, "1")
    run = cli.run("export", SONG, "--check", "--profile", "distrokid")
    assert run.code == 12
    assert run.lines[0].startswith("DistroKid would refuse")
    assert any("format" in line and "export makes a JPEG" in line for line in run.lines)
    assert not (cli.cwd / "exports").exists()
    cli.run("export", SONG, "--profile", "distrokid", "--upscale", "lanczos")
    ready = cli.run("export", f"exports/{SONG}-distrokid.jpg", "--check", "--profile", "distrokid", "--json")
    assert ready.code == 0
    assert ready.objects[0]["ok"] is True
    assert len(covers) == 2


def test_a_small_file_is_weighed_in_kibibytes(cli: Cli) -> None:
    """What weighs less than a mebibyte is not "0.0 MB"."""
    save(quarters(3000), cli.cwd / "large.png")
    said = cli.run("export", "large.png", "--check").stdout
    assert re.search(r"weight: \d+ KiB, of 3 MB allowed", said)
    assert re.search(r"\d+ KiB", cli.run("export", "large.png").stderr)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_song_is_not_taken_for_a_picture(cli: Cli, is_there: bool) -> None:
    """``export song.mp3`` says that it is an audio file, and names ``embed``; a missing one is a file as well."""
    if is_there:
        (cli.cwd / "a song.mp3").write_bytes(b"ID3\4\0\0\0\0\0\0")
    for more in ((), ("--check",)):
        run = cli.run("export", "a song.mp3", *more)
        assert run.stdout == ""
        if is_there:
            assert run.code == 12
            assert "a song.mp3 is an audio file, not a picture" in run.stderr
            assert "hint: Put a cover into it: suno-cover embed 'a song.mp3' --cover ID|FILE" in run.stderr
        else:
            assert (run.code, "no job" in run.stderr) == (2, False)


def test_a_file_without_events_is_named_in_the_hint(cli: Cli) -> None:
    """What ``verify`` says to type writes the file that was given."""
    (cli.cwd / "my events.json").write_text("")
    (cli.cwd / "key").write_text("a-webhook-key-for-tests")
    run = cli.run("verify", "my events.json", "--webhook-key-file", "key")
    assert run.code == 2
    assert (
        "hint: Save one with: suno-cover listen --once --json --webhook-key-file key > 'my events.json'"
        in run.stderr
    )


def test_stores_are_listed_with_source_and_date(cli: Cli) -> None:
    """--list-profiles needs no job and no journal."""
    run = cli.run("export", "--list-profiles")
    assert run.code == 0
    assert any("DistroKid" in line for line in run.lines)
    assert any("support.distrokid.com" in line and "2026" in line for line in run.lines)
    entries = cli.run("export", "--list-profiles", "--json").objects
    assert {"name", "title", "source", "checked", "min_side"} <= set(entries[0])


def test_the_cover_of_another_song_is_mentioned(cli: Cli) -> None:
    """Stores refuse one picture for several releases, so a twin in the journal is told."""
    for song in ("sandbox-image-same-1", "sandbox-image-same-2"):
        assert cli.run("generate", "--sandbox", song, "--preview", "off").code == 0
    cli.run("pick", "sandbox-image-same-2", "1")
    run = cli.run("export", "sandbox-image-same-2", "--upscale", "lanczos")
    assert run.code == 0, run.stderr
    assert "the same picture belongs to" in run.stderr


# --- embed ---------------------------------------------------------------------------------------------------


def test_songs_are_tagged_one_by_one(cli: Cli) -> None:
    """A song that fails does not stop the others; JSON has one object for each."""
    save(quarters(300), cli.cwd / "cover.png")
    make_song(cli.cwd / "a.mp3", seconds=0.3)
    (cli.cwd / "b.mp3").write_bytes(b"no song")
    run = cli.run("embed", "a.mp3", "b.mp3", "--cover", "cover.png", "--json", "--backup")
    assert run.code == 12
    done, error = run.objects
    assert (done["type"], done["action"], done["path"], done["width"]) == ("embed", "embedded", "a.mp3", 300)
    assert done["backup"] is not None
    assert (error["code"], error["song"], "b.mp3" in error["message"]) == ("not_a_song", "b.mp3", True)
    again = cli.run("embed", "a.mp3", "--cover", "cover.png", "--dry-run")
    assert (again.code, "already has this cover" in again.stderr) == (0, True)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_two_songs_of_one_name_have_no_room_in_one_folder(cli: Cli, more: tuple[str, ...]) -> None:
    """Copies that would have one name are refused before the first is written, in a dry run too."""
    save(quarters(300), cli.cwd / "cover.png")
    for folder in ("one", "two"):
        (cli.cwd / folder).mkdir()
        make_song(cli.cwd / folder / "a.mp3", seconds=0.3)
    run = cli.run("embed", "one/a.mp3", "two/a.mp3", "--cover", "cover.png", "--out", "out", "--json", *more)
    assert run.code == 2
    (error,) = run.objects
    assert (error["code"], "one/a.mp3" in error["message"], "two/a.mp3" in error["message"]) == (
        "same_name",
        True,
        True,
    )
    assert not (cli.cwd / "out").exists()


def test_without_the_library_the_command_to_install_it_is_named(cli: Cli) -> None:
    """Embed is an optional part: exit 2 says how to get it, before anything is looked at."""
    (cli.cwd / "shadow").mkdir()
    (cli.cwd / "shadow" / "mutagen.py").write_text("raise ImportError('not here')")
    run = cli.run("embed", "a.mp3", "--cover", "b.png", PYTHONPATH=str(cli.cwd / "shadow"))
    if "mutagen" not in run.stderr:
        run = cli.shell("suno-cover embed a.mp3 --cover b.png", PYTHONPATH=str(cli.cwd / "shadow"))
    assert run.code == 2
    assert "pip install 'suno-cover[embed]'" in run.stderr


# --- on a terminal --------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")
@pytest.mark.parametrize(("key", "code", "picked"), [("2", 0, 2), ("0", 0, "none"), ("q", 11, None)])
def test_a_key_picks_on_a_terminal(
    cli: Cli, covers: list[Path], key: str, code: int, picked: int | str | None
) -> None:
    """At 60 columns both pictures stand side by side with number and song, then a key decides."""
    with Terminal(60, 40, answer=PLAIN) as terminal:
        cli.start_on(terminal, "pick", SONG, streams="02", COLORTERM="truecolor")
        terminal.wait_for(b"to pick")
        shown = terminal.text
        terminal.type(key.encode())
        ended, stdout = terminal.finish()
    assert ended == code
    assert f"1: {SONG}" in shown
    assert f"2: {SONG}" in shown
    assert "▀" in shown
    expected = {2: [printed(cli, covers[1])], "none": ["none"], None: []}[picked]
    assert stdout.splitlines() == expected
    assert json.loads(cli.run("pick", "--list", "--json").lines[0])["picked"] == picked
