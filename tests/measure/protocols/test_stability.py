"""Stability of axes between two halves: planted agreement, matching beside the optimum, and chance."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linear_sum_assignment

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.protocols.stability import matched, stability, stability_of

K, D = 6, 40
RNG = np.random.default_rng(0)
V: Array = np.linalg.qr(RNG.normal(size=(D, K)))[0].T
SHUFFLED: Array = V[[3, 0, 5, 1, 4, 2]] * np.array([1, -1, 1, 1, -1, -1])[:, None]


def near(axes_KD: Array, noise: float) -> Array:
    return np.linalg.qr((axes_KD + noise * RNG.normal(size=axes_KD.shape)).T)[0].T


def test_order_and_sign_do_not_matter() -> None:
    assert_allclose(stability(V, SHUFFLED, V), np.ones(K))
    assert_allclose(np.abs((matched(SHUFFLED, V) * V).sum(axis=1)), np.ones(K))


def test_each_direction_keeps_its_own_number() -> None:
    """Direction 2 is another in the second half: cos 0.6 to itself, all else the same."""
    other = np.linalg.svd(V)[2][-1]
    second = V.copy()
    second[2] = 0.6 * V[2] + 0.8 * other
    assert_allclose(stability(V, second[::-1], V), [1, 1, 0.6, 1, 1, 1], atol=1e-9)
    found = stability_of([(V, second[::-1])], V)
    assert found.each == pytest.approx((1, 1, 0.6, 1, 1, 1)) and found.mean.value == pytest.approx(5.6 / 6)


def test_matching_is_the_optimum_where_axes_are_near() -> None:
    axes = near(SHUFFLED, 0.08)
    rows, columns = linear_sum_assignment(-np.abs(V @ axes.T))
    assert_array_equal(rows, np.arange(K))
    assert_array_equal(matched(axes, V), axes[columns])
    far = near(SHUFFLED, 9.0)
    rows, columns = linear_sum_assignment(-np.abs(V @ far.T))
    assert np.abs((matched(far, V) * V).sum(1)).sum() <= np.abs(V @ far.T)[rows, columns].sum() + 1e-12
    assert len({tuple(row) for row in matched(far, V)}) == K  # each once


def test_chance_is_the_same_subspace_without_its_axes() -> None:
    found = stability_of([(near(V, 0.02), near(SHUFFLED, 0.02))] * 3, V)
    turned = np.linalg.qr(RNG.normal(size=(K, K)))[0] @ V
    lost = stability_of([(V, turned)], V)
    assert found.mean.value is not None and found.mean.value > 0.95
    assert found.chance is not None and 0.3 < found.chance < 0.75
    assert lost.mean.value is not None and lost.mean.value < 0.85  # the subspace is the same, and no axis
    assert found.mean.low is not None and found.mean.high is not None
    assert found.mean.low <= found.mean.value <= found.mean.high


def test_halves_of_other_subspaces_agree_by_next_to_nothing() -> None:
    away = np.linalg.svd(V)[2][-K:]
    assert stability(V, away, V) == pytest.approx(np.zeros(K), abs=1e-9)


def test_what_cannot_be_compared_is_refused() -> None:
    for first, second in ((V[:5], V), (V, V[:, :30]), (V * np.nan, V)):
        with pytest.raises(BadInput):
            stability(first, second, V)
    with pytest.raises(BadInput, match="at least one"):
        stability_of([], V)
