"""From numbers to coloured cells: the leakage matrix and the table of effects on factors. The templates draw them.

A number that is missing (None) has no colour, and is written as a dash. K sliders, F factors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.core.numbers import written
from sliderspace.measure.effects import single_factor
from sliderspace.measure.results import EvaluatedFactors, FactorTable, Table
from sliderspace.report.charts import known

LEAKS = 8  # listed beside the heat map
# An effect from here on is written into its cell; `measure.effects` counts a slider as a factor's from here on too.
WORTH = 0.2


@dataclass(frozen=True)
class Cell:
    """One coloured cell: `alpha` 0 … 1 of the full colour; `text` and `words` are written into it, `tip` beside it."""

    alpha: float
    tip: str
    own: bool
    minus: bool = False
    text: str | None = None
    words: str | None = None


@dataclass(frozen=True)
class Leak:
    slider: int
    direction: int
    text: str


@dataclass(frozen=True)
class Heat:
    """A leakage matrix as cells; `every` how-manyth row is numbered, `largest` what full colour is."""

    cells: list[list[Cell]]
    largest: str
    every: int
    leaks: list[Leak]


def heats(leakages: Sequence[Table]) -> list[Heat]:
    """Matrices as cells coloured by sign and size; full colour is the largest size in any of them, so that they can be
    compared."""
    tables = [known(leakage) for leakage in leakages]
    largest = max((float(np.abs(np.nan_to_num(table)).max(initial=0)) for table in tables), default=0) or 1.0
    return [_heat(table, largest) for table in tables]


def _heat(found_KK: Array, largest: float) -> Heat:
    C_KK = np.nan_to_num(found_KK)
    cells = [
        [
            Cell(
                alpha=round(abs(c) / largest, 3),
                tip=f"slider {i} moves direction {j}: {written(found_KK[i, j])}",
                own=i == j,
                minus=bool(c < 0),
            )
            for j, c in enumerate(row)
        ]
        for i, row in enumerate(C_KK)
    ]
    leaks = sorted(
        ((abs(c), i, j) for i, row in enumerate(C_KK) for j, c in enumerate(row) if i != j and c), reverse=True
    )
    listed = [Leak(i, j, written(C_KK[i, j])) for _, i, j in leaks[:LEAKS]]
    return Heat(cells, written(largest), max(1, math.ceil(len(C_KK) / 16)), listed)


@dataclass(frozen=True)
class EffectRow:
    gap: str
    cells: list[Cell]


@dataclass(frozen=True)
class InformedRow:
    """What an image's place along directions says of each factor."""

    name: str
    meaning: str
    values: list[str]


@dataclass(frozen=True)
class EffectTable:
    names: list[str]
    rows: list[EffectRow]
    full: str
    informed: list[InformedRow]


def effect_table(factors: FactorTable) -> EffectTable | None:
    """Sliders × factors, coloured by effect; full colour is the largest, or 2·WORTH where all are weak. None without
    effects."""
    found_KF = known(factors.effects)
    if found_KF.ndim != 2 or not found_KF.size:
        return None
    names = [name.replace("_", " ") for name in factors.names]
    E_KF = np.clip(np.nan_to_num(found_KF), 0, 1)
    full = max(float(E_KF.max()), 2 * WORTH)
    own_K = np.where(single_factor(E_KF, WORTH), E_KF.argmax(axis=1), -1)
    rows = [
        EffectRow(
            written(factors.gap[k]),
            [
                _effect(f"slider {k}, {name}", found_KF[k, f], factors.becomes[k][f], full, own=f == own_K[k])
                for f, name in enumerate(names)
            ],
        )
        for k in range(len(found_KF))
    ]
    return EffectTable(names, rows, written(full), _informed(factors))


def _effect(what: str, effect: float, pair: tuple[str, str] | None, full: float, *, own: bool) -> Cell:
    words = " → ".join(pair) if pair else None
    strong = effect >= WORTH
    return Cell(
        alpha=round(max(float(np.nan_to_num(effect)), 0) / full, 3),
        tip=f"{what}: {written(effect)}{f', {words}' if words else ''}",
        own=bool(own),
        text=written(effect) if strong else None,
        words=words if strong else None,
    )


def _informed(factors: FactorTable) -> list[InformedRow]:
    """Rows below the table, where an evaluation found them."""
    if not isinstance(factors, EvaluatedFactors):
        return []
    rows = (
        (
            "all together",
            "how well an image's place along all directions predicts the factor, 0 … 1.",
            factors.informativeness,
        ),
        (
            "at random",
            "the same with as many random directions.",
            factors.told_by_random_directions.informativeness,
        ),
        (
            "one alone",
            "how much more one direction says of it than the next one (MIG), 0 … 1.",
            factors.mutual_information_gap,
        ),
    )
    return [
        InformedRow(name, meaning, [written(found.get(factor)) for factor in factors.names])
        for name, meaning, found in rows
    ]
