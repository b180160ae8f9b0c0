"""What stores ask of a cover (``profiles.toml`` beside this module), and what they would say of a file."""

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import clean
from suno_cover_cli.release.measures import Measures, measure_picture
from suno_cover_cli.release.pictures import PictureFacts, open_picture
from suno_cover_cli.release.rendering import describe_limit, describe_weight

DEFAULT_DPI = 300

Requirement = Literal[
    "store", "format", "pixels", "square", "colours", "weight", "resolution", "border", "frames", "orientation"
]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One store's wishes.

    Attributes:
        name: Word for ``--profile``.
        title: The store's name.
        source: Where the figures stand.
        checked: When that was last read.
        secondhand: Another source quotes the store.
        min_side: Least pixels of a side.
        side: Pixels of a side that an export makes when it can.
        max_side: Most pixels of a side, ``None`` for any.
        formats: Names of file formats; empty where nothing is said.
        max_bytes: Weight, ``None`` for any.
        baseline: Progressive JPEGs are refused.
        dpi: Least pixels per inch, ``None`` for any.
        no_upscaling: Enlarged pictures are refused.
        no_border: Pictures with a border are refused.
        no_orientation: Pictures with an orientation tag are refused, whatever it says.
        refuses: Why no file is made at all; empty when one is.
        notes: What no program can check.
    """

    name: str
    title: str
    source: str
    checked: date
    secondhand: bool = False
    min_side: int = 0
    side: int = 3000
    max_side: int | None = None
    formats: tuple[str, ...] = ()
    max_bytes: int | None = None
    baseline: bool = False
    dpi: int | None = None
    no_upscaling: bool = False
    no_border: bool = False
    no_orientation: bool = False
    refuses: str = ""
    notes: tuple[str, ...] = ()

    @property
    def title_within(self) -> str:
        """The store's name inside a sentence: an article is small there."""
        return self.title.replace("The ", "the ", 1) if self.title.startswith("The ") else self.title

    @property
    def short_source(self) -> str:
        """The source with the hosts of its addresses alone."""
        return re.sub(r"https?://([^/\s,]+)[^\s,]*", r"\1", self.source)

    @property
    def pixels(self) -> str:
        """Sizes in words."""
        if self.refuses:
            return "none"
        if self.min_side == self.max_side:
            return f"{self.min_side} x {self.min_side}"
        if self.max_side is not None:
            return f"{self.min_side} to {self.max_side}"
        return f"at least {self.min_side}"

    @property
    def weight(self) -> str:
        """Most weight in words; empty where nothing is said."""
        return "" if self.max_bytes is None else describe_limit(self.max_bytes)


def load_profiles() -> dict[str, Profile]:
    """Return all profiles by name, in the order of the file."""
    text = files(__package__).joinpath("profiles.toml").read_text("utf-8")
    return {name: msgspec.convert({"name": name, **table}, Profile) for name, table in tomllib.loads(text).items()}


def find_profile(name: str) -> Profile:
    """Return a profile.

    Raises:
        UsageError: There is none of this name.
    """
    profiles = load_profiles()
    wanted = name.strip().lower()
    if wanted in profiles:
        return profiles[wanted]
    near = get_close_matches(wanted, profiles, n=1)
    raise UsageError(
        f'there is no store "{clean(name, 60)}"',
        code="unknown_store",
        hint=f"Did you mean --profile {near[0]}?" if near else "suno-cover export --list-profiles lists them.",
    )


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement.

    Attributes:
        requirement: Which.
        is_met: Whether the file meets it.
        message: What is so.
        hint: What would help; empty where it is met.
    """

    requirement: Requirement
    is_met: bool
    message: str
    hint: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a store would say of a file, as scripts read it.

    Attributes:
        v: Version of this shape; keys may be added.
        type: Always ``check``.
        profile: Name of the store's profile.
        source: Path of the file.
        source_sha256: Of the file, hex.
        ok: Whether every requirement is met.
        findings: One for each requirement.
        notes: What no program can check.
    """

    v: Literal[1] = 1
    type: Literal["check"] = "check"
    profile: str
    source: str
    source_sha256: str
    ok: bool
    findings: list[Finding]
    notes: tuple[str, ...]


def check_picture(path: Path, profile: Profile) -> Verdict:
    """Hold a picture file against a store's wishes. Blocks.

    Raises:
        UsageError: It cannot be read.
        RequirementError: It is not a picture, damaged, or too large.
    """
    measures = measure_picture(path)
    with open_picture(path) as picture:
        facts = picture.facts
    findings = judge(facts, measures, profile)
    return Verdict(
        profile=profile.name,
        source=str(path),
        source_sha256=facts.sha256,
        ok=all(finding.is_met for finding in findings),
        findings=findings,
        notes=profile.notes,
    )


def judge(facts: PictureFacts, measures: Measures, profile: Profile) -> list[Finding]:
    """Hold a file against a store's wishes.

    Args:
        facts: The file.
        measures: Of its pixels.
        profile: The store.
    """
    if profile.refuses:
        return [
            Finding(
                requirement="store",
                is_met=False,
                message=profile.refuses,
                hint=f"Choose another store. Source: {profile.source}",
            )
        ]
    return [
        *_judge_format(facts, profile),
        *_judge_size(facts, profile),
        *_judge_colours(facts),
        *_judge_file(facts, measures, profile),
    ]


def _judge_format(facts: PictureFacts, profile: Profile) -> Iterator[Finding]:
    taken = " or ".join(name.upper() for name in profile.formats)
    is_met = not profile.formats or facts.format.value in profile.formats
    yield Finding(
        requirement="format",
        is_met=is_met,
        message=f"{facts.format.value.upper()}{'' if is_met else f', and {profile.title_within} takes {taken}'}",
        hint="" if is_met else "export makes a JPEG.",
    )
    if profile.baseline and facts.format.value == "jpeg" and not facts.is_baseline:
        yield Finding(
            requirement="format",
            is_met=False,
            message="a progressive JPEG, which some stores cannot read",
            hint="export makes a baseline JPEG.",
        )
    if facts.is_animated:
        yield Finding(requirement="frames", is_met=False, message="animated", hint="export takes the first frame.")


def _judge_size(facts: PictureFacts, profile: Profile) -> Iterator[Finding]:
    yield Finding(
        requirement="square",
        is_met=facts.is_square,
        message=f"{facts.width} x {facts.height} pixels, {'square' if facts.is_square else 'not square'}",
        hint="" if facts.is_square else "export --fit crop cuts it, --fit pad adds bars.",
    )
    least, most = min(facts.width, facts.height), max(facts.width, facts.height)
    if least < profile.min_side:
        factor = profile.min_side / least
        yield Finding(
            requirement="pixels",
            is_met=False,
            message=f"{profile.title_within} asks for {profile.pixels} pixels, {factor:.2f} times as many a side",
            hint=f"{profile.title_within} refuses enlarged pictures: start from a larger one."
            if profile.no_upscaling
            else "export --upscale lanczos enlarges it; it does not add detail.",
        )
    elif profile.max_side is not None and most > profile.max_side:
        yield Finding(
            requirement="pixels",
            is_met=False,
            message=f"{profile.title_within} asks for {profile.pixels} pixels",
            hint=f"export makes it {profile.side} x {profile.side}.",
        )
    else:
        yield Finding(
            requirement="pixels", is_met=True, message=f"{profile.title_within} asks for {profile.pixels}"
        )


def _judge_colours(facts: PictureFacts) -> Iterator[Finding]:
    troubles = []
    if facts.colour not in {"RGB", "RGBA"}:
        troubles.append(facts.colour)
    elif not facts.is_srgb:
        troubles.append("in the colours of another profile than sRGB")
    if facts.has_alpha:
        troubles.append("transparent in parts")
    if facts.is_turned:
        troubles.append("turned by a tag that stores do not read")
    yield Finding(
        requirement="colours",
        is_met=not troubles,
        message=f"{', '.join(troubles)}; stores show RGB in sRGB" if troubles else "RGB in sRGB",
        hint="export makes plain RGB in sRGB." if troubles else "",
    )


def _judge_file(facts: PictureFacts, measures: Measures, profile: Profile) -> Iterator[Finding]:
    weight = describe_weight(facts.size_bytes)
    if profile.max_bytes is not None:
        is_met = facts.size_bytes <= profile.max_bytes
        yield Finding(
            requirement="weight",
            is_met=is_met,
            message=f"{weight}, of {profile.weight} allowed",
            hint="" if is_met else "export lowers the quality, but not below 85.",
        )
    if profile.dpi is not None:
        is_met = facts.dpi is not None and facts.dpi >= profile.dpi
        said = "no resolution" if facts.dpi is None else f"{facts.dpi} pixels per inch"
        yield Finding(
            requirement="resolution",
            is_met=is_met,
            message=f"{said} in the file, {profile.dpi} asked for",
            hint="" if is_met else "export writes 300.",
        )
    if profile.no_orientation:
        yield Finding(
            requirement="orientation",
            is_met=not facts.has_orientation,
            message=f"{'an' if facts.has_orientation else 'no'} orientation tag",
            hint="export leaves it out." if facts.has_orientation else "",
        )
    if profile.no_border:
        yield Finding(
            requirement="border",
            is_met=not measures.border,
            message=f"an even border of {measures.border:.0%}" if measures.border else "no border",
            hint="Cut it off in an editor." if measures.border else "",
        )
