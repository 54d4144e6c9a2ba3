"""Exported files draw in plain diffusers what we draw, say what they are, and name neither folder nor person."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from support.spaces import (
    Pipelines,
    by_number,
    change_settings,
    close,
    drawn,
    load_adapters,
    make_space,
    ours,
    target_layers,
)
from support.tiny import Tiny
from support.tiny_flow import PIXELS, save_zimage
from torch import Tensor, nn

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Speed, Targets
from sliderspace.models.backbones.flux import FluxBackbone
from sliderspace.models.backbones.unet import UNetBackbone
from sliderspace.models.backbones.zimage import ZImageBackbone
from sliderspace.models.identity import identity_of
from sliderspace.share.export import export, export_mix, slider_notes
from sliderspace.share.hub import prepare
from sliderspace.share.importing import import_space
from sliderspace.share.lora_files import load_file
from sliderspace.share.places import place_name
from sliderspace.space.labels import Checks, Label, propose, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

# ---- images from an exported file in plain diffusers are ours


def test_a_file_draws_in_diffusers_what_we_draw(space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path) -> None:
    """One slider at one unit, one turned round, two mixed."""
    pipe, paths = unet_pipeline(), by_number(export(space, tmp_path))
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
    """diffusers puts every layer where it belongs: as many layers as the space has, and the picture of W + s·unit·B A;
    so it does with the file of the mix."""
    from peft.tuners.lora import LoraLayer

    pipe, strengths = load(), {0: 0.8, 2: -1.3}
    base = draw(pipe)
    load_adapters(pipe, by_number(export(space, folder / "lora")), strengths)
    landed = {name for name, m in getattr(pipe, component).named_modules() if isinstance(m, LoraLayer)}
    assert landed == {name.rpartition(".")[0] for name in space.values}
    reference = load()
    merged(getattr(reference, component), space, strengths)
    found, due = draw(pipe), draw(reference)
    close(found, due)
    assert (found - base).abs().max() > 0.05
    pipe.unload_lora_weights()
    load_adapters(pipe, {0: export_mix(space, folder / "lora", strengths)}, {0: 1.0})
    close(draw(pipe), due)


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


@pytest.mark.parametrize(("per_block", "targets"), [(1, "attention"), (2, "linear")])
def test_sdxl_files_draw_in_diffusers_what_we_mean(tmp_path: Path, per_block: int, targets: Targets) -> None:
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

    space = make_space(tmp_path / "run", target_layers(unet, UNetBackbone.layers[targets]), size=0.7)
    check_against_weights(load, "unet", draw, space, tmp_path)


@pytest.mark.parametrize("targets", ["attention", "linear"])
def test_flux_files_draw_in_diffusers_what_we_mean(tmp_path: Path, targets: Targets) -> None:
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

    space = make_space(tmp_path / "run", target_layers(flux, FluxBackbone.layers[targets]), size=0.7)
    check_against_weights(load, "transformer", draw, space, tmp_path)


def test_z_image_files_draw_in_diffusers_what_we_mean(tmp_path: Path) -> None:
    from diffusers import ZImagePipeline

    save_zimage(tmp_path / "pipe")

    def load() -> Any:
        pipe = ZImagePipeline.from_pretrained(tmp_path / "pipe")
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def draw(pipe: Any) -> Tensor:
        random = torch.Generator().manual_seed(1)
        size = {"height": PIXELS, "width": PIXELS, "num_inference_steps": 2, "guidance_scale": 0.0}
        return pipe("a robot", generator=random, output_type="pt", **size).images

    layers = target_layers(load().transformer, ZImageBackbone.layers["linear"])
    check_against_weights(load, "transformer", draw, make_space(tmp_path / "run", layers, size=0.7), tmp_path)


# ---- what a file says


def test_the_same_space_gives_the_same_bytes(space: SliderSpace, tmp_path: Path) -> None:
    one, two = (export(space, tmp_path / str(i)) for i in range(2))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_file_says_what_it_is(finished: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    """From a real run: base model, prompts, slider, variance, encoder, measures, unit, package."""
    space = SliderSpace.load(finished, Speed(device="cpu"))
    paths = export(space, tmp_path, unit=0.5)
    assert [path.name for path in paths] == [f"a-robot--velocity-{k:02d}.safetensors" for k in range(3)]
    measured = json.loads((finished / "measures.json").read_text())["sliders"]
    for k, path in enumerate(paths):
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
        about = json.loads(metadata["sliderspace"])
        assert metadata["format"] == "pt" and f"slider {k} of “a robot”" in metadata["modelspec.title"]
        assert (
            about["base_model"] == f"local:velocity@{identity_of(Path(small['backbone']))}"
            and about["prompts"] == list(small["prompts"])
            and about["index"] == k
        )
        assert about["measures"] == measured[k] and about["unit"] == 0.5 and about["rank"] == 1 and about["package"]
        assert about["encoder"] == space.directions.encoder
        assert about["explained_variance_ratio"] == float(space.directions.explained_variance_ratio_K[k])
    assert import_space(tmp_path, tmp_path / "run").settings.sliders == 3


def test_measures_of_other_sliders_are_not_passed_on(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    told = json.loads((folder / "measures.json").read_text())
    for sliders in (told["sliders"][:2], None):
        (folder / "measures.json").write_text(json.dumps({**told, "sliders": sliders}))
        with pytest.raises(DamagedFile, match=r"measures\.json"):
            export(SliderSpace.load(folder), tmp_path / "out")


def test_measures_of_another_space_are_passed_over(finished: Path, space: SliderSpace, tmp_path: Path) -> None:
    """As an earlier push may have left them in a repository; also where they are of another number of sliders."""
    folder = Path(shutil.copytree(space.folder, tmp_path / "run"))
    told = json.loads((finished / "measures.json").read_text())
    for sliders in (told["sliders"], told["sliders"][:2]):
        (folder / "measures.json").write_text(json.dumps({**told, "sliders": sliders}))
        assert [note["measures"] for note in slider_notes(SliderSpace.load(folder))] == [None, None, None]
    (tmp_path / "made").mkdir()
    prepare(folder, tmp_path / "made", "jane/robots")
    assert not (tmp_path / "made" / "measures.json").exists()


def test_a_renamed_slider_leaves_no_file_of_its_old_name(space: SliderSpace, tmp_path: Path) -> None:
    """Two files of one slider could not be imported together; another space's file of that number stays."""
    own = dataclasses.replace(space, folder=Path(shutil.copytree(space.folder, tmp_path / "run")))
    other = make_space(tmp_path / "other", {"a": torch.nn.Linear(2, 2)}, identity="t", backbone=space.settings.backbone)
    out = tmp_path / "out"
    export(own, out)
    [stranger] = export(other, tmp_path / "theirs", sliders=[1])
    shutil.copyfile(stranger, out / "theirs.safetensors")
    rename(RunFolder(own.folder), {1: "blue hair", 2: "<b>../../\u202e"})
    export(own, out)
    assert {path.name for path in out.glob("*.safetensors")} == {
        "a-robot--velocity-00.safetensors",
        "a-robot--velocity-01-blue-hair.safetensors",
        "a-robot--velocity-02-b-u-202e.safetensors",
        "theirs.safetensors",
    }
    assert len(list(out.glob("*.json"))) == 3, "nor notes of it"


def test_an_unsure_name_is_in_parentheses_and_in_no_file_name(space: SliderSpace, tmp_path: Path) -> None:
    own = dataclasses.replace(space, folder=Path(shutil.copytree(space.folder, tmp_path / "run")))
    guess = Label(proposed="a hat", sentence="It has a hat.", by="openai:m", checks=Checks(right=0.5, answers=8))
    propose(RunFolder(own.folder), {0: guess}, own.made_from)
    [path] = export(own, tmp_path / "out", sliders=[0])
    assert path.name == "a-robot--velocity-00.safetensors"
    with safe_open(path, "np") as file:
        assert file.metadata()["modelspec.title"].startswith("(a hat) of “a robot”")
    about = load_file(path).about
    assert about.name is None and about.label == guess.after(Label())
    again = import_space(tmp_path / "out", tmp_path / "again")
    assert again.labels[0].shown == "(a hat)" and again.labels[0].sentence == "It has a hat."


def test_names_go_into_file_names_and_any_prompt_makes_one(space: SliderSpace, tmp_path: Path) -> None:
    assert [path.name for path in export(space, tmp_path)][1] == "a-robot--velocity-01-red-hair.safetensors"
    odd_ones = {
        "../../etc: a “robot”?": "etc-a-robot",
        "ein Mädchen": "ein-mädchen",
        "***": "slider",
        "broken \udc80": "broken",
    }
    for prompt, stem in odd_ones.items():
        odd = dataclasses.replace(space, settings=space.settings.model_copy(update={"prompts": (prompt,)}))
        [path] = export(odd, tmp_path, sliders=[0])
        assert path == tmp_path / f"{stem}--velocity-00.safetensors" and load_file(path).about.prompts == [prompt]


def test_long_names_in_any_script_fit_into_a_file_name(space: SliderSpace, tmp_path: Path) -> None:
    """Of prompt, model and slider, with the temporary name's end; those of ASCII are forty characters of each."""
    for long, left in (("模" * 99, "模" * 20), ("a" + "𠀀" * 99, "a" + "𠀀" * 14), ("b" * 99, "b" * 40)):
        here = tmp_path / long[0]
        one = make_space(here / "run", layers_of(space), backbone=f"local:{long}", prompts=(long,))
        rename(RunFolder(one.folder), {0: long[:60]})
        [path] = export(one, here / "out", sliders=[0])
        assert path.name == f"{left}--{left}-00-{left}.safetensors"
        mixes = [export_mix(one, here / "out", {0: 1.0}, name=f"{sign}{long}") for sign in "+-"]
        assert mixes[0] != mixes[1] and {path, *mixes} == set((here / "out").glob("*.safetensors"))


# ---- what cannot be used says so


@pytest.mark.parametrize(
    "options", [{"sliders": [3]}, {"sliders": [-1]}, {"unit": 0.0}, {"unit": float("inf")}], ids=str
)
def test_exports_that_cannot_be(space: SliderSpace, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        export(space, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_export_onto_a_file(space: SliderSpace, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BadInput, match="another folder"):
        export(space, tmp_path / "out")


def test_another_spaces_files_are_never_replaced(space: SliderSpace, tmp_path: Path) -> None:
    """Two spaces of one prompt and one model in a common folder; a foreign file and a text of the same name likewise."""
    other = make_space(
        tmp_path / "other", layers_of(space), identity="of another run", backbone=space.settings.backbone
    )
    first = export(space, tmp_path / "loras", sliders=[1])
    before = first[0].read_bytes()
    with pytest.raises(BadInput, match=r"a-robot--velocity-01-red-hair\.safetensors is not a slider of this space"):
        export(other, tmp_path / "loras")
    assert first == list((tmp_path / "loras").glob("*.safetensors")) and first[0].read_bytes() == before, (
        "nothing was written"
    )
    export(space, tmp_path / "loras", unit=2.0)
    assert first[0].read_bytes() != before, "its own are"
    for data in (b"mine", safetensors.torch.save({"lora_unet_x.lora_down.weight": torch.ones(1, 1)})):
        first[0].write_bytes(data)
        with pytest.raises(BadInput, match="delete that file"):
            export(space, tmp_path / "loras")
        assert first[0].read_bytes() == data


def test_the_model_is_part_of_the_file_name(space: SliderSpace, tmp_path: Path) -> None:
    """SDXL's "a robot" beside SD 1.5's."""
    models = {"sd15": "sd15", "jane/Some_Model@0123abc": "some-model", "mini": "mini", "local:my model@12": "my-model"}
    for model, slug in models.items():
        one = make_space(tmp_path / slug, layers_of(space), backbone=model)
        assert [path.name for path in export(one, tmp_path / "loras", sliders=[0])] == [
            f"a-robot--{slug}-00.safetensors"
        ]
    assert len(list((tmp_path / "loras").glob("*.safetensors"))) == len(models)


def layers_of(space: SliderSpace) -> dict[str, nn.Linear]:
    """Layers of the widths that a space's values have."""
    ends = {
        name.removesuffix(".down"): value.shape[2] for name, value in space.values.items() if name.endswith(".down")
    }
    return {path: nn.Linear(width, space.values[f"{path}.up"].shape[1]) for path, width in ends.items()}


def test_no_file_holds_a_folder_of_this_machine(tmp_path: Path, tiny: Tiny, finished: Path) -> None:
    """Every byte of what is exported and pushed, for a model, an encoder, a decoder and pictures in local folders."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    change_settings(folder, decoder=str(tmp_path / "my decoder"), images=str(Path.home() / "pictures of me"))
    assert str(tmp_path.parent.parent) in (folder / "space.json").read_text(), "the control: it does hold them here"
    (tmp_path / "pushed").mkdir()
    prepare(folder, tmp_path / "pushed", "jane/robots")
    export(SliderSpace.load(folder), tmp_path / "lora")
    sent = [path for name in ("pushed", "lora") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert len(sent) > 12
    places = {Path.home(), tmp_path, tiny.velocity.parent, finished, Path(tempfile.gettempdir()), Path.cwd()}
    for path in sent:
        data = path.read_bytes()
        assert not [place for place in places if str(place).encode() in data], path
    settings = load_file(min((tmp_path / "lora").glob("*.safetensors"))).about.settings
    assert settings["backbone"].startswith("local:velocity@") and settings["encoder"].startswith("local:clip@")
    assert settings["decoder"] == "local:my decoder" and settings["images"] == "local:pictures of me"
    assert json.loads((tmp_path / "pushed" / "config.json").read_text())["backbone"] == settings["backbone"]


def test_places_that_are_no_folders_stay(tmp_path: Path) -> None:
    for place in ("sdxl", "clip", "", "auto", "full", "jane/model@v2", "asset:mini/clip", "local:x@12"):
        assert place_name(place) == place
    snapshot = tmp_path / "models--jane--model" / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    assert place_name(str(snapshot)) == f"jane/model@{snapshot.name}", "the Hub's cache: its repository and commit"
    for gone in ("./models", "../x", "~/secret/x", "/home/jane/x"):
        assert place_name(gone).startswith("local:") and "/" not in place_name(gone)
