"""What a judge is asked: each factor as one of a few classes, continuous ones cut into steps that stand for numbers."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import UNNAMED
from factors import KINDS, STYLES, Creature, creature, truth
from styles import COLOUR, GLOSS, GROUND, HIDES, LAMP
from torch import Tensor
from words import COLOURS, body, ground

STEPS = 5  # classes of a continuous factor
UNEVEN = ("body_", "ground_")  # colours: as many creatures in each step, instead of steps as wide as each other
HIDDEN_BY = {
    COLOUR: ("body_light", "body_red", "body_yellow"),
    GROUND: ("ground_light", "ground_red", "ground_yellow"),
    LAMP: ("lamp",),
    GLOSS: ("gloss",),
}


def table(folder: Path, split: str) -> list[Creature]:
    """The creatures of the shards `split*.rgb`, in the pictures' order."""
    paths = [p.with_suffix(".jsonl") for p in sorted(folder.glob(f"{split}*.rgb"))]
    return [creature(json.loads(line)) for path in paths for line in path.open()]


def hidden(style: str) -> list[str]:
    """The factors that pictures of a style do not show."""
    choices = {COLOUR: ["body"], GROUND: ["ground"]}
    return [name for what in HIDES.get(style, ()) for name in (*choices.get(what, ()), *HIDDEN_BY[what])]


def seen(c: Creature) -> dict[str, float]:
    """The true numbers, NaN where a picture does not show them."""
    lost = hidden(c.style)
    return {name: float("nan") if name in lost else value for name, value in truth(c).items() if name != "eyes"}


CHOICES = {
    "kind": tuple(KINDS),
    "style": STYLES,
    "eyes": ("1", "2", "3"),
    "marking": ("none", "spots", "stripes"),
    "body": COLOURS,
    "ground": COLOURS,
}


def chosen(c: Creature) -> dict[str, str]:
    """The factors that are a choice and no number; a colour that the style hides is left out."""
    marks = c.marking if c["marks"] > 0.28 else "none"
    names = {
        "kind": c.kind,
        "style": c.style,
        "eyes": str(c.eyes),
        "marking": marks,
        "body": body(c),
        "ground": ground(c),
    }
    return {k: v for k, v in names.items() if k not in hidden(c.style)}


class Bins:
    """Classes of every factor; `centres` gives the number that a step stands for."""

    def __init__(self, creatures: Sequence[Creature]) -> None:
        rows = [seen(c) for c in creatures]
        self.edges: dict[str, np.ndarray] = {}
        self.centres: dict[str, list[float]] = {}
        for name in rows[0]:
            values = np.array([r[name] for r in rows])
            values = values[~np.isnan(values)]
            even = np.linspace(values.min(), values.max(), STEPS + 1)
            edges = (np.quantile(values, np.linspace(0, 1, STEPS + 1)) if name.startswith(UNEVEN) else even)[1:-1]
            which = np.searchsorted(edges, values)
            middles = (even[:-1] + even[1:]) / 2
            self.edges[name] = edges
            self.centres[name] = [
                float(values[which == i].mean()) if (which == i).any() else float(middles[i]) for i in range(STEPS)
            ]

    def classes(self) -> dict[str, list[str]]:
        """Factor -> its classes: a choice's names, or the number that each step stands for."""
        steps = {name: [f"{centre:.2f}" for centre in centres] for name, centres in self.centres.items()}
        return {name: list(values) for name, values in CHOICES.items()} | steps

    def labels(self, creatures: Sequence[Creature]) -> Tensor:
        """Class numbers int64 [N, factors], UNNAMED where the picture does not show a factor."""
        return torch.tensor([self._row(c) for c in creatures])

    def _row(self, c: Creature) -> list[int]:
        known = chosen(c)
        choices = [names.index(known[k]) if k in known else UNNAMED for k, names in CHOICES.items()]
        numbers = seen(c)
        return choices + [
            UNNAMED if np.isnan(v) else int(np.searchsorted(self.edges[name], v)) for name, v in numbers.items()
        ]
