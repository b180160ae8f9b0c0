"""A closer look at covers: files that are others than they were, odd pictures, small pictures kept and dropped."""

import asyncio
import hashlib
import io
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from PIL import Image, ImageOps

from suno_cover_cli.release.measures import measure_border
from suno_cover_cli.web.covers import Cover
from suno_cover_cli.web.guard import PageError
from suno_cover_cli.web.looks import Look, Looker, LookRoom, SavedFileError, are_alike, check_saved, read_saved
from suno_cover_cli.web.thumbnails import EDGE, ThumbnailFolder
from tests.gallery_fixtures import draw, marks_of, save


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    """Look at covers; small pictures are kept in ``thumbnails``."""
    return Looker(ThumbnailFolder(tmp_path / "thumbnails"), marks_of, measure_border)


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    """Return the bytes of a picture."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def small_of(look: Look) -> Image.Image:
    """Decode the small picture of a look."""
    assert look.state == "ok"
    return Image.open(io.BytesIO(look.small))


# --- is it what was saved -----------------------------------------------------------------------------


def gone(path: Path) -> None:
    """Delete the file."""
    path.unlink()


def folder_gone(path: Path) -> None:
    """Put a file where its folder was."""
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"")


def longer(path: Path) -> None:
    """Write a byte more."""
    path.write_bytes(path.read_bytes() + b"\0")


def flipped(path: Path) -> None:
    """Flip one bit and change nothing else, times included."""
    facts = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def replaced(path: Path) -> None:
    """Put another picture there."""
    path.write_bytes(draw(99))


def folder(path: Path) -> None:
    """Put a folder there."""
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    """Put a pipe there that nobody writes into."""
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    """Lead to a device that never ends."""
    path.unlink()
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    """Put a file of 20 GiB there that takes no room."""
    with path.open("wb") as file:
        file.truncate(20 * 1024**3)


def locked(path: Path) -> None:
    """Lead in a circle: a file that can be seen and not be opened, also by root."""
    path.unlink()
    path.symlink_to(path)


POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


@pytest.mark.parametrize(
    ("change", "states"),
    [
        (gone, {"missing"}),
        (folder_gone, {"missing"}),
        (longer, {"changed"}),
        (flipped, {"changed"}),
        (replaced, {"changed"}),
        (folder, {"changed", "unreadable"}),
        pytest.param(pipe, {"changed"}, marks=POSIX),
        pytest.param(endless, {"changed"}, marks=POSIX),
        (sparse, {"changed"}),
        pytest.param(locked, {"unreadable"}, marks=POSIX),
    ],
)
def test_a_file_that_is_not_what_was_saved_is_told(
    tmp_path: Path, looker: Looker, change: Callable[[Path], None], states: set[str]
) -> None:
    """What moved, changed or became something else is said, not shown, and keeps nobody waiting."""
    cover = save(tmp_path / "job", 1, draw(1))
    assert looker.look(cover).state == "ok"
    change(Path(cover.path))
    look = looker.look(cover)
    assert look.state in states
    assert look.small == b""
    for read in (read_saved, check_saved):
        with pytest.raises(SavedFileError) as found:
            read(cover)
        assert found.value.state == look.state


def test_what_took_the_place_of_a_cover_is_not_decoded(tmp_path: Path, looker: Looker) -> None:
    """A stranger with the size of the cover is found by its hash, before Pillow sees a byte of it."""
    cover = save(tmp_path / "job", 1, draw(1))
    Path(cover.path).write_bytes(b"\x89PNG\r\n\x1a\n".ljust(cover.size_bytes, b"\xff"))
    assert looker.look(cover).state == "changed"
    assert not (tmp_path / "thumbnails").exists()


@pytest.mark.parametrize("path", ["", "\0", "a" * 5000, "relative.png"])
def test_a_path_that_is_none_is_told(tmp_path: Path, looker: Looker, path: str) -> None:
    """Whatever a damaged journal says is a path leads to a word, not to an exception."""
    cover = msgspec.structs.replace(save(tmp_path / "job", 1, draw(1)), path=path)
    assert looker.look(cover).state in {"missing", "unreadable"}


def test_a_file_beyond_all_measure_is_not_read(tmp_path: Path, looker: Looker) -> None:
    """A file of a size that no cover has is not read, also where the journal says that it was saved."""
    path = tmp_path / "cover_1.png"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)
    cover = Cover(n=1, path=str(path), size_bytes=3 * 1024**3, width=1, height=1, sha256="0" * 64)
    assert looker.look(cover).state == "unreadable"


# --- odd pictures -------------------------------------------------------------------------------------


def rotated() -> bytes:
    """Return a JPEG that EXIF turns upright: red above blue."""
    upright = Image.new("RGB", (400, 800), "red")
    upright.paste("blue", (0, 400, 400, 800))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=95)


def sixteen_bits() -> bytes:
    """Return a grey PNG of 16 bits, dark at the left and bright at the right."""
    row = b"".join((x * 65535 // 799).to_bytes(2, "little") for x in range(800))
    return encode(Image.frombytes("I;16", (800, 800), row * 800))


def palette_with_hole() -> bytes:
    """Return an indexed PNG of which one colour is clear."""
    image = Image.new("P", (700, 700), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 350, 700))
    return encode(image, transparency=1)


def animated() -> bytes:
    """Return a PNG of three frames, the first one green."""
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("green", "red", "blue")]
    return encode(frames[0], save_all=True, append_images=frames[1:], duration=50)


PICTURES: dict[str, tuple[Callable[[], bytes], tuple[int, int], tuple[int, int, int]]] = {
    "cmyk": (lambda: encode(Image.new("CMYK", (900, 900), (0, 255, 255, 0)), "JPEG"), (600, 600), (254, 0, 0)),
    "grey": (lambda: encode(Image.new("L", (900, 900), 128)), (600, 600), (128, 128, 128)),
    "one bit": (lambda: encode(Image.new("1", (900, 900), 1)), (600, 600), (255, 255, 255)),
    "16 bits": (sixteen_bits, (600, 600), (127, 127, 127)),
    "palette": (palette_with_hole, (600, 600), (255, 0, 0)),
    "rotated": (rotated, (300, 600), (0, 0, 254)),
    "animated": (animated, (300, 300), (0, 128, 0)),
    "slim": (lambda: encode(Image.new("RGB", (1, 5000), "red")), (1, 600), (255, 0, 0)),
    "flat": (lambda: encode(Image.new("RGB", (5000, 1), "red")), (600, 1), (255, 0, 0)),
    "dot": (lambda: encode(Image.new("RGB", (1, 1), "red")), (1, 1), (255, 0, 0)),
    "webp": (lambda: encode(Image.new("RGB", (900, 450), "red"), "WEBP", lossless=True), (600, 300), (255, 0, 0)),
    "large": (lambda: encode(Image.new("RGB", (7000, 7000), "blue"), compress_level=1), (600, 600), (0, 0, 255)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_odd_pictures_become_small_ones(tmp_path: Path, looker: Looker, name: str) -> None:
    """Pictures of any mode, depth, shape and size become small, upright, plain ones of the right colour."""
    make, size, colour = PICTURES[name]
    look = looker.look(save(tmp_path / "job", 1, make()))
    with small_of(look) as small:
        assert (small.format, small.size, getattr(small, "n_frames", 1)) == ("WEBP", size, 1)
        place = (small.width * 3 // 4 if name == "palette" else small.width // 2, small.height * 7 // 8)
        found = small.convert("RGB").getpixel(place)
    assert isinstance(found, tuple)
    assert all(abs(one - other) <= 6 for one, other in zip(found, colour, strict=True)), found


def test_a_clear_part_stays_clear(tmp_path: Path, looker: Looker) -> None:
    """Transparency of a palette is transparency of the small picture."""
    with small_of(looker.look(save(tmp_path / "job", 1, palette_with_hole()))) as small:
        assert small.convert("RGBA").getpixel((10, 10))[3] == 0  # type: ignore[index]


# --- what is measured ---------------------------------------------------------------------------------


def test_nearly_equal_pictures_are_found(tmp_path: Path, looker: Looker) -> None:
    """The same picture at another size and quality is alike; another one is not, nor is its mirror image."""
    original = Image.open(io.BytesIO(draw(3, (1024, 1024))))
    variants = {
        "other": draw(4, (1024, 1024)),
        "smaller": encode(original.resize((512, 512)), "JPEG", quality=60),
        "mirrored": encode(ImageOps.mirror(original)),
    }
    first = looker.look(save(tmp_path / "original", 1, draw(3, (1024, 1024))))
    looks = {name: looker.look(save(tmp_path / name, 1, content)) for name, content in variants.items()}
    assert {name: are_alike(first, look) for name, look in looks.items()} == {
        "other": False,
        "smaller": True,
        "mirrored": False,
    }


@pytest.mark.parametrize(
    ("make", "has_border"),
    [
        (lambda image: ImageOps.expand(image, 30, "white"), True),
        (lambda image: ImageOps.expand(image, 30, "#203040"), True),
        (lambda image: ImageOps.expand(Image.new("RGB", image.size, "#ff0000"), 30, "#008200"), True),
        (lambda image: image, False),
        (lambda image: ImageOps.expand(image, (30, 0), "white"), False),
        (lambda image: Image.new("RGB", image.size, "white"), False),
        (lambda image: image.resize((5, 5)), False),
    ],
)
def test_a_uniform_border_is_found(
    tmp_path: Path, looker: Looker, make: Callable[[Image.Image], Image.Image], *, has_border: bool
) -> None:
    """A frame of one colour, as bright as the rest or not, is found; two bars and a plain picture are none."""
    picture = make(Image.open(io.BytesIO(draw(5, (900, 900)))))
    assert looker.look(save(tmp_path / "job", 1, encode(picture))).has_border is has_border


def test_marks_are_read_from_the_file(tmp_path: Path, looker: Looker) -> None:
    """What the file carries is asked of whoever reads labels, with the bytes that were hashed."""
    marked = draw(1) + b"trainedAlgorithmicMedia"
    assert looker.look(save(tmp_path / "job", 1, marked)).marks == ("AI label: IPTC",)
    assert looker.look(save(tmp_path / "job", 2, draw(1))).marks == ()


# --- small pictures on disk ---------------------------------------------------------------------------


def test_a_small_picture_is_made_once(tmp_path: Path, looker: Looker) -> None:
    """The file is named by the hash of the cover, for the user alone, and read the next time."""
    cover = save(tmp_path / "job", 1, draw(1))
    first = looker.look(cover)
    [kept] = (tmp_path / "thumbnails").iterdir()
    assert kept.name == f"{cover.sha256}.webp"
    if os.name == "posix":
        assert kept.parent.stat().st_mode & 0o077 == 0
    marker = encode(Image.new("RGB", (EDGE, EDGE), "purple"), "WEBP")
    kept.write_bytes(marker)
    assert looker.look(cover).small == marker
    assert first.small != marker


@pytest.mark.parametrize(
    "damage", [b"", b"RIFF", b"\x89PNG\r\n\x1a\n", encode(Image.new("RGB", (3000, 9)), "WEBP")]
)
def test_a_damaged_small_picture_is_made_again(tmp_path: Path, looker: Looker, damage: bytes) -> None:
    """What a crash left half, or what is no picture of ours, is replaced."""
    cover = save(tmp_path / "job", 1, draw(1))
    good = looker.look(cover)
    kept = tmp_path / "thumbnails" / f"{cover.sha256}.webp"
    kept.write_bytes(damage)
    assert looker.look(cover) == good
    assert kept.read_bytes() == good.small


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    """Without a place for small pictures they are made each time."""
    (tmp_path / "thumbnails").write_bytes(b"")
    looker = Looker(ThumbnailFolder(tmp_path / "thumbnails"), marks_of, measure_border)
    cover = save(tmp_path / "job", 1, draw(1))
    assert looker.look(cover) == looker.look(cover)
    assert looker.look(cover).state == "ok"


@pytest.mark.parametrize(("max_bytes", "max_files"), [(10_000, 1000), (1_000_000, 10)])
def test_small_pictures_have_bounds(tmp_path: Path, max_bytes: int, max_files: int) -> None:
    """Neither bytes nor files go beyond their bound, and what was read longest ago goes first."""
    folder = tmp_path / "thumbnails"
    store = ThumbnailFolder(folder, max_bytes=max_bytes, max_files=max_files)
    for number in range(40):
        name = f"{number:02}"
        store.write(name, bytes(900))
        os.utime(folder / f"{name}.webp", (1000 + number, 1000 + number))
        # Asked for all the time, so it is never the one that was read longest ago.
        assert store.read("00") is not None
        kept = [path.stat().st_size for path in folder.iterdir()]
        assert sum(kept) <= max_bytes
        assert len(kept) <= max_files
    names = sorted(path.stem for path in folder.iterdir())
    assert len(names) >= 8
    assert names[0] == "00"
    assert names[1:] == [f"{number:02}" for number in range(41 - len(names), 40)]


def test_a_new_run_sees_what_others_left(tmp_path: Path) -> None:
    """The first small picture of a run leads to a look at the folder: bounds hold, parts of dead runs go."""
    folder = tmp_path / "thumbnails"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.webp").write_bytes(bytes(900))
    stale, fresh = folder / "a.webp.1.part", folder / "b.webp.2.part"
    stale.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(stale, (1, 1))
    ThumbnailFolder(folder, max_bytes=10_000).write("new", bytes(900))
    assert sum(path.stat().st_size for path in folder.glob("*.webp")) <= 10_000
    assert (folder / "new.webp").exists()
    assert (stale.exists(), fresh.exists()) == (False, True)


# --- the room -----------------------------------------------------------------------------------------


class SlowLooker(Looker):
    """Looks only when it is told to, and remembers in which order it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.begun = threading.Semaphore(0)
        self.may_go = threading.Semaphore(0)

    def look(self, cover: Cover) -> Look:
        """Wait for leave."""
        self.asked.append(cover.n)
        self.begun.release()
        assert self.may_go.acquire(timeout=10)
        return Look(state="ok", small=bytes(1000))


def covers(count: int) -> Sequence[Cover]:
    """Make covers that are files of nobody."""
    return [
        Cover(n=n, path=f"/nowhere/{n}", size_bytes=1, width=1, height=1, sha256=f"{n:064}") for n in range(count)
    ]


async def begun(looker: SlowLooker, count: int = 1) -> None:
    """Wait until so many looks have begun."""
    for _ in range(count):
        assert await asyncio.to_thread(looker.begun.acquire, timeout=10)


async def wished(room: LookRoom, wanted: Sequence[Cover]) -> list["asyncio.Task[Look]"]:
    """Wish for looks one after the other, each when the one before waits for its turn."""
    wishes = []
    for count, cover in enumerate(wanted, 1):
        wishes.append(asyncio.create_task(room.look(cover)))
        async with asyncio.timeout(10):
            while room.waiting + sum(wish.done() for wish in wishes) < count:
                await asyncio.to_thread(lambda: None)
    return wishes


async def test_the_newest_wish_is_first() -> None:
    """What was asked for last is looked at next; what was given up is not looked at."""
    looker = SlowLooker()
    async with LookRoom(looker, max_threads=1) as room:
        first = asyncio.create_task(room.look(covers(6)[0]))
        await begun(looker)
        wishes = await wished(room, covers(6)[1:])
        wishes[2].cancel()
        await asyncio.wait({wishes[2]})
        looker.may_go.release(5)
        await asyncio.gather(first, *wishes, return_exceptions=True)
        assert looker.asked == [0, 5, 4, 2, 1]


async def test_too_many_wishes_end_the_oldest() -> None:
    """The queue has a bound: the wish that waited longest is refused, and may be made again."""
    looker = SlowLooker()
    async with LookRoom(looker, max_threads=1, max_waiting=2) as room:
        first = asyncio.create_task(room.look(covers(5)[0]))
        await begun(looker)
        wishes = await wished(room, covers(5)[1:])
        looker.may_go.release(9)
        said = await asyncio.gather(first, *wishes, return_exceptions=True)
        assert [isinstance(one, PageError) and one.code == "busy" for one in said] == [
            False,
            True,
            True,
            False,
            False,
        ]
        assert looker.asked == [0, 4, 3]
        assert (await room.look(covers(5)[1])).state == "ok"


async def test_looks_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    """A look is not repeated, unless the file is another one; what is remembered has a bound."""
    looker = SlowLooker()
    looker.may_go.release(99)
    cover = save(tmp_path / "job", 1, draw(1))
    async with LookRoom(looker, max_kept_bytes=3000) as room:
        for _ in range(3):
            await room.look(cover)
        assert looker.asked == [1]
        await asyncio.to_thread(Path(cover.path).write_bytes, b"other")
        await room.look(cover)
        assert looker.asked == [1, 1]
        for other in covers(4):
            await room.look(other)
        assert room.kept_bytes <= 3000
        await room.look(cover)
        assert looker.asked[-1] == 1, "the oldest one was forgotten"


async def test_the_hash_names_the_bytes_that_are_served(tmp_path: Path) -> None:
    """The whole file comes as it was saved, or not at all."""
    cover = save(tmp_path / "job", 1, draw(1))
    async with LookRoom(Looker(ThumbnailFolder(tmp_path / "thumbnails"), marks_of, measure_border)) as room:
        assert hashlib.sha256(await room.read(cover)).hexdigest() == cover.sha256
        await asyncio.to_thread(Path(cover.path).write_bytes, draw(2))
        with pytest.raises(SavedFileError):
            await room.read(cover)
