"""What is published: what is imported is declared, and the files hold what they should."""

import ast
import re
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def imported(folder: Path) -> set[str]:
    """Return the top-level names that the modules below a folder import, wherever in them."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"suno_cover_cli", "tests"}


def declared(requirements: list[str]) -> set[str]:
    """Return the names of distributions, as they compare."""
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-") for line in requirements}


def test_what_the_package_imports_is_declared_and_nothing_else() -> None:
    """Each library that is imported is declared, with a lower bound, and each that is declared is imported."""
    names = packages_distributions()
    used = {
        names[name][0].lower().replace("_", "-") for name in imported(ROOT / "suno_cover_cli") if name in names
    }
    extras = [
        line for extra, lines in PROJECT["optional-dependencies"].items() if extra != "dev" for line in lines
    ]
    wanted = [*PROJECT["dependencies"], *extras]
    assert used <= declared(wanted)
    assert declared(PROJECT["dependencies"]) <= used
    assert [line for line in wanted if ">=" not in line] == []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Names of what the wheel and the source distribution hold."""
    folder = tmp_path_factory.mktemp("dist")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive, tarfile.open(sdist) as packed:
        return set(archive.namelist()), {name.partition("/")[2] for name in packed.getnames()}


def test_the_wheel_holds_what_shells_and_man_look_for(files: tuple[set[str], set[str]]) -> None:
    """Completions and the manual page lie where shells and man find them, data files beside the code."""
    wheel, _ = files
    shared = {name.partition(".data/data/")[2] for name in wheel if ".data/data/" in name}
    assert shared == {
        "share/bash-completion/completions/suno-cover",
        "share/zsh/site-functions/_suno-cover",
        "share/fish/vendor_completions.d/suno-cover.fish",
        "share/man/man1/suno-cover.1",
    }
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "suno_cover_cli").rglob("*") if path.is_file()}
    assert {name for name in sources if "__pycache__" not in name} <= wheel


def test_the_source_distribution_carries_its_tests(files: tuple[set[str], set[str]]) -> None:
    """Whoever has the source distribution can run the suite: tests, fixtures, pages and scripts are in it."""
    _, sdist = files
    for name in (
        "tests/test_packaging.py",
        "tests/openapi.yaml",
        "completions/_suno-cover",
        ".github/docs/commands.md",
    ):
        assert name in sdist
    assert {".ci/run", ".ci/matrix", "README.md", "LICENSE"} <= sdist


def test_what_an_index_shows_of_readme_leads_somewhere(files: tuple[set[str], set[str]], tmp_path: Path) -> None:
    """On an index, where nothing lies beside README, every link is absolute or within the page."""
    del files
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        shown = archive.read(name).decode()
    assert "<picture>" not in shown
    assert [
        target for target in re.findall(r"\]\(([^)]+)\)", shown) if not target.startswith(("https://", "#"))
    ] == []
