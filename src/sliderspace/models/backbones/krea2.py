"""Krea 2: one stream of text and image tokens, prompts read by twelve layers of Qwen3-VL. Raw is the model to train
on; Turbo, distilled from it, takes 8 steps and no guidance."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from torch.nn.utils.rnn import pad_sequence

from sliderspace.core.settings import Targets
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.flow import shift_for
from sliderspace.models.backbones.flux import positions
from sliderspace.models.backbones.folder import read_config
from sliderspace.models.backbones.qwen_image import SYSTEM, TEMPLATE, OneFrameBackbone, shown

PREFIX, SUFFIX = TEMPLATE.split("{}")
WINDOW = 512  # tokens of a prompt and the end of the chat around it
DISTILLED_SHIFT = 1.15


class Krea2Backbone(OneFrameBackbone):
    """Krea2Pipeline folders. Guidance counts as everywhere here, 1 being none: diffusers' pipeline counts from 0, so
    its 3.5 is our 4.5."""

    pipeline_class = "Krea2Pipeline"
    denoiser_class = "Krea2Transformer2DModel"
    layers: Mapping[Targets, str] = {
        "cross-kv": r"transformer_blocks\.\d+\.attn\.to_[kv]",
        "cross": r"transformer_blocks\.\d+\.attn\.to_(q|k|v|out\.0)",
        "attention": r"(transformer_blocks|text_fusion\.\w+_blocks)\.\d+\.attn\.to_(q|k|v|gate|out\.0)",
        "linear": r"(transformer_blocks|text_fusion\.\w+_blocks)\.\d+\."
        r"(attn\.to_(q|k|v|gate|out\.0)|ff\.(gate|up|down))",
    }

    @classmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        return (8, 1.0) if _index(folder).get("is_distilled") else (28, 5.5)

    @classmethod
    def shift_of(cls, folder: Path, tokens: int, steps: int) -> float:
        if _index(folder).get("is_distilled"):
            return DISTILLED_SHIFT
        return shift_for(tokens, {"max_image_seq_len": 6400, **read_config(folder, "scheduler")})

    def tuned(self, denoiser: Any) -> Any:
        fusion = denoiser.text_fusion
        fusion.forward = partial(_fused, fusion)
        return denoiser

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        words = self.tokenizer("Qwen2Tokenizer")
        end = words([SUFFIX], return_tensors="pt").input_ids
        limit = WINDOW + SYSTEM - end.shape[1]
        self.check_prompts(prompts, lambda prompt: words(PREFIX + prompt), limit)
        texts = [PREFIX + prompt for prompt in (*prompts, "")]
        tokens = words(texts, padding="max_length", padding_side="right", max_length=limit, return_tensors="pt")
        ids = torch.cat([tokens.input_ids, end.expand(len(texts), -1)], 1)
        mask = torch.cat([tokens.attention_mask, torch.ones_like(ids[:, limit:])], 1)
        read = self.read_texts("Qwen3VLModel", "text_encoder", self.dtype, torch.stack([ids, mask], 1), self._states)
        # Text has no places in the transformer and padding is hidden from it: without its padding it says the same.
        kept = [row.nonzero().squeeze(1) for row in mask[:, SYSTEM:]]
        rows = [row[places] for row, places in zip(torch.cat([part.cpu() for part in read]), kept, strict=True)]
        lengths = torch.tensor([len(row) for row in rows])
        return self.condition_of(states=[pad_sequence(rows, batch_first=True)], length=[lengths])

    def _states(self, qwen: Any, ids_and_mask_B2L: Tensor) -> Tensor:
        """[B, L, layers, D] of the layers that the transformer is shown. Places count the real tokens alone."""
        ids, mask = ids_and_mask_B2L.unbind(1)
        places = (mask.cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
        out = qwen(input_ids=ids, attention_mask=mask.bool(), position_ids=places, output_hidden_states=True)
        layers = _index(self.folder).get("text_encoder_select_layers") or range(2, 36, 3)
        return torch.stack([out.hidden_states[layer] for layer in layers], 2)[:, SYSTEM:]

    def velocity(self, x_BCHW: Tensor, time_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        height, width = x_BCHW.shape[-2] // 2, x_BCHW.shape[-1] // 2
        places = torch.cat([torch.zeros(texts["states"].shape[1], 3), positions(height, width)])
        out_BLC = self.denoiser(
            hidden_states=pixel_unshuffle(x_BCHW, 2).flatten(2).transpose(1, 2),
            encoder_hidden_states=texts["states"],
            timestep=(time_B / 1000).to(x_BCHW.dtype),
            position_ids=places.to(x_BCHW.device),
            encoder_attention_mask=shown(texts),
        ).sample
        return pixel_shuffle(out_BLC.transpose(1, 2).unflatten(2, (height, width)), 2)


def _fused(fusion: Any, states_BLND: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Krea2TextFusion's own forward, with tokens before rows where it reads each token's layers. A slider bank takes a
    longer batch for the rows once more and once more, and rows before tokens would get each other's sliders."""
    rows, tokens = states_BLND.shape[:2]
    x = states_BLND.transpose(0, 1).flatten(0, 1).contiguous()
    for block in fusion.layerwise_blocks:
        x = block(x)
    x = fusion.projector(x.unflatten(0, (tokens, rows)).transpose(0, 1).mT).squeeze(-1)
    for block in fusion.refiner_blocks:
        x = block(x, attention_mask=attention_mask)
    return x


def _index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model_index.json").read_text())
