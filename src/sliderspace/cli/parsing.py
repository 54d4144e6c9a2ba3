"""From what is typed to values: seeds, strengths, parts. Each raises BadInput that says what was expected."""

import re

from sliderspace.core.errors import BadInput
from sliderspace.core.ranges import whole_numbers


def shard(text: str) -> tuple[int, int]:
    """The text 0/4 -> (0, 4): which of so many parts."""
    part, slash, count = text.partition("/")
    if not slash or not all(re.fullmatch("[0-9]{1,6}", number) for number in (part, count)) or int(part) >= int(count):
        raise BadInput(f"--shard: '{text}' is no part such as 0/4, 1/4, 2/4 or 3/4")
    return int(part), int(count)


def cluster(text: str) -> str | None:
    """The text of --engine -> the address of a Ray cluster, "" for the nearest; None for this process."""
    if text in ("local", "ray"):
        return "" if text == "ray" else None
    if re.fullmatch(r"ray://[\w.\-\[\]:]+:[0-9]{1,5}", text):
        return text
    raise BadInput(f"--engine: '{text}' is none: use local, ray or ray://HOST:PORT")


def number(text: str, option: str) -> float:
    """A number, or BadInput that names the option."""
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{option}: '{text}' is not a number") from None


def seeds(text: str, option: str = "--seeds") -> list[int]:
    """The text 0-3,17 -> [0, 1, 2, 3, 17]."""
    return whole_numbers(text, option)


def strengths(pairs: list[str]) -> dict[int, float]:
    """["3=1.5"] -> {3: 1.5}."""
    out: dict[int, float] = {}
    for pair in pairs:
        slider, equals, value = pair.partition("=")
        if not equals or not slider.strip().isdecimal():
            raise BadInput(f"--set: '{pair}' should be SLIDER=UNITS, for example --set 3=1.5")
        if int(slider) in out:
            raise BadInput(f"--set: slider {int(slider)} is set twice")
        out[int(slider)] = number(value, "--set")
    return out


def names(pairs: list[str]) -> dict[int, str]:
    """["3=horns"] -> {3: "horns"}."""
    out: dict[int, str] = {}
    for pair in pairs:
        slider, equals, name = pair.partition("=")
        if not equals or not slider.strip().isdecimal():
            raise BadInput(f"--name: '{pair}' should be SLIDER=NAME, for example --name 3=horns")
        out[int(slider)] = name
    return out
