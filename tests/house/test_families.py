"""Every preset's own path, with tiny weights in place of its own: discovery, export, the file in diffusers, and back.

make test-families
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.single_file import save_single
from support.tiny import Tiny
from support.tiny_flow import save_flux, save_zimage
from support.tiny_today import save_flux2, save_krea2, save_qwen_image, save_sd3
from support.tiny_unet import save_sdxl, save_small_decoder
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.models.backbones import PRESETS, Preset
from sliderspace.models.backbones.samplers import SAMPLERS
from sliderspace.share.importing import import_space
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import load_tensors

pytestmark = pytest.mark.families
Build = Callable[[Path, Tiny], dict[str, str]]
SEEDS = [3, 17]


def _sd(kind: str) -> Build:
    return lambda folder, tiny: {
        "location": str(getattr(tiny, kind)),
        "decoder": str(save_small_decoder(folder / "small")),
    }


# Random weights that predict noise make fourteen times the first step's noise of a picture, and nothing shows in it. What
# predicts velocity stays in range, as a trained model does; `sd15` is a model of the other kind.
VELOCITY = {"prediction_type": "v_prediction"}
EULER = {"timestep_spacing": "leading", "steps_offset": 1}


def louder(unet: Path) -> None:
    """Random keys and values hardly show in a picture; a trained model's do, and the default sliders act on them."""
    (file,) = unet.glob("*.safetensors")
    weights = load_file(file)
    save_file({n: 5 * t if n.endswith("attn2.to_out.0.weight") else t for n, t in weights.items()}, file)


def _one_file(folder: Path, tiny: Tiny, **predicts: str) -> dict[str, str]:
    """Its weights in one file, and nothing but configurations and words in the folder."""
    whole = save_sdxl(folder / "whole", **EULER, **predicts)
    louder(whole / "unet")
    bare = shutil.copytree(whole, folder / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    return {
        "location": str(bare),
        "decoder": str(save_small_decoder(folder / "small")),
        "file": str(save_single(whole, folder / "model.safetensors")),
    }


def _sdxl(scheduler: str, *, weights: str = "", told: int | None = None, **options: Any) -> Build:
    def build(folder: Path, tiny: Tiny) -> dict[str, str]:
        made = {
            "location": str(save_sdxl(folder / "base", scheduler, **VELOCITY, **options)),
            "decoder": str(save_small_decoder(folder / "small")),
        }
        louder(folder / "base" / "unet")
        if weights:
            other = save_sdxl(folder / "other", told_guidance=told) / "unet"
            louder(other)
            made["weights"] = str(other if weights == "folder" else other / "diffusion_pytorch_model.safetensors")
        if weights == "bin":
            made["weights"] = str(folder / "unet.bin")
            torch.save(load_file(other / "diffusion_pytorch_model.safetensors"), folder / "unet.bin")
        return made

    return build


def _flow(save: Callable[[Path], object]) -> Build:
    def build(folder: Path, tiny: Tiny) -> dict[str, str]:
        save(folder / "base")
        return {"location": str(folder / "base"), "decoder": ""}

    return build


FAMILIES: dict[str, Build] = {
    "sd15": _sd("noise"),
    "sd21": _sd("velocity"),
    "sdxl": _sdxl("EulerDiscreteScheduler", **EULER),
    "sdxl-dmd2": _sdxl("EulerDiscreteScheduler", weights="bin", **EULER),
    "sdxl-turbo": _sdxl("EulerAncestralDiscreteScheduler", timestep_spacing="trailing"),
    "sdxl-lightning": _sdxl("EulerDiscreteScheduler", weights="file", **EULER),
    "sdxl-lcm": _sdxl("EulerDiscreteScheduler", weights="folder", told=16, **EULER),
    "illustrious": partial(_one_file, **VELOCITY),
    "noobai": partial(_one_file, **VELOCITY),
    "noobai-v": _one_file,  # what it predicts is said by the preset, not by SDXL's configuration
    "pony": partial(_one_file, **VELOCITY),
    "flux-schnell": _flow(partial(save_flux, dev=False)),
    "flux-dev": _flow(partial(save_flux, dev=True)),
    "z-image-turbo": _flow(save_zimage),
    "z-image": _flow(partial(save_zimage, shift=6.0)),
    "sd35": _flow(save_sd3),
    "sd35-large": _flow(partial(save_sd3, again=())),
    "qwen-image": _flow(save_qwen_image),
    "flux2-klein": _flow(save_flux2),
    "flux2-klein-base": _flow(partial(save_flux2, distilled=False)),
    "flux2-klein-9b": _flow(save_flux2),
    "flux2-klein-base-9b": _flow(partial(save_flux2, distilled=False)),
    "krea2": _flow(partial(save_krea2, distilled=False)),
    "krea2-turbo": _flow(partial(save_krea2, distilled=True)),
}


def test_every_preset_is_here() -> None:
    assert set(FAMILIES) == set(PRESETS) - {"mini", "mini-turbo"}


@pytest.mark.parametrize("name", FAMILIES)
def test_discovery_export_and_round_trip(
    name: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(7)
    places = FAMILIES[name](tmp_path, tiny)
    steps = min(PRESETS[name].steps, 5)
    preset = dataclasses.replace(
        PRESETS[name], encoder=str(tiny.clip), revision="", resolution=32, steps=steps, **places
    )
    monkeypatch.setitem(PRESETS, name, preset)
    call(
        "discover",
        "a robot",
        "--backbone",
        name,
        "--out",
        tmp_path / "run",
        "--samples=60",
        "--sliders=3",
        "--precision=float32",
        "--device=cpu",
    )

    held = [row[-1] for row in load_tensors(tmp_path / "run" / "sliders.safetensors", kind="sliders")[1]["history"]]
    assert held[-1] > 0.03, f"held-out alignment starts at 0 and came to {held}; what learns nothing has come to 0.02"

    space = SliderSpace.load(tmp_path / "run")
    drawn = space.generate(SEEDS, {1: 2.0})
    moved = np.abs(drawn.astype(int) - space.generate(SEEDS)).max()
    assert moved > 3, "or the comparisons below would hold for a slider that does nothing"

    call("export", tmp_path / "run", "--sliders=1", "--unit=2", "--out", tmp_path / "lora")
    (file,) = (tmp_path / "lora").glob("*.safetensors")
    assert np.abs(in_diffusers(preset, file).astype(int) - drawn).max() <= 1, "uint8: a rounding apart"

    call("export", tmp_path / "run")
    again = import_space(tmp_path / "run" / "lora", tmp_path / "again")
    assert np.abs(again.generate(SEEDS, {1: 2.0}).astype(int) - drawn).max() <= 1


def call(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return json.loads(result.stdout)


def in_diffusers(preset: Preset, lora: Path) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """What the plain pipeline draws with the file, set up as the model's authors say; uint8 [N, H, W, 3]."""
    import diffusers

    if preset.file:
        options: dict[str, Any] = {"config": preset.location, "local_files_only": True}
        pipe: Any = diffusers.StableDiffusionXLPipeline.from_single_file(preset.file, **options)
    else:
        pipe = diffusers.DiffusionPipeline.from_pretrained(preset.location, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if preset.weights:
        pipe.unet = other_unet(Path(preset.weights), pipe.unet)
    if preset.sampler:
        spacing: dict[str, Any] = {"timestep_spacing": preset.spacing} if preset.spacing else {}
        if preset.prediction == "v-zero-snr":
            spacing |= {**VELOCITY, "rescale_betas_zero_snr": True}
        pipe.scheduler = getattr(diffusers, SAMPLERS[preset.sampler][0]).from_config(pipe.scheduler.config, **spacing)
    pipe.load_lora_weights(lora)
    count = {"timesteps": list(preset.timesteps)} if preset.timesteps else {"num_inference_steps": preset.steps}
    window = {"max_sequence_length": 256} if preset.name == "flux-schnell" else {}
    from_0 = preset.name.startswith(("z-image", "krea2"))  # where diffusers counts guidance from 0
    guidance = {"guidance_scale": preset.guidance - from_0}
    if preset.name == "qwen-image":
        guidance = {"true_cfg_scale": preset.guidance, "negative_prompt": [""] * len(SEEDS)}
    generators = [torch.Generator().manual_seed(s) for s in SEEDS]
    images = pipe(
        prompt=["a robot"] * len(SEEDS),
        generator=generators,
        output_type="np",
        height=32,
        width=32,
        **count,
        **window,
        **guidance,
    )
    return (images.images * 255).round().astype(np.uint8)


def other_unet(weights: Path, own: Any) -> Any:
    from diffusers import UNet2DConditionModel

    if weights.is_dir():
        return UNet2DConditionModel.from_pretrained(weights)
    own.load_state_dict(torch.load(weights, weights_only=True) if weights.suffix == ".bin" else load_file(weights))
    return own
