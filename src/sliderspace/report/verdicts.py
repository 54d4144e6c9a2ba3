"""How good a space is, in plain words: the tables of the report, the aims beside them, and what to beware of in a
slider.

Two pairs of eyes look at a space: the encoder that trained it and a judge that did not. A discovery measures once; an
evaluation again, with intervals. Where both spoke, the evaluation is shown.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.core.numbers import number, written
from sliderspace.report import charts
from sliderspace.report.charts import Estimate, Numbers, estimate, known


@dataclass(frozen=True)
class Measure:
    key: str
    name: str
    meaning: str
    target: float | None = None  # what the mean over a good space reaches
    warn: float | None = None  # below this, one slider earns a warning
    top: float = 1.0  # the value that fills a meter
    share: bool = False  # written in per cent
    judged: bool = False  # what counts is how the judge sees it, where there is one


MEASURES = (
    Measure(
        "alignment", "Alignment", "How squarely one unit moves an image along the slider's own direction.", 0.4, 0.2
    ),
    Measure("consistency", "Consistency", "Whether it does the same thing on every seed.", 0.5, 0.3),
    Measure(
        "own_direction_largest",
        "Own direction first",
        "Sliders that move their own direction more than any other.",
        0.875,
    ),
    Measure("selectivity", "Selectivity", "How many times more it moves its own direction than others.", top=10.0),
    Measure(
        "monotone_share", "Monotone", "Sweeps in which more strength always means more effect.", 0.9, 0.8, share=True
    ),
    Measure(
        "realism",
        "Realism at ±1",
        "Images at ±1 unit like the model's own, beside fresh ones.",
        0.9,
        0.75,
        share=True,
        judged=True,
    ),
    Measure(
        "realism_2",
        "Realism at ±2",
        "The same at ±2 units, where sliders begin to break images.",
        0.75,
        0.5,
        share=True,
        judged=True,
    ),
)
TOGETHER = (
    Measure(
        "retained", "Kept beside others", "What is left of a slider's own move while others are on too.", share=True
    ),
    Measure("additivity", "Adds up", "Whether several at once do the sum of what each does, 1 if exactly."),
    Measure("overlap", "Overlap", "How alike the moves of two sliders are: 0 if they share nothing."),
)
CLEAN = (
    Measure("own_sliders", "Own slider", "Factors that have a slider which moves them and little else."),
    Measure("single_factor", "One factor", "Sliders that move one factor only."),
    Measure("gap", "Gap", "A slider's largest effect less its second largest, on seeds that did not name the two."),
    Measure(
        "disentanglement", "Disentanglement", "Whether a slider moves one factor only: 1 if so, 0 if all alike or none."
    ),
    Measure(
        "disentanglement_of_shares",
        "Of shares",
        "The same of shares alone, as DCI has it: sliders that do nothing score high.",
    ),
    Measure(
        "completeness", "Completeness", "Whether a factor is moved by one slider only: 1 if so, 0 if by all alike."
    ),
)
COUNTS = ("own_sliders", "single_factor")


def warnings_for(measures: Numbers, mean: Numbers | None = None, leakage_row: npt.ArrayLike | None = None) -> list[str]:
    """What a user should beware of in one slider, in plain words. `leakage_row` [K] tells which slider it really looks
    like."""
    found = {key: number(value) for key, value in measures.items()}
    said = [text for key, text in _LOW.items() if (v := found.get(key)) is not None and v < _WARN[key]]
    if found.get("own_direction_largest") == 0:
        said.append(_looks_like(found, leakage_row))
    if found.get("unit_reached") == 0:
        said.append("It never moved the images by a whole natural unit, so its unit is an estimate.")
    usual = number((mean or {}).get("alignment"))
    if not said and usual is not None and (own := found.get("alignment")) is not None and own < usual / 2:
        said.append(
            f"It is much less aimed than the others: alignment {written(own)}, and {written(usual)} on average."
        )
    return said


_WARN = {m.key: m.warn for m in MEASURES if m.warn is not None}
_LOW = {
    "alignment": "It moves little along its own direction: most of what changes is something else.",
    "consistency": "It does different things on different seeds.",
    "monotone_share": "More strength does not always mean more effect.",
    "realism": "Even at one unit many images no longer look like the model's own.",
    "realism_2": "Beyond one unit images break: stay within ±1.",
}


def _looks_like(found: Mapping[str, float | None], leakage_row: npt.ArrayLike | None) -> str:
    if leakage_row is None:
        return "It moves another slider's direction more than its own."
    row = np.nan_to_num(np.asarray(leakage_row, dtype=float))
    other = int(np.abs(row).argmax())
    if other == found.get("index"):
        return "It moves another slider's direction about as much as its own."
    turned = " turned round" if row[other] < 0 else ""
    return f"It really looks like slider {other}{turned}: it moves that direction more than its own."


# ---- what was measured, and who saw it


def part(data: object, *path: str) -> Any:
    """What lies at the end of a path of keys; None where any of it is absent."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _over(old: object, new: object) -> dict[str, Any]:
    """Both tables as one; what is absent in the new one stays as it was."""
    before, after = (dict(table) if isinstance(table, Mapping) else {} for table in (old, new))
    return before | {key: value for key, value in after.items() if value is not None}


def view(discovered: Numbers | None, evaluated: Numbers | None) -> dict[str, Any]:
    """What one pair of eyes saw: `mean` and `sliders` always, `leakage` where it was taken. Empty if it saw nothing."""
    rows = zip_longest(part(discovered, "sliders") or (), part(evaluated, "sliders") or ())
    both = {
        "mean": _over(part(discovered, "mean"), part(evaluated, "mean")),
        "sliders": [_over(old, new) for old, new in rows],
    }
    return _over(discovered, evaluated) | both if discovered or evaluated else {}


def summary(seen: Numbers, judged: Numbers, evaluation: Numbers | None, count: int) -> list[dict[str, Any]]:
    """The means of both views of `count` sliders, [seen, judged] in `cells`, beside their aims."""
    rows = [
        _row(m, estimate(seen.get(m.key)), estimate(judged.get(m.key)), count)
        for m in MEASURES
        if m.key in {*seen, *judged}
    ]
    together, unseen = (
        _together(evaluation),
        {"text": "", "range": None},
    )  # what sliders do to each other the judge is not asked
    cells = {
        m: [_cell(Estimate(together[m.key]), partial(written, share=m.share), written), unseen]
        for m in TOGETHER
        if m.key in together
    }
    return rows + [{"measure": m, "cells": told, "target": None, "met": None} for m, told in cells.items()]


def _row(m: Measure, seen: Estimate, judged: Estimate, count: int) -> dict[str, Any]:
    """A mean meets its aim if it does so as written."""
    said, ends, aim = partial(written, share=m.share), partial(written, share=m.share), m.target
    if m.key == "own_direction_largest" and aim is not None:  # a share of few sliders reads best as a count
        seen, judged, aim = seen.times(count), judged.times(count), math.ceil(aim * count)
        said, ends = partial(_of, count), _whole
    decides = judged if m.judged and judged.value is not None else seen
    if decides is judged and seen.low is None:  # of realism a discovery has the judge's word alone
        seen = Estimate(None)
    met = None if decides.value is None or aim is None else round(decides.value, 2) >= aim
    cells = [_cell(value, said, ends) for value in (seen, judged)]
    return {"measure": m, "cells": cells, "target": None if aim is None else said(aim), "met": met}


def _cell(value: Estimate, said: Callable[[float | None], str], ends: Callable[[float], str]) -> dict[str, Any]:
    return {"text": said(value.value), "range": value.range(ends)}


def _of(count: int, value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} of {count}"


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _together(evaluation: Numbers | None) -> dict[str, float]:
    """What sliders do to each other, on average; empty where it was not looked at."""
    cosines, several = (
        known(part(evaluation, "orthogonality")),
        (number(part(evaluation, "side_effects", "active")) or 0) > 1,
    )
    values = {key: known(part(evaluation, "side_effects", key)) for key in ("retained", "additivity") if several}
    values["overlap"] = cosines[~np.eye(len(cosines), dtype=bool)] if cosines.ndim == 2 else cosines
    return {key: float(np.nanmean(found)) for key, found in values.items() if not np.isnan(found).all()}


def chance(evaluation: Numbers | None) -> list[dict[str, str]]:
    """Alignment of the same moves with directions that are not the sliders' own, for both views: what a score is
    worth."""
    views = {eyes: part(evaluation, "controls", eyes) or {} for eyes in ("training", "judge")}
    return [
        {"name": name} | {eyes: written(part(told, name, "alignment")) for eyes, told in views.items()}
        for name in views["training"]
    ]


def factors(discovered: Numbers | None, evaluated: Numbers | None) -> dict[str, Any] | None:
    """The true factors of the images: the table of effects, and how cleanly the sliders take them apart, beside
    controls."""
    found = _over(discovered, evaluated)
    table, controls = (
        charts.effect_table(found),
        {name: _over(values, None) for name, values in (found.get("controls") or {}).items()},
    )
    if table is None:
        return None
    counts = {key: number(found.get(key)) for key in COUNTS}
    columns = [_over(counts, found.get("mean")), *controls.values()]
    told = [
        m for m in CLEAN if any(column.get(m.key) is not None for column in columns[m.key in COUNTS :])
    ]  # own counts are said above it
    forms = {m.key: _whole if m.key in COUNTS else written for m in told}
    rows = [
        {"measure": m, "cells": [_cell(estimate(c.get(m.key)), forms[m.key], forms[m.key]) for c in columns]}
        for m in told
    ]
    return table | {"clean": rows, "controls": list(controls)} | counts


def steps(evaluation: Numbers | None) -> list[tuple[str, dict[str, Any]]]:
    """What sliders do at each sampler step, as named curves."""
    found = part(evaluation, "by_step")
    curves = {
        name: charts.by_step(part(found, "steps") or (), part(found, name.lower()))
        for name in ("Alignment", "Consistency")
    }
    return [(name, curve) for name, curve in curves.items() if curve]
