"""A space on one page: what it was found in, what every slider does, how well, and how to use it.

The page stands alone: pictures are data addresses, nothing is loaded from anywhere, and it reads in light, dark and on
a phone. Every text on it may come from strangers (prompts, names, notes) and is escaped; a content policy forbids all
but our own script.
"""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from sliderspace.core.numbers import number, written
from sliderspace.report import charts
from sliderspace.report.charts import Numbers
from sliderspace.report.verdicts import MEASURES, chance, factors, part, steps, summary, view
from sliderspace.storage.files import save_text
from sliderspace.storage.images import checked, data_uri, scale_label, thumbnails

THUMBNAIL = 256  # pixels


@dataclass(frozen=True)
class SliderEntry:
    """One slider: `strips` uint8 [S seeds, M scales, H, W, 3] at `scales` natural units, its measures, and what to
    beware of."""

    index: int
    name: str | None
    strips: npt.ArrayLike
    scales: Sequence[float]
    measures: Numbers
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class ReportData:
    """All the page shows. `base_images` uint8 [N, H, W, 3]; `leakage` [K, K]; `history` (updates, held-out alignment)
    pairs.

    `step_share` 0 … 1; `folder` as a user would type it, for the commands on the page. `sizes` are those of
    `consistency_by_size`;
    `judge` and `factors` are those parts of measures.json, `evaluation` is evaluation.json. The page shows what there
    is of them.
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
    sizes: Sequence[float] | None = None
    judge: Numbers | None = None
    factors: Numbers | None = None
    evaluation: Numbers | None = None


# ---- one slider


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
        "span": " … ".join(scale_label(end) for end in charts.span(entry.measures) or ()),
        "width": strips.shape[3],
        "height": strips.shape[2],
        "glance": [(rows[0][m], labels[m]) for m in _ends(scales, charts.span(entry.measures))],
    }


def _ends(scales: Sequence[float], span: tuple[float, float] | None) -> list[int]:
    """Columns of a strip that show a slider at a glance: the base, and how far it can be turned either way, one unit at
    least."""
    low, high = span or (min(scales), max(scales))
    wanted = (min(low, -1.0), 0.0, max(high, 1.0))
    return sorted({int(np.abs(np.array(scales) - s).argmin()) for s in wanted})


def _letters(index: int) -> str:
    """A … Z, AA, AB …: seeds of the report are not numbers a user would type."""
    return (_letters(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


# ---- the page


@cache
def _template() -> Any:
    loader = PackageLoader("sliderspace.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2")


@cache
def _script_digest() -> str:
    """Of the page's only script: the content policy names it, so that no other one can run."""
    script = "".join(_template().blocks["script"](_template().new_context()))
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def render(data: ReportData) -> str:
    """The page as HTML. Raises BadInput where pictures are not uint8 RGB."""
    base = thumbnails(checked(data.base_images, 4), THUMBNAIL)
    own = {"mean": data.mean, "sliders": [entry.measures for entry in data.sliders], "leakage": data.leakage}
    views = [
        view(found, part(data.evaluation, "views", eyes)) for eyes, found in (("training", own), ("judge", data.judge))
    ]
    seen, judged = views
    return _template().render(
        data=data,
        cards=[_card(entry) for entry in data.sliders],
        base=[data_uri(image) for image in base],
        summary=summary(seen["mean"], judged.get("mean") or {}, data.evaluation, len(data.sliders)),
        rank=number(data.mean.get("effective_rank")),
        variance=charts.bars(data.explained_variance_ratio),
        curve=charts.training(data.history),
        heats=charts.heats([found["leakage"] for found in views if found.get("leakage") is not None]),
        reach=charts.reach(seen["sliders"], data.sizes or (1, 2, 3)),
        factors=factors(data.factors, part(data.evaluation, "factors")),
        steps=steps(data.evaluation),
        chance=chance(data.evaluation),
        judged=bool(judged),
        seeds=number(part(data.evaluation, "seeds")),
        together=number(part(data.evaluation, "side_effects", "active")),
        flawed=sum(bool(entry.warnings) for entry in data.sliders),
        written=written,
        folder=shlex.quote(data.folder),
        digest=_script_digest(),
        thumbnail=base.shape[1:3],
    )


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page to `path`, atomically; errors as `store.save_bytes`."""
    save_text(path, render(data))
