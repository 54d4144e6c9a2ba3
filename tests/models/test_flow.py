"""FLUX and Z-Image against the diffusers pipelines themselves, at toy size; slider targets also at full size, without
weights."""

import gc
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_flow import FULL_FLUX, FULL_ZIMAGE, PIXELS, save_flux, save_zimage
from support.tiny_today import save_flux2, save_krea2, save_qwen_image, save_sd3
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.method.denoise import render
from sliderspace.method.sliders import SliderBank, target_layers
from sliderspace.models.backbones.flow import FlowBackbone, clean_from_flow
from sliderspace.models.backbones.flux import FluxBackbone
from sliderspace.models.backbones.flux2 import Flux2KleinBackbone
from sliderspace.models.backbones.krea2 import Krea2Backbone
from sliderspace.models.backbones.pipeline import Setup
from sliderspace.models.backbones.qwen_image import QwenImageBackbone
from sliderspace.models.backbones.samplers import Schedule
from sliderspace.models.backbones.sd3 import SD3Backbone
from sliderspace.models.backbones.zimage import ZImageBackbone

PROMPTS, SEEDS = ["a robot in the rain, with an umbrella", "a cat"], [3, 4]
CLASSES: dict[str, type[FlowBackbone]] = {
    "schnell": FluxBackbone,
    "dev": FluxBackbone,
    "zimage": ZImageBackbone,
    "sd3": SD3Backbone,
    "qwen": QwenImageBackbone,
    "klein": Flux2KleinBackbone,
    "krea2": Krea2Backbone,
    "krea2 turbo": Krea2Backbone,
}
# One of each class; what has another number of steps, or no guidance, is the same code.
TWINS = ("schnell", "krea2 turbo")
CODE = [pytest.param(name, marks=pytest.mark.families) if name in TWINS else name for name in CLASSES]
UNREAD = {  # what the last block makes of the text goes nowhere
    "sd3": r"transformer_blocks\.1\.attn\.add_q_proj",
    "qwen": r"transformer_blocks\.1\.(attn\.(add_q_proj|to_add_out)|txt_mlp\..+)",
}
TARGETS = ("cross-kv", "cross", "attention", "linear")


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one pipeline folder for each name in CLASSES."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("flows")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_flux(root / "schnell", dev=False)
        save_flux(root / "dev", dev=True)
        save_zimage(root / "zimage")
        save_sd3(root / "sd3")
        save_qwen_image(root / "qwen")
        save_flux2(root / "klein", distilled=False)
        save_krea2(root / "krea2", distilled=False)
        save_krea2(root / "krea2 turbo", distilled=True)
    return root


def load(
    flows: Path, name: str, *, steps: int = 4, guidance: float = 1.0, dtype: Any = torch.float32, **other: Any
) -> FlowBackbone:
    where = {"device": torch.device("cpu"), "dtype": dtype, "resolution": PIXELS, **other}
    return CLASSES[name](flows / name, Setup(name, name, steps, guidance, **where))


def pipeline(flows: Path, name: str) -> Any:
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(flows / name)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noisy(backbone: FlowBackbone, steps: list[int]) -> tuple[Tensor, Tensor, Any]:
    """Latents, steps and conditions of two rows."""
    return backbone.start(SEEDS), torch.tensor(steps), backbone.encode(PROMPTS)


# ---- the same images as diffusers

SCHNELL = {"max_sequence_length": 256, "guidance_scale": 0.0}
CASES = {  # our model, steps and guidance; what the pipeline calls the same
    "schnell": ("schnell", 4, 1.0, SCHNELL),
    "schnell, true guidance": ("schnell", 2, 2.5, {**SCHNELL, "true_cfg_scale": 2.5, "negative_prompt": ["", ""]}),
    "dev": ("dev", 5, 3.5, {"guidance_scale": 3.5}),
    "dev, told no guidance": ("dev", 2, 1.0, {"guidance_scale": 1.0}),
    "z-image turbo": ("zimage", 8, 1.0, {"guidance_scale": 0.0}),
    "z-image": ("zimage", 3, 5.0, {"guidance_scale": 4.0}),
    "sd 3.5": ("sd3", 3, 4.5, {"guidance_scale": 4.5}),
    "qwen-image": ("qwen", 3, 4.0, {"true_cfg_scale": 4.0, "negative_prompt": ["", ""]}),
    "flux.2 klein base": ("klein", 3, 4.0, {"guidance_scale": 4.0}),
    "flux.2 klein": ("klein", 4, 1.0, {"guidance_scale": 1.0}),
    "krea 2 raw": ("krea2", 3, 5.5, {"guidance_scale": 4.5}),
    "krea 2 turbo": ("krea2 turbo", 3, 1.0, {"guidance_scale": 0.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_the_pipeline(flows: Path, case: str) -> None:
    name, steps, guidance, call = CASES[case]
    backbone = load(flows, name, steps=steps, guidance=guidance)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    theirs = pipeline(flows, name)(
        prompt=list(PROMPTS),
        height=PIXELS,
        width=PIXELS,
        num_inference_steps=steps,
        generator=generators,
        output_type="pt",
        **call,
    ).images
    ours = torch.cat(list(render(backbone, None, backbone.encode(PROMPTS), SEEDS, [0, 1])))
    assert ours.shape == (2, 3, PIXELS, PIXELS)
    assert (ours - theirs).abs().max() <= 1e-4


@pytest.mark.families
@pytest.mark.parametrize("case", [case for case in CASES if "guidance" not in case])
def test_pictures_that_are_not_square_are_those_of_the_pipeline(flows: Path, case: str) -> None:
    name, _, guidance, call = CASES[case]
    backbone = load(flows, name, steps=2, guidance=guidance, resolution=(2 * PIXELS, PIXELS))
    ours = torch.cat(list(render(backbone, None, backbone.encode(PROMPTS), SEEDS, [0, 1])))
    generator = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    shape = {"height": PIXELS, "width": 2 * PIXELS, "num_inference_steps": 2, "output_type": "pt"}
    theirs = pipeline(flows, name)(prompt=list(PROMPTS), generator=generator, **shape, **call).images
    assert ours.shape == (2, 3, PIXELS, 2 * PIXELS) and (ours - theirs).abs().max() <= 1e-4


def test_clean_from_flow_inverts_the_noising() -> None:
    clean, noise, sigma = torch.randn(3, 2), torch.randn(3, 2), torch.tensor([[0.1], [0.5], [1.0]])
    assert torch.allclose(clean_from_flow((1 - sigma) * clean + sigma * noise, noise - clean, sigma), clean, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_the_last_preview_is_the_image(flows: Path, name: str) -> None:
    backbone = load(flows, name, steps=2)
    x, last, condition = noisy(backbone, [1, 1])
    x0 = backbone.predict(x, last, condition)
    assert torch.equal(backbone.step(x, x0, 1, SEEDS), x0)


def test_noise_levels_are_the_published_ones(flows: Path) -> None:
    """schnell: even. dev at 1024 pixels: μ = 1.15, at 256 pixels 0.5. Z-Image: shift 3."""

    def shifted(factor: float, steps: int) -> list[float]:
        even = [1 - i / steps for i in range(steps)]
        return [factor * s / (1 + (factor - 1) * s) for s in even]

    def levels(schedule: Schedule) -> Any:
        return pytest.approx(schedule.s_T.tolist(), abs=1e-6)

    assert levels(load(flows, "schnell").schedule) == [1.0, 0.75, 0.5, 0.25]
    # The toy VAE shrinks by 4, not by 8: 512 toy pixels are as many patches as 1024 real ones.
    assert levels(load(flows, "dev", steps=28, resolution=512).schedule) == shifted(math.exp(1.15), 28)
    assert levels(load(flows, "dev", steps=28, resolution=128).schedule) == shifted(math.exp(0.5), 28)
    assert levels(load(flows, "zimage", steps=8).schedule) == shifted(3.0, 8)


# ---- x̃₀ as training needs it


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", CODE)
def test_a_row_does_not_depend_on_its_company(flows: Path, name: str, guidance: float) -> None:
    backbone = load(flows, name, guidance=guidance)
    x, steps, condition = noisy(backbone, [0, 3])
    both = backbone.predict(x, steps, condition)
    alone = [backbone.predict(x[i : i + 1], steps[i : i + 1], condition.rows([i])) for i in (0, 1)]
    assert torch.allclose(both, torch.cat(alone), atol=1e-5)
    assert (backbone.predict(x, steps.flip(0), condition) - both).abs().amin(0).max() > 1e-2, (
        "each row has its own step"
    )
    assert (backbone.predict(x, steps, condition.rows([1, 0])) - both).abs().amin(0).max() > 1e-2, "and its own prompt"


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("name", CODE)
def test_a_row_gets_its_own_sliders_whatever_the_model_makes_of_the_batch(flows: Path, name: str, targets: Any) -> None:
    backbone = load(flows, name, guidance=3.0)
    bank = SliderBank(backbone.denoiser, 3, pattern=backbone.layers[targets], up="frozen")
    x, steps, condition = noisy(backbone, [0, 3])
    s_BK = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.5, -20.0]])
    with torch.no_grad():
        with bank.active(s_BK):
            both = backbone.predict(x, steps, condition)
        alone: list[Tensor] = []
        for i in (0, 1):
            with bank.active(s_BK[i : i + 1]):
                alone.append(backbone.predict(x[i : i + 1], steps[i : i + 1], condition.rows([i])))
        base = backbone.predict(x, steps, condition)
    assert (both - base).abs().flatten(1).amax(1).min() > 5e-4
    assert torch.allclose(both, torch.cat(alone), atol=1e-4)


@pytest.mark.parametrize("name", CODE)
def test_gradients_reach_latents_and_every_target_layer(flows: Path, name: str) -> None:
    backbone = load(flows, name, guidance=2.0)
    bank = SliderBank(backbone.denoiser, 2, pattern=backbone.layers["linear"])
    assert all(target_layers(backbone.denoiser, backbone.layers[t]).keys() <= bank.layers.keys() for t in TARGETS)
    x, steps, condition = noisy(backbone, [0, 2])
    x.requires_grad_()
    with bank.active(torch.eye(2)):
        backbone.decode(backbone.predict(x, steps, condition)).square().sum().backward()
    assert x.grad is not None and (x.grad.abs().flatten(1).amax(1) > 1e-3).all()
    assert bank.ups.grad is not None
    moved = bank.ups.grad.abs().split(bank.outputs, -1)
    still = [
        path
        for path, up in zip(bank.layers, moved, strict=True)
        if not (up.flatten(1).amax(1) > 1e-7).all() and not re.fullmatch(UNREAD.get(name, ""), path)
    ]
    assert still == []
    assert all(p.grad is None for p in backbone.denoiser.parameters())


@pytest.mark.parametrize("name", CODE)
def test_checkpointed_and_plain_gradients_agree(flows: Path, name: str) -> None:
    gradients: list[Tensor] = []
    for checkpointing in (False, True):
        backbone = load(flows, name, guidance=2.0, checkpointing=checkpointing)
        assert backbone.denoiser.is_gradient_checkpointing is checkpointing
        bank = SliderBank(backbone.denoiser, 2, pattern=backbone.layers["attention"], up="frozen", seed=5)
        x, steps, condition = noisy(backbone, [1, 3])
        with bank.active(torch.tensor([[1.0, 0.0], [0.5, -2.0]])):
            backbone.decode(backbone.predict(x, steps, condition)).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in bank.trained() if p.grad is not None]))
    plain, checkpointed = gradients
    assert plain.abs().max() > 1e-6
    assert torch.allclose(plain, checkpointed, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", CODE)
def test_half_precision_keeps_previews_in_float32(flows: Path, name: str) -> None:
    whole, half = load(flows, name, guidance=2.0), load(flows, name, guidance=2.0, dtype=torch.bfloat16)
    x0 = half.predict(*noisy(half, [0, 3]))
    assert x0.dtype == torch.float32
    assert (x0 - whole.predict(*noisy(whole, [0, 3]))).abs().max() < 0.2


# ---- slider targets


def full_size(kind: str) -> Any:
    import diffusers

    with torch.device("meta"):
        return getattr(diffusers, kind).from_config(FULL_FLUX if kind == "FluxTransformer2DModel" else FULL_ZIMAGE)


# Rank 1 with the up-projection frozen: one row of the model's width (3072, 3840) for each layer.
COUNTS = [
    (FluxBackbone, "cross-kv", 114, 350_208),  # 19 x 2 and 38 x 2
    (FluxBackbone, "cross", 190, 583_680),  # 19 x 4 and 38 x 3
    (FluxBackbone, "attention", 266, 817_152),  # 19 x 8 and 38 x 3
    (ZImageBackbone, "cross-kv", 60, 230_400),  # 30 x 2
    (ZImageBackbone, "cross", 120, 460_800),  # 30 x 4
    (ZImageBackbone, "attention", 136, 522_240),  # 34 x 4
]


@pytest.mark.parametrize(("family", "targets", "modules", "values"), COUNTS)
def test_targets_at_full_size(family: type[FlowBackbone], targets: Any, modules: int, values: int) -> None:
    model, pattern = full_size(family.denoiser_class), family.layers[targets]
    assert len(target_layers(model, pattern)) == modules
    assert SliderBank(model, 1, pattern=pattern, up="frozen").values_per_slider() == values
    assert (
        SliderBank(model, 1, pattern=pattern, up="trained").values_per_slider() == 2 * values
    )  # all of them are square


def test_attention_targets_leave_nothing_of_attention_out() -> None:
    """Every linear layer inside a module named for attention."""
    for family, word in ((FluxBackbone, ".attn."), (ZImageBackbone, ".attention.")):
        model = full_size(family.denoiser_class)
        linear = {
            name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and word in name
        }
        assert set(target_layers(model, family.layers["attention"])) == linear


# ---- text, autoencoder, what users get wrong


def test_text_encoders_are_let_go_of(flows: Path) -> None:
    from transformers import PreTrainedModel

    def alive() -> int:
        gc.collect()
        return sum(isinstance(o, PreTrainedModel) for o in gc.get_objects())

    before = alive()
    kept = [load(flows, name) for name in CLASSES]
    conditions = [backbone.encode(PROMPTS) for backbone in kept]
    assert alive() == before and len(conditions) == len(CLASSES)


@pytest.mark.parametrize("name", CODE)
def test_a_prompt_reads_the_same_in_any_company(flows: Path, name: str) -> None:
    """Twenty prompts are more than one batch of the text encoder."""
    backbone = load(flows, name)
    many = backbone.encode([*(f"{'very ' * (i % 5)}old man {i}" for i in range(19)), "a cat"])
    one = backbone.encode(["a cat"])
    assert len(many) == 20
    x, first = backbone.start([3]), torch.tensor([0])
    assert torch.allclose(backbone.predict(x, first, many.rows([19])), backbone.predict(x, first, one), atol=1e-5)


def test_autoencoder_scale_and_shift_cancel(flows: Path) -> None:
    backbone, images01 = load(flows, "schnell"), torch.rand(2, 3, PIXELS, PIXELS)
    z, plain = backbone.encode_images(images01), backbone.vae.encode(images01 * 2 - 1).latent_dist.mean
    assert z.shape == (2, *backbone.latent_shape)
    assert torch.allclose(z, (plain - 0.1159) * 0.3611, atol=1e-6)
    assert torch.allclose(backbone.decode(z), backbone.vae.decode(plain).sample / 2 + 0.5, atol=1e-5)


# A letter is a token; T5 adds two of its own, the chat around a prompt has 19.
def test_one_frame_is_decoded_and_encoded_as_a_video_of_one(flows: Path) -> None:
    """Without the clamp of diffusers' decoder, which would cut the gradient of whatever lies outside."""
    from diffusers import AutoencoderKLQwenImage

    backbone, vae = load(flows, "qwen"), AutoencoderKLQwenImage.from_pretrained(flows / "qwen", subfolder="vae")
    mean, deviation = (torch.tensor(vae.config[f"latents_{of}"]).view(1, -1, 1, 1) for of in ("mean", "std"))
    for model in (backbone.vae, vae):
        model.decoder.conv_out.weight.data *= 20
    z = backbone.start(SEEDS).requires_grad_()
    ours, theirs = backbone.decode(z), vae.decode((z * deviation + mean).unsqueeze(2)).sample[:, :, 0] / 2 + 0.5
    outside = (theirs == 0) | (theirs == 1)
    assert 0.05 < outside.float().mean() < 0.95
    assert (ours.clamp(0, 1) - theirs).abs().max() <= 1e-5
    reached = torch.autograd.grad(ours[outside].abs().sum(), z, retain_graph=True)[0]
    cut = torch.autograd.grad(theirs[outside].abs().sum(), z)[0]
    assert reached.abs().max() > 0 and not cut.any()
    seen = vae.encode((theirs * 2 - 1).unsqueeze(2)).latent_dist.mean[:, :, 0]
    assert torch.allclose(backbone.encode_images(theirs), (seen - mean) / deviation, atol=1e-4)


@pytest.mark.parametrize(("name", "letters"), [("schnell", 254), ("dev", 510), ("zimage", 493), ("sd3", 254)])
def test_prompts_are_read_to_their_end_or_refused(flows: Path, name: str, letters: int) -> None:
    backbone = load(flows, name)
    backbone.encode(["x" * letters])
    with pytest.raises(BadInput, match=r"tokens and .* reads"):
        backbone.encode(["a cat", "x" * (letters + 1)])
    with pytest.raises(BadInput, match="prompt is empty"):
        backbone.encode(["a cat", " "])


def test_noise_levels_of_sd3_are_shifted_with_the_size_where_its_folder_says_so(flows: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(flows / "sd3", tmp_path / "sd3"))
    said = folder / "scheduler" / "scheduler_config.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "use_dynamic_shifting": True}))
    pipe = pipeline(tmp_path, "sd3")
    pipe("a cat", height=PIXELS, width=PIXELS, num_inference_steps=4, output_type="latent")
    torch.testing.assert_close(load(tmp_path, "sd3").schedule.time_T, pipe.scheduler.timesteps)


def test_noise_is_drawn_anew_where_the_folder_says_so(flows: Path, tmp_path: Path) -> None:
    """As few-step models of the consistency kind are sampled."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    folder = Path(shutil.copytree(flows / "sd3", tmp_path / "sd3"))
    said = folder / "scheduler" / "scheduler_config.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "stochastic_sampling": True}))
    ours, theirs = load(tmp_path, "sd3", steps=3), FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    theirs.set_timesteps(3)
    x, v = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        stepped: Any = theirs.step(v, theirs.timesteps[0], x)
        torch.manual_seed(2)
        noise = torch.randn_like(x)
    own = ours.schedule.step(x, clean_from_flow(x, v, ours.schedule.s_T[0]), 0) + ours.schedule.fresh_T[0] * noise
    torch.testing.assert_close(own, stepped.prev_sample)
    assert ours.schedule.fresh_T[-1] == 0


def test_sd3_has_places_for_so_many_pixels(flows: Path) -> None:
    most = 24 * 2 * 4  # of its configuration, in patches of latents
    assert load(flows, "sd3", resolution=(most, PIXELS)).image_size == (most, PIXELS)
    with pytest.raises(BadInput, match=f"places for {most} pixels"):
        load(flows, "sd3", resolution=(most + 8, PIXELS))


def test_bad_settings_are_explained(flows: Path) -> None:
    with pytest.raises(BadInput, match="multiple of 8"):
        load(flows, "schnell", resolution=36)
    with pytest.raises(BadInput, match="leave 'lcm' out"):
        load(flows, "zimage", sampler="lcm")
    assert load(flows, "zimage", resolution=64).latent_shape == (4, 16, 16)
