"""An encoder takes images in [0, 1] and does the rest. No other code resizes or normalises, so PCA and training share
one path."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from sliderspace.core.errors import BadInput
from sliderspace.models.encoders.judge import Judge

RESAMPLING = {2: "bilinear", 3: "bicubic"}  # PIL's numbers


@dataclass(frozen=True)
class Preprocessing:
    """How a tower wants its images, from the folder's `preprocessor_config.json`. Sizes are (height, width)."""

    edge: int  # the shorter edge is resized to this ...
    box: tuple[int, int] | None  # ... unless every image is resized to one size
    crop: tuple[int, int]
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, folder: Path) -> "Preprocessing":
        """Raises BadInput for a step that is not known here, KeyError for one that is not said."""
        data = read_json(folder / "preprocessor_config.json")
        if data.get("resample", 3) not in RESAMPLING:
            raise BadInput(
                f"{folder} wants images resampled by PIL's method {data['resample']}; known are 2 (bilinear) and 3 "
                f"(bicubic)"
            )
        if left_out := [step for step in ("do_resize", "do_rescale", "do_normalize") if data.get(step) is False]:
            raise BadInput(
                f"the preprocessor in {folder} leaves out {', '.join(left_out)}; encoders here resize, rescale and "
                f"normalise"
            )
        size = data["size"]
        box = _pair(size) if isinstance(size, dict) and "height" in size else None
        edge = size if isinstance(size, int) else int(size.get("shortest_edge") or size["height"])
        cropped = data.get("do_center_crop", True) and data.get("crop_size")
        crop = _pair(data["crop_size"]) if cropped else box or (edge, edge)
        return cls(
            edge, box, crop, RESAMPLING[data.get("resample", 3)], tuple(data["image_mean"]), tuple(data["image_std"])
        )

    def resized_to(self, height: int, width: int) -> tuple[int, int]:
        """The size before the crop: one for all; or the shorter edge made `edge` and the longer one in proportion,
        rounded down."""
        if self.box:
            return self.box
        return (self.edge, self.edge * width // height) if height <= width else (self.edge * height // width, self.edge)

    def fitted_to(self, height: int, width: int) -> tuple[int, int]:
        """The size at which the whole picture just fits into the crop, to the nearest pixel."""
        scale = min(self.crop[0] / height, self.crop[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))


class Encoder(nn.Module):
    """An image tower and what comes before it: images01 [B, 3, H, W] -> unit vectors φ [B, D], differentiable, weights
    frozen.

    `tower` maps prepared pixels [B, 3, h, w] to embeddings [B, D]. Images are clamped to [0, 1] with a gradient that
    passes, resized, cropped in the middle, and normalised as the reference processor does; with `whole`, one that is
    not square is fitted into the crop instead, between bars of the mean colour. `identity` names these weights in
    fingerprints.
    """

    def __init__(
        self,
        tower: nn.Module,
        preprocessing: Preprocessing,
        *,
        dim: int,
        identity: str,
        device: torch.device,
        dtype: torch.dtype,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.whole = whole
        self.tower = tower.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.preprocessing, self.dim, self.identity, self.dtype = preprocessing, dim, identity, dtype
        self.mean, self.std = (
            torch.tensor(channels, device=device).view(1, 3, 1, 1)
            for channels in (preprocessing.mean, preprocessing.std)
        )

    def forward(self, images01: Tensor) -> Tensor:
        """φ of images [B, 3, H, W]; values outside [0, 1] count as clipped."""
        return self.described(images01)[0]

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """The factors this encoder can name, with their values; empty for most."""
        return self.tower.classes if isinstance(self.tower, Judge) else {}

    @property
    def numbers(self) -> Mapping[str, Sequence[float]]:
        """Of the factors that are numbers: what each of their values stands for, ascending."""
        return self.tower.numbers if isinstance(self.tower, Judge) else {}

    def described(self, images01: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """φ, and the probabilities [B, values] of each factor of `classes`."""
        features = self.tower(self.prepare(images01).to(self.dtype))
        answers = self.tower.logits(features) if isinstance(self.tower, Judge) else {}
        return nn.functional.normalize(features.float(), dim=-1), {
            name: part.float().softmax(1) for name, part in answers.items()
        }

    def prepare(self, images01: Tensor) -> Tensor:
        """What the tower sees: clamped, resized, cropped, clamped, normalised."""
        # before resizing as well: a preview must give what the finished picture, which is clamped, gives
        return (_clamp01(self._cropped(_clamp01(images01))) - self.mean) / self.std

    def _cropped(self, x: Tensor) -> Tensor:
        want, (height, width) = self.preprocessing, self.preprocessing.crop
        fitted = self.whole and not want.box and x.shape[-2] != x.shape[-1]
        size = want.fitted_to(*x.shape[-2:]) if fitted else want.resized_to(*x.shape[-2:])
        if size != x.shape[-2:]:
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            down, across = (
                _resizing(*s, want.mode, x.device).to(x.dtype) for s in zip(x.shape[-2:], size, strict=True)
            )
            x = down @ (x @ across.T)
        if fitted:
            above, beside = height - size[0], width - size[1]
            bars = (beside // 2, beside - beside // 2, above // 2, above - above // 2)
            return self.mean + nn.functional.pad(x - self.mean, bars)
        top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
        return x[..., top : top + height, left : left + width]


@lru_cache(maxsize=16)
def _resizing(length: int, to: int, mode: str, device: torch.device) -> Tensor:
    """Antialiased resizing of one side as a matrix [to, length], float32. Two products of matrices do to a picture what
    `interpolate` does, at a fifth of its time with gradients on a processor, and equally every time on a GPU."""
    rows = torch.eye(length)[None, None]
    return nn.functional.interpolate(rows, size=(to, length), mode=mode, antialias=True)[0, 0].to(device)


def _clamp01(x: Tensor) -> Tensor:
    """The picture a viewer would see, while a pixel that left the range still feels the way back."""
    return x + (x.clamp(0, 1) - x).detach()


def _pair(size: dict[str, int] | int) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))


def read_json(path: Path) -> dict[str, Any]:
    """An object of an encoder folder's JSON file. Raises BadInput when it is missing, or something else."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BadInput(
            f"no {path.name} in {path.parent}: an encoder is a folder with config, weights and preprocessor"
        ) from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: the encoder folder is damaged") from error
    if not isinstance(data, dict):
        raise BadInput(f"{path} is not what an encoder folder holds under that name")
    return cast("dict[str, Any]", data)
