"""A backbone is a text-to-image model as six verbs: encode prompts, noise, steps, predict x̃₀, step, decode.

x̃₀, the model's present guess of the clean image in scaled latents, is the one internal convention: noise, velocity and flow
predictions become x̃₀ inside a backbone and nowhere else. Any backbone works with any encoder.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Condition:
    """Encoded prompts, one row a prompt: `states_PLD` from the text encoder, and `empty_LD` for classifier-free guidance."""

    states_PLD: Tensor
    empty_LD: Tensor

    def rows(self, prompt_B: Sequence[int]) -> "Condition":
        """The condition of a batch whose row b shows prompt `prompt_B[b]`."""
        return Condition(self.states_PLD[list(prompt_B)], self.empty_LD)


class Backbone(ABC):
    """What every model family implements. Latents `x_BCHW` and previews are float32 and scaled to about unit variance."""

    name: str
    identity: str  # changes whenever the weights or the sampler do: part of every run's fingerprint
    denoiser: nn.Module  # what sliders attach to
    steps: int
    latent_shape: tuple[int, int, int]
    device: torch.device

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Prompts -> condition."""

    @abstractmethod
    def predict(self, x_BCHW: Tensor, step_B: Tensor, condition: Condition) -> Tensor:
        """x̃₀ [B, C, H, W] of latents at sampler steps `step_B` (int64, 0 is the noisiest; rows may differ)."""

    @abstractmethod
    def step(self, x_BCHW: Tensor, x0_BCHW: Tensor, index: int) -> Tensor:
        """Latents after sampler step `index`, given the prediction there. After the last step: the image's."""

    @abstractmethod
    def decode(self, z_BCHW: Tensor) -> Tensor:
        """Scaled latents -> images01 [B, 3, H, W], differentiable, not clamped (a clamp would cut the gradient)."""

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """Starting latents [B, C, H, W]; row b is a function of `seeds[b]` alone, and diffusers draws the same ones."""
        draws = [torch.randn((1, *self.latent_shape), generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.cat(draws).to(self.device)
