"""A working point -> a backbone ready to sample; a location -> an encoder."""

import torch
from torch import nn

from sliderspace.core.settings import Precision, Quantize, Settings, Speed
from sliderspace.core.sizes import Size
from sliderspace.models.backbones.folder import read_config
from sliderspace.models.backbones.pipeline import PipelineBackbone, Setup
from sliderspace.models.device import device_for
from sliderspace.models.encoders import Encoder, find_encoder, load_encoder
from sliderspace.models.encoders.unloaded import encoder_identity
from sliderspace.models.quiet import quiet_loading
from sliderspace.models.sources import find
from sliderspace.models.working_point import WorkingPoint, point_for

OF_MODEL = {"steps", "guidance", "precision", "resolution", "decoder", "quantize", "lora"}  # of the settings


def load_backbone(
    model: str,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    resolution: Size | None = None,
    decoder: str = "auto",
    quantize: Quantize = "none",
    lora: str = "",
    checkpointing: bool = False,
) -> PipelineBackbone:
    """The model of a preset name, pipeline folder or repository, its weights loaded part by part when first needed.

    `decoder`: "auto" (the preset's small one where it has one), "full", or the folder or repository of an
    AutoencoderTiny. `lora`: "FILE" or "FILE:STRENGTH", which becomes part of the model. Raises BadInput: unknown name,
    missing or damaged files, no such device, a repository that cannot be had.
    """
    where = device_for(device)
    point = point_for(
        model,
        where,
        steps=steps,
        guidance=guidance,
        precision=precision,
        resolution=resolution,
        decoder=decoder,
        quantize=quantize,
        lora=lora,
    )
    return backbone_at(point, device=where, checkpointing=checkpointing)


def backbone_for(settings: Settings, speed: Speed) -> PipelineBackbone:
    """The model of some settings, its weights loaded when first needed."""
    chosen = settings.model_dump(include=OF_MODEL)
    return load_backbone(settings.backbone, device=speed.device, checkpointing=speed.checkpointing, **chosen)


def backbone_at(point: WorkingPoint, *, device: torch.device, checkpointing: bool = False) -> PipelineBackbone:
    """The model of a working point. Fetches what is not on this machine; raises BadInput when that fails."""
    setup = Setup(
        name=point.preset.name,
        identity=point.identity,
        steps=point.steps,
        guidance=point.guidance,
        device=device,
        dtype=point.dtype,
        sampler=point.preset.sampler,
        timesteps=point.preset.timesteps,
        spacing=point.spacing,
        prediction=point.preset.prediction,
        resolution=point.resolution,
        file=point.preset.single_file,
        weights=point.preset.weights_file,
        loras=point.loras,
        decoder=find(point.decoder, ["config.json", "*.safetensors"]) if point.decoder else None,
        decoder_for_people=point.decoder_for_people,
        quantize=point.quantize,
        checkpointing=checkpointing,
    )
    return point.family(point.folder, setup)


def empty_denoiser(point: WorkingPoint) -> nn.Module:
    """The denoiser of a working point as its configuration says, on the meta device: layers and shapes, no weights."""
    import diffusers

    kind = getattr(diffusers, point.family.denoiser_class)
    with quiet_loading(), torch.device("meta"):
        return kind.from_config(read_config(point.configs, point.family.component))


def encoder_at(location: str, *, device: torch.device, dtype: torch.dtype = torch.float32) -> Encoder:
    """The encoder of a name, repository, folder or file, which sees the whole of a picture that is not square. Raises
    BadInput when there is none."""
    identity = encoder_identity(location)
    return load_encoder(find_encoder(location), identity=identity, device=device, dtype=dtype, whole=True)
