"""The control measures of a finished space, on finished images of seeds that neither PCA nor training nor calibration
saw.

The same measures are taken through two pairs of eyes: the encoder that trained the sliders, and a judge that did not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.measure import control
from sliderspace.measure.intervals import bootstrap
from sliderspace.measure.views import SIZES, View
from sliderspace.method.directions import Directions


def measures(
    trained: View,
    judged: View | None,
    directions: Directions,
    unit_K: Array,
    reached_K: Sequence[bool],
    factors: dict[str, Any] | None,
) -> dict[str, Any]:
    """`measures.json`: one entry a slider, their means, and the leakage matrix (rows: sliders, columns: directions).

    Realism is the judge's where there is one: an encoder cannot see where its own training led images astray.
    """
    table, seen = trained.measures(), None if judged is None else judged.measures()
    if seen is not None:
        table |= {key: seen[key] for key in ("realism", "realism_2")}
    table["explained_variance_ratio"], table["unit"] = directions.explained_variance_ratio_K, unit_K
    table["unit_reached"] = np.array(reached_K, dtype=float)
    sizes_KM, span_K2 = trained.consistency_by_size(), (judged or trained).spans()
    rows = rows_of(table)
    for k, row in enumerate(rows):
        row |= {
            "consistency_by_size": sizes_KM[k].tolist(),
            "span": span_K2[k].tolist(),
            "unit_reached": bool(row["unit_reached"]),
        }
    return {
        "sliders": rows,
        "mean": means_of(table) | {"effective_rank": control.effective_rank(trained.delta())},
        "leakage": trained.leakage().tolist(),
        "sizes": list(SIZES),
        "seeds": trained.seeds,
        "encoder": trained.encoder,
        "realism_encoder": (judged or trained).encoder,
        "judge": judged and seen and {**table_of(judged, seen), "encoder": judged.encoder},
        "factors": factors,
    }


def table_of(view: View, seen: Mapping[str, Array]) -> dict[str, Any]:
    return {"sliders": rows_of(seen), "mean": means_of(seen), "leakage": view.leakage().tolist()}


def rows_of(table: Mapping[str, Array]) -> list[dict[str, Any]]:
    """One entry a slider of measures [K]."""
    rows = [
        {"index": k, **{key: float(values[k]) for key, values in table.items()}} for k in range(len(table["alignment"]))
    ]
    return [{**row, "own_direction_largest": bool(row["own_direction_largest"])} for row in rows]


def means_of(table: Mapping[str, Array]) -> dict[str, float]:
    return {key: float(values.mean()) for key, values in table.items()}


def with_intervals(view: View) -> dict[str, Any]:
    """The same tables with 95 % intervals over seeds: every number becomes {"value", "low", "high"}.

    Images of one seed resemble each other, so seeds are drawn again, not images (`intervals.bootstrap`). A seed drawn
    twice agrees with itself, which lifts consistency: so the spread of the resamples is laid about the value, not about
    their own middle.
    """
    table = view.measures()
    value, edges = _stacked(table), bootstrap(lambda seeds: _stacked(view.measures(seeds)), view.seeds, centred=True)
    top = {key: np.inf if key in UNBOUNDED else 1.0 for key in table}
    named = {
        key: (value[i], *(np.minimum(value[i] + end[i], top[key]) for end in edges)) for i, key in enumerate(table)
    }
    whole = {
        key: {name: float(part[-1]) for name, part in zip(PARTS, parts, strict=True)} for key, parts in named.items()
    }
    rows = [
        {"index": k}
        | {key: {name: float(part[k]) for name, part in zip(PARTS, parts, strict=True)} for key, parts in named.items()}
        for k in range(len(view.z_KSMD))
    ]
    return {"encoder": view.encoder, "sliders": rows, "mean": whole, "leakage": view.leakage().tolist()}


PARTS = ("value", "low", "high")


UNBOUNDED = ("selectivity", "realism", "realism_2")  # all other measures are at most 1


def _stacked(table: Mapping[str, Array]) -> Array:
    """Measures × (sliders and their mean)."""
    return np.stack([np.append(values, values.mean()) for values in table.values()])
