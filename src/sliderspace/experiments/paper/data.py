"""Discovery data: do more varied pictures of one concept give more different sliders?"""

from collections.abc import Mapping
from typing import Any

from sliderspace.core.settings import Settings
from sliderspace.experiments.paper.experiment import Asked, Cell, Column, Experiment, Row
from sliderspace.experiments.paper.numbers import VARIETY, variety
from sliderspace.experiments.paper.pictures import TAUGHT, Pictures, Shared
from sliderspace.experiments.paper.transfer import factor_effects, factors_of, moves
from sliderspace.measure.control import effective_rank
from sliderspace.measure.effects import own_sliders
from sliderspace.method.sweeps import Seen

EACH = "one slider: "  # the sets that are drawn with one slider at a time


def cells(asked: Asked) -> list[Cell]:
    """Sliders of the first concept, found in different data, all of them tried on its own prompt; and the model
    alone."""
    concept, listed = next(iter(asked.world.concepts.items()))
    found: list[Cell] = []
    for seed in range(asked.seeds):
        model, count, seeds = asked.model(concept), asked.world.pictures, asked.world.transfer_seeds
        found.append(Cell(concept, "the model", seed, {"own": Pictures(model, count, seed)}))
        for arm, space in _spaces(asked, concept, listed, seed).items():
            sets = {
                "own": Pictures(model, count, seed, space=space, sliders="mix", active=min(3, space.sliders)),
                f"{EACH}own": Pictures(model, seeds, seed, space=space, sliders="each"),
                f"{EACH}base": Pictures(model, seeds, seed),
            }
            found.append(Cell(concept, arm, seed, sets))
    return found


def _spaces(asked: Asked, concept: str, listed: tuple[str, ...], seed: int) -> dict[str, Settings]:
    """The concept's prompt or many, in the model's own pictures or its teacher's; what random directions give is what
    the numbers are worth."""
    samples = asked.common.get("samples", asked.world.samples // 2)
    about: dict[str, Any] = {"seed": seed, "samples": samples}
    many, found = (concept, *listed), dict[str, Settings]()
    for said, prompts in (("one prompt", (concept,)), (f"{len(many)} prompts", many)):
        found[said] = asked.space(*prompts, **about)
        if asked.teacher:
            found[f"teacher's pictures, {said}"] = asked.space(*prompts, images=TAUGHT, **about)
    return found | {"random directions": asked.space(concept, control="random", **about)}


def measure(cell: Cell, seen: Mapping[str, Seen], shared: Shared) -> Row:
    """How varied mixes are; and, as the judge sees each slider alone, how many different things they do, and how many
    true factors have a slider of their own."""
    row = variety(seen["own"], [cell.about], shared)
    if f"{EACH}own" not in seen:
        return row
    row["effective rank"] = effective_rank(moves(seen, EACH, "judge"))
    if names := factors_of(seen[f"{EACH}own"]):
        effects_KF = factor_effects(seen, EACH, names)
        row["factors covered"] = float(own_sliders(effects_KF))
        row["factor effect"] = float(effects_KF.max(axis=1).mean())
    return row


DATA = Experiment(
    "data",
    "Does discovery data matter: do more varied pictures of one concept give more different sliders?",
    "distance to the artists' pictures: 24.6 of one prompt, 23.3 of many, 19.12 with pictures of the undistilled model",
    (
        Column("effective rank", "higher", plotted=True),
        Column("factors covered", "higher", plotted=True),
        Column("factor effect", "higher"),
        *VARIETY,
    ),
    cells,
    measure,
    backbone="mini-turbo",
)
