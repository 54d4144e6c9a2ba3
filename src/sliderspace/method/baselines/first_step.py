"""Variety given back to a distilled model without training (Gandikota & Bau 2025, arXiv 2503.10637): its teacher's
prediction at the first step, or no first step at all. A distilled model settles most of the picture there."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sliderspace.core.batches import BatchSize, in_batches
from sliderspace.core.errors import BadInput
from sliderspace.method.denoise import decoded, predict
from sliderspace.models.backbones.base import Backbone, Condition

Model = tuple[Backbone, Condition]
ALIKE = 0.05  # between the signal levels at which two models begin


def render_otherwise(
    model: Model,
    seeds: Sequence[int],
    prompt_N: Sequence[int],
    *,
    first: Model | None = None,
    skipped: int = 0,
    batch: int | BatchSize = 64,
) -> Iterator[Tensor]:
    """Batches of finished images01 [B, 3, H, W] of a model whose first step is predicted by `first`, or that begins
    with plain noise `skipped` steps late. Row n: seed and prompt n.

    Raises BadInput where the two models differ in latents or begin at different noise, or no step would be left.
    """
    backbone, condition = model
    if not 0 <= skipped < backbone.steps:
        raise BadInput(f"{skipped} steps cannot be skipped: {backbone.name} takes {backbone.steps}")
    if first is not None:
        _check_alike(first[0], backbone)

    @torch.no_grad()
    def work(part: range) -> Tensor:
        rows = slice(part.start, part.stop)
        x = x0 = backbone.start(seeds[rows])
        for index in range(skipped, backbone.steps):
            shown_by, told = first if first is not None and index == 0 else (backbone, condition)
            x0 = predict(shown_by, told.rows(prompt_N[rows]), x, index)
            x = backbone.step(x, x0, index, seeds[rows])
        return x0

    for _, z_BCHW in in_batches(0, len(seeds), batch, work):
        yield from decoded(backbone, z_BCHW)


def _check_alike(first: Backbone, then: Backbone) -> None:
    if first.latent_shape != then.latent_shape:
        raise BadInput(f"{first.name} cannot take the first step of {then.name}: their latents differ in shape")
    if abs(float(first.schedule.a_T[0] - then.schedule.a_T[0])) > ALIKE:
        raise BadInput(f"{first.name} cannot take the first step of {then.name}: they begin at different noise levels")
