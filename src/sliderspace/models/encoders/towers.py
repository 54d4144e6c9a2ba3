"""The image towers of `transformers`: CLIP, SigLIP, DINOv2 and its successors, and dual encoders, which join any image
tower with any text tower. Another family is another row."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sliderspace.core.errors import BadInput
from sliderspace.models.quiet import quiet_loading

# model_type in config.json -> the class, and the entry of its output that describes the whole picture
DUAL = "vision-text-dual-encoder"
_CLIP, _SIGLIP = ("CLIPVisionModelWithProjection", "image_embeds"), ("SiglipVisionModel", "pooler_output")
FAMILIES = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,  # SigLIP 2 of fixed size calls itself this too
    "siglip_vision_model": _SIGLIP,
    "dinov2": ("Dinov2Model", "pooler_output"),  # the class token after the last norm
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "pooler_output"),
    "dinov3_vit": ("DINOv3ViTModel", "pooler_output"),
    DUAL: ("VisionTextDualEncoderModel", "pooler_output"),
}


class Tower(nn.Module):
    """A model of transformers as a function: prepared pixels [B, 3, h, w] -> embeddings [B, D], not normalised."""

    def __init__(self, model: Any, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output
        self.look = (
            model.get_image_features if model.config.model_type == DUAL else model
        )  # called whole it wants texts

    def forward(self, pixels: Tensor) -> Tensor:
        return getattr(self.look(pixel_values=pixels), self.output)


def attention(model_type: str, device: str) -> dict[str, str]:
    """The attention to ask for. Of a dual encoder none: one of its towers may have no attention at all."""
    if model_type == DUAL:
        return {}
    # at a hundred tokens the fused CPU kernel is half as fast
    return {"attn_implementation": "eager" if device == "cpu" else "sdpa"}


def load(folder: Path, config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, int]:
    """The tower of a folder and its dimension D. Raises BadInput when weights lack a part."""
    import transformers

    name, output = FAMILIES[config["model_type"]]
    family: Any = getattr(transformers, name)
    with quiet_loading():  # no report on the text tower that is left out
        model, found = family.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **attention(config["model_type"], device.type),
        )
    if found["missing_keys"]:  # transformers would fill them with random numbers
        raise BadInput(
            f"the weights in {folder} lack {len(found['missing_keys'])} parts, such as {min(found['missing_keys'])}"
        )
    return Tower(model, output), int(getattr(model.config, "projection_dim", 0) or model.config.hidden_size)
