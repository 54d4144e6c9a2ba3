"""The app in a process of its own, and its page in a browser."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import sliderspace

ADDRESS = re.compile(r"open (http://\S+)")


def served_by_command(folders: list[Path], *options: str) -> "subprocess.Popen[str]":
    """`sliderspace explore` in a second process."""
    command = [sys.executable, "-m", "sliderspace.cli", "explore", *map(str, folders), "--device", "cpu", *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(sliderspace.__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def address_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if found := ADDRESS.search(line):
            return found[1]
    raise AssertionError(f"the app ended: {said}")


def drawn(page: Any) -> None:
    """Wait until the model has drawn."""
    page.wait_for_function("() => document.querySelector('.ss-state').textContent.startsWith('Drawn')")
    page.evaluate("() => { document.querySelector('.ss-state').textContent = ''; }")


def row(page: Any, slider: int) -> Any:
    return page.locator(f".ss-row[data-slider='{slider}']")


def type_strength(page: Any, slider: int, value: str) -> None:
    box = row(page, slider).locator("input[type=number]")
    box.fill(value)
    box.press("Enter")


def strength(page: Any, slider: int) -> str:
    return row(page, slider).locator("input[type=number]").input_value()
