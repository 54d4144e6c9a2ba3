"""A backbone is a text-to-image model as a few verbs: encode prompts, noise, steps, predict x̃₀, step, decode, encode
an image.

x̃₀, the model's present guess of the clean image in scaled latents, is the one internal convention: noise, velocity and
flow predictions become x̃₀ inside a backbone and nowhere else. Any backbone works with any encoder.
"""

import gc
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sliderspace.core.settings import Targets
from sliderspace.core.sizes import Size
from sliderspace.models.backbones.samplers import Schedule


@dataclass(frozen=True)
class Condition:
    """Encoded prompts under the names their family uses: `texts` has one row a prompt, `empty` the one row of
    guidance's empty prompt.

    `texts` may lie on the CPU (a thousand of FLUX's are 4 GB); rows come to where `empty` is.
    """

    texts: Mapping[str, Tensor]
    empty: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.texts.values())))

    def rows(self, prompt_B: Sequence[int]) -> "Condition":
        """The condition of a batch whose row b shows prompt `prompt_B[b]`."""
        index = list(prompt_B)
        return Condition({name: t[index].to(self.empty[name].device) for name, t in self.texts.items()}, self.empty)

    def beside_empty(self) -> dict[str, Tensor]:
        """The tensors of 2·B rows for classifier-free guidance: B empty prompts, then the prompts."""
        return {name: torch.cat([self.empty[name].expand_as(t), t]) for name, t in self.texts.items()}


class Backbone(ABC):
    """What every model family implements. Latents `x_BCHW` and previews are float32 and scaled to about unit
    variance."""

    name: str
    identity: str  # changes whenever the weights or the sampler do: part of every run's fingerprint
    component: str  # what diffusers' pipelines call the denoiser: "unet" or "transformer"
    denoiser: (
        nn.Module
    )  # what sliders attach to; loaded when first asked for, so that it never lies in memory beside the text encoders
    layers: Mapping[
        Targets, str
    ]  # for each choice of slider targets, a regular expression of its linear layers' whole module paths
    schedule: Schedule
    latent_shape: tuple[int, int, int]
    image_size: Size  # pixels
    device: torch.device
    text_encoders: dict[str, Any]  # those that are loaded now, by their folders
    keeps_text_encoders = False

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Prompts -> condition. The text encoders are loaded for it and let go of afterwards."""

    @contextmanager
    def keeping_text_encoders(self) -> Generator[None]:
        """Within the block they stay loaded, for the prompts of many concepts in turn."""
        self.keeps_text_encoders = True
        try:
            yield
        finally:
            self.keeps_text_encoders = False
            self.let_go_of_text_encoders()

    def let_go_of_text_encoders(self) -> None:
        """Free their memory, unless they are to be kept."""
        if not self.keeps_text_encoders:
            self.text_encoders.clear()
            gc.collect()

    @abstractmethod
    def predict(self, x_BCHW: Tensor, step_B: Tensor, condition: Condition) -> Tensor:
        """x̃₀ [B, C, H, W] of latents at sampler steps `step_B` (int64, 0 is the noisiest; rows may differ). At the last
        step it is the image's latents."""

    @abstractmethod
    def decode(self, z_BCHW: Tensor) -> Tensor:
        """Scaled latents -> images01 [B, 3, H, W], differentiable, not clamped (a clamp would cut the gradient)."""

    def draw(self, z_BCHW: Tensor) -> Tensor:
        """As `decode`, for pictures that people look at: by the model's full decoder where previews have a small one,
        which may be of another size."""
        return self.decode(z_BCHW)

    @property
    def draws_apart(self) -> bool:
        """Whether `draw` gives other pictures than `decode`."""
        return False

    @abstractmethod
    def encode_images(self, images01: Tensor) -> Tensor:
        """images01 [B, 3, H, W] at the model's own size -> scaled latents."""

    @property
    def steps(self) -> int:
        return len(self.schedule)

    def noise(self, seeds: Sequence[int], draw: int = 0) -> Tensor:
        """Normal latents [B, C, H, W]; row b is draw number `draw` of a generator of its own, and diffusers draws the
        same ones."""
        return draws(self.latent_shape, seeds, draw).to(self.device)

    def start(self, seeds: Sequence[int]) -> Tensor:
        """The latents a trajectory begins with."""
        return self.schedule.start * self.noise(seeds)

    def step(self, x_BCHW: Tensor, x0_BCHW: Tensor, index: int, seeds: Sequence[int]) -> Tensor:
        """Latents after sampler step `index`, given the prediction there. After the last step: the image's.

        Samplers that add fresh noise draw it from `seeds`, one a row.
        """
        fresh = self.schedule.fresh_T[index]
        x = self.schedule.step(x_BCHW, x0_BCHW, index)
        return x + fresh * self.noise(seeds, index + 1) if fresh else x

    def diffuse(self, z_BCHW: Tensor, index: int, seeds: Sequence[int]) -> Tensor:
        """Clean scaled latents, noised as they would be at sampler step `index`."""
        return self.schedule.a_T[index] * z_BCHW + self.schedule.s_T[index] * self.noise(seeds)


def draws(shape: tuple[int, ...], seeds: Sequence[int], draw: int) -> Tensor:
    """Normal numbers [B, *shape]; row b is draw number `draw` of a generator of its own."""
    rows: list[Tensor] = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(draw):
            torch.randn((1, *shape), generator=generator)
        rows.append(torch.randn((1, *shape), generator=generator))
    return torch.cat(rows)
