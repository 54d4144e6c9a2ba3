"""The control measures of a finished space, on finished images of seeds that neither PCA nor training nor calibration saw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.calibration import Sweep
from sliderspace.directions import Directions
from sliderspace.measure import control

Array = npt.NDArray[np.float64]
SCALES = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)  # natural units


def measures(found: Sequence[Sweep], base_SD: Array, manifold_ND: Array, fresh_ND: Array, directions: Directions, units_K: Array,
             reached_K: Sequence[bool]) -> dict[str, Any]:
    """`measures.json`: one entry a slider, their means, and the leakage matrix (rows: sliders, columns: directions).

    `found[k].z_SMD` at SCALES natural units, `base_SD` the same seeds without sliders; `manifold_ND` and `fresh_ND` two sets of
    finished base images of other seeds. Measures at one unit pool +1 and −1, the latter with Δφ turned round.
    """
    v_KD = directions.components_KD
    change_KSMD = np.stack([s.z_SMD for s in found]) - base_SD[None, :, None]
    delta_KSD = at_size(change_KSMD, 1.0)
    leakage_KK = control.leakage(delta_KSD, v_KD)
    scales = np.array([*SCALES[:3], 0.0, *SCALES[3:]])
    projection_KSM = np.insert(np.einsum("ksmd,kd->ksm", change_KSMD, v_KD), 3, 0.0, axis=2)
    monotone_K, selectivity_K = control.monotone_share(projection_KSM, scales), control.selectivity(leakage_KK)
    sliders = [
        {
            "index": k,
            "alignment": control.alignment(delta_KSD[k], v_KD[k]),
            "consistency": control.consistency(delta_KSD[k]),
            "selectivity": float(selectivity_K[k]),
            "monotone_share": float(monotone_K[k]),
            "realism": control.realism(images_at(sweep, 1.0), manifold_ND, fresh_ND),
            "realism_2": control.realism(images_at(sweep, 2.0), manifold_ND, fresh_ND),
            "explained_variance_ratio": float(directions.explained_variance_ratio_K[k]),
            "unit": float(units_K[k]),
            "unit_reached": bool(reached_K[k]),
            "own_direction_largest": bool(np.abs(leakage_KK[k]).argmax() == k),
        }
        for k, sweep in enumerate(found)
    ]
    averaged = [key for key in sliders[0] if key != "index"]
    mean = {key: float(np.mean([s[key] for s in sliders])) for key in averaged}
    mean["effective_rank"] = control.effective_rank(delta_KSD)
    return {"sliders": sliders, "mean": mean, "leakage": leakage_KK.tolist(), "seeds": len(base_SD), "encoder": directions.encoder}


def at_size(change_KSMD: Array, size: float) -> Array:
    """Δφ [K, 2S, D] at ±size units, those at −size turned round so that all should point along v."""
    plus, minus = SCALES.index(size), SCALES.index(-size)
    return np.concatenate([change_KSMD[:, :, plus], -change_KSMD[:, :, minus]], axis=1)


def images_at(sweep: Sweep, size: float) -> Array:
    """φ [2S, D] of the slider's images at ±size units."""
    return np.concatenate([sweep.z_SMD[:, SCALES.index(size)], sweep.z_SMD[:, SCALES.index(-size)]])
