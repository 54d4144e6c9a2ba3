"""What a model costs: its code runs once on tensors without memory, while a meter counts live bytes and arithmetic."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from sliderspace.core.settings import Quantize, Settings
from sliderspace.method.moments import Moments
from sliderspace.method.objective import Lanes, Objective, Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.method.trajectories import Trajectories
from sliderspace.models.backbones import Condition
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.device import precision_for
from sliderspace.models.encoders import Encoder
from sliderspace.plan.meter import Meter, TooLarge
from sliderspace.plan.unloaded import CPU, build, checkpoint, fake

# ---- what is measured


@dataclass(frozen=True)
class Cost:
    """Bytes alive at the worst moment, weights not counted, and floating-point operations."""

    peak: int
    flops: int


def preview_cost(
    backbone: PipelineBackbone, encoder: Encoder, condition: Condition, images: int = 1
) -> tuple[Cost, Cost]:
    """One sampler step without gradients, as `walk` takes it: the denoiser alone, and with the preview decoded and
    embedded."""
    x, rows = backbone.start([0] * images), condition.rows([0] * images)
    with torch.no_grad(), Meter([backbone.denoiser, backbone.vae, encoder]) as meter:
        x0 = backbone.predict(x, torch.zeros(images, dtype=torch.int64, device=x.device), rows)
        denoiser = Cost(meter.peak, meter.flops)
        encoder(backbone.decode(x0))
    return denoiser, Cost(meter.peak, meter.flops)


def objective_for(
    backbone: PipelineBackbone, encoder: Encoder, condition: Condition, bank: SliderBank, recipe: Recipe
) -> tuple[Objective, Trajectories]:
    """What training works on, with one made-up trajectory of one step and made-up directions."""
    rng = np.random.default_rng(0)
    moments = Moments(1, encoder.dim).update(
        rng.normal(size=(len(bank) + 8, encoder.dim)), np.zeros(len(bank) + 8, dtype=np.int64)
    )
    directions = moments.fit(len(bank), trajectories=len(bank) + 8)
    z_NTD = nn.functional.normalize(torch.ones(1, 1, encoder.dim), dim=-1)
    data = Trajectories(
        backbone.start([0]).half().unsqueeze(1).cpu(),
        z_NTD,
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    )
    return Objective(backbone, encoder, condition, bank, directions, recipe), data


def lanes_of(count: int) -> Lanes:
    """Sliders 0 … count−1, one a row, on the made-up trajectory."""
    zeros = torch.zeros(count, dtype=torch.int64)
    return Lanes(torch.arange(count), zeros, zeros, torch.ones(count))


def update_cost(objective: Objective, data: Trajectories, lanes: int, limit: float = float("inf")) -> Cost | None:
    """Forward and backward of `lanes` sliders, gradients among the bytes alive; None where they exceed `limit`."""
    backbone: Any = objective.backbone
    with Meter([backbone.denoiser, backbone.vae, objective.encoder, objective.bank], limit) as meter:
        try:
            objective.descend(data, lanes_of(lanes))
        except TooLarge:
            return None
        finally:
            for parameter in objective.bank.trained():
                parameter.grad = None
    return Cost(meter.peak, meter.flops)


def decoder_cost(backbone: PipelineBackbone, encoder: Encoder) -> Cost:
    """Decoding and embedding one image and the way back, without the denoiser: what a decoder adds to an update."""
    z = torch.zeros(1, *backbone.latent_shape, device=backbone.device).requires_grad_()
    with Meter([backbone.vae, encoder]) as meter:
        encoder(backbone.decode(z)).sum().backward()
    return Cost(meter.peak, meter.flops)


# ---- memory


def weight_bytes(model: nn.Module, quantize: Quantize = "none") -> int:
    """What a model's weights occupy. bitsandbytes changes linear layers only: NF4 is 4 bits and a float32 scale for
    each 64 values, 8 bits come with a float32 scale a row."""
    total = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    if quantize == "none":
        return total
    for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):
        n = layer.weight.numel()
        total -= n * layer.weight.element_size()
        total += n // 2 + n // 64 * 4 if quantize == "4bit" else n + layer.out_features * 4
    return total


def largest_layer_bytes(model: nn.Module) -> int:
    """The largest linear layer in its own precision: a quantised base unpacks one at a time."""
    return max(
        (m.weight.numel() * m.weight.element_size() for m in model.modules() if isinstance(m, nn.Linear)), default=0
    )


GIB = 2.0**30


ASSUMED_GIB, ASSUMED_RATE = 24.0, 165e12  # an RTX 4090: bfloat16 products, float32 sums


RESERVE = 1.0  # GiB for the driver's context and the libraries' workspaces


SLACK = 1.1  # on activations: what an allocator wastes, and what kernels take for a moment


@dataclass(frozen=True)
class Option:
    """One way to hold the model. GiB of what stays, of each lane of an update and of each image sampled; how many fit
    at a time."""

    quantize: Quantize
    checkpointing: bool
    stays_gib: float
    lane_gib: float | None  # None: one alone exceeds the card
    image_gib: float
    lanes: int
    images: int
    update_tflop: float  # arithmetic of one slider's update


class Footprint:
    """The models of a discovery without their weights, and what they cost in bytes on a card of `gib`."""

    def __init__(self, settings: Settings, dtype: torch.dtype, gib: float) -> None:
        self.settings, self.gib = settings, gib
        self.backbone, self.encoder = build(settings, fake(), dtype)
        with Meter() as meter:  # the text encoders are made within the block, so that their weights count
            self.condition = self.backbone.encode(["a prompt"])
        self.text_encoders = meter.peak
        pattern = self.backbone.layers[settings.targets]
        self.bank = SliderBank(self.backbone.denoiser, 1, pattern=pattern, rank=settings.rank, up=settings.up)
        self.values = sum(p[0].numel() for p in self.bank.parameters())
        self.step, self.preview = preview_cost(self.backbone, self.encoder, self.condition)
        own = type(self.backbone)(self.backbone.folder, replace(self.backbone.setup, decoder=None))
        self.own_decoder_more = decoder_cost(own, self.encoder).peak - decoder_cost(self.backbone, self.encoder).peak

    def options(self, bases: Iterable[Quantize], checkpointing: Iterable[bool]) -> Iterator[Option]:
        """From the fastest to the smallest: each base in turn, without checkpointing first. The last has its cost, fit
        or not."""
        listed, switches = list(bases), list(checkpointing)
        room = self._room(min(self._stays(q) for q in listed))
        costs = {on: self._update(on, float("inf") if on is switches[-1] else room) for on in switches}
        return (self._option(q, on, cost) for q in listed for on, cost in costs.items())

    def _update(self, checkpointing: bool, limit: float) -> Cost | None:
        if checkpointing:
            checkpoint(self.backbone)
        recipe = Recipe(updates=1, lr=1.0, objective=self.settings.objective)
        return update_cost(
            *objective_for(self.backbone, self.encoder, self.condition, self.bank, recipe), lanes=1, limit=limit
        )

    def _option(self, quantize: Quantize, checkpointing: bool, cost: Cost | None) -> Option:
        stays, image = self._stays(quantize), self.preview.peak
        room = max(0.0, self._room(stays))
        return Option(
            quantize=quantize,
            checkpointing=checkpointing,
            stays_gib=stays / GIB,
            lane_gib=cost.peak * SLACK / GIB if cost else None,
            image_gib=image * SLACK / GIB,
            lanes=int(room / cost.peak) if cost else 0,
            images=int(room / image),
            update_tflop=cost.flops / 1e12 if cost else 0.0,
        )

    def _room(self, stays: float) -> float:
        """Bytes that activations may take, as the meter counts them."""
        return ((self.gib - RESERVE) * GIB - stays) / SLACK

    def _stays(self, quantize: Quantize) -> float:
        """Weights, encoded prompts, sliders with their gradients and Adam's state; of a quantised base also one
        unpacked layer."""
        denoiser, settings = self.backbone.denoiser, self.settings
        weights = weight_bytes(denoiser, quantize) + weight_bytes(self.backbone.vae) + weight_bytes(self.encoder)
        texts = sum(t.numel() * t.element_size() for t in self.condition.texts.values()) * len(settings.prompts)
        unpacked = largest_layer_bytes(denoiser) if quantize != "none" else 0
        return weights + texts + unpacked + 4 * settings.sliders * (self.values + 3 * self.bank.values_per_slider())

    def trajectory_bytes(self, embedded: int) -> int:
        """Of one trajectory: float16 latents and a float32 embedding at each embedded step."""
        channels, height, width = self.backbone.latent_shape
        return embedded * (2 * channels * height * width + 4 * self.encoder.dim)


# ---- the card


@dataclass(frozen=True)
class Card:
    """Where the run will be. `rate` is its matrix rate, FLOP/s."""

    name: str
    gib: float
    rate: float
    cuda: bool


def card_for(device: str, memory_gb: float | None) -> Card:
    """A card of `memory_gb`; else the visible GPU; else this machine's processor where it is asked for, or an assumed
    card."""
    if memory_gb is not None:
        return Card("a card as asked for", memory_gb, ASSUMED_RATE, cuda=True)
    if device == "cpu":
        return Card(
            "this machine's processor", _host_gib(), matmul_rate(CPU, precision_for(CPU, "auto"), 1024), cuda=False
        )
    if torch.cuda.is_available():
        where = torch.device("cuda" if device == "auto" else device)
        seen = torch.cuda.get_device_properties(where)
        return Card(seen.name, seen.total_memory / GIB, matmul_rate(where, torch.bfloat16, 8192), cuda=True)
    return Card("an assumed card (no GPU is visible here)", ASSUMED_GIB, ASSUMED_RATE, cuda=True)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOP/s of square matrix products, the best of a few."""
    a = torch.ones(side, side, device=device, dtype=dtype)

    def seconds() -> float:
        start = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return 2 * side**3 / min(seconds() for _ in range(5))


def _host_gib() -> float:
    """This machine's memory; 16 where the system does not say."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB if hasattr(os, "sysconf") else 16.0
