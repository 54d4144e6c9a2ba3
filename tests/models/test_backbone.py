"""A backbone is the diffusers pipeline, taken apart: the same tables, the same x̃₀, the same image."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import Tiny
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.method.denoise import render
from sliderspace.models.backbones import PRESETS, Backbone, preset_for
from sliderspace.models.backbones.flow import clean_from_flow
from sliderspace.models.backbones.unet import clean_from_noise, clean_from_velocity
from sliderspace.models.device import device_for
from sliderspace.models.identity import weights_digest
from sliderspace.models.load import load_backbone

Spoil = Callable[[Path], object]


def load(folder: Path | str, steps: int = 3, guidance: float = 1.0) -> Any:
    return load_backbone(str(folder), steps=steps, guidance=guidance, device="cpu", precision="float32", decoder="full")


def drawn(backbone: Backbone, prompt: str, seeds: list[int], batch: int = 64) -> Tensor:
    """images01 [N, 3, H, W] of our own loop."""
    return torch.cat(list(render(backbone, None, backbone.encode([prompt]), seeds, [0] * len(seeds), batch=batch)))


def reference(
    folder: Path | str, prompt: str, seeds: list[int], steps: int, guidance: float, lora: Path | None = None
) -> Tensor:
    """images01 [N, 3, H, W] of diffusers' own pipeline, which knows nothing of us."""
    pipe = StableDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    if lora is not None:
        pipe.load_lora_weights(lora)
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    size = pipe.unet.config.sample_size * pipe.vae_scale_factor
    out = pipe(
        [prompt] * len(seeds),
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generators,
        output_type="pt",
        height=size,
        width=size,
    )
    return out.images


# ---- x̃₀


@given(seed=st.integers(0, 2**32 - 1), alpha=st.floats(0.02, 1.0))
def test_noise_and_velocity_forms_give_the_same_clean_image(seed: int, alpha: float) -> None:
    random = torch.Generator().manual_seed(seed)
    x0, noise = (torch.randn(2, 4, 3, 3, generator=random, dtype=torch.float64) for _ in range(2))
    a, s = torch.tensor(alpha, dtype=torch.float64), torch.tensor(1 - alpha**2, dtype=torch.float64).sqrt()
    x = a * x0 + s * noise
    for found in (clean_from_noise(x, noise, a, s), clean_from_velocity(x, a * noise - s * x0, a, s)):
        torch.testing.assert_close(found, x0)


@given(seed=st.integers(0, 2**32 - 1), sigma=st.floats(0.0, 1.0))
def test_the_flow_form_gives_the_same_clean_image(seed: int, sigma: float) -> None:
    random = torch.Generator().manual_seed(seed)
    x0, noise = (torch.randn(2, 4, 3, 3, generator=random, dtype=torch.float64) for _ in range(2))
    level = torch.tensor(sigma, dtype=torch.float64)
    torch.testing.assert_close(clean_from_flow((1 - level) * x0 + level * noise, noise - x0, level), x0)


def test_flow_and_noise_forms_agree_on_one_noisy_latent() -> None:
    x0, noise, sigma = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor(0.3)
    x = (1 - sigma) * x0 + sigma * noise
    torch.testing.assert_close(clean_from_flow(x, noise - x0, sigma), clean_from_noise(x, noise, 1 - sigma, sigma))


@pytest.mark.parametrize("kind", ["velocity", "noise"])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_predictions_and_steps_are_the_schedulers_own(tiny: Tiny, kind: str, steps: int) -> None:
    """diffusers' DDIM step says what x̃₀ and the next latents are, from the same network output."""
    folder = getattr(tiny, kind)
    backbone = load(folder, steps)
    scheduler: Any = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(steps)
    rows, x = backbone.encode(["a robot"]).rows([0, 0]), backbone.start([3, 4])
    for index, t in enumerate(scheduler.timesteps):
        with torch.no_grad():
            network = backbone.denoiser(x, t, rows.texts["states"]).sample
            x0 = backbone.predict(x, torch.full((2,), index), rows)
        theirs = scheduler.step(network, t, x)
        last = index == steps - 1  # there the preview is the image, which seven steps leave at ᾱ of time 0
        shown = theirs.prev_sample if last else theirs.pred_original_sample
        torch.testing.assert_close(x0, shown, rtol=1e-4, atol=1e-4)
        x = backbone.step(x, x0, index, [3, 4])
        torch.testing.assert_close(x, theirs.prev_sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["velocity", "noise"])
def test_after_the_last_step_the_latents_are_the_clean_image(tiny: Tiny, kind: str) -> None:
    backbone = load(getattr(tiny, kind))
    x, rows = backbone.noise([5]), backbone.encode(["a robot"]).rows([0])
    with torch.no_grad():
        for index in range(backbone.steps):
            x0 = backbone.predict(x, torch.tensor([index]), rows)
            x = backbone.step(x, x0, index, [3, 4])
            assert torch.equal(x, x0) == (index == backbone.steps - 1)


def test_rows_may_be_at_different_steps(backbone: Backbone) -> None:
    """Training mixes steps in one batch, and a row must be what it would be alone at its step."""
    x, rows = backbone.noise([1, 2, 3]), backbone.encode(["a robot"]).rows([0, 0, 0])
    with torch.no_grad():
        mixed = backbone.predict(x, torch.tensor([2, 0, 1]), rows)
        alone = [backbone.predict(x[i : i + 1], torch.tensor([t]), rows.rows([0])) for i, t in enumerate([2, 0, 1])]
    torch.testing.assert_close(mixed, torch.cat(alone), rtol=1e-4, atol=1e-4)


# ---- the whole loop


@pytest.mark.parametrize("kind", ["velocity", "noise"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_our_image_is_the_pipelines_image(tiny: Tiny, kind: str, guidance: float) -> None:
    folder, seeds = getattr(tiny, kind), [17, 3]
    ours = drawn(load(folder, steps=5, guidance=guidance), "a robot", seeds)
    torch.testing.assert_close(ours, reference(folder, "a robot", seeds, 5, guidance), rtol=0, atol=2e-4)


def test_guidance_changes_the_image(tiny: Tiny) -> None:
    """Or the test above would hold for a loop that ignores it."""
    one, three = (drawn(load(tiny.velocity, guidance=g), "a robot", [17]) for g in (1.0, 3.0))
    assert (one - three).abs().max() > 0.01


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_on_the_shipped_model_our_image_is_the_pipelines_image(guidance: float) -> None:
    folder, prompt = PRESETS["mini"].folder, PRESETS["mini"].examples[0]
    ours = drawn(load("mini", steps=8, guidance=guidance), prompt, [17])
    torch.testing.assert_close(ours, reference(folder, prompt, [17], 8, guidance), rtol=0, atol=2e-3)


def test_the_distilled_model_is_the_pipelines_with_its_lora() -> None:
    """The shipped folder with the file that `load_lora_weights` reads; without the file it is another model."""
    preset = PRESETS["mini-turbo"]
    prompt, theirs = preset.examples[0], reference(preset.folder, preset.examples[0], [17], 4, 1.0, preset.lora_file)
    torch.testing.assert_close(drawn(load("mini-turbo", steps=4), prompt, [17]), theirs, rtol=0, atol=2e-3)
    assert preset.steps == 4 and (drawn(load("mini", steps=4), prompt, [17]) - theirs).abs().max() > 0.05


def test_the_shipped_parts_load_by_the_ordinary_calls() -> None:
    from transformers import CLIPTokenizer, VisionTextDualEncoderModel

    folder = PRESETS["mini"].folder.parent
    clip: Any = VisionTextDualEncoderModel.from_pretrained(folder / "clip", use_safetensors=True)
    words: Any = CLIPTokenizer.from_pretrained(folder / "clip")
    tokens = words(list(PRESETS["mini"].examples), padding=True, return_tensors="pt")
    assert clip.get_text_features(**tokens).pooler_output.isfinite().all()
    assert len(PRESETS["mini"].knows) > 20


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_seed_17_is_the_same_image_in_any_batch(backbone: Backbone, batch: int) -> None:
    alone = drawn(backbone, "a robot", [17])
    for seeds in ([17, 1, 2, 3, 4], [9, 8, 7, 17, 5]):
        torch.testing.assert_close(
            drawn(backbone, "a robot", seeds, batch)[seeds.index(17)], alone[0], rtol=0, atol=1e-4
        )


def test_noise_is_a_function_of_the_seed_alone(backbone: Backbone) -> None:
    random = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(17))
    assert torch.equal(backbone.noise([4, 17])[1:], random)
    assert not torch.equal(backbone.noise([4])[0], backbone.noise([17])[0])


# ---- prompts


def test_each_row_shows_its_prompt(backbone: Backbone) -> None:
    both = backbone.encode(["a robot", "a person"])
    rows = both.rows([1, 0, 1])
    assert torch.equal(rows.texts["states"][1], both.texts["states"][0])
    torch.testing.assert_close(rows.texts["states"][2], backbone.encode(["a person"]).texts["states"][0])


@pytest.mark.parametrize(
    ("prompt", "why"), [("", "empty"), ("  \n", "empty"), ("a very long prompt indeed, too long", "tokens")]
)
def test_prompts_that_cannot_be_drawn(backbone: Backbone, prompt: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        backbone.encode([prompt])


# ---- loading


def _cut(name: str) -> Spoil:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:1000])


def _drop(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


WEIGHTS = "diffusion_pytorch_model.safetensors"
SPOILED: dict[str, Spoil] = {
    "unet cut short": _cut(f"unet/{WEIGHTS}"),
    "vae cut short": _cut(f"vae/{WEIGHTS}"),
    "text cut short": _cut("text_encoder/model.safetensors"),
    "no unet weights": _drop(f"unet/{WEIGHTS}"),
    "no text config": _drop("text_encoder/config.json"),
    "no scheduler": _drop("scheduler/scheduler_config.json"),
    "no tokenizer": lambda folder: shutil.rmtree(folder / "tokenizer"),
    "config is not JSON": lambda folder: (folder / "unet/config.json").write_text("{"),
    "another network's weights": lambda folder: shutil.copy(folder / "vae" / WEIGHTS, folder / "unet" / WEIGHTS),
    "predicts samples": lambda folder: _edit(folder / "scheduler/scheduler_config.json", '"v_prediction"', '"sample"'),
}


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("what", SPOILED)
def test_a_damaged_pipeline_is_told_in_a_line(tiny: Tiny, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.velocity, folder)
    SPOILED[what](folder)
    with pytest.raises(BadInput) as told:
        drawn(load(folder), "a robot", [1])  # parts are read when first needed
    assert len(str(told.value).splitlines()) <= 2


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(BadInput, match="mini"):
        preset_for("nonesuch")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "warp-drive", "", "cpu:x"])
def test_devices_that_are_not_here(device: str) -> None:
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(BadInput):
        device_for(device)


def test_what_decides_the_image_decides_the_identity(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.velocity, folder)
    as_it_is = load(tiny.velocity).identity
    assert load(folder).identity == as_it_is, "a copy elsewhere is the same model"
    others = [load(tiny.velocity, steps=4), load(tiny.velocity, guidance=2.0), load(tiny.noise)]
    assert len({as_it_is, *(b.identity for b in others)}) == 4


def test_one_changed_byte_changes_the_digest(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.clip, folder)
    before, weights = weights_digest(folder), folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert weights_digest(folder) != before
