"""Does a slider do its own thing, the same on every seed, in proportion, without leaving the model's own images?

The array `delta_KSD` holds Δφ = φ(slider k at +1 unit, seed s) - φ(base, seed s): K sliders, S seeds, D dimensions, M
scales. Effects at -1 unit count as their opposite: flip their sign first, or pass `sign` where it is taken.
A move of no length points nowhere: every cosine with it is 0, so that a dead slider scores low and nothing is NaN.
Each function raises BadInput on empty, non-finite or mismatched arrays. Judge with another encoder than the one that
trained.
"""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, same
from sliderspace.measure.sets.manifold import Manifold
from sliderspace.measure.sets.variety import effective_number


def alignment(delta_SD: npt.ArrayLike, v_D: npt.ArrayLike, sign: npt.ArrayLike = 1) -> float:
    """Mean over seeds of cos(Δφ, v), -1 … 1. `sign` is the direction asked for, +1 or -1: one number or one a seed."""
    delta, v = checked("delta_SD", delta_SD, 2), checked("v_D", v_D, 1)
    same("dimensions", delta.shape[1], len(v))
    signs = np.asarray(sign, dtype=np.float64)
    if signs.shape not in ((), delta.shape[:1]) or not (np.abs(signs) == 1).all():
        raise BadInput(f"sign is +1 or -1, one number or one for each of the {len(delta)} seeds.")
    return float((_unit(delta) @ _unit(v) * signs).mean())


def consistency(delta_SD: npt.ArrayLike) -> float:
    """Mean over seeds of cos(Δφ(seed), mean Δφ), -1 … 1. Unrelated moves score about 1/√S, not 0: use many seeds."""
    delta = checked("delta_SD", delta_SD, 2)
    if len(delta) < 2:
        raise BadInput("consistency compares seeds with each other and needs at least 2.")
    return float((_unit(delta) @ _unit(delta.mean(axis=0))).mean())


def leakage(delta_KSD: npt.ArrayLike, v_KD: npt.ArrayLike) -> Array:
    """C [K, K]: cos(mean Δφ of slider i, direction j). A good space has a large diagonal and little beside it."""
    delta, v = checked("delta_KSD", delta_KSD, 3), checked("v_KD", v_KD, 2)
    same("sliders", len(delta), len(v))
    same("dimensions", delta.shape[2], v.shape[1])
    return _unit(delta.mean(axis=1)) @ _unit(v).T


def selectivity(leakage_KK: npt.ArrayLike) -> Array:
    """[K]: |Cᵢᵢ| / mean over j≠i of |Cᵢⱼ|. Infinite where nothing leaks, or for a single slider; 0 for a dead one."""
    size = np.abs(checked("leakage_KK", leakage_KK, 2))
    same("rows and columns", *size.shape)
    own, others = np.diag(size), (size.sum(axis=1) - np.diag(size)) / max(len(size) - 1, 1)
    return np.divide(own, others, out=np.where(own > 0, np.inf, 0.0), where=others > 0)


def orthogonality(delta_KSD: npt.ArrayLike) -> Array:
    """[K, K]: |cos(mean Δφᵢ, mean Δφⱼ)|; read it off the diagonal, 0 where two sliders share nothing."""
    unit = _unit(checked("delta_KSD", delta_KSD, 3).mean(axis=1))
    return np.abs(unit @ unit.T)


def effective_rank(delta_KSD: npt.ArrayLike) -> float:
    """How many different things the sliders do: K if orthogonal, 1 if all alike, 0 if all dead.

    exp of the entropy of the singular values (Roy & Vetterli 2007) of the mean moves at unit length: size is not
    counted.
    """
    return effective_number(np.linalg.svd(_unit(checked("delta_KSD", delta_KSD, 3).mean(axis=1)), compute_uv=False))


def monotone_share(projection_KSM: npt.ArrayLike, scales_M: npt.ArrayLike, threshold: float = 0.8) -> Array:
    """[K]: share of sweeps whose projection on vᵢ has Spearman ρ > threshold with the scale. A flat sweep counts as
    not."""
    projection, scales = checked("projection_KSM", projection_KSM, 3), checked("scales_M", scales_M, 1)
    same("scales", projection.shape[2], len(scales))
    if len(np.unique(scales)) < 3:
        raise BadInput(
            "monotone_share needs a sweep of at least 3 different scales: any 2 are in order or not by chance."
        )
    return (_unit(_ranks(projection)) @ _unit(_ranks(scales)) > threshold).mean(axis=1)


def realism(slider_ND: npt.ArrayLike, base_MD: npt.ArrayLike, fresh_ND: npt.ArrayLike, k: int = 3) -> float:
    """Share of slider images inside the base images' manifold, over the same share for fresh base images.

    About 1 where sliders stay among the model's own images, 0 where they left; a little over 1 is possible.
    """
    base = Manifold(base_MD, k)
    reference = base.inside(fresh_ND).mean()
    if reference == 0:
        raise BadInput(
            "No fresh base image lies near the base images, so realism has no yardstick. Use more base images."
        )
    return float(base.inside(slider_ND).mean() / reference)


def carried_over(v_KD: npt.ArrayLike, z_ND: npt.ArrayLike, other_NE: npt.ArrayLike) -> Array:
    """Directions of one encoder in the space of another, [K, E], unit length.

    Row k is how the other embedding changes, among the same N images, as the first one moves along vₖ: the covariance
    of the other with the projection on vₖ. So sliders can be judged by an encoder that had no part in finding or
    training them.
    """
    v, z, other = checked("v_KD", v_KD, 2), checked("z_ND", z_ND, 2), checked("other_NE", other_NE, 2)
    same("dimensions", v.shape[1], z.shape[1])
    same("images", len(z), len(other))
    return _unit(((z - z.mean(axis=0)) @ v.T).T @ (other - other.mean(axis=0)))


def spearman(x_N: npt.ArrayLike, y_N: npt.ArrayLike) -> float:
    """Rank correlation, -1 … 1, ties averaged; 0 where one of the two is constant."""
    x, y = checked("x_N", x_N, 1), checked("y_N", y_N, 1)
    same("lengths", len(x), len(y))
    return float(_unit(_ranks(x)) @ _unit(_ranks(y)))


def usable_span(
    projection_KSM: npt.ArrayLike, distance_KSM: npt.ArrayLike, scales_M: npt.ArrayLike, tau: float
) -> Array:
    """[K, 2]: widest interval of scales around 0 where the projection rises and the perceptual distance to scale 0 is ≤
    tau.

    Judged on means over seeds. `scales_M` ascends and contains 0. A slider of no use gets (0, 0).
    """
    projection, distance = checked("projection_KSM", projection_KSM, 3), checked("distance_KSM", distance_KSM, 3)
    scales = checked("scales_M", scales_M, 1)
    same("shapes", projection.shape, distance.shape)
    same("scales", projection.shape[2], len(scales))
    if (np.diff(scales) <= 0).any() or 0 not in scales:
        raise BadInput("usable_span needs scales that ascend and contain 0.")
    zero = int(np.flatnonzero(scales == 0)[0])
    rises, near = np.diff(projection.mean(axis=1)) > 0, distance.mean(axis=1) <= tau
    up = np.logical_and.accumulate(rises[:, zero:] & near[:, zero + 1 :], axis=1).sum(axis=1)
    down = np.logical_and.accumulate((rises[:, :zero] & near[:, :zero])[:, ::-1], axis=1).sum(axis=1)
    return np.stack([scales[zero - down], scales[zero + up]], axis=1)


def _unit(x: Array) -> Array:
    """Scale to length 1 along the last axis; a zero vector stays zero."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def cosines(x_ND: npt.ArrayLike, y_ND: npt.ArrayLike) -> Array:
    """[N]: row by row."""
    x, y = checked("x_ND", x_ND, 2), checked("y_ND", y_ND, 2)
    same("shapes", x.shape, y.shape)
    return (_unit(x) * _unit(y)).sum(axis=1)


def _ranks(x: Array) -> Array:
    """Twice the ranks along the last axis, ties averaged, about their mean: how many are smaller minus how many are
    larger."""
    return np.sign(x[..., :, None] - x[..., None, :]).sum(axis=-1)
