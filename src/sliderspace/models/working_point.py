"""Temporary."""

from dataclasses import dataclass
from functools import cached_property

import torch

from sliderspace.core.settings import Settings
from sliderspace.models.backbones import preset_for
from sliderspace.models.backbones.load import load_backbone, precision_for
from sliderspace.models.encoders import find_encoder, load_encoder
from sliderspace.models.sources import identity_of


def embedded_steps(embed, steps):
    from sliderspace.core.errors import BadInput

    if isinstance(embed, str):
        return tuple(range(steps)) if embed == "all" else (steps - 1,)
    if any(not 0 <= t < steps for t in embed):
        raise BadInput(f"steps to embed are 0 … {steps - 1} here; asked for {', '.join(map(str, embed))}")
    return tuple(sorted({*embed, steps - 1}))


@dataclass(frozen=True)
class WorkingPoint:
    settings: Settings
    device: torch.device

    @classmethod
    def of(cls, settings: Settings, device: torch.device) -> "WorkingPoint":
        p = cls(settings, device)
        p.embed_T
        return p

    @cached_property
    def _b(self):
        return backbone_at(self, device=self.device)

    @property
    def identity(self) -> str:
        return self._b.identity

    @property
    def steps(self) -> int:
        return self._b.steps

    @property
    def latent_shape(self):
        return self._b.latent_shape

    @property
    def image_size(self):
        return self._b.image_size

    @property
    def precision(self):
        return str(precision_for(self.device, self.settings.precision)).removeprefix("torch.")

    @cached_property
    def embed_T(self):
        return embedded_steps(self.settings.embed, self.steps)

    @property
    def encoder(self):
        return self.settings.encoder or preset_for(self.settings.backbone).encoder

    @property
    def judge(self):
        return preset_for(self.settings.backbone).judge

    @cached_property
    def encoder_identity(self):
        return identity_of(find_encoder(self.encoder))

    @cached_property
    def judge_identity(self):
        return identity_of(find_encoder(self.judge)) if self.judge else ""


def backbone_at(point, *, device, checkpointing=False):
    s = point.settings
    chosen = s.model_dump(include={"steps", "guidance", "precision", "resolution", "decoder", "quantize"})
    return load_backbone(s.backbone, device=str(device), checkpointing=checkpointing, **chosen)


def encoder_at(location, *, device, dtype):
    folder = find_encoder(location)
    return load_encoder(folder, identity=identity_of(folder), device=device, dtype=dtype)
