"""The generated parts of README and of the pages below ``.github/docs``: ``python -m tests.docs --write``.

A test tells when they are stale. A page holds a part between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer.main
from typer.testing import CliRunner

from suno_cover_cli.base import events as base_events
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobResult, JobState, SavedImage, Via
from suno_cover_cli.base.providers import PROVIDERS, Provider
from suno_cover_cli.base.settings_table import SECRET_FILE_KEYS, SETTINGS
from suno_cover_cli.cli.main import PROGRAM, build_app
from suno_cover_cli.journal.recordings import ForwardReport
from suno_cover_cli.listen import ndjson
from suno_cover_cli.release.profiles import load_profiles

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / ".github" / "docs"
MAN_PAGE = DOCS / "suno-cover.1"
EVENTS_SCHEMA = DOCS / "events.schema.json"
PAGES = (README, *sorted(DOCS.glob("*.md")))


def _key_meaning(provider: Provider) -> str:
    if provider == PROVIDERS.default:
        return f"API key of {provider.site} and of {provider.also_for}"
    return f"API key of {provider.site}, with `--provider {provider.name}`"


ENVIRONMENT = {
    **{provider.key_variable: _key_meaning(provider) for provider in PROVIDERS.known},
    "SUNO_PROVIDER": " or ".join(f"`{name}`" for name in PROVIDERS.names),
    "SUNO_BASE_URL": "address of the service, such as the sandbox's",
    "SUNO_WEBHOOK_KEY": f"key that signs callbacks ({', '.join(one.site for one in PROVIDERS.signing())}, opt-in)",
    "SUNO_COVER_OUTPUT": "folder that receives one folder per cover task",
    "SUNO_COVER_STATE_DIR": "folder of the journal",
    "SUNO_COVER_CONFIG": "path of the settings file",
    "SUNO_COVER_TRACEBACK": "set to 1 to see where an unexpected error came from",
    "SUNO_CALLBACK_URL": "set by `listen -- COMMAND` for its command: the public URL",
    "NGROK_AUTHTOKEN": "token of your ngrok account; without one jobs are polled",
    "PYNGROK_NGROK_PATH": "ngrok agent to use",
}
"""Every variable of ours (and ngrok's two) with what it does; a test holds this against the source."""


def exit_codes() -> str:
    """Make the table of exit codes."""
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    signals = "| 130, 143, 129 | ended by SIGINT, SIGTERM, SIGHUP, after at most 2 s of clean-up |"
    return "\n".join(["| code | meaning |", "| --- | --- |", *rows, signals])


def environment() -> str:
    """Make the table of environment variables."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT.items()]
    return "\n".join(["| variable | meaning |", "| --- | --- |", *rows])


def job_object() -> str:
    """Make an example of the job object from the struct itself."""
    example = JobResult(
        music_task_id="5c79be8e10f14bb28a4a5e5fd5b1f3a0",
        task_id="21aee3c3c2a01fa5e030b3799fa4dd56",
        state=JobState.SUCCEEDED,
        code=200,
        message="success",
        via=Via.CALLBACK,
        images=(
            SavedImage(
                n=1,
                url="https://tempfile.aiquickdraw.com/s/1700000041_0.png",
                path="covers/21aee3c3c2a01fa5e030b3799fa4dd56/cover_1.png",
                bytes=1943221,
                format="png",
                width=1024,
                height=1024,
                sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
        ),
        elapsed_s=47.2,
    )
    shown = msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
    states = ", ".join(f"`{state}`" for state in JobState)
    return f"```json\n{shown}\n```\n\n`state` is one of {states}; `error` is null or `{{code, message, hint}}`."


def event_types() -> dict[str, type[base_events.Event]]:
    """Return the events of ``--events`` by their ``type``; the end of a job is printed as the job object."""
    declared = [kind for _, kind in inspect.getmembers(base_events, inspect.isclass)]
    found = {str(kind.__struct_config__.tag): kind for kind in declared if issubclass(kind, base_events.Event)}
    bases = {base_events.Event, base_events.JobEvent, base_events.JobEnded}
    return {tag: kind for tag, kind in found.items() if kind not in bases}


def events_schema() -> str:
    """Make the JSON Schema of a line of ``--events`` from the structs."""
    kinds: dict[str, type[msgspec.Struct]] = {**event_types(), "job": JobResult}
    references, components = msgspec.json.schema_components(kinds.values(), ref_template="#/$defs/{name}")
    for tag, kind in kinds.items():
        shape = components[kind.__name__]
        shape["description"] = _sentence(kind)
        if tag == "job":
            continue
        own = {key: value for key, value in shape["properties"].items() if key != "type"}
        stamp = {"v": {"const": 1}, "type": {"const": tag}, "ts": {"type": "number"}}
        shape["properties"] = {**stamp, **own}
        shape["required"] = ["v", "type", "ts", *(key for key in shape["required"] if key != "type")]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of suno-cover --events",
        "oneOf": list(references),
        "$defs": components,
    }
    return json.dumps(_as_newest(schema), indent=1) + "\n"


def _as_newest(value: Any) -> Any:
    """Write a schema as the newest Python and msgspec do: descriptions without margins, ``null`` last."""
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(one) if key == "description" and isinstance(one, str) else _as_newest(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return sorted(map(_as_newest, value), key=lambda one: one == {"type": "null"})
    return value


def events() -> str:
    """Make the table of events."""
    shared = {field.name for field in msgspec.structs.fields(base_events.JobEvent)}
    rows = []
    for tag, kind in event_types().items():
        own = [field.name for field in msgspec.structs.fields(kind) if field.name not in shared]
        names = (["job ..."] if issubclass(kind, base_events.JobEvent) else []) + own
        rows.append(f"| `{tag}` | {_sentence(kind)} | {', '.join(f'`{name}`' for name in names)} |")
    return "\n".join(["| type | happened | fields |", "| --- | --- | --- |", *rows])


LISTEN_LINES: tuple[type[msgspec.Struct], ...] = (
    ndjson.ReadyLine,
    ndjson.PageLine,
    ndjson.EventLine,
    ndjson.RequestLine,
    ndjson.ForwardedLine,
    ndjson.ReconnectingLine,
    ndjson.EndLine,
)


def listen_lines() -> str:
    """Make the table of the lines of ``listen --json``, and that of the fields which need words of their own."""
    shared = [field.name for field in msgspec.structs.fields(ndjson.ArrivalLine)]
    rows = []
    for kind in LISTEN_LINES:
        fields = {field.name: field.default for field in msgspec.structs.fields(kind)}
        is_arrival = issubclass(kind, ndjson.ArrivalLine)
        left_out = shared if is_arrival else ("v", "type")
        names = (["arrival ..."] if is_arrival else []) + [name for name in fields if name not in left_out]
        shown = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| `{fields['type']}` | {_sentence(kind)} | {shown} |")
    meanings = {**_meanings(ndjson.ArrivalLine), **_meanings(ndjson.EventLine)}
    meanings |= {f"forward.{name}": meaning for name, meaning in _meanings(ForwardReport).items()}
    table = [f"| `{name}` | {meaning} |" for name, meaning in meanings.items() if name not in {"v", "type"}]
    head = ["| type | is | fields |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, "", "| field | meaning |", "| --- | --- |", *table])


def _meanings(kind: type) -> dict[str, str]:
    """Return what a class says of its attributes, each on one line of Markdown."""
    _, _, lines = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", lines, re.MULTILINE)
    plain = {name: " ".join(text.split()).replace("``None``", "null").replace("``", "`") for name, text in found}
    # A bar ends a cell.
    return {name: text.replace("|", "\\|") for name, text in plain.items()}


def _sentence(kind: type) -> str:
    """Return what a class says of itself, on one line of Markdown."""
    return " ".join((kind.__doc__ or "").partition("Attributes:")[0].split()).replace("``", "`")


def commands() -> str:
    """Make the help of every command, as the program prints it."""
    parts = []
    for name, command in typer.main.get_command(build_app()).commands.items():  # type: ignore[attr-defined]
        summary = command.get_short_help_str(limit=100)
        shown = f"```text\n{_help_of(name)}\n```"
        parts.append(f"<details><summary><code>{name}</code> {summary}</summary>\n\n{shown}\n\n</details>")
    return "\n\n".join(parts)


def _help_of(name: str) -> str:
    environ = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "FORCE_COLOR": None}
    shown = CliRunner().invoke(build_app(), [name, "--help"], prog_name=PROGRAM, env=environ).stdout
    return "\n".join(line.rstrip() for line in shown.strip("\n").splitlines())


def command_table() -> str:
    """Make a table of all commands, a line each."""
    found = typer.main.get_command(build_app()).commands.items()  # type: ignore[attr-defined]
    rows = [
        f"| `{name}` | {' '.join((command.help or '').partition(chr(10) * 2)[0].split())} |"
        for name, command in found
    ]
    return "\n".join(["| command | does |", "| --- | --- |", *rows])


def settings() -> str:
    """Make the table of settings."""
    rows = []
    for name, setting in SETTINGS.items():
        cells = (
            setting.key or name.replace("_", "-"),
            setting.values.replace("|", " "),
            setting.default,
            setting.variable,
        )
        key, values, default, variable = (f"`{cell}`" if cell else "" for cell in cells)
        rows.append(f"| {key} | {setting.help} | {values} | {default} | {variable} |")
    rows += [
        f"| `{key}` | a secret: `suno-cover config set {key} -` reads it from standard input | | | |"
        for key in SECRET_FILE_KEYS
    ]
    return "\n".join(["| key | meaning | values | default | variable |", "| --- | --- | --- | --- | --- |", *rows])


def man_page() -> str:
    """Make the manual page, in the macros of man(7)."""
    root = typer.main.get_command(build_app())
    lines = [
        '.TH SUNO-COVER 1 "" "suno-cover" "User Commands"',
        *(".SH NAME", "suno-cover \\- cover artwork for a piece of music"),
        *(".SH SYNOPSIS", ".B suno-cover", ".I COMMAND", "[options]"),
        *(".SH DESCRIPTION", *_roff(root.help or "")),
        ".SH COMMANDS",
    ]
    for path, command in _commands_below(root, ""):
        lines += [f".SS {_escaped(path)}", *_roff(command.help or "")]
        for parameter in command.params:
            names = [*parameter.opts, *parameter.secondary_opts] if parameter.param_type_name == "option" else []
            if not getattr(parameter, "hidden", False):
                shown = " ".join([", ".join(names), parameter.metavar or ""]).strip()
                lines += [".TP", f".B {_escaped(shown)}", *_roff(getattr(parameter, "help", "") or "")]
    lines.append(".SH EXIT STATUS")
    for code in ExitCode:
        lines += [".TP", f".B {code.value}", *_roff(code.meaning.replace("`", ""))]
    lines.append(".SH ENVIRONMENT")
    for name, meaning in ENVIRONMENT.items():
        lines += [".TP", f".B {name}", *_roff(meaning.replace("`", ""))]
    return "\n".join(lines) + "\n"


def _commands_below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        yield f"{path} {name}".strip(), child
        yield from _commands_below(child, f"{path} {name}".strip())


def _roff(text: str) -> list[str]:
    """Write paragraphs; a line may not begin with what roff takes for a request."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return [line for paragraph in filter(None, paragraphs) for line in (_escaped(paragraph), ".PP")][:-1]


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def stores() -> str:
    """Make the table of stores from the data file of profiles."""
    rows = [
        "| `--profile` | store | pixels | format | weight | also | source |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for profile in load_profiles().values():
        also = [f"at least {profile.dpi} dpi"] if profile.dpi else []
        also += ["**no enlarging**"] if profile.no_upscaling else []
        also += ["no border"] if profile.no_border else []
        also += ["no orientation tag"] if profile.no_orientation else []
        also += [f"**{profile.refuses}**"] if profile.refuses else []
        also += profile.notes
        secondhand = ", secondhand" if profile.secondhand else ""
        cells = [
            f"`{profile.name}`",
            profile.title,
            profile.pixels,
            ", ".join(name.upper() for name in profile.formats),
            profile.weight,
            " ".join(part if part.endswith((".", "*")) else f"{part}." for part in also),
            f"{profile.source} ({profile.checked:%B %Y}{secondhand})",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


PARTS = {
    "stores": stores,
    "exit codes": exit_codes,
    "environment": environment,
    "settings": settings,
    "job object": job_object,
    "events": events,
    "listen lines": listen_lines,
    "commands": commands,
    "command table": command_table,
}
_PART = re.compile(r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def renewed(text: str) -> str:
    """Return a page's text with every generated part made anew.

    Raises:
        KeyError: The page names a part that there is not.
    """
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: python -m tests.docs --write   (part of {PROGRAM}'s tests)")
    for page in PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
    MAN_PAGE.write_text(man_page(), encoding="utf-8")
    EVENTS_SCHEMA.write_text(events_schema(), encoding="utf-8")
