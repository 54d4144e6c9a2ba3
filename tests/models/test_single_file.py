"""Checkpoints in one file against the folders they were made of, and against diffusers' own reading of them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.single_file import save_flux_file, save_single
from support.tiny import PIXELS, Tiny
from support.tiny_flow import save_flux
from support.tiny_unet import save_sdxl
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.method.denoise import render
from sliderspace.models.backbones import PRESETS, preset_for
from sliderspace.models.backbones.single_file import read_header
from sliderspace.models.configs import SHIPPED
from sliderspace.models.device import device_for
from sliderspace.models.load import load_backbone
from sliderspace.models.working_point import point_for

SEEDS = [3, 17]
MARK = torch.tensor([])


@pytest.fixture
def sdxl(tmp_path: Path) -> Path:
    torch.manual_seed(4)
    return save_sdxl(tmp_path / "folder", timestep_spacing="leading", steps_offset=1, attends=True)


def without_weights(folder: Path, bare: Path) -> Path:
    """Configurations and words alone, as the package ships them."""
    return Path(shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("*.safetensors")))


def based_on(monkeypatch: pytest.MonkeyPatch, name: str, configs: Path) -> None:
    """The preset of a base model whose configurations are those of a tiny one."""
    monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], location=str(configs), revision="", decoder=""))


def drawn(place: Path, steps: int = 3) -> Tensor:
    backbone = load_backbone(str(place), steps=steps, guidance=5.0, device="cpu", precision="float32", decoder="full")
    return torch.cat(list(render(backbone, None, backbone.encode(["a robot"]), SEEDS, [0, 0])))


def test_a_file_draws_what_its_folder_draws(sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    based_on(monkeypatch, "sdxl", without_weights(sdxl, tmp_path / "bare"))
    file = save_single(sdxl, tmp_path / "some model.safetensors")
    torch.testing.assert_close(drawn(file), drawn(sdxl))
    assert preset_for(str(file)).name == "some model"


def test_an_sd15_file_too(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    based_on(monkeypatch, "sd15", without_weights(tiny.noise, tmp_path / "bare"))
    file = save_single(tiny.noise, tmp_path / "model.safetensors")
    torch.testing.assert_close(drawn(file), drawn(tiny.noise))


@pytest.mark.parametrize("zero_snr", [False, True])
def test_a_file_that_predicts_velocity_says_so(
    sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zero_snr: bool
) -> None:
    """The same weights, read as a v-prediction model's: the picture of a folder whose scheduler says so."""
    based_on(monkeypatch, "sdxl", without_weights(sdxl, tmp_path / "bare"))
    marks = {"v_pred": MARK} | ({"ztsnr": MARK} if zero_snr else {})
    file = save_single(sdxl, tmp_path / "v.safetensors", **marks)
    told = tmp_path / "told"
    shutil.copytree(sdxl, told)
    _reschedule(told, prediction_type="v_prediction", rescale_betas_zero_snr=zero_snr)
    ours = drawn(file)
    torch.testing.assert_close(ours, drawn(told))
    assert (ours - drawn(save_single(sdxl, tmp_path / "eps.safetensors"))).abs().max() > 0.05
    point = point_for(str(file), device_for("cpu"))
    assert ("v-zero-snr" in point.identity) is zero_snr and "/v" in point.identity


def _reschedule(folder: Path, **options: Any) -> None:
    from diffusers import EulerDiscreteScheduler

    scheduler: Any = EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
    EulerDiscreteScheduler.from_config(scheduler.config, **options).save_pretrained(folder / "scheduler")


def test_identity_is_of_the_contents(sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    based_on(monkeypatch, "sdxl", without_weights(sdxl, tmp_path / "bare"))
    file = save_single(sdxl, tmp_path / "a.safetensors")
    other, again = tmp_path / "b.safetensors", tmp_path / "elsewhere" / "a.safetensors"
    again.parent.mkdir()
    shutil.copy(file, again)
    values = load_file(file)
    values["conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"] += 1  # of a text encoder
    save_file(values, other)
    points = [point_for(str(place), device_for("cpu")) for place in (file, again, other)]
    assert points[0].identity == points[1].identity != points[2].identity
    assert points[0].text_identity == points[1].text_identity != points[2].text_identity


FLUX = ("double_blocks.0.img_mod.lin.weight", "vector_in.in_layer.weight")
TEXTS = ("text_encoders.clip_l.transformer.x", "text_encoders.t5xxl.transformer.x")


@pytest.mark.slow
@pytest.mark.parametrize(("dev", "base"), [(True, "flux-dev"), (False, "flux-schnell")])
def test_a_flux_file_draws_what_its_folder_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dev: bool, base: str
) -> None:
    """Of the real width, which diffusers' reader has written in it, and one block of each kind; the other parts come
    from the base model's folder."""
    torch.manual_seed(4)
    folder, rest = tmp_path / "folder", tmp_path / "rest"
    width: dict[str, Any] = {"num_attention_heads": 24, "attention_head_dim": 128, "axes_dims_rope": (16, 56, 56)}
    save_flux(folder, dev=dev, num_layers=1, num_single_layers=1, **width)

    def weights(inside: str, names: list[str]) -> list[str]:
        return [n for n in names if Path(inside).name == "transformer" and n.endswith(".safetensors")]

    shutil.copytree(folder, rest, ignore=weights)
    based_on(monkeypatch, base, rest)
    file = save_flux_file(folder, tmp_path / "model.safetensors")
    assert read_header(file).base == base
    torch.testing.assert_close(drawn(file, 2), drawn(folder, 2))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize(("dev", "base"), [(True, "flux-dev"), (False, "flux-schnell")])
def test_flux_is_told_by_its_names(tmp_path: Path, prefix: str, dev: bool, base: str) -> None:
    """Of files with the transformer alone, the rest is the base model's repository's, which cannot be reached here."""
    names = [prefix + name for name in (*FLUX, *(["guidance_in.in_layer.weight"] if dev else []))]
    save_file(dict.fromkeys(names, MARK), tmp_path / "alone.safetensors")
    save_file(dict.fromkeys([*names, "vae.x", *TEXTS], MARK), tmp_path / "whole.safetensors")
    alone, whole = (read_header(tmp_path / f"{name}.safetensors") for name in ("alone", "whole"))
    assert alone.base == whole.base == base and alone.parts == {"transformer"}
    assert whole.parts == {"transformer", "vae", "text_encoder", "text_encoder_2"}
    preset = preset_for(str(tmp_path / "alone.safetensors"))
    with pytest.raises(BadInput, match="cannot be reached"):
        _ = preset.folder


# ---- what is no such file


def test_a_truncated_file(sdxl: Path, tmp_path: Path) -> None:
    file = save_single(sdxl, tmp_path / "a.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(BadInput, match="no whole"):
        preset_for(str(file))


def test_files_of_other_things(sdxl: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no file"):
        preset_for(str(tmp_path / "none.safetensors"))
    (tmp_path / "text.safetensors").write_text("not tensors at all")
    with pytest.raises(BadInput, match="no whole"):
        preset_for(str(tmp_path / "text.safetensors"))
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid_block.lora_down.weight": torch.ones(1, 4)}, lora)
    with pytest.raises(BadInput, match="a LoRA goes to `import`"):
        preset_for(str(lora))
    scaled = save_single(sdxl, tmp_path / "scaled.safetensors", scaled_fp8=MARK)
    with pytest.raises(BadInput, match="scaled 8-bit"):
        preset_for(str(scaled))


@pytest.mark.parametrize("part", ["model.diffusion_model.input_blocks", "conditioner.embedders.1.model.transformer"])
def test_a_file_that_lacks_values_is_refused(
    sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """diffusers would leave them empty, or fill them with random numbers."""
    based_on(monkeypatch, "sdxl", without_weights(sdxl, tmp_path / "bare"))
    values = load_file(save_single(sdxl, tmp_path / "a.safetensors"))
    gone = next(name for name in sorted(values) if name.startswith(part) and name.endswith("weight"))
    save_file({name: value for name, value in values.items() if name != gone}, tmp_path / "b.safetensors")
    with pytest.raises(BadInput, match="cannot be loaded"):
        drawn(tmp_path / "b.safetensors", steps=1)


def test_a_file_of_another_size_is_refused(
    sdxl: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    based_on(monkeypatch, "sd15", without_weights(tiny.noise, tmp_path / "bare"))
    values = load_file(save_single(tiny.noise, tmp_path / "a.safetensors"))
    wider = {n: torch.cat([t, t]) if n.endswith("proj_in.weight") else t for n, t in values.items()}
    save_file(wider, tmp_path / "b.safetensors")
    with pytest.raises(BadInput, match="cannot be loaded"):
        drawn(tmp_path / "b.safetensors", steps=1)


# ---- what is shipped for them


@pytest.mark.parametrize(("base", "pad"), [("sdxl", (49407, 0)), ("sd15", (49407,))])
def test_the_words_of_clip_are_shipped(base: str, pad: tuple[int, ...]) -> None:
    """The numbers of the cat are those in the documentation of transformers."""
    from transformers import CLIPTokenizer

    folder = SHIPPED / PRESETS[base].location
    for name, filler in zip(("tokenizer", "tokenizer_2"), pad, strict=False):
        words = CLIPTokenizer.from_pretrained(folder, subfolder=name)
        ids = words("a photo of a cat", padding="max_length").input_ids
        assert ids[:7] == [49406, 320, 1125, 539, 320, 2368, 49407] and ids[7:] == [filler] * 70
        assert (folder / name / "vocab.json").read_bytes() == (SHIPPED_WORDS / "vocab.json").read_bytes()
        assert (folder / name / "merges.txt").read_bytes() == (SHIPPED_WORDS / "merges.txt").read_bytes()


SHIPPED_WORDS = SHIPPED / PRESETS["sd15"].location / "tokenizer"


def test_a_whole_file_asks_no_network(sdxl: Path, tmp_path: Path) -> None:
    """Its folder is the shipped one; only what it lacks would be fetched."""
    file = save_single(sdxl, tmp_path / "a.safetensors")
    preset = preset_for(str(file))
    assert preset.folder == SHIPPED / PRESETS["sdxl"].location
    assert preset.held == {"unet", "vae", "text_encoder", "text_encoder_2"} == read_header(file).parts
    assert PIXELS and point_for(str(file), device_for("cpu")).image_size == 1024


def test_a_file_without_its_autoencoder_has_that_of_the_base_model(
    sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, file = load_file(save_single(sdxl, tmp_path / "whole.safetensors")), tmp_path / "a.safetensors"
    save_file({name: t for name, t in whole.items() if not name.startswith("first_stage_model.")}, file)
    with monkeypatch.context() as patch:
        asked: list[str] = []
        patch.setattr("sliderspace.models.backbones.preset.find", lambda _, patterns: asked.extend(patterns) or sdxl)
        assert preset_for(str(file)).folder == sdxl
        assert "vae/*.fp16.safetensors" in asked and "unet/*.fp16.safetensors" not in asked
    based_on(monkeypatch, "sdxl", sdxl)
    torch.testing.assert_close(drawn(file), drawn(sdxl))
