"""FLUX.1: schnell (few steps, no guidance) and dev (told its guidance, noise levels shifted with the image's size)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from sliderspace.core.settings import Targets
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.flow import FlowBackbone
from sliderspace.models.backbones.folder import read_config

SCHNELL_WINDOW = 256


class FluxBackbone(FlowBackbone):
    """FluxPipeline folders: T5 states and CLIP's pooled text; 19 double-stream, then 38 single-stream blocks at full
    size.

    Double blocks have projections of their own for text (`add_*`) and image (`to_*`); in single blocks both share them.
    The output projection of a single block also ends its MLP, so it counts as no attention layer.
    """

    denoiser_class = "FluxTransformer2DModel"
    pipeline_class = "FluxPipeline"
    layers: Mapping[Targets, str] = {
        "cross-kv": r"transformer_blocks\.\d+\.attn\.add_[kv]_proj|single_transformer_blocks\.\d+\.attn\.to_[kv]",
        "cross": r"transformer_blocks\.\d+\.attn\.(add_[qkv]_proj|to_add_out)|"
        r"single_transformer_blocks\.\d+\.attn\.to_[qkv]",
        "attention": r"(single_)?transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)",
        "linear": r"(single_)?transformer_blocks\.\d+\."
        r"(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(_context)?\.net\.(0\.proj|2)|proj_mlp|proj_out)",
    }
    needs = (
        "tokenizer/tokenizer_config.json",
        "tokenizer_2/tokenizer_config.json",
        "text_encoder/config.json",
        "text_encoder_2/config.json",
        "transformer/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
    )

    @classmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        return (28, 3.5) if read_config(folder, "transformer").get("guidance_embeds") else (4, 1.0)

    @property
    def window(self) -> int:
        """Tokens of T5 that a prompt may have: schnell was distilled with 256, dev trained with 512."""
        return 512 if self.told_guidance else SCHNELL_WINDOW

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        clip, t5 = self.tokenizer("CLIPTokenizer"), self.tokenizer("T5Tokenizer", "tokenizer_2")
        self.check_prompts(prompts, t5, self.window)
        texts = [*prompts, ""]
        # CLIP gives one vector for the whole prompt; as in diffusers, it reads the first 77 tokens, and T5 all of them.
        short = clip(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        long = t5(texts, padding="max_length", max_length=self.window, return_tensors="pt").input_ids
        pooled = self.read_texts("CLIPTextModel", "text_encoder", torch.float32, short, _pooled)
        states = self.read_texts("T5EncoderModel", "text_encoder_2", self.dtype, long, lambda t5, ids: t5(ids)[0])
        return self.condition_of(pooled=pooled, states=states)

    def velocity(self, x_BCHW: Tensor, time_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        height, width = x_BCHW.shape[-2] // 2, x_BCHW.shape[-1] // 2
        out_BLC = self.denoiser(
            hidden_states=pixel_unshuffle(x_BCHW, 2).flatten(2).transpose(1, 2),
            timestep=time_B / 1000,
            guidance=torch.full_like(time_B, self.guidance) if self.told_guidance else None,
            pooled_projections=texts["pooled"],
            encoder_hidden_states=texts["states"],
            txt_ids=torch.zeros(texts["states"].shape[1], 3, device=x_BCHW.device),
            img_ids=positions(height, width).to(x_BCHW.device),
        ).sample
        return pixel_shuffle(out_BLC.transpose(1, 2).unflatten(2, (height, width)), 2)


def _pooled(clip: Any, ids_BL: Tensor) -> Tensor:
    return clip(ids_BL).pooler_output


def positions(height: int, width: int) -> Tensor:
    """Where each patch is, [height·width, 3]: 0, row, column."""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1)
