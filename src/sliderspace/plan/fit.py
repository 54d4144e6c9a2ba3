"""Settings on a GPU -> how many lanes and images to run at a time: measured on one lane of the real models."""

from collections.abc import Iterable

import torch
from torch import nn

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings, Speed
from sliderspace.models.device import device_for
from sliderspace.models.load import backbone_at, encoder_at
from sliderspace.models.working_point import WorkingPoint
from sliderspace.plan.card import GIB
from sliderspace.plan.memory import RESERVE, SLACK
from sliderspace.plan.one_lane import measure_one_lane
from sliderspace.plan.plan import Plan, plan_for

OPEN = {"lanes", "batch", "checkpointing"}


def fit_to_card(settings: Settings, speed: Speed) -> Speed:
    """On a GPU, the speed with what was left open (lanes, batch, checkpointing) as the card holds it; else as it is.

    The settings are never changed: a base that does not fit in its precision is BadInput, with the flags that would.
    """
    if device_for(speed.device).type != "cuda" or speed.model_fields_set >= OPEN:
        return speed
    plan = plan_for(settings, speed)
    if plan.chosen is None:  # said before gigabytes are fetched
        raise too_small(plan)
    switches = (True,) if plan.chosen.checkpointing else (False, True)
    fitted = measured_fit(settings, speed, plan.card.gib, switches)
    if fitted is None:
        raise too_small(plan)
    return fitted.model_copy(update={"batch": plan.batch})


def too_small(plan: Plan) -> BadInput:
    """What to do where a card does not hold a model as it was asked for."""
    asked = plan.options[0].quantize
    least = [o for o in plan.options if o.quantize == asked][-1]
    needs = max(plan.text_encoders_gib, least.stays_gib + RESERVE + least.lane_gib)
    what = f"{plan.backbone} as asked for needs about {needs:.0f} GB, and {plan.card.name} has {plan.card.gib:.0f}"
    smaller = next((o for o in plan.options if o.fits and o.quantize != asked), None)
    if smaller is None:
        return BadInput(f"{what}.\nTake a lower --resolution; `--dry-run` says what that needs.")
    flags = f"--quantize {smaller.quantize}" + " --checkpointing" * smaller.checkpointing
    return BadInput(f"{what}.\nIt fits with {flags}: a base in fewer bits, so its sliders are its own.")


def measured_fit(
    settings: Settings, speed: Speed, gib: float, switches: Iterable[bool] = (False, True)
) -> Speed | None:
    """The speed with as many lanes as fit a device of `gib`, by one update measured there; `switches` are the states of
    checkpointing to try. None where no lane fits."""
    for checkpointing in switches:
        asked = speed.model_copy(update={"checkpointing": checkpointing})
        try:
            lanes = _lanes(settings, asked, gib)
        except torch.OutOfMemoryError:
            lanes = 0
        if lanes > 0:
            return asked.model_copy(update={"lanes": min(lanes, speed.lanes)})
    return None


def _lanes(settings: Settings, speed: Speed, gib: float) -> int:
    """Lanes that fit beside the models, which are loaded for it and let go of."""
    device = device_for(speed.device)
    point = WorkingPoint.of(settings, device)
    backbone = backbone_at(point, device=device, checkpointing=speed.checkpointing)
    condition = backbone.encode(settings.prompts[:1])
    encoder = encoder_at(point.encoder, device=device, dtype=point.dtype)
    measured = measure_one_lane(settings, backbone, encoder, condition)
    vae = getattr(backbone, "vae", None)
    modules = [backbone.denoiser, encoder, *([vae] if isinstance(vae, nn.Module) else [])]
    weights = sum(t.numel() * t.element_size() for m in modules for t in (*m.parameters(), *m.buffers()))
    sliders = settings.sliders * measured.slider_bytes
    return int(((gib - RESERVE) * GIB - weights - sliders) / SLACK // measured.lane_bytes)
