"""The names in exported files are those that other programs map, for the real models at full size.

ComfyUI: comfy/lora.py, model_lora_keys_unet (Comfy-Org/ComfyUI at ec93dcac); comfy/utils.py, unet_to_diffusers,
flux_to_diffusers and z_image_to_diffusers (09708eae). A name is "lora_unet_" + the diffusers path with underscores; it
knows the transformer of down block b, place a as input_blocks.{1 + 3b + a}.1, of up block b as output_blocks.{3b + a}.1,
of the middle as middle_block.1. The depths there are those of its supported_models.py: SDXL 0, 2, 10 going down, 10 in
the middle, 10, 2, 0 going up; SD 1 and 2: 1, 1, 1, 0 / 1 / 0, 1, 1, 1. FLUX and Z-Image: "transformer." + the diffusers
path, for what the tables below list. Values are lora_up and lora_down, or lora_B and lora_A, times alpha / rank where
there is an alpha (comfy/weight_adapter/lora.py, 6f98b150).
A1111: extensions-builtin/Lora/networks.py, convert_diffusers_name_to_compvis (AUTOMATIC1111/stable-diffusion-webui at
873edba4) turns the same names into its module names by three regular expressions.
kohya: networks/lora.py, convert_diffusers_to_sai_if_needed (kohya-ss/sd-scripts) accepts them for SDXL as well.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file as load_values
from support.spaces import RANK, make_space, target_layers
from torch import nn

from sliderspace.core.settings import Targets
from sliderspace.models.backbones.families import family_of
from sliderspace.models.backbones.folder import read_config
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.backbones.unet import UNetBackbone
from sliderspace.models.configs import configs_of
from sliderspace.share.export import export
from sliderspace.share.lora_names import component_of, denoiser_layers, keys_for
from sliderspace.share.lora_names import family_of as family_of_layers

SDXL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
}  # stabilityai/stable-diffusion-xl-base-1.0, unet/config.json
SD15: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}
SD21: dict[str, Any] = {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
DEPTHS = {"sdxl": ((0, 2, 10), 10, (10, 2, 0)), "sd": ((1, 1, 1, 0), 1, (0, 1, 1, 1))}
LINEAR = ("to_q", "to_k", "to_v", "to_out.0")
FORWARD = ("ff.net.0.proj", "ff.net.2")


def comfy_unet(depths: tuple[tuple[int, ...], int, tuple[int, ...]]) -> dict[str, str]:
    """ComfyUI's names for the layers of transformer blocks -> the module in the original checkpoint."""
    down, middle, up = depths
    places = [
        (f"down_blocks.{b}.attentions.{a}", f"input_blocks.{1 + 3 * b + a}.1", n)
        for b, n in enumerate(down)
        for a in (0, 1)
    ]
    places += [("mid_block.attentions.0", "middle_block.1", middle)]
    places += [
        (f"up_blocks.{b}.attentions.{a}", f"output_blocks.{3 * b + a}.1", n)
        for b, n in enumerate(up)
        for a in (0, 1, 2)
    ]
    parts = [*(f"{attention}.{linear}" for attention in ("attn1", "attn2") for linear in LINEAR), *FORWARD]
    ends = [(t, part) for t in range(10) for part in parts]
    return {
        f"lora_unet_{path}.transformer_blocks.{t}.{end}".replace(".", "_"): f"{module}.transformer_blocks.{t}.{end}"
        for path, module, depth in places
        for t, end in ends
        if t < depth
    }


def a1111_unet(name: str) -> str:
    """The module name A1111 looks up."""
    if found := re.fullmatch(r"lora_unet_down_blocks_(\d+)_attentions_(\d+)_(.+)", name):
        return f"diffusion_model_input_blocks_{1 + 3 * int(found[1]) + int(found[2])}_1_{found[3]}"
    if found := re.fullmatch(r"lora_unet_mid_block_attentions_(\d+)_(.+)", name):
        return f"diffusion_model_middle_block_1_{found[2]}"
    found = re.fullmatch(r"lora_unet_up_blocks_(\d+)_attentions_(\d+)_(.+)", name)
    assert found, name
    return f"diffusion_model_output_blocks_{3 * int(found[1]) + int(found[2])}_1_{found[3]}"


def comfy_flux(double: int = 19, single: int = 38) -> set[str]:
    """The layers of FLUX.1 that ComfyUI knows by name."""
    attention = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out")
    joint = [
        *(f"attn.{end}" for end in attention),
        *FORWARD,
        *(f"ff_context{end.removeprefix('ff')}" for end in FORWARD),
    ]
    alone = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out")
    return {f"transformer.transformer_blocks.{i}.{end}" for i in range(double) for end in joint} | {
        f"transformer.single_transformer_blocks.{i}.{end}" for i in range(single) for end in alone
    }


def comfy_zimage() -> set[str]:
    """Those of Z-Image: 30 layers, and two of each refiner."""
    stacks = [f"layers.{i}" for i in range(30)] + [
        f"{kind}_refiner.{i}" for kind in ("noise", "context") for i in (0, 1)
    ]
    ends = [*(f"attention.{end}" for end in LINEAR), *(f"feed_forward.w{i}" for i in (1, 2, 3))]
    return {f"transformer.{stack}.{end}" for stack in stacks for end in ends}


def full_size(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """A model of the full size that takes no memory."""
    import diffusers

    with torch.device("meta"):
        return getattr(diffusers, kind)(**config)


@pytest.mark.parametrize(
    ("name", "config", "depths", "count"),
    [("sdxl", SDXL, "sdxl", 700), ("sd1", SD15, "sd", 160), ("sd2", SD21, "sd", 160)],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_full_size_unet_names_are_those_of_comfyui_and_a1111(
    tmp_path: Path, name: str, config: dict[str, Any], depths: str, count: int
) -> None:
    layers = target_layers(full_size("UNet2DConditionModel", config), UNetBackbone.layers["linear"])
    space = make_space(tmp_path / "run", layers, count=1)
    [path] = export(space, tmp_path / "out")
    values, known = load_values(path), comfy_unet(DEPTHS[depths])
    bare = {key.partition(".")[0] for key in values}
    assert len(layers) == count and bare == set(known), "all of ComfyUI's names, and no other"
    assert {key.partition(".")[2] for key in values} == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert all(a1111_unet(key) == f"diffusion_model_{known[key].replace('.', '_')}" for key in bare), (
        "both reach the same layer"
    )
    assert all(values[f"{key}.alpha"].item() == values[f"{key}.lora_down.weight"].shape[0] == RANK for key in bare)
    with safe_open(path, framework="np") as file:
        told = file.metadata()
    assert a1111_version(told) == name


def a1111_version(metadata: Mapping[str, str]) -> str:
    """What A1111 takes a file for (extensions-builtin/Lora/network.py, detect_version); it hides those of other
    models."""
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "sdxl"
    return "sd2" if metadata.get("ss_v2") == "True" else "sd1"


def test_full_size_sdxl_cross_attention_is_140_modules(tmp_path: Path) -> None:
    layers = target_layers(full_size("UNet2DConditionModel", SDXL), r".*\.attn2\.to_[kv]")
    space = make_space(tmp_path / "run", layers, count=1, targets="cross-kv")
    [path] = export(space, tmp_path / "out")
    down = {key: v for key, v in load_values(path).items() if key.endswith(".lora_down.weight")}
    assert len(down) == 140 and sum(v[0].numel() for v in down.values()) == 286_720


@pytest.mark.parametrize("targets", ["cross-kv", "attention", "linear"])
def test_every_unet_layer_comes_back_from_its_name(targets: Targets) -> None:
    """Underscores stand for dots and for themselves; diffusers' own reader finds each SDXL path again."""
    layers = target_layers(full_size("UNet2DConditionModel", SDXL), UNetBackbone.layers[targets])
    named = {path: keys_for(path, component_of(layers)) for path in layers}
    tensors = {name: torch.zeros(1, 1) for keys in named.values() for name in (keys.down, keys.up)}
    assert denoiser_layers(tensors)[0].keys() == layers.keys()


def comfy_joint(blocks: int, *ends: str) -> set[str]:
    """Joint blocks: those of SD 3.5 (mmdit_to_diffusers), of Qwen-Image (whose own names ComfyUI takes as they are) and
    of FLUX.2 (flux_to_diffusers)."""
    attention = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out")
    parts = [*(f"attn.{end}" for end in attention), *ends]
    return {f"transformer.transformer_blocks.{i}.{end}" for i in range(blocks) for end in parts}


def comfy_sd35(blocks: int, again: int) -> set[str]:
    """The last block gives no text; medium's first thirteen attend to the image alone once more."""
    context = tuple(f"ff_context{end.removeprefix('ff')}" for end in FORWARD)
    last = {f"transformer.transformer_blocks.{blocks - 1}.{end}" for end in ("attn.to_add_out", *context)}
    alone = {f"transformer.transformer_blocks.{i}.attn2.{end}" for i in range(again) for end in LINEAR}
    return (comfy_joint(blocks, *FORWARD, *context) | alone) - last


def comfy_klein(double: int, single: int) -> set[str]:
    forward = tuple(f"{ff}.linear_{way}" for ff in ("ff", "ff_context") for way in ("in", "out"))
    return comfy_joint(double, *forward) | {
        f"transformer.single_transformer_blocks.{i}.attn.{end}"
        for i in range(single)
        for end in ("to_qkv_mlp_proj", "to_out")
    }


def comfy_krea2() -> set[str]:
    """krea2_to_diffusers."""
    stacks = [f"transformer_blocks.{i}" for i in range(28)]
    stacks += [f"text_fusion.{kind}_blocks.{i}" for kind in ("layerwise", "refiner") for i in (0, 1)]
    ends = [*(f"attn.{end}" for end in (*LINEAR, "to_gate")), "ff.gate", "ff.up", "ff.down"]
    return {f"transformer.{stack}.{end}" for stack in stacks for end in ends}


TRANSFORMERS = {  # model -> the names ComfyUI knows, how many, the family that our metadata say
    "black-forest-labs/FLUX.1-dev": (comfy_flux(), 418, "flux"),
    "Tongyi-MAI/Z-Image-Turbo": (comfy_zimage(), 238, "z-image"),
    "stabilityai/stable-diffusion-3.5-medium": (comfy_sd35(24, 13), 337, "sd35"),
    "stabilityai/stable-diffusion-3.5-large": (comfy_sd35(38, 0), 453, "sd35"),
    "Qwen/Qwen-Image": (
        comfy_joint(60, *(f"{mlp}_mlp.{end.removeprefix('ff.')}" for mlp in ("img", "txt") for end in FORWARD)),
        720,
        "qwen-image",
    ),
    "black-forest-labs/FLUX.2-klein-4B": (comfy_klein(5, 20), 100, "flux2"),
    "black-forest-labs/FLUX.2-klein-9B": (comfy_klein(8, 24), 144, "flux2"),
    "krea/Krea-2-Raw": (comfy_krea2(), 256, "krea2"),
}


@pytest.fixture(scope="module", params=TRANSFORMERS)
def transformer(request: pytest.FixtureRequest) -> tuple[str, type[PipelineBackbone], nn.Module]:
    """A model's name, its family and its denoiser at full size."""
    folder = configs_of(request.param)
    family = family_of(folder)
    config = {k: v for k, v in read_config(folder, "transformer").items() if not k.startswith("_")}
    return request.param, family, full_size(family.denoiser_class, config)


def test_full_size_transformer_names_are_those_of_comfyui_and_diffusers(
    tmp_path: Path, transformer: tuple[str, type[PipelineBackbone], nn.Module]
) -> None:
    """Both read the same names; diffusers changes none on the way in."""
    import diffusers

    name, family, model = transformer
    known, count, _ = TRANSFORMERS[name]
    layers = target_layers(model, family.layers["linear"])
    [path] = export(make_space(tmp_path / "run", layers, count=1), tmp_path / "lora")
    found = load_values(path)
    assert {re.sub(r"\.lora_[AB]\.weight$", "", key) for key in found} == known and len(known) == count == len(layers)
    read = getattr(diffusers, family.pipeline_class).lora_state_dict(path.parent, weight_name=path.name)
    assert read.keys() == found.keys() and all(torch.equal(read[key], found[key]) for key in found)
    assert denoiser_layers(found)[0].keys() == layers.keys(), "and ours come back"


@pytest.mark.parametrize("targets", ["cross-kv", "cross", "attention", "linear"])
def test_the_family_is_told_by_the_layers(
    transformer: tuple[str, type[PipelineBackbone], nn.Module], targets: Targets
) -> None:
    name, family, model = transformer
    layers = target_layers(model, family.layers[targets])
    down = {path: torch.zeros(1, layer.in_features) for path, layer in layers.items()}
    assert family_of_layers(down) == TRANSFORMERS[name][2]
