"""The delayed start, which a file cannot carry: in plain diffusers as in ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.spaces import Pipelines, by_number, close, drawn, load_adapters, ours

from sliderspace.core.errors import BadInput
from sliderspace.share.delayed_start import delayed_start
from sliderspace.share.export import export
from sliderspace.space.space import SliderSpace


@pytest.mark.parametrize("start_step", [0, 1, 2])
def test_a_delayed_start_in_diffusers_is_ours(
    space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path, start_step: int
) -> None:
    pipe, strengths = unet_pipeline(), {0: 1.0, 1: -0.8}
    load_adapters(pipe, by_number(export(space, tmp_path)), dict.fromkeys(strengths, 1.0))
    late = delayed_start(pipe, {f"s{k}": s for k, s in strengths.items()}, start_step)
    first, second = (drawn(pipe, callback_on_step_end=late) for _ in range(2))
    close(first, ours(space, strengths, start_step))
    assert torch.equal(first, second), "the second call begins as the first did"


def test_a_delayed_start_leaves_other_adapters_alone(
    space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path
) -> None:
    pipe = unet_pipeline()
    load_adapters(pipe, by_number(export(space, tmp_path)), {0: 1.0, 2: 0.6})
    late = delayed_start(pipe, {"s0": 1.0}, 1)
    found = drawn(pipe, callback_on_step_end=late)
    load_adapters(fresh := unet_pipeline(), by_number(export(space, tmp_path)), {2: 0.6})
    fresh.load_lora_weights(tmp_path, weight_name=export(space, tmp_path, sliders=[0])[0].name, adapter_name="s0")

    def by_hand(pipe: Any, index: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if index == 0:
            pipe.set_adapters(["s2", "s0"], [0.6, 1.0])
        return tensors

    fresh.set_adapters(["s2"], [0.6])
    close(found, drawn(fresh, callback_on_step_end=by_hand))


def test_a_delayed_start_says_what_is_wrong(space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path) -> None:
    pipe = unet_pipeline()
    with pytest.raises(BadInput, match="no adapter s0"):
        delayed_start(pipe, {"s0": 1.0}, 1)
    load_adapters(pipe, by_number(export(space, tmp_path)), {0: 1.0})
    for strengths, step in (({"s7": 1.0}, 1), ({"s0": float("nan")}, 1), ({}, 1), ({"s0": 1.0}, -1)):
        with pytest.raises(BadInput):
            delayed_start(pipe, strengths, step)
    with pytest.raises(BadInput, match="steps 0 … 2"):
        drawn(pipe, callback_on_step_end=delayed_start(pipe, {"s0": 1.0}, 3))
