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

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from sliderspace.core.arrays import Array
from sliderspace.core.numbers import number, written
from sliderspace.core.settings import Settings
from sliderspace.core.text import shown
from sliderspace.measure.results import Evaluation, FactorTable, Measures, SliderMeasures
from sliderspace.method.strengths import shown_mixes
from sliderspace.method.sweeps import both_ways
from sliderspace.report import charts, verdicts
from sliderspace.report.cells import WORTH, heats
from sliderspace.space.labels import Label
from sliderspace.storage.files import save_text
from sliderspace.storage.images import THUMBNAIL, checked, data_uri, scale_label, thumbnails

PLAIN = {"prompts", "pairs", "eta"}  # settings that a discovery's page leaves out
MADE_FROM = "sliderspace-measures"  # names the fingerprint of the measures that a page shows


@dataclass(frozen=True)
class ReportData:
    """All the page shows. `strips` uint8 [K, S seeds, M scales, H, W, 3] at ±`measures.sizes` units and 0,
    `base_images` uint8 [N, H, W, 3]; `mixes` the first of them drawn again with the strengths of `shown_mixes`;
    `history` (updates, held-out alignment) pairs.

    `step_share` 0 … 1; `folder` as a user would type it, for the commands on the page; `notes` stand at its top.
    """

    settings: Settings
    measures: Measures
    strips: npt.ArrayLike
    labels: Sequence[Label]
    base_images: npt.ArrayLike
    explained_variance_ratio_K: Array
    step_share: float
    created: str
    mixes: npt.ArrayLike = ()
    evaluation: Evaluation | None = None
    history: Sequence[Sequence[float]] = ()
    notes: Sequence[str] = ()
    folder: str = "DIR"
    made_from: str = ""


# ---- one slider


@dataclass(frozen=True)
class Meter:
    """A measure of one slider as a bar of 0 … 100 %."""

    measure: verdicts.Measure
    text: str
    fill: float
    low: bool


@dataclass(frozen=True)
class Card:
    """One slider: a strip of pictures a seed, its measures, and what to beware of."""

    index: int
    label: Label
    warnings: list[str]
    labels: list[str]
    scales: list[float]
    rows: list[list[str]]
    seeds: list[str]
    meters: list[Meter]
    share: float | None
    unit: float | None
    span: str
    width: int
    height: int
    glance: list[tuple[str, str]]


def _meters(slider: SliderMeasures) -> list[Meter]:
    measures = [m for m in verdicts.MEASURES if m.key != "own_direction_largest"]
    values = [number(getattr(slider, m.key)) for m in measures]
    return [
        Meter(
            measure=m,
            text=written(v, share=m.share),
            fill=100 * min(max((v or 0) / m.top, 0), 1),
            low=v is not None and m.warn is not None and v < m.warn,
        )
        for m, v in zip(measures, values, strict=True)
    ]


def _card(data: ReportData, k: int, images: npt.NDArray[np.uint8]) -> Card:
    slider = data.measures.sliders[k]
    strips = thumbnails(images, THUMBNAIL)
    scales: list[float] = both_ways(data.measures.sizes).tolist()
    labels = ["base" if s == 0 else scale_label(s) for s in scales]
    rows = [[data_uri(image) for image in row] for row in strips]
    span = charts.span(slider)
    return Card(
        index=k,
        label=data.labels[k],
        warnings=verdicts.warnings_for(slider, data.measures.mean, data.measures.leakage[k]),
        labels=labels,
        scales=scales,
        rows=rows,
        seeds=[_letters(s) for s in range(len(rows))],
        meters=_meters(slider),
        share=slider.explained_variance_ratio,
        unit=slider.unit,
        span=" … ".join(scale_label(end) for end in span or ()),
        width=strips.shape[3],
        height=strips.shape[2],
        glance=[(rows[0][m], labels[m]) for m in glance_columns(scales, span)],
    )


def glance_columns(scales: Sequence[float], span: tuple[float, float] | None) -> list[int]:
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
def environment() -> Environment:
    """Of all pages: texts are escaped, and what acts unseen in them is marked."""
    return Environment(
        loader=PackageLoader("sliderspace.report", "templates"),
        autoescape=True,
        finalize=_marked,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template() -> Template:
    return environment().get_template("report.html.j2")


def _marked(value: object) -> object:
    """Every text on the page, with a mark for what cannot be seen; what is drawn is left alone."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _script_digest() -> str:
    """Of the page's only script: the content policy names it, so that no other one can run."""
    script = "".join(_template().blocks["script"](_template().new_context()))
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def render(data: ReportData) -> str:
    """The page as HTML. Raises BadInput where pictures are not uint8 RGB."""
    measures, evaluation, settings = data.measures, data.evaluation, data.settings
    base = thumbnails(checked(data.base_images, 4), THUMBNAIL)
    seen = verdicts.training_view(measures, evaluation)
    judged = verdicts.judges_view(measures.judge, evaluation)
    cards = [_card(data, k, images) for k, images in enumerate(checked(data.strips, 6))]
    return _template().render(
        data=data,
        title=settings.prompts[0],
        encoder=settings.encoder or "the preset's own",
        settings=settings.model_dump(mode="json", exclude={"prompts"} if settings.pairs else PLAIN).items(),
        cards=cards,
        base=[data_uri(image) for image in base],
        summary=verdicts.summary(seen, judged, evaluation),
        rank=measures.mean.effective_rank,
        variance=charts.variance(data.explained_variance_ratio_K),
        explained=float(np.nansum(charts.known(data.explained_variance_ratio_K))),
        training=charts.training(data.history),
        heats=heats([view.leakage for view in (seen, judged) if view]),
        consistency=charts.consistency(
            measures.sliders, [verdicts.as_interval(s.consistency) for s in seen.sliders], measures.sizes
        ),
        spans=charts.spans(measures.sliders, measures.sizes),
        factors=verdicts.factors((evaluation and evaluation.factors) or measures.factors),
        seen=_seen((evaluation and evaluation.factors) or measures.factors, measures.sizes),
        steps=_steps(evaluation),
        chance=verdicts.chance(evaluation),
        judged=judged is not None,
        seeds=evaluation and evaluation.seeds,
        together=evaluation and evaluation.side_effects.active,
        flawed=sum(bool(card.warnings) for card in cards),
        written=written,
        folder=shlex.quote(data.folder),
        digest=_script_digest(),
        made_from_name=MADE_FROM,
        thumbnail=base.shape[1:3],
        mixes=_mixes(data),
    )


@dataclass(frozen=True)
class Mixed:
    """A seed with some sliders on: the picture, which sliders, and how strong each is."""

    seed: int
    picture: str
    parts: list[tuple[int, str]]


def _mixes(data: ReportData) -> list[Mixed]:
    """The mixes that were drawn; none where there are too few sliders to mix."""
    sliders = len(data.measures.sliders)
    if not np.size(data.mixes) or sliders < 2:
        return []
    shown_N = thumbnails(checked(data.mixes, 4), THUMBNAIL)
    rows_NK = shown_mixes(len(shown_N), sliders).numpy()
    parts = [[(int(k), scale_label(float(row_K[k]))) for k in np.flatnonzero(row_K)] for row_K in rows_NK]
    return [Mixed(seed, data_uri(image), part) for seed, (image, part) in enumerate(zip(shown_N, parts, strict=True))]


@dataclass(frozen=True)
class Seen:
    """A factor as two pictures of the slider that moves it most: columns of its strip, and the values they show."""

    factor: str
    slider: int
    columns: tuple[int, int]
    becomes: tuple[str, str]


def _seen(factors: FactorTable | None, sizes: Sequence[float]) -> list[Seen]:
    """The factors that some slider moves; the pictures are at two units, or as near to that as there are any."""
    if factors is None or not factors.names:
        return []
    scales = both_ways(sizes)
    down, up = (int(np.abs(scales - scale).argmin()) for scale in (-2.0, 2.0))
    effects_KF = charts.known(factors.effects)
    found: list[Seen] = []
    for f, name in enumerate(factors.names):
        k = int(np.nan_to_num(effects_KF[:, f], nan=-1.0).argmax())
        becomes = factors.becomes[k][f]
        if effects_KF[k, f] >= WORTH and becomes:
            found.append(Seen(name.replace("_", " "), k, (down, up), (_value(becomes[0]), _value(becomes[1]))))
    return found


def _value(text: str) -> str:
    """A factor's value: a word as it is, a number shortly."""
    try:
        value = float(text)
    except ValueError:
        return text
    return f"{value:.{0 if abs(value) >= 10 else 1}f}".replace("-", "−")


def _steps(evaluation: Evaluation | None) -> list[tuple[str, Markup]]:
    """What sliders do at each sampler step, as named curves."""
    if evaluation is None:
        return []
    found = evaluation.by_step
    tables = {"Alignment": found.alignment, "Consistency": found.consistency}
    curves = {name: charts.by_step(name, found.steps, values) for name, values in tables.items()}
    return [(name, curve) for name, curve in curves.items() if curve]


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page to `path`, atomically; errors as `storage.files.save_bytes`."""
    save_text(path, render(data))
