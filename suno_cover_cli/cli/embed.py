"""``embed``: the cover into the tags of songs."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import OUTPUT, Command
from suno_cover_cli.options.groups import JsonOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.release.embed import Embedded, EmbedWishes
    from suno_cover_cli.ui.output import Output
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(JsonOptions):
    """Options of the command."""

    songs: Annotated[list[Path], typer.Argument(metavar="AUDIO...", show_default=False)]
    cover: Annotated[
        str,
        typer.Option(
            "--cover",
            metavar="ID|FILE",
            help="A job (its picked cover, as saved) or a picture file; made into a JPEG of --max-edge.",
            show_default=False,
        ),
    ]
    max_edge: Annotated[
        int,
        typer.Option(
            "--max-edge",
            metavar="PIXELS",
            min=64,
            max=10_000,
            help="Longest side of the embedded picture, in pixels.",
        ),
    ] = 1400
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace even a cover that is larger than the new one.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: say what would be done.")] = False
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Leave the songs unchanged, write tagged copies there.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="With --out: replace existing files.", rich_help_panel=OUTPUT),
    ] = False
    backup: Annotated[
        bool,
        typer.Option("--backup", help="Keep the original of each song as SONG.bak.", rich_help_panel=OUTPUT),
    ] = False


def embed(options: EmbedOptions) -> None:
    """Put a cover into songs: mp3, flac, m4a, ogg, opus, wav, aiff. Other tags and the sound stay unchanged.

    A copy is tagged and compared before it takes the song's place. Needs the embed extra of the package;
    without it the error names the command that installs it.
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_embed(options, context), is_json=options.json)


COMMAND = Command(embed)


def prepare_embed(options: EmbedOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest of the command.

    Raises:
        UsageError: Options that do not go together, or what writes tags is not installed.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.release.embed import EmbedWishes
    from suno_cover_cli.release.tags import require_library
    from suno_cover_cli.wiring.covers import state_folder_of

    require_library()
    if options.out is not None and options.backup:
        raise UsageError("--out and --backup exclude each other", hint="With --out the songs are not changed.")
    if options.out is not None:
        _check_names(options.songs)
    wishes = EmbedWishes(
        out=options.out,
        backup=options.backup,
        replace=options.replace,
        overwrite=options.overwrite,
        dry_run=options.dry_run,
    )
    return _embed_all(options, wishes, state_folder_of(context), context)


def _check_names(songs: list[Path]) -> None:
    """Make sure that no copy would take the place of another one.

    Raises:
        UsageError: Two songs have one file name, upper and lower case aside, as on many disks.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.text import clean

    seen: dict[str, Path] = {}
    for song in songs:
        first = seen.setdefault(song.name.casefold(), song)
        if first is not song:
            raise UsageError(
                f"two songs would have one name in --out: {clean(first, 400)} and {clean(song, 400)}",
                code="same_name",
                hint="Give each its own folder: run the command once for each. Nothing was written.",
            )


async def _embed_all(
    options: EmbedOptions, wishes: "EmbedWishes", state_dir: Path, context: "Context"
) -> "ExitCode":
    import asyncio

    from suno_cover_cli.base.errors import SunoCoverError
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.release.embed import embed_cover, prepare_cover
    from suno_cover_cli.wiring.covers import open_covers

    output = context.output
    async with open_covers(context, state_dir) as journal:
        source = await journal.find_source(options.cover)
    cover = await asyncio.to_thread(prepare_cover, source.path, max_edge=options.max_edge)
    for warning in cover.warnings:
        output.write_labelled("note", f"{clean(cover.source, 400)}: {clean(warning, 400)}")
    codes = []
    promised: set[Path] = set()
    for song in options.songs:
        try:
            embedded = await asyncio.to_thread(embed_cover, song, cover, wishes, promised=promised)
        except SunoCoverError as error:
            output.write_error(error, song=str(song))
            codes.append(error.exit_code)
            continue
        if wishes.dry_run:
            promised.add(Path(embedded.path))
        _report(embedded, output)
        codes.append(ExitCode.OK)
    return ExitCode.of_all(codes)


def _report(embedded: "Embedded", output: "Output") -> None:
    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.release.rendering import describe_weight

    if output.is_json:
        output.write_line(json_text(embedded))
        return
    output.write_line(embedded.path)
    size = f"{embedded.width} x {embedded.height}, {describe_weight(embedded.bytes)}"
    done = {
        "embedded": f"cover {'would be ' if embedded.dry_run else ''}embedded ({size})",
        "replaced": f"cover {'would be ' if embedded.dry_run else ''}replaced ({size})",
        "unchanged": "already has this cover",
    }[embedded.action]
    output.write_words(f"{clean(embedded.song, 400)}: {done}")
    if embedded.backup is not None:
        output.write_words(f"the original song: {clean(embedded.backup, 400)}")
    for warning in embedded.warnings:
        output.write_labelled("note", clean(warning, 400))
