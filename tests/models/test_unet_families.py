"""SD, SDXL and their distilled forms: for each sampler and each way of guidance, our image is the diffusers
pipeline's."""

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import LATENT, PIXELS, Tiny
from support.tiny_unet import save_sdxl, save_small_decoder
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.method.denoise import render
from sliderspace.method.sliders import SliderBank, target_layers
from sliderspace.models.backbones import PRESETS, preset_for
from sliderspace.models.backbones.lora import Lora
from sliderspace.models.backbones.samplers import SAMPLERS, schedule_for
from sliderspace.models.backbones.unet import SDXLBackbone, UNetBackbone, guidance_embedding
from sliderspace.models.configs import SHIPPED
from sliderspace.models.load import load_backbone

SIDE = PIXELS


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    return save_sdxl(tmp_path_factory.mktemp("sdxl") / "model", timestep_spacing="leading", steps_offset=1)


def changed(folder: Path, copy: Path, config: str, **values: Any) -> Path:
    """A copy of a pipeline folder, other values in one of its configurations."""
    shutil.copytree(folder, copy)
    said = json.loads((copy / config).read_text())
    (copy / config).write_text(json.dumps({**said, **values}))
    return copy


def ours(folder: Path, steps: int, guidance: float, seeds: list[int], **options: Any) -> Tensor:
    backbone = load_backbone(str(folder), steps=steps, guidance=guidance, device="cpu", precision="float32", **options)
    return torch.cat(list(render(backbone, None, backbone.encode(["a robot"]), seeds, [0] * len(seeds))))


def theirs(
    folder: Path,
    steps: int | None,
    guidance: float,
    seeds: list[int],
    scheduler: Any = None,
    *,
    width: int = SIDE,
    **options: Any,
) -> Tensor:
    """images01 of diffusers' pipeline."""
    import diffusers

    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if scheduler is not None:
        pipe.scheduler = scheduler(pipe.scheduler.config)
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    counted = {} if steps is None else {"num_inference_steps": steps}
    made = pipe(
        ["a robot"] * len(seeds),
        guidance_scale=guidance,
        generator=generators,
        output_type="pt",
        height=SIDE,
        width=width,
        **counted,
        **options,
    )
    return made.images


def test_sdxl_with_guidance_is_the_pipelines(sdxl: Path) -> None:
    torch.testing.assert_close(ours(sdxl, 5, 5.0, [3, 17]), theirs(sdxl, 5, 5.0, [3, 17]), rtol=0, atol=1e-4)


def test_an_empty_prompt_that_is_read_and_not_zeros(tmp_path: Path) -> None:
    folder = save_sdxl(tmp_path / "model", zeros=False)
    torch.testing.assert_close(ours(folder, 2, 5.0, [3]), theirs(folder, 2, 5.0, [3]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("scheduler", "options", "steps"),
    [
        ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, 4),  # Lightning
        ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}, 7),
        ("EulerDiscreteScheduler", {"timestep_spacing": "leading", "use_karras_sigmas": True}, 5),
        ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, 1),  # Turbo
        ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, 4),
        ("LCMScheduler", {"timestep_spacing": "leading"}, 4),
        ("LCMScheduler", {}, 1),
        (
            "DDIMScheduler",
            {"timestep_spacing": "leading", "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False},
            6,
        ),
    ],
)
def test_each_sampler_is_the_schedulers_own(
    tmp_path: Path, scheduler: str, options: dict[str, Any], steps: int
) -> None:
    folder = save_sdxl(tmp_path / "model", scheduler, **options)
    torch.testing.assert_close(
        ours(folder, steps, 1.0, [3, 17]), theirs(folder, steps, 1.0, [3, 17]), rtol=0, atol=1e-4
    )


ENDS_ABOVE_ZERO = {
    "SD and SDXL": ("DDIMScheduler", {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}),
    "a whole step before 0": ("DDIMScheduler", {"timestep_spacing": "leading"}),
    "Euler's smallest level": ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"}),
}


@pytest.mark.parametrize("what", ENDS_ABOVE_ZERO)
def test_the_last_preview_is_the_image_that_users_get(tmp_path: Path, what: str) -> None:
    """Where the sampler ends above zero noise too: what is embedded at the last step is the pipeline's picture."""
    scheduler, options = ENDS_ABOVE_ZERO[what]
    clip = {"clip_sample": False} if scheduler == "DDIMScheduler" else {}
    folder = save_sdxl(tmp_path / "model", scheduler, **options, **clip)
    backbone = load_backbone(str(folder), steps=3, guidance=1.0, device="cpu", precision="float32")
    x, rows, x0 = backbone.start([3]), backbone.encode(["a robot"]).rows([0]), torch.empty(0)
    with torch.no_grad():
        for index in range(3):
            x0 = backbone.predict(x, torch.tensor([index]), rows)
            x = backbone.step(x, x0, index, [3])
        shown = backbone.decode(x0).clamp(0, 1)
    torch.testing.assert_close(shown, theirs(folder, 3, 1.0, [3]), rtol=0, atol=1e-4)
    torch.testing.assert_close(x, x0)
    assert (what == "a whole step before 0") == (backbone.schedule.ending == (1.0, 0.0))


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_prompts_are_read_in_batches_by_encoders_loaded_once(
    tiny: Tiny, sdxl: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from sliderspace.models.backbones.pipeline import TEXTS, PipelineBackbone

    loaded: list[Any] = []
    rows: list[int] = []
    part = PipelineBackbone.part

    def counted(self: Any, name: str, *rest: Any, **options: Any) -> Any:
        model = part(self, name, *rest, **options)
        model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(PipelineBackbone, "part", counted)
    folder = tiny.noise if kind == "sd" else sdxl
    backbone = load_backbone(str(folder), steps=1, guidance=1.0, device="cpu", precision="float32")
    condition = backbone.encode([f"robot {i}" for i in range(20)])
    encoders = 1 if kind == "sd" else 2
    assert len(condition) == 20 and len(loaded) == encoders
    assert rows == [TEXTS, TEXTS, 21 - 2 * TEXTS] * encoders
    gc.collect()
    assert all(model() is None for model in loaded), "nobody holds the text encoders any longer"
    alone = backbone.encode(["robot 19"])
    for name, texts in condition.texts.items():
        torch.testing.assert_close(texts[19:], alone.texts[name])


def test_a_fresh_draw_is_one_of_the_seed_and_not_of_the_batch(tmp_path: Path) -> None:
    folder = save_sdxl(tmp_path / "model", "LCMScheduler")
    alone, among = ours(folder, 3, 1.0, [17]), ours(folder, 3, 1.0, [4, 17, 5])
    torch.testing.assert_close(among[1], alone[0], rtol=0, atol=1e-4)
    assert (among[0] - among[1]).abs().max() > 0.01


def test_a_told_guidance_needs_no_second_row(tmp_path: Path) -> None:
    """LCM UNets read the guidance as an embedding; doubling the batch as well would guide twice."""
    folder = save_sdxl(tmp_path / "model", "LCMScheduler", told_guidance=16)
    torch.testing.assert_close(ours(folder, 3, 8.0, [3]), theirs(folder, 3, 8.0, [3]), rtol=0, atol=1e-4)
    assert (ours(folder, 3, 8.0, [3]) - ours(folder, 3, 2.0, [3])).abs().max() > 1e-3


def test_the_guidance_embedding_is_diffusers_own() -> None:
    from diffusers import StableDiffusionXLPipeline

    for w, width in ((7.5, 16), (0.0, 256), (3.0, 9)):
        reference = StableDiffusionXLPipeline.get_guidance_scale_embedding(None, torch.tensor([w, w]), width)  # type: ignore[arg-type]
        torch.testing.assert_close(guidance_embedding(w, width, torch.zeros(2)), reference)


# ---- presets: the same folder run as each distilled form says


def loaded_as(folder: Path, preset: str, **changed: Any) -> SDXLBackbone:
    """A folder at a preset's working point."""
    import dataclasses

    from sliderspace.models.backbones.pipeline import Setup

    p = PRESETS[preset]
    setup = Setup(
        p.name, "", p.steps, p.guidance, torch.device("cpu"), torch.float32, p.sampler, p.timesteps, p.spacing
    )
    return SDXLBackbone(folder, dataclasses.replace(setup, **changed))


def run_as(folder: Path, preset: str, seeds: list[int], **changed: Any) -> Tensor:
    """Our image of a folder run at a preset's working point."""
    backbone = loaded_as(folder, preset, **changed)
    return torch.cat(list(render(backbone, None, backbone.encode(["a robot"]), seeds, [0] * len(seeds))))


def test_noobai_v_runs_as_its_authors_say(sdxl: Path) -> None:
    """Laxhar/noobai-XL-Vpred-1.0's card: EulerDiscreteScheduler.from_config, v-prediction, zero terminal SNR."""
    from diffusers import EulerDiscreteScheduler

    def scheduler(config: Any) -> Any:
        return EulerDiscreteScheduler.from_config(config, prediction_type="v_prediction", rescale_betas_zero_snr=True)

    preset = PRESETS["noobai-v"]
    image = run_as(sdxl, "noobai-v", [3], steps=4, prediction=preset.prediction)
    torch.testing.assert_close(image, theirs(sdxl, 4, preset.guidance, [3], scheduler), rtol=0, atol=1e-4)
    assert (image - run_as(sdxl, "noobai-v", [3], steps=4)).abs().max() > 0.05, "SDXL's own prediction is of the noise"


def test_dmd2_runs_as_its_authors_say(sdxl: Path) -> None:
    """tianweiy/DMD2's card: LCMScheduler.from_config, timesteps=[999, 749, 499, 249], guidance_scale=0."""
    from diffusers import LCMScheduler

    reference = theirs(sdxl, None, 0.0, [3, 17], LCMScheduler.from_config, timesteps=[999, 749, 499, 249])
    torch.testing.assert_close(run_as(sdxl, "sdxl-dmd2", [3, 17]), reference, rtol=0, atol=1e-4)


def test_lightning_runs_as_its_authors_say(sdxl: Path) -> None:
    """ByteDance/SDXL-Lightning's card: EulerDiscreteScheduler.from_config(…, timestep_spacing="trailing"),
    guidance_scale=0."""
    from diffusers import EulerDiscreteScheduler

    reference = theirs(
        sdxl, 4, 0.0, [3], lambda config: EulerDiscreteScheduler.from_config(config, timestep_spacing="trailing")
    )
    torch.testing.assert_close(run_as(sdxl, "sdxl-lightning", [3]), reference, rtol=0, atol=1e-4)


def test_other_weights_replace_the_denoisers(sdxl: Path, tmp_path: Path) -> None:
    """As a safetensors file, as the .bin that DMD2's authors publish, and as a folder with a config of its own
    (LCM)."""
    other = save_sdxl(tmp_path / "other")
    state = UNet(other)
    save_file(state, tmp_path / "unet.safetensors")
    torch.save(state, tmp_path / "unet.bin")
    told = save_sdxl(tmp_path / "told", told_guidance=16)
    places = (tmp_path / "unet.safetensors", tmp_path / "unet.bin", other / "unet")
    found = [run_as(sdxl, "sdxl-lightning", [3], weights=weights) for weights in places]
    assert (found[0] - run_as(sdxl, "sdxl-lightning", [3])).abs().max() > 0.01
    for image in found[1:]:
        torch.testing.assert_close(image, found[0])
    assert run_as(sdxl, "sdxl-lcm", [3], weights=told / "unet").isfinite().all()


def test_a_lora_is_fused_as_the_pipeline_fuses_it(sdxl: Path, tmp_path: Path) -> None:
    """Linear layers and convolutions alike, and nothing of the LoRA is left over that sliders would meet."""
    import diffusers
    from peft import LoraConfig

    pipe: Any = diffusers.StableDiffusionXLPipeline.from_pretrained(sdxl)
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_k", "conv1"], init_lora_weights=False))
    pipe.unet.save_lora_adapter(tmp_path, safe_serialization=True)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    state = {f"unet.{name}": value for name, value in load_file(file).items()}
    save_file(state, tmp_path / "unet.safetensors")
    lora = tmp_path / "unet.safetensors"
    backbone = loaded_as(sdxl, "sdxl-lightning", loras=(Lora(lora),))
    assert not [name for name, _ in backbone.denoiser.named_modules() if "lora" in name]
    pipe.unet.fuse_lora()
    fused = {n.replace(".base_layer", ""): p for n, p in pipe.unet.state_dict().items() if "lora_" not in n}
    torch.testing.assert_close(dict(backbone.denoiser.state_dict()), fused, rtol=0, atol=1e-6)
    changed = [name for name, value in UNet(sdxl).items() if not torch.equal(value, fused[name])]
    assert changed and all("to_k" in name or "conv1" in name for name in changed)


def test_a_lora_that_does_not_fit_or_is_missing_is_told(sdxl: Path, tmp_path: Path) -> None:
    foreign = {"unet.mid_block.nowhere.lora_A.weight": torch.zeros(2, 4), "unet.a.lora_B.weight": torch.zeros(4, 2)}
    save_file(foreign, tmp_path / "foreign.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "none.safetensors")
    for name in ("foreign.safetensors", "none.safetensors", "gone.safetensors"):
        with pytest.raises(BadInput, match=name) as told:
            _ = loaded_as(sdxl, "sdxl-lightning", loras=(Lora(tmp_path / name),)).denoiser
        assert len(str(told.value).splitlines()) == 1


def UNet(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("what", ["foreign", "cut", "pickle"])
def test_weights_that_do_not_fit_are_told_in_a_line(sdxl: Path, tmp_path: Path, what: str) -> None:
    file = tmp_path / ("w.bin" if what == "pickle" else "w.safetensors")
    if what == "foreign":
        save_file({"a": torch.zeros(2)}, file)
    elif what == "cut":
        file.write_bytes(b"1234")
    else:
        torch.save({"a": PRESETS}, file)  # objects, not tensors: the restricted reader refuses
    with pytest.raises(BadInput) as told:
        run_as(sdxl, "sdxl-lightning", [3], weights=file)
    assert len(str(told.value).splitlines()) == 1


# ---- decoders, sizes, counts


def test_a_small_decoder_stands_in_for_the_vae(sdxl: Path, tmp_path: Path) -> None:
    from diffusers import AutoencoderTiny

    tiny: Any = AutoencoderTiny.from_pretrained(save_small_decoder(tmp_path / "taesd"))
    full, small = (
        load_backbone(str(sdxl), steps=1, guidance=1.0, device="cpu", precision="float32", decoder=d)
        for d in ("full", str(tmp_path / "taesd"))
    )
    z = torch.randn(1, 4, LATENT, LATENT)
    assert small.decode(z).shape == full.decode(z).shape and full.identity != small.identity
    torch.testing.assert_close(small.decode(z), tiny.decode(z).sample / 2 + 0.5)
    images = torch.rand(2, 3, PIXELS, PIXELS)
    # its encoder need not be trained
    torch.testing.assert_close(small.encode_images(images), full.encode_images(images))
    assert not small.draws_apart and not full.draws_apart
    torch.testing.assert_close(small.draw(z), small.decode(z), msg="asked for by name, it draws for people too")


def test_an_image_is_encoded_as_diffusers_does(tiny: Tiny) -> None:
    from diffusers import AutoencoderKL

    backbone = load_backbone(str(tiny.noise), steps=2, guidance=1.0, device="cpu", precision="float32")
    vae: Any = AutoencoderKL.from_pretrained(tiny.noise, subfolder="vae")
    images = torch.rand(2, 3, PIXELS, PIXELS)
    with torch.no_grad():
        expected = vae.encode(images * 2 - 1).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(backbone.encode_images(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["velocity", "noise"])
def test_a_clean_latent_is_noised_as_the_scheduler_does(tiny: Tiny, kind: str) -> None:
    from diffusers import DDIMScheduler

    backbone = load_backbone(str(getattr(tiny, kind)), steps=4, guidance=1.0, device="cpu", precision="float32")
    scheduler: Any = DDIMScheduler.from_pretrained(getattr(tiny, kind), subfolder="scheduler")
    scheduler.set_timesteps(4)
    z, noise = torch.randn(2, 4, 8, 8), backbone.noise([5, 6])
    for index, t in enumerate(scheduler.timesteps):
        expected = scheduler.add_noise(z, noise, t.expand(2))
        torch.testing.assert_close(backbone.diffuse(z, index, [5, 6]), expected, rtol=1e-4, atol=1e-5)


def test_another_size_and_one_that_cannot_be(sdxl: Path) -> None:
    assert ours(sdxl, 1, 1.0, [3], resolution=2 * SIDE).shape[-2:] == (2 * SIDE, 2 * SIDE)
    with pytest.raises(BadInput, match="pixels"):
        load_backbone(str(sdxl), steps=1, device="cpu", resolution=SIDE + 4)


def test_a_picture_that_is_not_square_is_the_pipelines(sdxl: Path) -> None:
    """SDXL is told its height and width."""
    wide = ours(sdxl, 2, 3.0, [3, 17], resolution=(2 * SIDE, SIDE))
    assert wide.shape[-2:] == (SIDE, 2 * SIDE)
    torch.testing.assert_close(wide, theirs(sdxl, 2, 3.0, [3, 17], width=2 * SIDE), rtol=0, atol=1e-4)


def test_a_model_of_pictures_that_are_not_square_keeps_their_size(sdxl: Path, tmp_path: Path) -> None:
    """As in diffusers, the configuration says height and width."""
    wide = changed(sdxl, tmp_path / "wide", "unet/config.json", sample_size=[LATENT, 2 * LATENT])
    drawn = ours(wide, 1, 1.0, [3])
    assert drawn.shape[-2:] == (SIDE, 2 * SIDE)
    torch.testing.assert_close(drawn, theirs(wide, 1, 1.0, [3], width=2 * SIDE), rtol=0, atol=1e-4)


SDXL_CONFIG = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def test_the_published_count_of_sdxls_sliders() -> None:
    """140 modules, 286,720 trained values a slider at rank 1 with the up-projection frozen (paper.md)."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**SDXL_CONFIG)
        bank_layers = target_layers(unet, UNetBackbone.layers["cross-kv"])
    assert len(bank_layers) == 140
    assert sum(layer.in_features for layer in bank_layers.values()) == 286_720


def test_checkpointed_and_plain_gradients_agree(sdxl: Path) -> None:
    """The recomputed forward pass runs in the backward one, and the sliders must still be on there."""
    found: list[list[Tensor]] = []
    for checkpointing in (False, True):
        backbone = load_backbone(
            str(sdxl), steps=2, guidance=5.0, device="cpu", precision="float32", checkpointing=checkpointing
        )
        bank = SliderBank(backbone.denoiser, 2, pattern=backbone.layers["attention"], up="frozen", seed=1)
        rows, x = backbone.encode(["a robot"]).rows([0, 0]), backbone.noise([1, 2])
        with bank.active(torch.eye(2) * 50):
            backbone.decode(backbone.predict(x, torch.tensor([0, 1]), rows)).square().sum().backward()
        found.append([p.grad for p in bank.trained() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 0 and max(float(g.abs().max()) for g in found[0]) > 0
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again, rtol=1e-3, atol=1e-6)


# ---- the table


def test_every_preset_is_whole() -> None:
    for name, preset in PRESETS.items():
        assert name == preset.name and preset.knows and preset.examples and preset.expected and preset.licence, name
        assert preset.steps >= 1 and preset.encoder


def test_a_family_that_is_not_known_lists_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "WuerstchenDecoderPipeline"}))
    with pytest.raises(BadInput, match="StableDiffusionXLPipeline"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_a_folder_of_one_variant_is_read(sdxl: Path, tmp_path: Path, variant: str) -> None:
    folder = Path(shutil.copytree(sdxl, tmp_path / variant))
    for weights in folder.glob("*/*.safetensors"):
        weights.rename(weights.with_suffix(f".{variant}.safetensors"))
    torch.testing.assert_close(ours(folder, 1, 5.0, [3]), ours(sdxl, 1, 5.0, [3]))


@pytest.mark.parametrize("kind", ["EDMDPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_model_of_another_noising_is_refused(sdxl: Path, tmp_path: Path, kind: str) -> None:
    """Playground v2.5 is one; sampled as the others are, it would draw mud and say nothing."""
    folder = changed(sdxl, tmp_path / "other", "scheduler/scheduler_config.json", _class_name=kind)
    with pytest.raises(BadInput, match=f"scheduler is {kind}"):
        load_backbone(str(folder), steps=2, device="cpu")


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_damaged_index_is_told_in_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(BadInput, match="damaged"):
        preset_for(str(tmp_path))


def test_a_folder_takes_its_familys_working_point(sdxl: Path) -> None:
    preset = preset_for(str(sdxl))
    assert (preset.steps, preset.guidance) == SDXLBackbone.full_steps


@pytest.mark.parametrize("model", ["nobody/nothing", "nobody/nothing@v1"])
def test_a_repository_that_cannot_be_reached_is_told_in_a_line(model: str) -> None:
    """The tests run offline: what is not in the cache cannot be had."""
    with pytest.raises(BadInput, match="cannot be reached") as told:
        preset_for(model)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_schedule_is_that_of_the_scheduler_diffusers_makes_of_the_configuration(sampler: str) -> None:
    """Every configuration we ship, with what other schedulers than this one know."""
    import diffusers

    kind, read = SAMPLERS[sampler]
    found = sorted(SHIPPED.rglob("scheduler_config.json"))
    for config in (json.loads(path.read_text()) for path in found):
        theirs = read(getattr(diffusers, kind).from_config(config), 4)
        for mine, reference in zip(vars(schedule_for(sampler, config, 4)).values(), vars(theirs).values(), strict=True):
            assert torch.equal(mine, reference) if isinstance(mine, Tensor) else mine == reference
    assert len(found) > 5
