"""A LoRA under a model, in any layout that diffusers reads: fused into the denoiser, and on its text encoders."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from sliderspace.core.errors import BadInput
from sliderspace.models.quiet import quiet_loading

STRENGTH = re.compile(r"(.+):([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)")


class Lora(NamedTuple):
    """A file, and what its change of the weights is multiplied by."""

    file: Path
    strength: float = 1.0


def split(lora: str) -> tuple[str, str]:
    """ "FILE:STRENGTH" -> "FILE", ":STRENGTH"; the second empty where there is none."""
    found = STRENGTH.fullmatch(lora)
    return (found[1], lora.removeprefix(found[1])) if found else (lora, "")


def strength_of(lora: str) -> float:
    """The strength in "FILE:STRENGTH", 1 where there is none. Raises BadInput where it is no number."""
    said = split(lora)[1].removeprefix(":")
    try:
        return float(said or 1)
    except ValueError as error:
        raise BadInput(f"--lora {lora}: '{said}' is no strength, such as 0.8") from error


def fuse(model: Any, lora: Lora, pipeline: str, component: str) -> None:
    """Add a LoRA to the float32 weights of a denoiser. Raises ValueError where not all of it fits."""
    found = _read(lora.file, pipeline, unet_config=model.config) if component == "unet" else _read(lora.file, pipeline)
    with quiet_loading():
        model.load_lora_adapter(found["state"], prefix=component, **found["scales"])
    _check(found["state"], model, component)
    model.fuse_lora(lora_scale=lora.strength)
    model.unload_lora()


def attach(encoder: Any, lora: Lora, pipeline: str, part: str) -> None:
    """Put a LoRA's layers for a text encoder on it, where it has any. Raises ValueError where not all of them fit."""
    import diffusers

    found = _read(lora.file, pipeline)
    if not _layers(found["state"], part):
        return
    with quiet_loading():
        getattr(diffusers, pipeline).load_lora_into_text_encoder(
            found["state"], text_encoder=encoder, prefix=part, lora_scale=lora.strength, **found["scales"]
        )
    _check(found["state"], encoder, part)


def _read(file: Path, pipeline: str, **options: Any) -> dict[str, Any]:
    """The tensors under diffusers' names, and what each is scaled by where the layout says it."""
    import diffusers

    if not file.is_file():
        raise BadInput(f"there is no LoRA {file}")
    with safe_open(file, framework="numpy") as opened:
        if any("dora_scale" in name for name in opened.keys()):  # noqa: SIM118
            raise ValueError("it is a DoRA, of which diffusers takes a part only")
    with quiet_loading():
        found: Any = getattr(diffusers, pipeline).lora_state_dict(
            str(file.parent),
            weight_name=file.name,
            local_files_only=True,
            return_alphas=True,
            return_lora_metadata=True,
            **options,
        )
    state, *alphas, metadata = found
    return {"state": state, "scales": {"network_alphas": alphas[0] if alphas else None, "metadata": metadata}}


def _layers(state: Any, part: str) -> int:
    """How many layers of a part the tensors are for."""
    down = re.compile(rf"{part}\..*(lora_A|lora\.down|lora_linear_layer\.down|_lora\.down)\.")
    return sum(bool(down.match(name)) for name in state)


def _check(state: Any, model: Any, part: str) -> None:
    """diffusers leaves out what it does not find."""
    said, found = _layers(state, part), sum(".lora_A." in name for name in model.state_dict())
    if not said or found != said:
        raise ValueError(f"{found} of its {said} layers are there")
