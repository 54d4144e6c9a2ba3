"""Noise and encoded prompts -> latents and previews x̃₀, step by step: the one loop over a sampler.

Sampling trajectories, drawing images, and whatever predicts a single step call this file, so that a slider acts the
same wherever it is switched on. B rows, N images, K sliders; strengths are raw, not natural units.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from math import prod

import torch
from torch import Tensor

from sliderspace.core.batches import BatchSize, in_batches
from sliderspace.core.errors import BadInput
from sliderspace.core.sizes import sides
from sliderspace.method.sliders import SliderBank
from sliderspace.models.backbones.base import Backbone, Condition

Sliders = tuple[SliderBank, Tensor]  # a bank, and the strengths [B, K] its rows run with
DECODED_VALUES = 2**22  # of float images decoded at a time, 16 MiB: eighty pictures of 128 pixels, one of 1024


def predict(backbone: Backbone, shown: Condition, x_BCHW: Tensor, step: int | Tensor) -> Tensor:
    """x̃₀ [B, C, H, W] at one sampler step, or at each row's own step [B], differentiable; `shown` has a row for
    each."""
    step_B = torch.full((len(x_BCHW),), step) if isinstance(step, int) else step
    return backbone.predict(x_BCHW, step_B.to(x_BCHW.device), shown)


@torch.no_grad()
def denoise(
    backbone: Backbone,
    shown: Condition,
    seeds: Sequence[int],
    sliders: Sliders | None = None,
    start: int = 0,
    end: int | None = None,
    kept: torch.dtype = torch.float32,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(step, xₜ, x̃₀) of every sampler step, the noisiest first; sliders act from step `start` on, and before
    step `end`.

    Latents are float32, rounded before each step to what `kept` can hold.
    """
    x = backbone.start(seeds)
    acting = range(start, backbone.steps if end is None else end)
    for index in range(backbone.steps):
        x = x.to(kept).float()
        with sliders[0].active(sliders[1].to(x.device)) if sliders and index in acting else nullcontext():
            x0 = predict(backbone, shown, x, index)
        yield index, x, x0
        x = backbone.step(x, x0, index, seeds)


def final_latents(
    backbone: Backbone,
    shown: Condition,
    seeds: Sequence[int],
    sliders: Sliders | None = None,
    start: int = 0,
    end: int | None = None,
) -> Tensor:
    """Scaled latents [B, C, H, W] of finished images."""
    *_, (_, _, x0) = denoise(backbone, shown, seeds, sliders, start, end)
    return x0  # at the last step the preview is the image


def few_latents(backbone: Backbone, z_NCHW: Tensor) -> Sequence[Tensor]:
    """Scaled latents in parts so small that large pictures of one fit into memory."""
    return z_NCHW.split(max(1, DECODED_VALUES // (3 * prod(sides(backbone.image_size)))))


@torch.no_grad()
def decoded(backbone: Backbone, z_NCHW: Tensor, *, clamp: bool = True) -> Iterator[Tensor]:
    """Scaled latents -> batches of images01 [B, 3, H, W], in order."""
    for part in few_latents(backbone, z_NCHW):
        images01 = backbone.decode(part)
        yield images01.clamp(0, 1) if clamp else images01


def finished_latents(
    backbone: Backbone,
    bank: SliderBank | None,
    condition: Condition,
    seeds: Sequence[int],
    prompt_N: Sequence[int],
    strengths_NK: Tensor | None = None,
    *,
    start_step: int = 0,
    end_step: int | None = None,
    batch: int | BatchSize = 64,
) -> Iterator[Tensor]:
    """Batches of finished images' scaled latents [B, C, h, w], in order. Row n: seed, prompt and strengths n.

    Sliders act from sampler step `start_step` on: 0 lets them change structure; a later one keeps it and edits. They
    act before step `end_step`, if one is given: an early one sets structure and leaves details to the model. Raises
    BadInput for a step the sampler has not.
    """
    if not 0 <= start_step < backbone.steps:
        raise BadInput(f"start step {start_step}: this model samples in steps 0 … {backbone.steps - 1}")
    if end_step is not None and not start_step < end_step <= backbone.steps:
        raise BadInput(
            f"end step {end_step}: sliders that act from step {start_step} on can end before step "
            f"{start_step + 1} … {backbone.steps}"
        )

    def work(part: range) -> Tensor:
        rows = slice(part.start, part.stop)
        sliders = None if bank is None or strengths_NK is None else (bank, strengths_NK[rows])
        return final_latents(backbone, condition.rows(prompt_N[rows]), seeds[rows], sliders, start_step, end_step)

    for _, z_BCHW in in_batches(0, len(seeds), batch, work):
        yield z_BCHW


def render(
    backbone: Backbone,
    bank: SliderBank | None,
    condition: Condition,
    seeds: Sequence[int],
    prompt_N: Sequence[int],
    strengths_NK: Tensor | None = None,
    *,
    start_step: int = 0,
    end_step: int | None = None,
    batch: int | BatchSize = 64,
) -> Iterator[Tensor]:
    """`finished_latents` as batches of images01 [B, 3, H, W]."""
    about = (backbone, bank, condition, seeds, prompt_N, strengths_NK)
    for z_BCHW in finished_latents(*about, start_step=start_step, end_step=end_step, batch=batch):
        yield from decoded(backbone, z_BCHW)
