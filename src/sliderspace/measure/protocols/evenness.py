"""Sweeps -> evenness: whether equal turns of a slider make equal steps for the eye (UniSlider, arXiv 2610.06831)."""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked
from sliderspace.measure.intervals import bootstrap
from sliderspace.measure.protocols.records import Protocol
from sliderspace.measure.records import interval


def evenness(z_KSMD: npt.ArrayLike) -> Array:
    """[K, S]: coefficient of variation of the distances 1 − cos between consecutive images of each sweep: 0 where all
    are alike, √(M − 2) at most. NaN where nothing moves. Raises BadInput for fewer than 3 scales."""
    z = checked("z_KSMD", z_KSMD, 4)
    if z.shape[2] < 3:
        raise BadInput("evenness compares steps and needs at least 3 scales.")
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    # ‖a − b‖²/2 is 1 − cos without its cancellation
    step_KSN = (np.diff(unit, axis=2) ** 2).sum(axis=-1) / 2
    mean_KS = step_KSN.mean(axis=-1)
    return np.divide(step_KSN.std(axis=-1), mean_KS, out=np.full_like(mean_KS, np.nan), where=mean_KS > 0)


def thrown_at_random(scales: int) -> float:
    """The same of M − 1 steps cut from one way by random points (spacings of uniform points): √((n − 1)/(n + 1))."""
    steps = scales - 1
    return float(np.sqrt((steps - 1) / (steps + 1)))


def evenness_of(z_KSMD: npt.ArrayLike) -> Protocol:
    """The mean over sliders and seeds with an interval over seeds, and of each slider; lower is more even."""
    each_KS = evenness(z_KSMD)
    low, high = bootstrap(lambda seeds: _mean(each_KS[:, seeds]), each_KS.shape[1])
    return Protocol(
        mean=interval(_mean(each_KS), float(low), float(high)),
        chance=thrown_at_random(np.shape(z_KSMD)[2]),
        each=tuple(_mean(row) for row in each_KS),
    )


def _mean(values: Array) -> float:
    """Of those that are known; NaN of none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
