"""Features of two sets -> kernel distance (Bińkowski et al. 2018; with Inception's pool3 it is KID)."""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.sets.features import pair


def kernel_distance(
    real_ND: npt.ArrayLike, generated_ND: npt.ArrayLike, *, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Mean and spread over random subsets of the unbiased squared MMD with the kernel (xᵀy/D + 1)³; about 0, or a
    little below, for sets of one distribution.

    Subsets hold `size` images, or all there are; they are drawn as torch-fidelity draws them, so that its numbers and
    these agree for a seed. Raises BadInput for sets of different size or dimensions, and for fewer than 2 images.
    """
    real, generated = pair(real_ND, generated_ND)
    size = min(size, len(real))
    if subsets < 1 or size < 2:
        raise BadInput(f"kernel_distance needs a subset of at least 2 images, got {subsets} subsets of {size}.")
    rng = np.random.RandomState(seed)
    found = [_mmd(*(x[rng.choice(len(x), size, replace=False)] for x in (real, generated))) for _ in range(subsets)]
    return float(np.mean(found)), float(np.std(found))


def _mmd(x_MD: Array, y_MD: Array) -> float:
    """The unbiased estimate of MMD² (Gretton et al. 2012, eq. 3): pairs of an image with itself do not count."""
    m = len(x_MD)
    own = sum(float(k.sum() - np.trace(k)) for k in (_kernel(x_MD, x_MD), _kernel(y_MD, y_MD)))
    return own / (m * (m - 1)) - 2 * float(_kernel(x_MD, y_MD).mean())


def _kernel(x_MD: Array, y_ND: Array) -> Array:
    return (x_MD @ y_ND.T / x_MD.shape[1] + 1) ** 3
