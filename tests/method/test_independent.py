"""Independent axes: things that vary by themselves are found each by itself, and one thing of many values once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.decomposition import FastICA

from sliderspace.core.arrays import Array
from sliderspace.method.independent import (
    CHANCE,
    SLIGHT,
    components_for,
    distance_correlation,
    independent_axes,
    independent_components,
    joined,
)

DIM = 12


def mixed(parts: int, count: int = 2000, seed: int = 0) -> tuple[Array, Array]:
    """Independent sources [N, parts] of several kinds, and a mixing [parts, parts] whose rows are not orthogonal."""
    rng = np.random.default_rng(seed)
    kinds = [rng.uniform(-1, 1, count), rng.random(count) < 0.15, rng.laplace(size=count), rng.choice([-1, 1], count)]
    y = np.stack([rng.permutation(kinds[i % 4]) for i in range(parts)], axis=1).astype(float)
    return (y - y.mean(0)) / y.std(0), rng.normal(size=(parts, parts)) + 2 * np.eye(parts)


def matches(found: Array, true: Array) -> Array:
    """Of each true column, the largest correlation with a found one."""
    return np.abs(np.corrcoef(found.T, true.T)[: found.shape[1], found.shape[1] :]).max(axis=0)


def test_sources_of_every_kind_are_found_whatever_mixed_them() -> None:
    y, mixing = mixed(8)
    found, back = independent_components(y @ mixing)
    assert matches(found, y).min() > 0.98
    assert_allclose(found @ back, y @ mixing, atol=1e-8)
    assert_allclose(found.std(axis=0), 1, atol=1e-6)


def test_they_are_those_of_scikit_learn() -> None:
    y, mixing = mixed(6, seed=1)
    theirs = FastICA(6, fun="exp", whiten="unit-variance", random_state=0, tol=1e-7, max_iter=1000).fit(y @ mixing)
    assert matches(independent_components(y @ mixing)[0], y @ mixing @ theirs.components_.T).min() > 0.999


def test_coordinates_that_do_not_vary_leave_numbers() -> None:
    x = np.zeros((30, 3))
    x[:, :2] = np.random.default_rng(0).normal(size=(30, 2))
    assert all(np.isfinite(part).all() for part in independent_components(x - x.mean(0)))


def test_a_square_depends_on_its_root_though_they_are_uncorrelated() -> None:
    root = np.random.default_rng(0).normal(size=500)
    found = distance_correlation(np.stack([root, root**2, np.random.default_rng(1).normal(size=500)], axis=1))
    assert_allclose(np.diag(found), 1, atol=1e-5)
    assert found[0, 1] > 0.2 > 0.02 > abs(found[0, 2])
    assert_allclose(found, found.T)


def test_independent_components_are_uncorrelated_by_distance_on_average() -> None:
    for count in (100, 400):
        apart = distance_correlation(np.random.default_rng(0).normal(size=(count, 40)))[np.triu_indices(40, 1)]
        assert abs(apart.mean()) < 0.2 / count and 1 < apart.std() * count < 2.5


@pytest.mark.parametrize("count", [1, 3, 6, 10])
def test_groups_are_those_of_average_linkage(count: int) -> None:
    dependence = np.random.default_rng(3).random((10, 10))
    dependence = dependence + dependence.T
    np.fill_diagonal(dependence, 2)
    tree = linkage(squareform(2 - dependence), "average")
    theirs = fcluster(tree, count, "maxclust")
    assert {frozenset(g) for g in joined(dependence, count)} == {
        frozenset(np.nonzero(theirs == g)[0].tolist()) for g in np.unique(theirs)
    }


def test_groups_that_depend_on_each_other_by_chance_are_left_apart() -> None:
    dependence = np.full((4, 4), 0.01)
    dependence[0, 1] = dependence[1, 0] = 0.5
    assert joined(dependence, 2, least=0.02) == [[0, 1], [2], [3]]


def test_a_thing_of_many_values_is_one_axis_and_leaves_the_others_theirs() -> None:
    """Four colours, three directions of their own, and four things that are there or not: five axes."""
    rng = np.random.default_rng(0)
    own = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0].T
    colour = np.eye(4)[rng.choice(4, 4000, p=[0.4, 0.3, 0.2, 0.1])] @ own[:4] * 1.5
    there = rng.random((4000, 4)) < [0.5, 0.3, 0.2, 0.15]
    z = colour + there @ own[4:8] + 0.02 * rng.normal(size=(4000, DIM))
    basis = np.linalg.eigh(np.cov(z.T))[1][:, ::-1][:, :7].T
    axes = independent_axes(z, basis, 5)
    assert_allclose(np.linalg.norm(axes, axis=1), 1)
    held = np.abs(axes @ own[4:8].T)
    assert np.sort(held.max(axis=0)).min() > 0.98, "each thing that is there or not has an axis"
    rest = axes[held.max(axis=1) < 0.5]
    assert len(rest) == 1 and np.linalg.norm(rest @ own[:4].T) > 0.98, "the colours have one"


def test_two_things_that_crowd_each_other_a_little_keep_their_axes_and_the_weakest_goes() -> None:
    """Horns are seldom where ears are. Joined, they would be one axis, and something fainter would take the other."""
    rng = np.random.default_rng(0)
    own = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0].T
    ears = np.arange(1000) < 300
    horns = np.concatenate([np.arange(300) < 88, np.arange(700) < 224])
    faint = rng.normal(size=1000) ** 3 / 4
    z = np.stack([ears, 0.9 * horns, 0.2 * faint], axis=1) @ own[:3]
    basis = np.linalg.eigh(np.cov(z.T))[1][:, ::-1][:, :3].T
    sources, _ = independent_components((z - z.mean(axis=0)) @ basis.T)
    slight = distance_correlation(sources)[np.triu_indices(3, 1)].max()
    assert CHANCE / len(z) < slight < SLIGHT, "more than by chance, and no more than two things may"
    held = np.abs(independent_axes(z, basis, 2) @ own[:3].T)
    assert held.max(axis=0)[:2].min() > 0.9 > held.max(axis=0)[2]


@pytest.mark.parametrize(
    ("count", "images", "dim", "parts"), [(16, 1000, 64, 32), (16, 1000, 24, 24), (16, 100, 64, 16), (2, 12, 64, 2)]
)
def test_components_are_twice_the_axes_where_images_and_encoder_carry_them(
    count: int, images: int, dim: int, parts: int
) -> None:
    assert components_for(count, images, dim) == parts
