"""The table of models: where each is, how it is sampled, what it knows. A folder or a repo id works in place of a name."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError

from sliderspace.backbones.base import Backbone
from sliderspace.errors import BadInput

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Preset:
    """One model and its working point."""

    name: str
    location: str  # a folder inside the package ("asset:mini"), a local folder
    steps: int
    guidance: float
    encoder: str  # the image encoder used when none is asked for
    judge: str  # an encoder that trains nothing, for measures; empty: the training encoder judges
    knows: str
    examples: tuple[str, ...]
    expected: str  # what a discovery costs and gives, and the command that said so

    @property
    def folder(self) -> Path:
        return resolve(self.location)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="mini",
            location="asset:mini",
            steps=8,
            guidance=1.0,
            encoder="asset:mini/clip",
            judge="",
            knows="flat 64x64 portraits in 15 illustrators' styles: people, robots, emoji faces, thumbs",
            examples=(
                "a portrait of a person",
                "a robot",
                "an emoji face, crying",
                "a person in pixel art style",
                "a person with red hair and glasses, pixel art style, blue background",
            ),
            expected="16 sliders from 1,000 trajectories in 2 min 23 s on two CPU cores; "
            "alignment 0.23, consistency 0.39, realism 1.01 (make demo)",
        ),
    )
}


def resolve(location: str) -> Path:
    """A location -> a folder that exists. `asset:` names a folder shipped inside the package."""
    if location.startswith("asset:"):
        return Path(str(files("sliderspace") / "assets" / location.removeprefix("asset:")))
    return Path(location).expanduser()


def preset_for(model: str) -> Preset:
    """A preset by name, or one made up for a local pipeline folder. Raises BadInput with the names that exist."""
    if model in PRESETS:
        return PRESETS[model]
    folder = resolve(model)
    if (folder / "model_index.json").is_file():
        beside = str(folder / "clip") if (folder / "clip").is_dir() else ""
        return Preset(
            folder.name, model, steps=8, guidance=1.0, encoder=beside, judge="", knows="a local pipeline folder", examples=(), expected=""
        )
    raise BadInput(
        f"no backbone '{model}': choose one of {', '.join(PRESETS)}, or give the folder of a diffusers pipeline (with model_index.json)"
    )


def precision_for(device: torch.device, precision: Precision) -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it (any CUDA card of the last generations, CPUs with AVX512-BF16 or AMX)."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return (
        torch.bfloat16
        if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _cpu_computes_bf16()
        else torch.float32
    )


def _cpu_computes_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())


def weights_digest(folder: Path) -> str:
    """A short hash of every file that decides a model's output; names and sizes for large files would miss an edit, so contents."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".txt")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def load_backbone(
    model: str, *, steps: int | None = None, guidance: float | None = None, device: str = "auto", precision: Precision = "auto"
) -> Backbone:
    """The model of a preset name or pipeline folder, ready to sample.

    Raises BadInput: unknown name, missing or damaged files, no such device.
    """
    from sliderspace.backbones.unet import UNetBackbone

    quiet_loading()
    preset, where = preset_for(model), device_for(device)
    steps, guidance = steps or preset.steps, preset.guidance if guidance is None else guidance
    dtype = precision_for(where, precision)
    identity = f"{weights_digest(preset.folder)}/{steps}/{guidance:g}/{str(dtype).removeprefix('torch.')}"
    try:
        return UNetBackbone(preset.folder, name=preset.name, identity=identity, steps=steps, guidance=guidance, device=where, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:  # what the two libraries raise for broken files
        raise BadInput(f"the pipeline in {preset.folder} cannot be loaded: {str(error).splitlines()[0]}") from error


def quiet_loading() -> None:
    """No loading bars and load reports from diffusers and transformers: our own bars say what is going on."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def device_for(device: str) -> torch.device:
    """`auto` takes a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput("no CUDA GPU is visible here: leave --device out, or use --device cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise BadInput(f"no device '{device}': use auto, cpu, cuda or cuda:1") from error
