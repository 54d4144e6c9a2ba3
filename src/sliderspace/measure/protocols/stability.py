"""Directions of two halves of the trajectories -> stability: whether other images of the same concept give the same
axes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, same
from sliderspace.measure.protocols.records import Protocol
from sliderspace.measure.records import interval

TURNS = 20


def matched(axes_KD: npt.ArrayLike, to_KD: npt.ArrayLike) -> Array:
    """The same axes in the order of others: the pair with the largest |cos| first, then the next of those left."""
    axes, to = checked("axes_KD", axes_KD, 2), checked("to_KD", to_KD, 2)
    same("shapes", axes.shape, to.shape)
    left_KK, order = np.abs(to @ axes.T), np.empty(len(axes), dtype=np.int64)
    for _ in order:
        row, column = np.unravel_index(left_KK.argmax(), left_KK.shape)
        order[row] = column
        left_KK[row], left_KK[:, column] = -1, -1
    return axes[order]


def stability(first_KD: npt.ArrayLike, second_KD: npt.ArrayLike, whole_KD: npt.ArrayLike) -> Array:
    """[K]: |cos| between the axes of two halves that were matched to direction k of the whole, 0 … 1. All are unit
    vectors.

    The halves have no image in common; each with the whole would agree by what they share.
    """
    first, second = (matched(axes, whole_KD) for axes in (first_KD, second_KD))
    return np.abs((first * second).sum(axis=1))


def stability_of(halves: Sequence[tuple[Array, Array]], whole_KD: Array, seed: int = 0) -> Protocol:
    """Of several splits into halves: their mean, the lowest and the highest of them as its ends, and each direction's
    mean. Raises BadInput for no split.

    Chance is that of the same halves' subspaces with their axes turned at random: what remains when the subspace is
    found, but no axis in it.
    """
    if not halves:
        raise BadInput("stability needs at least one split into halves.")
    split_PK = np.stack([stability(a, b, whole_KD) for a, b in halves])
    rng = np.random.default_rng(seed)
    turned = [(_turned(a, rng), _turned(b, rng)) for a, b in halves for _ in range(TURNS)]
    by_chance = [stability(a, b, whole_KD) for a, b in turned]
    mean_P = split_PK.mean(axis=1)
    return Protocol(
        mean=interval(float(mean_P.mean()), float(mean_P.min()), float(mean_P.max())),
        chance=float(np.mean(by_chance)),
        each=tuple(split_PK.mean(axis=0).tolist()),
    )


def _turned(axes_KD: Array, rng: np.random.Generator) -> Array:
    """Random axes of the same subspace."""
    return np.linalg.qr(rng.standard_normal((len(axes_KD), len(axes_KD))))[0] @ axes_KD
