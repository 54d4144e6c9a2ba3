"""Sliders of one model on another of the same family."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.spaces import make_space, target_layers
from torch import nn

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Speed
from sliderspace.method.denoise import render
from sliderspace.models.load import empty_denoiser, load_backbone
from sliderspace.models.working_point import point_for
from sliderspace.space.space import SliderSpace
from sliderspace.storage.images import to_uint8

CPU = torch.device("cpu")
ATTENTION = r".*\.attn2\.to_[kv]"


def layers_of(name: str) -> dict[str, nn.Linear]:
    """Cross-attention's keys and values of a preset at its real size, without memory."""
    return target_layers(empty_denoiser(point_for(name, CPU)), ATTENTION)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SliderSpace:
    """Sliders of `mini`, asked for at other steps than its own."""
    folder = tmp_path_factory.mktemp("spaces") / "mini"
    return make_space(folder, layers_of("mini"), backbone="mini", precision="float32", steps=5, guidance=1.5)


def test_sliders_of_a_model_draw_on_its_distilled_form(space: SliderSpace) -> None:
    """At its own steps and guidance, at the same raw strengths; the run's encoded prompts are of the same encoder."""
    there = space.on("mini-turbo")
    drawn = there.generate([3], {1: 2.0})
    turbo = load_backbone("mini-turbo", device="cpu", precision="float32", decoder="full")
    raw_1K = torch.zeros(1, len(space))
    raw_1K[:, 1] = 2.0 * float(space.units_K[1])
    by_hand = render(turbo, space.bank_on(turbo), turbo.encode(["a robot"]), [3], [0], raw_1K)
    expected = to_uint8(torch.cat(list(by_hand))).numpy()
    assert (there.point.steps, there.point.guidance, space.point.steps) == (4, 1.0, 5)
    assert np.abs(drawn.astype(int) - expected).max() <= 1
    assert np.abs(drawn.astype(int) - there.generate([3])).max() > 5, "the slider acts there"
    assert np.abs(drawn.astype(int) - space.generate([3], {1: 2.0})).max() > 5, "and it is another model"


def test_real_models_of_one_family_fit_before_anything_is_fetched(tmp_path: Path) -> None:
    space = make_space(tmp_path / "sdxl", layers_of("sdxl"), count=1, backbone="sdxl", quantize="8bit")
    there = space.on("sdxl-dmd2")
    assert (there.point.steps, there.point.guidance, there.point.quantize) == (4, 1.0, "none")


@pytest.mark.parametrize(
    ("own", "other"), [("sd15", "sd21"), ("sd15", "sdxl"), ("mini", "flux-schnell"), ("krea2-turbo", "krea2")]
)
def test_layers_that_do_not_fit_are_an_error(own: str, other: str, tmp_path: Path) -> None:
    """Of the same names and another width; of other names. Krea's fit, and stand for the control."""
    layers = {"transformer_blocks.3.attn.to_k": nn.Linear(6144, 1536)} if own.startswith("krea") else layers_of(own)
    space = make_space(tmp_path / "run", layers, count=1, backbone=own)
    if other == "krea2":
        assert space.on(other).point.steps == 28
        return
    with pytest.raises(BadInput, match=rf"made for another model: {other} has no .+ of their size"):
        space.on(other)


def test_a_model_that_does_not_exist_is_an_error(space: SliderSpace) -> None:
    with pytest.raises(BadInput, match="no backbone 'nonesuch'"):
        SliderSpace.load(space.folder, Speed(device="cpu")).on("nonesuch")
