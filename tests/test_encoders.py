"""An encoder takes images in [0, 1] and is transformers' own processor and tower; discovery and training share it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoImageProcessor, CLIPVisionModelWithProjection, Dinov2Model

from sliderspace.backbones import PRESETS, Backbone
from sliderspace.encoders import Encoder, load_encoder
from sliderspace.errors import BadInput

SIZES = [(32, 32), (33, 33), (64, 64), (17, 41), (41, 17), (49, 98), (98, 49), (37, 120), (256, 255)]
# What preprocessor_config.json files in the wild say of the size.
RECIPES: dict[str, dict[str, Any]] = {
    "as it is": {}, "size as a number": {"size": 32}, "bilinear": {"resample": 2},
    "resized beyond the crop": {"size": {"shortest_edge": 40}},
    "to a square": {"size": {"height": 32, "width": 32}},
    "to a square without a crop": {"size": {"height": 32, "width": 32}, "do_center_crop": False},
}


def load(folder: Path) -> Encoder:
    return load_encoder(folder, identity="test", device=torch.device("cpu"), dtype=torch.float32)


def pictures(height: int, width: int, count: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [N, H, W, 3] with edges, flat parts and noise."""
    rng = np.random.default_rng(height * 1000 + width)
    coarse = rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3)).repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def as01(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def reference(folder: Path, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """φ by transformers alone, as its documentation does it."""
    pixels = AutoImageProcessor.from_pretrained(folder)(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        if json.loads((folder / "config.json").read_text())["model_type"] == "dinov2":
            z = Dinov2Model.from_pretrained(folder, dtype=torch.float32)(pixel_values=pixels).last_hidden_state[:, 0]
        else:
            z = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32)(pixel_values=pixels).image_embeds
    return torch.nn.functional.normalize(z, dim=-1)


def far(ours: Tensor, theirs: Tensor) -> float:
    """Mean difference of an entry. Theirs is rounded to 256 levels after resizing, so single entries differ by a little more."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().mean())


@pytest.fixture(scope="module", params=["clip", "dino"])
def folder(tiny: Tiny, request: pytest.FixtureRequest) -> Path:
    return getattr(tiny, request.param)


# ---- one path, the reference's

@pytest.mark.parametrize("size", SIZES, ids=str)
def test_embeddings_are_the_reference_processors(folder: Path, size: tuple[int, int]) -> None:
    images = pictures(*size)
    assert far(load(folder)(as01(images)), reference(folder, images)) < 1e-3


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [(32, 32), (41, 57), (57, 41)], ids=str)
def test_every_kind_of_preprocessing(tiny: Tiny, tmp_path: Path, recipe: str, size: tuple[int, int]) -> None:
    folder = changed(tiny.clip, tmp_path, RECIPES[recipe])
    images = pictures(*size)
    assert far(load(folder)(as01(images)), reference(folder, images)) < 1e-3


def test_every_width_a_picture_can_have(tiny: Tiny) -> None:
    """The longer side is rounded down: one pixel more moves the crop."""
    encoder, processor = load(tiny.clip), AutoImageProcessor.from_pretrained(tiny.clip, do_center_crop=False)
    wrong = [(h, w) for h in range(5, 60, 3) for w in range(h, 200, 7) if encoder.resized_to(h, w) != _resized(processor, h, w)]
    assert wrong == []


def _resized(processor: Any, height: int, width: int) -> tuple[int, int]:
    out = processor(images=np.zeros((height, width, 3), np.uint8), return_tensors="np")["pixel_values"]
    return out.shape[-2], out.shape[-1]


def test_the_shipped_encoder_too() -> None:
    folder, images = PRESETS["mini"].folder / "clip", pictures(64, 64)
    assert far(load(folder)(as01(images)), reference(folder, images)) < 1e-3


def changed(folder: Path, to: Path, steps: dict[str, Any]) -> Path:
    """A copy of an encoder folder with other preprocessing."""
    copy = to / "encoder"
    shutil.copytree(folder, copy)
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | steps))
    return copy


# ---- what follows from it

def test_vectors_have_unit_length_and_a_known_dimension(folder: Path) -> None:
    encoder = load(folder)
    z = encoder(as01(pictures(50, 40)))
    assert z.shape == (3, encoder.dim) and z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones(3))


def test_a_picture_in_another_range_is_another_picture(encoder: Encoder) -> None:
    """The released program embedded [-1, 1] with constants meant for [0, 1]: that must show, so that other tests would see it."""
    x = as01(pictures(32, 32))
    assert (encoder(x) - encoder(x * 2 - 1)).norm(dim=1).min() > 0.05


def test_values_out_of_range_look_clipped_and_still_learn(encoder: Encoder) -> None:
    x = (as01(pictures(32, 32)) * 3 - 1).requires_grad_()
    z = encoder(x)
    torch.testing.assert_close(z, encoder(x.detach().clamp(0, 1)))
    z[:, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[x.detach() > 1].abs().max() > 0 and x.grad[x.detach() < 0].abs().max() > 0


def test_the_gradient_is_the_finite_difference(encoder: Encoder) -> None:
    x = as01(pictures(40, 40, 1)).double() * 0.4 + 0.3  # away from where the clamp bends
    encoder = load_like(encoder, torch.float64)
    x.requires_grad_()
    encoder(x)[0, 0].backward()
    bump = torch.randn_like(x)
    with torch.no_grad():
        slope = (encoder(x + 1e-3 * bump)[0, 0] - encoder(x - 1e-3 * bump)[0, 0]).double() / 2e-3
    assert x.grad is not None
    torch.testing.assert_close((x.grad * bump).sum(), slope, rtol=0.05, atol=1e-4)


def load_like(encoder: Encoder, dtype: torch.dtype) -> Encoder:
    """The same weights in another precision."""
    import copy

    other = copy.deepcopy(encoder)
    other.tower, other.dtype = other.tower.to(dtype), dtype
    return other


def test_the_weights_are_frozen(encoder: Encoder) -> None:
    assert not any(p.requires_grad for p in encoder.parameters())


def test_batch_size_changes_nothing(encoder: Encoder) -> None:
    x = as01(pictures(32, 32, 6))
    torch.testing.assert_close(encoder(x), torch.cat([encoder(row) for row in x.split(1)]), rtol=0, atol=1e-5)


def test_a_backbones_decoder_gives_the_range_an_encoder_takes(backbone: Backbone) -> None:
    """decode maps the VAE's [-1, 1] to [0, 1]: the middle of the one is the middle of the other."""
    latents = torch.randn(4, 4, 8, 8)
    with torch.no_grad():
        raw = backbone.vae.decode(latents / backbone.vae.config.scaling_factor).sample  # pyright: ignore[reportAttributeAccessIssue]
        torch.testing.assert_close(backbone.decode(latents), (raw + 1) / 2, rtol=1e-4, atol=1e-4)


# ---- folders that are no encoders

def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def _without_a_layer(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if n.endswith("layer_norm1.weight") and "vision" in n)
    save_file({n: t for n, t in tensors.items() if n != name}, folder / "model.safetensors", metadata={"format": "pt"})


SPOILED: dict[str, Callable[[Path], object]] = {
    "weights cut short": _cut, "no weights": lambda f: (f / "model.safetensors").unlink(),
    "weights are text": _write("model.safetensors", "hello"),
    "a layer is missing": _without_a_layer, "no config": lambda f: (f / "config.json").unlink(),
    "config is not JSON": _write("config.json", "{"),
    "config is a list": _write("config.json", "[1]"), "another family": _write("config.json", '{"model_type": "bert"}'),
    "no preprocessor": lambda f: (f / "preprocessor_config.json").unlink(), "empty preprocessor": _write("preprocessor_config.json", "{}"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_damaged_encoder_is_told_in_a_line(tiny: Tiny, tmp_path: Path, what: str) -> None:
    folder = changed(tiny.clip, tmp_path, {})
    SPOILED[what](folder)
    with pytest.raises(BadInput) as told:
        load(folder)
    assert len(str(told.value).splitlines()) <= 2 and len(str(told.value)) > 20


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no encoder"):
        load(tmp_path / "nothing")
