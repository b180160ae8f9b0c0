"""What the sandbox knows of its jobs: one for each music task, made once, found again by every repeat.

With a state file it survives a kill: lines of JSON, each one fact: a key was made up, a submit came, a job was
made, a delivery is over. Half a line at the end was never sent to a client, and is dropped. Nothing is ever taken
out of the file: another sandbox may be writing to it.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isinf
from pathlib import Path
from types import MappingProxyType
from typing import Self

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.sandbox.scenarios import choose_scenario
from suno_cover_cli.sandbox.script import Claim, Scenario


class CallbackAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to deliver a callback.

    Attributes:
        at_s: When its answer was in, on the sandbox's monotonic clock.
        claim: What it said.
        status: HTTP status of the receiver; 0 when there was none.
        error: Why there was none, or an empty string.
    """

    at_s: float
    claim: Claim
    status: int
    error: str = ""


@dataclass(slots=True, kw_only=True)
class SandboxJob:
    """One cover job.

    Attributes:
        task_id: Cover task id.
        music_task_id: What was submitted.
        callback_url: As given by the submit that made the job.
        scenario: Picked by the music task id.
        created_at: Epoch seconds.
        created_s: The same on the monotonic clock; may lie before the start of this process.
        generation_s: Generation time of the sandbox, scaled; it sets the phases of an endless job.
        ends_s: When the job ends, on the monotonic clock.
        record_ends_s: When record-info admits it.
        submits: Submits seen for the music task, this job's first one included.
        reads: Reads of record-info.
        callbacks: Tries to call back, oldest first.
        settled: How many of the scenario's deliveries are over.
        edition: Counts how often the image addresses were renewed.
        edition_is_stale: An address of this edition was asked for after it had expired.
        hits: Requests by image, counted only where the script has steps.
    """

    task_id: str
    music_task_id: str
    callback_url: str
    scenario: Scenario = field(repr=False)
    created_at: float
    created_s: float
    generation_s: float
    ends_s: float
    record_ends_s: float
    submits: int = 0
    reads: int = 0
    callbacks: list[CallbackAttempt] = field(default_factory=list)
    settled: int = 0
    edition: int = 0
    edition_is_stale: bool = False
    hits: dict[int, int] = field(default_factory=dict)

    def end_now(self, now_s: float) -> None:
        """Make ``now_s`` the end at the latest: a timer may fire a hair before its moment."""
        early_s = self.ends_s - now_s
        if early_s > 0:
            self.ends_s -= early_s
            self.record_ends_s -= early_s

    def count_hit(self, n: int) -> int:
        """Count a request for image ``n`` (from 0) and return how many there were, this one included."""
        self.hits[n] = self.hits.get(n, 0) + 1
        return self.hits[n]

    def image_token(self, n: int) -> str:
        """Return the 32 hex digits that name image ``n`` (from 0) in its current edition."""
        return _digest(f"{self.task_id}/{n}/{self.edition}")

    def image_paths(self) -> tuple[str, ...]:
        """Return the paths of all images on the image host, as the service spells them."""
        return tuple(
            f"/s/{int(self.created_at) + n}_{self.image_token(n)}.png" for n in range(len(self.scenario.pictures))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """Which image an address means."""

    job: SandboxJob
    n: int
    edition: int


class JobRegistry:
    """All jobs, by cover task id, by music task id and by image address.

    Args:
        clock: Time.
        generation_s: Length of a generation, already scaled.
        time_scale: Divides what scenarios say in seconds.
    """

    def __init__(self, clock: Clock, *, generation_s: float, time_scale: float) -> None:
        self._clock = clock
        self._generation_s = generation_s
        self._time_scale = time_scale
        self._jobs: dict[str, SandboxJob] = {}
        self._by_music: dict[str, SandboxJob] = {}
        self._submits: dict[str, int] = {}
        self._images: dict[str, ImageEntry] = {}

    @property
    def jobs(self) -> Mapping[str, SandboxJob]:
        """All jobs by cover task id, oldest first."""
        return MappingProxyType(self._jobs)

    def count_submit(self, music_task_id: str) -> int:
        """Count a submit and return how many there were for this music task, this one included."""
        n = self._submits[music_task_id] = self._submits.get(music_task_id, 0) + 1
        job = self._by_music.get(music_task_id)
        if job is not None:
            job.submits = n
        return n

    def find_by_music(self, music_task_id: str) -> SandboxJob | None:
        """Return the job of a music task, if one was made."""
        return self._by_music.get(music_task_id)

    def find_image(self, token: str) -> ImageEntry | None:
        """Return the image that an address names."""
        return self._images.get(token)

    def make(self, music_task_id: str, callback_url: str, *, created_at: float | None = None) -> SandboxJob:
        """Make the job of a music task.

        The cover task id is derived from the music task id, so that another sandbox names the same folder.

        Args:
            music_task_id: Picks the scenario.
            callback_url: Where callbacks go.
            created_at: Epoch seconds, for a job that an earlier process made.
        """
        scenario = choose_scenario(music_task_id)
        now_s, now = self._clock.monotonic(), self._clock.time()
        created_at = now if created_at is None else created_at
        created_s = now_s - (now - created_at)
        # An endless job is endless in a sandbox without generation time, too.
        length_s = inf if isinf(scenario.generation) else self._generation_s * scenario.generation
        task_id = _digest(f"cover/{music_task_id}")
        job = SandboxJob(
            task_id=f"../../etc/{task_id}" if scenario.hostile_id else task_id,
            music_task_id=music_task_id,
            callback_url=callback_url,
            scenario=scenario,
            created_at=created_at,
            created_s=created_s,
            generation_s=self._generation_s,
            ends_s=created_s + length_s,
            record_ends_s=created_s + length_s + scenario.record_lag_s / self._time_scale,
            submits=self._submits.get(music_task_id, 0),
        )
        self._jobs[job.task_id] = self._by_music[music_task_id] = job
        self._enter_images(job)
        return job

    def renew_images(self, job: SandboxJob) -> None:
        """Give the images fresh addresses if a request found the present ones expired."""
        if job.edition_is_stale:
            job.edition += 1
            job.edition_is_stale = False
            self._enter_images(job)

    def _enter_images(self, job: SandboxJob) -> None:
        for n in range(len(job.scenario.pictures)):
            self._images[job.image_token(n)] = ImageEntry(job=job, n=n, edition=job.edition)


def _digest(text: str) -> str:
    """Return 32 lower-case hex digits that depend on ``text`` alone."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class KeyLine(msgspec.Struct, frozen=True, kw_only=True, tag="key", tag_field="type"):
    """The key that was made up for the account; who starts the sandbox again is the same customer."""

    api_key: str


class SubmitLine(msgspec.Struct, frozen=True, kw_only=True, tag="submit", tag_field="type"):
    """A submit came in, whatever it was answered."""

    music_task_id: str


class JobLine(msgspec.Struct, frozen=True, kw_only=True, tag="job", tag_field="type"):
    """A job was made."""

    music_task_id: str
    task_id: str
    callback_url: str
    created_at: float


class SettledLine(msgspec.Struct, frozen=True, kw_only=True, tag="settled", tag_field="type"):
    """One delivery of a job is over: answered, given up or not allowed."""

    task_id: str
    status: int


Line = KeyLine | SubmitLine | JobLine | SettledLine

_LINE_START = b'{"type":"'


def read_state_file(path: Path) -> list[Line]:
    """Read the facts of a state file; an absent file has none.

    Raises:
        UsageError: A line is none of ours, or the file cannot be read.
    """
    try:
        rows = path.read_bytes().split(b"\n") if path.exists() else [b""]
    except OSError as error:
        raise UsageError(f"cannot read the state file {path}: {error.strerror}") from error
    decoder = msgspec.json.Decoder(Line)
    lines: list[Line] = []
    for number, row in enumerate(rows[:-1], start=1):
        try:
            lines.append(decoder.decode(row))
        except msgspec.DecodeError as error:
            if isinstance(error, msgspec.ValidationError) or not _is_half_a_line(row):
                raise UsageError(
                    f"line {number} of {path} is not a sandbox's: {error}",
                    hint="give the sandbox another state file, or remove this one",
                ) from error
    return lines


def _is_half_a_line(row: bytes) -> bool:
    return row.startswith(_LINE_START) or _LINE_START.startswith(row)


class StateFile:
    """Keeps the facts of a :class:`JobRegistry` on disk. Entering fills the registry from the file.

    Args:
        path: The file, or ``None`` to keep nothing.
        registry: Where the facts of earlier processes go.

    Attributes:
        api_key: The key that an earlier process made up, once entered; ``None`` where there is none.

    Raises:
        UsageError: On entering, when the file is not ours or cannot be written.
    """

    def __init__(self, path: Path | None, registry: JobRegistry) -> None:
        self._path = path
        self._registry = registry
        self.api_key: str | None = None
        self._pending: list[bytes] = []
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if self._path is not None:
            for line in await asyncio.to_thread(_open_state_file, self._path):
                if isinstance(line, KeyLine):
                    self.api_key = self.api_key or line.api_key
                else:
                    _restore(self._registry, line)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.commit()

    async def commit(self, *lines: Line) -> None:
        """Return once ``lines`` are with the operating system, which outlives a killed process.

        A writer takes along what has gathered meanwhile: one write for many requests.
        """
        if self._path is None:
            return
        self._pending.extend(msgspec.json.encode(line) + b"\n" for line in lines)
        async with self._writing:
            if self._pending:
                batch, self._pending = b"".join(self._pending), []
                await asyncio.to_thread(_append, self._path, batch)


def _open_state_file(path: Path) -> list[Line]:
    """Read the file, and see to it that the next line does not continue half a one."""
    lines = read_state_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.write(b"\n")
    except OSError as error:
        raise UsageError(f"cannot write the state file {path}: {error.strerror}") from error
    return lines


def _append(path: Path, batch: bytes) -> None:
    with path.open("ab") as file:
        file.write(batch)


def _restore(registry: JobRegistry, line: SubmitLine | JobLine | SettledLine) -> None:
    match line:
        case SubmitLine(music_task_id=music_task_id):
            registry.count_submit(music_task_id)
        case JobLine(music_task_id=music_task_id, callback_url=callback_url, created_at=created_at):
            # Two sandboxes on one file may both have made it; it is the same job.
            if registry.find_by_music(music_task_id) is None:
                registry.make(music_task_id, callback_url, created_at=created_at)
        case SettledLine(task_id=task_id):
            if task_id not in registry.jobs:
                raise UsageError(f"the state file settles {task_id!r}, a job it never made")
            registry.jobs[task_id].settled += 1
