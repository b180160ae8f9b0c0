"""What stores ask of a cover, read from ``profiles.toml`` beside this module."""

import tomllib
from datetime import date
from difflib import get_close_matches
from importlib.resources import files

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import clean

DEFAULT_PROFILE = "store"
DEFAULT_DPI = 300


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
    refuses: str = ""
    notes: tuple[str, ...] = ()

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
        return "" if self.max_bytes is None else f"{self.max_bytes / 1_000_000:g} MB"


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
