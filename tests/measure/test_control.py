"""Measures of control on planted sliders whose answers are known, and on sliders that do nothing of the kind."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr
from support import spoiled

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.control import (
    alignment,
    consistency,
    effective_rank,
    leakage,
    monotone_share,
    orthogonality,
    realism,
    selectivity,
    usable_span,
)

K, S, D = 4, 200, 64
RNG = np.random.default_rng(0)
V_KD: Array = np.linalg.qr(RNG.normal(size=(D, D)))[0][:K]
PERFECT_KSD: Array = V_KD[:, None, :] * RNG.uniform(0.1, 3, size=(K, S, 1))  # each its own way, by different amounts
RANDOM_KSD: Array = RNG.normal(size=(K, S, D))
SCALES = np.arange(-3.0, 4.0)


# ---- planted and random


def test_perfect_sliders() -> None:
    for delta, v in zip(PERFECT_KSD, V_KD, strict=True):
        assert alignment(delta, v) == pytest.approx(1)
        assert consistency(delta) == pytest.approx(1)
    assert_allclose(leakage(PERFECT_KSD, V_KD), np.eye(K), atol=1e-12)
    assert_allclose(orthogonality(PERFECT_KSD), np.eye(K), atol=1e-12)
    assert effective_rank(PERFECT_KSD) == pytest.approx(K)


def test_random_sliders_score_near_zero() -> None:
    for delta, v in zip(RANDOM_KSD, V_KD, strict=True):
        assert abs(alignment(delta, v)) < 0.05
        assert consistency(delta) < 0.15
    assert np.abs(leakage(RANDOM_KSD, V_KD)).max() < 0.5
    assert selectivity(leakage(RANDOM_KSD, V_KD)).mean() < 5


def test_a_consistent_slider_that_does_something_else() -> None:
    assert consistency(PERFECT_KSD[1]) == pytest.approx(1)
    assert alignment(PERFECT_KSD[1], V_KD[0]) == pytest.approx(0, abs=1e-12)
    assert leakage(PERFECT_KSD[[1, 0]], V_KD[:2])[0].argmax() == 1


def test_a_known_angle() -> None:
    delta = V_KD[0] * 3 + V_KD[1] * 4
    assert alignment(np.tile(delta, (5, 1)), V_KD[0]) == pytest.approx(0.6)
    assert_allclose(leakage(np.tile(delta, (2, 5, 1)), V_KD[:2])[0], [0.6, 0.8])
    assert consistency([[1, 0], [0, 1]]) == pytest.approx(np.sqrt(0.5))


def test_the_other_sign() -> None:
    both, sign = np.concatenate([PERFECT_KSD[0], -PERFECT_KSD[0]]), np.repeat([1, -1], S)
    assert alignment(both, V_KD[0], sign) == pytest.approx(1)
    assert alignment(both, V_KD[0]) == pytest.approx(0)
    assert alignment(-PERFECT_KSD[0], V_KD[0], sign=-1) == pytest.approx(1)
    assert alignment(-PERFECT_KSD[0], V_KD[0]) == pytest.approx(-1)
    with pytest.raises(BadInput, match="sign"):
        alignment(both, V_KD[0], 0.5)
    with pytest.raises(BadInput, match="sign"):
        alignment(both, V_KD[0], sign[:3])


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**32 - 1))
def test_cosines_ignore_size_and_rotation(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    delta, v = rng.normal(size=(3, 5, 8)), rng.normal(size=(3, 8))
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert_allclose(leakage(delta @ turn * scale, v @ turn), leakage(delta, v), atol=1e-10)
    assert_allclose(orthogonality(delta @ turn * scale), orthogonality(delta), atol=1e-10)
    assert alignment(delta[0] @ turn * scale, v[0] @ turn) == pytest.approx(alignment(delta[0], v[0]))
    assert consistency(delta[0] @ turn * scale) == pytest.approx(consistency(delta[0]))
    assert effective_rank(delta @ turn * scale) == pytest.approx(effective_rank(delta))


def test_a_dead_slider_scores_zero_and_never_nan() -> None:
    dead = PERFECT_KSD.copy()
    dead[2] = 0
    assert alignment(dead[2], V_KD[2]) == consistency(dead[2]) == 0
    assert_array_equal(leakage(dead, V_KD)[2], np.zeros(K))
    assert_array_equal(orthogonality(dead)[2], np.zeros(K))
    assert effective_rank(dead) == pytest.approx(K - 1)
    assert effective_rank(np.zeros_like(dead)) == 0
    assert selectivity(leakage(dead, V_KD))[2] == 0


def test_selectivity() -> None:
    assert_allclose(selectivity([[0.8, -0.1, 0.3], [0.5, -0.5, 0.5], [0.2, 0.2, 0.0]]), [4, 1, 0])
    assert_array_equal(selectivity(np.eye(3)), np.full(3, np.inf))
    assert_array_equal(selectivity([[0.7]]), [np.inf])


def test_opposite_sliders_are_not_orthogonal() -> None:
    assert_allclose(orthogonality(np.stack([PERFECT_KSD[0], -PERFECT_KSD[0]])), np.ones((2, 2)))


def test_effective_rank_of_copies() -> None:
    assert effective_rank(np.tile(PERFECT_KSD[:1], (K, 1, 1))) == pytest.approx(1)
    pairs = effective_rank(PERFECT_KSD[[0, 0, 1, 1]] * np.array([1, 9, 1, 0.1])[:, None, None])
    assert pairs == pytest.approx(2)  # whatever their sizes


# ---- sweeps


def sweeps(*rows: Array) -> Array:
    """Each row a slider with one sweep: [K, 1, M]."""
    return np.stack(rows)[:, None, :]


def test_monotone_share() -> None:
    projection = sweeps(SCALES, np.exp(SCALES), -SCALES, np.abs(SCALES), np.zeros(7), np.sign(SCALES))
    assert_array_equal(monotone_share(projection, SCALES), [1, 1, 0, 0, 0, 1])
    half = np.stack([SCALES, -SCALES])[None]
    assert_array_equal(monotone_share(half, SCALES), [0.5])
    shuffled = np.random.default_rng(0).permutation(7)
    assert_array_equal(monotone_share(projection[:, :, shuffled], SCALES[shuffled]), [1, 1, 0, 0, 0, 1])
    noise = np.random.default_rng(0).normal(size=(1, 500, 7))
    assert monotone_share(noise, SCALES)[0] < 0.05


@settings(max_examples=50, deadline=None)
@given(
    x=arrays(np.float64, 7, elements=st.integers(-3, 3).map(float)).filter(lambda x: np.ptp(x) > 0),
    threshold=st.floats(-0.999, 0.999),
)
def test_monotone_share_agrees_with_scipys_spearman(x: Array, threshold: float) -> None:
    rho = spearmanr(x, SCALES).statistic
    if abs(rho - threshold) > 1e-9:
        assert monotone_share(x[None, None], SCALES, threshold)[0] == float(rho > threshold)


def test_usable_span() -> None:
    projection = sweeps(SCALES, np.array([0, -1, -2, 0, 1, 2, 1.5]), -SCALES, SCALES, SCALES)
    distance = sweeps(*[np.abs(SCALES) / 10] * 3, np.abs(SCALES) * 10, np.array([0, 9, 0, 0, 0.1, 0.2, 0.3]))
    assert_array_equal(usable_span(projection, distance, SCALES, tau=0.3), [[-3, 3], [-1, 2], [0, 0], [0, 0], [-1, 3]])
    assert_array_equal(usable_span(projection, distance, SCALES, tau=0.2)[0], [-2, 2])


def test_a_flat_slider_has_no_usable_span() -> None:
    assert_array_equal(usable_span(sweeps(np.zeros(7)), sweeps(np.zeros(7)), SCALES, tau=1), [[0, 0]])


def test_usable_span_on_one_side() -> None:
    ahead = SCALES[3:]
    assert_array_equal(usable_span(sweeps(ahead), sweeps(ahead), ahead, tau=9), [[0, 3]])
    behind = SCALES[:4]
    assert_array_equal(usable_span(sweeps(behind), sweeps(-behind), behind, tau=9), [[-3, 0]])
    assert_array_equal(usable_span(sweeps(np.zeros(1)), sweeps(np.zeros(1)), [0.0], tau=9), [[0, 0]])


@pytest.mark.parametrize("scales", [SCALES[::-1], SCALES + 0.5, np.zeros(7)])
def test_usable_span_needs_scales_in_order_around_zero(scales: Array) -> None:
    with pytest.raises(BadInput, match="ascend"):
        usable_span(sweeps(SCALES), sweeps(SCALES), scales, 1)


# ---- realism


def test_realism_of_the_models_own_images_is_one() -> None:
    slider, base, fresh = np.random.default_rng(0).normal(size=(3, 400, 4))
    assert realism(slider, base, fresh) == pytest.approx(1, abs=0.05)
    assert realism(base, base, base) == 1


def test_realism_of_images_that_left_is_zero() -> None:
    base, fresh = np.random.default_rng(1).normal(size=(2, 200, 4))
    assert realism(fresh + 100, base, fresh) == 0
    half = np.concatenate([fresh[:100], fresh[:100] + 100])
    assert realism(half, base, fresh[:100]) == pytest.approx(0.5)


def test_realism_falls_as_images_drift() -> None:
    base, fresh, slider = np.random.default_rng(2).normal(size=(3, 200, 4))
    values = [realism(slider + shift, base, fresh) for shift in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True) and values[0] > 0.9 and values[-1] < 0.1


def test_the_radius_is_the_kth_neighbours() -> None:
    base = np.array([[0.0], [1.0], [3.0], [7.0]])  # radii with k = 1: 1, 1, 2, 4; with k = 2: 3, 2, 3, 6
    probes = np.array([[-0.9], [-1.1], [10.9], [11.1], [12.9]])
    fresh = np.array([[1.0]])
    assert realism(probes, base, fresh, k=1) == pytest.approx(2 / 5)
    assert realism(probes, base, fresh, k=2) == pytest.approx(5 / 5)
    assert realism(np.array([[11.0]]), base, fresh, k=1) == 1  # just on the edge is inside


def test_realism_without_a_yardstick() -> None:
    base = np.random.default_rng(3).normal(size=(10, 4))
    with pytest.raises(BadInput, match="yardstick"):
        realism(base, base, base + 100)
    for k in (0, 10):
        with pytest.raises(BadInput, match="more than"):
            realism(base, base, base, k=k)


# ---- the contract on entry

ENTRIES: list[tuple[Callable[..., object], list[Array]]] = [
    (alignment, [RANDOM_KSD[0], V_KD[0]]),
    (consistency, [RANDOM_KSD[0]]),
    (leakage, [RANDOM_KSD, V_KD]),
    (selectivity, [np.eye(3)]),
    (orthogonality, [RANDOM_KSD]),
    (effective_rank, [RANDOM_KSD]),
    (monotone_share, [sweeps(SCALES), SCALES]),
    (realism, [RANDOM_KSD[0], RANDOM_KSD[1], RANDOM_KSD[2]]),
    (lambda p, d, s: usable_span(p, d, s, 1), [sweeps(SCALES), sweeps(SCALES), SCALES]),
]
PLACES = [(function, given_, place) for function, given_ in ENTRIES for place in range(len(given_))]


@pytest.mark.parametrize(("function", "given_", "place"), PLACES)
@spoiled.each_way
def test_arrays_are_checked(
    function: Callable[..., object], given_: list[Array], place: int, spoil: Callable[[Array], Array]
) -> None:
    function(*given_)
    with pytest.raises(BadInput):
        function(*given_[:place], spoil(given_[place]), *given_[place + 1 :])


@pytest.mark.parametrize(
    ("function", "given_", "place"),
    [entry for entry in PLACES if entry[0] not in (consistency, orthogonality, effective_rank)],
)
def test_shapes_are_compared(function: Callable[..., object], given_: list[Array], place: int) -> None:
    with pytest.raises(BadInput):
        function(*given_[:place], given_[place][..., 1:], *given_[place + 1 :])


def test_sliders_are_counted() -> None:
    with pytest.raises(BadInput, match="sliders do not match: 3 and 4"):
        leakage(RANDOM_KSD[:3], V_KD)


def test_too_little_to_judge() -> None:
    with pytest.raises(BadInput, match="at least 2"):
        consistency(RANDOM_KSD[0, :1])
    with pytest.raises(BadInput, match="at least 3"):
        monotone_share(sweeps(np.arange(2.0)), np.arange(2.0))
