"""The gallery in a real browser: looking, picking, and what changes behind it."""

import asyncio
import json
import sys
import time
from pathlib import Path

import msgspec
import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.web.covers import Job
from tests.browser import Browser, Tab
from tests.gallery_fixtures import MemorySource, Served, draw, make_job, serve
from tests.gallery_pages import DRAWN, LOADED, READY, SEEN, TIMES, cell, focus_of, opened, said, selected

# --- picking ------------------------------------------------------------------------------------------


async def test_a_variant_is_picked_by_key(tab: Tab, served: Served) -> None:
    """A digit picks that variant of the job that has the focus, and the choice is stored, shown and told."""
    await tab.press("2")
    await said(tab, "Night drive 6: picked 2. 5 undecided left.")
    assert await tab.run(selected(6, 2))
    assert served.source.picks() == {6: 2}
    assert served.picked == [(f"{6:032x}", 2)]
    await tab.press("1")
    await said(tab, "picked 1")
    assert await tab.run(f"!({selected(6, 2)}) && {selected(6, 1)}")
    assert served.source.picks() == {6: 1}


async def test_a_variant_is_picked_by_click(tab: Tab, served: Served) -> None:
    """A click on a picture or on its button picks it, and the row gets the focus."""
    await tab.click(f"{cell(6, 2)} .frame")
    await tab.wait_for(selected(6, 2))
    await tab.click(f"{cell(5, 1)} button.pick")
    await said(tab, "Night drive 5: picked 1. 4 undecided left.")
    assert served.source.picks() == {6: 2, 5: 1}
    assert (await focus_of(tab)).startswith("Night drive 5, Variant 1 of 2, Picked")


@pytest.mark.parametrize("key", ["0", "x"])
async def test_none_of_them_is_a_choice(tab: Tab, served: Served, key: str) -> None:
    """0 and x say that no variant will do; so does the button."""
    await tab.press(key)
    await said(tab, "Night drive 6: none of them. 5 undecided left.")
    await tab.click("#job-5 .none button")
    await said(tab, "Night drive 5: none of them. 4 undecided left.")
    assert served.source.picks() == {6: "none", 5: "none"}
    assert [choice for _, choice in served.picked] == ["none", "none"]


async def test_choices_are_undone_one_after_the_other(tab: Tab, served: Served) -> None:
    """Undo takes back the last choice, then the one before, to undecided in the end; then it says so."""
    await tab.press("1", "2", "x", "ArrowDown", "2")
    await said(tab, "Night drive 5: picked 2.")
    await tab.press("u")
    await said(tab, "Night drive 5: undecided again. 5 undecided left.")
    assert served.source.picks() == {6: "none"}
    await tab.press("u")
    await said(tab, "Night drive 6: picked 2.")
    assert (await focus_of(tab)).startswith("Night drive 6")
    await tab.press("u", "u")
    await said(tab, "Night drive 6: undecided again. 6 undecided left.")
    await tab.press("u")
    await said(tab, "Nothing to undo.")
    assert served.source.picks() == {}
    assert served.picked[-1] == (f"{6:032x}", None)


async def test_fast_fingers_lose_nothing(tab: Tab, served: Served) -> None:
    """Keys that come faster than choices are stored end with what was pressed last."""
    await tab.press(*"1212121212")
    await tab.press("ArrowDown", *"12121")
    await tab.wait_for(f"{selected(6, 2)} && {selected(5, 1)}")
    async with asyncio.timeout(10):
        while served.source.picks() != {6: 2, 5: 1}:
            await tab.run("new Promise((resolve) => requestAnimationFrame(resolve))")
    assert await tab.run("document.getElementById('toast').classList.contains('bad')") is False


async def test_a_variant_that_is_not_there_is_not_picked(tab: Tab, served: Served) -> None:
    """A digit beyond the variants of a job changes nothing and says why."""
    await tab.press("4")
    await said(tab, "Night drive 6 has no variant 4.")
    assert served.source.picks() == {}


async def test_with_a_modifier_a_key_is_the_browsers(tab: Tab, served: Served) -> None:
    """Keys with Ctrl and keys typed into the search are no commands."""
    for kind in ("rawKeyDown", "keyUp"):
        await tab.send("Input.dispatchKeyEvent", type=kind, key="1", code="Digit1", modifiers=2)
    await tab.press("/")
    await tab.press(*"drive 2x")
    await tab.wait_for("document.getElementById('words').value === 'drive 2x'")
    assert served.source.picks() == {}


# --- moving and looking -------------------------------------------------------------------------------


async def test_arrows_move_between_jobs_and_variants(tab: Tab) -> None:
    """Arrows lead to every variant, Home and End to the first and last job, and nothing leads further."""
    assert (await focus_of(tab)).startswith(f"Night drive 6, Variant 1 of 3, 320 {TIMES} 320")
    await tab.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert (await focus_of(tab)).startswith("Night drive 6, Variant 3 of 3")
    await tab.press("ArrowDown")
    assert (await focus_of(tab)).startswith("Night drive 5, Variant 1 of 2"), "there is no third one"
    await tab.press("End", "ArrowDown", "ArrowRight")
    assert (await focus_of(tab)).startswith("Night drive 1, Variant 2 of 2")
    await tab.press("Home", "ArrowUp", "ArrowLeft")
    assert (await focus_of(tab)).startswith("Night drive 6, Variant 1 of 3")
    await tab.press("End")
    assert await tab.run("probe.seesFocus()"), "what has the focus is on the screen"


async def test_space_flips_in_place(tab: Tab) -> None:
    """Space shows the next variant where the one with the focus was, says so, and leads back."""
    source = f"document.querySelector('{cell(6, 1)} img').getAttribute('src')"
    before = await tab.run(source)
    await tab.press(" ")
    await said(tab, "Variant 1 shows 2.")
    assert await tab.run(source) != before
    assert "Showing 2" in await focus_of(tab)
    assert await tab.run(f"document.querySelector('{cell(6, 1)} .flipped').textContent") == "Showing 2"
    await tab.press(" ", " ")
    await said(tab, "Variant 1 shows 1.")
    assert await tab.run(source) == before
    assert await tab.run("scrollY") == 0, "the page did not scroll"


async def test_zoom_is_linked(tab: Tab) -> None:
    """Zoom brings all variants of a job closer at the same place, which arrows and the mouse move; z ends it."""
    places = "probe.all('#job-6 .frame img', (one) => one.style.transformOrigin)"
    sources = "probe.all('#job-6 .frame img', (one) => one.getAttribute('src'))"
    await tab.press("z")
    await said(tab, "Zoomed")
    await tab.wait_for(f"{sources}.every((one) => one.startsWith('cover?'))")
    await tab.press("ArrowRight", "ArrowRight", "ArrowDown")
    [first, *others] = await tab.run(places)
    assert first.startswith("62%")
    assert others == [first, first]
    box = await tab.run(f"probe.box('{cell(6, 2)} .frame')")
    await tab.point(box["x"] + box["width"] / 4, box["y"] + 30, "mouseMoved")
    [first, *others] = await tab.wait_for(f"{places}[0].startsWith('25') && {places}")
    assert others == [first, first]
    await tab.press("z")
    await said(tab, "Zoom ended.")
    assert await tab.run(places) == ["", "", ""]
    assert all(one.startswith("small?") for one in await tab.run(sources))


async def test_full_size_shows_the_files_themselves(tab: Tab, served: Served) -> None:
    """Enter opens a job at full size, where the same keys pick, flip, zoom and move on; Escape leads back."""
    await tab.press("Enter")
    await tab.wait_for(f"document.getElementById('viewer').open && {LOADED}")
    sizes = "probe.all('#viewer img', (one) => one.naturalWidth)"
    assert await tab.run(sizes) == [320, 320, 320]
    await tab.press("ArrowRight")
    assert await focus_of(tab) == "Variant 2 of 3"
    await tab.press("3")
    await said(tab, "Night drive 6: picked 3.")
    await tab.press(" ")
    await said(tab, "Variant 2 shows 3.")
    await tab.press("z", "ArrowRight")
    [first, *others] = await tab.run("probe.all('#viewer img', (one) => one.style.transformOrigin)")
    assert first.startswith("56%")
    assert others == [first, first]
    await tab.press("z", "ArrowDown", "x")
    await said(tab, "Night drive 5: none of them.")
    assert await tab.run("document.getElementById('viewer-title').textContent") == "Night drive 5"
    await tab.press("u")
    await said(tab, "Night drive 5: undecided again.")
    await tab.press("Escape")
    # The browser gives the focus back where it came from; the page moves it on to the job that was seen last.
    await tab.wait_for("document.activeElement.getAttribute('aria-label')?.startsWith('Night drive 5')")
    assert await tab.run("!document.getElementById('viewer').open")
    assert served.source.picks() == {6: 3}


async def test_covers_are_seen_as_they_are_met(tab: Tab) -> None:
    """Each variant is there at 300 and 64 px, square, rounded and round, on dark and light, beside its title."""
    await tab.wait_for(LOADED)
    found = await tab.run(
        f"""probe.all('{cell(5, 1)} img', (one) => [one.className.split('-').at(-1), one.clientWidth,
        getComputedStyle(one).borderRadius, getComputedStyle(one.closest('.use, .cell')).backgroundColor])"""
    )
    assert [one[:3] for one in found] == [
        ["large", 300, "0px"],
        *[["square", 64, "0px"], ["rounded", 64, "8px"], ["round", 64, "50%"], ["line", 48, "4px"]] * 2,
    ]
    assert {one[3] for one in found[1:5]} == {"rgb(18, 18, 18)"}
    assert {one[3] for one in found[5:]} == {"rgb(255, 255, 255)"}
    assert await tab.run(f"probe.texts('{cell(5, 1)} .song-title')") == ["Night drive 5"] * 2
    tops = "probe.all('#job-5 .cell', (one) => one.getBoundingClientRect().top)"
    assert len(set(await tab.run(tops))) == 1, "variants are level"
    await tab.run("document.documentElement.dataset.corners = 'rounded'")
    assert await tab.run(f"getComputedStyle(document.querySelector('{cell(5, 1)} .frame')).borderRadius") == "16px"


# --- what is known of covers --------------------------------------------------------------------------


async def test_badges_say_what_a_store_would(browser: Browser, tmp_path: Path) -> None:
    """Not square, nearly equal, border, factor to 3000 px, days left, marks and the sandbox are said in words."""
    folder = tmp_path / "covers"
    marked = draw(9, (1024, 1024)) + b"trainedAlgorithmicMedia"
    source = MemorySource(
        [
            make_job(
                folder, 1, draw(1, (800, 600)), draw(1, (1600, 1200)), links_expire_at=time.time() + 86400 * 5.5
            ),
            make_job(folder, 2, marked, draw(8, (3000, 3000)), is_sandbox=True),
            make_job(folder, 3, draw(4), draw(5), links_expire_at=time.time() + 3600),
            make_job(folder, 4, draw(4), draw(5), links_expire_at=time.time() - 3600),
        ]
    )
    async with serve(source, tmp_path) as served, opened(browser, served) as tab:
        badges = {}
        for number in (4, 3, 2, 1):
            await tab.wait_for(f"document.querySelectorAll('#job-{number} .cell[data-state=ok]').length === 2")
            badges[number] = await tab.run(f"probe.texts('#job-{number} .badge')")
            await tab.press("ArrowDown")
        assert badges == {
            4: [f"{TIMES}9.4 to 3000 px", f"{TIMES}9.4 to 3000 px"],
            3: ["links: hours left", f"{TIMES}9.4 to 3000 px", f"{TIMES}9.4 to 3000 px"],
            2: ["sandbox", f"{TIMES}2.9 to 3000 px", "AI label: IPTC"],
            1: [
                *("links: 5 days left", "1 and 2 nearly equal"),
                *("not square", f"{TIMES}5.0 to 3000 px", "not square", f"{TIMES}2.5 to 3000 px"),
            ],
        }


async def test_files_that_moved_or_changed_are_told(tab: Tab, served: Served, jobs: list[Job]) -> None:
    """A file that is gone or another one is said, shown as neither picture nor guess, and cannot be picked."""
    first, second = jobs[0].covers
    await asyncio.to_thread(Path(first.path).unlink)
    await asyncio.to_thread(Path(second.path).write_bytes, draw(77))
    await tab.press("End")
    await tab.wait_for("document.querySelectorAll('#job-1 .trouble').length === 2")
    assert await tab.run("probe.texts('#job-1 .trouble')") == [
        "The file is not there any more",
        "The file has changed since it was saved",
    ]
    assert await tab.run("document.querySelectorAll('#job-1 img[src]').length") == 0
    assert "The file is not there any more" in await focus_of(tab)
    await tab.press("1")
    await said(tab, "Not stored: the file is not there any more.")
    await tab.press("2")
    await said(tab, "Not stored: the file has changed since it was saved.")
    assert await tab.run(f"!({selected(1, 1)}) && !({selected(1, 2)})")
    assert served.source.picks() == {}
    tab.complaints.clear()  # the browser notes refusals that we asked for


async def test_a_file_that_changes_while_it_is_seen_cannot_be_picked(
    tab: Tab, served: Served, jobs: list[Job]
) -> None:
    """What is on the screen is not believed: the file is hashed when it is picked."""
    await asyncio.to_thread(Path(jobs[5].covers[1].path).write_bytes, draw(78))
    await tab.press("2")
    await said(tab, "Not stored: the file has changed since it was saved.")
    await tab.wait_for(f"document.querySelector('{cell(6, 2)}').dataset.state === 'changed'")
    assert served.source.picks() == {}
    tab.complaints.clear()


# --- filters ------------------------------------------------------------------------------------------


async def listed(tab: Tab) -> list[str]:
    """Return the titles that are listed."""
    found: list[str] = await tab.run("probe.texts('.row h2')")
    return found


async def test_filters_choose_what_is_listed(browser: Browser, tmp_path: Path) -> None:
    """Undecided, picked and expiring list those; what is decided stays until the filter is chosen again."""
    jobs = [make_job(tmp_path / "covers", number) for number in range(1, 6)]
    jobs[0] = msgspec.structs.replace(jobs[0], picked=2)
    jobs[1] = msgspec.structs.replace(jobs[1], picked="none")
    jobs[2] = msgspec.structs.replace(jobs[2], links_expire_at=time.time() + 86400)
    async with serve(MemorySource(jobs), tmp_path) as served, opened(browser, served) as tab:
        await tab.click("label:has(#filter-undecided)")
        await said(tab, "3 jobs.")
        assert await listed(tab) == ["Night drive 5", "Night drive 4", "Night drive 3"]
        await tab.click(f"{cell(4, 1)} .frame")
        await said(tab, "Night drive 4: picked 1.")
        assert "Night drive 4" in await listed(tab), "it can still be undone"
        await tab.press("f")
        await said(tab, "2 jobs.")
        assert await listed(tab) == ["Night drive 4", "Night drive 1"]
        await tab.press("f")
        assert await listed(tab) == ["Night drive 3"]
        await tab.press("f", "f")
        await said(tab, "2 jobs.")
        assert await listed(tab) == ["Night drive 5", "Night drive 3"]


async def test_words_find_titles_and_ids(tab: Tab) -> None:
    """The search takes parts of titles and ids in any order; Enter goes to the first, Escape ends it."""
    await tab.press("/")
    await tab.type("drive 3")
    await said(tab, "1 job.")
    assert await listed(tab) == ["Night drive 3"]
    await tab.press("Enter")
    assert (await focus_of(tab)).startswith("Night drive 3")
    await tab.press("/")
    await tab.run("document.getElementById('words').select()")
    await tab.type("nothing like this")
    await tab.wait_for("!document.getElementById('empty').hidden")
    assert await tab.run("document.getElementById('empty').textContent") == "No title or id has these words."
    await tab.press("Escape")
    await said(tab, "6 jobs.")
    assert len(await listed(tab)) >= 3


# --- other processes ----------------------------------------------------------------------------------


async def test_jobs_that_end_meanwhile_appear(tab: Tab, served: Served, tmp_path: Path) -> None:
    """A job that is saved while the page is open comes in at the top; what was seen stays, with the focus."""
    await tab.press("ArrowDown", "ArrowDown")
    before = await tab.run("document.activeElement.getBoundingClientRect().top")
    served.source.change(make_job(tmp_path / "covers", 7))
    await said(tab, "1 new job.")
    assert (await focus_of(tab)).startswith("Night drive 4")
    await tab.wait_for(f"Math.abs(document.activeElement.getBoundingClientRect().top - {before}) < 2")
    await tab.press("Home")
    await tab.wait_for("document.querySelectorAll('#job-7 .cell[data-state=ok]').length === 2")


async def test_a_pick_of_another_process_is_seen(tab: Tab, served: Served) -> None:
    """What another process decides is shown and told, and a job that is pruned is listed no more."""
    served.source.change(msgspec.structs.replace(served.source.jobs[6], picked=3))
    await tab.wait_for(selected(6, 3))
    served.source.change(msgspec.structs.replace(served.source.jobs[6], picked=None))
    await tab.wait_for("!document.querySelector('#job-6 [aria-selected=true]')")
    served.source.remove(5)
    await tab.wait_for("!document.getElementById('job-5')")
    assert served.picked == [(f"{6:032x}", 3), (f"{6:032x}", None)]


async def test_a_pick_that_was_overtaken_is_not_forced(tab: Tab, served: Served) -> None:
    """Whoever decides on what is no more so is told what counts now, and may decide anew."""
    served.source.jobs[6] = msgspec.structs.replace(served.source.jobs[6], picked=3)
    await tab.press("1")
    await said(tab, "Night drive 6: decided elsewhere meanwhile: Picked 3.")
    assert await tab.run(f"{selected(6, 3)} && !({selected(6, 1)})")
    assert served.source.picks() == {6: 3}
    await tab.press("1")
    await said(tab, "Night drive 6: picked 1.")
    assert served.source.picks() == {6: 1}
    tab.complaints.clear()


async def test_two_tabs_show_the_same(browser: Browser, served: Served, tab: Tab) -> None:
    """What is picked in one tab is seen in the other."""
    async with opened(browser, served) as other:
        await other.press("2")
        await tab.wait_for(selected(6, 2))
        await tab.press("1")
        await other.wait_for(selected(6, 1))


async def test_an_answer_that_is_late_undoes_no_later_choice(browser: Browser, served: Served, tab: Tab) -> None:
    """What another tab picked meanwhile stays, although the answer to an earlier pick here comes after it."""
    async with opened(browser, served) as other:
        await other.run(
            "window.answers = new Promise((resolve) => { window.release = resolve; });"
            " window.held = window.fetch; window.fetch = async (...words) => {"
            " const answer = await window.held(...words);"
            " if (String(words[0]) === 'pick') await window.answers; return answer; };"
            " const feed = new EventSource('events');"
            " feed.addEventListener('sync', () => { window.told = 0; });"
            " feed.addEventListener('picked', ({ data }) => { window.told = JSON.parse(data).picked; }); true"
        )
        await other.wait_for("window.told === 0")
        await other.press("2")
        await tab.wait_for(selected(6, 2))
        await tab.press("1")
        await other.wait_for("window.told === 1")
        await other.run("window.release(); true")
        await other.wait_for(selected(6, 1))


async def test_all_decided_is_noticed(tab: Tab, served: Served) -> None:
    """Whoever waits for every job to be decided is woken by the last pick, here or elsewhere."""
    waiting = asyncio.ensure_future(served.gallery.wait_decided())
    for _ in range(5):
        await tab.press("1", "ArrowDown")
    await said(tab, "1 undecided left.")
    assert not waiting.done()
    served.source.change(msgspec.structs.replace(served.source.jobs[1], picked="none"))
    async with asyncio.timeout(10):
        await waiting


async def test_the_page_says_when_the_gallery_has_ended(browser: Browser, jobs: list[Job], tmp_path: Path) -> None:
    """A gallery that ends says so on its page; one that is killed is missed by it."""
    notice = "!document.getElementById('notice').hidden && document.getElementById('notice').textContent"
    async with browser.open_tab() as tab:
        async with serve(MemorySource(jobs), tmp_path) as served:
            await tab.go(served.server.url)
            await tab.wait_for(SEEN)
        assert str(await tab.wait_for(notice)).startswith("The gallery has ended in the terminal.")
        await tab.press("1")
        await said(tab, "Not stored: the gallery has ended in the terminal.")
        assert await tab.run(f"!({selected(6, 1)})")


async def test_a_journal_that_fails_is_told(tab: Tab, served: Served) -> None:
    """A choice that cannot be stored is taken back on the page, whose terminal has the reason."""
    served.source.failure = UsageError("the disk is full", code="journal_unavailable")
    await tab.press("1")
    await said(tab, "Not stored: the terminal says more (journal_unavailable).")
    assert await tab.run(f"!({selected(6, 1)})")
    assert served.troubles[0].message == "the disk is full"
    served.source.failure = None
    await tab.press("1")
    await said(tab, "Night drive 6: picked 1.")
    tab.complaints.clear()


async def test_a_gallery_to_look_at_takes_no_picks(browser: Browser, jobs: list[Job], tmp_path: Path) -> None:
    """A read-only gallery shows no buttons to pick with, and its server takes nothing either."""
    async with serve(MemorySource(jobs), tmp_path, is_read_only=True) as served, opened(browser, served) as tab:
        assert await tab.run("document.getElementById('read-only').checkVisibility()")
        assert await tab.run("probe.all('.pick, .none', (one) => one.checkVisibility()).some(Boolean)") is False
        await tab.press("1")
        await said(tab, "This gallery is read-only.")
        wish = {"job": 6, "picked": 1, "was": None}
        [_, answer] = await tab.run(f"probe.post('pick', {json.dumps(wish)})")
        assert answer == {"error": {"code": "read_only"}}
        assert served.source.picks() == {}
        tab.complaints.clear()


@pytest.mark.parametrize(
    "wish",
    [
        {"job": 6, "picked": 9, "was": None},
        {"job": 99, "picked": 1, "was": None},
        {"job": 6, "picked": 0, "was": None},
        {"job": 6, "picked": -1, "was": None},
        {"job": 6, "picked": True, "was": None},
        {"job": 6, "picked": "all", "was": None},
        {"job": 6, "picked": 1.5, "was": None},
        {"job": 6, "picked": 1},
        {"job": 6, "picked": 1, "was": None, "path": "/etc/passwd"},
        {"job": 2**70, "picked": 1, "was": None},
        [6, 1],
        "6",
        None,
    ],
)
async def test_nonsense_is_not_picked(tab: Tab, served: Served, wish: object) -> None:
    """Jobs and variants that are none, and bodies of another shape, are refused and change nothing."""
    [status, _] = await tab.run(f"probe.post('pick', {json.dumps(wish)})")
    assert status in {400, 404}
    assert served.source.picks() == {}
    tab.complaints.clear()


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("small?job=6&n=9", 404),
        ("small?job=99&n=1", 404),
        ("small?job=6", 400),
        ("cover?job=6&n=../1", 400),
        ("cover?job=6&n=-1", 400),
        ("cover?job=٦&n=1", 400),
        ("look?job=1e3", 400),
        ("look?job=" + "9" * 30, 400),
        ("jobs?limit=x", 400),
        ("jobs?limit=5&before=", 400),
        ("cover?path=/etc/passwd", 400),
    ],
)
async def test_nonsense_is_not_shown(tab: Tab, address: str, status: int) -> None:
    """Images are found by job and number, and by nothing else."""
    assert await tab.run(f"fetch({json.dumps(address)}).then((said) => said.status)") == status
    tab.complaints.clear()


# --- everybody ----------------------------------------------------------------------------------------


async def test_everything_can_be_done_with_the_keyboard(tab: Tab, served: Served) -> None:
    """Tab leads through filters, search, looks, keys and the covers; each of them works without a mouse."""
    stops = []
    await tab.run("document.getElementById('filter-all').focus()")
    for _ in range(5):
        await tab.press("Tab")
        stops.append((await focus_of(tab)).partition(",")[0])
    assert stops == ["Search titles and ids", "Corners", "Background", "keys", "Night drive 6"]
    await tab.run("document.getElementById('filter-all').focus()")
    await tab.press("ArrowRight")
    await said(tab, "6 jobs.")
    assert await tab.run("document.getElementById('filter-undecided').checked")
    await tab.run("document.getElementById('keys').focus()")
    await tab.press("Enter")
    assert await tab.run("document.getElementById('help').open")
    await tab.press("1")
    assert served.source.picks() == {}, "keys are not commands while they are explained"
    await tab.press("Escape")
    assert not await tab.run("document.getElementById('help').open")
    await tab.press("Tab", "2")
    await said(tab, "Night drive 6: picked 2.")


async def test_a_screen_reader_meets_names(tab: Tab) -> None:
    """Every part has a role and a name: bar, filters, list with its size, rows, variants with state, buttons."""
    await tab.press("2")
    await tab.wait_for(selected(6, 2))
    tree = await tab.accessible()
    for part in (
        ("heading", "Covers"),
        ("radio", "Undecided"),
        ("searchbox", "Search titles and ids"),
        ("grid", "Jobs and their covers"),
        ("heading", "Night drive 6"),
        ("gridcell", f"Night drive 6, Variant 2 of 3, Picked, 320 {TIMES} 320, {TIMES}9.4 to 3000 px"),
        ("button", "Pick 1"),
        ("button", "None of them"),
        ("status", ""),
    ):
        assert part in tree, part
    nameless = [
        role for role, name in tree if role in {"button", "gridcell", "grid", "radio", "combobox"} and not name
    ]
    assert nameless == []
    assert await tab.run("document.getElementById('list').getAttribute('aria-rowcount')") == "6"
    assert await tab.run("document.getElementById('job-5').getAttribute('aria-rowindex')") == "2"
    assert await tab.run("document.getElementById('status').getAttribute('aria-live')") == "polite"


@pytest.mark.parametrize("is_dark", [False, True])
async def test_a_narrow_screen_shows_everything(browser: Browser, served: Served, *, is_dark: bool) -> None:
    """At 390 px nothing sticks out, variants are still level, and what can be touched is large enough."""
    async with opened(browser, served, width=390, height=844, is_touch=True, is_dark=is_dark) as tab:
        assert await tab.run("document.documentElement.scrollWidth") == 390
        assert await tab.run("probe.beyond()") == []
        tops = "probe.all('#job-5 .cell', (one) => one.getBoundingClientRect().top)"
        assert len(set(await tab.run(tops))) == 1
        heights = "probe.all('.pick, .none button', (one) => one.clientHeight)"
        assert min(await tab.run(heights)) >= 30
        await tab.click(f"{cell(6, 2)} .frame")
        await tab.wait_for(selected(6, 2))
        await tab.click(f"{cell(6, 1)} button.ghost")
        await tab.wait_for(f"document.getElementById('viewer').open && {LOADED}")
        assert await tab.run("document.documentElement.scrollWidth") == 390
        assert await tab.run("probe.beyond().length === 0")


async def test_colours_follow_the_system(tab: Tab) -> None:
    """The page is light or dark as the system is, while it is open too, and text can be read on either."""
    pairs = [
        ("--ink", "--ground"),
        ("--soft", "--ground"),
        ("--soft", "--surface"),
        ("--soft", "--raised"),
        ("--warn", "--warn-soft"),
        ("--bad", "--bad-soft"),
        ("--good", "--mark-soft"),
        ("--surface", "--good"),
        ("--on-accent", "--accent"),
        ("--accent", "--surface"),
    ]
    contrasts = f"{json.dumps(pairs)}.map((pair) => probe.contrast(...pair))"
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert await tab.run(ground) == "rgb(245, 245, 242)"
    assert min(await tab.run(contrasts)) >= 4.5
    await tab.show_as(is_dark=True)
    assert await tab.run(ground) == "rgb(20, 21, 23)"
    assert min(await tab.run(contrasts)) >= 4.5


async def test_words_are_chinese_where_the_browser_is(browser: Browser, served: Served) -> None:
    """A browser that prefers Chinese gets Chinese words, names for screen readers and numbers included."""
    async with opened(browser, served, language="zh-CN,en") as tab:
        assert await tab.run("document.documentElement.lang") == "zh"
        await tab.press("2")
        await said(tab, "Night drive 6:已选 2。 还有 5 个未决定。")
        assert (await focus_of(tab)).startswith("Night drive 6, 第 1 张,共 3 张")
        shown = await tab.run("document.body.innerText")
        assert "都不要" in shown
        assert "Pick" not in shown


async def test_both_languages_have_the_same_texts(tab: Tab) -> None:
    """No text is missing in either language, and none names a fact that the other does not; English counts."""
    both = await tab.run("import(new URL('texts.js', location)).then((texts) => [texts.TEXTS.en, texts.TEXTS.zh])")
    facts = [
        {key: sorted(part.partition("}")[0] for part in text.split("{")[1:]) for key, text in texts.items()}
        for texts in both
    ]
    singular = {key for key in facts[0] if key.endswith("_one")}
    assert all(facts[0].pop(key) == [] and "n" in facts[0][key.removesuffix("_one")] for key in singular)
    assert facts[0] == facts[1]


async def test_who_wants_no_motion_gets_none(browser: Browser, served: Served) -> None:
    """Nothing moves by itself where the system asks for less motion; elsewhere it may."""
    moves = "probe.all('#keys, #job-6 .cell', (one) => getComputedStyle(one).transitionDuration)"
    async with opened(browser, served, reduced_motion=True) as tab:
        assert set(await tab.run(moves)) == {"0s"}
        await tab.show_as(is_dark=False, reduced_motion=False)
        assert "0.12s" in str(await tab.run(moves))


# --- many ---------------------------------------------------------------------------------------------


async def test_ten_thousand_jobs(browser: Browser, tmp_path: Path) -> None:
    """With 10,000 jobs the first screen is there at once, few rows exist, and the last job is one key away."""
    few = [make_job(tmp_path / "covers", number) for number in range(1, 9)]
    many = [
        msgspec.structs.replace(
            few[number % 8], id=number, task_id=f"{number:032x}", title=f"Night drive {number}"
        )
        for number in range(1, 10_001)
    ]
    async with serve(MemorySource(many), tmp_path) as served, browser.open_tab() as tab:
        await tab.go(served.server.url)
        seen_ms = await tab.wait_for(f"{DRAWN} && {LOADED} && performance.now()")
        ready_ms = await tab.wait_for(f"{READY} && performance.now()")
        assert await tab.run("document.getElementById('counts').textContent") == "10,000 jobs · 10,000 undecided"
        assert await tab.run("document.querySelectorAll('.row').length") <= 8
        await tab.press("End", "2")
        await said(tab, "Night drive 1: picked 2. 9,999 undecided left.")
        for _ in range(20):
            await tab.run("scrollBy(0, -40000); probe.frames(2)")
        await tab.wait_for("document.querySelectorAll('.cell[data-state=ok]').length >= 2")
        assert await tab.run("document.querySelectorAll('.row').length") <= 9
        await tab.press("u")
        await said(tab, "Night drive 1: undecided again.")
        heap = (await tab.metrics())["JSHeapUsedSize"]
        told = f"first screen {seen_ms:.0f} ms, all known {ready_ms:.0f} ms, heap {heap / 2**20:.1f} MiB"
        sys.stdout.write(f"10,000 jobs: {told}\n")
        assert heap < 64 * 2**20
        assert seen_ms < 5000, "a second on a machine that does nothing else"
