"""From cover to release: a store-ready file against ImageMagick, a cover in a song against mutagen's own tool."""

import shutil
import sys
from pathlib import Path

from PIL import Image

from suno_cover_cli.release.pictures import srgb_profile
from tests.bench.lab import BenchError, Lab, NotHereError
from tests.bench.rows import Figure, Rounds, Unit, at_most_above, one_row, ratio_at_most
from tests.bench.samples import measure_pairs, settle
from tests.gallery_fixtures import draw

_COVER_SIDE = 1024
_STORE_SIDE = 3000
_QUALITY = 95
_SONG_S = 180


def measure_export(lab: Lab) -> Rounds:
    """Enlarge a cover as the service makes them to what stores ask for."""
    folder = lab.new_folder()
    cover, profile, made = folder / "cover.png", folder / "srgb.icc", folder / "magick.jpg"
    cover.write_bytes(draw(1, (_COVER_SIDE, _COVER_SIDE)))
    profile.write_bytes(srgb_profile())
    resize = ("-filter", "Lanczos", "-resize", f"{_STORE_SIDE}x{_STORE_SIDE}", "-profile", str(profile))
    encode = ("-quality", f"{_QUALITY}", "-sampling-factor", "4:4:4", "-units", "PixelsPerInch", "-density", "300")
    magick = [_magick(lab), str(cover), *resize, *encode, str(made)]

    def ours() -> float:
        out = lab.new_folder()
        took_s = lab.run(lab.program("export", "--upscale", "lanczos", "--out", str(out), str(cover)))
        [path] = out.iterdir()
        check_same_work(path, made)
        path.unlink()
        return took_s

    lab.run(magick)
    yield from one_row(
        measure_pairs(ours, lambda: lab.run(magick)),
        figure=f"`export`: {_COVER_SIDE} px cover to a {_STORE_SIDE} px JPEG, whole process",
        unit=Unit.SECONDS,
        baseline="ImageMagick: Lanczos, same quality, sRGB profile",
        goal=ratio_at_most(1.0),
        note="labels carried over, written durably",
    )


def _magick(lab: Lab) -> str:
    """Return the path of ImageMagick 7, or of the program that version 6 has instead.

    Raises:
        NotHereError: Neither is installed.
    """
    for name in ("magick", "convert"):
        # Windows has a convert of its own, which knows file systems and no pictures.
        if name != "convert" or sys.platform != "win32":
            try:
                return lab.tool(name)
            except NotHereError:
                continue
    raise NotHereError("no ImageMagick")


def check_same_work(ours: Path, theirs: Path) -> None:
    """Compare size, profile, quality and colours of two JPEG files.

    Raises:
        BenchError: One took more work than the other.
    """
    with Image.open(ours) as mine, Image.open(theirs) as other:
        facts = [
            (
                image.format,
                image.size,
                image.mode,
                "icc_profile" in image.info,
                "progressive" in image.info,
                getattr(image, "quantization", None),  # the tables say the quality
                [layer[1:3] for layer in getattr(image, "layer", ())],  # the sampling of the colours
            )
            for image in (mine, other)
        ]
    if facts[0] != facts[1] or facts[0][1] != (_STORE_SIDE, _STORE_SIDE):
        raise BenchError(f"export and ImageMagick made different files: {facts}")


def measure_embed(lab: Lab) -> Rounds:
    """Put a store-ready cover into a song of three minutes that has none."""
    folder = lab.new_folder()
    song, cover, tagged = folder / "song.mp3", folder / "cover.jpg", folder / "tagged.mp3"
    tone = ("-f", "lavfi", "-i", f"sine=duration={_SONG_S}", "-b:a", "192k", "-metadata", "title=Song")
    lab.run([lab.tool("ffmpeg"), "-v", "error", *tone, str(song)])
    with Image.new("RGB", (_STORE_SIDE, _STORE_SIDE)) as canvas:
        canvas.paste(Image.effect_mandelbrot(canvas.size, (-2, -1.5, 1, 1.5), 100))
        canvas.save(cover, quality=_QUALITY, icc_profile=srgb_profile(), dpi=(300, 300))
    least_bytes = song.stat().st_size + cover.stat().st_size

    def put(*command: str) -> float:
        shutil.copyfile(song, tagged)
        settle()
        took_s = lab.run([*command, str(tagged)])
        if tagged.stat().st_size < least_bytes:
            raise BenchError(f"{command[0]} did not embed the whole cover")
        return took_s

    ours = lab.program("embed", "--max-edge", str(_STORE_SIDE), "--cover", str(cover))
    yield from one_row(
        measure_pairs(lambda: put(*ours), lambda: put(*_mid3v2(), "-p", str(cover))),
        figure=f"`embed`: {_STORE_SIDE} px cover into an mp3 of {_SONG_S // 60} minutes, whole process",
        unit=Unit.SECONDS,
        baseline="`mid3v2 -p`, in place, no check, nothing durable",
        goal=at_most_above(0.5),
        note="the cover decoded and made plain, labels kept; a copy tagged, its sound compared, synced, renamed",
    )


def _mid3v2() -> list[str]:
    """Return the command line of mutagen's own tool, installed with it beside the interpreter."""
    found = shutil.which("mid3v2", path=str(Path(sys.executable).parent))
    if found is None:
        raise NotHereError("no mid3v2")
    return [found]


FIGURES = (
    Figure(name="export", measure=measure_export, rounds=(0, 9)),
    Figure(name="embed", measure=measure_embed, rounds=(0, 15)),
)
"""Only in the long form: the short one has no time to spare for pictures of nine megapixels."""
