"""What the parts of a model cost: their code runs once on tensors without memory, while a meter counts live bytes and
arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sliderspace.core.settings import Quantize
from sliderspace.method.objective import Objective
from sliderspace.method.trajectories import Trajectories
from sliderspace.models.backbones import Condition
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.encoders import Encoder
from sliderspace.plan.meter import Meter
from sliderspace.plan.one_lane import lanes_of


@dataclass(frozen=True)
class Cost:
    """Bytes alive at the worst moment, weights not counted, and floating-point operations."""

    peak: int
    flops: int


def counted(work: Callable[[], object], *known: nn.Module) -> Cost:
    """What a call costs; the weights of `known` modules are left out."""
    with Meter(known) as meter:
        work()
    return Cost(meter.peak, meter.flops)


def preview_cost(
    backbone: PipelineBackbone, encoder: Encoder, condition: Condition, images: int = 1
) -> tuple[Cost, Cost]:
    """One sampler step without gradients, as `denoise` takes it: the denoiser alone, and with the preview decoded and
    embedded."""
    x, rows = backbone.start([0] * images), condition.rows([0] * images)
    with torch.no_grad(), Meter([backbone.denoiser, backbone.decoder, encoder]) as meter:
        x0 = backbone.predict(x, torch.zeros(images, dtype=torch.int64, device=x.device), rows)
        denoiser = Cost(meter.peak, meter.flops)
        encoder(backbone.decode(x0))
    return denoiser, Cost(meter.peak, meter.flops)


def update_cost(objective: Objective, data: Trajectories, lanes: int) -> Cost:
    """Forward and backward of `lanes` sliders, gradients among the bytes alive."""
    backbone: Any = objective.backbone
    cost = counted(
        lambda: objective.descend(data, lanes_of(lanes)),
        backbone.denoiser,
        backbone.decoder,
        objective.encoder,
        objective.bank,
    )
    for parameter in objective.bank.trained():
        parameter.grad = None
    return cost


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
