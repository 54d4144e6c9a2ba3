"""LoRA files: other programs read them under the names they know, draw what we draw, and we read them back."""

import dataclasses
import json
import re
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file as load_values
from support.tiny import Tiny
from torch import Tensor, nn

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Speed, settings_from
from sliderspace.method.denoise import render
from sliderspace.method.directions import Directions
from sliderspace.models.backbones.flux import FluxBackbone
from sliderspace.models.backbones.unet import UNetBackbone
from sliderspace.models.backbones.zimage import ZImageBackbone
from sliderspace.share.delayed_start import delayed_start
from sliderspace.share.export import export
from sliderspace.share.importing import import_space, load_file, load_folder
from sliderspace.share.lora_names import FORMATS, Format
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_json, save_tensors
from sliderspace.storage.run_folder import RunFolder

Pipelines = Callable[[], Any]  # a fresh pipeline each time
K, RANK, DIM = 3, 2, 12
SEEDS = [4, 6]
UNET, FLUX, ZIMAGE = (kind.layers["attention"] for kind in (UNetBackbone, FluxBackbone, ZImageBackbone))


# ---- spaces made by hand: values that plainly do something, units that are not 1


def target_layers(model: nn.Module, pattern: str) -> dict[str, nn.Linear]:
    found = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and re.fullmatch(pattern, n)}
    assert found
    return found


def make_space(
    folder: Path, layers: Mapping[str, nn.Linear], *, count: int = K, size: float = 0.3, **settings: Any
) -> SliderSpace:
    random = torch.Generator().manual_seed(11)
    values: dict[str, Tensor] = {}
    for path, layer in layers.items():
        values[f"{path}.down"] = torch.randn(count, RANK, layer.in_features, generator=random) / layer.in_features**0.5
        values[f"{path}.up"] = torch.randn(count, layer.out_features, RANK, generator=random) * size
    rows_KD = np.linalg.qr(np.random.default_rng(5).normal(size=(DIM, count)))[0].T
    directions = Directions(
        components_KD=rows_KD,
        mean_TD=np.random.default_rng(6).normal(size=(2, DIM)),
        explained_variance_K=np.arange(count, 0, -1) / 7,
        explained_variance_ratio_K=np.arange(count, 0, -1) / 70,
        total_variance=10 / 7,
        sigma_TK=np.full((2, count), 1 / 3),
        step_share=0.03,
        centring="step",
        encoder="an-encoder",
        count=260,
        trajectories=130,
        step_indices=(1, 2),
    )
    chosen = settings_from(
        {"prompts": ("a robot",), "samples": 130, "sliders": count, "rank": RANK, "targets": "attention", **settings}
    )
    run = RunFolder(folder)
    with run.open_for_writing():
        save_json(run.config, chosen.model_dump(mode="json"), kind="config", fingerprint="c")
        directions.save(run.directions, "d")
        save_tensors(run.sliders, values, kind="sliders", fingerprint="s", history=[])
        listed = [{"index": k, "name": "red hair" if k == 1 else None, "unit": 0.5 + 0.3 * k} for k in range(count)]
        made_from = {"config": "c", "directions": "d", "sliders": "s"}
        save_json(run.space, {"made_from": made_from, "sliders": listed}, kind="space", fingerprint="m")
    return SliderSpace.load(folder, Speed(device="cpu"))


@pytest.fixture(scope="module")
def space(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> SliderSpace:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tiny.velocity, subfolder="unet")
    where = {"backbone": str(tiny.velocity), "steps": 3, "precision": "float32", "guidance": 1.0}
    return make_space(tmp_path_factory.mktemp("space") / "run", target_layers(unet, UNET), **where)


def by_number(paths: list[Path]) -> dict[int, Path]:
    return dict(enumerate(paths))


def load_adapters(pipe: Any, paths: Mapping[int, Path], strengths: Mapping[int, float]) -> None:
    for k in strengths:
        pipe.load_lora_weights(paths[k].parent, weight_name=paths[k].name, adapter_name=f"s{k}")
    pipe.set_adapters([f"s{k}" for k in strengths], list(strengths.values()))


# ---- images from an exported file in plain diffusers are ours


@pytest.fixture(scope="module")
def unet_pipeline(tiny: Tiny) -> Pipelines:
    from diffusers import StableDiffusionPipeline

    def load() -> Any:
        pipe = StableDiffusionPipeline.from_pretrained(
            tiny.velocity, safety_checker=None, requires_safety_checker=False
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return load


def drawn(pipe: Any, **options: Any) -> Tensor:
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    generators = [torch.Generator().manual_seed(s) for s in SEEDS]
    call = {
        "num_inference_steps": 3,
        "guidance_scale": 1.0,
        "generator": generators,
        "output_type": "pt",
        "height": side,
        "width": side,
    }
    return pipe(["a robot"] * len(SEEDS), **{**call, **options}).images


def ours(space: SliderSpace, strengths: Mapping[int, float], start_step: int = 0) -> Tensor:
    raw_NK = torch.from_numpy(np.tile(space.strengths(strengths) * space.units_K, (len(SEEDS), 1))).float()
    condition, prompt_N = space.condition(None), [0] * len(SEEDS)
    return torch.cat(
        list(render(space.backbone, space.bank, condition, SEEDS, prompt_N, raw_NK, start_step=start_step))
    )


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_draws_in_diffusers_what_we_draw(
    space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path, format: Format
) -> None:
    """One slider at one unit, one turned round, two mixed. diffusers reads kohya's names too: an independent reader of
    both formats."""
    pipe, paths = unet_pipeline(), by_number(export(space, tmp_path, format=format))
    base = drawn(pipe)
    for strengths in ({0: 1.0}, {1: -1.5}, {0: 0.7, 2: -1.2}):
        load_adapters(pipe, paths, strengths)
        found = drawn(pipe)
        close(found, ours(space, strengths))
        assert (found - base).abs().max() > 0.05, "or the sliders do nothing and nothing was shown"
        pipe.unload_lora_weights()
    close(drawn(pipe), base)


def test_strength_one_is_as_many_natural_units_as_asked(
    space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path
) -> None:
    pipe, [path] = unet_pipeline(), export(space, tmp_path, sliders=[2], unit=1.5)
    load_adapters(pipe, {2: path}, {2: -1.0})
    close(drawn(pipe), ours(space, {2: -1.5}))


def merged(denoiser: nn.Module, space: SliderSpace, strengths: Mapping[int, float]) -> None:
    """The sliders added to the weights by hand: W + s·unit·B A."""
    modules = dict(denoiser.named_modules())
    for path in {name.rpartition(".")[0] for name in space.values}:
        for k, strength in strengths.items():
            a, b = space.values[f"{path}.down"][k], space.values[f"{path}.up"][k]
            modules[path].weight.data += strength * float(space.units_K[k]) * b @ a


def check_against_weights(
    load: Pipelines, component: str, draw: Callable[[Any], Tensor], space: SliderSpace, folder: Path
) -> None:
    for format in FORMATS:
        pipe, strengths = load(), {0: 0.8, 2: -1.3}
        base = draw(pipe)
        load_adapters(pipe, by_number(export(space, folder / format, format=format)), strengths)
        reference = load()
        merged(getattr(reference, component), space, strengths)
        found = draw(pipe)
        close(found, draw(reference))
        assert (found - base).abs().max() > 0.05


def tiny_vae(channels: int, **options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        latent_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        **options,
    )


@pytest.mark.parametrize("per_block", [1, 2])
def test_sdxl_files_draw_in_diffusers_what_we_mean(tmp_path: Path, per_block: int) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=per_block,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=16,
        attention_head_dim=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )
    StableDiffusionXLPipeline(
        vae=tiny_vae(4),
        unet=unet,
        scheduler=EulerDiscreteScheduler(timestep_spacing="trailing"),
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
    ).save_pretrained(tmp_path / "pipe")

    def load() -> Any:
        pipe = StableDiffusionXLPipeline.from_pretrained(tmp_path / "pipe")
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def draw(pipe: Any) -> Tensor:
        random = torch.Generator().manual_seed(1)
        texts = {
            "prompt_embeds": torch.randn(1, 5, 16, generator=random),
            "pooled_prompt_embeds": torch.randn(1, 16, generator=random),
        }
        return pipe(
            **texts, num_inference_steps=2, guidance_scale=1.0, generator=random, output_type="pt", height=16, width=16
        ).images

    space = make_space(tmp_path / "run", target_layers(unet, UNET), size=0.7)
    check_against_weights(load, "unet", draw, space, tmp_path)


def test_flux_files_draw_in_diffusers_what_we_mean(tmp_path: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    flux = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(2, 2, 4),
    )
    no_text = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    vae = tiny_vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0)
    FluxPipeline(vae=vae, transformer=flux, scheduler=FlowMatchEulerDiscreteScheduler(), **no_text).save_pretrained(
        tmp_path / "pipe"
    )

    def load() -> Any:
        pipe = FluxPipeline.from_pretrained(tmp_path / "pipe", **no_text)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def draw(pipe: Any) -> Tensor:
        random = torch.Generator().manual_seed(1)
        texts = {
            "prompt_embeds": torch.randn(1, 5, 16, generator=random),
            "pooled_prompt_embeds": torch.randn(1, 16, generator=random),
        }
        return pipe(**texts, num_inference_steps=2, generator=random, output_type="pt", height=16, width=16).images

    space = make_space(tmp_path / "run", target_layers(flux, FLUX), size=0.7)
    check_against_weights(load, "transformer", draw, space, tmp_path)


# ---- the delayed start, which a file cannot carry


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


# ---- the names, for the real models at full size
#
# ComfyUI: comfy/lora.py, model_lora_keys_unet (Comfy-Org/ComfyUI at ec93dcac); comfy/utils.py, unet_to_diffusers,
# flux_to_diffusers   and z_image_to_diffusers (09708eae). A name is "lora_unet_" + the diffusers path with underscores;
# it knows the attention of down   block b, place a as input_blocks.{1 + 3b + a}.1, of up block b as output_blocks.{3b +
# a}.1, of the middle as middle_block.1. The   depths of the transformers there are those of its supported_models.py:
# SDXL 0, 2, 10 going down, 10 in the middle, 10, 2, 0 going   up; SD 1 and 2: 1, 1, 1, 0 / 1 / 0, 1, 1, 1. FLUX and
# Z-Image: "transformer." + the diffusers path, for what the tables below   list. Values are lora_up and lora_down, or
# lora_B and lora_A, times alpha / rank where there is an alpha   (comfy/weight_adapter/lora.py, 6f98b150).
# A1111: extensions-builtin/Lora/networks.py, convert_diffusers_name_to_compvis (AUTOMATIC1111/stable-diffusion-webui at
# 873edba4)   turns the same names into its module names by three regular expressions.
# kohya: networks/lora.py, convert_diffusers_to_sai_if_needed (kohya-ss/sd-scripts) accepts them for SDXL as well.

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


def comfy_unet(depths: tuple[tuple[int, ...], int, tuple[int, ...]]) -> dict[str, str]:
    """ComfyUI's names for attention layers -> the module in the original checkpoint."""
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
    ends = [(t, f"{attention}.{linear}") for t in range(10) for attention in ("attn1", "attn2") for linear in LINEAR]
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
    """The attention layers of FLUX.1 that ComfyUI knows by name."""
    joint = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out")
    return {f"transformer.transformer_blocks.{i}.attn.{end}" for i in range(double) for end in joint} | {
        f"transformer.single_transformer_blocks.{i}.attn.{end}"
        for i in range(single)
        for end in ("to_q", "to_k", "to_v")
    }


def comfy_zimage() -> set[str]:
    """Those of Z-Image: 30 layers, and two of each refiner."""
    stacks = [f"layers.{i}" for i in range(30)] + [
        f"{kind}_refiner.{i}" for kind in ("noise", "context") for i in (0, 1)
    ]
    return {f"transformer.{stack}.attention.{end}" for stack in stacks for end in LINEAR}


def full_size(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """A model of the full size that takes no memory."""
    import diffusers

    with torch.device("meta"):
        return getattr(diffusers, kind)(**config)


@pytest.mark.parametrize(
    ("name", "config", "depths", "count"),
    [("sdxl", SDXL, "sdxl", 560), ("sd1", SD15, "sd", 128), ("sd2", SD21, "sd", 128)],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_full_size_unet_names_are_those_of_comfyui_and_a1111(
    tmp_path: Path, name: str, config: dict[str, Any], depths: str, count: int
) -> None:
    layers = target_layers(full_size("UNet2DConditionModel", config), UNET)
    space = make_space(tmp_path / "run", layers, count=1)
    [path] = export(space, tmp_path / "out", format="comfyui")
    values, known = load_values(path), comfy_unet(DEPTHS[depths])
    bare = {key.partition(".")[0] for key in values}
    assert len(layers) == count and bare == set(known), "all of ComfyUI's attention names, and no other"
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
    down = {key: v for key, v in load_values(path).items() if key.endswith(".lora_A.weight")}
    assert len(down) == 140 and sum(v[0].numel() for v in down.values()) == 286_720


@pytest.mark.parametrize(
    ("kind", "pipeline", "pattern", "known"),
    [
        ("FluxTransformer2DModel", "FluxPipeline", FLUX, comfy_flux()),
        ("ZImageTransformer2DModel", "ZImagePipeline", ZIMAGE, comfy_zimage()),
    ],
    ids=["flux", "z-image"],
)
def test_full_size_transformer_names_are_those_of_comfyui_and_diffusers(
    tmp_path: Path, kind: str, pipeline: str, pattern: str, known: set[str]
) -> None:
    """Both read the same names, so both formats hold the same values; diffusers changes none on the way in."""
    import diffusers

    layers = target_layers(full_size(kind, {}), pattern)
    space = make_space(tmp_path / "run", layers, count=1)
    for format in FORMATS:
        [path] = export(space, tmp_path / format, format=format)
        found = load_values(path)
        assert {re.sub(r"\.lora_[AB]\.weight$", "", key) for key in found} == known and len(found) == 2 * len(layers)
        read = getattr(diffusers, pipeline).lora_state_dict(path.parent, weight_name=path.name)
        assert read.keys() == found.keys() and all(torch.equal(read[key], found[key]) for key in found)


# ---- there and back


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("unit", [1.0, 2.5])
def test_an_imported_space_is_the_one_that_was_exported(
    space: SliderSpace, tmp_path: Path, format: Format, unit: float
) -> None:
    export(space, tmp_path / "files", format=format, unit=unit)
    again = import_space(tmp_path / "files", tmp_path / "run")
    assert again.settings == space.settings and again.values.keys() == space.values.keys()
    for name, value in space.values.items():
        effect = (
            again.values[name]
            if name.endswith(".down")
            else again.values[name] * torch.from_numpy(again.units_K)[:, None, None]
        )
        expected = value if name.endswith(".down") else value * torch.from_numpy(space.units_K)[:, None, None]
        torch.testing.assert_close(effect.float(), expected.float(), rtol=1e-6, atol=0)
    d, e = again.directions, space.directions
    assert np.array_equal(d.components_KD, e.components_KD) and np.array_equal(d.sigma_TK, e.sigma_TK)
    z = np.random.default_rng(1).normal(size=(5, DIM))
    for step in (None, [0, 1, 1, 0, 1]):
        np.testing.assert_allclose(d.project(z, step), e.project(z, step), atol=1e-12)
    assert d.describe() == e.describe() and again.describe()["prompts"] == space.describe()["prompts"]
    assert np.abs(again.generate([3], {1: 1.2}).astype(int) - space.generate([3], {1: 1.2})).max() <= 1


def test_import_of_an_import_and_of_some(space: SliderSpace, tmp_path: Path) -> None:
    """Sliders 2 and 0 alone become 0 and 1 in their old order, names and measures stay, and a second export says the
    same."""
    export(space, tmp_path / "files", sliders=[2, 1])
    some = import_space(tmp_path / "files", tmp_path / "run")
    assert len(some) == 2 and np.array_equal(some.directions.components_KD, space.directions.components_KD[1:])
    assert np.abs(some.generate([3], {0: 1.0}).astype(int) - space.generate([3], {1: 1.0})).max() <= 1
    again = [load_file(path) for path in export(some, tmp_path / "again", format="comfyui")]
    assert [file.about.name for file in again] == ["red hair", None]
    assert len(import_space(tmp_path / "again", tmp_path / "third")) == 2
    assert len(import_space(tmp_path / "files", tmp_path / "run")) == 2, (
        "the same files into the same folder change nothing"
    )


def test_the_same_space_gives_the_same_bytes(space: SliderSpace, tmp_path: Path) -> None:
    for format in FORMATS:
        one, two = (export(space, tmp_path / str(i), format=format) for i in range(2))
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_file_says_what_it_is(finished: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    """From a real run: base model, prompts, slider, variance, encoder, measures, unit, package."""
    space = SliderSpace.load(finished, Speed(device="cpu"))
    paths = export(space, tmp_path, unit=0.5)
    assert [path.name for path in paths] == [f"a-robot-{k:02d}.safetensors" for k in range(3)]
    measured = json.loads((finished / "measures.json").read_text())["sliders"]
    for k, path in enumerate(paths):
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
        about = json.loads(metadata["sliderspace"])
        assert metadata["format"] == "pt" and f"slider {k} of “a robot”" in metadata["modelspec.title"]
        assert (
            about["base_model"] == small["backbone"]
            and about["prompts"] == list(small["prompts"])
            and about["index"] == k
        )
        assert about["measures"] == measured[k] and about["unit"] == 0.5 and about["rank"] == 1 and about["package"]
        assert about["encoder"] == space.directions.encoder
        assert about["explained_variance_ratio"] == float(space.directions.explained_variance_ratio_K[k])
        adapter = json.loads(metadata["lora_adapter_metadata"])
        assert set(adapter["unet.target_modules"]) == {name.rpartition(".")[0] for name in space.values}
        assert adapter["unet.r"] == adapter["unet.lora_alpha"] == 1
    assert import_space(tmp_path, tmp_path / "run").settings.sliders == 3


def test_measures_of_other_sliders_are_not_passed_on(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    told = json.loads((folder / "measures.json").read_text())
    for sliders in (told["sliders"][:2], None):
        (folder / "measures.json").write_text(json.dumps({**told, "sliders": sliders}))
        with pytest.raises(DamagedFile, match=r"measures\.json"):
            export(SliderSpace.load(folder), tmp_path / "out")


def test_names_go_into_file_names_and_any_prompt_makes_one(space: SliderSpace, tmp_path: Path) -> None:
    assert [path.name for path in export(space, tmp_path)][1] == "a-robot-01-red-hair.safetensors"
    odd_ones = {
        "../../etc: a “robot”?": "etc-a-robot",
        "ein Mädchen": "ein-mädchen",
        "***": "slider",
        "broken \udc80": "broken",
    }
    for prompt, stem in odd_ones.items():
        odd = dataclasses.replace(space, settings=space.settings.model_copy(update={"prompts": (prompt,)}))
        [path] = export(odd, tmp_path, sliders=[0])
        assert path == tmp_path / f"{stem}-00.safetensors" and load_file(path).about.prompts == [prompt]


# ---- files of the first version, which no later program may refuse


def safetensors_bytes(values: Mapping[str, list[list[float]]], metadata: Mapping[str, str]) -> bytes:
    """The format by its own description, so that this file does not follow what the package writes."""
    header: dict[str, Any] = {"__metadata__": metadata}
    data = b""
    for name, rows in values.items():
        flat = [number for row in rows for number in row]
        packed = struct.pack(f"<{len(flat)}f", *flat)
        header[name] = {
            "dtype": "F32",
            "shape": [len(rows), len(rows[0])],
            "data_offsets": [len(data), len(data) + len(packed)],
        }
        data += packed
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
VERSION_1: dict[str, Any] = {  # never to be edited: people have such files
    "format": "sliderspace-lora/1",
    "package": "0.1.0",
    "space": "5c1f",
    "index": 4,
    "name": "smile",
    "base_model": "mini",
    "prompts": ["a portrait"],
    "encoder": "abc",
    "explained_variance_ratio": 0.25,
    "unit": 2.0,
    "rank": 1,
    "targets": "cross-kv",
    "component": "unet",
    "layout": "diffusers",
    "layers": [LAYER],
    "measures": {"alignment": 0.5},
    "settings": {
        "prompts": ["a portrait"],
        "backbone": "mini",
        "samples": 100,
        "sliders": 8,
        "rank": 1,
        "targets": "cross-kv",
        "a_setting_that_was_dropped": 1,
    },
    "direction": {
        "vector": "AAAAAAAA8D8AAAAAAAAAAA==",
        "mean_T": [0.5],
        "sigma_T": [0.125],
        "explained_variance": 0.5,
        "explained_variance_ratio": 0.25,
        "total_variance": 2.0,
        "step_share": 0.0,
        "centring": "all",
        "encoder": "abc",
        "count": 100,
        "trajectories": 100,
        "step_indices": [7],
    },
}
KEYS = {
    "diffusers": (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"),
    "comfyui": (
        f"lora_unet_{LAYER.replace('.', '_')}.lora_down.weight",
        f"lora_unet_{LAYER.replace('.', '_')}.lora_up.weight",
    ),
}


def write_version_1(path: Path, **changed: Any) -> Path:
    about = {**VERSION_1, **changed}
    down, up = KEYS[about["layout"]]
    path.write_bytes(
        safetensors_bytes({down: [[1, 2, 3]], up: [[4], [8]]}, {"format": "pt", "sliderspace": json.dumps(about)})
    )
    return path


@pytest.mark.parametrize("layout", FORMATS)
def test_the_first_version_stays_readable(tmp_path: Path, layout: str) -> None:
    write_version_1(tmp_path / "a.safetensors", layout=layout, a_key_of_later="x")
    [file] = load_folder(tmp_path)
    assert (
        file.down[LAYER].tolist() == [[1, 2, 3]]
        and file.up[LAYER].tolist() == [[4], [8]]
        and file.about.name == "smile"
    )
    space = import_space(tmp_path, tmp_path / "run")
    assert space.settings.prompts == ("a portrait",) and space.settings.samples == 100 and len(space) == 1
    assert space.units_K.tolist() == [0.5] and space.directions.components_KD.tolist() == [[1, 0]]
    assert space.values[f"{LAYER}.up"].tolist() == [[[4], [8]]] and space.directions.mean_TD.tolist() == [[0.5, 0]]


# ---- what cannot be used says so


@pytest.mark.parametrize(
    "options", [{"format": "gguf"}, {"sliders": [3]}, {"sliders": [-1]}, {"unit": 0.0}, {"unit": float("inf")}], ids=str
)
def test_exports_that_cannot_be(space: SliderSpace, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        export(space, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_export_onto_a_file(space: SliderSpace, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BadInput, match="another folder"):
        export(space, tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"format": "sliderspace-lora/2", "package": "9.0"}, BadInput, "newer sliderspace .9.0."),
        ({"format": "other/1"}, BadInput, "not a slider"),
        ({"unit": 0}, DamagedFile, "damaged"),
        ({"layers": ["up_blocks.9"]}, DamagedFile, "damaged"),
        ({"direction": {}}, DamagedFile, "damaged"),
        ({"layout": "gguf"}, DamagedFile, "damaged"),
        ({"index": "x"}, DamagedFile, "damaged"),
    ],
    ids=str,
)
def test_metadata_that_cannot_be_used(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    path = tmp_path / "a.safetensors"
    write_version_1(path, **{k: v for k, v in changed.items() if k != "layout"})
    if "layout" in changed:
        path.write_bytes(path.read_bytes().replace(b'\\"diffusers\\"', b'\\"telepathy\\"'))
    with pytest.raises(error, match=said) as raised:
        load_file(path)
    assert len(str(raised.value).splitlines()) == 1 and str(path) in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    whole = write_version_1(tmp_path / "a.safetensors").read_bytes()
    for data in (b"", b"text", whole[:-4], whole[:60], b"\xff" * 100):
        (tmp_path / "a.safetensors").write_bytes(data)
        with pytest.raises(DamagedFile):
            load_file(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes({"x": [[1]]}, {"format": "pt"}))
    with pytest.raises(BadInput, match="other origin"):
        load_file(tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="cannot read"):
        load_file(tmp_path / "nothing.safetensors")
    with pytest.raises(BadInput, match=r"no \.safetensors file"):
        load_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changed", "said"), [({"space": "other", "index": 5}, "different spaces"), ({}, "the same slider")], ids=str
)
def test_files_that_do_not_belong_together(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    write_version_1(tmp_path / "a.safetensors")
    write_version_1(tmp_path / "b.safetensors", **changed)
    with pytest.raises(BadInput, match=said):
        import_space(tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_directions_that_cannot_be(tmp_path: Path) -> None:
    for vector in ("AAAA", "", "AAAAAAAAAEA="):
        write_version_1(tmp_path / "a.safetensors", direction={**VERSION_1["direction"], "vector": vector})
        with pytest.raises(DamagedFile):
            import_space(tmp_path, tmp_path / "run")


def test_an_import_never_overwrites_a_run(space: SliderSpace, finished: Path, tmp_path: Path) -> None:
    export(space, tmp_path / "files")
    before = (finished / "config.json").read_bytes()
    with pytest.raises(BadInput, match="another run"):
        import_space(tmp_path / "files", finished)
    assert (finished / "config.json").read_bytes() == before
    (tmp_path / "files" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="other files"):
        import_space(tmp_path / "files", tmp_path / "files")


def test_the_base_model_may_lie_elsewhere(space: SliderSpace, tiny: Tiny, tmp_path: Path) -> None:
    export(space, tmp_path / "files", sliders=[0])
    again = import_space(tmp_path / "files", tmp_path / "run", backbone=str(tiny.noise))
    assert again.settings.backbone == str(tiny.noise) and again.generate([1], {0: 1.0}).shape == (1, 32, 32, 3)
