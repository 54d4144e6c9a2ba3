"""The flow family: transformers that predict the velocity v = noise − x₀ of a rectified flow, xₜ = (1−σ)·x₀ + σ·noise.

What its members share: 2×2 patches of latents, Euler's method on shifted noise levels, guidance. A member says its
parts, how it encodes prompts, and how it is called.
"""

import gc
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.backbones.samplers import Schedule, flow


def clean_from_flow(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """x̃₀ = xₜ − σₜ·v (paper, step 1 of the method)."""
    return x - sigma * v


def shift_for(tokens: int, scheduler: Mapping[str, Any]) -> float:
    """μ of dynamic shifting: larger images spend more steps at high noise. A straight line in the number of image
    tokens."""
    few, many = scheduler.get("base_image_seq_len", 256), scheduler.get("max_image_seq_len", 4096)
    low, high = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", 1.15)
    return low + (high - low) * (tokens - few) / (many - few)


class FlowBackbone(PipelineBackbone):
    """Guidance above 1 is classifier-free, in two rows an image, unless the transformer is told the guidance as a
    number."""

    component = "transformer"

    @abstractmethod
    def velocity(self, x_BCHW: Tensor, time_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        """v [B, C, H, W] from one call of the transformer. `x` has its precision; times are 1000·σ, float32."""

    @cached_property
    def told_guidance(self) -> bool:
        """Whether guidance was distilled into the transformer, as its config says."""
        return bool(self.config("transformer").get("guidance_embeds", False))

    def _latent_shape(self) -> tuple[int, int, int]:
        vae, patch = self.config("vae"), 2 * self.vae_scale
        pixels = self.setup.resolution or int(vae.get("sample_size", 1024))
        if pixels % patch:
            raise BadInput(f"{self.name} cannot draw {pixels} pixels: take a multiple of {patch}")
        return int(vae["latent_channels"]), pixels // self.vae_scale, pixels // self.vae_scale

    def _schedule(self) -> Schedule:
        from diffusers import FlowMatchEulerDiscreteScheduler

        if self.setup.sampler:
            raise BadInput(f"{self.name} is a flow model with a sampler of its own: leave '{self.setup.sampler}' out")
        config, steps = self.config("scheduler"), self.setup.steps
        _, height, width = self.latent_shape
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(config)
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], mu=shift_for(height * width // 4, config))
        return flow(scheduler)

    def predict(self, x_BCHW: Tensor, step_B: Tensor, condition: Condition) -> Tensor:
        """x̃₀ from one transformer call (two rows an image with classifier-free guidance), differentiable."""
        time_B, _, sigma = self.schedule.at(step_B)
        x = x_BCHW.to(self.dtype)
        if self.guidance <= 1 or self.told_guidance:
            v = self.velocity(x, time_B, condition.texts).float()
        else:
            both = self.velocity(torch.cat([x, x]), torch.cat([time_B, time_B]), condition.beside_empty()).float()
            without, with_text = both.chunk(2)
            v = without + self.guidance * (with_text - without)
        return clean_from_flow(x_BCHW, v, sigma)

    def read_texts(
        self, kind: str, subfolder: str, dtype: torch.dtype, ids_PL: Tensor, read: Callable[[Any, Tensor], Tensor]
    ) -> Tensor:
        """`read(encoder, ids)` of a text encoder, a few rows at a time so that a thousand prompts fit; then the encoder
        is let go of."""
        encoder = self.part(kind, subfolder, dtype)
        rows = [read(encoder, ids.to(self.device)).to(self.dtype) for ids in ids_PL.split(8)]
        del encoder
        gc.collect()
        return torch.cat(rows)


def condition_of(**rows: Tensor) -> Condition:
    """The condition of encoded texts whose last row is the empty prompt."""
    return Condition({name: t[:-1] for name, t in rows.items()}, {name: t[-1] for name, t in rows.items()})
