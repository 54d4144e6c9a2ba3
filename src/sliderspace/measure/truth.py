"""What sliders do to the true factors of images, as a classifier reads them: the judge.

K sliders, S seeds, R readings of a seed (+1 unit, and -1 unit turned round), F factors, factor f with its own C classes; N images.
A change is p(slider, seed) - p(base, seed) of the judge's class probabilities: it sums to 0 over the classes. An effect is 0 … 1.
Labels are class numbers; a negative one means "not said", and that image is left out of that factor.
Each function raises BadInput on empty, non-finite or mismatched arrays.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sliderspace.errors import BadInput
from sliderspace.measure.checks import Array, checked, same

Ints = npt.NDArray[np.int64]
ROUNDING = 1e-2  # by which probabilities in half precision may miss their sum

# ---- effects: changes that are the same on every seed


def coherent_change(change_SC: npt.ArrayLike, seeds_S: npt.ArrayLike | None = None) -> float:
    """√(max(0, U)/2), 0 … 1: the part of a change [S, C] or [R, S, C] that is the same on every seed; U is `agreement`.

    One class to one other on every seed is 1. Setting the class whatever it was before is less: √((1 - 1/C)/2) from C equally common
    ones. So is a pooled ±1 (R = 2), at most 1/2: no image can go from A to B and, turned round, from A to B again.
    U is unbiased, the root of its positive part is not: unrelated changes score 0 half the time, and seldom over about 1/√S.
    """
    change = np.asarray(change_SC, dtype=np.float64)
    return float(_root(agreement(change[None] if change.ndim == 2 else change, seeds_S)))


def effects(changes: Mapping[str, npt.ArrayLike], seeds_S: npt.ArrayLike | None = None) -> Array:
    """[K, F]: `coherent_change` of each slider on each factor, from changes [K, R, S, C] by factor, in the mapping's order."""
    return np.stack([_root(_agreements(*_by_seed(d_KSC, seeds_S))[0]) for d_KSC in _tables(changes)], axis=1)


def held_out_gap(changes: Mapping[str, npt.ArrayLike], seeds_S: npt.ArrayLike | None = None, splits: int = 8) -> Array:
    """[K]: largest effect minus second largest, -1 … 1: the two factors are named by one half of the seeds and measured on the other.

    The slider's side of the mutual information gap (Chen et al. 2018), on effects. Without the halves chance would show as a gap, because
    the largest of many noisy effects is large; so it is 0 on average for changes that have nothing in common, and about 0 for a slider that
    moves two factors alike. The mean over `splits` splits at random and both ways round. NaN for fewer than 4 different seeds.
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
    """U, at most 2: mean of ⟨dₛ, dₜ⟩ over pairs of different seeds, d the mean over readings. 0 on average for unrelated changes.

    U = (‖Σd‖² - Σ‖d‖²)/(S(S - 1)), an unbiased estimate of ‖E d‖² whatever S: the distance between two mean distributions is not.
    Readings of a seed are not independent, so they are averaged first. Nor are a bootstrap's repeats of a seed: name the seeds by
    `seeds_S`, and pairs of one seed do not count; NaN if all are of one. Raises BadInput for fewer than 2 seeds.
    """
    d_SC = _changes("change_RSC", change_RSC, 3).mean(axis=0)
    return float(_agreements(*_by_seed(d_SC[None], seeds_S))[0, 0])


# ---- one slider, one factor


def disentanglement(effects_KF: npt.ArrayLike, chance: float = 0.0) -> tuple[Array, float]:
    """DCI's D (Eastwood & Williams 2018): per slider [K], and their mean weighted by ρᵢ = ΣRᵢ/ΣR; all 0 … 1.

    Dᵢ = 1 - H_F(Pᵢ), Pᵢ = Rᵢ/ΣRᵢ: 1 for a slider of one factor, 0 for one of all alike. A dead slider has D 0 and weight 0.
    With one factor every live slider has 1.

    `chance` is added to every effect. DCI's importances are those of a predictor that learnt from noisy data, so that what does nothing
    is important to all factors alike; coherent changes are 0 there, and the shares of next to nothing are those of its noise: without
    `chance`, changes that have nothing in common score higher than sliders do.
    """
    return _concentration(_effects(effects_KF) + chance)


def completeness(effects_KF: npt.ArrayLike, chance: float = 0.0) -> tuple[Array, float]:
    """DCI's C: as `disentanglement`, the other way. Per factor [F]: 1 if one slider alone moves it, 0 if all do alike or none does."""
    return _concentration(_effects(effects_KF).T + chance)


def single_factor(effects_KF: npt.ArrayLike, floor: float = 0.2) -> npt.NDArray[np.bool_]:
    """[K]: whether a slider's largest effect is ≥ floor and at least twice its second largest. Raises BadInput if floor ≤ 0."""
    if not floor > 0:
        raise BadInput(f"floor must be above 0, or dead sliders would count; got {floor}.")
    largest, second = _top_two(_effects(effects_KF))
    return (largest >= floor) & (largest >= 2 * second)


def own_sliders(effects_KF: npt.ArrayLike, floor: float = 0.2) -> int:
    """How many factors have a slider of their own: a `single_factor` one whose largest effect is that factor."""
    return len(np.unique(_effects(effects_KF)[single_factor(effects_KF, floor)].argmax(axis=1)))


# ---- what codes say about labels


def mutual_information(codes_NK: npt.ArrayLike, labels_NF: npt.ArrayLike, bins: int = 20) -> Array:
    """I [K, F] in nats between each code, cut into equal-count bins, and each factor; NaN where no label is said.

    Equal codes share a bin, so the order of the images does not matter. The estimate is too high by about (bins - 1)(C - 1)/2N.
    Raises BadInput if bins < 2.
    """
    codes, labels = checked("codes_NK", codes_NK, 2), _labels("labels_NF", labels_NF, 2)
    same("images", len(codes), len(labels))
    if bins < 2:
        raise BadInput(f"mutual_information needs at least 2 bins, got {bins}.")
    return np.stack([_information(codes[label_N >= 0], label_N[label_N >= 0], bins) for label_N in labels.T], axis=1)


def mutual_information_gap(codes_NK: npt.ArrayLike, labels_NF: npt.ArrayLike, bins: int = 20) -> tuple[Array, float]:
    """MIG (Chen et al. 2018): per factor [F], (I of the best code - I of the second)/H(factor), 0 … 1; and their mean.

    With one code the second is 0. A factor of one class has gap NaN and does not count in the mean, which is NaN if all are so.
    """
    best_F, second_F = _top_two(mutual_information(codes_NK, labels_NF, bins).T)
    entropy_F = np.array([_nats(label_N[label_N >= 0]) for label_N in _labels("labels_NF", labels_NF, 2).T])
    gap_F = np.divide(best_F - second_F, entropy_F, out=np.full_like(entropy_F, np.nan), where=entropy_F > 0)
    known = gap_F[~np.isnan(gap_F)]
    return gap_F, float(known.mean()) if len(known) else float("nan")


def informativeness(codes_NK: npt.ArrayLike, labels_N: npt.ArrayLike, folds: int = 5, ridge: float = 1e-2) -> float:
    """How well all codes together predict a factor: (accuracy - majority)/(1 - majority), 0 … 1; NaN for one class only.

    Ridge regression on one-hot labels with an intercept, min ‖XW - Y‖²/N + ridge·‖W‖² on standardised codes, tested on held-out folds.
    Image n is in fold n mod folds: lay images of the same seed so that they share one, and do not hand in a bootstrap's repeats.
    Raises BadInput if folds < 2, ridge ≤ 0, or all labels said are in one fold.
    """
    codes, labels = checked("codes_NK", codes_NK, 2), _labels("labels_N", labels_N, 1)
    same("images", len(codes), len(labels))
    if folds < 2 or not ridge > 0:
        raise BadInput(f"informativeness needs at least 2 folds and a ridge above 0, got {folds} and {ridge}.")
    said = labels >= 0
    classes, class_N, counts = np.unique(labels[said], return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return float("nan")
    fold_N = np.flatnonzero(said) % folds
    if len(np.unique(fold_N)) < 2:
        raise BadInput("All labels said are in one fold, which leaves none to learn from. Use more images or other folds.")
    accuracy, majority = (_held_out(_standard(codes[said]), class_N, fold_N, ridge) == class_N).mean(), counts.max() / len(class_N)
    return float(max(0.0, (accuracy - majority) / (1 - majority)))


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
    told = (total_HKC**2).sum(axis=-1) - among @ squares_KG.T
    return np.divide(told, pairs_H1, out=np.full_like(told, np.nan), where=pairs_H1 > 0)


def _effects(values: npt.ArrayLike) -> Array:
    array = checked("effects_KF", values, 2)
    if array.min() < 0:
        raise BadInput("effects_KF holds effects below 0.")
    return array


def _labels(name: str, values: npt.ArrayLike, ndim: int) -> Ints:
    if np.asarray(values).dtype.kind not in "iu":
        raise BadInput(f"{name} must be class numbers (integers).")
    return checked(name, values, ndim).astype(np.int64)


def _root(agreement: npt.ArrayLike) -> Array:
    return np.sqrt(np.clip(np.asarray(agreement) / 2, 0, 1))


def _concentration(table_NM: Array) -> tuple[Array, float]:
    """1 - entropy of each row's shares, base M; 0 for a row of zeros. And the mean weighted by the rows' sums."""
    total_N = table_NM.sum(axis=1)
    share_NM = np.divide(table_NM, total_N[:, None], out=np.zeros_like(table_NM), where=total_N[:, None] > 0)
    score_N = np.where(total_N > 0, np.clip(1 - _entropy(share_NM) / np.log(max(table_NM.shape[1], 2)), 0, 1), 0)
    return score_N, float(np.average(score_N, weights=total_N)) if total_N.any() else 0.0


def _entropy(p: Array) -> Array:
    """Nats, along the last axis; 0·log 0 = 0."""
    return -(p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=-1)


def _top_two(x_NM: Array) -> tuple[Array, Array]:
    """Largest and second largest of each row; the second of a single one is 0."""
    ascending = np.sort(np.pad(x_NM, ((0, 0), (1 if x_NM.shape[1] == 1 else 0, 0))), axis=1)
    return ascending[:, -1], ascending[:, -2]


def _information(codes_NK: Array, label_N: Ints, bins: int) -> Array:
    if not len(label_N):
        return np.full(codes_NK.shape[1], np.nan)
    class_N = np.unique(label_N, return_inverse=True)[1]
    binned = [_equal_count(code_N, bins) for code_N in codes_NK.T]
    return np.array([max(0.0, _nats(bin_N) + _nats(class_N) - _nats(class_N * bins + bin_N)) for bin_N in binned])


def _equal_count(code_N: Array, bins: int) -> Ints:
    """Bin numbers by rank in the middle of ties, in whole numbers: neither order nor rounding can part equal codes."""
    ascending = np.sort(code_N)
    ranks = np.searchsorted(ascending, code_N, "left") + np.searchsorted(ascending, code_N, "right")  # twice the middle rank
    return ranks * bins // (2 * len(code_N))


def _nats(values_N: Ints) -> float:
    """Entropy of how often each value occurs."""
    return float(_entropy(np.unique(values_N, return_counts=True)[1] / len(values_N)))


def _standard(codes_NK: Array) -> Array:
    """Mean 0 and deviation 1 over the images; a constant code becomes 0."""
    centred = codes_NK - codes_NK.mean(axis=0)
    spread_K = centred.std(axis=0)
    return np.divide(centred, spread_K, out=np.zeros_like(centred), where=spread_K > 1e-12 * np.abs(codes_NK).max(axis=0))


def _held_out(codes_NK: Array, class_N: Ints, fold_N: Ints, ridge: float) -> Ints:
    """Each image's class as the other folds predict it."""
    predicted_N, target_NC = np.zeros_like(class_N), np.eye(class_N.max() + 1)[class_N]
    for fold in np.unique(fold_N):
        train, test = fold_N != fold, fold_N == fold
        mean_K, mean_C = codes_NK[train].mean(axis=0), target_NC[train].mean(axis=0)
        x, y = codes_NK[train] - mean_K, target_NC[train] - mean_C
        w_KC = np.linalg.solve(x.T @ x / len(x) + ridge * np.eye(x.shape[1]), x.T @ y / len(x))
        predicted_N[test] = ((codes_NK[test] - mean_K) @ w_KC + mean_C).argmax(axis=1)
    return predicted_N
