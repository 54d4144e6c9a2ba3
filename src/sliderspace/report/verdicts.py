"""How good a space is, in plain words: the tables of the report, the aims beside them, and what to beware of in a
slider.

A space is measured in two views: by the encoder that trained it, and by a judge that did not. A discovery measures
once; an evaluation again, with intervals. Where both have a number, the evaluation's is shown.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.core.numbers import number, written
from sliderspace.measure.protocols.records import Protocols
from sliderspace.measure.results import (
    Control,
    EvaluatedFactors,
    EvaluatedView,
    Evaluation,
    FactorControl,
    Factors,
    Interval,
    JudgeView,
    Means,
    Measures,
    Number,
    Scores,
    SliderMeasures,
    SliderScores,
    Table,
)
from sliderspace.report import cells
from sliderspace.report.charts import ends_of, known


@dataclass(frozen=True)
class Measure:
    key: str
    name: str
    meaning: str
    target: float | None = None  # what the mean over a good space reaches
    warn: float | None = None  # below this, one slider earns a warning
    top: float = 1.0  # the value that fills a meter
    share: bool = False  # written in per cent
    judged: bool = False  # the judge's number decides, where there is one


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
PROTOCOLS = (
    Measure("pairs", "Pairs", "Of two sliders on at +1 unit, both move their own way.", share=True),
    Measure("triples", "Triples", "Of three sliders on at +1 unit, all move their own way.", share=True),
    Measure("evenness", "Evenness", "How unequal the steps of a sweep are to the eye: 0 if all are alike."),
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


def warnings_for(slider: SliderMeasures, mean: Means | None = None, leakage_K: Sequence[Number] = ()) -> list[str]:
    """What a user should beware of in one slider, in plain words. `leakage_K` is its row."""
    found = {key: number(getattr(slider, key)) for key in _WARN}
    warnings = [_LOW[key] for key, value in found.items() if value is not None and value < _WARN[key]]
    if slider.own_direction_largest is False:
        warnings.append(_looks_like(slider.index, leakage_K))
    if slider.unit_reached is False:
        warnings.append("It never moved the images by a whole natural unit, so its unit is an estimate.")
    usual = mean.alignment if mean else None
    if not warnings and usual is not None and slider.alignment is not None and slider.alignment < usual / 2:
        warnings.append(
            f"It is much less aimed than the others: alignment {written(slider.alignment)}, and {written(usual)} on "
            f"average."
        )
    return warnings


_WARN = {m.key: m.warn for m in MEASURES if m.warn is not None}
_LOW = {
    "alignment": "It moves little along its own direction: most of what changes is something else.",
    "consistency": "It does different things on different seeds.",
    "monotone_share": "More strength does not always mean more effect.",
    "realism": "Even at one unit many images no longer look like the model's own.",
    "realism_2": "Beyond one unit images break: stay within ±1.",
}


def _looks_like(index: int | None, leakage_K: Sequence[Number]) -> str:
    row = np.nan_to_num(known(leakage_K))
    if not row.any():
        return "It moves another slider's direction more than its own."
    other = int(np.abs(row).argmax())
    if other == index:
        return "It moves another slider's direction about as much as its own."
    turned = " turned round" if row[other] < 0 else ""
    return f"It really looks like slider {other}{turned}: it moves that direction more than its own."


# ---- what was measured, in both views


@dataclass(frozen=True)
class View:
    """One view as the page shows it: the evaluation's numbers where it has them, else the discovery's."""

    mean: Scores[Interval]
    sliders: tuple[Scores[Interval], ...]
    leakage: Table


def training_view(measures: Measures, evaluation: Evaluation | None) -> View:
    return _over(measures.mean, measures.sliders, measures.leakage, evaluation and evaluation.views.training)


def judges_view(judge: JudgeView | None, evaluation: Evaluation | None) -> View | None:
    """None where no judge saw the space."""
    evaluated = evaluation and evaluation.views.judge
    if judge and (evaluated is None or evaluated.encoder == judge.encoder):
        return _over(judge.mean, judge.sliders, judge.leakage, evaluated)
    return View(evaluated.mean, evaluated.sliders, evaluated.leakage) if evaluated else None


def _over(
    mean: Scores[Number], sliders: Sequence[SliderScores], leakage: Table, evaluated: EvaluatedView | None
) -> View:
    if evaluated is None:
        return View(_scores(mean), tuple(_scores(s) for s in sliders), leakage)
    both = zip(sliders, evaluated.sliders, strict=True)
    return View(_scores(mean, evaluated.mean), tuple(_scores(s, e) for s, e in both), evaluated.leakage)


def _scores(found: Scores[Number], evaluated: Scores[Interval] | None = None) -> Scores[Interval]:
    values: dict[str, Interval] = {}
    for key in Scores.model_fields:
        new = as_interval(getattr(evaluated, key, None))
        values[key] = as_interval(getattr(found, key)) if new.value is None else new
    return Scores[Interval].model_validate(values)


def as_interval(value: object) -> Interval:
    return value if isinstance(value, Interval) else Interval(value=number(value))


# ---- the table of the means


@dataclass(frozen=True)
class Shown:
    """A number as it is written, and its interval."""

    text: str
    range: str | None = None


@dataclass(frozen=True)
class Row:
    """A measure in each view; `target` and whether it is met, where there is an aim."""

    measure: Measure
    cells: list[Shown]
    target: str | None = None
    met: bool | None = None


def summary(seen: View, judged: View | None, evaluation: Evaluation | None) -> list[Row]:
    """The means of both views, [training encoder, judge] in `cells`, beside their aims."""
    count = len(seen.sliders)
    judge = judged.mean if judged else Scores[Interval]()
    rows = [
        _row(m, as_interval(getattr(seen.mean, m.key)), as_interval(getattr(judge, m.key)), count) for m in MEASURES
    ]
    together = _together(evaluation) if evaluation else {}
    # What sliders do to each other is measured in the training encoder alone.
    rows += [Row(m, [Shown(written(together[m.key], share=m.share)), Shown("")]) for m in TOGETHER if m.key in together]
    return rows + (_protocols(evaluation.protocols) if evaluation and evaluation.protocols else [])


def _row(m: Measure, seen: Interval, judged: Interval, count: int) -> Row:
    """A mean meets its aim if it does so as written."""
    form: Callable[[float | None], str] = partial(written, share=m.share)
    ends: Callable[[float], str] = partial(written, share=m.share)
    aim = m.target
    if m.key == "own_direction_largest" and aim is not None:  # a share of few sliders reads best as a count
        seen, judged, aim = _times(seen, count), _times(judged, count), math.ceil(aim * count)
        form, ends = partial(_of, count), _whole
    decides = judged if m.judged and judged.value is not None else seen
    if decides is judged and seen.low is None:  # a discovery stores the judge's realism alone
        seen = Interval(value=None)
    met = None if decides.value is None or aim is None else round(decides.value, 2) >= aim
    return Row(m, [_shown(v, form, ends) for v in (seen, judged)], None if aim is None else form(aim), met)


def _times(value: Interval, count: int) -> Interval:
    ends = {key: None if end is None else end * count for key, end in value}
    return Interval.model_validate(ends)


def _shown(value: Interval, form: Callable[[float | None], str], ends: Callable[[float], str]) -> Shown:
    return Shown(form(value.value), ends_of(value, ends))


def _of(count: int, value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} of {count}"


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _together(evaluation: Evaluation) -> dict[str, float]:
    """What sliders do to each other, on average; empty where it was not looked at."""
    effects, cosines_KK = evaluation.side_effects, known(evaluation.orthogonality)
    values: dict[str, Array] = {"overlap": cosines_KK[~np.eye(len(cosines_KK), dtype=bool)]}
    if effects.active > 1:
        values |= {"retained": known(effects.retained), "additivity": known(effects.additivity)}
    return {key: float(np.nanmean(found)) for key, found in values.items() if not np.isnan(found).all()}


def _protocols(found: Protocols) -> list[Row]:
    """Those of both views, with what chance gives."""
    rows: list[Row] = []
    for m in PROTOCOLS:
        seen, judged = (getattr(view, m.key, None) for view in (found.training, found.judge))
        if seen is not None:
            told = f"{m.meaning} By chance {written(seen.chance, share=m.share)}."
            form = partial(written, share=m.share)
            shown = [_shown(p.mean, form, form) if p else Shown("") for p in (seen, judged)]
            rows.append(Row(replace(m, meaning=told), shown))
    return rows


@dataclass(frozen=True)
class Chance:
    """Alignment of the same moves with directions that are not the sliders' own, in both views."""

    name: str
    training: str
    judge: str


def chance(evaluation: Evaluation | None) -> list[Chance]:
    """What a score is worth."""
    if evaluation is None:
        return []
    judge = evaluation.controls.judge or {}
    return [
        Chance(name, written(control.alignment), written(judge.get(name, Control()).alignment))
        for name, control in evaluation.controls.training.items()
    ]


# ---- the true factors


@dataclass(frozen=True)
class FactorPart:
    """The table of effects, and how cleanly the sliders take the factors apart, beside controls."""

    table: cells.EffectTable
    clean: list[Row]
    controls: list[str]
    own_sliders: int
    single_factor: int


def factors(found: Factors | EvaluatedFactors | None) -> FactorPart | None:
    """The factors' part of the page; None where no judge named any."""
    table = cells.effect_table(found) if found else None
    if found is None or table is None:
        return None
    controls = found.controls if isinstance(found, EvaluatedFactors) else {}
    columns = [_column(found), *map(_column, controls.values())]
    rows = [
        Row(m, [_shown(c[m.key], *[_whole if m.key in COUNTS else written] * 2) for c in columns])
        for m in CLEAN
        # the space's own counts stand above the table
        if any(column[m.key].value is not None for column in columns[m.key in COUNTS :])
    ]
    return FactorPart(table, rows, list(controls), found.own_sliders, found.single_factor)


def _column(found: Factors | EvaluatedFactors | FactorControl) -> dict[str, Interval]:
    means = found if isinstance(found, FactorControl) else found.mean
    return {m.key: as_interval(getattr(found if m.key in COUNTS else means, m.key)) for m in CLEAN}
