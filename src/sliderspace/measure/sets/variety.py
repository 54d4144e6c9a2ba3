"""Features of one set -> how varied it is: Vendi score, mean pairwise distance; no reference needed."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.measure.sets.features import unit_rows


def vendi_score(x_ND: npt.ArrayLike) -> float:
    """How many different images the set is worth, 1 … N: exp(−Σ λ log λ), λ the eigenvalues of K/N, K the cosines of
    all pairs (Friedman & Dieng 2023)."""
    unit = unit_rows(x_ND)
    smaller = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit  # both have the same eigenvalues but zeros
    return effective_number(np.linalg.eigvalsh(smaller / len(unit)))


def mean_pairwise_distance(x_ND: npt.ArrayLike) -> float:
    """Mean of 1 − cos over all pairs i < j, 0 … 2. The cosines sum to ‖Σu‖², so no pair is looked at by itself."""
    unit = unit_rows(x_ND)
    n = len(unit)
    return float(1 - ((unit.sum(axis=0) ** 2).sum() - n) / (n * (n - 1)))


def effective_number(weights: npt.NDArray[np.floating[Any]]) -> float:
    """exp of the entropy of non-negative weights made to sum to 1: how many there are in effect. 0 of none."""
    kept = weights[weights > 0]
    p = kept / kept.sum()
    return float(np.exp(-(p * np.log(p)).sum())) if len(p) else 0.0
