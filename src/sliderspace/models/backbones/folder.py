"""What lies in the folder of a diffusers pipeline: configurations, and whether it is whole; files of weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.sizes import Size, in_words, sides, size_of

MOST_PIXELS = 8192


def read_config(folder: Path, part: str) -> dict[str, Any]:
    """A part's configuration. Raises BadInput when it is missing or damaged."""
    path = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BadInput(f"{folder} lacks {part}/{path.name}: give a whole diffusers pipeline folder") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: the pipeline folder is damaged") from error


def vae_scale(folder: Path) -> int:
    """Pixels a latent."""
    vae = read_config(folder, "vae")
    levels = vae.get("temperal_downsample") or vae.get("block_out_channels", [0] * 4)[1:]
    return 2 ** len(levels)


def image_size_of(folder: Path, latent_shape: tuple[int, int, int]) -> Size:
    """Pixels of images with latents [C, H, W]."""
    _, height, width = latent_shape
    scale = vae_scale(folder)
    return size_of(width * scale, height * scale)


def own_size(unet: Mapping[str, Any], scale: int) -> Size:
    """Pixels of the images that a UNet was trained on: its configuration says latents, a side or height and width."""
    said = unet["sample_size"]
    height, width = said if isinstance(said, list) else (said, said)
    return size_of(width * scale, height * scale)


def check_size(size: Size, step: int) -> None:
    """Raises BadInput for a side that is no multiple of `step`, or beyond what any model here was trained at."""
    if any(pixels < 0 or pixels > MOST_PIXELS or pixels % step for pixels in sides(size)):
        raise BadInput(f"--resolution {in_words(size)}: take a multiple of {step} of at most {MOST_PIXELS} pixels")


def check_steps(steps: int, scheduler: Mapping[str, Any]) -> None:
    """Raises BadInput for more sampling steps than the model has times, or none."""
    most = int(scheduler.get("num_train_timesteps", 1000))
    if not 1 <= steps <= most:
        raise BadInput(f"--steps {steps}: this model takes 1 to {most} sampling steps")


def variant_of(folder: Path) -> str | None:
    """ "fp16", "bf16", … where a repository holds (or was fetched with) files of such a variant only; "fp16" comes
    before "non_ema"."""
    names = [path.name.split(".") for path in folder.glob("*.safetensors")]
    variants = [name[1].partition("-")[0] for name in names if len(name) > 2]  # model.fp16-00001-of-00002.safetensors
    return min(variants, default=None) if len(variants) == len(names) else None


def check_parts(folder: Path, needs: tuple[str, ...]) -> None:
    """transformers makes an empty tokenizer, or a default text encoder, of a folder that lacks one: better to say
    so."""
    missing = [part for part in needs if not (folder / part).is_file()]
    words = ("tokenizer.json", "vocab.json", "spiece.model")
    empty = [
        p.name for p in sorted(folder.glob("tokenizer*")) if p.is_dir() and not any((p / w).is_file() for w in words)
    ]
    if missing or empty:
        what = ", ".join(missing) or f"the words of its {empty[0]}"
        raise BadInput(f"{folder} lacks {what}: give a whole diffusers pipeline folder")


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from a .bin, which some authors publish only: torch's restricted reader takes
    tensors alone."""
    import torch
    from safetensors.torch import load_file

    if file.suffix == ".safetensors":
        return load_file(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the reader's own error class lives in a module that nothing here may import
        raise ValueError(f"it is not a file of tensors ({type(error).__name__})") from error
