"""How sure a number is: intervals over the seeds it was measured on.

Seeds are the unit: images of one seed share their noise and are not independent, so that resampling images would
promise too much.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput

# The 97.5 % point of Student's t by degrees of freedom; beyond the last the normal's is near enough.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)

Statistic = Callable[[npt.NDArray[np.int64]], npt.ArrayLike]


def bootstrap(
    statistic: Statistic, count: int, *, seed: int = 0, resamples: int = 500, level: float = 0.95, centred: bool = False
) -> tuple[Array, Array]:
    """(low, high), each of the statistic's shape: percentile interval (Efron 1979) over `count` seeds; the same for the
    same `seed`.

    `statistic(index_S)` gets `count` indices of seeds, drawn with replacement, in ascending order, once for each set of
    them: few seeds are drawn alike again and again. One that compares seeds should be given them, or a seed's repeats
    count as seeds that agree: `effects.effects` wants `seeds_S=index_S`. Resamples where the statistic is NaN do not
    count; where it always is, so are the ends.
    `centred` gives the ends as distances from the resamples' median: for statistics that resampling shifts.
    The ends are values that were reached, never between two, so that infinities stand; those about an infinite median
    are NaN. Raises BadInput if count < 2, resamples < 1 or level is not between 0 and 1.
    """
    if count < 2:
        raise BadInput(f"An interval over seeds needs at least 2, got {count}.")
    if resamples < 1 or not 0 < level < 1:
        raise BadInput(f"bootstrap needs at least 1 resample and a level between 0 and 1, got {resamples} and {level}.")
    rng = np.random.default_rng(seed)

    @cache
    def of(*index: int) -> Array:
        return np.asarray(statistic(np.array(index)), dtype=np.float64)

    drawn = np.stack([of(*sorted(rng.integers(count, size=count).tolist())) for _ in range(resamples)])
    never = np.isnan(drawn).all(axis=0)
    ends = np.nanpercentile(np.where(never, 0, drawn), [50 * (1 - level), 50 * (1 + level)], axis=0, method="nearest")
    middle = np.nanmedian(np.where(never, 0, drawn), axis=0) if centred else 0
    with np.errstate(invalid="ignore"):  # an infinite end about an infinite median is no distance
        low, high = np.where(never, np.nan, ends - middle)
    return np.asarray(low), np.asarray(high)


def over_runs(values_N: npt.ArrayLike) -> tuple[float, float, float]:
    """(mean, low, high): a 95 % interval of the mean of a few independent runs by Student's t. Of one run the ends are
    NaN: it does not say how sure it is."""
    values = np.asarray(values_N, dtype=np.float64)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, float("nan"), float("nan")
    half = (STUDENT[count - 2] if count - 2 < len(STUDENT) else 1.96) * float(values.std(ddof=1)) / count**0.5
    return mean, mean - half, mean + half
