"""FaceNet is the published network: same names, same shapes, same numbers; and its images come to it as it was taught.

The figures of the reference were made once with `InceptionResnetV1` of facenet-pytorch 2.6.0 and the weights that
`invented` makes.
"""

import hashlib
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.models.encoders import ENCODERS, Encoder, facenet, find_encoder, load_encoder
from sliderspace.models.encoders.base import Preprocessing
from sliderspace.models.encoders.facenet import InceptionResnetV1

CLASSES = 8631  # people of VGGFace2: the published files end in a classifier
NAMES_AND_SHAPES = (
    "85d43996164f0738f90bd2440a419cc4e039ac51722297849b04d89850589b3f"  # of the reference, as `listed` writes them
)
EMBEDDED = [
    [-0.04267684370, 0.02351112105, -0.04808079451, -0.02356387675, 0.04065481573, -0.09247725457],
    [-0.04456714168, 0.01949677989, -0.04355758056, -0.02077729069, 0.03953666613, -0.08832057565],
]


def parts(net: InceptionResnetV1) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all that is learned; a batch norm's counter is not."""
    return {name: tuple(t.shape) for name, t in net.state_dict().items() if not name.endswith("num_batches_tracked")}


def invented(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights that are a function of their names and keep the signal's size from layer to layer."""
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        draw = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if len(shape) > 1:
            draw *= (2 / np.prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            draw = np.exp(0.2 * draw)
        else:
            draw *= 0.1
        tensors[name] = torch.from_numpy(draw)
    return tensors


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the published ones are: all tensors of the trained network, the counters and the classifier too."""
    file = tmp_path_factory.mktemp("published") / "20180402-114759-vggface2.pt"
    whole = InceptionResnetV1().state_dict() | invented(parts(InceptionResnetV1()))
    torch.save({**whole, "logits.weight": torch.zeros(CLASSES, 512), "logits.bias": torch.zeros(CLASSES)}, file)
    return file


@pytest.fixture(scope="module")
def folder(published: Path) -> Path:
    return find_encoder(str(published))


@pytest.fixture(scope="module")
def face(folder: Path) -> Encoder:
    return load(folder)


def load(folder: Path) -> Encoder:
    return load_encoder(folder, identity="test", device=torch.device("cpu"), dtype=torch.float32)


def pictures(count: int, height: int, width: int) -> Tensor:
    """Blobs of colour in [0, 1], [N, 3, H, W]."""
    coarse = torch.from_numpy(np.random.default_rng(height + width).random((count, 3, 5, 5), dtype=np.float32))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


# ---- the published network


def test_names_and_shapes_are_the_published_ones() -> None:
    net = InceptionResnetV1()
    listed = "\n".join(f"{name} {list(shape)}" for name, shape in sorted(parts(net).items()))
    assert hashlib.sha256(listed.encode()).hexdigest() == NAMES_AND_SHAPES
    assert len(parts(net)) == 602 and len(net.state_dict()) == 714
    learned = sum(p.numel() for p in net.parameters())
    assert learned == 23_482_624 and learned + 512 * CLASSES + CLASSES == 27_910_327


def test_numbers_are_the_published_networks(face: Encoder) -> None:
    """Scales, order of the branches, padding, norms: any other choice gives other numbers."""
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 160, 160), dtype=np.float32) * 2 - 1)
    with torch.no_grad():
        z = torch.nn.functional.normalize(face.tower(x), dim=1)
    torch.testing.assert_close(z[:, :6], torch.tensor(EMBEDDED), rtol=0, atol=1e-5)


def test_folding_the_norms_changes_nothing(folder: Path, face: Encoder) -> None:
    plain = InceptionResnetV1().eval()
    plain.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    x = torch.randn(2, 3, 160, 160)
    assert not any(isinstance(m, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d) for m in face.modules())
    with torch.no_grad():
        torch.testing.assert_close(face.tower(x), plain(x), rtol=1e-4, atol=1e-4)


# ---- what it sees


def prepared(folder: Path, crop: float, images01: Tensor) -> Tensor:
    """What the network would see of images when this share of them is."""
    (folder / "preprocessor_config.json").write_text(json.dumps(facenet.preprocessor(crop)))
    recipe = Preprocessing.read(folder)
    return Encoder(
        torch.nn.Identity(), recipe, dim=3, identity="none", device=torch.device("cpu"), dtype=torch.float32
    ).prepare(images01)


@pytest.mark.parametrize("size", [(160, 160), (512, 512), (64, 64), (161, 161)], ids=str)
def test_pixels_of_a_square_picture_are_the_published_recipe(tmp_path: Path, size: tuple[int, int]) -> None:
    """Bilinear to 160 x 160 by Pillow, then (x - 127.5) / 128; Pillow's own rounding to 1/255 is the tolerance."""
    image01 = (pictures(1, *size) * 255).round() / 255
    image = Image.fromarray((image01[0] * 255).byte().permute(1, 2, 0).numpy())
    theirs = (np.asarray(image.resize((160, 160), Image.Resampling.BILINEAR), np.float32) - 127.5) / 128
    torch.testing.assert_close(
        prepared(tmp_path, 1, image01)[0], torch.from_numpy(theirs).permute(2, 0, 1), rtol=0, atol=1.01 / 128
    )


@pytest.mark.parametrize(("height", "width"), [(320, 320), (320, 500), (700, 320)])
def test_half_the_picture_is_its_middle(tmp_path: Path, height: int, width: int) -> None:
    x, top, left = pictures(1, height, width), (height - 160) // 2, (width - 160) // 2
    middle = x[..., top : top + 160, left : left + 160]
    torch.testing.assert_close(prepared(tmp_path, 0.5, x), (middle * 255 - 127.5) / 128, rtol=0, atol=1e-5)


@pytest.mark.parametrize("crop", [0, -1, 1.2, float("nan")])
def test_a_crop_is_a_share(crop: float) -> None:
    with pytest.raises(BadInput, match="share of the picture"):
        facenet.preprocessor(crop)


def test_a_portrait_keeps_its_margin_out(face: Encoder) -> None:
    """Three quarters of the side are seen: what changes outside does not count, what changes inside does."""
    x = pictures(1, 400, 400)
    outside, inside = x.clone(), x.clone()
    outside[..., :40, :] = outside[..., :, -40:] = 0
    inside[..., 180:220, 180:220] = 0
    assert face.prepare(x).shape == (1, 3, 160, 160)
    torch.testing.assert_close(face(outside), face(x))
    assert (face(inside) - face(x)).norm() > 1e-3


def test_vectors_have_unit_length_and_rows_are_apart(face: Encoder) -> None:
    x = pictures(3, 200, 180)
    z = face(x)
    assert z.shape == (3, face.dim) == (3, 512) and z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(z, torch.cat([face(row) for row in x.split(1)]), rtol=0, atol=1e-5)


def test_the_gradient_reaches_the_picture(face: Encoder) -> None:
    x = pictures(2, 100, 100).requires_grad_()
    face(x)[0, 0].backward()
    assert x.grad is not None and x.grad[1].abs().max() == 0
    assert (x.grad[0, :, 30:70, 30:70] != 0).float().mean() > 0.9 and not any(
        p.requires_grad for p in face.parameters()
    )


def test_half_precision_is_close(folder: Path, face: Encoder) -> None:
    """Most GPUs compute in bfloat16; norms folded in full precision keep the directions."""
    half, x = (
        load_encoder(folder, identity="test", device=torch.device("cpu"), dtype=torch.bfloat16),
        pictures(2, 160, 160),
    )
    assert (half(x) * face(x)).sum(1).min() > 0.999


# ---- weights: a file, converted once


def test_the_folder_holds_tensors_and_json_only(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert json.loads((folder / "config.json").read_text())["model_type"] == "inception_resnet_v1"
    assert not any("logits" in name for name in load_file(folder / "model.safetensors"))


def test_a_file_is_converted_beside_itself_and_once(published: Path, folder: Path) -> None:
    assert folder == published.parent / "20180402-114759-vggface2"
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert find_encoder(str(published)) == folder == find_encoder(str(folder))
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_weights_of_another_form_give_the_same_encoder(published: Path, folder: Path, tmp_path: Path) -> None:
    """PyTorch's format of the published files' time, and safetensors."""
    tensors = torch.load(published, weights_only=True)
    torch.save(tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "new.safetensors")
    for name in ("old.pt", "new.safetensors"):
        made = find_encoder(str(tmp_path / name))
        assert (made / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
        (tmp_path / name).unlink()  # pytest keeps its folders for a while, and these are large
        shutil.rmtree(made)


class Trap:
    """What a malicious file would hold."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("content", ["a web page", "cut short", "another network", "a list", "a trap", "no file"])
def test_a_file_that_is_not_these_weights(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pt"
    match content:
        case "a web page":
            file.write_text("<!DOCTYPE html><html>Quota exceeded</html>")
        case "cut short":
            file.write_bytes(published.read_bytes()[:1_000_000])
        case "another network":
            torch.save(torch.nn.Linear(2, 2).state_dict(), file)
        case "a list":
            torch.save([1, 2], file)
        case "a trap":
            torch.save({"conv2d_1a.conv.weight": Trap()}, file)
        case _:
            pass
    with pytest.raises(BadInput) as told:
        facenet.convert(file, tmp_path / "made")
    assert len(str(told.value).splitlines()) <= 2
    assert not (tmp_path / "made").exists() and not (tmp_path / "sprung").exists()


def test_a_folder_without_a_layer_is_told_in_a_line(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    del tensors["block8.conv2d.weight"]
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(BadInput, match=r"1 of 602 parts differ, such as block8\.conv2d\.weight"):
        load(copy)


# ---- by name


@pytest.fixture
def release(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published address leads to our file, and downloads are kept in an empty folder."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(facenet.weights, "URL", published.as_uri())
    monkeypatch.setattr(facenet.weights, "SHA256", hashlib.sha256(published.read_bytes()).hexdigest())
    return published


def test_by_name_it_is_fetched_and_converted_once(release: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = find_encoder("facenet")
    assert (made / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(facenet.weights, "URL", (release.parent / "gone" / release.name).as_uri())
    assert find_encoder("facenet") == made


def test_a_file_with_other_bytes_is_refused(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facenet.weights, "SHA256", "0" * 64)
    with pytest.raises(BadInput, match="invalid hash"):
        find_encoder("facenet")


def test_without_a_network_the_way_out_is_said(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = (release.parent / "gone" / release.name).as_uri()
    monkeypatch.setattr(facenet.weights, "URL", gone)
    with pytest.raises(BadInput, match="cannot be fetched") as told:
        find_encoder("facenet")
    assert gone in str(told.value) and len(str(told.value).splitlines()) == 2


def test_the_table_names_the_published_file() -> None:
    known = ENCODERS["facenet"]
    assert known.source.endswith("/v2.2.9/20180402-114759-vggface2.pt") and len(known.revision) == 64
