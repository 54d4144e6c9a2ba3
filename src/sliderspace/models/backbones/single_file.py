"""A model in one .safetensors file, as ComfyUI and A1111 keep them: which base model it is of, by the names in its
header, and its parts, by diffusers' own reader. Configurations come from the base model's folder.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from sliderspace.core.errors import BadInput
from sliderspace.models.quiet import quiet_loading


class Layout(NamedTuple):
    """The names in files of one base model: `has` are there in each, `parts` begin the names of a pipeline's parts."""

    has: tuple[str, ...]
    parts: Mapping[str, str]


UNET = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}
FLUX = {"transformer": "double_blocks.", "vae": "vae.", "text_encoder": "text_encoders.clip_l."}
LAYOUTS = {  # the preset of the base model -> the layout, the first that fits being the one
    "sdxl": Layout(
        ("model.diffusion_model.label_emb.0.0.weight", "conditioner.embedders.1.model.ln_final.weight"),
        UNET | {"text_encoder": "conditioner.embedders.0.", "text_encoder_2": "conditioner.embedders.1."},
    ),
    "sd15": Layout(
        ("model.diffusion_model.out.2.weight", "cond_stage_model.transformer.text_model.final_layer_norm.weight"),
        UNET | {"text_encoder": "cond_stage_model.transformer."},
    ),
    "flux-dev": Layout(
        ("double_blocks.0.img_mod.lin.weight", "vector_in.in_layer.weight", "guidance_in.in_layer.weight"),
        FLUX | {"text_encoder_2": "text_encoders.t5xxl."},
    ),
    "flux-schnell": Layout(
        ("double_blocks.0.img_mod.lin.weight", "vector_in.in_layer.weight"),
        FLUX | {"text_encoder_2": "text_encoders.t5xxl."},
    ),
}
TRANSFORMER = "model.diffusion_model."  # whole checkpoints of FLUX have it before the names of the transformer


@dataclass(frozen=True)
class SingleFile:
    """What a file says of itself: the preset of its base model, the parts it holds, and what its denoiser predicts
    ("" as the base model)."""

    base: str
    parts: frozenset[str]
    prediction: str


@cache
def read_header(file: Path) -> SingleFile:
    """What a file is, from its names alone. Raises BadInput: missing, broken, or of no base model known here."""
    if not file.is_file():
        raise BadInput(f"there is no file {file}")
    try:
        with safe_open(file, framework="numpy") as opened:
            names, said = set(opened.keys()), opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file} is no whole .safetensors file ({error}): fetch it again") from error
    if any(name.endswith(("scale_weight", "scaled_fp8")) for name in names):
        raise BadInput(f"the weights in {file} are scaled 8-bit numbers: take the file in bf16 or fp16")
    bare = {name.removeprefix(TRANSFORMER) for name in names}
    for base, layout in LAYOUTS.items():
        if names | bare >= set(layout.has):
            parts = (part for part, start in layout.parts.items() if _any(start, names | bare))
            return SingleFile(base, frozenset(parts), _prediction(names, said))
    raise BadInput(
        f"{file} is no whole checkpoint of SDXL, SD 1.5 or FLUX.1: a LoRA goes to `import`, other models to "
        f"--backbone as the folder of a diffusers pipeline"
    )


def _any(start: str, names: Iterable[str]) -> bool:
    return any(name.startswith(start) for name in names)


def _prediction(names: set[str], said: Mapping[str, str]) -> str:
    """Files of models that predict velocity say so by an empty tensor (comfy/supported_models.py, SDXL) or, those of
    kohya's trainer, in ModelSpec's words."""
    if "v_pred" in names or said.get("modelspec.prediction_type") == "v":
        return "v-zero-snr" if "ztsnr" in names else "v"
    return ""


def part_of(file: Path, configs: Path, pipeline: str, name: str, part: str, dtype: torch.dtype, **options: Any) -> Any:
    """The part of class `name` from a file, as diffusers reads it, with the configuration in a pipeline's folder.
    Raises ValueError where values of it are not in the file, or are of another shape."""
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    given: dict[str, Any] = {"config": str(configs), "torch_dtype": dtype, "local_files_only": True, **options}
    try:
        with quiet_loading():
            if hasattr(diffusers, name):
                return _whole(getattr(diffusers, name).from_single_file(str(file), subfolder=part, **given))
            # Of transformers' models only whole pipelines can be read: one without its other parts.
            kind: Any = getattr(diffusers, pipeline)
            others = {other for other in kind.load_config(configs) if not other.startswith("_")} - {part}
            others &= set(kind._get_signature_keys(kind)[0])
            return _whole(getattr(kind.from_single_file(str(file), **given, **dict.fromkeys(others)), part))
    except SingleFileComponentError as error:
        raise ValueError(str(error)) from error


def _whole(model: Any) -> Any:
    if missing := [name for name, value in model.state_dict().items() if value.is_meta]:
        raise ValueError(f"it lacks {len(missing)} of its values, such as {min(missing)}")
    return model
