"""Stored trajectories -> observability: whether a direction shows in single previews at all, before anything is trained
for it (Measured Sliders, arXiv 2609.05234, which asks for more than 1).

N images, T embedded steps, the last of them the finished image; K directions.
"""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked
from sliderspace.measure.intervals import bootstrap
from sliderspace.measure.protocols.records import Observability, Protocol
from sliderspace.measure.records import as_table, interval

RESAMPLES = 100  # each sorts all previews


def observability(projection_NTK: npt.ArrayLike) -> Array:
    """[K]: (p95 − p5) of the projections of all previews, over their error, the deviation of preview from finished
    image. Projections count about their step's mean, so that what only the step decides is neither.

    Infinite where previews are the finished image. Raises BadInput for fewer than 2 images or 2 steps.
    """
    preview_NPK, finished_N1K = _parts(projection_NTK)
    spread_K = _spread(preview_NPK.reshape(-1, preview_NPK.shape[-1]))
    return _ratio(spread_K, np.sqrt(((preview_NPK - finished_N1K) ** 2).mean(axis=(0, 1))))


def observability_by_step(projection_NTK: npt.ArrayLike) -> Array:
    """[T − 1, K]: the same of the previews of one step."""
    preview_NPK, finished_N1K = _parts(projection_NTK)
    return _ratio(_spread(preview_NPK), (preview_NPK - finished_N1K).std(axis=0))


def unrelated(projection_NTK: npt.ArrayLike) -> Array:
    """The same projections with each image's previews beside another's finished image: what they score is chance."""
    projection = np.array(projection_NTK, dtype=np.float64)
    projection[:, -1] = np.roll(projection[:, -1], 1, axis=0)
    return projection


def observability_of(projection_NTK: npt.ArrayLike, steps: tuple[int, ...]) -> Observability:
    """All of it as it is stored, with an interval over images. `steps` are those of the sampler that were embedded."""
    projection = checked("projection_NTK", projection_NTK, 3)
    each_K = observability(projection)
    low, high = bootstrap(lambda images: observability(projection[images]).mean(), len(projection), resamples=RESAMPLES)
    found = Protocol(
        mean=interval(float(each_K.mean()), float(low), float(high)),
        chance=float(observability(unrelated(projection)).mean()),
        each=tuple(each_K.tolist()),
    )
    return Observability(found=found, steps=steps[:-1], by_step=as_table(observability_by_step(projection)))


def _parts(projection_NTK: npt.ArrayLike) -> tuple[Array, Array]:
    """Previews [N, T − 1, K] and finished images [N, 1, K], about each step's mean."""
    projection = checked("projection_NTK", projection_NTK, 3)
    if min(projection.shape[:2]) < 2:
        raise BadInput("observability compares previews with finished images: it needs 2 images, and 2 embedded steps.")
    centred = projection - projection.mean(axis=0)
    return centred[:, :-1], centred[:, -1:]


def _spread(values_N: Array) -> Array:
    low, high = np.percentile(values_N, [5, 95], axis=0)
    return high - low


def _ratio(spread: Array, error: Array) -> Array:
    return np.divide(spread, error, out=np.full_like(spread, np.inf), where=error > 0)
