"""An encoder takes images in [0, 1] and is transformers' own processor and tower; discovery and training share it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.tiny import Tiny
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, CLIPVisionModelWithProjection

from sliderspace.core.errors import BadInput
from sliderspace.models import sources
from sliderspace.models.backbones import PRESETS, Backbone
from sliderspace.models.encoders import ENCODERS, Encoder, catalogue, find_encoder, load_encoder, towers
from sliderspace.models.encoders.base import Preprocessing
from sliderspace.models.encoders.judge import Judge
from sliderspace.models.identity import identity_of
from sliderspace.models.load import encoder_at

SIZES = [(32, 32), (33, 33), (64, 64), (17, 41), (41, 17), (49, 98), (98, 49), (37, 120), (256, 255)]
# What preprocessor_config.json files in the wild say of the size.
RECIPES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "size as a number": {"size": 32},
    "bilinear": {"resample": 2},
    "resized beyond the crop": {"size": {"shortest_edge": 40}},
    "to a square": {"size": {"height": 32, "width": 32}},
    "to a square without a crop": {"size": {"height": 32, "width": 32}, "do_center_crop": False},
}
OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
ALL_STEPS = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
SQUARE = {"image_processor_type": "SiglipImageProcessor", **ALL_STEPS}
# The preprocessor_config.json of the published models, word for word where it matters.
PUBLISHED: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14": {
        "crop_size": 224,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "resample": 3,
        "size": 224,
        **OPENAI,
    },
    "facebook/dinov2-base": {
        **ALL_STEPS,
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "image_processor_type": "BitImageProcessor",
        "resample": 3,
        "size": {"shortest_edge": 256},
        **IMAGENET,
    },
    "google/siglip-base-patch16-224": {**SQUARE, "resample": 3, "size": {"height": 224, "width": 224}, **HALF},
    "google/siglip2-base-patch16-256": {
        **SQUARE,
        "do_convert_rgb": None,
        "resample": 2,
        "size": {"height": 256, "width": 256},
        **HALF,
    },
}
PICTURES = [(224, 224), (64, 64), (17, 41), (300, 700), (701, 299), (1023, 1025)]


LOADED: dict[str, Any] = {"identity": "test", "device": torch.device("cpu"), "dtype": torch.float32}


def load(folder: Path) -> Encoder:
    return load_encoder(folder, **LOADED)


def pictures(height: int, width: int, count: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [N, H, W, 3] with edges, flat parts and noise."""
    rng = np.random.default_rng(height * 1000 + width)
    coarse = (
        rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3)).repeat(8, 1).repeat(8, 2)[:, :height, :width]
    )
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def as01(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def reference(folder: Path, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """φ by transformers alone, as its documentation does it."""
    pixels = AutoImageProcessor.from_pretrained(folder)(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        match json.loads((folder / "config.json").read_text())["model_type"]:
            case "clip":
                z = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32)(
                    pixel_values=pixels
                ).image_embeds
            case "siglip" | towers.DUAL:
                z = (
                    AutoModel.from_pretrained(folder, dtype=torch.float32)
                    .get_image_features(pixel_values=pixels)
                    .pooler_output
                )
            case _:
                z = AutoModel.from_pretrained(folder, dtype=torch.float32)(pixel_values=pixels).last_hidden_state[:, 0]
    return torch.nn.functional.normalize(z, dim=-1)


def far(ours: Tensor, theirs: Tensor) -> float:
    """Mean difference of an entry. Theirs is rounded to 256 levels after resizing, so single entries differ by a little
    more."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().mean())


def _save_siglip(folder: Path) -> None:
    from transformers import SiglipConfig, SiglipModel

    shared = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**shared, "vocab_size": 64, "bos_token_id": 62, "eos_token_id": 63},
        vision_config={**shared, "image_size": 32, "patch_size": 8},
    )
    SiglipModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**SQUARE, "resample": 3, "size": {"height": 32, "width": 32}, **HALF})
    )


def _save_registers(folder: Path) -> None:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7, mlp_ratio=2
    )
    Dinov2WithRegistersModel(config).save_pretrained(folder)
    small = {"size": {"shortest_edge": 33}, "crop_size": {"height": 28, "width": 28}}
    (folder / "preprocessor_config.json").write_text(json.dumps(PUBLISHED["facebook/dinov2-base"] | small))


def _save_dino3(folder: Path) -> None:
    """Its own processor needs torchvision; SigLIP's does the same things in another order."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    DINOv3ViTModel(config).save_pretrained(folder)
    steps = {
        **SQUARE,
        "resample": 2,
        "size": {"height": 32, "width": 32},
        "crop_size": None,
        "do_center_crop": None,
        **IMAGENET,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(steps))


def _save_dual(folder: Path) -> None:
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        Dinov2Config,
        Dinov2Model,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
    )

    shared = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = Dinov2Model(Dinov2Config(**shared, image_size=32, patch_size=8, mlp_ratio=2))
    text = CLIPTextModel(CLIPTextConfig(**shared, intermediate_size=32, vocab_size=64))
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=24)
    VisionTextDualEncoderModel(config, vision_model=vision, text_model=text).save_pretrained(folder)
    look = {**SQUARE, "resample": 3, "size": {"height": 32, "width": 32}, **HALF}
    (folder / "preprocessor_config.json").write_text(json.dumps(look))


@pytest.fixture(scope="module")
def towers_of(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny folder of every family."""
    root = tmp_path_factory.mktemp("towers")
    folders = {"clip": tiny.clip, "dinov2": tiny.dino}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for name, save in {
            "siglip": _save_siglip,
            "dinov2_with_registers": _save_registers,
            "dinov3_vit": _save_dino3,
            towers.DUAL: _save_dual,
        }.items():
            save(root / name)
            folders[name] = root / name
    return folders


@pytest.fixture(params=["clip", "dinov2", "siglip", "dinov2_with_registers", "dinov3_vit", towers.DUAL])
def folder(towers_of: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return towers_of[request.param]


# ---- one path, the reference's


def test_every_family_is_tried_here(towers_of: dict[str, Path]) -> None:
    """A vision tower saved alone has a name of its own, and the same class."""
    assert {name for name in towers.FAMILIES if not name.endswith("_vision_model")} == set(towers_of)
    assert {n: towers.FAMILIES[n] for n in towers.FAMILIES if n.endswith("_vision_model")} == {
        "clip_vision_model": towers.FAMILIES["clip"],
        "siglip_vision_model": towers.FAMILIES["siglip"],
    }


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_embeddings_are_the_reference_processors(folder: Path, size: tuple[int, int]) -> None:
    images = pictures(*size)
    assert far(load(folder)(as01(images)), reference(folder, images)) < 1e-3


def test_the_whole_of_a_picture_that_is_not_square_is_seen_between_bars(towers_of: dict[str, Path]) -> None:
    """Its ends count, which a crop cuts off; a square is as ever, and so is a tower that takes every shape."""
    kinds = {kind: load_encoder(towers_of[kind], **LOADED, whole=True) for kind in ("clip", "siglip")}
    cropping, wide, square = load(towers_of["clip"]), as01(pictures(16, 64)), as01(pictures(40, 40))
    other = wide.clone()
    other[..., :12] = 1 - other[..., :12]
    assert torch.equal(cropping(wide), cropping(other)) and far(kinds["clip"](wide), kinds["clip"](other)) > 1e-3
    seen = kinds["clip"].prepare(wide)  # 32 pixels wide, and so 8 high
    assert seen.shape[-2:] == (32, 32) and not seen[..., :12, :].any() and not seen[..., 20:, :].any()
    small = torch.nn.functional.interpolate(wide, size=(8, 32), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(seen[..., 12:20, :] * kinds["clip"].std + kinds["clip"].mean, small, rtol=0, atol=1e-5)
    assert torch.equal(kinds["clip"](square), cropping(square))
    assert torch.equal(kinds["siglip"](wide), load(towers_of["siglip"])(wide))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_vision_tower_saved_alone_is_the_same_tower(towers_of: dict[str, Path], tmp_path: Path, kind: str) -> None:
    import transformers

    whole, images = towers_of[kind], as01(pictures(40, 50))
    getattr(transformers, towers.FAMILIES[kind][0]).from_pretrained(whole).save_pretrained(tmp_path)
    shutil.copy(whole / "preprocessor_config.json", tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == f"{kind}_vision_model"
    torch.testing.assert_close(load(tmp_path)(images), load(whole)(images))


def prepared(folder: Path, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """What a tower would see, back in [0, 1]."""
    encoder = without_tower(folder)
    return encoder.prepare(as01(images)) * encoder.std + encoder.mean


def without_tower(folder: Path) -> Encoder:
    preprocessing = Preprocessing.read(folder)
    return Encoder(
        torch.nn.Identity(), preprocessing, dim=3, identity="none", device=torch.device("cpu"), dtype=torch.float32
    )


@pytest.fixture(params=PUBLISHED)
def published(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PUBLISHED[request.param]))
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    return tmp_path


@pytest.mark.parametrize("size", PICTURES, ids=str)
def test_pixels_are_the_reference_processors_but_for_its_rounding(published: Path, size: tuple[int, int]) -> None:
    """It rounds to 1/255 after each of two passes, which alone makes a mean difference of 1.0e-3 to 1.4e-3.

    Between them it clips the overshoot of sharp edges too, so a few pixels of bicubic differ by more.
    """
    images = pictures(*size)
    theirs = AutoImageProcessor.from_pretrained(published)(images=list(images), return_tensors="pt")["pixel_values"]
    encoder = without_tower(published)
    difference = ((encoder.prepare(as01(images)) - theirs) * encoder.std).abs()
    assert difference.mean() < 1.5e-3 and difference.quantile(0.99) < 2.5 / 255


@pytest.mark.parametrize("size", PICTURES, ids=str)
def test_pixels_are_pillows_without_rounding(published: Path, size: tuple[int, int]) -> None:
    """Pillow resamples numbers of single precision too: then nothing is rounded, and nothing is left of the
    difference."""
    images = pictures(*size, count=1)
    want = Preprocessing.read(published)
    height, width = want.resized_to(*size)
    method = Image.Resampling.BICUBIC if want.mode == "bicubic" else Image.Resampling.BILINEAR
    planes = [
        Image.fromarray(images[0, ..., c].astype(np.float32) / 255).resize((width, height), method) for c in range(3)
    ]
    whole = np.stack([np.asarray(plane) for plane in planes])
    top, left = (height - want.crop[0]) // 2, (width - want.crop[1]) // 2
    theirs = whole[:, top : top + want.crop[0], left : left + want.crop[1]].clip(0, 1)
    torch.testing.assert_close(prepared(published, images)[0], torch.from_numpy(theirs), rtol=0, atol=1e-4)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [(32, 32), (41, 57), (57, 41)], ids=str)
def test_every_kind_of_preprocessing(tiny: Tiny, tmp_path: Path, recipe: str, size: tuple[int, int]) -> None:
    folder = changed(tiny.clip, tmp_path, RECIPES[recipe])
    images = pictures(*size)
    assert far(load(folder)(as01(images)), reference(folder, images)) < 1e-3


def test_every_width_a_picture_can_have(tiny: Tiny) -> None:
    """The longer side is rounded down: one pixel more moves the crop."""
    want, processor = Preprocessing.read(tiny.clip), AutoImageProcessor.from_pretrained(tiny.clip, do_center_crop=False)
    wrong = [
        (h, w) for h in range(5, 60, 3) for w in range(h, 200, 7) if want.resized_to(h, w) != _resized(processor, h, w)
    ]
    assert wrong == []


def _resized(processor: Any, height: int, width: int) -> tuple[int, int]:
    out = processor(images=np.zeros((height, width, 3), np.uint8), return_tensors="np")["pixel_values"]
    return out.shape[-2], out.shape[-1]


def test_the_shipped_encoder_too() -> None:
    folder, images = PRESETS["mini"].folder.parent / "clip", pictures(64, 64)  # as the preview decoder draws them
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
    """The released program embedded [-1, 1] with constants meant for [0, 1]: that must show, so that other tests would
    see it."""
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


def test_the_gradient_reaches_every_picture_and_no_other(folder: Path) -> None:
    x = as01(pictures(40, 40)).requires_grad_()
    load(folder)(x)[1, 0].backward()
    assert x.grad is not None
    assert x.grad[1].abs().mean() > 0 and x.grad[0].abs().max() == 0 == x.grad[2].abs().max()


def test_the_weights_are_frozen(encoder: Encoder) -> None:
    assert not any(p.requires_grad for p in encoder.parameters())


def test_batch_size_changes_nothing(folder: Path) -> None:
    encoder = load(folder)
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
    "weights cut short": _cut,
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "weights are text": _write("model.safetensors", "hello"),
    "a layer is missing": _without_a_layer,
    "no config": lambda f: (f / "config.json").unlink(),
    "config is not JSON": _write("config.json", "{"),
    "config is a list": _write("config.json", "[1]"),
    "another family": _write("config.json", '{"model_type": "bert"}'),
    "SigLIP 2 of any size": _write("config.json", '{"model_type": "siglip2"}'),
    "no model type": _write("config.json", "{}"),
    "nonsense for a size": _write("preprocessor_config.json", '{"size": "big"}'),
    "another resampling": _write("preprocessor_config.json", '{"resample": 0}'),
    "no normalisation": _write("preprocessor_config.json", '{"do_normalize": false}'),
    "no preprocessor": lambda f: (f / "preprocessor_config.json").unlink(),
    "empty preprocessor": _write("preprocessor_config.json", "{}"),
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


# ---- where encoders are found


def test_a_folder_and_a_shipped_one_are_found(tiny: Tiny) -> None:
    assert find_encoder(str(tiny.clip)) == tiny.clip
    assert find_encoder("asset:mini/clip") == PRESETS["mini"].folder.parent / "clip"


@pytest.mark.parametrize("location", ["", "clap", "no/such/folder/at/all", "/nowhere"])
def test_no_encoder_there(location: str) -> None:
    with pytest.raises(BadInput, match=r"choose one of clip, siglip, dinov2, facenet"):
        find_encoder(location)


def snapshot(cache: Path, repo: str, commit: str, folder: Path) -> Path:
    """The files of a folder as the Hub's client keeps them, with `main` at this commit."""
    home = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    return home / "snapshots" / commit


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub's client, which is kept off the network by conftest."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2"])
def test_a_short_name_is_a_pinned_commit_of_the_hub(cache: Path, tiny: Tiny, name: str) -> None:
    known = ENCODERS[name]
    assert sources.COMMIT.fullmatch(known.revision)
    folder = snapshot(cache, known.source, known.revision, tiny.clip)
    snapshot(cache, known.source, "b" * 40, tiny.clip)  # what `main` has become since
    assert find_encoder(name) == folder == find_encoder(f"{known.source}@{known.revision}")
    assert identity_of(folder) == f"{known.source}@{known.revision[:12]}"


def test_a_repository_by_its_name(cache: Path, tiny: Tiny) -> None:
    folder = snapshot(cache, "someone/encoder", "a" * 40, tiny.dino)
    assert find_encoder("someone/encoder") == folder == find_encoder("someone/encoder@main")
    load(folder)


@pytest.mark.parametrize("location", ["clip", "someone/encoder", "someone/encoder@v2"])
def test_a_repository_that_cannot_be_reached_is_told_in_a_line(cache: Path, location: str) -> None:
    with pytest.raises(BadInput, match=ENCODERS["clip"].source if location == "clip" else location) as told:
        find_encoder(location)
    assert len(str(told.value).splitlines()) <= 2


def test_only_what_an_encoder_needs_is_fetched() -> None:
    from huggingface_hub.utils import filter_repo_objects

    wanted = [
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "model-1-of-2.safetensors",
        "model.safetensors.index.json",
    ]
    others = [
        "README.md",
        "tokenizer.json",
        "pytorch_model.bin",
        "flax_model.msgpack",
        "open_clip_model.safetensors",
        "onnx/model.onnx",
    ]
    assert list(filter_repo_objects(wanted + others, allow_patterns=list(catalogue.FILES))) == wanted


# ---- the judge


def test_a_judge_says_nothing_of_what_a_style_hides() -> None:
    classes = {"style": ["clay", "ink"], "body": ["red", "green", "blue"], "horns": ["0", "1"]}
    judge = Judge(classes, hidden={"ink": ["body"]}).eval()
    features = torch.randn(6, judge.dim)
    read = judge.logits(features)
    is_ink = read["style"].argmax(1) == 1
    plain = Judge(classes).eval()
    plain.load_state_dict(judge.state_dict())
    assert 0 < is_ink.sum() < 6 and not read["body"][is_ink].any(), "all alike: no value is likelier than another"
    for name, part in plain.logits(features).items():
        assert torch.equal(read[name][~is_ink], part[~is_ink]) and (name == "body" or torch.equal(read[name], part))


def test_the_built_in_judge_knows_what_ink_hides() -> None:
    judge = encoder_at("asset:mini/judge", device=torch.device("cpu")).tower
    assert isinstance(judge, Judge) and {"body", "ground", "lamp", "gloss"} <= judge.hidden["ink"]
    assert set().union(*judge.hidden.values()) <= judge.classes.keys()
