"""What the protocols of `measure.protocols` need of a run: directions of halves of its trajectories, and pictures with
several sliders on."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from sliderspace.core.arrays import Array, Ints
from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import generator_for
from sliderspace.engine.models import Models
from sliderspace.engine.stages import directions_of
from sliderspace.measure.protocols.composition import composition_of, random_sets
from sliderspace.measure.protocols.evenness import evenness_of
from sliderspace.measure.protocols.records import Protocol, ViewProtocols
from sliderspace.measure.protocols.stability import stability_of
from sliderspace.measure.views import View
from sliderspace.method.sweeps import Seen, Viewer

SPLITS = 8
COMPOSED = (2, 3)  # sliders on at once: pairs and triples
SLIDERS_A_MIX = 6  # one mix a seed for so many sliders: about a twentieth of the pictures of an evaluation


def of_view(view: View, mixed: Mapping[int, Seen], name: str) -> ViewProtocols:
    """What one encoder, whose embeddings have that name in `mixed`, sees of sliders together and on the way."""
    base_S1D = view.z_KSMD[0, :, len(view.scales_M) // 2, None]
    found = {
        active: composition_of(
            seen[name].numpy().reshape(view.seeds, -1, base_S1D.shape[-1]) - base_S1D, seen["chosen"].numpy(), view.v_KD
        )
        for active, seen in mixed.items()
    }
    return ViewProtocols(pairs=found.get(2), triples=found.get(3), evenness=evenness_of(view.z_KSMD))


def mixed(viewer: Viewer, chosen_SRA: Ints, unit_K: Array, seeds: Sequence[int]) -> Seen:
    """What is seen in images of R sets of A sliders on each seed, each slider at +1 unit; and `chosen`, the sets."""
    sets_NA = chosen_SRA.reshape(-1, chosen_SRA.shape[-1])
    strengths_NK = np.zeros((len(sets_NA), len(unit_K)))
    np.put_along_axis(strengths_NK, sets_NA, unit_K[sets_NA], axis=1)
    each = len(sets_NA) // len(seeds)
    prompt_N = [n for n in viewer.prompts(len(seeds)) for _ in range(each)]
    row_seeds = [s for s in seeds for _ in range(each)]
    found = viewer.seen(row_seeds, prompt_N, torch.from_numpy(strengths_NK).float())
    return found | {"chosen": torch.from_numpy(chosen_SRA)}


def random_mixes(models: Models, active: int, seeds: int) -> Ints:
    """Sets [S, R, active] of sliders to turn on together on each of S seeds."""
    sliders = models.settings.sliders
    rng, each = generator_for(models.settings.seed, "composition", active), max(1, sliders // SLIDERS_A_MIX)
    return random_sets(rng, seeds * each, active, sliders).reshape(seeds, each, active)


def stability(models: Models) -> Protocol | None:
    """Of the directions between halves of the trajectories, fitted with the same settings. None of axes that nobody
    fitted, and where half of the trajectories do not carry as many."""
    if models.settings.given_axes:
        return None
    whole_KD = models.directions.components_KD
    try:
        found = list(_halves(models))
    except BadInput:  # a half varies in fewer ways than the whole
        return None
    return stability_of(found, whole_KD, models.settings.seed)


def _halves(models: Models) -> Iterator[tuple[Array, Array]]:
    z_NTD = models.seen.z_NTD
    for first, second in halves(len(z_NTD), models.settings.seed):
        one, other = directions_of(models, z_NTD[first]), directions_of(models, z_NTD[second])
        yield one.components_KD, other.components_KD


def halves(count: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Several splits of `count` images into two halves."""
    for split in range(SPLITS):
        order = generator_for(seed, "halves", split).permutation(count)
        yield order[: count // 2], order[count // 2 :]
