"""LoRA files of other origin: sliders that draw what diffusers draws with the file, or a plain refusal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file as load_values
from safetensors.torch import save_file
from support.spaces import SEEDS, Pipelines, change_settings, close, drawn, make_space, ours
from support.tiny import Tiny
from torch import Tensor, nn
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Speed
from sliderspace.share.export import export, export_mix
from sliderspace.share.hub import prepare
from sliderspace.share.importing import import_space
from sliderspace.share.lora_files import load_file
from sliderspace.share.lora_names import denoiser_layers
from sliderspace.share.metadata import CHECKSUM
from sliderspace.space.space import SliderSpace

Tensors = dict[str, Tensor]
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
EVERYTHING = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "time_emb_proj"]


def trained_by_peft(pipe: Any, targets: list[str], rank: int, alpha: float, **options: Any) -> tuple[Tensors, Any]:
    """{path.lora_A.weight: value} and the settings of a LoRA that PEFT put into the UNet, of values that show."""
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(3)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights=False, **options)
    pipe.unet.add_adapter(config)
    values = {name: value.clone() * 1.5 for name, value in get_peft_model_state_dict(pipe.unet).items()}
    pipe.unet.delete_adapters("default")
    return values, config


def as_kohya(values: Tensors, alpha: float) -> Tensors:
    found: Tensors = {}
    for name, value in values.items():
        path, _, end = name.partition(".lora_")
        bare = f"lora_unet_{path.replace('.', '_')}"
        found[f"{bare}.lora_{'down' if end == 'A.weight' else 'up'}.weight"] = value
        found[f"{bare}.alpha"] = torch.tensor(alpha)
    return found


def text_layers(rank: int = 2) -> Tensors:
    """What kohya's trainer stores of a text encoder's first layer."""
    bare = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    halves = {f"{bare}.lora_down.weight": torch.randn(rank, 16), f"{bare}.lora_up.weight": torch.randn(16, rank)}
    return halves | {f"{bare}.alpha": torch.tensor(1.0)}


def in_diffusers(pipe: Any, file: Path, strength: float) -> Tensor:
    pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name="s")
    pipe.set_adapters("s", strength)
    return drawn(pipe)


def imported(file: Path, out: Path, tiny: Tiny) -> SliderSpace:
    """On the tiny model in three steps; what no file says is said."""
    import_space(file, out, backbone=str(tiny.velocity), prompt="a robot")
    change_settings(out, steps=3, guidance=1.0, precision="float32")
    return SliderSpace.load(out, Speed(device="cpu"))


def kohya(pipe: Any, file: Path) -> None:
    save_file(as_kohya(trained_by_peft(pipe, EVERYTHING, 4, 4)[0], 1.0), file)


def kohya_half(pipe: Any, file: Path) -> None:
    """As most files on the net are: float16."""
    values = as_kohya(trained_by_peft(pipe, ATTENTION, 8, 8)[0], 4.0)
    save_file({name: value.half() for name, value in values.items()}, file)


def diffusers_peft(pipe: Any, file: Path) -> None:
    """What diffusers' training scripts write: the alpha is in the metadata."""
    values, config = trained_by_peft(pipe, EVERYTHING, 4, 10, rank_pattern={"to_q": 2}, alpha_pattern={"to_k": 1})
    told = {"unet_lora_adapter_metadata": config.to_dict()} if config else {}
    pipe.save_lora_weights(file.parent, values, weight_name=file.name, **told)


def diffusers_old(pipe: Any, file: Path) -> None:
    """As diffusers wrote them before PEFT: no alphas, `processor` in the names."""
    values = trained_by_peft(pipe, ATTENTION, 2, 2)[0]
    ends = {"lora_A": "down", "lora_B": "up"}
    found: Tensors = {}
    for name, value in values.items():
        path, _, half = name.removesuffix(".weight").rpartition(".")
        attention, _, layer = path.removesuffix(".0").rpartition(".")
        found[f"unet.{attention}.processor.{layer}_lora.{ends[half]}.weight"] = value
    save_file(found, file)


@pytest.mark.parametrize("write", [kohya, kohya_half, diffusers_peft, diffusers_old])
def test_a_file_of_other_origin_draws_what_diffusers_draws(
    unet_pipeline: Pipelines, tiny: Tiny, tmp_path: Path, write: Callable[[Any, Path], None]
) -> None:
    """Convolutions of one pixel, feed-forward and time layers among them, other alphas and ranks than ours."""
    pipe, file = unet_pipeline(), tmp_path / "files" / "other.safetensors"
    file.parent.mkdir()
    base = drawn(pipe)
    write(pipe, file)
    space = imported(file, tmp_path / "run", tiny)
    assert space.directions is None and space.units_K.tolist() == [1.0]
    found = in_diffusers(pipe, file, 0.8)
    assert (found - base).abs().max() > 0.05, "or nothing was shown"
    close(ours(space, {0: 0.8}), found)


def test_every_kind_of_linear_layer_comes_in(unet_pipeline: Pipelines, tmp_path: Path) -> None:
    kohya(unet_pipeline(), tmp_path / "a.safetensors")
    kinds = {path.rpartition(".")[2] for path in load_file(tmp_path / "a.safetensors").down}
    assert kinds == {"to_q", "to_k", "to_v", "0", "proj_in", "proj_out", "proj", "2", "time_emb_proj"}


def test_peft_own_files_draw_what_diffusers_draws(unet_pipeline: Pipelines, tiny: Tiny, tmp_path: Path) -> None:
    """adapter_model.safetensors beside adapter_config.json, as `save_pretrained` of PEFT writes them."""
    pipe = unet_pipeline()
    values, config = trained_by_peft(pipe, ATTENTION, 4, 6, use_rslora=True)
    folder = tmp_path / "adapter"
    config.save_pretrained(folder)
    save_file({f"base_model.model.{name}": v for name, v in values.items()}, folder / "adapter_model.safetensors")
    space = imported(folder, tmp_path / "run", tiny)
    scaled = {name: v * (6 / 2 if "lora_B" in name else 1) for name, v in values.items()}
    save_file(as_kohya(scaled, 4.0), tmp_path / "same.safetensors")
    close(ours(space, {0: 1.0}), in_diffusers(pipe, tmp_path / "same.safetensors", 1.0))


def test_halved_alphas_halve_our_own_sliders(space: SliderSpace, tmp_path: Path) -> None:
    """The same picture at twice the strength; and the control, that they are not at the same."""
    [path] = export(space, tmp_path / "files", sliders=[1])
    values, metadata = load_values(path), read_metadata(path)
    del metadata[CHECKSUM]
    save_file({k: v / 2 if k.endswith(".alpha") else v for k, v in values.items()}, path, metadata)
    half = import_space(tmp_path / "files", tmp_path / "run", backbone=space.settings.backbone)
    close(ours(half, {0: 2.0}), ours(space, {1: 1.0}))
    assert (ours(half, {0: 1.0}) - ours(space, {1: 1.0})).abs().max() > 0.01


def read_metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return file.metadata()


# ---- and out again


def test_convolutions_of_one_pixel_go_out_in_their_own_shape(
    unet_pipeline: Pipelines, tiny: Tiny, tmp_path: Path
) -> None:
    """Layers that diffusers refuses as matrices: a slider and a mix of it draw what the file did that came in."""
    came = tmp_path / "other.safetensors"
    kohya(unet_pipeline(), came)
    space = imported(came, tmp_path / "run", tiny)
    [slider] = export(space, tmp_path / "lora")
    for file, strength in ((slider, 0.8), (export_mix(space, tmp_path / "lora", {0: 0.8}), 1.0)):
        shapes = {name: value.shape for name, value in load_values(file).items()}
        assert shapes == {name: value.shape for name, value in load_values(came).items()}
        assert any(name.endswith("proj_in.lora_up.weight") and len(shape) == 4 for name, shape in shapes.items())
        close(in_diffusers(unet_pipeline(), file, strength), ours(space, {0: 0.8}))


@pytest.mark.parametrize(("backbone", "width"), [("local:gone", 768), ("local:gone", 2048), ("sdxl", 2048)])
def test_what_is_a_convolution_is_known_without_weights(backbone: str, width: int, tmp_path: Path) -> None:
    """By the model's configuration, or by its family where the model is not here: SD 1 projects with convolutions."""
    block = "down_blocks.1.attentions.0"
    widths = {f"{block}.transformer_blocks.0.attn2.to_k": width, f"{block}.proj_in": 640}
    widths |= {"up_blocks.1.resnets.0.conv_shortcut": 1920}
    space = make_space(tmp_path / "run", {n: nn.Linear(w, 640) for n, w in widths.items()}, backbone=backbone)
    values = load_values(export(space, tmp_path / "lora", sliders=[0])[0])
    of = {part: {v.ndim for n, v in values.items() if f"{part}.lora_" in n} for part in ("to_k", "proj_in", "shortcut")}
    assert of == {"to_k": {2}, "proj_in": {4 if width == 768 else 2}, "shortcut": {4}}


# ---- several at once


@pytest.fixture
def folder(space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path) -> Path:
    """Ours, a LoRA of rank 4 on other layers, and one that also changes the text encoder."""
    export(space, tmp_path / "files", sliders=[0, 1])
    pipe = unet_pipeline()
    save_file(as_kohya(trained_by_peft(pipe, EVERYTHING, 4, 4)[0], 4.0), tmp_path / "files" / "b.safetensors")
    plain = as_kohya(trained_by_peft(pipe, ["to_k"], 1, 1)[0], 1.0)
    save_file({**plain, **text_layers()}, tmp_path / "files" / "c.safetensors")
    save_file(plain, tmp_path / "plain.safetensors")
    return tmp_path / "files"


def test_ours_and_others_in_one_folder(
    folder: Path, space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path
) -> None:
    """Ranks 2, 4 and 1 on different layers become one bank, padded with zeros; each draws as it did alone."""
    mixed = import_space(folder, tmp_path / "run", backbone=space.settings.backbone)
    assert len(mixed) == 4 and mixed.directions is None and mixed.settings.rank == 4
    assert mixed.settings.prompts == space.settings.prompts, "ours say what to draw"
    close(ours(mixed, {1: 1.3}), ours(space, {1: 1.3}))
    close(ours(mixed, {2: 0.5}), in_diffusers(unet_pipeline(), folder / "b.safetensors", 0.5))
    close(ours(mixed, {3: 0.5}), in_diffusers(unet_pipeline(), tmp_path / "plain.safetensors", 0.5))
    assert json.loads((tmp_path / "run" / "space.json").read_text())["imported"] is True
    assert [label.name for label in mixed.labels] == [None, "red hair", "b", "c"]


def test_a_space_without_directions_does_all_but_be_measured(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    """It loads, draws, sweeps, says what it is, is exported, imported again and pushed."""
    space = imported(folder / "b.safetensors", tmp_path / "run", tiny)
    told = space.describe()
    assert told["encoder"] is None and told["sliders"] == [
        {"index": 0, "name": "b", "unit": 1.0, "explained_variance_ratio": None}
    ]
    assert space.sweep(0, [1], [-1, 0, 1]).shape == (1, 3, 32, 32, 3)
    [path] = export(space, tmp_path / "lora")
    assert path.name == "a-robot--velocity-00-b.safetensors" and load_file(path).about.direction is None
    again = imported(path, tmp_path / "again", tiny)
    assert again.directions is None and np.array_equal(again.generate([3], {0: 1.0}), space.generate([3], {0: 1.0}))
    (tmp_path / "made").mkdir()
    prepare(tmp_path / "run", tmp_path / "made", "jane/other")
    card = (tmp_path / "made" / "README.md").read_text()
    assert "made of LoRA files" in card and "How they were found" not in card and "None" not in card
    assert SliderSpace.load(tmp_path / "made").directions is None


def test_the_command_says_what_it_left_out(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    words = ["import", str(folder), "--out", str(tmp_path / "run"), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and json.loads(result.stdout)["sliders"] == 4
    assert "of other origin: b.safetensors, c.safetensors" in result.stderr and "no directions" in result.stderr
    assert "text encoder layers of c.safetensors" in result.stderr
    assert "'velocity', a folder of another machine" in result.stderr and "--backbone" in result.stderr
    drawn = CliRunner().invoke(app, ["generate", str(tmp_path / "run"), "--seeds", "1"])
    assert drawn.exit_code == 2 and "--backbone" in drawn.stderr and "velocity" in drawn.stderr
    assert CliRunner().invoke(app, [*words, "--backbone", str(tiny.velocity)]).exit_code == 0, "into the same folder"
    assert CliRunner().invoke(app, ["generate", str(tmp_path / "run"), "--seeds", "1", "--device=cpu"]).exit_code == 0


def test_what_no_file_says_has_to_be_said(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    file, there = folder / "b.safetensors", str(tiny.velocity)
    for said in ({}, {"backbone": there}, {"prompt": "a robot"}):
        with pytest.raises(BadInput, match=r"b\.safetensors does not say"):
            import_space(file, tmp_path / "run", **said)
    for backbone in ("./models", "../models", "models", str(tmp_path / "models"), "~/no such folder"):
        with pytest.raises(BadInput):
            import_space(file, tmp_path / "run", backbone=backbone, prompt="a robot")
    assert not (tmp_path / "run").exists()


def test_files_for_different_models_are_not_mixed(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    values = load_values(folder / "b.safetensors")
    wide = {k: v.repeat(1, 2) if v.ndim == 2 and k.endswith("to_k.lora_down.weight") else v for k, v in values.items()}
    save_file(wide, folder / "d.safetensors")
    with pytest.raises(BadInput, match=r"for different models"):
        import_space(folder, tmp_path / "run", backbone=str(tiny.velocity))
    other = make_space(
        tmp_path / "other", {"mid_block.attentions.9.to_k": nn.Linear(4, 4)}, backbone=str(tiny.velocity)
    )
    with pytest.raises(BadInput, match=r"made for another model: .* has no mid_block\.attentions\.9\.to_k"):
        other.generate(SEEDS)


# ---- what cannot become a slider says so


NOT_LORA = {
    "LoHa": ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"],
    "LoKr": ["lokr_w1", "lokr_w2"],
    "DoRA": ["lora_down.weight", "lora_up.weight", "dora_scale"],
    "OFT": ["oft_blocks"],
}
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize("kind", NOT_LORA)
def test_other_adaptors_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a.safetensors"
    save_file({f"{LAYER}.{end}": torch.ones(2, 2) for end in NOT_LORA[kind]}, file)
    with pytest.raises(BadInput, match=f"is a {kind}, not a LoRA"):
        load_file(file)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"x": (1, 1)}, "no layer of a model"),
        ({f"{LAYER}.lora_down.weight": (2, 4)}, "cannot become a slider"),
        ({f"{LAYER}.alpha": ()}, "scale of no layer"),
        ({"unet.down_blocks.0.conv.lora_A.weight": (2, 4, 3, 3), "unet.down_blocks.0.conv.lora_B.weight": (4, 2, 1, 1)}, "a convolution, down_blocks.0.conv"),
        ({"unet.down_blocks.0.to_k.lora_A.weight": (2, 4), "unet.down_blocks.0.to_k.lora_B.weight": (4, 3)}, "damaged"),
        ({"unet.down_blocks.0.to_k.lora_A.weight": (0, 4), "unet.down_blocks.0.to_k.lora_B.weight": (4, 0)}, "damaged"),
        ({"unet.down_blocks.0.to_k.lora_A.weight": (), "unet.down_blocks.0.to_k.lora_B.weight": ()}, "a convolution"),
        ({"transformer.layers.0.to_k.lora_A.weight": (2, 4)}, "no half of a LoRA layer"),
        (dict.fromkeys(text_layers(), (2, 2)), "text encoders only"),
    ],
    ids=str,
)  # fmt: skip
def test_files_that_are_no_sliders(tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str) -> None:
    file = tmp_path / "a.safetensors"
    save_file(
        {name: torch.ones(shape) for name, shape in tensors.items() if "alpha" not in name or len(tensors) == 1}, file
    )
    with pytest.raises(BadInput, match=said) as error:
        load_file(file)
    assert len(str(error.value).splitlines()) == 1 and str(file) in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(space: SliderSpace, tmp_path: Path, value: float) -> None:
    """In ours and in others, wherever they lie."""
    [ours] = export(space, tmp_path, sliders=[0])
    values, metadata = load_values(ours), read_metadata(ours)
    for name in (min(values), max(values), next(k for k in values if k.endswith(".alpha"))):
        spoilt = {k: v.clone() for k, v in values.items()}
        spoilt[name].view(-1)[-1] = value
        for about in (metadata, {"format": "pt"}):
            save_file(spoilt, ours, about)
            with pytest.raises(DamagedFile, match="not all values"):
                load_file(ours)


# ---- names of other trainers, for layers that are known


def test_sdxl_files_of_kohya_count_blocks_as_the_original_code_does() -> None:
    """Names and paths by hand: the first and last place of each kind of block."""
    known = {
        "input_blocks_4_1": "down_blocks.1.attentions.0",
        "input_blocks_8_1": "down_blocks.2.attentions.1",
        "middle_block_1": "mid_block.attentions.0",
        "output_blocks_0_1": "up_blocks.0.attentions.0",
        "output_blocks_5_1": "up_blocks.1.attentions.2",
    }
    halves = ("lora_down", "lora_up")
    names = [f"lora_unet_{b}_transformer_blocks_1_attn1_to_out_0.{half}.weight" for b in known for half in halves]
    layers, text = denoiser_layers({name: torch.ones(1, 1) for name in names})
    assert layers.keys() == {f"{path}.transformer_blocks.1.attn1.to_out.0" for path in known.values()} and text == 0


def test_flux_files_of_kohya_and_z_image_files_of_comfyui() -> None:
    kohya = {"lora_unet_double_blocks_3_img_attn_proj": "transformer_blocks.3.attn.to_out.0"}
    kohya |= {"lora_unet_single_blocks_7_linear2": "single_transformer_blocks.7.proj_out"}
    tensors = {f"{n}.{half}.weight": torch.ones(1, 1) for n in kohya for half in ("lora_down", "lora_up")}
    assert denoiser_layers(tensors)[0].keys() == set(kohya.values())
    comfy = {f"diffusion_model.layers.4.attention.to_q.lora_{half}.weight": torch.ones(1, 1) for half in "AB"}
    assert denoiser_layers(comfy)[0].keys() == {"layers.4.attention.to_q"}
