"""Qwen-Image: prompts read by Qwen2.5-VL, joint blocks, and an autoencoder made for video that draws one frame."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle, pixel_unshuffle
from torch.utils.checkpoint import checkpoint

from sliderspace.core.settings import Targets
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.flow import ONE_TEXT_ENCODER, FlowBackbone

TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
SYSTEM = 34  # tokens of it before the prompt, which the transformer is not shown


class OneFrameBackbone(FlowBackbone):
    """A flow model whose autoencoder is Qwen-Image's: latents of a video with one frame, each channel with a mean and a
    deviation of its own."""

    needs = ONE_TEXT_ENCODER
    has_small_decoders = False

    @classmethod
    def channels_of(cls, vae: Mapping[str, Any]) -> int:
        return int(vae["z_dim"])

    @cached_property
    def vae(self) -> Any:
        vae = super().vae
        layers: list[Any] = [layer for layer in vae.modules() if isinstance(layer, nn.Conv3d)]
        for layer in layers:
            layer.forward = partial(_still, layer)
        return vae

    def checkpoint_vae(self, vae: Any) -> None:
        for block in vae.decoder.up_blocks:  # diffusers has no switch for these
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    def _channel(self, name: str) -> Tensor:
        return torch.tensor(self.config("vae")[name], device=self.device).view(1, -1, 1, 1)

    def _decoded(self, vae: Any, z_BCHW: Tensor) -> Tensor:
        z = z_BCHW * self._channel("latents_std") + self._channel("latents_mean")
        # Its `decode` keeps frames for the next one, and clamps, which would cut the gradient.
        return vae.decoder(vae.post_quant_conv(z.to(self.dtype).unsqueeze(2)))[:, :, 0].float() / 2 + 0.5

    @torch.no_grad()
    def encode_images(self, images01: Tensor) -> Tensor:
        x = (images01 * 2 - 1).to(self.device, self.dtype).unsqueeze(2)
        z = self.vae.encode(x).latent_dist.mean[:, :, 0].float()
        return (z - self._channel("latents_mean")) / self._channel("latents_std")


class QwenImageBackbone(OneFrameBackbone):
    """QwenImagePipeline folders; blocks have projections of their own for text (`add_*`) and image (`to_*`). Guidance
    keeps the length of each patch's prediction, so that a large one does not burn the picture."""

    pipeline_class = "QwenImagePipeline"
    denoiser_class = "QwenImageTransformer2DModel"
    layers: Mapping[Targets, str] = {
        "cross-kv": r"transformer_blocks\.\d+\.attn\.add_[kv]_proj",
        "cross": r"transformer_blocks\.\d+\.attn\.(add_[qkv]_proj|to_add_out)",
        "attention": r"transformer_blocks\.\d+\.attn\.(add_[qkv]_proj|to_add_out|to_[qkv]|to_out\.0)",
        "linear": r"transformer_blocks\.\d+\."
        r"(attn\.(add_[qkv]_proj|to_add_out|to_[qkv]|to_out\.0)|(img|txt)_mlp\.net\.(0\.proj|2))",
    }
    window = 1024

    @classmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        return 50, 4.0

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        words = self.tokenizer("Qwen2Tokenizer")
        self.check_prompts(prompts, lambda prompt: words(TEMPLATE.format(prompt)), self.window + SYSTEM)
        chats = [TEMPLATE.format(prompt) for prompt in (*prompts, "")]
        tokens = words(chats, padding="longest", padding_side="right", return_tensors="pt")
        # Qwen looks back only, so padding on the right changes nothing; `length` says where it begins.
        states = self.read_texts(
            "Qwen2_5_VLForConditionalGeneration", "text_encoder", self.dtype, tokens.input_ids, _last_states
        )
        return self.condition_of(states=states, length=[tokens.attention_mask.sum(1) - SYSTEM])

    def velocity(self, x_BCHW: Tensor, time_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        height, width = x_BCHW.shape[-2] // 2, x_BCHW.shape[-1] // 2
        out_BLC = self.denoiser(
            hidden_states=pixel_unshuffle(x_BCHW, 2).flatten(2).transpose(1, 2),
            timestep=time_B / 1000,
            encoder_hidden_states=texts["states"],
            encoder_hidden_states_mask=shown(texts),
            img_shapes=[[(1, height, width)]] * len(x_BCHW),
        ).sample
        return pixel_shuffle(out_BLC.transpose(1, 2).unflatten(2, (height, width)), 2)

    def guided(self, without: Tensor, with_text: Tensor) -> Tensor:
        v = super().guided(without, with_text)
        return v * (_patch_lengths(with_text) / _patch_lengths(v))


def shown(texts: Mapping[str, Tensor]) -> Tensor:
    """Which places of `states` hold text, bool [B, L]."""
    places = torch.arange(texts["states"].shape[1], device=texts["states"].device)
    return places < texts["length"].unsqueeze(1)


def _still(layer: nn.Conv3d, x_BC1HW: Tensor, before: Tensor | None = None) -> Tensor:
    """A causal convolution over frames on the first of them, with none `before`: all but the newest part of its kernel
    meets zeros, which diffusers makes and keeps for every layer, at three times the memory and arithmetic."""
    places = [side // 2 for side in layer.kernel_size[1:]]
    return conv2d(x_BC1HW.squeeze(2), layer.weight[:, :, -1], layer.bias, layer.stride[1:], places).unsqueeze(2)


def _last_states(qwen: Any, ids_BL: Tensor) -> Tensor:
    return qwen(ids_BL, output_hidden_states=True).hidden_states[-1][:, SYSTEM:]


def _patch_lengths(v_BCHW: Tensor) -> Tensor:
    """The length of each patch of 2×2 latents, at all its places."""
    lengths = pixel_unshuffle(v_BCHW, 2).norm(dim=1, keepdim=True)
    return lengths.repeat_interleave(2, -1).repeat_interleave(2, -2)
