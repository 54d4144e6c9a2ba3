"""Axes that vary independently of each other: the parts a concept is made of, as far as images alone can say.

PCA turns freely among directions of nearly equal variance, so each of its axes mixes several things that vary. Those
things (a tail, the arms, the colour of the ground) vary independently, which independent component analysis finds.
A thing of many values comes out as several components, one for each rare value; they depend on each other. So
components that do are joined in groups (independent subspaces: Hyvärinen & Hoyer 2000), and the axis of a group is its
first principal one: the main contrast within it, which images can follow both ways.

N finished images, D dimensions, M components, K groups. Everything is float64 and deterministic.
"""

import math

import numpy as np

from sliderspace.core.arrays import Array

SPARE = 2  # components an axis: what depends on each other takes several
IMAGES = 16  # a component, at least: with fewer, components are single images
MOST = 1000  # images that dependence is told by, fewer of many components: it takes memory by their square
CHANCE = 10  # by the number of images, a distance correlation that independent components do not reach: six sigma
# A dependence that two things may have, for one hides or crowds the other in a picture. Components of one thing depend
# on each other by more (docs/log.md); joined below it, the weaker of two things would have no axis.
SLIGHT = 0.015


def independent_axes(z_ND: Array, basis_MD: Array, count: int) -> Array:
    """The `count` strongest independent axes [K, D] of embeddings within the span of an orthonormal basis, unit
    length, strongest first."""
    sources_NM, mixing_MM = independent_components((z_ND - z_ND.mean(axis=0)) @ basis_MD.T)
    groups = [[m] for m in range(len(basis_MD))]
    if len(groups) > count:
        some_NM = sources_NM[: min(MOST, math.isqrt(2**26 // len(groups)))]
        groups = joined(distance_correlation(some_NM), count, least=max(SLIGHT, CHANCE / len(some_NM)))
    found = sorted((_main_axis(mixing_MM[group]) for group in groups), key=lambda axis: -float(np.linalg.norm(axis)))
    return np.stack([axis / np.linalg.norm(axis) for axis in found[:count]]) @ basis_MD


def components_for(count: int, images: int, dim: int) -> int:
    """M: how many components are looked for where `count` axes are asked for, in `dim` dimensions that vary."""
    return max(count, min(SPARE * count, images // IMAGES, dim))


def independent_components(x_NM: Array, rounds: int = 400, tolerance: float = 1e-6) -> tuple[Array, Array]:
    """Centred coordinates -> (sources [N, M] of unit variance, mixing [M, M]), with x = sources @ mixing.

    FastICA (Hyvärinen 1999), all components at once, contrast −exp(−y²/2), which rare and large values disturb least;
    it starts at the axes as they are.
    """
    variance_M, axes_MM = np.linalg.eigh(x_NM.T @ x_NM / len(x_NM))
    spread_M = np.sqrt(np.maximum(variance_M, 1e-12 * variance_M[-1]))
    white_NM = x_NM @ (axes_MM / spread_M)
    turn_MM = np.eye(len(axes_MM))
    for _ in range(rounds):
        y_NM = white_NM @ turn_MM
        bell_NM = np.exp(-(y_NM**2) / 2)
        slope_M = ((1 - y_NM**2) * bell_NM).mean(axis=0)
        left, _, right = np.linalg.svd(white_NM.T @ (y_NM * bell_NM) / len(x_NM) - turn_MM * slope_M)
        before_MM, turn_MM = turn_MM, left @ right
        if np.abs(np.abs((turn_MM * before_MM).sum(axis=0)) - 1).max() < tolerance:
            break
    return white_NM @ turn_MM, turn_MM.T @ (axes_MM * spread_M).T


def distance_correlation(y_NM: Array) -> Array:
    """[M, M] of each pair of components: 1 of one with itself, 0 on average where two are independent, with a standard
    deviation of some 1.7/N there (squared and unbiased: Székely & Rizzo 2014)."""
    count, parts = y_NM.shape
    apart_MP = np.empty((parts, count * count), dtype=np.float32)
    for m, y_N in enumerate(y_NM.T):
        far_NN = np.abs(y_N[:, None] - y_N)
        row_N = far_NN.sum(axis=0) / (count - 2)
        far_NN += row_N.sum() / (count - 1) - row_N - row_N[:, None]
        np.fill_diagonal(far_NN, 0)
        apart_MP[m] = (far_NN / np.linalg.norm(far_NN)).ravel()
    return (apart_MP @ apart_MP.T).astype(np.float64)


def joined(dependence_MM: Array, count: int, least: float = 0.0) -> list[list[int]]:
    """Components in groups: those two groups are joined whose members depend on each other most, on average over their
    pairs, until `count` groups are left or none depend on each other by more than `least`."""
    groups, mean_GG = [[m] for m in range(len(dependence_MM))], dependence_MM.copy()
    np.fill_diagonal(mean_GG, -np.inf)
    while len(groups) > count and mean_GG.max() > least:
        i, j = sorted(map(int, np.unravel_index(mean_GG.argmax(), mean_GG.shape)))
        mean_GG[i] = np.average(mean_GG[[i, j]], axis=0, weights=[len(groups[i]), len(groups[j])])
        mean_GG[:, i] = mean_GG[i]
        mean_GG[i, i] = -np.inf
        mean_GG = np.delete(np.delete(mean_GG, j, axis=0), j, axis=1)
        groups[i] += groups.pop(j)
    return groups


def _main_axis(mixing_GM: Array) -> Array:
    """The first principal axis of what some components span, its length the standard deviation along it."""
    _, size_G, rows_GM = np.linalg.svd(mixing_GM, full_matrices=False)
    return size_G[0] * rows_GM[0]
