"""Art: how near does a prompt that names no style come to the many styles that the model knows?"""

from typing import Any

from sliderspace.core.settings import Settings
from sliderspace.experiments.paper.experiment import Asked, Cell, Experiment
from sliderspace.experiments.paper.numbers import LIKENESS, REFERENCE, VARIETY, beside_reference
from sliderspace.experiments.paper.pictures import TAUGHT, Pictures


def cells(asked: Asked) -> list[Cell]:
    """Every arm beside the same reference: pictures in all the styles by name, or a folder of pictures. The last arm
    draws the named styles anew: what the distance is worth."""
    world, found = asked.world, list[Cell]()
    for seed in range(asked.seeds):
        generic, named = asked.model(world.art), asked.model(*world.styles)
        reference = Pictures(named, world.pictures, seed, noise=REFERENCE, folder=asked.reference)
        in_words = asked.asked_in_words(world.art, world.about, seed)
        spaces = {f"{n} sliders": asked.space(world.art, seed=seed, sliders=n) for n in world.art_sliders}
        spaces |= _ablations(asked, min(world.art_sliders), seed)
        arms = {
            "generic prompt": Pictures(generic, world.pictures, seed),
            "list of prompts": Pictures(asked.model(*world.listed), world.pictures, seed),
            f"{in_words.sliders} Concept Sliders": _mixed(generic, in_words, world.pictures, seed),
            **{arm: _mixed(generic, space, world.pictures, seed) for arm, space in spaces.items()},
            "the named styles again": Pictures(named, world.pictures, seed),
        }
        found += [Cell("", arm, seed, {"own": own, REFERENCE: reference}) for arm, own in arms.items()]
    return found


def _ablations(asked: Asked, sliders: int, seed: int) -> dict[str, Settings]:
    """As many sliders of more varied data (many prompts, then the teacher's pictures of them); and such as nothing
    found: along random directions, and customised to single images."""
    art, expanded = asked.world.art, asked.world.expanded
    found: dict[str, Settings] = {}
    if expanded:
        found[f"{sliders} sliders of many prompts"] = asked.space(*expanded, seed=seed, sliders=sliders)
    if asked.teacher:
        taught = asked.space(*(expanded or (art,)), seed=seed, sliders=sliders, images=TAUGHT)
        found[f"{sliders} of the teacher's pictures"] = taught
    found[f"{sliders} random directions"] = asked.space(art, seed=seed, sliders=sliders, control="random")
    customised: dict[str, Any] = {"objective": "customised", "control": "images", "both_signs": False}
    found[f"{sliders} customised sliders"] = asked.space(art, seed=seed, sliders=sliders, **customised)
    return found


def _mixed(model: Settings, space: Settings, count: int, seed: int) -> Pictures:
    """Three sliders a picture. Those of words go toward their style only, for away from one there is no style; so do
    those that were trained one way."""
    active, signs = min(3, space.sliders), space.both_signs and not space.pairs
    return Pictures(model, count, seed, space=space, sliders="mix", active=active, both_signs=signs)


ART = Experiment(
    "art",
    "How near do sliders of a prompt that names no style come to the styles that the model knows by name?",
    "FID to 4,388 artists × 4 images: generic prompt 76.08, list of prompts 38.84, 64 Concept Sliders 32.86, "
    "64 sliders 24.6, of many prompts 23.3, and of the teacher's pictures 19.12; customised sliders 31.1",
    (*LIKENESS, *VARIETY),
    cells,
    beside_reference,
    backbone="mini-turbo",
)
