"""The page in headless Chromium where answers come late, or never, or tell of what happened elsewhere."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.explored import drawn, row, strength, type_strength

App = tuple[str, list[Path]]
Tab = Callable[..., Any]
SILENT = "the app does not answer: is it still running?"


def held(page: Any, *actions: str) -> list[Any]:
    """The requests of these actions from now on, in the order they are asked: each waits for its answer."""
    found: list[Any] = []

    def look(route: Any) -> None:
        if route.request.post_data_json["data"]["action"] in actions:
            found.append(route)
        else:
            route.continue_()

    page.route("**/component_server/**", look)
    page.route("**/component_server", look)
    return found


def asked(page: Any, found: list[Any], count: int = 1) -> Any:
    """The newest request, once there are so many."""
    end = time.monotonic() + 90
    while len(found) < count:
        assert time.monotonic() < end
        page.wait_for_timeout(20)
    return found[-1]


def discovered(page: Any, run: int) -> None:
    """Ask for a discovery that is finished at once, and is run number `run`."""
    state = {"running": True, "prompt": "a cat", "share": 0, "said": "", "finished": False, "paused": False}
    found = held(page, "discover", "progress")
    page.locator(".ss-new").click()
    page.locator(".ss-ask [name=prompt]").fill("a cat")
    page.locator(".ss-ask [type=submit]").click()
    asked(page, found).fulfill(json=state)
    asked(page, found, 2).fulfill(json={**state, "running": False, "finished": True, "run": run})


def test_an_app_that_does_not_answer_is_a_message_until_it_does(tab: Tab) -> None:
    page = tab()
    found = held(page, "draw", "runs")
    type_strength(page, 0, "1")
    asked(page, found).abort()
    page.get_by_text(SILENT).wait_for()
    assert page.locator(".ss-state").inner_text() == "Not drawn."
    page.unroute_all()
    type_strength(page, 0, "2")
    drawn(page)
    assert not page.locator(".ss-message").is_visible()


def test_a_page_that_cannot_be_opened_says_so(tab: Tab, app: App) -> None:
    page = tab()
    found = held(page, "open")
    page.reload()
    asked(page, found)
    assert page.locator(".ss-title").inner_text() == "Opening …"
    found[0].abort()
    page.get_by_text(SILENT).wait_for()
    assert page.locator(".ss-title").inner_text() == "Not opened"


def test_the_list_and_the_page_agree_however_late_the_answers_are(tab: Tab) -> None:
    page = tab()
    title, runs = page.locator(".ss-title"), page.locator(".ss-runs")
    found = held(page, "open")
    runs.select_option("1")
    first = asked(page, found)
    assert title.inner_text() == "Opening …"
    runs.select_option("0")
    asked(page, found, 2).continue_()
    page.get_by_role("heading", name="a robot").wait_for()
    first.continue_()
    page.wait_for_timeout(300)
    assert (title.inner_text(), runs.input_value()) == ("a robot", "0")
    runs.select_option("1")
    asked(page, found, 3).fulfill(json={"error": "it was removed"})
    page.get_by_text("it was removed").wait_for()
    assert (title.inner_text(), runs.input_value()) == ("a robot", "0")


def test_a_late_answer_about_another_run_changes_nothing_here(tab: Tab) -> None:
    page = tab()
    found = held(page, "hide")
    row(page, 2).locator(".ss-hide").click()
    asked(page, found)
    page.locator(".ss-runs").select_option("1")
    page.wait_for_function("() => document.querySelector('.ss-title').textContent.includes('<img')")
    found[0].fulfill(json={"hidden": [0, 1, 2]})
    page.wait_for_timeout(300)
    assert row(page, 2).is_visible()


def test_a_discovery_that_finishes_takes_no_mix_away(tab: Tab) -> None:
    page = tab()
    type_strength(page, 0, "2")
    drawn(page)
    page.locator(".ss-keep").click()
    discovered(page, run=1)
    page.get_by_text("a cat: done, among the concepts above").wait_for()
    page.wait_for_timeout(300)
    assert page.locator(".ss-title").inner_text() == "a robot"
    assert page.locator(".ss-runs").input_value() == "0"
    assert strength(page, 0) == "2" and page.locator(".ss-kept button").count() == 1
    assert page.locator(".ss-undo").is_enabled()


def test_a_discovery_that_finishes_is_opened_where_nothing_is_mixed(tab: Tab) -> None:
    page = tab()
    discovered(page, run=1)
    page.wait_for_function("() => document.querySelector('.ss-title').textContent.includes('<img')")
    assert page.locator(".ss-runs").input_value() == "1"
    assert not page.locator(".ss-discover").is_visible()


def test_a_run_that_was_removed_leaves_the_others_on_the_page(tab: Tab, app: App) -> None:
    away = app[1][1].rename(app[1][1].with_name("away"))
    try:
        page = tab()
        page.wait_for_function("() => document.querySelectorAll('.ss-runs option').length === 2")
        assert page.locator(".ss-runs option").nth(1).inner_text() == "not there (hostile)"
        assert page.locator("[name=backbone] option").count() > 1
        page.locator(".ss-runs").select_option("1")
        page.get_by_text("is not the folder of a run").wait_for()
        assert page.locator(".ss-runs").input_value() == "0"
    finally:
        away.rename(app[1][1])


def test_a_dark_screen_has_a_dark_page_behind_light_letters(tab: Tab) -> None:
    for scheme, dark in (("light", False), ("dark", True)):
        page = tab(color_scheme=scheme)
        ground = "(name) => getComputedStyle(document.querySelector(name)).backgroundColor"
        for name in ("html", "body", "gradio-app", ".gradio-container"):
            red = int(page.evaluate(ground, name).removeprefix("rgb(").split(",")[0])
            assert (red < 60) == dark, (scheme, name)
        letters = page.evaluate("() => getComputedStyle(document.querySelector('.ss-title')).color")
        assert (int(letters.removeprefix("rgb(").split(",")[0]) > 200) == dark


def test_a_mix_that_is_kept_while_it_is_drawn_waits_for_its_own_picture(tab: Tab) -> None:
    page = tab()
    type_strength(page, 0, "3")
    drawn(page)
    found = held(page, "draw")
    type_strength(page, 0, "-3")
    asked(page, found)
    page.locator(".ss-keep").click()
    kept = page.locator(".ss-kept button")
    assert "−3" in kept.inner_text() and "url" not in (kept.get_attribute("style") or "")
    found[0].continue_()
    drawn(page)
    own = page.locator(".ss-pair .ss-pic").nth(1).evaluate("(pic) => pic.style.backgroundImage")
    assert kept.evaluate("(button) => button.style.backgroundImage") == own
    assert kept.inner_text() == ""


def test_an_export_says_that_it_writes_and_is_asked_for_once(tab: Tab) -> None:
    page = tab()
    page.get_by_text("Presets and export").click()
    found = held(page, "export")
    page.locator(".ss-export").click()
    asked(page, found)
    buttons = [page.locator(name) for name in (".ss-export", ".ss-export-mix")]
    assert page.locator(".ss-exported").inner_text() == "Writing …"
    assert not any(button.is_enabled() for button in buttons)
    found[0].fulfill(json={"error": "the disk is full"})
    page.get_by_text("the disk is full").wait_for()
    assert page.locator(".ss-exported").inner_text() == ""
    assert all(button.is_enabled() for button in buttons)


def test_before_it_is_open_the_page_takes_no_clicks(tab: Tab) -> None:
    page = tab()
    found, problems = held(page, "open"), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.reload()
    asked(page, found)
    for name in ("random", "undo", "reset", "seeds", "keep"):
        box = page.locator(f".ss-{name}").bounding_box()
        page.mouse.click(box["x"] + 5, box["y"] + 5)
    page.wait_for_timeout(100)
    assert problems == []
    found[0].continue_()
    page.wait_for_selector(".ss-row .ss-pic[style*=data]")
    page.locator(".ss-random").click()
    drawn(page)
