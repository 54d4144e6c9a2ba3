"""A LoRA under a model, against diffusers' own loading of the same file."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from support.tiny import PIXELS, Tiny
from support.tiny_unet import save_sdxl
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import settings_from
from sliderspace.method.denoise import render
from sliderspace.models.backbones.lora import split, strength_of
from sliderspace.models.device import device_for
from sliderspace.models.load import load_backbone
from sliderspace.models.working_point import point_for
from sliderspace.share.importing import base_here
from sliderspace.share.places import shareable

SEEDS = [3, 17]


def pipeline(folder: Path) -> Any:
    import diffusers

    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save_lora(folder: Path, place: Path, *, texts: bool = True) -> Path:
    """A LoRA of random values for the denoiser and the text encoders."""
    pipe = pipeline(folder)
    options: dict[str, Any] = {"r": 4, "init_lora_weights": False}
    pipe.unet.add_adapter(LoraConfig(target_modules=["to_k", "to_v"], **options))
    given = {"unet_lora_layers": _adapter(pipe.unet)}
    for name in ("text_encoder", "text_encoder_2") if texts else ():
        if getattr(pipe, name, None) is not None:
            getattr(pipe, name).add_adapter(LoraConfig(target_modules=["q_proj", "v_proj"], **options))
            given[f"{name}_lora_layers"] = _adapter(getattr(pipe, name))
    pipe.save_lora_weights(place.parent, weight_name=place.name, **given)
    assert any(name.startswith("text_encoder") for name in load_file(place)) is texts
    return place


def _adapter(model: Any) -> dict[str, Tensor]:
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    return convert_state_dict_to_diffusers(get_peft_model_state_dict(model))


def ours(folder: Path, lora: str = "") -> Tensor:
    backbone = load_backbone(str(folder), steps=2, guidance=3.0, device="cpu", precision="float32", lora=lora)
    return torch.cat(list(render(backbone, None, backbone.encode(["a robot"]), SEEDS, [0, 0])))


def theirs(folder: Path, lora: Path, strength: float) -> Tensor:
    pipe = pipeline(folder)
    pipe.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="it")
    pipe.set_adapters("it", strength)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    return pipe(
        ["a robot"] * 2,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=generators,
        output_type="pt",
        height=PIXELS,
        width=PIXELS,
    ).images


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_lora_draws_what_diffusers_draws_with_it(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    torch.manual_seed(4)
    folder = tiny.noise if kind == "sd" else save_sdxl(tmp_path / "model")
    file = save_lora(folder, tmp_path / "lora.safetensors")
    half = ours(folder, f"{file}:0.5")
    torch.testing.assert_close(half, theirs(folder, file, 0.5), rtol=0, atol=1e-4)
    base = ours(folder)
    assert (half - base).abs().max() > 0.01 and (half - ours(folder, str(file))).abs().max() > 0.01
    torch.testing.assert_close(ours(folder, f"{file}:0"), base, rtol=0, atol=1e-5)


def test_the_layout_of_kohya_and_its_alpha(tiny: Tiny, tmp_path: Path) -> None:
    """Written anew under kohya's names, with twice the values and an alpha of half the rank: the same LoRA."""
    file = save_lora(tiny.noise, tmp_path / "lora.safetensors", texts=False)
    renamed: dict[str, Tensor] = {}
    for name, value in load_file(file).items():
        path, way = re.fullmatch(r"unet\.(.+)\.lora\.(down|up)\.weight", name).groups()  # type: ignore[union-attr]
        layer = f"lora_unet_{path.replace('.', '_')}"
        renamed[f"{layer}.lora_{way}.weight"] = value * (1 if way == "down" else 2)
        renamed[f"{layer}.alpha"] = torch.tensor(2.0)
    save_file(renamed, tmp_path / "kohya.safetensors")
    torch.testing.assert_close(
        ours(tiny.noise, str(tmp_path / "kohya.safetensors")), ours(tiny.noise, str(file)), rtol=0, atol=1e-5
    )


def test_it_is_part_of_what_a_run_is_made_of(tiny: Tiny, tmp_path: Path) -> None:
    file = save_lora(tiny.noise, tmp_path / "lora.safetensors")
    texts = {f"{file}": 1.0, f"{file}:0.5": 0.5}
    points = [point_for(str(tiny.noise), device_for("cpu"), lora=text) for text in ("", *texts)]
    assert len({point.identity for point in points}) == len({point.text_identity for point in points}) == 3
    assert all(strength_of(text) == strength and split(text)[0] == str(file) for text, strength in texts.items())
    shared = shareable(settings_from({"prompts": ("a robot",), "backbone": str(tiny.noise), "lora": f"{file}:0.5"}))
    assert str(tmp_path) not in shared.lora and re.fullmatch(r"local:lora\.safetensors@[0-9a-f]{16}:0\.5", shared.lora)
    assert base_here(None, f"{file}:0.5") == {"lora": f"{file.resolve()}:0.5"} and base_here(None, None) == {}


def test_what_is_no_lora_of_this_model(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        ours(tiny.noise, str(tmp_path / "none.safetensors"))
    file = save_lora(tiny.noise, tmp_path / "lora.safetensors")
    with pytest.raises(BadInput, match="4 or 8 bits"):
        point_for(str(tiny.noise), device_for("cpu"), quantize="4bit", lora=str(file))
    torch.manual_seed(4)
    with pytest.raises(BadInput, match="does not fit"):
        ours(save_sdxl(tmp_path / "model"), str(file))
    save_file({**load_file(file), "unet.dora_scale": torch.ones(1)}, tmp_path / "dora.safetensors")
    with pytest.raises(BadInput, match="DoRA"):
        ours(tiny.noise, str(tmp_path / "dora.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadInput, match="does not fit"):
        ours(tiny.noise, str(file))
