"""Profiles of stores: each has a source and a date, a picture it takes and one that it does not."""

from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from suno_cover_cli.base.errors import RequirementError, UsageError
from suno_cover_cli.release.export import ExportWishes, export_cover, plan
from suno_cover_cli.release.measures import Measures
from suno_cover_cli.release.pictures import open_picture, srgb_profile
from suno_cover_cli.release.profiles import Finding, Profile, find_profile, judge, load_profiles
from suno_cover_cli.release.rendering import encode
from tests.release_fixtures import quarters, save

PROFILES = load_profiles()
TAKING = {name: profile for name, profile in PROFILES.items() if not profile.refuses}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A store-ready picture of each size that profiles ask for."""
    folder = tmp_path_factory.mktemp("ready")
    found = {}
    for side in {profile.side for profile in TAKING.values()}:
        image = Image.radial_gradient("L").resize((side, side)).convert("RGB")
        found[side] = folder / f"{side}.jpg"
        found[side].write_bytes(encode(image, dpi=300, max_bytes=None, source=found[side]).content)
    return found


def findings(path: Path, profile: Profile, border: float = 0.0) -> list[Finding]:
    """Return what a store would say of a file."""
    with open_picture(path) as picture:
        facts = picture.facts
    measures = Measures(width=facts.width, height=facts.height, contrast=0.5, edges=0.1, border=border)
    return judge(facts, measures, profile)


def failed_of(path: Path, name: str, border: float = 0.0) -> set[str]:
    """Return the requirements of a store that a file does not meet."""
    return {finding.requirement for finding in findings(path, PROFILES[name], border) if not finding.is_met}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_a_source_and_a_date(name: str) -> None:
    """No figure without where it stands and when it was read."""
    profile = PROFILES[name]
    assert profile.source.strip()
    assert date(2026, 1, 1) < profile.checked <= date(2026, 12, 31)
    assert profile.title
    assert profile.refuses or profile.min_side <= profile.side <= (profile.max_side or profile.side)


@pytest.mark.parametrize("name", TAKING)
def test_every_store_takes_what_is_made_for_it(name: str, ready: dict[int, Path]) -> None:
    """A picture as export makes it meets every requirement."""
    said = findings(ready[PROFILES[name].side], PROFILES[name])
    assert [finding for finding in said if not finding.is_met] == []
    assert said


@pytest.mark.parametrize("name", TAKING)
def test_every_store_refuses_what_does_not_meet_it(name: str, tmp_path: Path) -> None:
    """Size, shape, colours and format are each named, with what would help."""
    profile = PROFILES[name]
    source = save(Image.new("RGBA", (600, 500), (9, 9, 9, 9)), tmp_path / "a.webp")
    failed = {finding.requirement: finding for finding in findings(source, profile) if not finding.is_met}
    assert {"square", "pixels", "colours"} <= set(failed)
    assert ("format" in failed) == bool(profile.formats)
    assert all(finding.hint for finding in failed.values())
    assert ("--upscale" in failed["pixels"].hint) != profile.no_upscaling
    with open_picture(source) as picture, pytest.raises(RequirementError):
        plan(picture.facts, ExportWishes(profile=profile, out=tmp_path))


def test_a_store_that_takes_no_ai_music_says_so(tmp_path: Path) -> None:
    """Bandcamp's profile is an answer, not a file."""
    (finding,) = findings(save(quarters(), tmp_path / "a.png"), PROFILES["bandcamp"])
    assert not finding.is_met
    assert "made by AI" in finding.message
    assert "happymag.tv" in finding.hint


def test_weight_border_and_resolution_are_judged(ready: dict[int, Path], tmp_path: Path) -> None:
    """Each is named where the store asks for it, and only there."""
    path = ready[3000]
    framed = {
        finding.requirement for finding in findings(path, PROFILES["musicgateway"], 0.05) if not finding.is_met
    }
    assert framed == {"border"}
    with Image.open(path) as image:
        plain = save(image, tmp_path / "plain.jpg", quality=95, dpi=(72, 72), progressive=True)
    assert failed_of(plain, "store") == {"format", "resolution"}
    assert [finding.is_met for finding in findings(plain, PROFILES["apple"])] == [True] * 4
    plain.write_bytes(plain.read_bytes() + bytes(3_000_000))
    assert "weight" in failed_of(plain, "fresible")


@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize("name", ["spotify", "store"])
def test_an_orientation_tag_is_refused_and_left_out(name: str, orientation: int, tmp_path: Path) -> None:
    """Whatever it says, a check names it where the store asks for none; what export makes has none."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", orientation
    source = save(quarters(3000), tmp_path / "turned.jpg", exif=exif, dpi=(300, 300), icc_profile=srgb_profile())
    assert "orientation" in failed_of(source, name)
    assert "orientation" not in failed_of(source, "apple")
    made = export_cover(source, ExportWishes(profile=PROFILES[name], out=tmp_path / "out"))
    assert failed_of(Path(made.path), name) == set()
    with Image.open(made.path) as image:
        assert dict(image.getexif()) == {0x010F: "Camera"}
    assert "exif" in made.marks.kept


def test_the_title_of_a_profile_is_part_of_a_sentence(ready: dict[int, Path], tmp_path: Path) -> None:
    """Its article is small where the sentence has begun before it; a name stays as it is written."""
    plain = save(quarters(), tmp_path / "a.png")
    said = " ".join(finding.message for finding in findings(plain, PROFILES["store"]))
    assert "PNG, and the common profile takes JPEG" in said
    assert "The common" not in said
    assert any(
        finding.message == "the common profile asks for 3000 x 3000"
        for finding in findings(ready[3000], PROFILES["store"])
    )
    assert PROFILES["apple"].title_within == "Apple Music"


def test_the_default_profile_is_what_all_that_take_enlarged_pictures_accept(ready: dict[int, Path]) -> None:
    """A file for ``store`` passes everywhere, but where another size is asked for."""
    default = PROFILES["store"]
    assert (default.min_side, default.max_side, default.max_bytes) == (3000, 3000, 3_000_000)
    for profile in TAKING.values():
        assert [finding for finding in findings(ready[3000], profile) if not finding.is_met] == []


def test_an_unknown_store_is_told_with_the_nearest() -> None:
    """A typing error costs one line."""
    with pytest.raises(UsageError) as info:
        find_profile("distrokit")
    assert "distrokid" in info.value.hint
    assert find_profile(" DistroKid ").name == "distrokid"
    with pytest.raises(UsageError) as info:
        find_profile("zzz")
    assert "--list-profiles" in info.value.hint
