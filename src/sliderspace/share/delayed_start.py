"""For plain diffusers: sliders that act from a later sampler step on. A LoRA file cannot carry that; this callback
does.

pipeline.load_lora_weights("sliders", weight_name="a-robot-03.safetensors", adapter_name="slider_3")
late = delayed_start(pipeline, {"slider_3": 1.5}, start_step=2)
image = pipeline("a robot", callback_on_step_end=late).images[0]
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from sliderspace.core.errors import BadInput

StepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def delayed_start(pipeline: Any, strengths: Mapping[str, float], start_step: int) -> StepEnd:
    """A `callback_on_step_end` that turns loaded adapters on from sampler step `start_step` on (0: from the first).

    `strengths` is {adapter name: strength}, 1.0 being what the file was exported for. The adapters are off from this
    call until that step, and off again after an image's last step, so one callback serves any number of calls. A call
    that ends early leaves them on; make a new callback then. Other active adapters (a fast sampler's, say) are left as
    they are.

    Raises BadInput: an adapter that is not loaded, a strength that is not a number, a step below 0.
    """
    layers = _adapted_layers(pipeline)
    _check(strengths, {name for layer in layers for name in layer.scaling}, start_step)
    for layer in layers:
        others = [name for name in layer.active_adapters if name not in strengths]
        layer.set_adapter(others + [name for name in strengths if name in layer.scaling], inference_mode=True)

    def switch(on: bool) -> None:
        for layer in layers:
            for name, strength in strengths.items():
                layer.set_scale(name, strength if on else 0.0)

    def after_step(pipeline: Any, index: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if start_step >= pipeline.num_timesteps:
            raise BadInput(f"start step {start_step}: this call samples in steps 0 … {pipeline.num_timesteps - 1}")
        if index == pipeline.num_timesteps - 1:
            switch(on=start_step == 0)
        elif index == start_step - 1:
            switch(on=True)
        return tensors

    switch(on=start_step == 0)
    return after_step


def _adapted_layers(pipeline: Any) -> list[Any]:
    """The layers of the denoiser that carry adapters."""
    from peft.tuners.lora import LoraLayer

    denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    return [layer for layer in denoiser.modules() if isinstance(layer, LoraLayer)] if denoiser is not None else []


def _check(strengths: Mapping[str, float], loaded: set[str], start_step: int) -> None:
    if start_step < 0:
        raise BadInput(f"start step {start_step}: sampler steps count from 0")
    if missing := [name for name in strengths if name not in loaded]:
        raise BadInput(
            f"no adapter {', '.join(missing)} is loaded: give load_lora_weights an adapter_name; loaded: "
            f"{sorted(loaded)}"
        )
    if not strengths or not all(math.isfinite(s) for s in strengths.values()):
        raise BadInput("strengths are {adapter name: a number}, for example {'slider_3': 1.5}")
