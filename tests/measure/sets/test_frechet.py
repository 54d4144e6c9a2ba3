"""Fréchet distance beside the published formula, closed forms, and itself in other batches."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import sqrtm

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.measure.sets.frechet import Statistics, frechet_distance

RNG = np.random.default_rng(0)
REAL: Array = RNG.normal(size=(300, 24)) @ RNG.normal(size=(24, 24))
GENERATED: Array = RNG.normal(size=(300, 24)) @ RNG.normal(size=(24, 24)) + 0.3


def published(real_ND: Array, generated_ND: Array) -> float:
    """As TTUR's fid.py has it: the matrix square root of the product, whose imaginary part is rounding."""
    mean, other = real_ND.mean(axis=0), generated_ND.mean(axis=0)
    a, b = np.cov(real_ND, rowvar=False), np.cov(generated_ND, rowvar=False)
    return float(((mean - other) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(sqrtm(a @ b).real))


def distance(real_ND: Array, generated_ND: Array) -> float:
    return frechet_distance(Statistics.of([real_ND]), Statistics.of([generated_ND]))


def test_it_is_the_published_number() -> None:
    assert distance(REAL, GENERATED) == pytest.approx(published(REAL, GENERATED), rel=1e-9)
    assert distance(GENERATED, REAL) == pytest.approx(distance(REAL, GENERATED), rel=1e-9)


def test_closed_forms() -> None:
    assert distance(REAL, REAL) == pytest.approx(0, abs=1e-9 * REAL.var(axis=0).sum())
    assert distance(REAL, REAL + 0.5) == pytest.approx(24 * 0.25)  # a shift: its length squared
    centred = REAL - REAL.mean(axis=0)
    assert distance(centred, 3 * centred) == pytest.approx(4 * centred.var(axis=0, ddof=1).sum())  # Σ(3σ − σ)²


def test_fewer_images_than_dimensions() -> None:
    """Singular covariances: on the axes of both sets the distance is that of their factors."""
    few, other = REAL[:6], GENERATED[:6]
    f, g = ((x - x.mean(axis=0)) / np.sqrt(5) for x in (few, other))
    common = np.linalg.svd(f @ g.T, compute_uv=False).sum()
    expected = ((few.mean(0) - other.mean(0)) ** 2).sum() + (f**2).sum() + (g**2).sum() - 2 * common
    assert distance(few, other) == pytest.approx(expected, rel=1e-9)
    assert distance(few, few) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [1, 7, 64, 299])
def test_batches_change_nothing(size: int) -> None:
    whole, cut = Statistics.of([REAL]), Statistics.of(REAL[i : i + size] for i in range(0, 300, size))
    assert cut.count == whole.count
    assert_allclose(cut.mean_D, whole.mean_D, rtol=0, atol=1e-12)
    assert_allclose(cut.covariance_DD, np.cov(REAL, rowvar=False), rtol=0, atol=1e-11)
    assert frechet_distance(cut, Statistics.of([GENERATED])) == pytest.approx(distance(REAL, GENERATED), rel=1e-12)


def test_float32_features_far_from_zero_lose_nothing() -> None:
    """Summing squares in the features' own precision would leave nothing of the covariance."""
    far = (REAL + 1e3).astype(np.float32)
    found = Statistics.of(far[i : i + 50] for i in range(0, 300, 50))
    assert_allclose(found.covariance_DD, np.cov(far.astype(np.float64), rowvar=False), atol=1e-9)


def test_stored_statistics_are_read_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "real.safetensors"
    made = Statistics.cached(path, "inception of these images", lambda: [REAL])
    read = Statistics.cached(path, "inception of these images", lambda: pytest.fail("made again"))
    assert read.count == made.count
    assert_array_equal(read.mean_D, made.mean_D)
    assert_array_equal(read.covariance_DD, made.covariance_DD)
    other = Statistics.cached(path, "inception of other images", lambda: [GENERATED])
    assert_array_equal(other.mean_D, Statistics.of([GENERATED]).mean_D)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DamagedFile):
        Statistics.cached(path, "inception of other images", lambda: [GENERATED])


def test_what_cannot_be_compared_is_refused() -> None:
    real = Statistics.of([REAL])
    for other, what in ((GENERATED[:299], "numbers of images"), (GENERATED[:, :23], "dimensions")):
        with pytest.raises(BadInput, match=what):
            frechet_distance(real, Statistics.of([other]))
    for batches in ([], [REAL[:1]], [REAL, GENERATED[:, :5]], [REAL[0]], [np.full((4, 4), np.nan)]):
        with pytest.raises(BadInput):
            Statistics.of(batches)
