"""The card's line of code: every model's pipeline is told what the discovery was told, in its own words."""

from pathlib import Path
from typing import Any

import pytest
from support.spaces import make_space
from torch import nn

from sliderspace.share.card import card

JOINT = [f"transformer_blocks.{i}.attn.add_k_proj" for i in range(20)]
CALLS = {  # layers, their width, and what diffusers calls the preset's steps and guidance
    "sdxl": (["mid_block.attentions.0.transformer_blocks.0.attn2.to_k"], 2048, "steps=30, guidance_scale=5"),
    "flux-dev": (["single_transformer_blocks.0.attn.to_k"], 3072, "steps=28, guidance_scale=3.5"),
    "z-image": (["layers.0.attention.to_k"], 3840, "steps=50, guidance_scale=4"),
    "z-image-turbo": (["layers.0.attention.to_k"], 3840, "steps=8, guidance_scale=0"),
    "krea2": (["text_fusion.refiner_blocks.0.attn.to_k"], 2560, "steps=28, guidance_scale=4.5"),
    "qwen-image": (JOINT, 3072, "steps=50, true_cfg_scale=4, negative_prompt=''"),
}


def called(folder: Path, model: str, **settings: Any) -> str:
    paths, width, _ = CALLS[model]
    space = make_space(folder, {path: nn.Linear(width, 1) for path in paths}, count=1, backbone=model, **settings)
    return card(space, "jane/robots", [folder / "a.safetensors"], [])


@pytest.mark.parametrize("model", CALLS)
def test_guidance_is_said_in_the_words_of_the_models_pipeline(model: str, tmp_path: Path) -> None:
    assert f"pipeline('a robot', num_inference_{CALLS[model][2]}).images" in called(tmp_path / "run", model)


def test_no_guidance_needs_no_negative_prompt(tmp_path: Path) -> None:
    assert "true_cfg_scale=1).images" in called(tmp_path / "run", "qwen-image", guidance=1.0)


def test_a_size_that_was_chosen_is_said(tmp_path: Path) -> None:
    text = called(tmp_path / "run", "sdxl", resolution="1216x832")
    assert "guidance_scale=5, width=1216, height=832).images" in text
