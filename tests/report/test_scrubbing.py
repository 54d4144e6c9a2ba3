"""The page in a browser: strips are scrubbed by mouse, touch and keys, on a screen of any width."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sliderspace.report.from_run import report_run
from sliderspace.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def address(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("page") / "run"))
    return report_run(RunFolder(folder)).as_uri()


@pytest.mark.parametrize(("width", "touch"), [(1280, False), (400, True)])
def test_strips_are_scrubbed_by_pointer_finger_and_keys(browser: Any, address: str, width: int, touch: bool) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, has_touch=touch)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    scrub = page.get_by_role("slider", name="Strength of slider 1")
    assert scrub.get_attribute("aria-valuetext") == "base, no slider"
    assert scrub.get_attribute("aria-valuemax") == "6" and scrub.get_attribute("aria-valuenow") == "3"

    def shown() -> list[str]:
        return scrub.locator("img").evaluate_all("images => images.map(image => image.src)")

    def column(m: int) -> list[str]:
        cells = page.locator(f'#slider-1 .cell[data-column="{m}"] img')
        return cells.evaluate_all("images => images.map(image => image.src)")[:4]

    assert shown() == column(3) != column(6)
    scrub.focus()
    for key, due in (("ArrowRight", 4), ("End", 6), ("ArrowRight", 6), ("ArrowDown", 5), ("Home", 0), ("PageUp", 2)):
        page.keyboard.press(key)
        assert scrub.get_attribute("aria-valuenow") == str(due) and shown() == column(due)
    assert scrub.get_attribute("aria-valuetext") == "−1 units"
    scrub.scroll_into_view_if_needed()
    box = scrub.bounding_box()
    right, middle = box["x"] + box["width"] - 3, box["y"] + box["height"] / 2
    if touch:
        page.touchscreen.tap(right, middle)
    else:
        page.mouse.move(right, middle)
    assert scrub.get_attribute("aria-valuetext") == "+3 units" and shown() == column(6)
    if not touch:
        page.locator('#slider-1 .cell[data-column="1"]').first.hover()
        assert shown() == column(1), "the strip below leads it too"
    assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing hangs out at the side"
    assert wrong == []
    context.close()
