"""Evenness of planted sweeps: equal steps, a jump, and steps thrown at random, whose value is known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cosine
from support import spoiled

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.protocols.evenness import evenness, evenness_of, thrown_at_random

M = 7


def arc(angles_NM: Array) -> Array:
    """Unit vectors [1, N, M, 2] at some angles."""
    return np.stack([np.cos(angles_NM), np.sin(angles_NM)], axis=-1)[None]


def test_equal_turns_are_even() -> None:
    assert evenness(arc(np.linspace(0, 1, M)[None]))[0, 0] == pytest.approx(0, abs=1e-6)


def test_one_jump_is_as_uneven_as_can_be() -> None:
    assert evenness(arc(np.array([[0, 0, 0, 1, 1, 1, 1.0]])))[0, 0] == pytest.approx(np.sqrt(M - 2))


def test_it_is_the_variation_of_cosine_distances() -> None:
    z = np.random.default_rng(0).normal(size=(2, 3, M, 10))
    for k in range(2):
        for s in range(3):
            steps = [cosine(a, b) for a, b in zip(z[k, s], z[k, s, 1:], strict=False)]
            assert evenness(z)[k, s] == pytest.approx(np.std(steps) / np.mean(steps))
    assert_allclose(evenness(3 * z), evenness(z))


def test_small_steps_keep_their_digits() -> None:
    """1 − cos of steps of 1e-6 is rounding where it is taken as it stands."""
    assert evenness(arc(np.linspace(0, 6e-6, M)[None]))[0, 0] == pytest.approx(0, abs=1e-4)


def test_chance_is_that_of_steps_thrown_at_random() -> None:
    """In the mean square, over spacings of uniform points."""
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.uniform(size=(20_000, M - 2)), axis=1)
    spacing = np.diff(np.concatenate([np.zeros((20_000, 1)), cuts, np.ones((20_000, 1))], axis=1), axis=1)
    found = np.sqrt(((spacing.std(axis=1) / spacing.mean(axis=1)) ** 2).mean())
    assert thrown_at_random(M) == pytest.approx(found, rel=0.01)


def test_of_a_space() -> None:
    rng = np.random.default_rng(0)
    even = np.tile(np.linspace(0, 1, M), (12, 1))
    rough = np.cumsum(rng.exponential(size=(12, M)), axis=1) / 9
    dead = np.zeros((12, M))
    found = evenness_of(np.concatenate([arc(even), arc(rough), arc(dead)]))
    assert found.each[0] == pytest.approx(0, abs=1e-6) and found.each[1] is not None and found.each[1] > 0.5
    assert found.each[2] is None  # no step, no number
    assert found.mean.value == pytest.approx(found.each[1] / 2, abs=1e-6)  # the dead one does not count
    assert found.mean.low is not None and found.mean.high is not None
    assert found.mean.low <= found.mean.value <= found.mean.high


@spoiled.each_way
def test_spoiled_sweeps_are_refused(spoil: Callable[[Array], Array]) -> None:
    with pytest.raises(BadInput):
        evenness(spoil(np.random.default_rng(0).normal(size=(2, 3, M, 4))))
    with pytest.raises(BadInput, match="3 scales"):
        evenness(np.ones((1, 1, 2, 4)))
