"""What every measure of sets asks of its features [N, D] before it looks at them."""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, same


def pair(real_ND: npt.ArrayLike, generated_ND: npt.ArrayLike) -> tuple[Array, Array]:
    """Two sets as float64. Raises BadInput where they differ in count or dimensions: every measure here has a bias that
    depends on N."""
    real, generated = checked("real_ND", real_ND, 2), checked("generated_ND", generated_ND, 2)
    same("dimensions", real.shape[1], generated.shape[1])
    same("numbers of images", len(real), len(generated))
    return real, generated


def unit_rows(x_ND: npt.ArrayLike) -> Array:
    """Rows at length 1. Raises BadInput for a row of zeros, and for fewer than 2: nothing varies in one image."""
    x = checked("x_ND", x_ND, 2)
    length_N1 = np.linalg.norm(x, axis=1, keepdims=True)
    if len(x) < 2 or not length_N1.all():
        raise BadInput("The variety of a set needs at least 2 images, none with an embedding of zeros.")
    return x / length_N1
