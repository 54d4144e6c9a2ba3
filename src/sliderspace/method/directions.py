"""PCA of embeddings, in two acts: `Moments` stream and merge, then `fit` freezes them into `Directions`.

The pooled covariance of the paper and the covariance within each step come from the same moments,
because total scatter = scatter within the steps + scatter between the step means.
N embeddings, D dimensions, T embedded steps, K directions. Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.method.independent import components_for, independent_axes
from sliderspace.storage.files import load_tensors, save_tensors

KIND = "directions"


ARRAYS = ("components_KD", "mean_TD", "explained_variance_K", "explained_variance_ratio_K", "sigma_TK")


SCALARS = {
    "total_variance": float,
    "step_share": float,
    "centring": str,
    "encoder": str,
    "count": int,
    "trajectories": int,
    "step_indices": list,
}


LEAST_SIDE = 0.25  # of the mean of both: a target of nothing would ask for nothing
NOISE = 1e-6  # a spread below this part of an embedding's length is float32 rounding, not a direction


@dataclass(frozen=True, eq=False)
class Directions:
    """All that PCA says of one concept, frozen."""

    components_KD: Array
    """Unit rows. Those that were found are orthonormal, strongest first: PCA's own with their entry of largest
    magnitude positive, turned ones with their longer side. Those asked for in words stand as they were asked for."""
    mean_TD: Array
    explained_variance_K: Array
    explained_variance_ratio_K: Array
    """Share of `total_variance`, which is the trace of the covariance under the chosen centring."""
    total_variance: float
    sigma_TK: Array
    """Standard deviation along each direction within each step, whatever the centring."""
    step_share: float
    """Share of the scatter about the grand mean that is only which step it was, 0 … 1, whatever the centring."""
    centring: str
    encoder: str
    count: int
    """Embeddings seen, over all steps."""
    trajectories: int
    step_indices: tuple[int, ...]
    """The sampler's steps that were embedded."""

    @property
    def step_share_K(self) -> Array:
        """Share of the scatter along each direction that is only which step it was, 0 … 1. PCA about one mean may spend
        one on it."""
        between_K = (self.mean_TD @ self.components_KD.T).var(axis=0)
        return between_K / (between_K + (self.sigma_TK**2).mean(axis=0))

    def project(self, z_ND: npt.ArrayLike, step_N: npt.ArrayLike | None = None) -> Array:
        """Coordinates [N, K] about the means of `step_N` (positions 0 … T-1), or without it about the mean of all step
        means."""
        z, (steps, dim) = np.asarray(z_ND, dtype=np.float64), self.mean_TD.shape
        if z.ndim != 2 or z.shape[1] != dim:
            raise BadInput(
                f"Expected embeddings [N, {dim}], got {z.shape}. Were they made by another encoder than "
                f"{self.encoder!r}?"
            )
        if step_N is None:
            return (z - self.mean_TD.mean(axis=0)) @ self.components_KD.T
        step = np.asarray(step_N, dtype=np.int64)
        if step.shape != z.shape[:1] or (len(step) and (step.min() < 0 or step.max() >= steps)):
            raise BadInput(f"Expected {len(z)} steps, each from 0 to {steps - 1}.")
        return (z - self.mean_TD[step]) @ self.components_KD.T

    def sides(self, finished_ND: npt.ArrayLike) -> Array:
        """How far finished images lie to the negative and to the positive side of the middle one along each direction,
        [K, 2], root mean squares over the mean of the two: (1, 1) where both sides are alike.

        What is rare is rare one way. Most monsters have no tail, some have one, and none has less than none.
        """
        away_NK = np.asarray(finished_ND, dtype=np.float64) @ self.components_KD.T
        away_NK -= np.median(away_NK, axis=0)
        both_2K = np.sqrt([(np.minimum(away_NK, 0) ** 2).mean(axis=0), (np.maximum(away_NK, 0) ** 2).mean(axis=0)])
        mean_K = both_2K.mean(axis=0)
        share_2K = np.divide(both_2K, mean_K, out=np.ones_like(both_2K), where=mean_K > 0)
        return np.clip(share_2K, LEAST_SIDE, 2 - LEAST_SIDE).T

    def rotated(self, z_ND: npt.ArrayLike, step_N: npt.ArrayLike) -> Directions:
        """The same subspace on axes along which these embeddings are spread most unevenly: varimax of their
        coordinates.

        PCA turns freely among directions of nearly equal variance, and each is then a mixture of what varies. Things
        that are there or not (glasses, a style) give coordinates that are mostly near zero and sometimes large; varimax
        looks for such axes (Kaiser 1958; Rohe & Zeng 2023). Rows stay orthonormal, strongest first; the rarer, longer
        side is positive.
        """
        scores_NK = self.project(z_ND, step_N)
        turn_KK = _varimax(scores_NK)
        turn_KK *= np.where(((scores_NK @ turn_KK) ** 3).sum(axis=0) < 0, -1.0, 1.0)
        return self.along(turn_KK.T @ self.components_KD, z_ND, step_N)

    def independent(self, z_ND: npt.ArrayLike, step_N: npt.ArrayLike) -> Directions:
        """As many axes along which finished images, those of the last step, vary independently of each other, in a
        somewhat larger subspace of the same embeddings. Rows are made orthonormal, strongest first; the rarer, longer
        side is positive."""
        z, step = np.asarray(z_ND, dtype=np.float64), np.asarray(step_N)
        away_ND = z - self.mean_TD[step]
        finished_ND, count = away_ND[step == len(self.mean_TD) - 1], len(self.components_KD)
        variance_D, columns_DD = np.linalg.eigh(away_ND.T @ away_ND)  # ascending
        parts = components_for(count, len(finished_ND), int((variance_D > NOISE**2 * variance_D[-1]).sum()))
        axes_KD = independent_axes(finished_ND, columns_DD[:, ::-1][:, :parts].T, count)
        axes_KD *= np.where(((finished_ND @ axes_KD.T) ** 3).sum(axis=0) < 0, -1.0, 1.0)[:, None]
        return self.along(axes_KD, z, step)

    def along(self, axes_KD: npt.ArrayLike, z_ND: npt.ArrayLike, step_N: npt.ArrayLike) -> Directions:
        """Other axes [K, D] in place of these, with the spread of the same embeddings along them; strongest first.

        They are made orthonormal in their order (Gram–Schmidt), so that they are measured as PCA's are. Controls are
        made so: random axes, and the differences of single images. Raises BadInput where they are not independent.
        """
        columns_DK, triangle_KK = np.linalg.qr(np.asarray(axes_KD, dtype=np.float64).T)
        if np.abs(np.diag(triangle_KK)).min() < NOISE:
            raise BadInput(
                f"{len(triangle_KK)} axes were given that are not independent: some images are alike. Sample more."
            )
        found = self.toward((columns_DK * np.sign(np.diag(triangle_KK))).T, z_ND, step_N)
        order = np.argsort(-found.explained_variance_K, kind="stable")
        return replace(
            found,
            components_KD=np.ascontiguousarray(found.components_KD[order]),
            explained_variance_K=found.explained_variance_K[order],
            explained_variance_ratio_K=found.explained_variance_ratio_K[order],
            sigma_TK=found.sigma_TK[:, order],
        )

    def toward(self, axes_KD: npt.ArrayLike, z_ND: npt.ArrayLike, step_N: npt.ArrayLike) -> Directions:
        """These very axes [K, D] at unit length, in their order and not made orthogonal, with the spread of the same
        embeddings along them: what sliders asked for in words are measured by."""
        axes = np.asarray(axes_KD, dtype=np.float64)
        components_KD = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        other, step = replace(self, components_KD=components_KD), np.asarray(step_N)
        scores_NK = other.project(z_ND, step_N if self.centring == "step" else None)
        means = len(self.mean_TD) if self.centring == "step" else 1
        variance_K = scores_NK.var(axis=0) * self.count / (self.count - means)
        return replace(
            other,
            explained_variance_K=variance_K,
            explained_variance_ratio_K=variance_K / self.total_variance,
            sigma_TK=np.stack([scores_NK[step == t].std(axis=0, ddof=1) for t in range(len(self.mean_TD))]),
        )

    def describe(self) -> dict[str, Any]:
        """What a person or a program would want to know of these directions; fit for JSON."""
        return {
            "directions": len(self.components_KD),
            "dim": self.components_KD.shape[1],
            **self._scalars(),
            "explained": float(self.explained_variance_ratio_K.sum()),
            "explained_variance_ratio": self.explained_variance_ratio_K.tolist(),
        }

    def save(self, path: str | Path, fingerprint: str) -> None:
        """Write a safetensors file, atomically."""
        save_tensors(
            path, {name: getattr(self, name) for name in ARRAYS}, kind=KIND, fingerprint=fingerprint, **self._scalars()
        )

    @classmethod
    def load(cls, path: str | Path) -> Directions:
        """Read what `save` wrote, bit for bit. Raises DamagedFile on anything else."""
        tensors, meta = load_tensors(path, kind=KIND)
        unfit = [name for name in ARRAYS if name not in tensors] + [
            n for n, kind in SCALARS.items() if not isinstance(meta.get(n), kind)
        ]
        if unfit:
            raise DamagedFile(f"{path} lacks {', '.join(unfit)}. Delete it and run `sliderspace fit` again.")
        values: dict[str, Any] = {name: tensors[name].double().numpy() for name in ARRAYS} | {
            name: meta[name] for name in SCALARS
        }
        values["step_indices"] = tuple(meta["step_indices"])
        loaded = cls(**values)
        if not loaded._is_whole():
            raise DamagedFile(f"The parts of {path} do not fit each other. Delete it and run `sliderspace fit` again.")
        return loaded

    def _scalars(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SCALARS} | {"step_indices": list(self.step_indices)}

    def _is_whole(self) -> bool:
        """Shapes agree, all is finite, and the rows have unit length, so that what loads is what a fit could have
        made."""
        arrays = [getattr(self, name) for name in ARRAYS]
        if self.components_KD.ndim != 2 or not all(np.isfinite(a).all() for a in arrays):
            return False
        (k, dim), steps = self.components_KD.shape, len(self.step_indices)
        shapes = [(k, dim), (steps, dim), (k,), (k,), (steps, k)]
        lengths_K = np.linalg.norm(self.components_KD, axis=1)
        return [a.shape for a in arrays] == shapes and np.allclose(lengths_K, 1, atol=1e-8)


def _varimax(scores_NK: Array, rounds: int = 500, tolerance: float = 1e-8) -> Array:
    """The rotation [K, K] that makes the squares of the columns of scores·rotation vary most (Kaiser 1958)."""
    turn_KK, before = np.eye(scores_NK.shape[1]), 0.0
    for _ in range(rounds):
        turned = scores_NK @ turn_KK
        left, size, right = np.linalg.svd(scores_NK.T @ (turned**3 - turned * (turned**2).mean(axis=0)))
        turn_KK = left @ right
        if size.sum() <= before * (1 + tolerance):
            break
        before = float(size.sum())
    return turn_KK
