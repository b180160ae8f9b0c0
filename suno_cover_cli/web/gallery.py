"""The gallery: all covers on one page, to look at and to pick from.

A :class:`Gallery` is the page; where jobs and choices are kept is the business of a
:class:`~suno_cover_cli.web.covers.JobSource`. The browser names jobs and variants by number, and what is wrong
with a file is found out when you look at it, or pick it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, count
from typing import Any

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.models import Picked
from suno_cover_cli.base.text import clean
from suno_cover_cli.web.covers import Cover, Job, JobSource, PickConflictError
from suno_cover_cli.web.guard import PageError
from suno_cover_cli.web.looks import Look, LookRoom, SavedFileError, are_alike, check_saved
from suno_cover_cli.web.server import Data, Feed, Page

STORE_EDGE = 3000
"""Pixels that stores ask for (stores.md)."""

_LOOK_FOR_CHANGES_S = 1.0
_MAX_JOBS = 1000
_NUMBER_DIGITS = 18
_IMAGE_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


class PickWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser posts: ``was`` is the choice it has on its screen."""

    job: int
    picked: Picked
    was: Picked


class Gallery:
    """The page, and what goes on behind it.

    Args:
        source: Jobs and choices.
        room: Looks at files.
        clock: Time.
        is_read_only: Nothing can be picked.
        on_picked: Called with cover task id and choice for every change of one, made here or elsewhere.

    Attributes:
        page: For a :class:`~suno_cover_cli.web.server.PageServer`.
    """

    def __init__(
        self,
        source: JobSource,
        room: LookRoom,
        *,
        clock: Clock,
        is_read_only: bool = False,
        on_picked: Callable[[str, Picked], None],
    ) -> None:
        self._source = source
        self._room = room
        self._clock = clock
        self._is_read_only = is_read_only
        self._on_picked = on_picked
        self._feed = Feed()
        self._decided = asyncio.Event()
        # What is told of choices, in its order: an answer may reach a page after what was told later.
        self._told = count(1)
        self.page = Page(
            document="gallery.html",
            reads={
                "jobs": self._load_jobs,
                "look": self._look,
                "small": self._fetch_small,
                "cover": self._fetch_cover,
            },
            writes={"pick": self._pick},
            feed=self._feed,
        )

    async def follow_changes(self) -> None:
        """Tell the page what other processes do, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_FOR_CHANGES_S)
            changes = await self._source.look_for_changes()
            for job in changes.jobs:
                if job.id in changes.decided:
                    self._on_picked(job.task_id, job.picked)
            if changes.jobs or changes.gone:
                entries = [_entry_of(job) for job in changes.jobs]
                self._feed.publish("jobs", {"jobs": entries, "gone": changes.gone, "n": next(self._told)})
                self._decided.set()

    async def wait_decided(self) -> None:
        """Wait until every job of the gallery is decided."""
        while await self._source.count_undecided():
            self._decided.clear()
            await self._decided.wait()

    # --- what the browser asks --------------------------------------------------------------------

    async def _load_jobs(self, query: Mapping[str, str]) -> object:
        before = _number_of(query, "before") if "before" in query else None
        limit = min(_number_of(query, "limit"), _MAX_JOBS)
        jobs = await self._source.load(before=before, limit=limit)
        return {
            "jobs": [_entry_of(job) for job in jobs],
            "is_last": len(jobs) < limit,
            "now": self._clock.time(),
            "read_only": self._is_read_only,
            "store_edge": STORE_EDGE,
        }

    async def _look(self, query: Mapping[str, str]) -> object:
        job = await self._find(query)
        looks = await asyncio.gather(*(self._room.look(cover) for cover in job.covers))
        pairs = combinations(zip(job.covers, looks, strict=True), 2)
        return {
            "covers": [
                {"n": cover.n, "state": look.state, "border": look.has_border, "marks": _shown(look.marks)}
                for cover, look in zip(job.covers, looks, strict=True)
            ],
            "alike": [[one.n, other.n] for (one, first), (other, second) in pairs if _seem_alike(first, second)],
        }

    async def _fetch_small(self, query: Mapping[str, str]) -> Data:
        look = await self._room.look(await self._find_cover(query))
        if look.state != "ok":
            raise PageError(410, look.state)
        return Data(look.small, "image/webp")

    async def _fetch_cover(self, query: Mapping[str, str]) -> Data:
        cover = await self._find_cover(query)
        try:
            content = await self._room.read(cover)
        except SavedFileError as error:
            raise PageError(410, error.state) from None
        kind = next((kind for head, kind in _IMAGE_TYPES.items() if content.startswith(head)), "image/avif")
        return Data(content, kind)

    async def _pick(self, body: Any) -> object:
        if self._is_read_only:
            raise PageError(403, "read_only")
        try:
            wish = msgspec.convert(body, PickWish)
        except msgspec.ValidationError:
            raise PageError(400, "bad_request") from None
        job = await self._source.find(wish.job)
        if job is None:
            raise PageError(404, "unknown_job")
        if isinstance(wish.picked, int):
            cover = job.cover(wish.picked)
            if cover is None:
                raise PageError(404, "unknown_variant")
            try:
                await asyncio.to_thread(check_saved, cover)
            except SavedFileError as error:
                raise PageError(410, error.state) from None
        try:
            await self._source.pick(job, wish.picked, was=wish.was)
        except PickConflictError as conflict:
            raise PageError(409, "overtaken", picked=conflict.picked) from None
        if wish.picked != wish.was:
            self._on_picked(job.task_id, wish.picked)
        n = next(self._told)
        self._feed.publish("picked", {"job": job.id, "picked": wish.picked, "n": n})
        self._decided.set()
        return {"picked": wish.picked, "n": n}

    async def _find(self, query: Mapping[str, str]) -> Job:
        job = await self._source.find(_number_of(query, "job"))
        if job is None:
            raise PageError(404, "unknown_job")
        return job

    async def _find_cover(self, query: Mapping[str, str]) -> Cover:
        cover = (await self._find(query)).cover(_number_of(query, "n"))
        if cover is None:
            raise PageError(404, "unknown_variant")
        return cover


def _entry_of(job: Job) -> dict[str, object]:
    """Return what the page needs to know of a job before its files are read; no path is part of it."""
    return {
        "id": job.id,
        "task": job.task_id,
        "music": job.music_task_id,
        "title": clean(job.title, 200) if job.title else None,
        "sandbox": job.is_sandbox,
        "created": job.created_at,
        "expires": job.links_expire_at,
        "picked": job.picked,
        "covers": [[cover.n, cover.width, cover.height, cover.size_bytes] for cover in job.covers],
    }


def _number_of(query: Mapping[str, str], name: str) -> int:
    given = query.get(name, "")
    if not (given.isascii() and given.isdecimal() and len(given) <= _NUMBER_DIGITS):
        raise PageError(400, "bad_request")
    return int(given)


def _seem_alike(first: Look, second: Look) -> bool:
    return first.state == second.state == "ok" and are_alike(first, second)


def _shown(marks: Sequence[str]) -> list[str]:
    return [clean(mark, 100) for mark in marks[:20]]
