"""One LoRA file -> the layers it changes and what is said of it, whoever wrote it."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.share.lora_names import denoiser_layers, other_kind
from sliderspace.share.metadata import CHECKSUM, About, about_in, checksum_of, damaged
from sliderspace.space.labels import Label

HALVES = (
    (".lora_down.weight", ".lora_up.weight"),
    (".lora_A.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    ("_lora.down.weight", "_lora.up.weight"),
)


@dataclass(frozen=True)
class LoraFile:
    """One slider as it lies on disk: `down` [r, in] and `up` [out, r] by layer path, alphas multiplied into `up`.

    `about` is what our metadata say, None for a file of other origin; `text` counts its tensors for text encoders,
    which a slider has none of.
    """

    path: Path
    about: About | None
    down: dict[str, Tensor]
    up: dict[str, Tensor]
    text: int
    digest: str

    @property
    def label(self) -> Label:
        """The name that the file says, else its own."""
        return (self.about.label or Label(name=self.about.name)) if self.about else Label(name=self.path.stem)

    @property
    def rank(self) -> int:
        return max(len(value) for value in self.down.values())


class Adapter(BaseModel):
    """What PEFT stores beside the values: its scale of a layer is not in the tensors."""

    lora_alpha: float | None = None
    alpha_pattern: dict[str, float] = {}
    use_rslora: bool = False

    def scale(self, layer: str, rank: int) -> float:
        """alpha / rank, or alpha / √rank for rank-stabilised adaptors; 1 where nothing is stored."""
        own = [alpha for end, alpha in self.alpha_pattern.items() if f".{layer}".endswith(f".{end}")]
        alpha = own[0] if own else self.lora_alpha
        return 1.0 if alpha is None else alpha / (rank**0.5 if self.use_rslora else rank)


def load_file(path: str | Path) -> LoraFile:
    """Read the LoRA file at `path`, ours or not, in any layout that diffusers reads.

    Raises BadInput: missing, of a newer version, or no plain LoRA of linear layers; DamagedFile: broken, or with values
    that are not finite.
    """
    path = Path(path)
    metadata, tensors, digest = _read(path)
    about = about_in(path, metadata)
    if kind := other_kind(tensors):
        raise BadInput(f"{path} is a {kind}, not a LoRA: it cannot become a slider.")
    try:
        layers, text = denoiser_layers(_alphas_applied(tensors))
    except BadInput as error:
        if about:
            raise damaged(path) from error
        raise BadInput(f"{path} cannot become a slider: {error}.") from error
    adapter = Adapter() if about else _adapter(path, metadata)
    down = {layer: _matrix(path, layer, halves[0]) for layer, halves in layers.items()}
    up = {layer: _matrix(path, layer, halves[1]) for layer, halves in layers.items()}
    up = {layer: value * adapter.scale(layer, len(down[layer])) for layer, value in up.items()}
    if any(up[layer].shape[1] != len(down[layer]) for layer in down):
        raise damaged(path)
    return LoraFile(path, about, down, up, text, digest)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor], str]:
    """Metadata, float32 tensors and a digest of the contents."""
    from safetensors.torch import load

    try:
        data = path.read_bytes()
        with cast("Any", safe_open)(path, framework="np") as file:
            metadata = file.metadata() or {}
        stored = load(data)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}.") from error
    except (SafetensorError, ValueError) as error:
        raise damaged(path) from error
    tensors = {name: value.float() for name, value in stored.items()}
    if wrong := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise DamagedFile(f"{path} is damaged: not all values of '{wrong[0]}' are numbers. Export or fetch it again.")
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum_of(metadata, stored):
        raise damaged(path)
    return metadata, tensors, hashlib.blake2b(data, digest_size=10).hexdigest()


def _alphas_applied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A layer with an alpha is scaled by alpha / rank: multiplied into its up-projection, the alpha is not needed."""
    values = {name: value for name, value in tensors.items() if not name.endswith(".alpha")}
    for name in sorted(tensors.keys() - values.keys()):
        layer = name.removesuffix(".alpha")
        halves = next(((layer + d, layer + u) for d, u in HALVES if {layer + d, layer + u} <= values.keys()), None)
        if halves is None or tensors[name].numel() != 1 or not values[halves[0]].numel():
            raise BadInput(f"'{name}' is the scale of no layer")
        values[halves[1]] = values[halves[1]] * (tensors[name].item() / (values[halves[0]].shape or (1,))[0])
    return values


def _adapter(path: Path, metadata: dict[str, str]) -> Adapter:
    """PEFT's settings of a file: in its metadata, as diffusers writes them, or in a file beside it."""
    beside = path.with_name("adapter_config.json")
    try:
        has_settings = path.stem == "adapter_model" and beside.is_file()
        stored = metadata.get("lora_adapter_metadata") or (beside.read_text() if has_settings else "{}")
        values = cast("dict[str, Any]", json.loads(stored))
        return Adapter.model_validate({re.sub(r"^(unet|transformer)\.", "", k): v for k, v in values.items()})
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(path) from error


def _matrix(path: Path, layer: str, value: Tensor) -> Tensor:
    """A layer's half as a matrix. A convolution of one pixel is a linear layer on each pixel; no other is one."""
    if not value.numel():
        raise damaged(path)
    if value.ndim == 4 and value.shape[2:] == (1, 1):
        return value.flatten(1)
    if value.ndim != 2:
        raise BadInput(f"{path} cannot become a slider: it changes a convolution, {layer}. Only linear layers can be.")
    return value
