"""Features of two sets -> precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, same
from sliderspace.measure.sets.features import pair

ROWS = 256  # images compared with all others at a time


class Manifold:
    """Where the images of a set lie: the balls about each that reach to its k-th nearest neighbour in the set."""

    def __init__(self, own_MD: npt.ArrayLike, k: int = 3) -> None:
        self.own_MD = own = checked("own_MD", own_MD, 2)
        if not 1 <= k < len(own):
            raise BadInput(f"A manifold with k = {k} needs k ≥ 1 and more than {k} images, there are {len(own)}.")
        # the nearest is the image itself
        self.radius_M = np.concatenate([np.partition(d, k, axis=1)[:, k] for d in _distances(own, own)])

    def inside(self, x_ND: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """[N]: which images lie in a ball."""
        return self.balls(x_ND) > 0

    def balls(self, x_ND: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """[N]: in how many balls each image lies."""
        return np.concatenate([(d <= self.radius_M).sum(axis=1) for d in self._to(x_ND)])

    def covered(self, x_ND: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """[M]: in which balls some of these images lie."""
        return np.any([(d <= self.radius_M).any(axis=0) for d in self._to(x_ND)], axis=0)

    def _to(self, x_ND: npt.ArrayLike) -> Iterator[Array]:
        x = checked("x_ND", x_ND, 2)
        same("dimensions", x.shape[1], self.own_MD.shape[1])
        return _distances(x, self.own_MD)


def precision(real_ND: npt.ArrayLike, generated_ND: npt.ArrayLike, k: int = 3) -> float:
    """Share of generated images in the real ones' manifold, 0 … 1: how good they are."""
    real, generated = pair(real_ND, generated_ND)
    return float(Manifold(real, k).inside(generated).mean())


def recall(real_ND: npt.ArrayLike, generated_ND: npt.ArrayLike, k: int = 3) -> float:
    """Share of real images in the generated ones' manifold, 0 … 1: how much of the variety is there."""
    return precision(generated_ND, real_ND, k)


def density(real_ND: npt.ArrayLike, generated_ND: npt.ArrayLike, k: int = 5) -> float:
    """In how many real balls a generated image lies, over k: about 1 for sets of one distribution, and not at most 1.

    As precision, but one stray real image with a large ball counts for little.
    """
    real, generated = pair(real_ND, generated_ND)
    return float(Manifold(real, k).balls(generated).mean() / k)


def coverage(real_ND: npt.ArrayLike, generated_ND: npt.ArrayLike, k: int = 5) -> float:
    """Share of real balls with a generated image inside, 0 … 1. As recall, but blind to strays among the generated."""
    real, generated = pair(real_ND, generated_ND)
    return float(Manifold(real, k).covered(generated).mean())


def _distances(x_ND: Array, y_MD: Array) -> Iterator[Array]:
    """Euclidean, [≤ ROWS, M] at a time, by matrix products; those of near pairs row by row, for ‖x‖²+‖y‖²−2xy cancels
    there."""
    middle = y_MD.mean(axis=0)
    y, square_M = y_MD - middle, ((y_MD - middle) ** 2).sum(axis=1)
    for first in range(0, len(x_ND), ROWS):
        x = x_ND[first : first + ROWS] - middle
        both = (x**2).sum(axis=1)[:, None] + square_M
        squared = both - 2 * (x @ y.T)
        for row, near_M in enumerate(squared <= 1e-6 * both):
            if near_M.any():
                squared[row, near_M] = ((y_MD[near_M] - x_ND[first + row]) ** 2).sum(axis=1)
        yield np.sqrt(squared)
