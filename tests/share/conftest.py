"""A space made by hand on the tiny model, and that model in plain diffusers."""

from typing import Any

import pytest
from support.spaces import Pipelines, make_space, target_layers
from support.tiny import Tiny

from sliderspace.models.backbones.unet import UNetBackbone
from sliderspace.space.space import SliderSpace


@pytest.fixture(scope="session")
def space(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> SliderSpace:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tiny.velocity, subfolder="unet")
    where = {"backbone": str(tiny.velocity), "steps": 3, "precision": "float32", "guidance": 1.0}
    return make_space(
        tmp_path_factory.mktemp("space") / "run", target_layers(unet, UNetBackbone.layers["attention"]), **where
    )


@pytest.fixture(scope="session")
def unet_pipeline(tiny: Tiny) -> Pipelines:
    from diffusers import StableDiffusionPipeline

    def load() -> Any:
        pipe = StableDiffusionPipeline.from_pretrained(
            tiny.velocity, safety_checker=None, requires_safety_checker=False
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return load
