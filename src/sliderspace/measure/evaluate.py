"""The control measures of a finished space, on finished images of seeds that neither PCA nor training nor calibration saw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.calibration import Sweep, both_ways
from sliderspace.directions import Directions
from sliderspace.errors import BadInput
from sliderspace.measure import control

Array = npt.NDArray[np.float64]
SIZES = (1.0, 2.0, 3.0)  # natural units, both signs
SCALES = both_ways(SIZES)


def measures(
    found: Sequence[Sweep], manifold_ND: Array, fresh_ND: Array, directions: Directions, units_K: Array, reached_K: Sequence[bool]
) -> dict[str, Any]:
    """`measures.json`: one entry a slider, their means, and the leakage matrix (rows: sliders, columns: directions).

    `found[k]` at SCALES natural units; `manifold_ND` and `fresh_ND` are two sets of finished base images of other seeds.
    Measures at one unit pool +1 and −1, the latter with Δφ turned round.
    """
    v_KD = directions.components_KD
    delta_KSD = np.stack([_delta(sweep, 1.0) for sweep in found])
    leakage_KK = control.leakage(delta_KSD, v_KD)
    projection_KSM = np.stack([sweep.change_SMD @ v_KD[sweep.slider] for sweep in found])
    monotone_K, selectivity_K = control.monotone_share(projection_KSM, SCALES), control.selectivity(leakage_KK)
    sliders = [
        {
            "index": k,
            "alignment": control.alignment(delta_KSD[k], v_KD[k]),
            "consistency": control.consistency(delta_KSD[k]),
            "selectivity": float(selectivity_K[k]),
            "monotone_share": float(monotone_K[k]),
            "realism": _realism(sweep, 1.0, manifold_ND, fresh_ND),
            "realism_2": _realism(sweep, 2.0, manifold_ND, fresh_ND),
            "explained_variance_ratio": float(directions.explained_variance_ratio_K[k]),
            "unit": float(units_K[k]),
            "unit_reached": bool(reached_K[k]),
            "own_direction_largest": bool(leakage_KK[k, k] > 0 and np.abs(leakage_KK[k]).argmax() == k),
        }
        for k, sweep in enumerate(found)
    ]
    mean = {key: float(np.mean([s[key] for s in sliders])) for key in sliders[0] if key != "index"}
    mean["effective_rank"] = control.effective_rank(delta_KSD)
    seeds = len(found[0].z_SMD)
    return {
        "sliders": sliders,
        "mean": mean,
        "leakage": leakage_KK.tolist(),
        "seeds": seeds,
        "encoder": directions.encoder,
        "realism_encoder": directions.encoder,
    }


def _at(sweep: Sweep, size: float) -> tuple[int, int]:
    """Columns of +size and −size."""
    return int(np.flatnonzero(size == SCALES)[0]), int(np.flatnonzero(-size == SCALES)[0])


def _delta(sweep: Sweep, size: float) -> Array:
    """Δφ [2S, D] at ±size units, those at −size turned round so that all should point along v."""
    plus, minus = _at(sweep, size)
    return np.concatenate([sweep.change_SMD[:, plus], -sweep.change_SMD[:, minus]])


def _images(sweep: Sweep, size: float) -> Array:
    """φ [2S, D] of the slider's images at ±size units."""
    return sweep.z_SMD[:, _at(sweep, size)].reshape(-1, sweep.z_SMD.shape[-1])


def _realism(sweep: Sweep, size: float, manifold_ND: Array, fresh_ND: Array) -> float:
    """NaN (stored as null) where so few images were sampled that not even a fresh base image lies among them."""
    try:
        return control.realism(_images(sweep, size), manifold_ND, fresh_ND)
    except BadInput:
        return float("nan")
