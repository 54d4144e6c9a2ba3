"""Sweeps -> natural units: the raw strength that moves finished images by one standard deviation of the model's own.

One natural unit is the strength at which the finished images move, on average over seeds and both signs, by one
standard deviation of the model's own finished images along the slider's direction.
"""

from collections.abc import Sequence

import numpy as np

from sliderspace.core.arrays import Array


def natural_unit(projection_SM: Array, sizes: Sequence[float], sigma: float) -> tuple[float, bool]:
    """Raw strength that moves images by one `sigma` along the direction, and whether the sweep reached it.

    `projection_SM` is Δφ·v at scales `both_ways(sizes)`. The response r(|s|), the mean over seeds and both signs,
    starts at r(0) = 0 and is interpolated between the sizes tried. Where it never reaches sigma, the smallest size
    tried that comes within a tenth of the best response stands in: beyond it a slider moves no further along, and
    images break.
    """
    middle = len(sizes)
    mean_M = projection_SM.mean(axis=0) / sigma
    response = np.concatenate([[0.0], (mean_M[middle + 1 :] - mean_M[:middle][::-1]) / 2])
    above = np.flatnonzero(response >= 1)
    if not len(above):
        enough = response[1:] >= 0.9 * max(0.0, float(response.max()))
        return float(sizes[int(enough.argmax())]), False
    i, tried = int(above[0]), (0.0, *sizes)
    share = (1 - response[i - 1]) / (response[i] - response[i - 1])
    return float(tried[i - 1] + share * (tried[i] - tried[i - 1])), True
