"""What a creature is: kind, style and numbers. From one common form each factor departs seldom, and then far.

Creature number i of a seed depends on (seed, i) alone.
"""

import colorsys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Vector = NDArray[np.float64]

KINDS = {"monster": 0.4, "robot toy": 0.2, "dragon": 0.2, "bunny": 0.2}  # share of each
CLAY = "clay"
STYLES = (
    CLAY,
    "vinyl",
    "cartoon",
    "ink",
    "pixel art",
    "pastel",
    "neon",
    "blueprint",
    "woodcut",
    "stained glass",
    "gold",
    "night",
)
STYLED = 0.36  # share of pictures that are not of clay, spread evenly over the other styles

# lowest, common and highest value, and how often a creature departs from the common one
RANGES: dict[str, tuple[float, float, float, float]] = {
    "hue": (0.0, 0.33, 1.0, 0.36),  # body colour: hue, saturation and value; hues are a circle
    "sat": (0.12, 0.68, 0.95, 0.15),
    "light": (0.28, 0.78, 1.0, 0.2),
    "ground_hue": (0.0, 0.58, 1.0, 0.36),  # the background's
    "ground_sat": (0.0, 0.4, 0.85, 0.18),
    "ground_light": (0.25, 0.78, 0.98, 0.24),
    "lamp": (-1.0, 0.0, 1.0, 0.2),  # light from the left to the right
    "yaw": (-1.0, 0.0, 1.0, 0.24),  # turned to the picture's left or right
    "width": (-1.0, 0.0, 1.0, 0.22),
    "size": (-1.0, 0.0, 1.0, 0.2),
    "head": (-1.0, 0.0, 1.0, 0.2),
    "eye_size": (-1.0, 0.0, 1.0, 0.2),
    "lid": (0.0, 0.08, 0.72, 0.18),
    "smile": (-1.0, 0.45, 1.0, 0.2),
    "open": (0.0, 0.3, 1.0, 0.22),
    "arms": (-1.0, -0.5, 1.0, 0.22),  # hanging to raised
    "legs": (0.0, 0.3, 1.0, 0.2),
    "horns": (0.0, 0.35, 1.0, 0.2),
    "ears": (0.0, 0.0, 1.0, 0.18),
    "antennae": (0.0, 0.0, 1.0, 0.18),
    "tail": (0.0, 0.0, 1.0, 0.2),
    "spikes": (0.0, 0.0, 1.0, 0.18),
    "marks": (0.0, 0.0, 1.0, 0.2),  # spots or stripes
    "belly": (0.0, 0.0, 1.0, 0.22),  # how pale
    "gloss": (0.0, 0.12, 1.0, 0.2),
}
CIRCULAR = ("hue", "ground_hue")
SPREAD = 0.03  # of a factor around its common value, in shares of its range
FAR = 0.33  # the least departure, likewise
ODD_EYES = 0.2  # share of creatures with one or three eyes

# How a kind shifts the common form
FORMS: dict[str, dict[str, float]] = {
    "monster": {},
    "robot toy": {"hue": 0.6, "sat": 0.3, "light": 0.8, "horns": 0.0, "antennae": 0.5, "gloss": 0.5, "ground_hue": 0.1},
    "dragon": {"hue": 0.0, "sat": 0.78, "light": 0.82, "spikes": 0.6, "tail": 0.7, "belly": 0.75, "ground_hue": 0.42},
    "bunny": {"hue": 0.93, "sat": 0.3, "light": 0.95, "horns": 0.0, "ears": 0.75, "ground_hue": 0.3},
}


@dataclass(frozen=True)
class Creature:
    """One picture's true factors. `values` holds the continuous ones, named as in RANGES."""

    index: int
    kind: str
    style: str
    eyes: int  # 1, 2 or 3
    marking: str  # "spots" or "stripes": seen only where `marks` is above zero
    noise: int  # seed of what has no name: where spots lie
    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def row(self) -> dict[str, Any]:
        """A row of the factor table."""
        return asdict(self)


def creature(row: Mapping[str, Any]) -> Creature:
    """The creature of a table's row."""
    return Creature(**row)


def _value(name: str, kind: str, rng: Generator) -> float:
    """The common value of a kind, slightly off; or, seldom, one at least FAR away."""
    low, common, high, often = RANGES[name]
    middle = FORMS[kind].get(name, common)
    circular = name in CIRCULAR
    width = (high - low) * (0.5 if circular else 1.0)
    if rng.random() >= often:
        value = rng.normal(middle, SPREAD * width)
        return float(value % 1 if circular else np.clip(value, low, high))
    value = rng.uniform(low, high)
    while abs((value - middle + 0.5) % 1 - 0.5 if circular else value - middle) < FAR * width:
        value = rng.uniform(low, high)
    return float(value)


def draw(index: int, seed: int = 0) -> Creature:
    """Creature number `index` of a seed."""
    rng = np.random.default_rng((seed, index))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    style = str(rng.choice(STYLES[1:])) if rng.random() < STYLED else CLAY
    values = {name: round(_value(name, kind, rng), 4) for name in RANGES}
    eyes = int(rng.choice((1, 3))) if rng.random() < ODD_EYES else 2
    return Creature(index, kind, style, eyes, str(rng.choice(("spots", "stripes"))), int(rng.integers(1 << 30)), values)


def plain(kind: str = "monster", style: str = CLAY, eyes: int = 2, **values: float) -> Creature:
    """The common form of a kind, with some of its values set."""
    common = {name: FORMS[kind].get(name, middle) for name, (_, middle, _, _) in RANGES.items()}
    return Creature(0, kind, style, eyes, "spots", 0, {**common, **values})


def linear(hue: float, sat: float, value: float) -> Vector:
    """Linear RGB [3] of a hue, saturation and value."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, min(sat, 1.0), min(value, 1.0))) ** 2.2


def body_colour(c: Creature) -> Vector:
    return linear(c["hue"], c["sat"], c["light"])


def ground_colour(c: Creature) -> Vector:
    return linear(c["ground_hue"], c["ground_sat"], c["ground_light"])


def lab(rgb: Vector) -> Vector:
    """CIELAB [3] of linear sRGB [3]: lightness 0..100, green to red, blue to yellow."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ rgb / [0.9505, 1, 1.089]
    t = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * t[1] - 16, 500 * (t[0] - t[1]), 200 * (t[1] - t[2])])


COLOURS = ("hue", "sat", "light", "ground_hue", "ground_sat", "ground_light")


def truth(c: Creature) -> dict[str, float]:
    """What a picture shows, as numbers: colours as CIELAB, the rest as drawn; `eyes` is 1, 2 or 3."""
    out = {name: c[name] for name in RANGES if name not in COLOURS} | {"eyes": float(c.eyes)}
    for name, rgb in (("body", body_colour(c)), ("ground", ground_colour(c))):
        out |= dict(zip((f"{name}_light", f"{name}_red", f"{name}_yellow"), map(float, lab(rgb)), strict=True))
    return out
