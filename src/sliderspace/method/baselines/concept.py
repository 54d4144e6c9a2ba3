"""Concept Sliders (Gandikota et al., ECCV 2024): sliders asked for in pairs of words, and trained without pictures.

The paper's objective is ε(xₜ, c, t) with the slider ← ε(xₜ, c, t) + η·(ε(xₜ, c₊, t) − ε(xₜ, c₋, t)). Here it is asked
of x̃₀. At the same xₜ, x̃₀ = (xₜ − s·ε)/a is affine in ε, and the weights of the right side add up to 1, so that
x̃₀(c) ← x̃₀(c) + η·(x̃₀(c₊) − x̃₀(c₋)) has the same solution; velocity and flow models likewise. Only the weight of a step
in the loss differs, by (s/a)²: that of ε leaves nothing of the noisiest step, where a few-step model decides most.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sliderspace.core.arrays import Array
from sliderspace.core.batches import BatchSize
from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import seed_for
from sliderspace.core.settings import Pair
from sliderspace.method.denoise import predict, render
from sliderspace.method.objective import LaneLoss, Lanes, Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.method.trajectories import Trajectories
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.encoders import Encoder

AXIS_SEEDS = 16  # pictures of either text that show which way a pair goes
LEAST = 1e-4  # between the mean embeddings, which are of unit length


def prompts_of(pairs: Sequence[Pair], concept: str) -> list[str]:
    """The prompts of all pairs: those of c₊, then those of c₋."""
    plus, minus = zip(*(pair.prompts(concept) for pair in pairs), strict=True)
    return [*plus, *minus]


class ConceptSliders(LaneLoss):
    """Lanes -> ‖x̃₀ − target‖², mean over the latent's values, at stored xₜ of the concept's own prompt.

    `pairs` holds the encoded `prompts_of`. Strength −1 is trained toward c₋ where the recipe says both signs.
    """

    def __init__(
        self, backbone: Backbone, condition: Condition, bank: SliderBank, recipe: Recipe, pairs: Condition, eta: float
    ) -> None:
        super().__init__(backbone, condition, bank, recipe)
        self.pairs = pairs
        self.eta = eta

    @torch.no_grad()
    def without(self, data: Trajectories, lanes: Lanes) -> Tensor:
        """x̃₀ of the prompt alone, and the move asked for: [2, B, C, H, W]."""
        x, shown = self.shown(data, lanes)
        step_B, numbers = data.steps_T[lanes.step_B], torch.tensor(self.bank.indices)[lanes.slider_B]
        before = predict(self.backbone, shown, x, step_B)
        count = len(self.pairs) // 2
        plus, minus = (
            predict(self.backbone, self.pairs.rows((numbers + first).tolist()), x, step_B) for first in (0, count)
        )
        strength_B = self.eta * lanes.strength_B.to(x).view(-1, 1, 1, 1)
        return torch.stack([before, strength_B * (plus - minus)])

    def judged(self, data: Trajectories, lanes: Lanes, without: Tensor) -> tuple[Tensor, Tensor]:
        x, shown = self.shown(data, lanes)
        before, asked = without
        moved = self.guess(shown, x, data.steps_T[lanes.step_B]) - before
        loss_B = (moved - asked).square().mean((1, 2, 3))
        cos_B = torch.nn.functional.cosine_similarity(moved.detach().flatten(1), asked.flatten(1))
        return loss_B, cos_B


@torch.no_grad()
def pair_axes(
    backbone: Backbone, encoder: Encoder, condition: Condition, pairs: Sequence[Pair], seed: int, batch: BatchSize
) -> Array:
    """Axes [K, D] from the mean embedding of finished images of c₋ to that of c₊, on the same seeds.

    They train nothing: sliders of words are measured, and get their natural units, along them. Raises BadInput for a
    pair whose texts draw the same images.
    """
    seeds = [seed_for(seed, "pair axis", i) for i in range(AXIS_SEEDS)]

    def mean(prompt: int) -> Tensor:
        images = render(backbone, None, condition, seeds, [prompt] * len(seeds), batch=batch)
        return torch.cat([encoder(images01).cpu().double() for images01 in images]).mean(0)

    axes_KD = torch.stack([mean(k) - mean(len(pairs) + k) for k in range(len(pairs))])
    for pair, length in zip(pairs, axes_KD.norm(dim=1).tolist(), strict=True):
        if length < LEAST:
            raise BadInput(f"“{pair.plus}” and “{pair.minus}” draw the same images here: choose words it knows")
    return axes_KD.numpy()
