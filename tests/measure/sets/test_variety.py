"""Vendi score, mean pairwise distance and CLIP-score beside their definitions and closed forms."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import logm
from scipy.spatial.distance import cosine, pdist
from support import spoiled

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.sets.text import clip_score
from sliderspace.measure.sets.variety import effective_number, mean_pairwise_distance, vendi_score

RNG = np.random.default_rng(0)
X: Array = RNG.normal(size=(30, 40)) + 0.5


@pytest.mark.parametrize("dims", [40, 7], ids=["fewer images", "fewer dimensions"])
def test_vendi_is_the_exponential_of_the_von_neumann_entropy(dims: int) -> None:
    x = X[:, :dims]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    rho = unit @ unit.T / len(x)
    entropy = -np.trace(rho @ logm(rho + 1e-14 * np.eye(len(x)))).real
    assert vendi_score(x) == pytest.approx(np.exp(entropy), abs=1e-6)


def test_vendi_counts_different_images() -> None:
    assert vendi_score(np.eye(6)) == pytest.approx(6)
    assert vendi_score(np.tile(X[:1], (9, 1))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(4), 5, axis=0) * RNG.uniform(1, 9, size=(20, 1))) == pytest.approx(4)
    assert effective_number(np.array([3.0, 3.0, 0.0])) == pytest.approx(2) and effective_number(np.zeros(3)) == 0


def test_mean_pairwise_distance() -> None:
    assert mean_pairwise_distance(X) == pytest.approx(pdist(X, "cosine").mean(), abs=1e-12)
    assert mean_pairwise_distance(X) == pytest.approx(np.mean([cosine(a, b) for a, b in combinations(X, 2)]))
    assert mean_pairwise_distance(np.eye(5)) == pytest.approx(1)
    assert mean_pairwise_distance([[1, 0], [-2, 0]]) == pytest.approx(2)


def test_clip_score() -> None:
    text = RNG.normal(size=X.shape)
    each = [max(100 * (1 - cosine(a, b)), 0) for a, b in zip(X, text, strict=True)]
    assert min(each) == 0 < max(each)  # the cut at 0 is an image's own
    assert clip_score(X, text) == pytest.approx(np.mean(each), abs=1e-9)
    assert clip_score(X, 3 * X) == pytest.approx(100) and clip_score(X, -X) == 0
    with pytest.raises(BadInput):
        clip_score(X, text[:5])


@spoiled.each_way
@pytest.mark.parametrize("measure", [vendi_score, mean_pairwise_distance])
def test_spoiled_features_are_refused(measure: Callable[[Array], float], spoil: Callable[[Array], Array]) -> None:
    with pytest.raises(BadInput):
        measure(spoil(X))


@pytest.mark.parametrize("measure", [vendi_score, mean_pairwise_distance])
def test_one_image_and_an_embedding_of_zeros_have_no_variety(measure: Callable[[Array], float]) -> None:
    for x in (X[:1], X * (np.arange(30) > 0)[:, None]):
        with pytest.raises(BadInput, match="at least 2 images"):
            measure(x)
