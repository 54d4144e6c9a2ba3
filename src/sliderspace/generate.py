"""Images from strengths: whole trajectories with sliders on, from the first step or from a later one (delayed start)."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from sliderspace.backbones.base import Backbone, Condition
from sliderspace.errors import BadInput
from sliderspace.memory import in_batches
from sliderspace.rng import generator_for
from sliderspace.sliders import SliderBank


@torch.no_grad()
def render(
    backbone: Backbone,
    bank: SliderBank | None,
    condition: Condition,
    seeds: Sequence[int],
    prompt_N: Sequence[int],
    strengths_NK: Tensor | None = None,
    *,
    start_step: int = 0,
    batch: int = 64,
) -> Iterator[Tensor]:
    """Batches of images01 [B, 3, H, W], in order. Row n: seed, prompt and strengths n; sliders act from sampler step `start_step` on.

    Strengths are raw, not natural units. `start_step` = 0 lets sliders change structure; a later one keeps it and edits.
    """
    if not 0 <= start_step < backbone.steps:
        raise BadInput(f"start step {start_step}: this model samples in steps 0 … {backbone.steps - 1}")

    def draw(part: range) -> Tensor:
        rows = slice(part.start, part.stop)
        x, shown = backbone.start(seeds[rows]), condition.rows(prompt_N[rows])
        s_BK = None if bank is None or strengths_NK is None else strengths_NK[rows].to(x.device)
        for index in range(backbone.steps):
            step_B = torch.full((len(x),), index, device=x.device)
            with nullcontext() if bank is None or index < start_step else bank.active(s_BK):
                x0 = backbone.predict(x, step_B, shown)
            x = backbone.step(x, x0, index, seeds[rows])
        return backbone.decode(x).clamp(0, 1)

    yield from (images01 for _, images01 in in_batches(0, len(seeds), batch, draw))


def to_uint8(images01_NCHW: Tensor) -> Tensor:
    """images01 [N, 3, H, W] -> uint8 [N, H, W, 3], rounded as diffusers does."""
    return (images01_NCHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def sparse_mix(images: Sequence[int], sliders: int, *, active: int = 3, scale: float = 1.0, seed: int = 0) -> Tensor:
    """Strengths [N, K] in natural units with `active` random sliders each, of random sign (the paper's evaluation uses 3).

    Row n is a function of (seed, images[n]), so an image's mix is the same in any company. Raises BadInput when fewer than `active`
    sliders exist.
    """
    if not 1 <= active <= sliders:
        raise BadInput(f"a mix of {active} sliders needs between 1 and {sliders}, the number this space has")
    out = torch.zeros(len(images), sliders)
    for n, image in enumerate(images):
        rng = generator_for(seed, "mix", image)
        chosen = rng.choice(sliders, size=active, replace=False)
        out[n, chosen] = torch.tensor(rng.choice([-scale, scale], size=active), dtype=torch.float32)
    return out


def sweep_rows(slider: int, scales: Sequence[float], seeds: Sequence[int], sliders: int) -> tuple[list[int], Tensor]:
    """Seeds and strengths of a sweep, seed by seed: rows (seed, scale), S·M of them."""
    rows_NK = torch.zeros(len(seeds) * len(scales), sliders)
    rows_NK[:, slider] = torch.tensor([m for _ in seeds for m in scales])
    return [s for s in seeds for _ in scales], rows_NK
