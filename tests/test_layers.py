"""Who may import whom, and which library belongs to whom: the picture in README, held against the code."""

import ast
import re
import sys
from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "suno_cover_cli"

# Layer -> its modules. A module belongs to the first layer one of whose patterns fits its name.
LAYERS = {
    "base": (
        "__init__",
        "base",
        "base.*",
        "callbacks.bodies",
        "callbacks.charsets",
        "callbacks.content",
        "callbacks.exchanges",
        "callbacks.kinds",
        "callbacks.sample_names",
    ),
    "completion": ("completion", "completion.*"),
    "service": ("service", "service.*"),
    "tunnel": ("tunnels", "tunnels.*"),
    "senders": (*("callbacks.samples", "callbacks.sending", "callbacks.sending.*"),),
    "listener": ("callbacks", "callbacks.*"),
    "download": ("images", "images.*"),
    "journal": ("journal", "journal.*"),
    "ui": ("ui", "ui.*"),
    "release": ("release", "release.*"),
    "workflow": ("jobs", "jobs.*"),
    "sandbox": ("sandbox", "sandbox.*"),
    "web": ("web", "web.*"),
    "options": ("options", "options.*", "listen.options", "doctor.options"),
    "wiring": ("wiring", "wiring.*"),
    "listen": ("listen", "listen.*"),
    "doctor": ("doctor", "doctor.*"),
    "cli": ("cli", "cli.*", "__main__"),
}

# What a layer may import besides itself and the base.
MAY_ALSO_USE = {
    "options": {"completion"},
    "release": {"journal"},
    "wiring": {
        "options",
        "service",
        "tunnel",
        "listener",
        "download",
        "journal",
        "release",
        "ui",
        "workflow",
        "sandbox",
        "web",
    },
    "listen": {
        "options",
        "wiring",
        "tunnel",
        "senders",
        "listener",
        "journal",
        "ui",
        "workflow",
        "web",
    },
    "doctor": {"options", "wiring", "tunnel", "senders", "listener", "journal", "ui", "service"},
    "cli": {
        "options",
        "wiring",
        "listen",
        "doctor",
        "completion",
        "senders",
        "journal",
        "release",
        "ui",
        "sandbox",
        "web",
    },
}

# Single modules that others may know: data without I/O, and constants.
SHARED = {
    "journal.rows": {"workflow", "ui"},
    "service.codes": {"workflow", "listen", "cli"},
    "callbacks.signature": {"senders", "listen"},
    "images.kinds": {"release"},
    "journal.history": {"ui"},
    "tunnels.kinds": {"options"},
    "options.declare": {"tunnel"},
}

# The sandbox imitates the service from its contract: of the client it may know only this.
SANDBOX_KNOWS = {"base.clock", "base.errors", "base.exits", "base.text"}

OWNERS = {
    "typer": ("cli.*", "options.*", "listen.options", "tunnels.kinds"),
    "rich": ("ui.screen", "ui.preview_encoder"),
    "textual_image": ("ui.preview_encoder",),
    "pyngrok": ("tunnels.ngrok*",),
    "sqlite3": ("journal.*", "completion.engine"),
    "tomlkit": ("base.settings_file",),
    "platformdirs": ("base.folders",),
    "wcwidth": ("base.text",),
    "filelock": ("journal.repair", "journal.run_locks", "tunnels.ngrok.agent"),
    "PIL": (
        *("images.jpeg_runs", "images.decoder", "ui.preview_encoder", "sandbox.pictures", "web.looks"),
        *("release.measures", "release.pictures", "release.containers", "release.rendering"),
    ),
    "mutagen": ("release.tags",),
    "tenacity": ("images.downloader",),
    "multidict": ("callbacks.sending.*", "callbacks.wire"),
    "aiohttp": (
        *("service.api", "images.*", "tunnels.probe", "doctor.service", "sandbox.*"),
        *("callbacks.sending.*", "callbacks.framing", "callbacks.parsing", "callbacks.replies", "callbacks.wire"),
        "web.server",
    ),
    "aiohttp.web": ("sandbox.*", "web.server"),
}


def modules() -> dict[str, Path]:
    """Return the file of every module of the package, by the module's name inside it."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


MODULES = modules()


@cache
def imports_of(name: str) -> frozenset[str]:
    """Return the full name of everything a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def own_imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for imported in imports_of(name):
        top, _, rest = imported.partition(".")
        if top == "suno_cover_cli":
            # "from package.module import name" and "from package import module" look the same.
            candidates = (rest, rest.rpartition(".")[0])
            found.add(next((one for one in candidates if one in MODULES), "__init__"))
    return found - {"__init__", name}


def layer_of(name: str) -> str | None:
    """Return the layer a module belongs to."""
    return next((layer for layer, patterns in LAYERS.items() if fits(name, patterns)), None)


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a name fits one of some patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_allowed(importer: str, imported: str) -> bool:
    """Tell whether one module may import another."""
    here, there = layer_of(importer), layer_of(imported)
    if here == "sandbox":
        return there == "sandbox" or imported in SANDBOX_KNOWS
    if here is None or there in {here, "base"}:
        return here is not None
    return there in MAY_ALSO_USE.get(here, set()) or here in SHARED.get(imported, set())


def test_every_module_has_its_layer() -> None:
    """A new module is given a place in the picture before it lands."""
    assert [name for name in MODULES if layer_of(name) is None] == []


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"__main__"}))
def test_every_module_can_be_imported(name: str) -> None:
    """No module is broken unnoticed because nothing imports it; the coverage report knows all of them by this."""
    full = f"suno_cover_cli.{name}".removesuffix(".__init__")
    assert import_module(full).__name__ == full


def test_a_newcomer_finds_the_room_from_the_file_list() -> None:
    """At most twelve modules lie at the root and twenty in any folder: what is longer is not read as a list."""
    sizes = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {str(folder): size for folder, size in sizes.items() if size > (12 if folder == ROOT else 20)} == {}


def test_a_file_and_a_function_can_be_held_in_mind() -> None:
    """No file is longer than 400 lines, the generated one aside, and no function longer than 60."""
    texts = {name: path.read_text("utf-8") for name, path in MODULES.items() if name != "completion.table"}
    assert [name for name, text in texts.items() if len(text.splitlines()) > 400] == []
    functions = {
        f"{name}.{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for name, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in functions.items() if length > 60} == {}


def test_the_architecture_page_names_what_is_there() -> None:
    """Every file of the package that the page sends a reader to exists."""
    page = (ROOT.parent / ".github" / "docs" / "architecture.md").read_text("utf-8")
    named = set(
        re.findall(rf"`((?:{'|'.join(sorted(one.name for one in ROOT.iterdir() if one.is_dir()))})/[^`]*)`", page)
    )
    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_what_its_layer_may(name: str) -> None:
    """Adapters know the base and themselves, the workflow no adapter, the commands all of them."""
    assert [imported for imported in sorted(own_imports(name)) if not is_allowed(name, imported)] == []


def test_no_permission_is_spare() -> None:
    """A layer may import what it does import: a permission that nothing uses is a door left open."""
    used = {(layer_of(importer), layer_of(imported)) for importer in MODULES for imported in own_imports(importer)}
    allowed = {(here, there) for here, others in MAY_ALSO_USE.items() for there in others}
    assert allowed - used == set()
    shared = {(here, module) for module, layers in SHARED.items() for here in layers}
    assert shared - {(layer_of(importer), one) for importer in MODULES for one in own_imports(importer)} == set()


def test_the_base_leans_on_nothing_above_it() -> None:
    """The base imports the standard library, msgspec, and one library each for folders, settings and widths."""
    libraries = {
        imported.partition(".")[0] for name in MODULES if layer_of(name) == "base" for imported in imports_of(name)
    }
    foreign = libraries - sys.stdlib_module_names - {"suno_cover_cli"}
    assert foreign == {"msgspec", "platformdirs", "tomlkit", "wcwidth"}


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_has_its_owners_and_no_others(library: str) -> None:
    """Each library is imported by the modules that own it; each owner named here really uses it."""
    users = {
        name
        for name in MODULES
        if any(imported == library or imported.startswith(f"{library}.") for imported in imports_of(name))
    }
    assert sorted(name for name in users if not fits(name, OWNERS[library])) == []
    assert [pattern for pattern in OWNERS[library] if not any(fits(name, (pattern,)) for name in users)] == []


def test_every_library_has_an_owner() -> None:
    """A library that is imported anywhere is in the list of owners, save what is everybody's."""
    everybodys = {"msgspec", "yarl", "suno_cover_cli"}
    used = {imported.partition(".")[0] for name in MODULES for imported in imports_of(name)}
    assert used - sys.stdlib_module_names - everybodys - {name.partition(".")[0] for name in OWNERS} == set()


def test_a_kind_of_tunnel_is_known_to_the_tunnels_alone() -> None:
    """What lies below a kind is imported in ``tunnels/`` and nowhere else."""
    users = {name for name in MODULES if any(one.startswith("tunnels.ngrok") for one in own_imports(name))}
    assert sorted(name for name in users if not name.startswith("tunnels.")) == []
    assert users
