"""Store-ready files: any picture becomes a plain upright RGB JPEG, or an error says what would do."""

import hashlib
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from suno_cover_cli.base.errors import RequirementError, SunoCoverError, UsageError
from suno_cover_cli.release.export import ExportWishes, export_cover, file_stem
from suno_cover_cli.release.marks import read_marks
from suno_cover_cli.release.measures import measure_picture
from suno_cover_cli.release.rendering import checked_label, shape_of
from tests.image_fixtures import names_in
from tests.label_fixtures import AIGC, aigc_xmp, c2pa, exiftool, marked, png_chunk, tool
from tests.release_fixtures import (
    SMALL,
    content_of,
    corners,
    export,
    other_profile,
    quarters,
    save,
    store,
)

UPRIGHT = ["red", "lime", "blue", "white"]


def read(path: str) -> Image.Image:
    """Decode an exported file."""
    with Image.open(path) as image:
        image.load()
        return image


# --- what becomes of pictures -----------------------------------------------------------------------------


def test_a_plain_cover_becomes_a_store_ready_file(tmp_path: Path) -> None:
    """The file is a baseline JPEG in sRGB at 300 dpi, the original is untouched, and the report says all of it."""
    source = save(quarters(300), tmp_path / "my song.png")
    before = source.read_bytes()
    exported = export(source, tmp_path / "out")
    image = read(exported.path)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SMALL, SMALL))
    assert len(image.info["icc_profile"]) == 588
    assert image.info["dpi"] == (300, 300)
    assert "progressive" not in image.info
    assert corners(Path(exported.path)) == UPRIGHT
    assert source.read_bytes() == before
    assert exported.source_sha256 == hashlib.sha256(before).hexdigest()
    assert (exported.scale, exported.quality, exported.subsampling) == (0.4, 95, "4:4:4")
    assert exported.bytes == Path(exported.path).stat().st_size
    assert Path(exported.path) == tmp_path / "out" / "my song-store.jpg"
    assert exported.marks.added == ["digital_source_type"]
    assert exported.warnings == []


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    """Grey, one-bit, palette, transparent and CMYK pictures end as RGB that looks the same."""
    picture = quarters() if mode in {"P", "RGBA", "CMYK"} else Image.linear_gradient("L").resize((SMALL, SMALL))
    source = save(picture.convert(mode), tmp_path / f"a.{'jpg' if mode == 'CMYK' else 'png'}")
    exported = export(source, tmp_path / "out")
    assert read(exported.path).mode == "RGB"
    if mode in {"P", "RGBA", "CMYK"}:
        assert corners(Path(exported.path)) == UPRIGHT
    assert bool(exported.warnings) == (mode == "CMYK")


def test_deep_grey_keeps_its_tones(tmp_path: Path) -> None:
    """Sixteen bits a pixel are scaled to eight, not cut off: a middle grey stays one."""
    deep = Image.new("I;16", (SMALL, SMALL), 0x8080)
    exported = export(save(deep, tmp_path / "a.png"), tmp_path / "out")
    assert read(exported.path).getpixel((9, 9)) == (128, 128, 128)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGBA", (SMALL, SMALL), (255, 0, 0, 0)),
        Image.new("LA", (SMALL, SMALL), (0, 0)),
    ],
    ids=["RGBA", "LA"],
)
def test_transparency_becomes_white(tmp_path: Path, picture: Image.Image) -> None:
    """What nobody could see does not come to light: it is white, and that is said."""
    exported = export(save(picture, tmp_path / "a.png"), tmp_path / "out")
    assert corners(Path(exported.path)) == ["white"] * 4
    assert any("white" in warning for warning in exported.warnings)


def test_a_palette_with_transparency_becomes_white_there(tmp_path: Path) -> None:
    """Transparency may be a property of single colours of a palette."""
    picture = quarters().quantize(4)
    clear = picture.getpixel((5, 5))
    exported = export(save(picture, tmp_path / "a.png", transparency=clear), tmp_path / "out")
    assert corners(Path(exported.path)) == ["white", "lime", "blue", "white"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
def test_a_turned_picture_is_turned_back(tmp_path: Path, orientation: int, suffix: str) -> None:
    """Whichever way EXIF says the camera was held, the exported pixels stand upright and say so."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = picture.transpose(back[orientation]) if orientation in back else picture
    exported = export(save(turned, tmp_path / f"a.{suffix}", exif=exif), tmp_path / "out")
    assert corners(Path(exported.path)) == UPRIGHT
    assert read(exported.path).getexif().get(0x0112, 1) == 1


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    """Of a moving picture the first frame is taken, and that is said."""
    frames = [quarters(), Image.new("RGB", (SMALL, SMALL), "black")]
    for suffix in ("png", "webp"):
        source = save(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
        exported = export(source, tmp_path / suffix)
        assert corners(Path(exported.path)) == UPRIGHT
        assert any("first frame" in warning for warning in exported.warnings)


def test_an_embedded_profile_is_heeded(tmp_path: Path) -> None:
    """Colours are converted from the profile they are in; one that is damaged is reported and ignored."""
    source = save(quarters(), tmp_path / "a.png", icc_profile=other_profile())
    exported = export(source, tmp_path / "out")
    assert corners(Path(exported.path))[0] == "blue"
    source = save(quarters(), tmp_path / "b.png", icc_profile=b"no profile at all")
    exported = export(source, tmp_path / "out")
    assert corners(Path(exported.path)) == UPRIGHT
    assert any("profile cannot be used" in warning for warning in exported.warnings)


@pytest.mark.parametrize(("width", "height"), [(1, 500), (500, 1), (301, 300), (64, 480)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_nothing_is_ever_stretched(width: int, height: int, fit: Any) -> None:
    """What is cut keeps one factor in both directions, but for the rounding of less than a pixel."""
    shape = shape_of(width, height, fit, 3000)
    left, top, right, bottom = shape.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert abs((right - left) * shape.scale - shape.size[0]) < 1
    assert abs((bottom - top) * shape.scale - shape.size[1]) < 1
    assert max(shape.size) == 3000
    assert shape.is_padded == (fit == "pad")


def test_a_picture_that_is_not_square_is_refused_cut_or_padded(tmp_path: Path) -> None:
    """Nothing is decided for the user; --fit crop takes the middle, --fit pad adds bars of the edge's colour."""
    wide = Image.new("RGB", (3 * SMALL, SMALL), "red")
    wide.paste(quarters(), (SMALL, 0))
    source = save(wide, tmp_path / "a.png")
    with pytest.raises(RequirementError, match="not square") as info:
        export(source, tmp_path / "out")
    assert (info.value.exit_code, info.value.code) == (12, "not_square")
    assert "--fit crop" in info.value.hint
    assert not (tmp_path / "out").exists()
    assert corners(Path(export(source, tmp_path / "crop", fit="crop").path)) == UPRIGHT
    padded = read(export(source, tmp_path / "pad", fit="pad").path)
    assert padded.getpixel((SMALL // 2, 5)) == pytest.approx((227, 28, 28), abs=40)
    assert padded.size == (SMALL, SMALL)
    with pytest.raises(RequirementError, match="border"):
        export(source, tmp_path / "out", store(no_border=True), fit="pad")


def test_a_thread_of_pixels_is_handled(tmp_path: Path) -> None:
    """1 x 5000 pixels: refused, padded, or cut to the one pixel in the middle."""
    source = save(Image.new("RGB", (1, 5000), "lime"), tmp_path / "a.png")
    with pytest.raises(RequirementError, match="1 x 5000"):
        export(source, tmp_path / "out")
    padded = export(source, tmp_path / "pad", fit="pad")
    assert read(padded.path).size == (SMALL, SMALL)
    assert padded.scale == SMALL / 5000
    cut = export(source, tmp_path / "crop", fit="crop", upscale="lanczos")
    assert cut.scale == SMALL


# --- enlarging -----------------------------------------------------------------------------------------------


def test_enlarging_is_asked_for_and_told(tmp_path: Path) -> None:
    """Without leave a small picture is refused with the factor; with it the factor is in the report."""
    source = save(quarters(48), tmp_path / "a.png")
    strict = store(min_side=SMALL)
    with pytest.raises(RequirementError) as info:
        export(source, tmp_path / "out", strict)
    assert info.value.code == "too_small"
    assert "--upscale lanczos to enlarge it 2.50 times" in info.value.hint
    exported = export(source, tmp_path / "out", strict, upscale="lanczos")
    assert exported.scale == 2.5
    assert any("2.50 times" in warning for warning in exported.warnings)
    assert read(exported.path).size == (SMALL, SMALL)


def test_a_store_that_refuses_enlarged_pictures_gets_none(tmp_path: Path) -> None:
    """Where the store forbids it, --upscale does not help, and no command is offered that would not work."""
    source = save(quarters(48), tmp_path / "a.png")
    with pytest.raises(RequirementError) as info:
        export(source, tmp_path / "out", store(min_side=100, no_upscaling=True), upscale="lanczos")
    assert "refuses enlarged" in info.value.message
    assert "--upscale" not in info.value.hint
    enough = export(source, tmp_path / "out", store(min_side=40, no_upscaling=True), upscale="lanczos")
    assert (enough.width, enough.scale) == (48, 1.0)


def test_what_is_large_enough_but_not_ideal_is_left_as_it_is(tmp_path: Path) -> None:
    """Between the least and the ideal size nothing is scaled, and the advice is passed on."""
    exported = export(save(quarters(100), tmp_path / "a.png"), tmp_path / "out", store(min_side=80))
    assert (exported.width, exported.scale) == (100, 1.0)
    assert any(f"advises {SMALL} x {SMALL}" in warning for warning in exported.warnings)


# --- weight --------------------------------------------------------------------------------------------------


def test_quality_gives_way_to_weight_and_then_colour_does(tmp_path: Path) -> None:
    """Quality goes from 95 down to 85, then half of the colour goes; below that the export is refused."""
    noise = Image.effect_noise((SMALL, SMALL), 90).convert("RGB")
    source = save(
        Image.merge("RGB", [noise.rotate(angle).getchannel(0) for angle in (0, 90, 180)]), tmp_path / "a.png"
    )
    best = export(source, tmp_path / "best")
    lower = export(source, tmp_path / "lower", store(max_bytes=best.bytes - 1))
    assert 85 <= lower.quality < 95
    assert lower.subsampling == "4:4:4"
    assert lower.bytes < best.bytes
    sizes = {}
    for limit in range(best.bytes, best.bytes // 4, -500):
        try:
            exported = export(source, tmp_path / str(limit), store(max_bytes=limit))
        except RequirementError as error:
            assert error.code == "too_heavy"  # noqa: PT017 -- the point where it is refused is what is looked for
            said = rf"{re.escape(str(source))} weighs \d+ KiB even at quality 85, of {limit // 1024} KiB allowed"
            assert re.fullmatch(said, error.message)  # noqa: PT017 -- as above
            break
        assert exported.bytes <= limit
        sizes[exported.subsampling] = exported.quality
    else:
        pytest.fail("no weight was too little")
    assert sizes == {"4:4:4": 85, "4:2:0": 85}


# --- labels --------------------------------------------------------------------------------------------------


def test_labels_go_along_and_losses_are_told(tmp_path: Path) -> None:
    """A TC260 label is kept, content credentials are lost with a word, the AI label is added."""
    source = tmp_path / "a.png"
    source.write_bytes(c2pa("png", marked("png", packet=aigc_xmp(), side=SMALL)))
    exported = export(source, tmp_path / "out")
    assert exported.marks.kept == ["xmp", "aigc"]
    assert exported.marks.lost == ["c2pa"]
    assert exported.marks.added == ["digital_source_type"]
    assert any("C2PA" in warning for warning in exported.warnings)
    assert read_marks(Path(exported.path)).values("aigc") == [AIGC]


@pytest.mark.parametrize("text", ["AI-generated", "AI生成"])
def test_a_visible_label_is_written_large_enough(tmp_path: Path, text: str) -> None:
    """It stands light on dark in the lower right corner, at least a twentieth of the side high."""
    source = save(Image.new("RGB", (600, 600), "lime"), tmp_path / "a.png")
    try:
        exported = export(source, tmp_path / "out", store(side=600), visible_label=text)
    except RequirementError as error:
        if text.isascii() or error.code != "no_font":
            raise
        pytest.skip("no font here can write Chinese")
    image = read(exported.path).convert("L")
    white = image.point(lambda value: 255 if value > 225 else 0).getbbox()
    assert white is not None
    assert white[1] > 450
    assert white[3] - white[1] >= 30
    assert any("refuse" in warning for warning in exported.warnings)


@pytest.mark.parametrize("text", ["x" * 61, "wide " * 11, "", "\x1b[31m", "\U000f0000"])
def test_a_label_that_cannot_be_written_is_refused(tmp_path: Path, text: str) -> None:
    """Too long, too wide, empty, or in characters that no font has: an error, and no file."""
    source = save(quarters(), tmp_path / "a.png")
    with pytest.raises((RequirementError, UsageError)):
        export(source, tmp_path / "out", visible_label=text)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [61, 75, 5000])
def test_the_length_of_a_label_is_counted_before_it_is_cut(count: int) -> None:
    """What is too long is said with all of its characters."""
    with pytest.raises(UsageError, match=f"has {count} characters"):
        checked_label("x" * count)
    assert checked_label("x" * 60) == "x" * 60


# --- files ---------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    """The same file is settled for; another one is left alone until --overwrite."""
    source = save(quarters(), tmp_path / "a.png")
    path = Path(export(source, tmp_path).path)
    assert export(source, tmp_path).is_existing
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="is there already") as info:
        export(source, tmp_path)
    assert "--overwrite" in info.value.hint
    assert path.read_bytes() == b"mine"
    assert not export(source, tmp_path, overwrite=True).is_existing
    assert names_in(tmp_path) == ["a-store.jpg", "a.png"]


def test_the_same_picture_becomes_the_same_file(tmp_path: Path) -> None:
    """Nothing in a file depends on when it was made."""
    source = save(quarters(), tmp_path / "a.png")
    first, second = (Path(export(source, tmp_path / name).path).read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("source", "name", "stem"),
    [
        ("covers/abc/cover_1.png", "", "abc-cover_1"),
        ("Night Drive.png", "", "Night Drive"),
        ("covers/abc/cover_1.png", "my-song", "my-song"),
        ("a.png", "../../etc/passwd", "_.._etc_passwd"),
        ("a.png", "x" * 300, "x" * 80),
    ],
)
def test_names_say_what_the_picture_is_of(source: str, name: str, stem: str) -> None:
    """A file is named after its song; a number alone says nothing, and no name leads out of the folder."""
    assert file_stem(Path(source), name) == stem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(20), "a GIF"),
        (b"<!DOCTYPE html>", "a web page"),
        (content_of(quarters())[:200], "damaged"),
        (b"ID3\4" + bytes(20), "something else"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """A file of another kind, an empty one and a damaged one are refused with what they are."""
    source = tmp_path / "a.png"
    source.write_bytes(content)
    with pytest.raises(RequirementError, match=words):
        export(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_or_no_file_is_a_usage_error(tmp_path: Path) -> None:
    """A path that leads nowhere, to a folder or to a pipe is told at once; nothing hangs."""
    paths = [tmp_path / "none.png", tmp_path]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        paths.append(tmp_path / "pipe.png")
    for path in paths:
        with pytest.raises(UsageError):
            export(path, tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is an error of ours."""
    source = save(quarters(), tmp_path / "a.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SunoCoverError, match="cannot write"):
        export(source, tmp_path / "out" / "deeper")


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_fifty_megapixels_fit_into_a_stated_amount_of_memory(tmp_path: Path) -> None:
    """The largest picture that is taken costs at most 8 bytes a pixel and 200 MB; a larger one is refused."""
    save(Image.new("RGBA", (7071, 7071), (250, 10, 10, 200)), tmp_path / "a.png", compress_level=1)
    head = struct.pack(">IIBBBBB", 7072, 7072, 8, 6, 0, 0, 0)
    (tmp_path / "b.png").write_bytes(
        content_of(quarters())[:8] + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", b"")
    )
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.release_fixtures import export, store\n"
        "export(Path(sys.argv[1]), Path(sys.argv[2]), store(side=3000))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.png"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert int(run.stdout) < 8 * 50_000_000 + 200_000_000
    with pytest.raises(RequirementError, match="more than 50 million"):
        export(tmp_path / "b.png", tmp_path / "out")


# --- other people's tools ----------------------------------------------------------------------------------


def test_other_programs_see_what_a_store_wants(tmp_path: Path) -> None:
    """identify, jpeginfo and ExifTool agree: baseline, 3000 x 3000, RGB with an sRGB profile, the labels."""
    source = tmp_path / "a.jpg"
    source.write_bytes(marked("jpg", packet=aigc_xmp(), side=600))
    exported = export(source, tmp_path / "out", store(side=3000, max_bytes=3_000_000), upscale="lanczos")
    seen = subprocess.run(
        [tool("identify"), "-format", "%m %w %h %[colorspace] %[channels] %[interlace] %x", exported.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert seen.split()[:4] == ["JPEG", "3000", "3000", "sRGB"]
    assert "None 300" in seen
    checked = subprocess.run(
        [tool("jpeginfo"), "-c", exported.path], capture_output=True, text=True, check=True
    ).stdout
    assert "OK" in checked
    assert "24bit N" in checked
    found = exiftool(Path(exported.path))
    assert found["File:EncodingProcess"].startswith("Baseline")
    assert found["ICC_Profile:ProfileDescription"].startswith("sRGB")
    assert found["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert found["XMP-TC260:Aigc"] == AIGC
    assert Path(exported.path).stat().st_size <= 3_000_000


# --- measures ------------------------------------------------------------------------------------------------


def test_measures_tell_what_is_seen_when_a_cover_is_small(tmp_path: Path) -> None:
    """Contrast and edges are 0 for one tone; a strong picture has more of both than a faint one."""
    flat = measure_picture(save(Image.new("RGB", (256, 256), "grey"), tmp_path / "flat.png"))
    strong = measure_picture(save(quarters(256), tmp_path / "strong.png"))
    faint = measure_picture(
        save(Image.blend(quarters(256), Image.new("RGB", (256, 256), "grey"), 0.8), tmp_path / "f.png")
    )
    assert (flat.contrast, flat.edges, flat.border) == (0, 0, 0)
    assert strong.score > faint.score > flat.score
    halves = Image.new("RGB", (256, 256), "black")
    halves.paste("white", (0, 0, 128, 256))
    assert measure_picture(save(halves, tmp_path / "h.png")).contrast == pytest.approx(1, abs=0.03)


def test_measures_tell_borders_and_sizes(tmp_path: Path) -> None:
    """An even border is found with its width, and how far a side is from 3000 pixels."""
    framed = Image.new("RGB", (400, 400), "navy")
    framed.paste(quarters(320), (40, 40))
    found = measure_picture(save(framed, tmp_path / "framed.png"))
    assert found.border == pytest.approx(0.1, abs=0.01)
    assert found.factor == 7.5
    assert found.is_square
    plain = measure_picture(save(Image.radial_gradient("L"), tmp_path / "plain.png"))
    assert plain.border == 0
    assert not measure_picture(save(quarters(100, 101), tmp_path / "odd.png")).is_square
    assert measure_picture(save(quarters(1, 5000), tmp_path / "thread.png")).border == 0


def test_a_refusing_store_makes_no_file(tmp_path: Path) -> None:
    """A store that takes no such music is named with its source; no picture is even opened."""
    profile = store(refuses="It does not accept this", source="a page")
    with pytest.raises(RequirementError, match="does not accept") as info:
        export_cover(tmp_path / "none.png", ExportWishes(profile=profile, out=tmp_path / "out"))
    assert info.value.exit_code == 12
    assert "a page" in info.value.hint
