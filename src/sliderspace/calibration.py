"""Strengths in natural standard deviations, measured on finished images over whole trajectories.

Effects compound over the steps, so what a slider does to one preview says little of what it does to an image. One natural unit is
the strength at which the finished images move, on average over seeds and both signs, by one standard deviation of the model's
own finished images along the slider's direction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sliderspace.backbones.base import Backbone, Condition
from sliderspace.encoders import Encoder
from sliderspace.generate import render, sweep_rows, to_uint8
from sliderspace.sliders import SliderBank

Array = npt.NDArray[np.float64]
GRID = (0.5, 1.0, 2.0, 4.0)  # raw strengths tried, both signs; training saw 0.5 … 2


def both_ways(sizes: Sequence[float]) -> Array:
    """Scales [2M+1] of a sweep over M sizes: −sizes, 0, +sizes, ascending."""
    return np.array([*(-s for s in reversed(sizes)), 0.0, *sizes])


@dataclass(frozen=True)
class Sweep:
    """One slider over M scales (0, the base model, in the middle) on S seeds: embeddings and images of the finished images."""

    slider: int
    z_SMD: Array
    images_SMHWC: npt.NDArray[np.uint8]  # of the first seeds only

    @property
    def change_SMD(self) -> Array:
        """Δφ against the same seed's base image."""
        return self.z_SMD - self.z_SMD[:, self.z_SMD.shape[1] // 2, None]


def sweeps(
    backbone: Backbone,
    encoder: Encoder,
    bank: SliderBank,
    condition: Condition,
    seeds: Sequence[int],
    sizes_KM: Array,
    *,
    batch: int,
    keep: int = 0,
) -> Iterator[Sweep]:
    """Slider by slider, finished images at raw strengths ±`sizes_KM[k]` and 0. Seed s shows prompt s mod P.

    Images are kept for the first `keep` seeds.
    """
    prompts = len(condition)

    def drawn(row_seeds: Sequence[int], prompt_N: Sequence[int], strengths_NK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batches = list(render(backbone, bank, condition, row_seeds, prompt_N, strengths_NK, batch=batch))
        with torch.no_grad():
            return torch.cat([encoder(b).cpu() for b in batches]).double(), torch.cat([to_uint8(b) for b in batches])

    base = drawn(seeds, [i % prompts for i in range(len(seeds))], torch.zeros(len(seeds), len(bank)))
    for k, sizes in enumerate(sizes_KM.tolist()):
        scales = [s for s in both_ways(sizes) if s]
        row_seeds, strengths_NK = sweep_rows(k, scales, seeds, len(bank))
        moved = drawn(row_seeds, [i % prompts for i in range(len(seeds)) for _ in scales], strengths_NK)
        z, images = (_with_base(m.unflatten(0, (len(seeds), len(scales))), b) for m, b in zip(moved, base, strict=True))
        yield Sweep(k, z.numpy(), images[:keep].numpy())


def _with_base(moved_SM: torch.Tensor, base_S: torch.Tensor) -> torch.Tensor:
    middle = moved_SM.shape[1] // 2
    return torch.cat([moved_SM[:, :middle], base_S.unsqueeze(1), moved_SM[:, middle:]], dim=1)


def natural_unit(projection_SM: Array, sizes: Sequence[float], sigma: float) -> tuple[float, bool]:
    """Raw strength that moves images by one `sigma` along the direction, and whether the sweep reached it.

    `projection_SM` is Δφ·v at scales `both_ways(sizes)`. The response r(|s|), the mean over seeds and both signs, starts at r(0) = 0
    and is interpolated between the sizes tried. Where it never reaches sigma, the smallest size tried that comes within a tenth of
    the best response stands in: beyond it a slider moves no further along, and images break.
    """
    middle = len(sizes)
    mean_M = projection_SM.mean(axis=0) / sigma
    response = np.concatenate([[0.0], (mean_M[middle + 1 :] - mean_M[:middle][::-1]) / 2])
    above = np.flatnonzero(response >= 1)
    if not len(above):
        enough = response[1:] >= 0.9 * max(0.0, float(response.max()))
        return float(sizes[int(enough.argmax())]), False
    i, tried = int(above[0]), (0.0, *sizes)
    share = (1 - response[i - 1]) / (response[i] - response[i - 1])
    return float(tried[i - 1] + share * (tried[i] - tried[i - 1])), True
