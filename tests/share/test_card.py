"""The card's line of code: every model's pipeline is told what the discovery was told, in its own words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.spaces import make_space
from torch import nn

from sliderspace.share.card import card
from sliderspace.space.space import SliderSpace

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


def of_three(folder: Path, **settings: Any) -> SliderSpace:
    return make_space(folder, {CALLS["sdxl"][0][0]: nn.Linear(2048, 1)}, backbone="sdxl", **settings)


def told(space: SliderSpace) -> str:
    """Its card, on one line."""
    return " ".join(card(space, "jane/robots", [Path(f"{k}.safetensors") for k in range(len(space))], []).split())


def test_what_was_asked_for_in_words_was_not_found(tmp_path: Path) -> None:
    pairs = tuple({"plus": plus} for plus in ("red", "tall", "old"))
    space = of_three(tmp_path / "asked", objective="concept", pairs=pairs)
    axes_KD = space.directions.components_KD.copy()
    axes_KD[1] = (axes_KD[0] + axes_KD[1]) / 2**0.5
    asked = told(replace(space, directions=replace(space.directions, components_KD=axes_KD)))
    assert "3 sliders for sdxl that were asked for in words" in asked and "How they were made" in asked
    assert "without labels" not in asked and "Together" not in asked, "shares of what overlaps are no sum"
    found = told(of_three(tmp_path / "found"))
    assert "3 ways in which sdxl itself varies this prompt, found without labels" in found
    assert "Together the directions hold" in found and "How they were found" in found


@pytest.mark.parametrize(("control", "what"), [("random", "random ones"), ("images", "toward single images")])
def test_a_control_says_that_it_is_one(control: str, what: str, tmp_path: Path) -> None:
    text = told(of_three(tmp_path / "run", control=control))
    assert f"along directions that nobody found, {what}: a control" in text and "without labels" not in text
    assert "Together the directions hold" in text, "they were made orthogonal"


def test_a_size_that_was_chosen_is_said(tmp_path: Path) -> None:
    text = called(tmp_path / "run", "sdxl", resolution="1216x832")
    assert "guidance_scale=5, width=1216, height=832).images" in text
