"""Numbers in words: a value that is missing (None, NaN, infinite) is written as a dash."""

import math

import numpy as np

# ---- numbers in words


def number(value: object) -> float | None:
    """A finite number, or None for whatever has no value (a measure that could not be taken is stored as null)."""
    try:
        found = float(value) if isinstance(value, int | float | np.number) else math.nan
    except OverflowError:  # a whole number beyond all floats
        return None
    return found if math.isfinite(found) else None


def written(value: object, *, share: bool = False) -> str:
    found = number(value)
    if found is None:
        return "–"
    return (
        f"{found:.0%}" if share else f"{round(found, 2) + 0.0:.2f}" if abs(found) < 100 else f"{found:.3g}"
    ).replace("-", "−")


def bytes_in_words(count: float) -> str:
    """A number of bytes in the unit in which it shows: 312 B, 4.0 kB, 1.9 GB."""
    unit = max(0, min(3, math.floor(math.log10(max(count, 1)) / 3)))
    return f"{count / 1000**unit:.{min(unit, 1)}f} {('B', 'kB', 'MB', 'GB')[unit]}"
