"""Embeddings -> count, mean and scatter of each step, streamed and merged; `fit` freezes them into `Directions` (PCA).

The pooled covariance of the paper and the covariance within each step come from the same moments,
because total scatter = scatter within the steps + scatter between the step means.
N embeddings, D dimensions, T embedded steps, K directions. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Centring
from sliderspace.method.directions import NOISE, Directions


class Moments:
    """Count, mean and scatter about the mean of the embeddings of each step. Holds 8·T·D² bytes.

    Feeding batches in any order, or merging moments of parts, gives the moments of the whole (to rounding).
    """

    count_T: npt.NDArray[np.int64]
    mean_TD: Array
    scatter_TDD: Array

    def __init__(self, steps: int, dim: int) -> None:
        if steps < 1 or dim < 1:
            raise BadInput(f"Moments need at least one step and one dimension, got {steps} and {dim}.")
        self.count_T = np.zeros(steps, dtype=np.int64)
        self.mean_TD = np.zeros((steps, dim))
        self.scatter_TDD = np.zeros((steps, dim, dim))

    def update(self, z_ND: npt.ArrayLike, step_N: npt.ArrayLike) -> Moments:
        """Add embeddings in place; `step_N` holds each one's position among the embedded steps, 0 … T-1.

        Raises BadInput, and changes nothing, on other shapes, steps out of range, or values that are not finite.
        """
        z, step = self._checked(z_ND, step_N)
        for t in np.unique(step):
            rows = z[step == t]
            mean = rows.mean(axis=0)
            rows = rows - mean
            self._absorb(int(t), len(rows), mean, rows.T @ rows)
        return self

    def merge(self, other: Moments) -> Moments:
        """Add another worker's moments in place. Raises BadInput where steps or dimensions differ."""
        if other.mean_TD.shape != self.mean_TD.shape:
            raise BadInput(
                f"Moments of shape {other.mean_TD.shape} (steps, dim) cannot join those of {self.mean_TD.shape}."
            )
        for t, n in enumerate(other.count_T.tolist()):
            if n:
                self._absorb(t, n, other.mean_TD[t], other.scatter_TDD[t])
        return self

    def fit(
        self,
        count: int,
        *,
        trajectories: int,
        centring: Centring = "step",
        encoder: str = "",
        step_indices: Sequence[int] | None = None,
    ) -> Directions:
        """The `count` leading principal directions (the method, step 2: V = PCA({φ(x̃₀,t)})).

        centring: "all" is PCA about the grand mean, as published; it can spend a direction on which step it was.
            "step" is PCA about each step's own mean, blind to the step. Denominators: n-1 and n-T.
        trajectories: how many independent images the embeddings come from; they carry at most one direction fewer.
        step_indices: the sampler's steps that were embedded, 0 … T-1 if not given.
        Raises BadInput where the embeddings cannot carry that many directions.
        """
        indices = tuple(range(len(self.count_T)) if step_indices is None else map(int, step_indices))
        self._check_request(count, trajectories, centring, indices)
        within, between = self.scatter_TDD.sum(axis=0), self._between()
        n, steps = int(self.count_T.sum()), len(self.count_T)
        covariance = (within + between) / (n - 1) if centring == "all" else within / (n - steps)
        variance_K, components_KD = _leading(covariance, count, floor=NOISE**2 * self._mean_square())
        total = float(np.trace(covariance))
        return Directions(
            components_KD=components_KD,
            mean_TD=self.mean_TD.copy(),
            explained_variance_K=variance_K,
            explained_variance_ratio_K=variance_K / total,
            total_variance=total,
            sigma_TK=self._sigma(components_KD),
            step_share=float(np.trace(between) / np.trace(within + between)),
            centring=centring,
            encoder=encoder,
            count=n,
            trajectories=int(trajectories),
            step_indices=indices,
        )

    def _absorb(self, t: int, n: int, mean_D: Array, scatter_DD: Array) -> None:
        """Chan, Golub & LeVeque (1979): exact for any two parts, and safe where the mean dwarfs the spread."""
        before, after = int(self.count_T[t]), int(self.count_T[t]) + n
        delta = mean_D - self.mean_TD[t]
        self.scatter_TDD[t] += scatter_DD + np.outer(delta, delta) * (before * n / after)
        self.mean_TD[t] += delta * (n / after)
        self.count_T[t] = after

    def _between(self) -> Array:
        """Scatter [D, D] of the step means about the grand mean, each weighted by its count."""
        offset_TD = self.mean_TD - np.average(self.mean_TD, axis=0, weights=self.count_T)
        return (offset_TD.T * self.count_T) @ offset_TD

    def _mean_square(self) -> float:
        """Mean squared length of the embeddings, the yardstick for what counts as rounding."""
        sum_T = self.count_T * (self.mean_TD**2).sum(axis=1) + np.trace(self.scatter_TDD, axis1=1, axis2=2)
        return float(sum_T.sum() / self.count_T.sum())

    def _sigma(self, components_KD: Array) -> Array:
        """Standard deviation [T, K] along each direction within each step: √(vᵀ Sₜ v / (nₜ-1))."""
        scatter_TK = np.stack([((components_KD @ scatter) * components_KD).sum(axis=1) for scatter in self.scatter_TDD])
        return np.sqrt(np.maximum(scatter_TK, 0) / (self.count_T[:, None] - 1))

    def _checked(self, z_ND: npt.ArrayLike, step_N: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.integer]]:
        z, step = np.asarray(z_ND, dtype=np.float64), np.asarray(step_N)
        steps, dim = self.mean_TD.shape
        if z.ndim != 2 or z.shape[1] != dim or step.shape != z.shape[:1]:
            raise BadInput(f"Expected embeddings [N, {dim}] and steps [N], got {z.shape} and {step.shape}.")
        if len(step) and (not np.issubdtype(step.dtype, np.integer) or step.min() < 0 or step.max() >= steps):
            raise BadInput(
                f"Steps must be whole numbers from 0 to {steps - 1}, each a position among the embedded steps."
            )
        if not np.isfinite(z).all():
            raise BadInput(
                "Some embeddings are not finite (NaN or infinity): the model or the encoder overflowed. Try float32."
            )
        return z, step

    def _check_request(self, count: int, trajectories: int, centring: str, indices: tuple[int, ...]) -> None:
        steps, dim = self.mean_TD.shape
        if centring not in get_args(Centring):
            raise BadInput(f"Centring is one of {', '.join(get_args(Centring))}, not {centring!r}.")
        if len(indices) != steps:
            raise BadInput(f"{len(indices)} step indices were given for {steps} embedded steps.")
        if count < 1 or count > dim:
            raise BadInput(f"{count} directions were asked for, but the embedding allows 1 to {dim}.")
        if count > trajectories - 1:
            raise BadInput(
                f"{count} directions need at least {count + 1} trajectories, there are {trajectories}. Sample more."
            )
        if self.count_T.min() < 2:
            raise BadInput(
                f"Step {indices[int(self.count_T.argmin())]} has fewer than 2 embeddings, which show no variation. "
                f"Sample more."
            )


def _leading(covariance_DD: Array, count: int, floor: float) -> tuple[Array, Array]:
    """The `count` largest eigenvalues [K] and their eigenvectors as rows [K, D], signs made deterministic."""
    variance_D, columns_DD = np.linalg.eigh(covariance_DD)  # ascending
    carried = int((variance_D > floor).sum())
    if carried == 0:
        raise BadInput(
            "All embeddings are alike, so there is no direction to find. Check the prompt, the seeds and the encoder."
        )
    if carried < count:
        raise BadInput(
            f"The embeddings vary in only {carried} independent directions, {count} were asked for. Sample more."
        )
    rows_KD = columns_DD[:, ::-1][:, :count].T
    largest_K1 = np.take_along_axis(rows_KD, np.abs(rows_KD).argmax(axis=1, keepdims=True), axis=1)
    return variance_D[::-1][:count].copy(), np.ascontiguousarray(rows_KD * np.sign(largest_K1))
