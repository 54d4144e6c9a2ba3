"""The card's line of code: every model's pipeline is told what the discovery was told, in its own words."""

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from support.spaces import make_space
from support.tiny import save_pipeline
from support.tiny_flow import save_flux
from support.tiny_unet import save_sdxl
from torch import Tensor, nn

from sliderspace.method.denoise import final_latents
from sliderspace.models.backbones import PRESETS
from sliderspace.models.backbones.families import family_of
from sliderspace.models.backbones.pipeline import Setup
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


def code_of(text: str) -> str:
    """The lines for diffusers as they are printed, on the model alone, its latents in place of pictures."""
    code = text.partition("```python\n")[2].partition("```")[0]
    lines = [line for line in code.splitlines() if "adapter" not in line]
    more = ", output_type='latent', generator=torch.Generator().manual_seed(3)).images"
    return "\n".join(lines).replace(").images[0]", more)


def unpacked(latents: Tensor) -> Tensor:
    return FluxPipeline._unpack_latents(latents, 32, 32, 4) if latents.ndim == 3 else latents


def save_model(folder: Path, model: str) -> None:
    torch.manual_seed(0)
    if model == "flux-schnell":
        save_flux(folder, dev=False)
    elif model == "sd15":
        save_pipeline(folder)
    else:
        save_sdxl(folder, timestep_spacing="leading", steps_offset=1)


@pytest.mark.parametrize("model", ["sd15", "sdxl-dmd2", "sdxl-lightning", "sdxl-lcm", "noobai-v", "flux-schnell"])
def test_the_printed_code_draws_what_the_discovery_drew(model: str, tmp_path: Path) -> None:
    """On a small model of the family: samplers, their times and what they are told, and tokens."""
    preset, folder = PRESETS[model], tmp_path / "model"
    save_model(folder, model)
    path, width = ("single_transformer_blocks.0.attn.to_k", 32) if "flux" in model else (CALLS["sdxl"][0][0], 2048)
    space = make_space(tmp_path / "run", {path: nn.Linear(width, 1)}, count=1, backbone=model, resolution=32)
    script = tmp_path / "card.py"
    script.write_text(code_of(card(space, "jane/robots", [Path("a.safetensors")], [], base=str(folder))))
    names = runpy.run_path(str(script), {"torch": torch})
    more = {key: getattr(preset, key) for key in ("steps", "guidance", "sampler", "timesteps", "spacing", "prediction")}
    where = {"device": torch.device("cpu"), "dtype": torch.float32, "resolution": 32}
    backbone = family_of(folder)(folder, Setup(name=model, identity="", **more, **where))
    expected = final_latents(backbone, backbone.encode(["a robot"]), [3])
    torch.testing.assert_close(unpacked(names["image"]), expected, atol=2e-3, rtol=1e-3)  # told otherwise: .03 and more


def test_what_a_scheduler_is_told_is_said_with_its_name() -> None:
    assert all(p.sampler for p in PRESETS.values() if p.spacing or p.prediction or p.timesteps)


def test_a_lora_under_the_sliders_is_said_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").write_bytes(b"x")
    text = called(tmp_path / "run", "sdxl", lora=f"{tmp_path}/style.safetensors:0.8")
    assert re.search(r"# fuse the LoRA 'local:style.safetensors@\w+' into it, at strength 0.8", text)
    assert "pull jane/robots --out runs/sliders --lora FILE" in text and str(tmp_path) not in text
    assert "LoRA '" not in called(tmp_path / "without", "sdxl")


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
