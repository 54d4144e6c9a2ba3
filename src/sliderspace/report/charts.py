"""From numbers to marks: where the report's bars, dots, curves and coloured cells stand. The templates only draw them.

A number that is missing (None, NaN, infinite) has no mark, and is written as a dash. K sliders, F factors, T sampler
steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.numbers import number, written
from sliderspace.measure.effects import single_factor
from sliderspace.storage.images import scale_label

Numbers = Mapping[str, Any]


WIDTH, HALF, HEIGHT, LEFT, BOTTOM, TOP = (
    720,
    420,
    240,
    52,
    34,
    8,
)  # of a chart, and of one of two beside each other, in its own units


BASE = HEIGHT - BOTTOM + TOP  # where a chart stands


LEAKS = 8  # listed beside the heat map


ROW = 26  # pixels a slider in charts with a row for each


# an effect from here on is written into its cell; `measure.truth` counts a slider as a factor's from here on too
WORTH = 0.2


class Estimate(NamedTuple):
    """A number and the ends of its interval, each None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def times(self, count: float) -> "Estimate":
        return Estimate(*(None if part is None else part * count for part in self))

    def range(self, form: Callable[[float], str] = written) -> str | None:
        """ "0.12–0.25"; a dash beside a minus would not be read, so there it is "−0.12 to 0.25"."""
        if self.low is None or self.high is None:
            return None
        return f"{form(self.low)}{'–' if self.low >= 0 else ' to '}{form(self.high)}"


def estimate(value: object) -> Estimate:
    """Of a plain number, or of one stored as {"value", "low", "high"}."""
    if isinstance(value, Mapping):
        return Estimate(*(number(value.get(part)) for part in Estimate._fields))
    return Estimate(number(value))


def known(values: object) -> Array:
    """As floats, NaN for what is missing; None as a whole is an empty [0]."""
    array = np.asarray([] if values is None else values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


# ---- axes, bars and curves


def nice_top(value: float) -> float:
    """The smallest round number that holds `value` and whose quarters are round too."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def _upright(values: Array, *, share: bool = False) -> tuple[list[dict[str, Any]], Callable[[Array], Array]]:
    """A vertical axis that holds 0 and all values but for a little below 0: its ticks, and the height of a value."""
    high, low = max(float(values.max(initial=0)), 1e-3), float(values.min(initial=0))
    step = nice_top(max(high, -low)) / 4
    first, last = -max(0, math.ceil(-low / step - 0.25)), math.ceil(high / step - 1e-9)
    form = (lambda v: f"{100 * v:g}%") if share else (lambda v: f"{v:g}".replace("-", "−"))

    def place(value: Array) -> Array:
        return TOP + (BASE - TOP) * (last - value / step) / (last - first)

    ticks = range(first, last + 1)
    return [
        {"y": float(place(np.array(i * step))), "text": form(round(i * step, 6)), "zero": i == 0} for i in ticks
    ], place


def bars(ratio_K: npt.ArrayLike) -> dict[str, Any]:
    """Explained variance as bars over the slider numbers."""
    ratio = np.nan_to_num(known(ratio_K))
    axis, place = _upright(ratio, share=True)
    pitch, top_K, every = (WIDTH - LEFT) / max(len(ratio), 1), place(ratio), _every(len(ratio))
    marks = [
        {
            "x": LEFT + k * pitch + pitch * 0.1,
            "y": top_K[k],
            "w": pitch * 0.8,
            "h": BASE - top_K[k],
            "middle": LEFT + (k + 0.5) * pitch,
            "label": k if k % every == 0 else None,
            "tip": f"slider {k}: {ratio[k]:.1%} of the variance",
        }
        for k in range(len(ratio))
    ]
    return {"bars": marks, "axis": axis, "base": BASE, "width": WIDTH, "total": f"{ratio.sum():.0%}"}


def training(history: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Held-out alignment over updates; None where there is nothing to draw."""
    x_N, y_N = (
        np.array([(x, y) for x, y in history if number(x) is not None and number(y) is not None], dtype=float)
        .reshape(-1, 2)
        .T
    )
    drawn = _curve(x_N, y_N, [], WIDTH, [f"after {x:.0f} updates: {y:.3f}" for x, y in zip(x_N, y_N, strict=True)])
    return drawn and drawn | {"first": f"{x_N[0]:.0f}", "last": f"{x_N[-1]:.0f} updates"}


def by_step(steps: Sequence[float], values: object) -> dict[str, Any] | None:
    """A measure [K, T] over sampler steps: faint curves, one a slider, and their mean. None where there is nothing to
    draw."""
    values_KT, x_T = known(values), known(steps)
    if values_KT.ndim != 2 or values_KT.shape[1] != len(x_T):
        return None
    some = ~np.isnan(values_KT).all(axis=0) & ~np.isnan(x_T)
    values_KT, x_T = values_KT[:, some], x_T[some]
    mean_T = np.nanmean(values_KT, axis=0)
    tips = [f"step {x:g}: {written(y)} on average" for x, y in zip(x_T, mean_T, strict=True)]
    drawn = _curve(x_T, mean_T, list(values_KT), HALF, tips)
    return drawn and drawn | {"first": f"step {x_T[0]:g}", "last": f"step {x_T[-1]:g}"}


def _curve(x_N: Array, y_N: Array, others: Sequence[Array], width: int, tips: Sequence[str]) -> dict[str, Any] | None:
    if len(x_N) < 2:
        return None
    everything = np.concatenate([y_N, *others])
    axis, place = _upright(everything[~np.isnan(everything)])
    xs = LEFT + (width - LEFT - 64) * (x_N - x_N.min()) / max(float(np.ptp(x_N)), 1e-9)
    ys = np.minimum(place(y_N), BASE + 6)  # an untrained slider may lie a little below 0
    return {
        "dots": [{"x": x, "y": y, "tip": tip} for x, y, tip in zip(xs, ys, tips, strict=True)],
        "r": 5 if len(x_N) <= 12 else 3,
        "line": _points(xs, ys),
        "faint": [_points(xs, np.minimum(place(other), BASE + 6)) for other in others],
        "axis": axis,
        "base": BASE,
        "width": width,
        "value": written(y_N[-1]),
    }


def _points(xs: Array, ys: Array) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True) if not math.isnan(y))


# ---- coloured cells


def heats(leakages: Sequence[object]) -> list[dict[str, Any]]:
    """Matrices as cells coloured by sign and size; full colour is the largest size in any of them, so that they can be
    compared."""
    tables = [known(leakage) for leakage in leakages]
    largest = max((float(np.abs(np.nan_to_num(table)).max(initial=0)) for table in tables), default=0) or 1.0
    return [_heat(table, largest) for table in tables]


def _heat(told_KK: Array, largest: float) -> dict[str, Any]:
    C_KK = np.nan_to_num(told_KK)
    cells = [
        [
            {
                "sign": "minus" if c < 0 else "plus",
                "alpha": round(abs(c) / largest, 3),
                "own": i == j,
                "tip": f"slider {i} moves direction {j}: {written(told_KK[i, j])}",
            }
            for j, c in enumerate(row)
        ]
        for i, row in enumerate(C_KK)
    ]
    leaks = sorted(
        ((abs(c), i, j) for i, row in enumerate(C_KK) for j, c in enumerate(row) if i != j and c), reverse=True
    )[:LEAKS]
    listed = [{"slider": i, "direction": j, "text": written(C_KK[i, j])} for _, i, j in leaks]
    return {
        "cells": cells,
        "count": len(C_KK),
        "largest": written(largest),
        "every": _every(len(C_KK)),
        "leaks": listed,
    }


def _every(count: int) -> int:
    """Of many sliders only some are numbered."""
    return max(1, math.ceil(count / 16))


def effect_table(factors: Numbers) -> dict[str, Any] | None:
    """Sliders × factors, coloured by effect; full colour is the largest, or 2·WORTH where all are weak. None without
    effects."""
    told_KF, names = known(factors.get("effects")), [str(name).replace("_", " ") for name in factors.get("names") or ()]
    if told_KF.ndim != 2 or not told_KF.size or told_KF.shape[1] != len(names):
        return None
    E_KF = np.clip(np.nan_to_num(told_KF), 0, 1)
    full, alone_K = max(float(E_KF.max()), 2 * WORTH), single_factor(E_KF, WORTH)
    gap_K, words = factors.get("gap") or [None] * len(E_KF), factors.get("becomes") or [None] * len(E_KF)
    rows: list[dict[str, Any]] = []
    for k, effect_F in enumerate(told_KF):
        own, pairs = int(E_KF[k].argmax()) if alone_K[k] else None, words[k] or [None] * len(names)
        cells = [
            _effect(f"slider {k}, {name}", effect_F[f], pairs[f], full) | {"own": f == own}
            for f, name in enumerate(names)
        ]
        rows.append({"index": k, "gap": written(gap_K[k]), "cells": cells})
    return {"names": names, "rows": rows, "full": written(full), "told": _told(factors)}


def _effect(what: str, effect: float, pair: Sequence[object] | None, full: float) -> dict[str, Any]:
    words = " → ".join("–" if word is None else str(word) for word in pair) if pair and any(pair) else None
    strong = effect >= WORTH
    return {
        "alpha": round(max(float(np.nan_to_num(effect)), 0) / full, 3),
        "tip": f"{what}: {written(effect)}{f', {words}' if words else ''}",
        "text": written(effect) if strong else None,
        "words": words if strong else None,
    }


def _told(factors: Numbers) -> list[dict[str, Any]]:
    """What an image's place along the directions says of each factor, as rows below the table."""
    at_random = (factors.get("told_by_random_directions") or {}).get("informativeness")
    rows = (
        (
            "told by all",
            factors.get("informativeness"),
            "how well an image's place along all directions predicts the factor, 0 … 1.",
        ),
        ("at random", at_random, "the same with as many random directions."),
        (
            "told by one",
            factors.get("mutual_information_gap"),
            "how much more one direction says of it than the next one (MIG), 0 … 1.",
        ),
    )
    return [
        {
            "name": name,
            "meaning": meaning,
            "values": [written(estimate(found.get(factor)).value) for factor in factors["names"]],
        }
        for name, found, meaning in rows
        if found
    ]


# ---- a row for each slider


def reach(sliders: Sequence[Numbers], sizes: Sequence[float]) -> dict[str, Any] | None:
    """Consistency at several sizes and the usable span, a row a slider; x in per cent of a panel. None where there is
    neither."""
    far = max(sizes, default=0) or 3
    rows = [_reach(entry, sizes, far, (k + 0.5) * ROW) for k, entry in enumerate(sliders)]
    dots, spans = (any(row[part] for row in rows) for part in ("dots", "span"))
    if not (dots or spans):
        return None
    return {
        "rows": rows,
        "height": ROW * len(rows),
        "dots": dots,
        "spans": spans,
        "sizes": [{"shade": m, "text": f"{size:g}"} for m, size in enumerate(sizes)],
        "shares": [_tick(100 * t, f"{t:g}", t, 1) for t in (0, 0.25, 0.5, 0.75, 1)],
        "units": [_tick(_along(u, far), scale_label(u), u, far) for u in sorted({0.0, *sizes, *(-s for s in sizes)})],
    }


def _tick(x: float, text: str, value: float, far: float) -> dict[str, Any]:
    """On a phone there is no room for the minor ones."""
    return {"x": x, "text": text, "zero": value == 0, "minor": abs(value) not in (0, far)}


def _reach(entry: Numbers, sizes: Sequence[float], far: float, y: float) -> dict[str, Any]:
    who, found = f"slider {entry.get('index')}", _by_size(entry)
    dots = [
        {
            "x": _percent(e.value),
            "ends": None if e.low is None or e.high is None else (_percent(e.low), _percent(e.high)),
            "y": y + ROW * 0.24 * (m - (len(sizes) - 1) / 2),  # one below the other, so that none hides another
            "shade": m,
            "tip": f"{who} at {size:g} unit{'s' if size != 1 else ''}: consistency {_with_ends(e)}",
        }
        for m, (size, e) in enumerate(zip(sizes, found, strict=False))
        if e.value is not None
    ]
    return {"label": entry.get("index"), "y": y, "dots": dots, "span": _span(who, entry, far)}


def _with_ends(value: Estimate) -> str:
    return f"{written(value.value)} ({ends})" if (ends := value.range()) else written(value.value)


def _by_size(entry: Numbers) -> list[Estimate]:
    """Consistency at each size; at the first one with its interval, where an evaluation found one."""
    found, first = (
        [estimate(value) for value in entry.get("consistency_by_size") or ()],
        estimate(entry.get("consistency")),
    )
    return found if first.low is None else [first, *found[1:]]


def span(entry: Numbers) -> tuple[float, float] | None:
    """The usable span of a slider in units, where it was measured."""
    low, high = (number(end) for end in entry.get("span") or (None, None))
    return None if low is None or high is None else (low, high)


def _span(who: str, entry: Numbers, far: float) -> dict[str, Any] | None:
    if (ends := span(entry)) is None:
        return None
    low, high = (_along(end, far) for end in ends)
    tip = (
        f"{who} is usable from {scale_label(ends[0])} to {scale_label(ends[1])} units"
        if high > low
        else f"{who} has no usable span"
    )
    return {"x": low, "w": high - low, "tip": tip}


def _percent(share: float) -> float:
    return 100 * min(max(share, 0), 1)


def _along(units: float, far: float) -> float:
    return _percent((units + far) / (2 * far))
