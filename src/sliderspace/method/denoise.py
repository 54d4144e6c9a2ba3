"""Images from strengths: whole trajectories with sliders on, from the first step or from a later one (delayed
start)."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from sliderspace.core.batches import in_batches
from sliderspace.core.errors import BadInput
from sliderspace.method.sliders import SliderBank
from sliderspace.models.backbones.base import Backbone, Condition


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
    """Batches of images01 [B, 3, H, W], in order. Row n: seed, prompt and strengths n; sliders act from sampler step
    `start_step` on.

    Strengths are raw, not natural units. `start_step` = 0 lets sliders change structure; a later one keeps it and
    edits.
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
