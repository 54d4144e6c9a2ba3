"""Sliders and strengths -> what encoders see in the finished images of whole trajectories.

Effects compound over the steps, so what a slider does to one preview says little of what it does to an image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from sliderspace.core.arrays import Array
from sliderspace.method.denoise import render
from sliderspace.method.sliders import SliderBank
from sliderspace.method.strengths import sweep_rows
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.storage.images import to_uint8

Seen = dict[str, torch.Tensor]


FACTOR = "factor/"


def both_ways(sizes: Sequence[float]) -> Array:
    """Scales [2M+1] of a sweep over M sizes: −sizes, 0, +sizes, ascending."""
    return np.array([*(-s for s in reversed(sizes)), 0.0, *sizes])


@dataclass(frozen=True)
class Sweep:
    """One slider over M scales (0, the base model, in the middle) on S seeds: what the encoder sees in the finished
    images.

    With a judge, also what that encoder sees, and the probabilities [S, M, values] of each factor it can name.
    """

    slider: int
    z_SMD: Array
    images_SMHWC: npt.NDArray[np.uint8]  # of the first seeds only
    judge_SMD: Array | None = None
    factors: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @property
    def change_SMD(self) -> Array:
        """Δφ against the same seed's base image."""
        return from_base(self.z_SMD)


def from_base(values_SMD: Array) -> Array:
    """Change against the same seed's value at scale 0, which lies in the middle."""
    return values_SMD - values_SMD[:, values_SMD.shape[1] // 2, None]


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
    judge: Encoder | None = None,
) -> Iterator[Sweep]:
    """Slider by slider, finished images at raw strengths ±`sizes_KM[k]` and 0. Seed s shows prompt s mod P.

    Images are kept for the first `keep` seeds.
    """
    prompts = len(condition)

    def drawn(row_seeds: Sequence[int], prompt_N: Sequence[int], strengths_NK: torch.Tensor) -> Seen:
        batches = render(backbone, bank, condition, row_seeds, prompt_N, strengths_NK, batch=batch)
        with torch.no_grad():
            return joined(
                [{"z": encoder(b).cpu().double(), "images": to_uint8(b), **judged(b, judge)} for b in batches]
            )

    base = drawn(seeds, [i % prompts for i in range(len(seeds))], torch.zeros(len(seeds), len(bank)))
    for k, sizes in enumerate(sizes_KM.tolist()):
        scales = [s for s in both_ways(sizes) if s]
        row_seeds, strengths_NK = sweep_rows(k, scales, seeds, len(bank))
        moved = drawn(row_seeds, [i % prompts for i in range(len(seeds)) for _ in scales], strengths_NK)
        whole = {
            name: _with_base(m.unflatten(0, (len(seeds), len(scales))), base[name]).numpy() for name, m in moved.items()
        }
        factors = {name.removeprefix(FACTOR): p for name, p in whole.items() if name.startswith(FACTOR)}
        yield Sweep(k, whole["z"], whole["images"][:keep], whole.get("judge"), factors)


@torch.no_grad()
def judged(images01: torch.Tensor, judge: Encoder | None) -> Seen:
    """What finished images [B, 3, H, W] are to a judge: `judge` [B, E], and `factor/NAME` [B, values] for each it
    names; float64."""
    if judge is None:
        return {}
    features, factors = judge.described(images01)
    found = {"judge": features} | {FACTOR + name: p for name, p in factors.items()}
    return {name: part.cpu().double() for name, part in found.items()}


def joined(parts: Sequence[Seen]) -> Seen:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _with_base(moved_SM: torch.Tensor, base_S: torch.Tensor) -> torch.Tensor:
    middle = moved_SM.shape[1] // 2
    return torch.cat([moved_SM[:, :middle], base_S.unsqueeze(1), moved_SM[:, middle:]], dim=1)
