"""The words of the program are plain: no string that you can read, and no docstring, has a ruled-out phrase."""

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

PACKAGE = Path(str(files("suno_cover_cli")))

RULED_OUT = re.compile(
    r"\b(?:(?:is|are|was|be) told|nobody|somebody|anybody|whoever|shall|whom|at hand"
    r"|of no use|it really were|for ever|mend|mends|mended|mending|going on by polling"
    r"|lest|ought|in vain|to be had|all the same|be it|should there be|if need be|if it stays|at the least"
    r"|unasked|the present one|for themselves|write it down|wait for its end or|take no picks|goes on by polling"
    r"|(?<!there )(?:is|are) no (?!longer\b|more\b)\w+)\b",
    re.IGNORECASE,
)


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string of a module with a blank in it; code in f-strings is left out."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, " ".join(node.value.split())


def faults_of(path: Path) -> list[str]:
    """Return place and words of every ruled-out phrase of a file."""
    return [
        f"{path.name}:{line}: {found[0]}" for line, text in texts_of(path) for found in RULED_OUT.finditer(text)
    ]


SOURCES = sorted(PACKAGE.rglob("*.py"))
PAGES = [*sorted(PACKAGE.rglob("texts.js")), *sorted(PACKAGE.rglob("*.html"))]


def test_no_text_has_a_ruled_out_phrase() -> None:
    """Messages, hints, help texts, docstrings and the pages' words say what is, in present-day English."""
    assert len(SOURCES) > 100
    assert len(PAGES) > 2
    assert [fault for path in [*SOURCES, *PAGES] for fault in faults_of(path)] == []


@pytest.mark.parametrize(
    "source",
    [
        'raise UsageError("the body is no callback")',
        'hint = f"Mend {source}."',
        'def wait() -> None:\n    """Wait until somebody\n    has answered."""',
        'text = f"{reason}; going on by polling"',
        'hint = "Try again; if it stays, report it."',
        'help = "A login, if need be."',
    ],
)
def test_a_ruled_out_phrase_is_found(tmp_path: Path, source: str) -> None:
    """A phrase is found in a message, in an f-string and across the lines of a docstring."""
    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    assert len(faults_of(tmp_path / "module.py")) == 1


def test_a_plain_text_passes(tmp_path: Path) -> None:
    """``there is no`` and ``is no longer`` are plain words."""
    (tmp_path / "module.py").write_text('"""There is no key; it is no longer kept."""', encoding="utf-8")
    assert faults_of(tmp_path / "module.py") == []
