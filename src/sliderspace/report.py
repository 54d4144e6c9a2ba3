"""A space on one page: what it was found in, what every slider does, how well, and how to use it.

The page stands alone: pictures are data addresses, nothing is loaded from anywhere, and it reads in light, dark and on a phone.
Every text on it may come from strangers (prompts, names, notes) and is escaped; a content policy forbids all but our own script.
"""

import base64
import hashlib
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from sliderspace.images import checked, data_uri, scale_label, thumbnails
from sliderspace.store import save_text

Numbers = Mapping[str, Any]
THUMBNAIL = 256  # pixels
LEAKS = 8  # listed beside the heat map


@dataclass(frozen=True)
class SliderEntry:
    """One slider: `strips` uint8 [S seeds, M scales, H, W, 3] at `scales` natural units, its measures, and what to beware of."""

    index: int
    name: str | None
    strips: npt.ArrayLike
    scales: Sequence[float]
    measures: Numbers
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class ReportData:
    """All the page shows. `base_images` uint8 [N, H, W, 3]; `leakage` [K, K]; `history` (updates, held-out alignment) pairs.

    `step_share` 0 … 1; `folder` as a user would type it, for the commands on the page.
    """

    title: str
    prompts: Sequence[str]
    backbone: str
    encoder: str
    created: str
    settings: Sequence[tuple[str, object]]
    base_images: npt.ArrayLike
    explained_variance_ratio: npt.ArrayLike
    step_share: float
    sliders: Sequence[SliderEntry]
    leakage: npt.ArrayLike
    mean: Numbers
    history: Sequence[tuple[float, float]] | Sequence[Sequence[float]] = ()
    notes: Sequence[str] = ()
    folder: str = "DIR"


# ---- measures in plain words


@dataclass(frozen=True)
class Measure:
    key: str
    name: str
    meaning: str
    target: float | None = None  # what the mean over a good space reaches
    warn: float | None = None  # below this, one slider earns a warning
    top: float = 1.0  # the value that fills a meter
    share: bool = False  # written in per cent


MEASURES = (
    Measure("alignment", "Alignment", "How squarely one unit moves an image along the slider's own direction.", 0.4, 0.2),
    Measure("consistency", "Consistency", "Whether it does the same thing on every seed.", 0.5, 0.3),
    Measure("own_direction_largest", "Own direction first", "Sliders that move their own direction more than any other.", 0.875),
    Measure("selectivity", "Selectivity", "How many times more it moves its own direction than others.", top=10.0),
    Measure("monotone_share", "Monotone", "Sweeps in which more strength always means more effect.", 0.9, 0.8, share=True),
    Measure("realism", "Realism at ±1", "Images at ±1 unit that look like the model's own, beside fresh ones.", 0.9, 0.75, share=True),
    Measure("realism_2", "Realism at ±2", "The same at ±2 units, where sliders begin to break images.", 0.75, 0.5, share=True),
)


def number(value: object) -> float | None:
    """A finite number, or None for whatever has no value (a measure that could not be taken is stored as null)."""
    return float(value) if isinstance(value, int | float | np.number) and math.isfinite(value) else None


def written(value: object, *, share: bool = False) -> str:
    found = number(value)
    if found is None:
        return "–"
    return (f"{found:.0%}" if share else f"{found:.2f}" if abs(found) < 100 else f"{found:.3g}").replace("-", "−")


def warnings_for(measures: Numbers, mean: Numbers | None = None, leakage_row: npt.ArrayLike | None = None) -> list[str]:
    """What a user should beware of in one slider, in plain words. `leakage_row` [K] tells which slider it really looks like."""
    found = {key: number(value) for key, value in measures.items()}
    said = [text for key, text in _LOW.items() if (v := found.get(key)) is not None and v < _WARN[key]]
    if found.get("own_direction_largest") == 0:
        said.append(_looks_like(found, leakage_row))
    if found.get("unit_reached") == 0:
        said.append("It never moved the images by a whole natural unit, so its unit is an estimate.")
    usual = number((mean or {}).get("alignment"))
    if not said and usual is not None and (own := found.get("alignment")) is not None and own < usual / 2:
        said.append(f"It is much less aimed than the others: alignment {written(own)}, and {written(usual)} on average.")
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
    return f"It really looks like slider {other}{' turned round' if row[other] < 0 else ''}: it moves that direction more than its own."


# ---- what the template draws


def _summary(data: ReportData) -> list[dict[str, Any]]:
    """The means beside their aims, as they are written. A mean meets its aim if it does so as written."""
    rows: list[dict[str, Any]] = []
    count = len(data.sliders)
    for m in MEASURES:
        value, aim = number(data.mean.get(m.key)), m.target
        said = partial(written, share=m.share)
        if m.key == "own_direction_largest" and aim is not None:  # a share of few sliders reads best as a count
            value, aim = None if value is None else value * count, math.ceil(aim * count)
            said = partial(_of, count)
        met = None if value is None or aim is None else round(value, 2) >= aim
        rows.append({"measure": m, "text": said(value), "target": None if aim is None else said(aim), "met": met})
    return [row for row in rows if row["measure"].key in data.mean]


def _of(count: int, value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} of {count}"


def _meters(measures: Numbers) -> list[dict[str, Any]]:
    """The measures of one slider as bars of 0 … 100 %."""
    shown = [m for m in MEASURES if m.key in measures and m.key != "own_direction_largest"]
    values = [number(measures[m.key]) for m in shown]
    return [
        {
            "measure": m,
            "text": written(v, share=m.share),
            "fill": 100 * min(max((v or 0) / m.top, 0), 1),
            "low": v is not None and m.warn is not None and v < m.warn,
        }
        for m, v in zip(shown, values, strict=True)
    ]


def _card(entry: SliderEntry) -> dict[str, Any]:
    strips = thumbnails(checked(entry.strips, 5), THUMBNAIL)
    scales = [float(s) for s in entry.scales]
    labels = ["base" if s == 0 else scale_label(s) for s in scales]
    rows = [[data_uri(image) for image in row] for row in strips]
    return {
        "index": entry.index,
        "name": entry.name,
        "warnings": list(entry.warnings),
        "labels": labels,
        "scales": scales,
        "rows": rows,
        "seeds": [_letters(s) for s in range(len(rows))],
        "meters": _meters(entry.measures),
        "share": number(entry.measures.get("explained_variance_ratio")),
        "unit": number(entry.measures.get("unit")),
        "width": strips.shape[3],
        "height": strips.shape[2],
        "glance": [(rows[0][m], labels[m]) for m in sorted({int(np.argmin(scales)), int(np.abs(scales).argmin()), int(np.argmax(scales))})],
    }


def _letters(index: int) -> str:
    """A … Z, AA, AB …: seeds of the report are not numbers a user would type."""
    return (_letters(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def nice_top(value: float) -> float:
    """The smallest round number that holds `value` and whose quarters are round too."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


WIDTH, HEIGHT, LEFT, BOTTOM = 720, 240, 52, 34  # of a chart, in its own units


def _axis(top: float, share: bool) -> list[dict[str, Any]]:
    ticks = [top * i / 4 for i in range(5)]
    form = (lambda v: f"{100 * v:g}%") if share else (lambda v: f"{v:g}")
    return [{"y": (HEIGHT - BOTTOM) * (1 - t / top) + 8, "text": form(round(t, 6))} for t in ticks]


def _bars(ratio_K: npt.ArrayLike) -> dict[str, Any]:
    """Explained variance as bars over the slider numbers."""
    ratio = np.nan_to_num(np.asarray(ratio_K, dtype=float))
    top, pitch = nice_top(float(ratio.max(initial=0))), (WIDTH - LEFT) / max(len(ratio), 1)
    base, every = HEIGHT - BOTTOM + 8, max(1, math.ceil(len(ratio) / 16))
    heights = (HEIGHT - BOTTOM) * ratio / top
    bars = [
        {
            "x": LEFT + k * pitch + pitch * 0.1,
            "y": base - heights[k],
            "w": pitch * 0.8,
            "h": heights[k],
            "middle": LEFT + (k + 0.5) * pitch,
            "label": k if k % every == 0 else None,
            "tip": f"slider {k}: {ratio[k]:.1%} of the variance",
        }
        for k in range(len(ratio))
    ]
    return {"bars": bars, "axis": _axis(top, share=True), "base": base, "total": f"{ratio.sum():.0%}"}


def _curve(history: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Held-out alignment over updates; None where there is nothing to draw."""
    points = [(float(x), float(y)) for x, y in history if number(x) is not None and number(y) is not None]
    if len(points) < 2:
        return None
    x_N, y_N = np.array(points).T
    top, base = nice_top(max(float(y_N.max()), 1e-3)), HEIGHT - BOTTOM + 8
    xs = LEFT + (WIDTH - LEFT - 64) * (x_N - x_N.min()) / max(float(np.ptp(x_N)), 1e-9)
    ys = np.minimum((HEIGHT - BOTTOM) * (1 - y_N / top) + 8, base + 6)  # an untrained slider may lie a little below 0
    dots = [{"x": x, "y": y, "tip": f"after {n:.0f} updates: {v:.3f}"} for x, y, (n, v) in zip(xs, ys, points, strict=True)]
    return {
        "dots": dots,
        "line": " ".join(f"{d['x']:.1f},{d['y']:.1f}" for d in dots),
        "axis": _axis(top, share=False),
        "base": base,
        "first": f"{x_N[0]:.0f}",
        "last": f"{x_N[-1]:.0f} updates",
        "value": written(y_N[-1]),
    }


def _heat(leakage: npt.ArrayLike) -> dict[str, Any]:
    """Cells coloured by sign and size; full colour is the largest size in the matrix."""
    C_KK = np.nan_to_num(np.asarray(leakage, dtype=float))
    largest = float(np.abs(C_KK).max(initial=0)) or 1.0
    cells = [
        [
            {
                "sign": "minus" if c < 0 else "plus",
                "alpha": round(abs(c) / largest, 3),
                "own": i == j,
                "tip": f"slider {i} moves direction {j}: {written(c)}",
            }
            for j, c in enumerate(row)
        ]
        for i, row in enumerate(C_KK)
    ]
    leaks = sorted(((abs(c), i, j) for i, row in enumerate(C_KK) for j, c in enumerate(row) if i != j and c), reverse=True)[:LEAKS]
    listed = [{"slider": i, "direction": j, "text": written(C_KK[i, j])} for _, i, j in leaks]
    return {"cells": cells, "count": len(C_KK), "largest": written(largest), "every": max(1, math.ceil(len(C_KK) / 16)), "leaks": listed}


# ---- the page


@cache
def _template() -> Any:
    loader = PackageLoader("sliderspace", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2")


@cache
def _script_digest() -> str:
    """Of the page's only script: the content policy names it, so that no other one can run."""
    script = "".join(_template().blocks["script"](_template().new_context()))
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def render(data: ReportData) -> str:
    """The page as HTML. Raises BadInput where pictures are not uint8 RGB."""
    base = thumbnails(checked(data.base_images, 4), THUMBNAIL)
    return _template().render(
        data=data,
        cards=[_card(entry) for entry in data.sliders],
        base=[data_uri(image) for image in base],
        summary=_summary(data),
        rank=number(data.mean.get("effective_rank")),
        variance=_bars(data.explained_variance_ratio),
        curve=_curve(data.history),
        heat=_heat(data.leakage),
        flawed=sum(bool(entry.warnings) for entry in data.sliders),
        written=written,
        folder=shlex.quote(data.folder),
        digest=_script_digest(),
        thumbnail=base.shape[1:3],
    )


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page to `path`, atomically; errors as `store.save_bytes`."""
    save_text(path, render(data))
