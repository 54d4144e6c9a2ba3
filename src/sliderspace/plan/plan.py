"""What a discovery will fetch, need and cost, before any of it is done: `sliderspace discover --dry-run`.

Memory and arithmetic are counted, not guessed (`footprint`); time is arithmetic over an assumed share of a matrix rate.
What fits is chosen: the base whole, else with gradient checkpointing, else also in 4 bits. 8 bits are never chosen:
slower than 4, and larger.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sliderspace.core.settings import Measuring, Quantize, Settings, Speed
from sliderspace.method.objective import Recipe
from sliderspace.models.backbones import Preset, preset_for
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.configs import configs_of
from sliderspace.models.device import precision_for
from sliderspace.models.encoders import ENCODERS
from sliderspace.models.encoders.base import read_json
from sliderspace.models.quiet import quiet_loading
from sliderspace.models.sources import is_repo
from sliderspace.models.working_point import embedded_steps
from sliderspace.plan.footprint import ASSUMED_RATE, GIB, RESERVE, SLACK, Card, Footprint, Option, card_for, matmul_rate
from sliderspace.plan.unloaded import CPU, parameters_of

GB = 1e9


SHARE = 0.4  # of the matrix rate that sampling and training reach


@dataclass(frozen=True)
class Model:
    """The model at its working point."""

    source: str
    licence: str
    parameters: int
    precision: str
    sampling: str
    pixels: int
    encoder: str
    decoder: str  # empty: the model's own
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
class Work:
    """How much there is to do."""

    samples: int
    held_out: int
    steps: int
    embedded: int
    updates: int
    slider_updates: int
    images_measured: int


@dataclass(frozen=True)
class Plan:
    """All that `--dry-run` says. `chosen` is None where nothing fits; `lanes` and `batch` are what to run it with."""

    prompts: tuple[str, ...]
    backbone: str
    model: Model
    downloads: tuple[Download, ...]
    sliders: Sliders
    work: Work
    card: Card
    options: tuple[Option, ...]
    chosen: Option | None
    lanes: int
    batch: int
    text_encoders_gib: float  # while prompts are encoded, before the denoiser is loaded
    own_decoder_gib: float  # more a lane, if the model's own decoder stood in the small one's place
    disk_gb: float
    host_gib: float  # stored trajectories, which training holds in the machine's own memory
    hours: dict[str, float]  # by stage
    hours_on_cpu: float  # all of it, on this machine's processor
    how: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"flags": self.flags() if self.chosen else None}

    def flags(self) -> list[str]:
        """The options of `discover` that this plan chose. Raises ValueError where nothing fits."""
        if self.chosen is None:
            raise ValueError("nothing fits")
        flags = ["--lanes", str(self.lanes), "--batch", str(self.batch)]
        flags += ["--checkpointing"] if self.chosen.checkpointing else []
        return flags + (["--quantize", self.chosen.quantize] if self.chosen.quantize != "none" else [])


@quiet_loading()
def plan_for(settings: Settings, speed: Speed, *, memory_gb: float | None = None) -> Plan:
    """The plan of a discovery on the visible card, or on one of `memory_gb`. Fetches configurations at most, never
    weights.

    Raises BadInput for a model, encoder or setting that there is not.
    """
    card, preset = card_for(speed.device, memory_gb), preset_for(settings.backbone)
    as_card = settings.precision == "auto" and card.cuda
    found = Footprint(settings, torch.bfloat16 if as_card else precision_for(CPU, settings.precision), card.gib)
    # bitsandbytes needs CUDA, and a base whose weights come as a file of their own is not quantised.
    free = settings.quantize == "none" and card.cuda and not preset.weights
    bases: tuple[Quantize, ...] = ("none", "4bit") if free else (settings.quantize,)
    options = tuple(found.options(bases, (True,) if speed.checkpointing else (False, True)))
    chosen = next((o for o in options if o.lanes and o.images and found.text_encoders < card.gib * GIB), None)
    work = _work(settings, found.backbone)
    flops = _flops(work, found, chosen or options[-1])
    stored = (settings.samples + settings.held_out) * found.trajectory_bytes(work.embedded)
    cpu_rate = matmul_rate(CPU, precision_for(CPU, settings.precision), 1024)
    return Plan(
        prompts=settings.prompts,
        backbone=settings.backbone,
        model=_model(preset, settings, found.backbone),
        downloads=tuple(_downloads(preset, settings, found.backbone)),
        sliders=_sliders(settings, found),
        work=work,
        card=card,
        options=options,
        chosen=chosen,
        lanes=min(chosen.lanes, speed.lanes, settings.sliders) if chosen else 0,
        batch=min(max(1, chosen.images // 2), speed.batch) if chosen else 0,  # more than half the card gains nothing
        text_encoders_gib=found.text_encoders / GIB,
        own_decoder_gib=found.own_decoder_more * SLACK / GIB,
        disk_gb=(stored + 4 * settings.sliders * 4 * found.values)
        / GB,  # values; in a checkpoint again, with Adam's two
        host_gib=stored / GIB,
        hours={stage: f / (card.rate * SHARE) / 3600 for stage, f in flops.items()},
        hours_on_cpu=sum(flops.values()) / (cpu_rate * SHARE) / 3600,
        how=_how(card, cpu_rate),
    )


# ---- what there is to do, and to fetch


def _work(settings: Settings, backbone: PipelineBackbone) -> Work:
    return Work(
        samples=settings.samples,
        held_out=settings.held_out,
        steps=backbone.steps,
        embedded=len(embedded_steps(settings.embed, backbone.steps)),
        updates=settings.updates,
        slider_updates=settings.updates * settings.sliders,
        images_measured=Measuring().images(settings.sliders),
    )


def _flops(work: Work, found: Footprint, option: Option) -> dict[str, float]:
    """Arithmetic of each stage. Training looks at held-out lanes twice every `check_every` updates."""
    step, embed = found.step.flops, found.preview.flops - found.step.flops
    checks = 2 * work.slider_updates / Recipe.check_every * found.preview.flops
    return {
        "sample": (work.samples + work.held_out) * (work.steps * step + work.embedded * embed),
        "train": work.slider_updates * option.update_tflop * 1e12 + checks,
        "measure": work.images_measured * (work.steps * step + embed),
    }


def _model(preset: Preset, settings: Settings, backbone: PipelineBackbone) -> Model:
    schedule = backbone.schedule
    source = (
        preset.location
        + f" at {preset.revision[:12]}" * bool(preset.revision)
        + f", denoiser of {preset.weights}" * bool(preset.weights)
    )
    times = ", ".join(f"{t:.0f}" for t in schedule.time_T.tolist()[:8]) + (", …" if len(schedule) > 8 else "")
    return Model(
        source=source,
        licence=preset.licence,
        parameters=sum(p.numel() for p in backbone.denoiser.parameters()),
        precision=str(backbone.dtype).removeprefix("torch."),
        sampling=f"{len(schedule)} steps ({preset.sampler or 'its own sampler'}) at times {times}; guidance "
        f"{backbone.guidance:g}",
        pixels=backbone.image_size,
        encoder=settings.encoder or preset.encoder,
        decoder={"auto": preset.decoder, "full": ""}.get(settings.decoder, settings.decoder),
        published=preset.expected,
    )


def _sliders(settings: Settings, found: Footprint) -> Sliders:
    trained = found.bank.values_per_slider()
    size = 4 * found.values / 1e6
    return Sliders(
        settings.sliders, settings.rank, settings.targets, len(found.bank.layers), found.values, trained, export_mb=size
    )


def _downloads(preset: Preset, settings: Settings, backbone: PipelineBackbone) -> Iterator[Download]:
    """Values × bytes a value of everything on the Hub that the run reads; what its cache holds already is not fetched
    again."""
    if is_repo(preset.location):
        index = read_json(backbone.folder / "model_index.json")
        denoiser = () if preset.weights else (backbone.component,)
        parts = [p for p in ("text_encoder", "text_encoder_2", "vae", *denoiser) if p in index]
        size = 2 if preset.variant == "fp16" else _bytes_a_value(backbone.folder / "text_encoder")
        values = sum(parameters_of(index[p][1], backbone.folder / p) for p in parts)
        yield Download(preset.location, ", ".join(parts), values * size / GB)
    repo, _, file = preset.weights.partition(":")
    if is_repo(repo):
        yield Download(repo, file or "unet", 2 * sum(p.numel() for p in backbone.denoiser.parameters()) / GB)
    small = preset.decoder if settings.decoder == "auto" else settings.decoder
    if is_repo(small):
        yield Download(small, "small decoder", 4 * sum(p.numel() for p in backbone.vae.parameters()) / GB)
    encoder = settings.encoder or preset.encoder
    if encoder in ENCODERS or is_repo(encoder):
        source = ENCODERS[encoder].source if encoder in ENCODERS else encoder
        yield Download(source, "image encoder", _encoder_gb(configs_of(encoder)))


def _bytes_a_value(folder: Path) -> int:
    """The precision of stored weights, from the config.json beside them."""
    return 4 if read_json(folder / "config.json").get("torch_dtype", "float32") == "float32" else 2


def _encoder_gb(folder: Path) -> float:
    """An encoder's file holds the whole model that it is a part of; FaceNet's is 0.11 GB."""
    classes = read_json(folder / "config.json").get("architectures")
    return parameters_of(classes[0], folder) * _bytes_a_value(folder) / GB if classes else 0.11


def _how(card: Card, cpu_rate: float) -> tuple[str, ...]:
    rate = f"{card.rate / 1e12:.3g} TFLOP/s" + (
        " of bfloat16, as an RTX 4090's" if card.rate == ASSUMED_RATE else ", measured"
    )
    return (
        "fetch: values of the published configurations × the bytes that their files hold a value",
        "what stays: weights (4 bits: NF4, 4.5 bits a value of linear layers), encoded prompts, sliders, their "
        "gradients and Adam's state",
        "a lane, an image: one update and one sampling step of this very code on tensors without memory, counting "
        "the bytes alive",
        f"margins: {SLACK - 1:.0%} on those for the allocator, {RESERVE:g} GB for driver and libraries; a GB of "
        f"memory is 2³⁰ bytes",
        f"time: arithmetic of that update and step ÷ ({SHARE:.0%}, an assumption, of {rate}); unpacking a base in 4 "
        f"bits comes on top",
        f"on this machine's processor: the same ÷ ({SHARE:.0%} of {cpu_rate / 1e9:.0f} GFLOP/s, measured)",
    )
