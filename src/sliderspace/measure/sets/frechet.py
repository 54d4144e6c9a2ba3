"""Features of two sets -> Fréchet distance (Heusel et al. 2017; with Inception's pool3 it is FID)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure.checks import checked, same
from sliderspace.method.moments import Moments
from sliderspace.storage.files import is_done, load_tensors, save_tensors

KIND = "statistics"


@dataclass(frozen=True, eq=False)
class Statistics:
    """All that the distance needs of a set: how many images, and mean [D] and covariance [D, D] of their features."""

    count: int
    mean_D: Array
    covariance_DD: Array

    @classmethod
    def of(cls, batches: Iterable[npt.ArrayLike]) -> Statistics:
        """Of features that come in batches [n, D], one in memory at a time: the same however they are cut, to rounding.

        Raises BadInput for fewer than 2 images, other shapes, or values that are not finite.
        """
        moments: Moments | None = None
        for batch in batches:
            z_ND = checked("batch_ND", batch, 2)
            moments = moments or Moments(1, z_ND.shape[1])
            moments.update(z_ND, np.zeros(len(z_ND), dtype=np.int64))
        count = 0 if moments is None else int(moments.count_T[0])
        if moments is None or count < 2:
            raise BadInput(f"The covariance of a set needs at least 2 images, there are {count}.")
        return cls(count, moments.mean_TD[0], moments.scatter_TDD[0] / (count - 1))

    @classmethod
    def cached(cls, path: Path, fingerprint: str, batches: Callable[[], Iterable[npt.ArrayLike]]) -> Statistics:
        """Those stored at `path` under the same fingerprint, bit for bit; else those of `batches()`, stored there.

        The fingerprint is the caller's: of the encoder, and of everything that decides the images.
        """
        if not is_done(path, fingerprint):
            made = cls.of(batches())
            parts = {"mean": made.mean_D, "covariance": made.covariance_DD}
            save_tensors(path, parts, kind=KIND, fingerprint=fingerprint, count=made.count)
            return made
        expect = {"mean": "float64 D", "covariance": "float64 D D"}
        tensors, meta = load_tensors(path, kind=KIND, expect=expect)
        return cls(int(meta["count"]), tensors["mean"].numpy(), tensors["covariance"].numpy())


def frechet_distance(real: Statistics, generated: Statistics) -> float:
    """‖μᵣ − μ‖² + tr(Σᵣ + Σ − 2(ΣᵣΣ)^½), 0 for two equal Gaussians. Raises BadInput for different counts or dimensions.

    tr (ΣᵣΣ)^½ is the sum of the singular values of FᵣᵀF where FFᵀ = Σ: nothing is lost where the covariances are
    singular, as they are with fewer images than dimensions, and nothing becomes complex.
    """
    same("dimensions", len(real.mean_D), len(generated.mean_D))
    same("numbers of images", real.count, generated.count)
    apart = float(((real.mean_D - generated.mean_D) ** 2).sum())
    traces = float(np.trace(real.covariance_DD) + np.trace(generated.covariance_DD))
    common = _factor(real.covariance_DD).T @ _factor(generated.covariance_DD)
    return apart + traces - 2 * float(np.linalg.svd(common, compute_uv=False).sum())


def _factor(covariance_DD: Array) -> Array:
    """F [D, r] with FFᵀ the covariance of rank r; what is only rounding is left out, for its root would not be."""
    variance_D, columns_DD = np.linalg.eigh(covariance_DD)
    kept = variance_D > variance_D[-1] * len(variance_D) * np.finfo(np.float64).eps
    return columns_DD[:, kept] * np.sqrt(variance_D[kept])
