"""Precision, recall, density, coverage and kernel distance beside published implementations."""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from prdc import compute_prdc
from support import spoiled

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.sets import manifold
from sliderspace.measure.sets.kernel import kernel_distance
from sliderspace.measure.sets.manifold import Manifold, coverage, density, precision, recall

RNG = np.random.default_rng(0)
REAL: Array = RNG.normal(size=(200, 4))
GENERATED: Array = RNG.normal(size=(200, 4)) * 0.8 + 0.4
BOTH = [precision, recall, density, coverage, kernel_distance]


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_they_are_prdcs_numbers(k: int, offset: float) -> None:
    """Far from zero too, where distances by matrix products alone would lose their digits."""
    real, generated = REAL + offset, GENERATED + offset
    due = compute_prdc(real, generated, nearest_k=k)
    measures = {"precision": precision, "recall": recall, "density": density, "coverage": coverage}
    assert {name: f(real, generated, k) for name, f in measures.items()} == pytest.approx(due, abs=1e-9)
    assert 0.3 < due["recall"] < due["precision"] < 0.99  # the two sets differ, and not in everything


def test_sets_that_are_equal_and_sets_apart() -> None:
    assert precision(REAL, REAL) == recall(REAL, REAL) == coverage(REAL, REAL) == 1
    assert precision(REAL, REAL + 99) == recall(REAL, REAL + 99) == density(REAL, REAL + 99) == 0
    assert coverage(REAL, REAL + 99) == 0
    mode = np.repeat(REAL[:1], 200, axis=0) + 1e-3 * RNG.normal(size=REAL.shape)  # one good image again and again
    assert precision(REAL, mode) == 1 and recall(REAL, mode) < 0.05 and coverage(REAL, mode) < 0.2


def test_rows_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Manifold(REAL).balls(GENERATED), Manifold(REAL).covered(GENERATED)
    monkeypatch.setattr(manifold, "ROWS", 7)
    cut = Manifold(REAL).balls(GENERATED), Manifold(REAL).covered(GENERATED)
    for one, other in zip(whole, cut, strict=True):
        assert_array_equal(one, other)


def test_distances_of_near_pairs_are_exact() -> None:
    """Pairs that differ in the last digits beside a large norm: matrix products alone give 0 or NaN."""
    x = 1e3 + RNG.normal(size=(5, 8))
    y = np.concatenate([x + 1e-7, RNG.normal(size=(3, 8))])
    (found,) = manifold._distances(x, y)
    np.testing.assert_allclose(found, np.linalg.norm(x[:, None] - y[None], axis=-1), rtol=1e-9)


# ---- kernel distance


def by_pairs(x_MD: Array, y_MD: Array) -> float:
    """The unbiased estimate as it is defined, pair by pair."""

    def k(a: Array, b: Array) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    own = sum(np.mean([k(a, b) for a, b in combinations(z, 2)]) for z in (x_MD, y_MD))
    return float(own - 2 * np.mean([k(a, b) for a, b in product(x_MD, y_MD)]))


def test_the_kernel_distance_of_all_images_is_that_of_all_pairs() -> None:
    mean, spread = kernel_distance(REAL[:40], GENERATED[:40], subsets=2)
    assert mean == pytest.approx(by_pairs(REAL[:40], GENERATED[:40]), abs=1e-10)
    assert spread == pytest.approx(0, abs=1e-10)


def test_subsets_are_drawn_as_torch_fidelity_draws_them() -> None:
    """One generator, the real ones' subset before the generated ones'."""
    rng, due = np.random.RandomState(5), []
    for _ in range(3):
        real = REAL[rng.choice(200, 30, replace=False)]
        due.append(by_pairs(real, GENERATED[rng.choice(200, 30, replace=False)]))
    assert kernel_distance(REAL, GENERATED, subsets=3, size=30, seed=5) == pytest.approx((np.mean(due), np.std(due)))
    assert kernel_distance(REAL, GENERATED, size=30) == kernel_distance(REAL, GENERATED, size=30)
    assert kernel_distance(REAL, GENERATED, size=30) != kernel_distance(REAL, GENERATED, size=30, seed=1)


def test_the_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    """Unbiased: as often below as above, where a biased estimate is always above."""
    drawn = [kernel_distance(*RNG.normal(size=(2, 40, 4)), subsets=1)[0] for _ in range(100)]
    assert abs(np.mean(drawn)) < 3 * np.std(drawn) / 10 and 25 < np.sum(np.array(drawn) < 0) < 75


# ---- what is refused


@pytest.mark.parametrize("measure", BOTH)
def test_sets_of_other_size_or_dimensions_are_refused(measure: Callable[[Array, Array], object]) -> None:
    for other, what in ((GENERATED[:199], "numbers of images"), (GENERATED[:, :3], "dimensions")):
        with pytest.raises(BadInput, match=what):
            measure(REAL, other)
    with pytest.raises(BadInput):
        measure(REAL[:1], GENERATED[:1])


@spoiled.each_way
@pytest.mark.parametrize("measure", BOTH)
def test_spoiled_features_are_refused(
    measure: Callable[[Array, Array], object], spoil: Callable[[Array], Array]
) -> None:
    with pytest.raises(BadInput):
        measure(spoil(REAL), GENERATED)
    with pytest.raises(BadInput):
        measure(REAL, spoil(GENERATED))
