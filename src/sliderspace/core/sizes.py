"""The size of a picture: one number is a square's side, two are width and height. All in pixels."""

import re
from typing import Any

from sliderspace.core.text import shown

Size = int | tuple[int, int]
LEAST, MOST = 8, 8192  # of a side


def sides(size: Size) -> tuple[int, int]:
    """Width and height."""
    return (size, size) if isinstance(size, int) else size


def size_of(width: int, height: int) -> Size:
    """One number where they are equal."""
    return width if width == height else (width, height)


def in_words(size: Size) -> str:
    """ "1024", or "1216x832"."""
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def size_from(given: Any) -> Size:
    """A size from one or two numbers, or from text: 1024, "1216x832". Raises ValueError for anything else."""
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", given.strip()) if isinstance(given, str) else None
    given_sides = [int(found[1]), int(found[2] or found[1])] if found else given
    match given_sides:
        case int(side):
            width, height = side, side
        case [int(width), int(height)]:
            pass
        case _:
            width, height = 0, 0
    if not (LEAST <= width <= MOST and LEAST <= height <= MOST):
        raise ValueError(
            f"{shown(str(given)[:60])} is no size: write 1024, or 1216x832 for width and height, each from {LEAST} to "
            f"{MOST} pixels"
        )
    return size_of(width, height)
