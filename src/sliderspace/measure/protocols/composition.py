"""Images with several sliders on -> composition success: in how many of them every slider moves its own way (Measured
Sliders, arXiv 2609.05234)."""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array, Ints
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, same
from sliderspace.measure.intervals import bootstrap
from sliderspace.measure.protocols.records import Protocol
from sliderspace.measure.records import interval


def moved(delta_ND: npt.ArrayLike, chosen_NA: Ints, v_KD: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """[N, A]: whether image n's change Δφ points along the direction of each of its A sliders, vₖ·Δφ > 0."""
    delta, v = checked("delta_ND", delta_ND, 2), checked("v_KD", v_KD, 2)
    same("images", len(delta), len(chosen_NA))
    same("dimensions", delta.shape[1], v.shape[1])
    return np.take_along_axis(delta @ v.T, chosen_NA, axis=1) > 0


def random_sets(rng: np.random.Generator, count: int, active: int, sliders: int) -> Ints:
    """Sets [count, active] of different sliders, each as likely as any."""
    if not 1 <= active <= sliders:
        raise BadInput(f"A set of {active} sliders needs between 1 and {sliders}, the number this space has.")
    return rng.permuted(np.tile(np.arange(sliders), (count, 1)), axis=1)[:, :active]


def composition_of(delta_SRD: npt.ArrayLike, chosen_SRA: Ints, v_KD: npt.ArrayLike, seed: int = 0) -> Protocol:
    """Share of R mixes on each of S seeds in which all A sliders moved their own way, with an interval over seeds; of
    each slider, the share of its mixes in which it did.

    Chance is the same images' share on directions of sliders that were off, or 2⁻ᴬ where fewer than A were: moves that
    point everywhere at once would score there too.
    """
    delta_SRD, v = checked("delta_SRD", delta_SRD, 3), checked("v_KD", v_KD, 2)
    same("mixes", delta_SRD.shape[:2], chosen_SRA.shape[:2])
    delta_ND, chosen_NA = delta_SRD.reshape(-1, v.shape[1]), chosen_SRA.reshape(-1, chosen_SRA.shape[-1])
    moved_NA = moved(delta_ND, chosen_NA, v)
    success_SR = np.asarray(moved_NA.all(axis=1), dtype=np.float64).reshape(chosen_SRA.shape[:2])
    low, high = bootstrap(lambda seeds: success_SR[seeds].mean(), len(success_SR))
    each = [float(moved_NA[chosen_NA == k].mean()) if (chosen_NA == k).any() else np.nan for k in range(len(v))]
    return Protocol(
        mean=interval(float(success_SR.mean()), float(low), float(high)),
        chance=_of_others(delta_ND, chosen_NA, v, np.random.default_rng(seed)),
        each=tuple(each),
    )


def _of_others(delta_ND: Array, chosen_NA: Ints, v_KD: Array, rng: np.random.Generator) -> float:
    """The same images' success on as many directions that were not asked for."""
    active, sliders = chosen_NA.shape[1], len(v_KD)
    if sliders < 2 * active:
        return 0.5**active
    off = [rng.choice(np.setdiff1d(np.arange(sliders), chosen), active, replace=False) for chosen in chosen_NA]
    return float(moved(delta_ND, np.stack(off), v_KD).all(axis=1).mean())
