"""``pick``: choose between the variants of a job, from a terminal or a script."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JsonOptions

if TYPE_CHECKING:
    from pathlib import Path

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.journal.rows import JobRow, Pick
    from suno_cover_cli.release.choosing import FileState
    from suno_cover_cli.release.measures import Measures
    from suno_cover_cli.wiring.context import Context
    from suno_cover_cli.wiring.covers import CoverJournal

_NONE = "none"
_MAX_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class PickOptions(JsonOptions):
    """Options of the command."""

    task_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The job, by music or cover task id.", show_default=False)
    ] = None
    choice: Annotated[
        str | None,
        typer.Argument(
            metavar="[N|none]",
            help="Number of the variant, or none; without it a terminal asks you.",
            show_default=False,
        ),
    ] = None
    auto: Annotated[
        bool,
        typer.Option(
            "--auto", help="Pick the variant with more contrast and edges at 64 pixels, and print the measures."
        ),
    ] = False
    clear: Annotated[bool, typer.Option("--clear", help="Take the choice back.")] = False
    list_picks: Annotated[
        bool, typer.Option("--list", help="List the jobs that have covers, and what was picked.")
    ] = False


def pick(options: PickOptions) -> None:
    """Choose one of a job's variants; export, embed and every later run know the choice. Prints its path.

    A choice is kept with the file's checksum: a file that changes afterwards is not taken for it.
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_pick(options, context), is_json=options.json)


COMMAND = Command(pick)


def prepare_pick(options: PickOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest of the command.

    Raises:
        UsageError: Options that do not go together.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.wiring.covers import state_folder_of

    asked = [options.choice is not None, options.auto, options.clear, options.list_picks]
    if sum(asked) > 1:
        raise UsageError("N, --auto, --clear and --list exclude each other", hint="Give one of them.")
    if options.task_id is None and not options.list_picks:
        raise UsageError("no job is named", hint="suno-cover pick ID N; suno-cover pick --list shows the jobs.")
    return _pick(options, _read_choice(options.choice), state_folder_of(context), context)


def _read_choice(text: str | None) -> int | None:
    """Return the number of the variant, 0 for none of them, ``None`` when nothing was said."""
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.text import clean

    if text is None:
        return None
    if text.strip().lower() == _NONE:
        return 0
    digits = text.strip()
    if digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS and int(digits) > 0:
        return int(digits)
    raise UsageError(f'"{clean(text, 40)}" is not a variant', hint="Give its number, from 1, or none.")


async def _pick(options: PickOptions, choice: int | None, state_dir: "Path", context: "Context") -> "ExitCode":
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.release.choosing import best_of, find_job, measure_variants
    from suno_cover_cli.wiring.covers import open_covers

    async with open_covers(context, state_dir) as journal:
        if options.list_picks:
            return await _list(options.task_id, journal, context)
        row = await find_job(journal.jobs, options.task_id or "")
        if options.clear:
            return await _clear(row, journal, context)
        measures: dict[int, Measures] = {}
        if options.auto:
            await _check_saved(row, context)
            measures = await measure_variants(row)
            choice = best_of(measures)
            _report_measures(row, measures, choice, context)
        elif choice is None:
            choice = await _ask(row, context)
            if choice is None:
                context.output.write_words("Nothing was picked.")
                return ExitCode.NOT_PICKED
        pick = await _record(row, choice, journal, context)
        _print(row, pick, context, measures=measures, state="ok" if choice else None)
    return ExitCode.OK


async def _check_saved(row: "JobRow", context: "Context") -> None:
    """Make sure before anything is measured that every variant is there; name those that have changed.

    Raises:
        RequirementError: One is gone.
    """
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.release.choosing import hash_cover, path_of, variants_of

    for image in variants_of(row).values():
        path = path_of(row, image)
        if await hash_cover(path, row) != image.sha256:
            shown = clean(context.output.seen(path), 400)
            context.output.write_labelled(
                "note", f"{shown} was changed since it was saved; it is measured as it is now"
            )


async def _record(row: "JobRow", choice: int, journal: "CoverJournal", context: "Context") -> "Pick":
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.release.choosing import find_variant, hash_cover, path_of

    if not choice:
        return await journal.picks.record_none(row)
    image = find_variant(row, choice)
    path = path_of(row, image)
    sha256 = await hash_cover(path, row)
    if sha256 != image.sha256:
        context.output.write_labelled(
            "note",
            f"{clean(context.output.seen(path), 400)} was changed since it was saved and is picked as it is",
        )
    return await journal.picks.record(row, choice, path=str(path), sha256=sha256)


def _report_measures(row: "JobRow", measures: "dict[int, Measures]", choice: int, context: "Context") -> None:
    from suno_cover_cli.release.choosing import name_of

    for n, found in measures.items():
        context.output.write_words(
            f"{n}: contrast {found.contrast:.3f}, edges {found.edges:.3f}, together {found.score:.3f}"
        )
    context.output.write_words(
        f"Picked {choice} of {name_of(row)}: most contrast and edges at 64 pixels. These are measures, not taste."
    )


async def _ask(row: "JobRow", context: "Context") -> int | None:
    """Show the variants and wait for a key: the number, 0 for none; ``None`` when the user leaves.

    Raises:
        UsageError: There is no terminal.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.release.choosing import name_of, path_of, variants_of
    from suno_cover_cli.ui.terminal import ShownPicture, read_key
    from suno_cover_cli.wiring.post_actions import show_pictures

    output, variants = context.output, variants_of(row)
    if not (output.streams.stdin.isatty() and output.streams.draws and not output.is_json):
        raise UsageError(
            "there is no terminal to ask on",
            code="not_a_terminal",
            hint=f"Say which: suno-cover pick {name_of(row)} N, or none, or --auto",
        )
    shown = [
        ShownPicture(path=str(output.seen(path_of(row, image))), caption=f"{n}: {name_of(row)}")
        for n, image in variants.items()
    ]
    await show_pictures(context, shown)
    for n, image in variants.items():
        picked = "  (picked)" if row.pick is not None and row.pick.n == n else ""
        output.write_words(
            f"{n}  {image.width} x {image.height}{picked}  {clean(output.seen(path_of(row, image)), 400)}"
        )
    output.write_words(f"Press {' or '.join(map(str, variants))} to pick, 0 for none, q to leave.")
    keys = {str(n): n for n in variants} | dict.fromkeys("0xXnN", 0)
    while (key := await read_key(output.streams.stdin.fileno())) not in keys:
        if key in {"q", "Q", "\x1b", "\x04", ""}:
            return None
    return keys[key]


async def _clear(row: "JobRow", journal: "CoverJournal", context: "Context") -> "ExitCode":
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.release.choosing import name_of

    was = await journal.picks.clear(row)
    if context.output.is_json:
        _print(row, None, context)
    else:
        change = "nothing was picked" if was is None else f"the choice ({was.picked}) was taken back"
        context.output.write_words(f"{name_of(row)}: {change}")
    return ExitCode.OK


async def _list(task_id: str | None, journal: "CoverJournal", context: "Context") -> "ExitCode":
    import asyncio

    import msgspec

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.journal.history import RowFilter
    from suno_cover_cli.release.choosing import file_state, find_job, name_of, picked_path, variants_of

    if task_id is not None:
        await find_job(journal.jobs, task_id)
    count = 0
    async for row in journal.jobs.find(RowFilter(has_covers=True, task_id=task_id)):
        count += 1
        pick, path, state = row.pick, picked_path(row), None
        if pick is not None and path is not None:
            pick = msgspec.structs.replace(pick, path=str(path))
            state = await asyncio.to_thread(file_state, path, pick.sha256)
        if context.output.is_json:
            _print(row, pick, context, state=state)
            continue
        picked = "-" if pick is None else str(pick.picked)
        shown = "" if path is None else f"  {clean(context.output.seen(path), 400)}"
        found = {"changed": "  (changed since it was picked)", "missing": "  (missing)"}.get(state or "", "")
        context.output.write_row(f"{picked:<4}  of {len(variants_of(row))}  {name_of(row)}{shown}{found}", hang=6)
    if not count and not context.output.is_json:
        context.output.write_words("No job has covers yet.")
    return ExitCode.OK


def _print(
    row: "JobRow",
    pick: "Pick | None",
    context: "Context",
    *,
    measures: "dict[int, Measures] | None" = None,
    state: "FileState | None" = None,
) -> None:
    from pathlib import Path

    import msgspec

    from suno_cover_cli.base.models import json_text

    if not context.output.is_json:
        picked = None if pick is None or pick.path is None else context.output.seen(Path(pick.path))
        context.output.write_line(str(picked or _NONE))
        return
    context.output.write_line(
        json_text(
            {
                "v": 1,
                "type": "pick",
                "task_id": row.task_id,
                "music_task_id": row.music_task_id,
                "picked": None if pick is None else pick.picked,
                "path": None if pick is None else pick.path,
                "sha256": None if pick is None else pick.sha256,
                "file": state,
                "measures": [{"n": n, **msgspec.to_builtins(found)} for n, found in (measures or {}).items()]
                or None,
            }
        )
    )
