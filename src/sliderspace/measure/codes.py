"""Coordinates and true factors -> how well codes take factors apart: DCI (Eastwood & Williams 2018) and MIG (Chen et
al. 2018)."""

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array, Ints
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, checked_effects, same
from sliderspace.measure.effects import top_two

# ---- one slider, one factor


def disentanglement(effects_KF: npt.ArrayLike, chance: float = 0.0) -> tuple[Array, float]:
    """DCI's D (Eastwood & Williams 2018): per slider [K], and their mean weighted by ρᵢ = ΣRᵢ/ΣR; all 0 … 1.

    Dᵢ = 1 - H_F(Pᵢ), Pᵢ = Rᵢ/ΣRᵢ: 1 for a slider of one factor, 0 for one of all alike. A dead slider has D 0 and
    weight 0. With one factor every live slider has 1.

    `chance` is added to every effect. DCI's importances are those of a predictor that learnt from noisy data, so that
    what does nothing is important to all factors alike; coherent changes are 0 there, and the shares of next to nothing
    are those of its noise: without
    `chance`, changes that have nothing in common score higher than sliders do.
    """
    return _concentration(checked_effects(effects_KF) + chance)


def completeness(effects_KF: npt.ArrayLike, chance: float = 0.0) -> tuple[Array, float]:
    """DCI's C: as `disentanglement`, the other way. Per factor [F]: 1 if one slider alone moves it, 0 if all do alike
    or none does."""
    return _concentration(checked_effects(effects_KF).T + chance)


# ---- what codes say about labels


def mutual_information(codes_NK: npt.ArrayLike, labels_NF: npt.ArrayLike, bins: int = 20) -> Array:
    """I [K, F] in nats between each code, cut into equal-count bins, and each factor; NaN where no label is known.

    Equal codes share a bin, so the order of the images does not matter. The estimate is too high by about (bins - 1)(C
    - 1)/2N. Raises BadInput if bins < 2.
    """
    codes, labels = checked("codes_NK", codes_NK, 2), _labels("labels_NF", labels_NF, 2)
    same("images", len(codes), len(labels))
    if bins < 2:
        raise BadInput(f"mutual_information needs at least 2 bins, got {bins}.")
    return np.stack([_information(codes[label_N >= 0], label_N[label_N >= 0], bins) for label_N in labels.T], axis=1)


def mutual_information_gap(codes_NK: npt.ArrayLike, labels_NF: npt.ArrayLike, bins: int = 20) -> tuple[Array, float]:
    """MIG (Chen et al. 2018): per factor [F], (I of the best code - I of the second)/H(factor), 0 … 1; and their mean.

    With one code the second is 0. A factor of one class has gap NaN and does not count in the mean, which is NaN if all
    are so.
    """
    best_F, second_F = top_two(mutual_information(codes_NK, labels_NF, bins).T)
    entropy_F = np.array([_nats(label_N[label_N >= 0]) for label_N in _labels("labels_NF", labels_NF, 2).T])
    gap_F = np.divide(best_F - second_F, entropy_F, out=np.full_like(entropy_F, np.nan), where=entropy_F > 0)
    known = gap_F[~np.isnan(gap_F)]
    return gap_F, float(known.mean()) if len(known) else float("nan")


def informativeness(codes_NK: npt.ArrayLike, labels_N: npt.ArrayLike, folds: int = 5, ridge: float = 1e-2) -> float:
    """How well all codes together predict a factor: (accuracy - majority)/(1 - majority), 0 … 1; NaN for one class
    only.

    Ridge regression on one-hot labels with an intercept, min ‖XW - Y‖²/N + ridge·‖W‖² on standardised codes, tested on
    held-out folds. Image n is in fold n mod folds: lay images of the same seed so that they share one, and do not hand
    in a bootstrap's repeats. Raises BadInput if folds < 2, ridge ≤ 0, or all known labels are in one fold.
    """
    codes, labels = checked("codes_NK", codes_NK, 2), _labels("labels_N", labels_N, 1)
    same("images", len(codes), len(labels))
    if folds < 2 or not ridge > 0:
        raise BadInput(f"informativeness needs at least 2 folds and a ridge above 0, got {folds} and {ridge}.")
    known = labels >= 0
    classes, class_N, counts = np.unique(labels[known], return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return float("nan")
    fold_N = np.flatnonzero(known) % folds
    if len(np.unique(fold_N)) < 2:
        raise BadInput(
            "All known labels are in one fold, which leaves none to learn from. Use more images or other folds."
        )
    accuracy, majority = (
        (_held_out(_standard(codes[known]), class_N, fold_N, ridge) == class_N).mean(),
        counts.max() / len(class_N),
    )
    return float(max(0.0, (accuracy - majority) / (1 - majority)))


def _labels(name: str, values: npt.ArrayLike, ndim: int) -> Ints:
    if np.asarray(values).dtype.kind not in "iu":
        raise BadInput(f"{name} must be class numbers (integers).")
    return checked(name, values, ndim).astype(np.int64)


def _concentration(table_NM: Array) -> tuple[Array, float]:
    """1 - entropy of each row's shares, base M; 0 for a row of zeros. And the mean weighted by the rows' sums."""
    total_N = table_NM.sum(axis=1)
    share_NM = np.divide(table_NM, total_N[:, None], out=np.zeros_like(table_NM), where=total_N[:, None] > 0)
    score_N = np.where(total_N > 0, np.clip(1 - _entropy(share_NM) / np.log(max(table_NM.shape[1], 2)), 0, 1), 0)
    return score_N, float(np.average(score_N, weights=total_N)) if total_N.any() else 0.0


def _entropy(p: Array) -> Array:
    """Nats, along the last axis; 0·log 0 = 0."""
    return -(p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=-1)


def _information(codes_NK: Array, label_N: Ints, bins: int) -> Array:
    if not len(label_N):
        return np.full(codes_NK.shape[1], np.nan)
    class_N = np.unique(label_N, return_inverse=True)[1]
    binned = [_equal_count(code_N, bins) for code_N in codes_NK.T]
    return np.array([max(0.0, _nats(bin_N) + _nats(class_N) - _nats(class_N * bins + bin_N)) for bin_N in binned])


def _equal_count(code_N: Array, bins: int) -> Ints:
    """Bin numbers by rank in the middle of ties, in whole numbers: neither order nor rounding can part equal codes."""
    ascending = np.sort(code_N)
    ranks = np.searchsorted(ascending, code_N, "left") + np.searchsorted(
        ascending, code_N, "right"
    )  # twice the middle rank
    return ranks * bins // (2 * len(code_N))


def _nats(values_N: Ints) -> float:
    """Entropy of how often each value occurs."""
    return float(_entropy(np.unique(values_N, return_counts=True)[1] / len(values_N)))


def _standard(codes_NK: Array) -> Array:
    """Mean 0 and deviation 1 over the images; a constant code becomes 0."""
    centred = codes_NK - codes_NK.mean(axis=0)
    spread_K = centred.std(axis=0)
    return np.divide(
        centred, spread_K, out=np.zeros_like(centred), where=spread_K > 1e-12 * np.abs(codes_NK).max(axis=0)
    )


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
