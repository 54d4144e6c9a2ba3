"""FLUX.2 [klein]: prompts read by Qwen3, latents normalised in patches; distilled it takes 4 steps and no guidance."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from sliderspace.core.settings import Targets
from sliderspace.models.backbones.base import Condition, draws
from sliderspace.models.backbones.flow import ONE_TEXT_ENCODER, FlowBackbone

WINDOW = 512  # tokens of a prompt, those of the chat around it among them
LAYERS = (9, 18, 27)  # of Qwen3, side by side in what the transformer is shown


class Flux2KleinBackbone(FlowBackbone):
    """Flux2KleinPipeline folders. Single blocks have one projection for queries, keys, values and their MLP: it belongs
    to no choice but `linear`."""

    pipeline_class = "Flux2KleinPipeline"
    denoiser_class = "Flux2Transformer2DModel"
    layers: Mapping[Targets, str] = {
        "cross-kv": r"transformer_blocks\.\d+\.attn\.add_[kv]_proj",
        "cross": r"transformer_blocks\.\d+\.attn\.(add_[qkv]_proj|to_add_out)",
        "attention": r"transformer_blocks\.\d+\.attn\.(add_[qkv]_proj|to_add_out|to_[qkv]|to_out\.0)",
        "linear": r"transformer_blocks\.\d+\."
        r"(attn\.(add_[qkv]_proj|to_add_out|to_[qkv]|to_out\.0)|ff(_context)?\.linear_(in|out))|"
        r"single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)",
    }
    needs = ONE_TEXT_ENCODER

    @classmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        distilled = json.loads((folder / "model_index.json").read_text()).get("is_distilled", False)
        return (4, 1.0) if distilled else (50, 4.0)

    @classmethod
    def shift_of(cls, folder: Path, tokens: int, steps: int) -> float:
        return empirical_shift(tokens, steps)

    def noise(self, seeds: Sequence[int], draw: int = 0) -> Tensor:
        """diffusers draws the patches."""
        channels, height, width = self.latent_shape
        return pixel_shuffle(draws((4 * channels, height // 2, width // 2), seeds, draw), 2).to(self.device)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        words = self.tokenizer("Qwen2Tokenizer")
        self.check_prompts(prompts, lambda prompt: words(_as_chat(words, prompt)), WINDOW)
        chats = [_as_chat(words, prompt) for prompt in (*prompts, "")]
        tokens = words(chats, padding="max_length", padding_side="right", max_length=WINDOW, return_tensors="pt")
        # The transformer is shown the padding too, and Qwen reads it as padding.
        ids_and_mask = torch.stack([tokens.input_ids, tokens.attention_mask], 1)
        return self.condition_of(
            states=self.read_texts("Qwen3ForCausalLM", "text_encoder", self.dtype, ids_and_mask, _states)
        )

    def velocity(self, x_BCHW: Tensor, time_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        height, width = x_BCHW.shape[-2] // 2, x_BCHW.shape[-1] // 2
        rows = len(x_BCHW)
        out_BLC = self.denoiser(
            hidden_states=pixel_unshuffle(x_BCHW, 2).flatten(2).transpose(1, 2),
            timestep=time_B / 1000,
            encoder_hidden_states=texts["states"],
            txt_ids=_places(1, 1, texts["states"].shape[1]).to(x_BCHW.device).expand(rows, -1, -1),
            img_ids=_places(height, width, 1).to(x_BCHW.device).expand(rows, -1, -1),
        ).sample
        return pixel_shuffle(out_BLC.transpose(1, 2).unflatten(2, (height, width)), 2)

    def _normal(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the autoencoder's latents, in patches [1, 4·C, 1, 1]."""
        norm, eps = self.vae.bn, self.vae.config.batch_norm_eps
        mean, variance = (t.float().view(1, -1, 1, 1) for t in (norm.running_mean, norm.running_var))
        return mean, (variance + eps).sqrt()

    def _decoded(self, vae: Any, z_BCHW: Tensor) -> Tensor:
        mean, deviation = self._normal()
        z = pixel_shuffle(pixel_unshuffle(z_BCHW, 2) * deviation + mean, 2)
        return vae.decode(z.to(self.dtype).contiguous(memory_format=torch.channels_last)).sample.float() / 2 + 0.5

    @torch.no_grad()
    def encode_images(self, images01: Tensor) -> Tensor:
        x = (images01 * 2 - 1).to(self.device, self.dtype, memory_format=torch.channels_last)
        mean, deviation = self._normal()
        z = pixel_unshuffle(self.vae.encode(x).latent_dist.mean.float(), 2)
        return pixel_shuffle((z - mean) / deviation, 2)


def empirical_shift(tokens: int, steps: int) -> float:
    """μ of FLUX.2: fitted straight lines in the number of image tokens at 10 and at 200 steps, and one between them in
    the number of steps (diffusers' pipeline_flux2_klein, compute_empirical_mu)."""
    at_200 = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    slope = (at_200 - (8.73809524e-05 * tokens + 1.89833333)) / 190
    return at_200 + slope * (steps - 200)


def _states(qwen: Any, ids_and_mask_B2L: Tensor) -> Tensor:
    ids, mask = ids_and_mask_B2L.unbind(1)
    out = qwen(ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
    return torch.cat([out.hidden_states[layer] for layer in LAYERS], -1)


def _as_chat(words: Any, prompt: str) -> str:
    message = [{"role": "user", "content": prompt}]
    return words.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=False)


def _places(height: int, width: int, length: int) -> Tensor:
    """Where each token is, [height·width·length, 4]: 0, row, column, place in the text."""
    return torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width), torch.arange(length))
