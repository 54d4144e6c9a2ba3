"""What a discovery will fetch, need and cost, before any of it is done: `sliderspace discover --dry-run`.

Sizes, memory and arithmetic come from a table that was counted once for every preset (`models.costs`); time is
arithmetic over an assumed share of a matrix rate. Nothing is loaded, and nothing but configurations is fetched.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sliderspace.core.settings import Measuring, Settings, Speed
from sliderspace.core.sizes import Size
from sliderspace.method.measuring import Work, chosen_for, work_of
from sliderspace.models.backbones import Preset, preset_for
from sliderspace.models.configs import configs_of
from sliderspace.models.costs import Costs, EncoderCosts, costs_for, encoder_costs
from sliderspace.models.device import precision_for
from sliderspace.models.encoders import ENCODERS
from sliderspace.models.encoders.base import read_json
from sliderspace.models.sources import is_repo
from sliderspace.models.working_point import check_settings, embedded_steps
from sliderspace.plan.card import ASSUMED_RATE, CPU, Card, card_for, processor_rate
from sliderspace.plan.memory import RESERVE, SLACK, Option, options_for, slider_values

GB = 1e9
SHARE = 0.4  # of the matrix rate that sampling and training reach


@dataclass(frozen=True)
class Model:
    """The model at its working point."""

    source: str
    licence: str
    parameters: int
    precision: str
    steps: int
    guidance: float
    pixels: Size
    encoder: str
    decoder: str  # empty: the model's own
    counted_on: str  # the preset whose counts were used
    published: str


@dataclass(frozen=True)
class Download:
    """Something that is fetched once."""

    source: str
    what: str
    gb: float


@dataclass(frozen=True)
class Sliders:
    """What one slider is; `export_mb` is the size of its file."""

    count: int
    rank: int
    targets: str
    layers: int
    values: int
    trained_values: int
    export_mb: float


@dataclass(frozen=True)
class Amounts:
    """How much there is to do."""

    samples: int
    held_out: int
    steps: int
    embedded: int
    updates: int
    slider_updates: int
    images_measured: int
    measuring_share: float  # of the discovery's arithmetic


@dataclass(frozen=True)
class Plan:
    """All that `--dry-run` says. `chosen` is None where the base as asked for does not fit; `instead` is then what
    would, if anything. `lanes` and `batch` are what to run either with."""

    prompts: tuple[str, ...]
    backbone: str
    model: Model
    downloads: tuple[Download, ...]
    sliders: Sliders
    work: Amounts
    measuring: Measuring
    card: Card
    options: tuple[Option, ...]
    chosen: Option | None
    instead: Option | None
    lanes: int
    batch: int
    text_encoders_gib: float  # while prompts are encoded, before the denoiser is loaded
    disk_gb: float
    hours: dict[str, float]  # by stage
    hours_on_cpu: float  # all of it, on this machine's processor
    how: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        shown = asdict(self) | {"flags": self.flags() if self.chosen or self.instead else None}
        return shown | {"measuring": self.measuring.model_dump(mode="json")}

    def flags(self) -> list[str]:
        """The options of `discover` with which this fits the card. Raises ValueError where nothing does."""
        option = self.chosen or self.instead
        if option is None:
            raise ValueError("nothing fits")
        flags = ["--lanes", str(self.lanes), "--batch", str(self.batch)]
        flags += ["--checkpointing"] if option.checkpointing else []
        return flags + (["--quantize", option.quantize] if option.quantize != "none" else [])


def plan_for(settings: Settings, speed: Speed, *, memory_gb: float | None = None) -> Plan:
    """The plan of a discovery on the visible card, or on one of `memory_gb`. Raises BadInput for a model, encoder or
    setting that there is not."""
    check_settings(settings, here=memory_gb is None)
    preset, costs = preset_for(settings.backbone), costs_for(settings)
    encoder = encoder_costs(settings.encoder or preset.encoder)
    card = card_for(speed.device, memory_gb)
    wide = _is_wide(settings, card, here=memory_gb is None)
    steps = settings.steps or preset.steps
    work = work_of(settings, steps, costs, encoder)
    measuring = chosen_for(work, settings.sliders)
    # bitsandbytes needs CUDA, and a base whose weights are its own
    may = card.cuda and not (preset.other_weights or settings.lora)
    options = tuple(options_for(settings, speed, costs, encoder, card, 4 if wide else 2, may_quantize=may))
    as_asked = [o for o in options if o.fits and o.quantize == settings.quantize]
    chosen, fitting = next(iter(as_asked), None), next((o for o in options if o.fits), None)
    tflop = work.stages(measuring, settings.sliders, checkpointing=(fitting or options[-1]).checkpointing)
    cpu_rate = card.rate if not card.cuda else processor_rate()
    return Plan(
        prompts=settings.prompts,
        backbone=settings.backbone,
        model=_model(preset, settings, costs, "float32" if wide else "bfloat16"),
        downloads=tuple(_downloads(preset, settings, costs, encoder)),
        sliders=_sliders(settings, costs),
        work=_amounts(settings, steps, work, measuring),
        measuring=measuring,
        card=card,
        options=options,
        chosen=chosen,
        instead=None if chosen else fitting,
        lanes=min(fitting.lanes, speed.lanes, settings.sliders) if fitting else 0,
        batch=min(max(1, fitting.images // 2), speed.batch) if fitting else 0,  # more than half the card gains nothing
        text_encoders_gib=costs.text_gib,
        disk_gb=_disk_gb(settings, costs, encoder, steps),
        hours={stage: 1e12 * t / (card.rate * SHARE) / 3600 for stage, t in tflop.items()},
        hours_on_cpu=1e12 * sum(tflop.values()) / (cpu_rate * SHARE) / 3600,
        how=_how(card, cpu_rate, costs),
    )


def _is_wide(settings: Settings, card: Card, *, here: bool) -> bool:
    """Whether the networks are in float32; a card that is only planned for computes in bfloat16."""
    if card.cuda and not here:
        return settings.precision == "float32"
    where = torch.device("cuda") if card.cuda else CPU
    return precision_for(where, settings.precision) == torch.float32


# ---- what there is to do, and to fetch


def _amounts(settings: Settings, steps: int, work: Work, measuring: Measuring) -> Amounts:
    return Amounts(
        samples=settings.samples,
        held_out=settings.held_out,
        steps=steps,
        embedded=len(embedded_steps(settings.embed, steps)),
        updates=settings.updates,
        slider_updates=settings.updates * settings.sliders,
        images_measured=measuring.images(settings.sliders),
        measuring_share=work.share(measuring, settings.sliders),
    )


def _disk_gb(settings: Settings, costs: Costs, encoder: EncoderCosts, steps: int) -> float:
    """Trajectories (float16 latents and a float32 embedding at each embedded step), and the values of sliders: in a
    checkpoint again, with Adam's two."""
    stored = (settings.samples + settings.held_out) * len(embedded_steps(settings.embed, steps))
    values, _ = slider_values(settings, costs)
    return (stored * (2 * costs.latent_values + 4 * encoder.dim) + 4 * 4 * settings.sliders * values) / GB


def _model(preset: Preset, settings: Settings, costs: Costs, precision: str) -> Model:
    source = (
        (preset.file or preset.location)
        + f" at {preset.revision[:12]}" * bool(preset.revision and not preset.file)
        + f", denoiser of {preset.weights}" * bool(preset.weights)
        + f", with the LoRA {preset.lora}" * bool(preset.lora)
    )
    return Model(
        source=source,
        licence=preset.licence,
        parameters=costs.denoiser.values,
        precision=precision,
        steps=settings.steps or preset.steps,
        guidance=preset.guidance if settings.guidance is None else settings.guidance,
        pixels=costs.pixels,
        encoder=settings.encoder or preset.encoder,
        decoder={"auto": preset.decoder, "full": ""}.get(settings.decoder, settings.decoder),
        counted_on=costs.counted_on,
        published=preset.expected,
    )


def _sliders(settings: Settings, costs: Costs) -> Sliders:
    values, trained = slider_values(settings, costs)
    layers = costs.layers[settings.targets].count
    return Sliders(
        settings.sliders, settings.rank, settings.targets, layers, values, trained, export_mb=4 * values / 1e6
    )


def _downloads(preset: Preset, settings: Settings, costs: Costs, encoder: EncoderCosts) -> Iterator[Download]:
    """Values × bytes a value of everything on the Hub that the run reads; what its cache holds already is not fetched
    again."""
    held = {"unet", "transformer"} if preset.weights else set(preset.held)
    parts = {n: v for n, v in costs.stored_values.items() if n not in held}
    if is_repo(preset.location) and parts:
        size = 2 if preset.variant == "fp16" else _bytes_a_value(configs_of(preset.location) / "text_encoder")
        yield Download(preset.location, ", ".join(parts), sum(parts.values()) * size / GB)
    repo, _, file = preset.file.partition(":")
    if is_repo(repo):
        yield Download(repo, file, 2 * sum(v for n, v in costs.stored_values.items() if n in held) / GB)
    repo, _, file = preset.weights.partition(":")
    if is_repo(repo):
        yield Download(repo, file or "unet", 2 * costs.denoiser.values / GB)
    small = preset.decoder if settings.decoder == "auto" else settings.decoder
    if is_repo(small):
        yield Download(small, "small decoder", 4 * costs.decoder.values / GB)
    location = settings.encoder or preset.encoder
    if location in ENCODERS or is_repo(location):
        source = ENCODERS[location].source if location in ENCODERS else location
        size = _bytes_a_value(configs_of(location)) if location in ENCODERS else 4
        yield Download(source, "image encoder", encoder.stored_values * size / GB)


def _bytes_a_value(folder: Path) -> int:
    """The precision of stored weights, from the config.json beside them; newer versions of transformers say "dtype"."""
    said = read_json(folder / "config.json")
    return 4 if (said.get("dtype") or said.get("torch_dtype") or "float32") == "float32" else 2


def _how(card: Card, cpu_rate: float, costs: Costs) -> tuple[str, ...]:
    rate = f"{card.rate / 1e12:.3g} TFLOP/s" + (
        " of bfloat16, as an RTX 4090's" if card.rate == ASSUMED_RATE else ", measured"
    )
    return (
        f"sizes, memory and arithmetic: counted once on {costs.counted_on} without weights (benchmarks/costs.py); "
        "other resolutions in proportion to their pixels",
        "what stays: weights (4 bits: NF4, 4.5 bits a value of linear layers), sliders, gradients and Adam's state",
        f"margins: {SLACK - 1:.0%} on lanes and images for the allocator, {RESERVE:g} GB for driver and libraries; a "
        "GB of memory is 2³⁰ bytes",
        f"time: that arithmetic ÷ ({SHARE:.0%}, an assumption, of {rate}); unpacking a base in 4 bits comes on top",
        f"on this machine's processor: the same ÷ ({SHARE:.0%} of {cpu_rate / 1e9:.0f} GFLOP/s, measured)",
    )
