"""Sweeps -> natural units: the raw strength that moves finished images by one standard deviation of the model's own.

One natural unit is the strength at which the finished images move, on average over seeds and both signs, by one
standard deviation of the model's own finished images along the slider's direction.
"""

from collections.abc import Callable, Sequence

import numpy as np

from sliderspace.core.arrays import Array


def natural_unit(projected: Callable[[float], Array], sizes: Sequence[float], sigma: float) -> tuple[float, bool]:
    """Raw strength that moves images by one `sigma` along the direction, and whether a size tried reached it.

    `projected(size)` is Δφ·v [S, 2] at −size and +size. It is asked of ascending sizes until one reaches sigma: larger
    ones would not change the unit, so their images need not be drawn. The response r(size), the mean over seeds and
    both signs, starts at r(0) = 0 and is interpolated between the sizes tried. Where it never reaches sigma, the
    smallest size that comes within a tenth of the best response stands in: beyond it a slider moves no further along,
    and images break.
    """
    tried, response = [0.0], [0.0]
    for size in sizes:
        down, up = projected(size).mean(axis=0) / sigma
        tried.append(size)
        response.append(float(up - down) / 2)
        if response[-1] >= 1:
            share = (1 - response[-2]) / (response[-1] - response[-2])
            return tried[-2] + share * (tried[-1] - tried[-2]), True
    enough = np.array(response[1:]) >= 0.9 * max(0.0, *response)
    return float(sizes[int(enough.argmax())]), False
