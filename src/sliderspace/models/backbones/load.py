"""A preset name, pipeline folder or repository -> a backbone ready to sample."""

from pathlib import Path

import torch

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Precision, Quantize
from sliderspace.models.backbones.pipeline import PipelineBackbone, Setup
from sliderspace.models.backbones.presets import Preset, family_of, preset_for
from sliderspace.models.sources import find, identity_of


def load_backbone(
    model: str,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    resolution: int | None = None,
    decoder: str = "auto",
    quantize: Quantize = "none",
    checkpointing: bool = False,
) -> PipelineBackbone:
    """The model, its weights loaded part by part when first needed.

    `decoder`: "auto" (the preset's small one where it has one), "full", or the folder or repository of an
    AutoencoderTiny. Raises BadInput: unknown name, missing or damaged files, no such device, a repository that cannot
    be had.
    """
    quiet_loading()
    preset, where = preset_for(model), device_for(device)
    folder, dtype = preset.folder, precision_for(where, precision)
    small = {"auto": preset.decoder, "full": ""}.get(decoder, decoder)
    setup = Setup(
        name=preset.name,
        identity="",
        steps=preset.steps if steps is None else steps,
        guidance=preset.guidance if guidance is None else guidance,
        device=where,
        dtype=dtype,
        sampler=preset.sampler,
        timesteps=preset.timesteps,
        spacing=preset.spacing,
        resolution=resolution or preset.resolution,
        weights=preset.weights_file,
        decoder=find(small, ["config.json", "*.safetensors"]) if small else None,
        quantize=quantize,
        checkpointing=checkpointing,
    )
    return family_of(folder)(folder, setup_with_identity(setup, preset, folder))


def setup_with_identity(setup: Setup, preset: Preset, folder: Path) -> Setup:
    """The setup with everything that decides an image in its identity; speed and memory are no part of it."""
    from dataclasses import replace

    said = [identity_of(folder), str(setup.steps), f"{setup.guidance:g}", str(setup.dtype).removeprefix("torch.")]
    said += [preset.weights] if preset.weights else []
    said += [f"decoder {identity_of(setup.decoder)}"] if setup.decoder else []
    said += [f"{setup.resolution} px"] if setup.resolution else []
    said += [setup.quantize] if setup.quantize != "none" else []
    return replace(setup, identity="/".join(said))


def precision_for(device: torch.device, precision: Precision) -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it (any CUDA card of the last generations, CPUs with
    AVX512-BF16 or AMX)."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return (
        torch.bfloat16
        if torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and _cpu_computes_bf16()
        else torch.float32
    )


def _cpu_computes_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())


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
