"""Concept decomposition: are mixes of a concept's sliders more varied than the model, and than a list of prompts?"""

from collections.abc import Mapping

from sliderspace.experiments.paper.experiment import Asked, Cell, Experiment, Row
from sliderspace.experiments.paper.numbers import VARIETY, variety
from sliderspace.experiments.paper.pictures import Pictures, Shared
from sliderspace.method.sweeps import Seen


def cells(asked: Asked) -> list[Cell]:
    """Three arms a concept, from the same noise; every arm is scored by the concept's own words."""
    found: list[Cell] = []
    count = asked.world.pictures
    for seed in range(asked.seeds):
        for concept, listed in asked.world.concepts.items():
            model, space = asked.model(concept), asked.space(concept, seed=seed)
            active = min(3, space.sliders)
            arms = {
                "the model": Pictures(model, count, seed),
                "list of prompts": Pictures(asked.model(*listed), count, seed),
                f"{active} of {space.sliders} sliders": Pictures(
                    model, count, seed, space=space, sliders="mix", active=active
                ),
            }
            found += [Cell(concept, arm, seed, {"own": own}) for arm, own in arms.items()]
    return found


def measure(cell: Cell, seen: Mapping[str, Seen], shared: Shared) -> Row:
    return variety(seen["own"], [cell.about], shared)


CONCEPTS = Experiment(
    "concepts",
    "Are mixes of a concept's sliders more varied than the model alone, and than prompts that somebody writes?",
    "mean pairwise DreamSim over 2,500 images a concept, 3 of 32 sliders an image, is higher than the base model's "
    "while CLIP-score stays level",
    VARIETY,
    cells,
    measure,
)
