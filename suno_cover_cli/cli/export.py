"""``export``: store-ready files of covers."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import OUTPUT, Command
from suno_cover_cli.options.groups import JsonOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.release.export import ExportWishes
    from suno_cover_cli.ui.output import Output
    from suno_cover_cli.wiring.context import Context
    from suno_cover_cli.wiring.covers import CoverJournal

_FITS = ("refuse", "pad", "crop")
_UPSCALES = ("no", "lanczos")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(JsonOptions):
    """Options of the command."""

    covers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID|FILE...",
            help="Jobs (their picked covers) or picture files.",
            show_default=False,
        ),
    ] = None
    profile: Annotated[
        str,
        typer.Option("--profile", metavar="STORE", help="Store to export for; store suits nearly all of them."),
    ] = "store"
    list_profiles: Annotated[
        bool, typer.Option("--list-profiles", help="List the stores and what each requires.")
    ] = False
    check: Annotated[bool, typer.Option("--check", help="Write nothing: report what the store would refuse.")] = (
        False
    )
    fit: Annotated[
        str,
        typer.Option(
            "--fit",
            metavar="refuse|pad|crop",
            help="What to do with a picture that is not square.",
        ),
    ] = "refuse"
    upscale: Annotated[
        str,
        typer.Option(
            "--upscale", metavar="no|lanczos", help="Whether a small picture may be enlarged; that adds no detail."
        ),
    ] = "no"
    visible_label: Annotated[
        str | None,
        typer.Option(
            "--visible-label",
            metavar="TEXT",
            help="Write a label onto the picture; for social media, as stores refuse it.",
            show_default=False,
        ),
    ] = None
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the files.", rich_help_panel=OUTPUT)
    ] = Path("exports")
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files.", rich_help_panel=OUTPUT)
    ] = False


def export(options: ExportOptions) -> None:
    """Make store-ready files of covers: square, large enough, light enough, plain sRGB, labels kept.

    Of a job the picked cover is taken. The original is only read.
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_export(options, context), is_json=options.json)


COMMAND = Command(export)


def prepare_export(options: ExportOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest of the command.

    Raises:
        UsageError: A value that cannot be, or nothing to export.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.options.declare import checked_choice
    from suno_cover_cli.release.export import ExportWishes
    from suno_cover_cli.release.profiles import find_profile
    from suno_cover_cli.release.rendering import checked_label
    from suno_cover_cli.wiring.covers import state_folder_of

    if options.list_profiles:
        return _list_profiles(context.output)
    wishes = ExportWishes(
        profile=find_profile(options.profile),
        out=options.out,
        fit=checked_choice(options.fit, "--fit", _FITS),  # type: ignore[arg-type]
        upscale=checked_choice(options.upscale, "--upscale", _UPSCALES),  # type: ignore[arg-type]
        overwrite=options.overwrite,
        visible_label=None if options.visible_label is None else checked_label(options.visible_label),
    )
    if not options.covers:
        raise UsageError("there is nothing to export", hint="Name a job or a picture: suno-cover export ID|FILE")
    return _export_all(options, wishes, state_folder_of(context), context)


async def _export_all(
    options: ExportOptions, wishes: "ExportWishes", state_dir: Path, context: "Context"
) -> "ExitCode":
    from suno_cover_cli.base.errors import SunoCoverError
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.wiring.covers import open_covers

    codes = []
    async with open_covers(context, state_dir) as journal:
        for word in options.covers or []:
            work = _check_one if options.check else _export_one
            try:
                codes.append(await work(word, wishes, journal, context.output))
            except SunoCoverError as error:
                context.output.write_error(error, source=word)
                codes.append(error.exit_code)
    if ExitCode.OK in codes and not options.check:
        context.output.write_words("Declare at your distributor that the artwork is made by AI.")
    return ExitCode.of_all(codes)


async def _export_one(word: str, wishes: "ExportWishes", journal: "CoverJournal", output: "Output") -> "ExitCode":
    import asyncio

    import msgspec

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.release.export import export_cover
    from suno_cover_cli.release.rendering import describe_weight

    source = await journal.find_source(word)
    exported = await asyncio.to_thread(export_cover, source.path, wishes, name=source.name)
    if twin := await journal.find_twin(source, exported.source_sha256):
        exported = msgspec.structs.replace(exported, warnings=[*exported.warnings, twin])
    if output.is_json:
        # A program may be elsewhere when it reads this: a cover's path is whole, a file's as it was given.
        whole = exported.source if source.row is None else str((output.here or Path()) / source.path)
        output.write_line(json_text(msgspec.structs.replace(exported, source=whole)))
        return ExitCode.OK
    output.write_line(exported.path)
    facts = [
        f"{exported.width} x {exported.height}",
        describe_weight(exported.bytes),
        f"quality {exported.quality}",
        f"scale {exported.scale:g}",
    ]
    output.write_words(f"{clean(word, 400)}: {', '.join(facts)}")
    if exported.marks.kept or exported.marks.added:
        from suno_cover_cli.release.marks import KIND_WORDS

        kept, added = (
            [KIND_WORDS[kind] for kind in kinds] for kinds in (exported.marks.kept, exported.marks.added)
        )
        parts = [f"kept {', '.join(kept)}"] if kept else []
        parts += [f"added {', '.join(added)}"] if added else []
        output.write_words(f"labels: {'; '.join(parts)}")
    for warning in exported.warnings:
        output.write_labelled("note", clean(warning, 400))
    return ExitCode.OK


async def _check_one(word: str, wishes: "ExportWishes", journal: "CoverJournal", output: "Output") -> "ExitCode":
    import asyncio

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.release.profiles import check_picture

    source = await journal.find_source(word)
    verdict = await asyncio.to_thread(check_picture, source.path, wishes.profile)
    if output.is_json:
        output.write_line(json_text(verdict))
    else:
        title = wishes.profile.title
        output.write_row(f"{title} would {'accept' if verdict.ok else 'refuse'} {clean(source.path, 400)}")
        for finding in verdict.findings:
            hint = f" ({finding.hint.rstrip('.')})" if finding.hint else ""
            mark = "ok" if finding.is_met else "no"
            output.write_row(f"  {mark}  {finding.requirement}: {finding.message}{hint}", hang=6)
        for note in verdict.notes:
            output.write_row(f"  --  {note}", hang=6)
    return ExitCode.OK if verdict.ok else ExitCode.REQUIREMENT


async def _list_profiles(output: "Output") -> "ExitCode":
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.release.profiles import load_profiles

    for profile in load_profiles().values():
        if output.is_json:
            output.write_line(json_text({"v": 1, "type": "profile", **_entry_of(profile)}))
            continue
        facts = [profile.pixels, "/".join(name.upper() for name in profile.formats), profile.weight]
        facts += ["no enlarging"] if profile.no_upscaling else []
        facts = ["accepts no AI music"] if profile.refuses else facts
        secondhand = ", secondhand" if profile.secondhand else ""
        output.write_row(f"{profile.name:<14} {profile.title}: {', '.join(filter(None, facts))}", hang=15)
        # Whole addresses are wider than many a terminal.
        source = profile.short_source if output.product_columns else profile.source
        output.write_row(f"{'':<14} {source} ({profile.checked:%B %Y}{secondhand})", hang=15)
    if output.product_columns and not output.is_json:
        output.write_words("The addresses of these sources: suno-cover export --list-profiles --json")
    return ExitCode.OK


def _entry_of(profile: Any) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(profile)
    return found
