"""Settings and a card -> the ways to hold the model there: what stays, and how many lanes and images fit beside it."""

from collections.abc import Iterator
from dataclasses import dataclass

from sliderspace.core.settings import Quantize, Settings, Speed
from sliderspace.models.costs import Costs, EncoderCosts
from sliderspace.plan.card import GIB, Card

RESERVE = 1.0  # GiB for the driver's context and the libraries' workspaces
SLACK = 1.1  # on activations: what an allocator wastes, and what kernels take for a moment
# NF4: 4 bits and a float32 scale for each 64 values of a linear layer.
BYTES = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}


@dataclass(frozen=True)
class Option:
    """One way to hold the model. GiB of what stays, of each lane of an update and of each image sampled; how many fit
    at a time."""

    quantize: Quantize
    checkpointing: bool
    stays_gib: float
    lane_gib: float
    image_gib: float
    lanes: int
    images: int
    update_tflop: float  # arithmetic of one slider's update

    @property
    def fits(self) -> bool:
        return self.lanes > 0 and self.images > 0


def options_for(
    settings: Settings,
    speed: Speed,
    costs: Costs,
    encoder: EncoderCosts,
    card: Card,
    value_bytes: int,
    *,
    may_quantize: bool,
) -> Iterator[Option]:
    """From the fastest to the smallest: the base as asked for, then in 4 bits; without checkpointing first."""
    smaller = may_quantize and settings.quantize == "none"
    bases: tuple[Quantize, ...] = (settings.quantize, "4bit") if smaller else (settings.quantize,)
    for base in bases:
        stays = stays_gib(settings, costs, encoder, base, value_bytes)
        for checkpointing in (True,) if speed.checkpointing else (False, True):
            yield _option(costs, encoder, card, base, checkpointing, stays, value_bytes / 2)


def _option(
    costs: Costs, encoder: EncoderCosts, card: Card, base: Quantize, checkpointing: bool, stays: float, wider: float
) -> Option:
    parts = (costs.denoiser, costs.decoder, encoder.part)
    lane = sum(p.checkpointed_gib if checkpointing else p.lane_gib for p in parts) * wider * SLACK
    image = max(p.image_gib for p in parts) * wider * SLACK
    room = max(0.0, card.gib - RESERVE - stays) if costs.text_gib < card.gib else 0.0
    tflop = sum(p.checkpointed_tflop if checkpointing else p.update_tflop for p in parts)
    return Option(base, checkpointing, stays, lane, image, int(room / lane), int(room / image), tflop)


def stays_gib(settings: Settings, costs: Costs, encoder: EncoderCosts, base: Quantize, value_bytes: int) -> float:
    """Weights, and sliders with their gradients and Adam's state; of a quantised base also one unpacked layer."""
    linear = costs.linear_values if base != "none" else 0
    weights = value_bytes * (costs.denoiser.values - linear + costs.decoder.values + encoder.part.values)
    if base != "none":
        weights += BYTES[base] * linear + value_bytes * costs.largest_linear
    values, trained = slider_values(settings, costs)
    return (weights + 4 * settings.sliders * (values + 3 * trained)) / GIB


def slider_values(settings: Settings, costs: Costs) -> tuple[int, int]:
    """Values of one slider, and how many of them are trained."""
    layers = costs.layers[settings.targets]
    values = settings.rank * (layers.inputs + layers.outputs)
    return values, values if settings.up == "trained" else settings.rank * layers.inputs
