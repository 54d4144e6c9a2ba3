"""One slider's update on models in memory: how many bytes it takes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sliderspace.core.settings import Settings
from sliderspace.method.moments import Moments
from sliderspace.method.objective import Lanes, Objective, Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.method.trajectories import Trajectories
from sliderspace.models.backbones import Backbone, Condition
from sliderspace.models.encoders import Encoder
from sliderspace.plan.meter import Meter


@dataclass(frozen=True)
class Measured:
    """Bytes that one lane needs beyond what stays, and that one slider keeps: values, gradients and Adam's state."""

    lane_bytes: int
    slider_bytes: int


def objective_for(
    backbone: Backbone, encoder: Encoder, condition: Condition, bank: SliderBank, recipe: Recipe
) -> tuple[Objective, Trajectories]:
    """What training works on, with one made-up trajectory of one step and made-up directions."""
    rng = np.random.default_rng(0)
    count = len(bank) + 8
    moments = Moments(1, encoder.dim).update(rng.normal(size=(count, encoder.dim)), np.zeros(count, dtype=np.int64))
    directions = moments.fit(len(bank), trajectories=count)
    first_N = torch.zeros(1, dtype=torch.int64)
    data = Trajectories.in_memory(
        backbone.start([0]).half().unsqueeze(1).cpu(),
        nn.functional.normalize(torch.ones(1, 1, encoder.dim), dim=-1),
        first_N,
        first_N,
    )
    return Objective(backbone, encoder, condition, bank, directions, recipe), data


def lanes_of(count: int) -> Lanes:
    """Sliders 0 … count−1, one a row, on the made-up trajectory."""
    zeros = torch.zeros(count, dtype=torch.int64)
    return Lanes(torch.arange(count), zeros, zeros, torch.ones(count))


def measure_one_lane(settings: Settings, backbone: Backbone, encoder: Encoder, condition: Condition) -> Measured:
    """An update of one slider of these settings. Raises torch.OutOfMemoryError where the device does not hold it.

    On a GPU the bytes are the allocator's own count; elsewhere those of the tensors alive at the worst moment.
    """
    bank = SliderBank(
        backbone.denoiser, 1, pattern=backbone.layers[settings.targets], rank=settings.rank, up=settings.up
    )
    recipe = Recipe(updates=1, lr=1.0, objective=settings.objective, hold=settings.hold)
    objective, data = objective_for(backbone, encoder, condition, bank, recipe)
    objective.descend(data, lanes_of(1))  # the first call chooses kernels and fills caches
    lane = _on_gpu(objective, data) if backbone.device.type == "cuda" else _elsewhere(objective, data)
    return Measured(lane, sum(4 * p.numel() * (4 if p.requires_grad else 1) for p in bank.parameters()))


def _on_gpu(objective: Objective, data: Trajectories) -> int:
    device = objective.backbone.device
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    objective.descend(data, lanes_of(1))
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _elsewhere(objective: Objective, data: Trajectories) -> int:
    known = [objective.backbone.denoiser, objective.encoder, objective.bank]
    with Meter([*known, *_autoencoder(objective.backbone)]) as meter:
        objective.descend(data, lanes_of(1))
    return meter.peak


def _autoencoder(backbone: Backbone) -> list[nn.Module]:
    vae = getattr(backbone, "vae", None)
    return [vae] if isinstance(vae, nn.Module) else []
