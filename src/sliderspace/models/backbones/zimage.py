"""Z-Image: one stream of text and image tokens, prompts read by Qwen3. Turbo takes 8 steps and no guidance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.settings import Targets
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.flow import ONE_TEXT_ENCODER, FlowBackbone
from sliderspace.models.backbones.folder import read_config


class ZImageBackbone(FlowBackbone):
    """ZImagePipeline folders. Guidance counts as everywhere here, 1 being none: diffusers' pipeline counts from 0, so
    its 4 is our 5.

    Two small stacks refine text and image alone; then 30 layers (at full size) hold both, the only place where the two
    meet.
    """

    denoiser_class = "ZImageTransformer2DModel"
    pipeline_class = "ZImagePipeline"
    layers: Mapping[Targets, str] = {
        "cross-kv": r"layers\.\d+\.attention\.to_[kv]",
        "cross": r"layers\.\d+\.attention\.to_(q|k|v|out\.0)",
        "attention": r"(layers|noise_refiner|context_refiner)\.\d+\.attention\.to_(q|k|v|out\.0)",
        "linear": r"(layers|noise_refiner|context_refiner)\.\d+\.(attention\.to_(q|k|v|out\.0)|feed_forward\.w[123])",
    }
    needs = ONE_TEXT_ENCODER
    window = 512  # tokens, those of the chat that the prompt is wrapped in among them

    @classmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        """Turbo's noise levels are shifted by 3, the base model's by 6."""
        return (8, 1.0) if read_config(folder, "scheduler").get("shift") == 3.0 else (50, 5.0)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        words = self.tokenizer("Qwen2Tokenizer")
        self.check_prompts(prompts, lambda prompt: words(_as_chat(words, prompt)), self.window)
        chats = [_as_chat(words, prompt) for prompt in (*prompts, "")]
        tokens = words(chats, padding="longest", padding_side="right", return_tensors="pt")
        # Qwen3 looks back only, so padding on the right changes nothing; `length` says where it begins.
        states = self.read_texts("Qwen3Model", "text_encoder", self.dtype, tokens.input_ids, _states)
        return self.condition_of(states=states, length=[tokens.attention_mask.sum(1)])

    def velocity(self, x_BCHW: Tensor, time_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        """The transformer counts time up to the image, and its output points there too."""
        captions = [states[:n] for states, n in zip(texts["states"], texts["length"].tolist(), strict=True)]
        out = self.denoiser(list(x_BCHW.unsqueeze(2)), 1 - time_B / 1000, captions).sample
        return -torch.stack(out).squeeze(2)


def _states(qwen: Any, ids_BL: Tensor) -> Tensor:
    """[B, L, D] before the last layer, which is what the transformer was trained on."""
    return qwen(ids_BL, output_hidden_states=True).hidden_states[-2]


def _as_chat(words: Any, prompt: str) -> str:
    """The prompt as a user's message, the form in which the model was taught."""
    message = [{"role": "user", "content": prompt}]
    return words.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)
