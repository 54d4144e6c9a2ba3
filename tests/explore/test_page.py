"""The page, driven in headless Chromium: what a person does with it, and what they then see."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.explored import drawn, row, strength, type_strength

from sliderspace.core.settings import Speed
from sliderspace.explore.stored import page_of
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

App = tuple[str, list[Path]]
Tab = Callable[..., Any]


def shown(page: Any, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The base and the edited picture of a seed, as the page shows them."""
    pics = page.locator(".ss-pair").nth(number).locator(".ss-pic")
    found = [pics.nth(i).evaluate("(pic) => pic.style.backgroundImage") for i in (0, 1)]
    data = [base64.b64decode(re.search(r"base64,([^\"')]+)", text)[1]) for text in found]  # type: ignore[index]
    return tuple(np.asarray(Image.open(io.BytesIO(part)).convert("RGB")) for part in data)  # type: ignore[return-value]


def place(page: Any, slider: int) -> str:
    return row(page, slider).locator(".ss-pic").evaluate("(pic) => pic.style.backgroundPosition")


def test_scrubbing_needs_no_model_and_letting_go_draws_what_generate_draws(tab: Tab, app: App) -> None:
    page = tab()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    handle = row(page, 1).locator("input[type=range]")
    middle = place(page, 1)
    handle.evaluate("(range) => { range.value = -3; range.dispatchEvent(new Event('input')); }")
    assert place(page, 1) != middle
    assert "−" in page.locator(".ss-pair span").nth(1).inner_text()  # as far as its limits let it
    assert [url for url in outside if not url.startswith("data:")] == []
    handle.evaluate("(range) => { range.max = 1.5; range.value = 1.5; range.dispatchEvent(new Event('input')); }")
    handle.evaluate("(range) => range.dispatchEvent(new Event('change'))")
    drawn(page)
    type_strength(page, 2, "-2")
    drawn(page)
    seeds = [int(seed) for seed in page.locator("[name=seeds]").input_value().split(",")]
    space = SliderSpace.load(app[1][0], Speed(device="cpu"))
    due = space.generate(seeds, {1: 1.5, 2: -2.0})
    for number, base in enumerate(space.generate(seeds)):
        left, right = shown(page, number)
        assert (left == base).all()
        assert (right == due[number]).all()


def test_names_presets_and_hidden_sliders_are_there_after_a_reload(tab: Tab) -> None:
    page = tab()
    name = row(page, 0).locator(".ss-name")
    name.fill("long <b>horns</b>")
    name.press("Enter")
    type_strength(page, 0, "2")
    drawn(page)
    page.get_by_text("Presets and export").click()
    page.locator(".ss-save input").fill("evening")
    page.locator(".ss-save button").click()
    page.locator(".ss-presets").get_by_text("evening").wait_for()
    row(page, 2).locator(".ss-hide").click()
    row(page, 2).wait_for(state="hidden")
    page.reload()
    page.wait_for_selector(".ss-row .ss-pic[style*=data]")
    assert row(page, 0).locator(".ss-name").input_value() == "long <b>horns</b>"
    assert strength(page, 0) == "0"  # a mix is the tab's own, and a preset is not
    assert not row(page, 2).is_visible()
    page.locator(".ss-all").check()
    row(page, 2).locator(".ss-hide").click()
    page.get_by_text("Presets and export").click()
    page.locator(".ss-presets").get_by_text("evening").click()
    assert strength(page, 0) == "2"
    page.locator(".ss-order").select_option("name")
    assert page.locator(".ss-row").first.get_attribute("data-slider") == "0"
    page.locator(".ss-order").select_option("variance")


def test_what_is_being_typed_stays_when_an_answer_comes_in_between(tab: Tab) -> None:
    page = tab()
    box = row(page, 0).locator("input[type=number]")
    box.fill("2")
    page.locator(".ss-order").dispatch_event("change")  # fills in all boxes, as every answer does
    assert box.input_value() == "2"
    box.press("Enter")
    drawn(page)
    assert strength(page, 0) == "2"


def test_a_random_mix_is_kept_undone_and_come_back_to(tab: Tab) -> None:
    page = tab()
    page.locator(".ss-random").click()
    drawn(page)
    mixed = [strength(page, k) for k in range(3)]
    assert any(value != "0" for value in mixed)
    page.locator(".ss-keep").click()
    page.locator(".ss-undo").click()
    drawn(page)
    assert [strength(page, k) for k in range(3)] == ["0", "0", "0"]
    left, right = shown(page)
    assert (left == right).all()
    page.locator(".ss-kept button").click()
    drawn(page)
    assert [strength(page, k) for k in range(3)] == mixed
    for k in range(3):
        row(page, k).locator("input[type=checkbox]").uncheck()
    drawn(page)
    page.wait_for_function("() => document.querySelector('.ss-pair span:last-child').textContent === 'no slider'")


def test_two_tabs_do_not_see_each_other(tab: Tab) -> None:
    first, second = tab(), tab()
    type_strength(first, 0, "3")
    type_strength(second, 1, "-3")
    drawn(first)
    drawn(second)
    assert (strength(first, 0), strength(first, 1)) == ("3", "0")
    assert (strength(second, 0), strength(second, 1)) == ("0", "-3")
    assert (shown(first)[0] == shown(second)[0]).all()
    assert (shown(first)[1] != shown(second)[1]).any()
    type_strength(first, 0, "-3")
    first.close()  # in the middle of a drawing
    type_strength(second, 1, "1")
    drawn(second)


def test_what_cannot_be_drawn_is_a_message_and_the_page_goes_on(tab: Tab) -> None:
    page = tab()
    type_strength(page, 0, "1e9")
    drawn(page)
    assert strength(page, 0) == "10"
    page.get_by_text("Prompt, seeds, steps").click()
    page.locator("[name=start]").fill("900")
    page.locator("[name=start]").press("Enter")
    page.get_by_text("start step 900").wait_for()
    page.locator("[name=start]").fill("1")
    page.locator("[name=start]").press("Enter")
    drawn(page)
    assert not page.locator(".ss-message").is_visible()


def test_sliders_are_exported_and_swept(tab: Tab, app: App) -> None:
    page = tab()
    type_strength(page, 1, "1")
    drawn(page)
    page.get_by_text("Presets and export").click()
    page.locator(".ss-export").click()
    page.get_by_text("1 file in").wait_for()
    assert len(list((app[1][0] / "lora").glob("*.safetensors"))) == 1
    page.locator(".ss-save input").fill("long <b>")
    page.locator(".ss-export-mix").click()
    page.get_by_text("-mix-long-b.safetensors").wait_for()
    assert len(list((app[1][0] / "lora").glob("*-mix-long-b.*"))) == 3  # a picture and notes beside it
    row(page, 1).get_by_text("strip").click()
    page.locator(".ss-sheet").wait_for(state="visible")
    for kind in ("strip", "gif"):
        assert page.locator(f".ss-{kind}").evaluate("(picture) => picture.naturalWidth") >= 32
    with page.expect_download() as download:
        page.locator(".ss-get-gif").click()
    assert download.value.suggested_filename == "slider-1.gif"


def test_the_pad_turns_two_sliders_at_once(tab: Tab, app: App) -> None:
    page = tab()
    page.get_by_text("Two sliders at once").click()
    page.locator(".ss-x").select_option("1")
    page.locator(".ss-y").select_option("2")
    pad = page.locator(".ss-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.9, steps=4)
    assert float(strength(page, 1)) > 0 > float(strength(page, 2))  # right is more, down is less
    assert page.locator(".ss-state").inner_text().startswith("Drag")  # nothing is drawn before it is let go
    page.mouse.up()
    drawn(page)
    two = {k: float(strength(page, k)) for k in (1, 2)}
    seeds = [int(seed) for seed in page.locator("[name=seeds]").input_value().split(",")]
    assert (shown(page)[1] == SliderSpace.load(app[1][0], Speed(device="cpu")).generate(seeds, two)[0]).all()
    pad.press("ArrowLeft")
    drawn(page)
    assert float(strength(page, 1)) < two[1] and float(strength(page, 2)) == two[2]
    page.locator(".ss-undo").click()
    drawn(page)
    assert {k: float(strength(page, k)) for k in (1, 2)} == two


def test_the_axes_of_the_pad_are_two_sliders(tab: Tab) -> None:
    page = tab()
    page.get_by_text("Two sliders at once").click()
    across, up = page.locator(".ss-x"), page.locator(".ss-y")
    assert (across.input_value(), up.input_value()) == ("0", "1")
    up.select_option("0")
    assert (across.input_value(), up.input_value()) == ("1", "0")
    up.select_option("2")
    assert (across.input_value(), up.input_value()) == ("1", "2")


def test_a_hidden_slider_stays_in_sight_while_it_is_turned(tab: Tab) -> None:
    page = tab()
    type_strength(page, 1, "2")
    drawn(page)
    row(page, 1).locator(".ss-hide").click()
    page.get_by_text("show 1 hidden").wait_for()
    assert row(page, 1).is_visible()
    page.locator(".ss-reset").click()
    row(page, 1).wait_for(state="hidden")
    page.locator(".ss-all").check()
    row(page, 1).locator(".ss-hide").click()
    page.locator(".ss-hiding").wait_for(state="hidden")


def test_what_to_beware_of_in_a_slider_is_read_without_a_mouse(tab: Tab, app: App) -> None:
    warnings = page_of(RunFolder(app[1][0])).rows[0].warnings
    assert warnings  # weights that no one trained
    page = tab()
    line = row(page, 0).locator(".ss-measures summary")
    assert "alignment " in line.inner_text()
    line.press("Enter")
    assert [text.inner_text() for text in row(page, 0).locator(".ss-measures p").all()] == warnings


def test_markup_in_prompts_and_names_stays_text(tab: Tab) -> None:
    page = tab()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.locator(".ss-runs").select_option("1")
    page.wait_for_function("() => document.querySelector('.ss-title').textContent.includes('<img')")
    type_strength(page, 0, "2")
    page.locator(".ss-message", has_text="shorten “<img").wait_for()  # the error repeats the prompt
    assert page.evaluate("() => window.hurt") is None
    assert page.locator(".ss img[onerror], .ss script, .ss b").count() == 0
    assert row(page, 2).locator(".ss-name").input_value().startswith("${1+1} {{7*7}}")
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in requests)


def test_the_page_fits_a_phone(tab: Tab) -> None:
    page = tab(viewport={"width": 400, "height": 820}, has_touch=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 400
    assert page.locator("footer").is_visible() is False
    page.evaluate("() => scrollTo(0, 500)")
    page.wait_for_timeout(100)
    assert page.locator(".ss-pairs").bounding_box()["y"] >= 0  # pictures stay in sight of the sliders


@pytest.mark.slow
def test_a_discovery_shows_its_progress_is_paused_goes_on_and_is_stopped(tab: Tab, app: App) -> None:
    page = tab()
    page.locator(".ss-new").click()
    page.locator(".ss-ask [name=prompt]").fill("a --out <b>")
    page.locator(".ss-ask [name=sliders]").fill("2")
    page.locator(".ss-ask [type=submit]").click()
    sampling = "() => /sample \\d+\\/\\d+/.test(document.querySelector('.ss-said').textContent)"
    page.wait_for_function(sampling)
    page.locator(".ss-pause").click()
    page.get_by_text("paused; nothing is lost").wait_for()
    assert not page.locator(".ss-ask [type=submit]").is_visible()
    assert (app[1][0].parent / "a-out-b" / "config.json").is_file()
    page.reload()  # and another tab finds it as it is
    page.locator(".ss-go-on").click()
    page.wait_for_function(sampling)
    page.locator(".ss-stop").click()
    page.get_by_text("start it again to go on from here").wait_for()
    assert page.locator(".ss-ask [type=submit]").is_visible()
    assert not page.locator(".ss-go-on").is_visible()
