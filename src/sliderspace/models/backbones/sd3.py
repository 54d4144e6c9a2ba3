"""Stable Diffusion 3 and 3.5: two CLIPs and T5 beside the image in joint blocks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Targets
from sliderspace.core.sizes import Size, in_words
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.flow import FlowBackbone
from sliderspace.models.backbones.folder import read_config, vae_scale


class SD3Backbone(FlowBackbone):
    """StableDiffusion3Pipeline folders. Blocks have projections of their own for text (`add_*`) and image (`to_*`); the
    first of 3.5 medium attend to the image alone once more (`attn2`)."""

    pipeline_class = "StableDiffusion3Pipeline"
    denoiser_class = "SD3Transformer2DModel"
    layers: Mapping[Targets, str] = {
        "cross-kv": r"transformer_blocks\.\d+\.attn\.add_[kv]_proj",
        "cross": r"transformer_blocks\.\d+\.attn\.(add_[qkv]_proj|to_add_out)",
        "attention": r"transformer_blocks\.\d+\.(attn\.(add_[qkv]_proj|to_add_out)|attn2?\.(to_[qkv]|to_out\.0))",
        "linear": r"transformer_blocks\.\d+\."
        r"(attn\.(add_[qkv]_proj|to_add_out)|attn2?\.(to_[qkv]|to_out\.0)|ff(_context)?\.net\.(0\.proj|2))",
    }
    needs = (
        *(f"tokenizer{n}/tokenizer_config.json" for n in ("", "_2", "_3")),
        *(f"text_encoder{n}/config.json" for n in ("", "_2", "_3")),
        "transformer/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
    )
    window = 256  # tokens of T5 that a prompt may have; the CLIPs read the first 77 of theirs

    @classmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        return 28, 4.5

    @classmethod
    def latent_shape_of(cls, folder: Path, size: Size) -> tuple[int, int, int]:
        channels, height, width = super().latent_shape_of(folder, size)
        most = 2 * read_config(folder, "transformer").get("pos_embed_max_size", 96)
        if max(height, width) > most:
            pixels = most * vae_scale(folder)
            raise BadInput(f"--resolution {in_words(size)}: this model has places for {pixels} pixels a side at most")
        return channels, height, width

    @classmethod
    def set_times(cls, scheduler: Any, folder: Path, tokens: int, steps: int) -> None:
        scheduler.set_timesteps(steps, mu=cls.shift_of(folder, tokens, steps))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        t5 = self.tokenizer("T5Tokenizer", "tokenizer_3")
        self.check_prompts(prompts, t5, self.window)
        texts = [*prompts, ""]
        long = t5(texts, padding="max_length", max_length=self.window, return_tensors="pt").input_ids
        read = self.read_texts("T5EncoderModel", "text_encoder_3", self.dtype, long, lambda t5, ids: t5(ids)[0])
        states = torch.cat([part.cpu() for part in read])
        clips = [self._read_clip(texts, number) for number in ("", "_2")]
        both = torch.cat([layer for layer, _ in clips], -1)
        both = torch.nn.functional.pad(both, (0, states.shape[-1] - both.shape[-1]))
        pooled = torch.cat([pooled for _, pooled in clips], -1)
        return self.condition_of(states=[torch.cat([both.to(states.dtype), states], 1)], pooled=[pooled])

    def _read_clip(self, texts: Sequence[str], number: str) -> tuple[Tensor, Tensor]:
        """The layer before the last, and the pooled text."""
        words = self.tokenizer("CLIPTokenizer", f"tokenizer{number}")
        length = words.model_max_length
        ids = words(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        kind = "CLIPTextModelWithProjection"
        read = self.read_texts(kind, f"text_encoder{number}", torch.float32, ids, _states_and_pooled)
        return torch.cat([part[0].cpu() for part in read]), torch.cat([part[1].cpu() for part in read])

    def velocity(self, x_BCHW: Tensor, time_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        return self.denoiser(
            hidden_states=x_BCHW,
            timestep=time_B,
            encoder_hidden_states=texts["states"],
            pooled_projections=texts["pooled"],
        ).sample


def _states_and_pooled(clip: Any, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
    out = clip(ids_BL, output_hidden_states=True)
    return out.hidden_states[-2], out[0]
