"""The flow family: transformers that predict the velocity v = noise − x₀ of a rectified flow, xₜ = (1−σ)·x₀ + σ·noise.

What its members share: 2×2 patches of latents, Euler's method on shifted noise levels, guidance. A member says its
parts, how it encodes prompts, and how it is called.
"""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.sizes import Size, sides
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.folder import check_size, check_steps, read_config, vae_scale
from sliderspace.models.backbones.pipeline import PipelineBackbone, Setup
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


ONE_TEXT_ENCODER = (  # what a folder of a family with one text encoder must hold
    "tokenizer/tokenizer_config.json",
    "text_encoder/config.json",
    "transformer/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
)


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

    @classmethod
    def channels_of(cls, vae: Mapping[str, Any]) -> int:
        """Channels of latents, by the autoencoder's configuration."""
        return int(vae["latent_channels"])

    @classmethod
    def shift_of(cls, folder: Path, tokens: int, steps: int) -> float:
        """μ of dynamic shifting, for images of so many tokens."""
        return shift_for(tokens, read_config(folder, "scheduler"))

    @classmethod
    def set_times(cls, scheduler: Any, folder: Path, tokens: int, steps: int) -> None:
        """Give a scheduler its steps, as the model's pipeline does."""
        sigmas = [1 - i / steps for i in range(steps)]
        scheduler.set_timesteps(sigmas=sigmas, mu=cls.shift_of(folder, tokens, steps))

    @classmethod
    def latent_shape_of(cls, folder: Path, size: Size) -> tuple[int, int, int]:
        vae, scale = read_config(folder, "vae"), vae_scale(folder)
        check_size(size, 2 * scale)
        width, height = sides(size or int(vae.get("sample_size", 1024)))
        return cls.channels_of(vae), height // scale, width // scale

    @classmethod
    def sampling_of(cls, folder: Path, setup: Setup) -> tuple[str, Schedule]:
        from diffusers import FlowMatchEulerDiscreteScheduler

        if setup.sampler:
            raise BadInput(f"{setup.name} is a flow model with a sampler of its own: leave '{setup.sampler}' out")
        config, steps = read_config(folder, "scheduler"), setup.steps
        check_steps(steps, config)
        _, height, width = cls.latent_shape_of(folder, setup.resolution)
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(config)
        cls.set_times(scheduler, folder, height * width // 4, steps)
        return "flow", flow(scheduler)

    def predict(self, x_BCHW: Tensor, step_B: Tensor, condition: Condition) -> Tensor:
        """x̃₀ from one transformer call (two rows an image with classifier-free guidance), differentiable."""
        time_B, _, sigma = self.schedule.at(step_B)
        x = x_BCHW.to(self.dtype)
        if self.guidance <= 1 or self.told_guidance:
            v = self.velocity(x, time_B, condition.texts).float()
        else:
            both = self.velocity(torch.cat([x, x]), torch.cat([time_B, time_B]), condition.beside_empty()).float()
            without, with_text = both.chunk(2)
            v = self.guided(without, with_text)
        return self.schedule.preview(x_BCHW, clean_from_flow(x_BCHW, v, sigma), step_B)

    def guided(self, without: Tensor, with_text: Tensor) -> Tensor:
        """Classifier-free guidance: the velocity of the prompt, led away from that of the empty one."""
        return without + self.guidance * (with_text - without)
