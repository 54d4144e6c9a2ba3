"""Rows of strengths [N, K]: sparse random mixes, and sweeps of one slider."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import generator_for

MIXED = 3  # sliders of a mix, as in the paper's evaluation


def sparse_mix(
    images: Sequence[int],
    sliders: int,
    *,
    active: int = MIXED,
    scale: float = 1.0,
    seed: int = 0,
    both_signs: bool = True,
) -> Tensor:
    """Strengths [N, K] in natural units with `active` random sliders each, of random sign or all positive.

    Row n is a function of (seed, images[n]), so an image's mix is the same in any company. Raises BadInput when fewer
    than `active` sliders exist.
    """
    if not 1 <= active <= sliders:
        raise BadInput(f"a mix of {active} sliders needs between 1 and {sliders}, the number this space has")
    out = torch.zeros(len(images), sliders)
    for n, image in enumerate(images):
        rng = generator_for(seed, "mix", image)
        chosen = rng.choice(sliders, size=active, replace=False)
        drawn = torch.tensor(rng.choice([-scale, scale], size=active), dtype=torch.float32)
        out[n, chosen] = drawn if both_signs else drawn.abs()
    return out


def shown_mixes(count: int, sliders: int) -> Tensor:
    """Strengths [count, K] of the mixes that a report shows: row n is that of `generate --mix 3 --seeds n`."""
    return sparse_mix(range(count), sliders, active=min(MIXED, sliders))


def sweep_rows(slider: int, scales: Sequence[float], seeds: Sequence[int], sliders: int) -> tuple[list[int], Tensor]:
    """Seeds and strengths of a sweep, seed by seed: rows (seed, scale), S·M of them."""
    rows_NK = torch.zeros(len(seeds) * len(scales), sliders)
    rows_NK[:, slider] = torch.tensor([m for _ in seeds for m in scales])
    return [s for s in seeds for _ in scales], rows_NK
