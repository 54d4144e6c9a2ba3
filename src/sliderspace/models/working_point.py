"""A discovery's models as they will be run, worked out from the settings before any weights are read or fetched.

Everything that can be wrong with them is found here, at once. Loading, planning, cards and fingerprints read the
result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Precision, Quantize, Settings
from sliderspace.core.sizes import Size, in_words
from sliderspace.models.backbones.families import family_of
from sliderspace.models.backbones.folder import check_parts, image_size_of, read_config
from sliderspace.models.backbones.lora import Lora, split, strength_of
from sliderspace.models.backbones.pipeline import PipelineBackbone, Setup
from sliderspace.models.backbones.preset import Preset, file_at, identity_at
from sliderspace.models.backbones.presets import preset_for
from sliderspace.models.backbones.samplers import Schedule
from sliderspace.models.configs import configs_of
from sliderspace.models.device import precision_for
from sliderspace.models.encoders.unloaded import check_encoder, encoder_identity
from sliderspace.models.identity import source_identity
from sliderspace.models.sources import is_repo, resolve


@dataclass(frozen=True)
class WorkingPoint:
    """Models, sampling and precision, nothing left open. Locations are names, repositories or folders; "" is none."""

    preset: Preset
    configs: Path  # the pipeline's folder of configurations; its weights may not be on this machine yet
    family: type[PipelineBackbone]
    guidance: float
    sampler: str
    spacing: str  # diffusers' timestep_spacing where the preset changes it
    schedule: Schedule
    latent_shape: tuple[int, int, int]
    resolution: Size  # pixels where they were chosen; 0: the model's own
    decoder: str  # of previews; "": the model's own
    decoder_for_people: bool  # it draws the pictures that people look at, too
    precision: Literal["float32", "bfloat16"]
    quantize: Quantize
    lora: str  # under everything: FILE or FILE:STRENGTH; "": none
    encoder: str
    judge: str
    embed_T: tuple[int, ...]  # the sampler steps whose previews are embedded

    @classmethod
    def of(cls, settings: Settings, device: torch.device) -> "WorkingPoint":
        """The working point of some settings on a device. Raises BadInput for whatever of them cannot be had."""
        point = point_for(
            settings.backbone,
            device,
            steps=settings.steps,
            guidance=settings.guidance,
            precision=settings.precision,
            resolution=settings.resolution,
            decoder=settings.decoder,
            quantize=settings.quantize,
            lora=settings.lora,
            encoder=settings.encoder,
            embed=settings.embed,
        )
        for location in {point.encoder, *filter(None, [point.judge])}:
            check_encoder(location)
        return point

    @property
    def steps(self) -> int:
        return len(self.schedule)

    @property
    def times(self) -> tuple[float, ...]:
        """What the network is told as time at each step."""
        return tuple(self.schedule.time_T.tolist())

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    @property
    def image_size(self) -> Size:
        """In pixels."""
        return image_size_of(self.configs, self.latent_shape)

    @property
    def folder(self) -> Path:
        """The pipeline's folder, fetched when it is not here yet."""
        return self.preset.folder

    @cached_property
    def identity(self) -> str:
        """The model at this point: all that decides an image. What decides speed and memory is no part of it."""
        times = ",".join(f"{t:.1f}" for t in self.times)
        parts = [source_identity(self.preset.source), f"{self.sampler} {self.spacing} at {times}".replace("  ", " ")]
        parts += [f"guidance {self.guidance:g}", f"{in_words(self.image_size)} px", self.precision]
        parts += [*filter(None, [self.preset.prediction]), *self.preset.other_identities]
        parts += [self.lora_identity] if self.lora else []
        parts += [f"decoder {source_identity(self.decoder)}"] if self.decoder else []
        parts += [self.quantize] if self.quantize != "none" else []
        return "/".join(parts)

    @cached_property
    def text_identity(self) -> str:
        """What decides an encoded prompt."""
        parts = [source_identity(self.preset.source), *self.preset.file_identity, self.precision]
        return "/".join([*parts, *([self.lora_identity] if self.lora else [])])

    @property
    def loras(self) -> tuple[Lora, ...]:
        """The preset's own and the one asked for, fetched when they are not here yet."""
        own, asked = self.preset.lora_file, file_at(split(self.lora)[0])
        return (*([Lora(own)] if own else []), *([Lora(asked, strength_of(self.lora))] if asked else []))

    @cached_property
    def lora_identity(self) -> str:
        return f"lora {identity_at(split(self.lora)[0])} x {strength_of(self.lora):g}"

    @cached_property
    def encoder_identity(self) -> str:
        return encoder_identity(self.encoder)

    @cached_property
    def judge_identity(self) -> str:
        """Of the encoder that trained nothing; "" where the model has none."""
        return encoder_identity(self.judge) if self.judge else ""


def point_for(
    model: str,
    device: torch.device,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    precision: Precision = "auto",
    resolution: Size | None = None,
    decoder: str = "auto",
    quantize: Quantize = "none",
    lora: str = "",
    encoder: str = "",
    embed: str | Sequence[int] = "all",
) -> WorkingPoint:
    """As `WorkingPoint.of`, from loose values; the image encoders are not looked for."""
    preset = preset_for(model)
    configs, family = _pipeline_of(preset)
    setup = Setup(
        name=preset.name,
        identity="",
        steps=preset.steps if steps is None else steps,
        guidance=preset.guidance if guidance is None else guidance,
        device=device,
        dtype=precision_for(device, precision),
        sampler=preset.sampler,
        timesteps=preset.timesteps,
        spacing=preset.spacing,
        prediction=preset.prediction,
        resolution=resolution or preset.resolution,
    )
    sampler, schedule = family.sampling_of(configs, setup)
    shape = family.latent_shape_of(configs, setup.resolution)
    return WorkingPoint(
        preset=preset,
        configs=configs,
        family=family,
        guidance=_finite(setup.guidance),
        sampler=sampler,
        spacing=setup.spacing,
        schedule=schedule,
        latent_shape=shape,
        resolution=setup.resolution,
        decoder=_decoder_of(preset, family, decoder, channels=shape[0]),
        decoder_for_people=decoder != "auto",
        precision="bfloat16" if setup.dtype == torch.bfloat16 else "float32",
        quantize=_quantize_of(preset, quantize, lora, here=True),
        lora=_lora_of(lora),
        encoder=encoder or preset.encoder,
        judge="" if encoder == preset.judge else preset.judge,
        embed_T=embedded_steps(embed, len(schedule)),
    )


def check_settings(settings: Settings, *, here: bool = True) -> None:
    """BadInput for whatever of a model, its encoders and its decoder cannot be had, before a library of models is
    imported; `here`: on this machine, with what is installed on it.

    What only the sampler's own table tells is found by `WorkingPoint.of`.
    """
    preset = preset_for(settings.backbone)
    configs, family = _pipeline_of(preset)
    channels = family.latent_shape_of(configs, settings.resolution or preset.resolution)[0]
    _decoder_of(preset, family, settings.decoder, channels)
    _quantize_of(preset, settings.quantize, settings.lora, here=here)
    _lora_of(settings.lora)
    embedded_steps(settings.embed, settings.steps or preset.steps)
    for location in {settings.encoder or preset.encoder, *filter(None, [preset.judge])}:
        check_encoder(location)


def _pipeline_of(preset: Preset) -> tuple[Path, type[PipelineBackbone]]:
    """The folder of a pipeline's configurations, found to be whole, and the family it belongs to."""
    configs = configs_of(preset.location)
    family = family_of(configs)
    if not is_repo(preset.location):
        check_parts(configs, family.needs)
    return configs, family


def embedded_steps(embed: str | Sequence[int], steps: int) -> tuple[int, ...]:
    """The sampler steps whose previews are embedded: all (published), the final one, or listed ones (the final one
    always among them)."""
    if isinstance(embed, str):
        return tuple(range(steps)) if embed == "all" else (steps - 1,)
    if any(not 0 <= t < steps for t in embed):
        raise BadInput(f"steps to embed are 0 … {steps - 1} here; asked for {', '.join(map(str, embed))}")
    return tuple(sorted({*embed, steps - 1}))


def _finite(guidance: float) -> float:
    if not math.isfinite(guidance) or guidance < 0:
        raise BadInput(f"--guidance {guidance:g}: take a number from 0; 1 is none, 7.5 is usual")
    return guidance


def _quantize_of(preset: Preset, quantize: Quantize, lora: str, *, here: bool) -> Quantize:
    """What can be quantised, and `here` only with the library that does it."""
    if quantize != "none" and (preset.other_weights or lora):
        what = "a LoRA" if lora else preset.name
        raise BadInput(
            f"{what} puts other weights into the pipeline, which cannot be done in 4 or 8 bits: leave --quantize out"
        )
    if quantize != "none" and here and find_spec("bitsandbytes") is None:
        raise BadInput("a base in 4 or 8 bits needs bitsandbytes: pip install 'sliderspace[quantize]'")
    return quantize


def _lora_of(lora: str) -> str:
    """A LoRA found to be there, or a file of the Hub."""
    place = split(lora)[0]
    strength_of(lora)
    if place and not is_repo(place.partition(":")[0]) and not resolve(place).is_file():
        raise BadInput(f"--lora {place}: there is no such file")
    return lora


def _decoder_of(preset: Preset, family: type[PipelineBackbone], decoder: str, channels: int) -> str:
    """The location of a small decoder, found to be one that reads this model's latents; "" for the model's own."""
    location = {"auto": preset.decoder, "full": ""}.get(decoder, decoder)
    if not location and decoder in ("auto", "full"):
        return ""
    if not family.has_small_decoders:
        raise BadInput(f"no AutoencoderTiny reads the latents of {preset.name}: leave --decoder {decoder} out")
    if not location.strip() or not (is_repo(location) or (resolve(location) / "config.json").is_file()):
        raise BadInput(
            f"no decoder '{decoder}': use auto, full, or the repository (owner/name) or folder of an AutoencoderTiny"
        )
    config = read_config(configs_of(location), "")
    if config.get("_class_name") != "AutoencoderTiny":
        raise BadInput(f"the decoder '{decoder}' is a {config.get('_class_name')}: give an AutoencoderTiny, or full")
    if (reads := config.get("latent_channels", 4)) != channels:
        raise BadInput(f"the decoder '{decoder}' reads latents of {reads} channels, and {preset.name} has {channels}")
    return location
