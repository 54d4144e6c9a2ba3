"""What every measure asks of its arrays before it looks at them."""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput


def checked(name: str, values: npt.ArrayLike, ndim: int) -> Array:
    """The values as float64. Raises BadInput on another number of dimensions, on none, and on NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or array.size == 0:
        raise BadInput(f"{name} must have {ndim} dimensions and not be empty, got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise BadInput(f"{name} holds values that are not finite (NaN or infinity).")
    return array


def same(what: str, left: object, right: object) -> None:
    if left != right:
        raise BadInput(f"The {what} do not match: {left} and {right}.")


def checked_effects(values: npt.ArrayLike) -> Array:
    array = checked("effects_KF", values, 2)
    if array.min() < 0:
        raise BadInput("effects_KF holds effects below 0.")
    return array
