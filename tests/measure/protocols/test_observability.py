"""Observability of planted directions: closed forms for Gaussian previews, and previews of other images."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support import spoiled

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.protocols.observability import (
    observability,
    observability_by_step,
    observability_of,
    unrelated,
)

NINETY = 2 * 1.6448536  # p95 − p5 of a standard normal
N, T = 20_000, 4


def previews(spread_K: Array, error_K: Array, n: int = N) -> Array:
    """[N, T, K]: previews of the given spread at every step, finished images that lie the given error from them."""
    rng = np.random.default_rng(0)
    preview_NTK = rng.normal(size=(n, T, len(spread_K))) * spread_K
    finished_NK = rng.normal(size=(n, len(spread_K))) * error_K
    return np.concatenate([preview_NTK[:, :1].repeat(T - 1, axis=1), preview_NTK[:, :1] + finished_NK[:, None]], axis=1)


def test_gaussian_previews_have_a_closed_form() -> None:
    spread, error = np.array([1.0, 0.5, 0.1]), np.array([1.0, 0.25, 1.0])
    projection = previews(spread, error)
    assert_allclose(observability(projection), NINETY * spread / error, rtol=0.03)
    assert_allclose(observability_by_step(projection), np.tile(NINETY * spread / error, (T - 1, 1)), rtol=0.03)


def test_only_what_differs_among_images_counts() -> None:
    """Not which step it was, nor the size or the sign of the axis."""
    projection = previews(np.ones(2), np.ones(2), 500)
    offset = np.arange(T)[:, None] * 100.0
    assert_allclose(observability(projection + offset), observability(projection))
    assert_allclose(observability_by_step(-7 * projection + offset), observability_by_step(projection))


def test_the_pooled_number_lies_between_those_of_the_steps() -> None:
    rng = np.random.default_rng(1)
    finished = rng.normal(size=(N, 1, 1))
    projection = np.concatenate([finished * c + rng.normal(size=(N, 1, 1)) * (1 - c) for c in (0.2, 0.6, 0.9, 1)], 1)
    by_step = observability_by_step(projection)[:, 0]
    assert by_step[0] < by_step[1] < by_step[2]
    assert by_step[0] < observability(projection)[0] < by_step[2]


def test_previews_of_other_images_score_what_chance_gives() -> None:
    """Independent spread a beside spread f: 3.29·a/√(a² + f²), never more than 2.33 for previews no wider than images."""
    projection = previews(np.array([1.0]), np.array([0.5]))
    expected = NINETY / np.sqrt(1 + 1.25)
    assert_allclose(observability(unrelated(projection)), expected, rtol=0.03)
    found = observability_of(projection, (0, 1, 2, 9))
    assert found.found.chance == pytest.approx(expected, rel=0.03)
    assert found.found.mean.value is not None and found.found.mean.value > 2 * (found.found.chance or 0)
    assert found.steps == (0, 1, 2) and len(found.by_step) == 3


def test_its_interval_holds_the_value_and_narrows() -> None:
    wide, narrow = (observability_of(previews(np.ones(2), np.ones(2), n), (0, 1, 2, 3)).found.mean for n in (40, 4000))
    for found in (wide, narrow):
        assert found.low is not None and found.value is not None and found.high is not None
        assert found.low <= found.value <= found.high
    assert (wide.high or 0) - (wide.low or 0) > 3 * ((narrow.high or 0) - (narrow.low or 0))


def test_previews_that_are_the_image_and_directions_of_nothing() -> None:
    projection = previews(np.ones(1), np.zeros(1), 50)
    assert observability(projection)[0] == np.inf
    assert observability_of(projection, (0, 1, 2, 3)).found.mean.value is None  # stored as no number
    for few in (projection[:1], projection[:, :1]):
        with pytest.raises(BadInput, match="needs 2 images"):
            observability(few)


def test_directions_that_do_not_show_are_named() -> None:
    """Direction 1 is noise beside its image: it passes the published bar of 1, and no more than other images do."""
    rng = np.random.default_rng(0)
    projection = previews(np.array([1.0, 1.0, 0.1]), np.array([0.2, 0.2, 1.0]), 2000)
    projection[:, -1, 1] = rng.normal(size=2000)
    found = observability_of(projection, (0, 1, 2, 3))
    assert found.found.each[1] is not None and found.found.each[1] > 1
    assert (found.found.each[2] or 0) < 1
    assert found.unseen[-1] == 2 and 0 not in found.unseen


@spoiled.each_way
def test_spoiled_projections_are_refused(spoil: Callable[[Array], Array]) -> None:
    with pytest.raises(BadInput):
        observability(spoil(previews(np.ones(2), np.ones(2), 20)))
