"""Sweeps as two encoders see them -> the stored measures of a space: a row a slider, their means, and intervals.

Every measure is taken in the embedding of the encoder that trained the sliders, and in that of a judge that did not.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.measure import control
from sliderspace.measure.intervals import bootstrap
from sliderspace.measure.records import as_table, interval
from sliderspace.measure.results import (
    EvaluatedView,
    Factors,
    Interval,
    JudgeView,
    Means,
    Measures,
    Number,
    Scores,
    SliderIntervals,
    SliderMeasures,
    SliderScores,
)
from sliderspace.measure.views import View
from sliderspace.method.directions import Directions

UNBOUNDED = ("selectivity", "realism", "realism_2")  # all other measures are at most 1


def measures(
    trained: View,
    judged: View | None,
    directions: Directions,
    unit_K: Array,
    reached_K: Sequence[bool],
    factors: Factors | None,
) -> Measures:
    """The measures of a space from its two views (one, where there is no judge), units and factor table.

    Realism is the judge's where there is one: an encoder cannot see where its own training led images astray.
    """
    judge = None if judged is None else judged.measures()
    table = trained.measures()
    table |= {key: (judge or table)[key] for key in ("realism", "realism_2")}
    table |= {"explained_variance_ratio": directions.explained_variance_ratio_K, "unit": unit_K}
    consistency_KM, span_K2 = trained.consistency_by_size(), (judged or trained).spans()
    more = [
        {"consistency_by_size": consistency_KM[k], "span": span_K2[k], "unit_reached": bool(reached)}
        for k, reached in enumerate(reached_K)
    ]
    mean = means(table) | {
        "unit_reached": float(np.mean(reached_K)),
        "effective_rank": control.effective_rank(trained.delta()),
    }
    return Measures(
        sliders=tuple(SliderMeasures.model_validate(row | more[k]) for k, row in enumerate(rows(table))),
        mean=Means.model_validate(mean),
        leakage=as_table(trained.leakage()),
        sizes=trained.sizes,
        seeds=trained.seeds,
        encoder=trained.encoder,
        realism_encoder=(judged or trained).encoder,
        judge=None if judged is None or judge is None else judge_view(judged, judge),
        factors=factors,
    )


def judge_view(view: View, table: Mapping[str, Array]) -> JudgeView:
    return JudgeView(
        encoder=view.encoder,
        sliders=tuple(SliderScores.model_validate(row) for row in rows(table)),
        mean=Scores[Number].model_validate(means(table)),
        leakage=as_table(view.leakage()),
    )


def rows(table: Mapping[str, Array]) -> list[dict[str, object]]:
    """One entry a slider of measures [K]."""
    own_K = table["own_direction_largest"]
    return [
        {
            "index": k,
            **{key: float(values[k]) for key, values in table.items()},
            "own_direction_largest": bool(own_K[k]),
        }
        for k in range(len(own_K))
    ]


def means(table: Mapping[str, Array]) -> dict[str, float]:
    return {key: float(values.mean()) for key, values in table.items()}


def with_intervals(view: View) -> EvaluatedView:
    """The measures of a view with 95 % intervals over seeds.

    Images of one seed resemble each other, so seeds are drawn again, not images (`intervals.bootstrap`). A seed drawn
    twice agrees with itself, which lifts consistency: so the spread of the resamples is laid about the value, not about
    their own middle.
    """
    table = view.measures()
    value = _stacked(table)
    low, high = bootstrap(lambda seeds: _stacked(view.measures(seeds)), view.seeds, centred=True)
    top = {key: np.inf if key in UNBOUNDED else 1.0 for key in table}

    def column(k: int) -> dict[str, Interval]:
        """Of one slider, or of their mean, which comes last."""
        ends = {key: (value[i, k], value[i, k] + low[i, k], value[i, k] + high[i, k]) for i, key in enumerate(table)}
        return {key: interval(*(min(float(end), top[key]) for end in three)) for key, three in ends.items()}

    return EvaluatedView(
        encoder=view.encoder,
        sliders=tuple(SliderIntervals.model_validate({"index": k, **column(k)}) for k in range(value.shape[1] - 1)),
        mean=Scores[Interval].model_validate(column(-1)),
        leakage=as_table(view.leakage()),
    )


def _stacked(table: Mapping[str, Array]) -> Array:
    """Measures × (sliders and their mean)."""
    return np.stack([np.append(values, values.mean()) for values in table.values()])
