"""Sliders and strengths -> what encoders see in the finished images of whole trajectories.

Effects compound over the steps, so what a slider does to one preview says little of what it does to an image. S seeds,
M scales, K sliders; images are embedded and forgotten, a few small ones kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sliderspace.core.arrays import Array, Images
from sliderspace.core.batches import BatchSize
from sliderspace.core.errors import SliderSpaceError
from sliderspace.core.sizes import sides
from sliderspace.method.denoise import few_latents, finished_latents
from sliderspace.method.sliders import SliderBank
from sliderspace.method.strengths import sweep_rows
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.storage.images import THUMBNAIL, thumbnails, to_uint8

Seen = dict[str, Tensor]  # z [N, D], judge [N, E] and factor/NAME [N, values], float64; small images uint8 [n, H, W, 3]
FACTOR = "factor/"


def both_ways(sizes: Sequence[float]) -> Array:
    """Scales [2M+1] of a sweep over M sizes: −sizes, 0, +sizes, ascending."""
    return np.array([*(-s for s in reversed(sizes)), 0.0, *sizes])


def from_base(values_SMD: Array) -> Array:
    """Change against the same seed's value at scale 0, which lies in the middle."""
    return values_SMD - values_SMD[:, values_SMD.shape[1] // 2, None]


@dataclass(frozen=True)
class Sweep:
    """One slider over M scales (0, the base model, in the middle) on S seeds: the embeddings of the finished images.

    With a judge also that encoder's, and the probabilities [S, M, values] of each factor it can name.
    """

    slider: int
    z_SMD: Array
    images_SMHWC: Images  # small ones, of the first seeds only
    judge_SMD: Array | None = None
    factors: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @property
    def change_SMD(self) -> Array:
        """Δφ against the same seed's base image."""
        return from_base(self.z_SMD)

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """What `from_tensors` makes this sweep of again."""
        found: dict[str, np.ndarray[Any, Any]] = {"z": self.z_SMD, "images": self.images_SMHWC}
        found |= {} if self.judge_SMD is None else {"judge": self.judge_SMD}
        return found | {FACTOR + name: p for name, p in self.factors.items()}

    @classmethod
    def from_tensors(cls, slider: int, found: Mapping[str, Tensor]) -> "Sweep":
        values = {name: t.numpy() for name, t in found.items()}
        return cls(slider, values["z"], values["images"], values.get("judge"), _factors(values))


def _factors(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(FACTOR): p for name, p in values.items() if name.startswith(FACTOR)}


@dataclass(frozen=True)
class Viewer:
    """What draws finished images and embeds them: a model with sliders, its prompts, an encoder and perhaps a judge."""

    backbone: Backbone
    bank: SliderBank | None
    condition: Condition
    encoder: Encoder
    judge: Encoder | None
    batch: int | BatchSize

    def seen(
        self, seeds: Sequence[int], prompt_N: Sequence[int], strengths_NK: Tensor | None = None, *, keep: int = 0
    ) -> Seen:
        """Embeddings of the images of some rows at raw strengths, and small pictures of the first `keep`."""
        about = (self.backbone, self.bank, self.condition, seeds, prompt_N, strengths_NK)
        kept: list[Images] = []
        batches = self._watched(finished_latents(*about, batch=self.batch), keep, kept)
        found = embedded(batches, self.encoder, self.judge)
        width, height = sides(self.backbone.image_size)
        none = thumbnails(np.zeros((1, height, width, 3), dtype=np.uint8))[:0]
        return found | {"images": torch.from_numpy(np.concatenate(kept) if kept else none)}

    @torch.no_grad()
    def _watched(self, latents: Iterable[Tensor], keep: int, kept: list[Images]) -> Iterator[Tensor]:
        """Batches of latents as images01 [B, 3, H, W]; small pictures of the first `keep`, as people are to see them,
        go to `kept`."""
        for part in (few for z in latents for few in few_latents(self.backbone, z)):
            images01 = self.backbone.decode(part).clamp(0, 1)
            if keep > 0:
                apart = self.backbone.draws_apart
                shown01 = self.backbone.draw(part[:keep]).clamp(0, 1) if apart else images01[:keep]
                kept.append(thumbnails(to_uint8(shown01).numpy(), THUMBNAIL))
                keep -= len(part)
            yield images01

    def base(self, seeds: Sequence[int], *, keep: int = 0) -> Seen:
        """The model alone on S seeds."""
        return self.seen(seeds, self.prompts(len(seeds)), keep=keep)

    def sweep(self, slider: int, seeds: Sequence[int], sizes: Sequence[float], base: Seen, *, keep: int = 0) -> Sweep:
        """One slider at raw strengths ±`sizes` on S seeds, beside `base`, the model alone on the same seeds."""
        assert self.bank is not None
        scales = [s for s in both_ways(sizes) if s]
        row_seeds, strengths_NK = sweep_rows(slider, scales, seeds, len(self.bank))
        prompt_N = [n for n in self.prompts(len(seeds)) for _ in scales]
        moved = self.seen(row_seeds, prompt_N, strengths_NK, keep=keep * len(scales))
        whole = {name: _with_base(m.unflatten(0, (-1, len(scales))), base[name]).numpy() for name, m in moved.items()}
        return Sweep(slider, whole["z"], whole["images"], whole.get("judge"), _factors(whole))

    def prompts(self, count: int) -> list[int]:
        """The prompt of each of some seeds: number s shows prompt s mod P."""
        return [i % len(self.condition) for i in range(count)]


@torch.no_grad()
def embedded(batches: Iterable[Tensor], encoder: Encoder | None, judge: Encoder | None) -> Seen:
    """What encoders see in batches of images01 [B, 3, H, W], one batch in memory at a time. Raises SliderSpaceError
    where it is no finite number."""
    parts = [
        ({} if encoder is None else {"z": encoder(images01).cpu().double()}) | judged(images01, judge)
        for images01 in batches
    ]
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if not all(bool(values.isfinite().all()) for values in found.values()):
        raise SliderSpaceError(
            "the model gave images that are not finite numbers, with a slider far out perhaps: train with a smaller "
            "--lr, or try --precision float32"
        )
    return found


def judged(images01: Tensor, judge: Encoder | None) -> Seen:
    """What finished images [B, 3, H, W] are to a judge: `judge` [B, E], and `factor/NAME` [B, values] of each it
    names."""
    if judge is None:
        return {}
    features, factors = judge.described(images01)
    found = {"judge": features} | {FACTOR + name: p for name, p in factors.items()}
    return {name: part.cpu().double() for name, part in found.items()}


def _with_base(moved_SM: Tensor, base_S: Tensor) -> Tensor:
    """The base's values put into the middle of a sweep's; of small images there are those of the first seeds."""
    middle = moved_SM.shape[1] // 2
    base_S1 = base_S[: len(moved_SM)].unsqueeze(1)
    return torch.cat([moved_SM[:, :middle], base_S1, moved_SM[:, middle:]], dim=1)
