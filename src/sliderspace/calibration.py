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
GRID = (0.25, 0.5, 1.0, 2.0)  # raw strengths tried, both signs; training saw 0.5 … 2


@dataclass(frozen=True)
class Sweep:
    """One slider over M scales on S seeds: embeddings of the finished images, and the images of the first seeds."""

    slider: int
    z_SMD: Array
    images_SMHWC: npt.NDArray[np.uint8]


def sweeps(backbone: Backbone, encoder: Encoder, bank: SliderBank, condition: Condition, seeds: Sequence[int], scales_KM: Array,
           *, batch: int, keep: int = 0) -> Iterator[Sweep]:
    """Slider by slider, finished images at raw strengths `scales_KM[k]`; images are kept for the first `keep` seeds. Seed s shows prompt s mod P."""
    prompts = len(condition.states_PLD)
    for k in range(len(bank)):
        scales = scales_KM[k].tolist()
        row_seeds, strengths_NK = sweep_rows(k, scales, seeds, len(bank))
        prompt_N = [i % prompts for i in range(len(seeds)) for _ in scales]
        z: list[torch.Tensor] = []
        images: list[torch.Tensor] = []
        for images01 in render(backbone, bank, condition, row_seeds, prompt_N, strengths_NK, batch=batch):
            with torch.no_grad():
                z.append(encoder(images01).cpu())
            images.append(to_uint8(images01))
        z_SMD = torch.cat(z).double().numpy().reshape(len(seeds), len(scales), -1)
        shown = torch.cat(images).numpy().reshape(len(seeds), len(scales), *images[0].shape[1:])[:keep]
        yield Sweep(k, z_SMD, shown)


def base_embeddings(backbone: Backbone, encoder: Encoder, condition: Condition, seeds: Sequence[int], *, batch: int) -> Array:
    """φ [S, D] of the finished base images of the same seeds and prompts."""
    prompt_N = [i % len(condition.states_PLD) for i in range(len(seeds))]
    with torch.no_grad():
        z = [encoder(images01).cpu() for images01 in render(backbone, None, condition, seeds, prompt_N, batch=batch)]
    return torch.cat(z).double().numpy()


def natural_unit(projection_SM: Array, scales_M: Array, sigma: float) -> tuple[float, bool]:
    """Raw strength that moves images by one `sigma` along the direction, and whether the sweep reached it.

    `projection_SM` is (φ(scale) − φ(0))·v. The response r(|s|), the mean over seeds and both signs, starts at r(0) = 0 and is
    interpolated between the scales tried. Where it never reaches sigma the largest scale tried stands in.
    """
    sizes = np.unique(np.abs(scales_M))
    signed_SM = projection_SM * np.sign(scales_M)
    response = np.array([0.0, *(signed_SM[:, np.abs(scales_M) == size].mean() for size in sizes)]) / sigma
    sizes = np.array([0.0, *sizes])
    above = np.flatnonzero(response >= 1)
    if not len(above):
        return float(sizes[-1]), False
    i = int(above[0])
    share = (1 - response[i - 1]) / (response[i] - response[i - 1])
    return float(sizes[i - 1] + share * (sizes[i] - sizes[i - 1])), True
