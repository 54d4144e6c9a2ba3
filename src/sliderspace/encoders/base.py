"""An encoder takes images in [0, 1] and does the rest. No other code resizes or normalises, so PCA and training share one path."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sliderspace.errors import BadInput

FAMILIES = {"clip": "CLIPVisionModelWithProjection", "clip_vision_model": "CLIPVisionModelWithProjection", "dinov2": "Dinov2Model"}
RESAMPLING = {2: "bilinear", 3: "bicubic"}  # PIL's numbers


class Encoder(nn.Module):
    """A `transformers` image tower: images01 [B, 3, H, W] -> unit vectors φ [B, D], differentiable.

    Size, crop, resampling and normalisation come from the folder's own `preprocessor_config.json`, applied as the reference
    processor does (shortest edge to size, centre crop, antialiased). Values outside [0, 1] are clamped with a gradient that passes.
    """

    def __init__(self, folder: Path, *, identity: str, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        import transformers

        config, steps = _read(folder / "config.json"), _read(folder / "preprocessor_config.json")
        if config.get("model_type") not in FAMILIES:
            raise BadInput(f"{folder} holds a '{config.get('model_type')}' model; encoders known are CLIP and DINOv2")
        attention = "eager" if device.type == "cpu" else "sdpa"  # at a hundred tokens the fused CPU kernel is half as fast
        family: Any = getattr(transformers, FAMILIES[config["model_type"]])
        tower, found = family.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention, use_safetensors=True, output_loading_info=True
        )
        if found["missing_keys"]:  # transformers would fill them with random numbers
            raise BadInput(f"the weights in {folder} lack {len(found['missing_keys'])} parts, such as {min(found['missing_keys'])}")
        self.tower: Any = tower.to(device).eval().requires_grad_(False)
        self.identity, self.dtype = identity, dtype
        self.dim = int(getattr(self.tower.config, "projection_dim", 0) or self.tower.config.hidden_size)
        self.size, self.crop = _edge(steps["size"]), _crop(steps)
        self.square = isinstance(steps["size"], dict) and "height" in steps["size"]
        self.mode = RESAMPLING.get(int(steps.get("resample", 3)), "bicubic")
        mean, std = (torch.tensor(steps[key], device=device).view(1, 3, 1, 1) for key in ("image_mean", "image_std"))
        self.mean, self.std = mean, std

    def forward(self, images01: Tensor) -> Tensor:
        """φ of images [B, 3, H, W]."""
        x = _clamp01(self._resized(images01))
        out = self.tower(pixel_values=((x - self.mean) / self.std).to(self.dtype))
        z_BD = out.image_embeds if hasattr(out, "image_embeds") else out.last_hidden_state[:, 0]
        return nn.functional.normalize(z_BD.float(), dim=-1)

    def _resized(self, x: Tensor) -> Tensor:
        size = self.resized_to(*x.shape[-2:])
        if size != x.shape[-2:]:
            x = nn.functional.interpolate(x, size=size, mode=self.mode, antialias=True)
        top, left = (x.shape[-2] - self.crop) // 2, (x.shape[-1] - self.crop) // 2
        return x[..., top : top + self.crop, left : left + self.crop]

    def resized_to(self, height: int, width: int) -> tuple[int, int]:
        """The size before the crop: the shorter edge made `size` and the longer one in proportion, rounded down; or a plain square."""
        if self.square:
            return self.size, self.size
        return (self.size, self.size * width // height) if height <= width else (self.size * height // width, self.size)


def _clamp01(x: Tensor) -> Tensor:
    """The picture a viewer would see, while a pixel that left the range still feels the way back."""
    return x + (x.clamp(0, 1) - x).detach()


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BadInput(
            f"no {path.name} in {path.parent}: an encoder is a transformers folder with config, weights and preprocessor"
        ) from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: the encoder folder is damaged") from error
    if not isinstance(data, dict):
        raise BadInput(f"{path} is not what an encoder folder holds under that name")
    return cast("dict[str, Any]", data)


def _edge(size: dict[str, int] | int) -> int:
    return size if isinstance(size, int) else int(size.get("shortest_edge") or size["height"])


def _crop(steps: dict[str, Any]) -> int:
    return _edge(steps["crop_size"]) if steps.get("do_center_crop", True) and "crop_size" in steps else _edge(steps["size"])


def load_encoder(folder: Path, *, identity: str, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of a local folder. Raises BadInput when there is none, or its files are missing or damaged."""
    if not folder.is_dir():
        raise BadInput(f"no encoder '{folder}': give the folder of a transformers CLIP or DINOv2 model")
    try:
        return Encoder(folder, identity=identity, device=device, dtype=dtype)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"the encoder in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
