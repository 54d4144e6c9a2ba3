"""Delayed start: what is kept of a picture's structure, and what is left of the edit, where sliders act on some of the
sampling steps only."""

from collections.abc import Mapping

import numpy as np
import torch

from sliderspace.core.arrays import Array
from sliderspace.experiments.paper.experiment import Asked, Cell, Column, Experiment, Row
from sliderspace.experiments.paper.numbers import array, judged
from sliderspace.experiments.paper.pictures import Pictures, Shared
from sliderspace.measure.control import cosines
from sliderspace.method.strengths import sparse_mix
from sliderspace.method.sweeps import Seen
from sliderspace.models.backbones.presets import preset_for

ALL = "all steps"
ANOTHER = "another seed's picture"


def cells(asked: Asked) -> list[Cell]:
    """Every start step to the end, and every end step from the beginning; the last arm is a picture of another seed,
    which keeps no structure but the prompt's."""
    found: list[Cell] = []
    count = asked.world.pictures
    for seed in range(asked.seeds):
        for concept in list(asked.world.concepts)[:1]:
            model, space = asked.model(concept), asked.space(concept, seed=seed)
            base, active = Pictures(model, count, seed), min(3, space.sliders)
            for arm, (start, end) in _spans(steps_of(asked)).items():
                own = Pictures(model, count, seed, space=space, sliders="mix", active=active, start=start, end=end)
                found.append(Cell(concept, arm, seed, {"own": own, "base": base}))
            other = Pictures(model, count, seed, noise="others")
            found.append(Cell(concept, ANOTHER, seed, {"own": other, "base": base}))
    return found


def steps_of(asked: Asked) -> int:
    """Sampler steps of the model."""
    return asked.common.get("steps") or preset_for(asked.backbone).steps


def _spans(steps: int) -> dict[str, tuple[int, int | None]]:
    return {
        ALL: (0, None),
        **{f"from step {start}": (start, None) for start in range(1, steps)},
        **{f"before step {end}": (0, end) for end in range(1, steps)},
    }


def measure(cell: Cell, seen: Mapping[str, Seen], shared: Shared) -> Row:
    own, base = seen["own"], seen["base"]
    row: Row = {
        "structure kept": float((array(own["layout"]) * array(base["layout"])).sum(axis=1).mean()),
        "change": float((1 - cosines(judged(own), judged(base))).mean()),
    }
    pictures = cell.sets["own"]
    if pictures.space is None:
        return row
    return row | {"effect": _reached(own, base, _asked_for(pictures, shared))}


def _asked_for(pictures: Pictures, shared: Shared) -> Array:
    """The move [N, D] that each picture's strengths ask for: one σ along the direction for each unit."""
    assert pictures.space is not None
    directions = shared.run(pictures.space).directions
    mixed_NK = sparse_mix(
        range(pictures.count), len(directions.components_KD), active=pictures.active, seed=pictures.seed
    )
    return array(mixed_NK.to(torch.float64)) * directions.sigma_TK[-1] @ directions.components_KD


def _reached(own: Seen, base: Seen, asked_ND: Array) -> float:
    """Share of the move asked for that pictures make, on average: 1 is what the strengths say."""
    moved_ND = array(own["z"]) - array(base["z"])
    return float(np.mean((moved_ND * asked_ND).sum(axis=1) / (asked_ND**2).sum(axis=1)))


START = Experiment(
    "start",
    "How much of a picture's structure is kept, and of the edit is left, when sliders start late or end early?",
    "sliders that start after the first few steps keep structure and give precise edits, shown in pictures",
    (Column("structure kept", "higher", plotted=True), Column("effect", "higher", plotted=True), Column("change")),
    cells,
    measure,
    backbone="mini",  # in eight steps there is more to choose from than in four
)
