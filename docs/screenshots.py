"""Screenshots of `sliderspace explore`, at desktop and phone width, into docs/img.

    python docs/screenshots.py runs/monster

Needs the extra `explore`, playwright, and a Chromium on this machine. A few sliders of the space are turned first, and
the pictures are those the model draws then; the run folder is not changed.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from sliderspace.core.settings import Speed
from sliderspace.explore.app import served
from sliderspace.explore.session import Session

IMAGES = Path(__file__).parent / "img"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS: dict[str, dict[str, Any]] = {
    "explore": {"viewport": {"width": 1280, "height": 860}},
    "explore-phone": {"viewport": {"width": 400, "height": 820}, "device_scale_factor": 2, "has_touch": True},
}
PATIENCE_MS = 300_000  # a large model has to be loaded


def turn(page: Any, slider: int, strength: float) -> None:
    """Type a strength, and wait until its picture is drawn."""
    box = page.locator(f".ss-row[data-slider='{slider}'] input[type=number]")
    box.fill(str(strength))
    box.press("Enter")
    page.wait_for_function("document.querySelector('.ss-state').textContent.startsWith('Drawn')", timeout=PATIENCE_MS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="The folder of a finished run.")
    parser.add_argument("--turn", default="0=1.5,1=-1.5", help="Sliders and their strengths, such as 0=1.5,3=-2.")
    parser.add_argument("--out", type=Path, default=IMAGES)
    asked = parser.parse_args()
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    with served(Session([asked.folder], Speed())) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, options in WIDTHS.items():
            page = browser.new_context(**options).new_page()
            page.goto(address)
            page.wait_for_selector(".ss-row .ss-pic[style*=data]", timeout=PATIENCE_MS)
            for pair in filter(None, asked.turn.split(",")):
                slider, strength = pair.split("=")
                turn(page, int(slider), float(strength))
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            page.wait_for_timeout(500)
            page.screenshot(path=asked.out / f"{name}.png")
            print(asked.out / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
