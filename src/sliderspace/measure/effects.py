"""What sliders do to the true factors of images, as a classifier reads them: the judge.

K sliders, S seeds, R readings of a seed (+1 unit, and -1 unit turned round), F factors, factor f with its own C
classes; N images. A change is p(slider, seed) - p(base, seed) of the judge's class probabilities: it sums to 0 over the
classes. An effect is 0 … 1. Labels are class numbers; a negative one means "unknown", and that image is left out of
that factor. Each function raises BadInput on empty, non-finite or mismatched arrays.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array, Ints
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, checked_effects, same

ROUNDING = 1e-2  # by which probabilities in half precision may miss their sum


# ---- effects: changes that are the same on every seed


def coherent_change(change_SC: npt.ArrayLike, seeds_S: npt.ArrayLike | None = None) -> float:
    """√(max(0, U)/2), 0 … 1: the part of a change [S, C] or [R, S, C] that is the same on every seed; U is `agreement`.

    One class to one other on every seed is 1. Setting the class whatever it was before is less: √((1 - 1/C)/2) from C
    equally common ones. So is a pooled ±1 (R = 2), at most 1/2: no image can go from A to B and, turned round, from A
    to B again. U is unbiased, the root of its positive part is not: unrelated changes score 0 half the time, and seldom
    over about 1/√S.
    """
    change = np.asarray(change_SC, dtype=np.float64)
    return float(_root(agreement(change[None] if change.ndim == 2 else change, seeds_S)))


def effects(changes: Mapping[str, npt.ArrayLike], seeds_S: npt.ArrayLike | None = None) -> Array:
    """[K, F]: `coherent_change` of each slider on each factor, from changes [K, R, S, C] by factor, in the mapping's
    order."""
    return np.stack([_root(_agreements(*_by_seed(d_KSC, seeds_S))[0]) for d_KSC in _tables(changes)], axis=1)


def held_out_gap(changes: Mapping[str, npt.ArrayLike], seeds_S: npt.ArrayLike | None = None, splits: int = 8) -> Array:
    """[K]: largest effect minus second largest, -1 … 1: the two factors are named by one half of the seeds and measured
    on the other.

    The slider's side of the mutual information gap (Chen et al. 2018), on effects. Without the halves chance would show
    as a gap, because the largest of many noisy effects is large; so it is 0 on average for changes that have nothing in
    common, and about 0 for a slider that moves two factors alike. The mean over `splits` splits at random and both ways
    round. NaN for fewer than 4 different seeds.
    """
    tables = [_by_seed(d_KSC, seeds_S) for d_KSC in _tables(changes)]
    groups = len(tables[0][1])
    if groups < 4:
        return np.full(len(tables[0][0]), np.nan)
    rng = np.random.default_rng(0)
    half_HG = np.stack([rng.permutation(groups) < groups // 2 for _ in range(splits)])
    half_HG = np.concatenate([half_HG, ~half_HG])
    here_HKF = np.stack([_agreements(*table, half_HG) for table in tables], axis=-1) / 2
    there_HKF = np.roll(here_HKF, splits, axis=0)
    there_HKF = np.sign(there_HKF) * np.sqrt(np.abs(there_HKF))
    ranked_HKF = np.take_along_axis(there_HKF, np.argsort(-here_HKF, axis=-1, kind="stable"), axis=-1)
    second_HK = ranked_HKF[..., 1] if len(tables) > 1 else 0
    return (ranked_HKF[..., 0] - second_HK).mean(axis=0)


def agreement(change_RSC: npt.ArrayLike, seeds_S: npt.ArrayLike | None = None) -> float:
    """U, at most 2: mean of ⟨dₛ, dₜ⟩ over pairs of different seeds, d the mean over readings. 0 on average for
    unrelated changes.

    U = (‖Σd‖² - Σ‖d‖²)/(S(S - 1)), an unbiased estimate of ‖E d‖² whatever S: the distance between two mean
    distributions is not. Readings of a seed are not independent, so they are averaged first. Nor are a bootstrap's
    repeats of a seed: name the seeds by
    `seeds_S`, and pairs of one seed do not count; NaN if all are of one. Raises BadInput for fewer than 2 seeds.
    """
    d_SC = _changes("change_RSC", change_RSC, 3).mean(axis=0)
    return float(_agreements(*_by_seed(d_SC[None], seeds_S))[0, 0])


def single_factor(effects_KF: npt.ArrayLike, floor: float = 0.2) -> npt.NDArray[np.bool_]:
    """[K]: whether a slider's largest effect is ≥ floor and at least twice its second largest. Raises BadInput if floor
    ≤ 0."""
    if not floor > 0:
        raise BadInput(f"floor must be above 0, or dead sliders would count; got {floor}.")
    largest, second = top_two(checked_effects(effects_KF))
    return (largest >= floor) & (largest >= 2 * second)


def own_sliders(effects_KF: npt.ArrayLike, floor: float = 0.2) -> int:
    """How many factors have a slider of their own: a `single_factor` one whose largest effect is that factor."""
    return len(np.unique(checked_effects(effects_KF)[single_factor(effects_KF, floor)].argmax(axis=1)))


# ---- parts


def _changes(name: str, values: npt.ArrayLike, ndim: int) -> Array:
    array = checked(name, values, ndim)
    if np.abs(array).max() > 1 + ROUNDING or np.abs(array.sum(axis=-1)).max() > ROUNDING:
        raise BadInput(f"{name} must be differences of class probabilities: from -1 to 1, with sum 0 over the classes.")
    return array


def _tables(changes: Mapping[str, npt.ArrayLike]) -> list[Array]:
    """Changes [K, S, C] of each factor, the mean over readings."""
    if not changes:
        raise BadInput("Effects need the changes of at least one factor.")
    tables = [_changes(name, change, 4).mean(axis=1) for name, change in changes.items()]
    for table in tables:
        same("sliders and seeds", table.shape[:2], tables[0].shape[:2])
    return tables


def _by_seed(d_KSC: Array, seeds_S: npt.ArrayLike | None) -> tuple[Array, Ints]:
    """Sums [K, G, C] of the changes of each of G different seeds, and how many there are of each [G]."""
    count = d_KSC.shape[1]
    if count < 2:
        raise BadInput("Coherent change compares seeds with each other and needs at least 2.")
    seeds = np.arange(count) if seeds_S is None else np.asarray(seeds_S)
    same("seeds", seeds.shape, (count,))
    groups, group_S, counts_G = np.unique(seeds, return_inverse=True, return_counts=True)
    return np.einsum("ksc,sg->kgc", d_KSC, np.eye(len(groups))[group_S]), counts_G


def _agreements(sums_KGC: Array, counts_G: Ints, among_HG: npt.NDArray[np.bool_] | None = None) -> Array:
    """`agreement` [H, K] within each of H sets of seeds (one set of all, if not given)."""
    among = np.ones((1, len(counts_G))) if among_HG is None else among_HG.astype(np.float64)
    total_HKC, squares_KG = np.einsum("hg,kgc->hkc", among, sums_KGC), (sums_KGC**2).sum(axis=-1)
    pairs_H1 = ((among @ counts_G) ** 2 - among @ counts_G**2)[:, None]
    pair_sums_HK = (total_HKC**2).sum(axis=-1) - among @ squares_KG.T
    return np.divide(pair_sums_HK, pairs_H1, out=np.full_like(pair_sums_HK, np.nan), where=pairs_H1 > 0)


def _root(agreement: npt.ArrayLike) -> Array:
    return np.sqrt(np.clip(np.asarray(agreement) / 2, 0, 1))


def top_two(x_NM: Array) -> tuple[Array, Array]:
    """Largest and second largest of each row; the second of a single one is 0."""
    ascending = np.sort(np.pad(x_NM, ((0, 0), (1 if x_NM.shape[1] == 1 else 0, 0))), axis=1)
    return ascending[:, -1], ascending[:, -2]
