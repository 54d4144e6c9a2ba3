"""A run folder -> what its page shows at once, from stored results alone: no model is loaded.

K sliders, S seeds, M scales in natural units, 0 in the middle.
"""

import numpy as np
from pydantic import BaseModel

from sliderspace.core.arrays import Images
from sliderspace.core.numbers import number, written
from sliderspace.core.seeds import image_seed_for
from sliderspace.core.text import shown
from sliderspace.explore.mix import FARTHEST, Mix
from sliderspace.explore.view import view_of
from sliderspace.measure.results import Measures, SliderMeasures, SpaceFile
from sliderspace.method.sweeps import both_ways
from sliderspace.report.charts import span
from sliderspace.report.from_run import pictures_of
from sliderspace.report.verdicts import warnings_for
from sliderspace.space.labels import Label, labels_of
from sliderspace.storage.files import exists
from sliderspace.storage.images import data_uri, grid
from sliderspace.storage.run_folder import RunFolder

WIDEST = 3.0  # natural units either way, where no usable span was measured
LEAST = 1.0  # either way: a slider that can hardly be turned is still shown
SHOWN_SEEDS = 4


class Row(BaseModel):
    """One slider. `strip` is all its stored pictures as one, a row a seed, a column a scale; "" where there are
    none."""

    index: int
    name: str
    sure: bool
    sentence: str
    low: str
    high: str
    measures: str
    warnings: list[str]
    variance: float | None
    selectivity: float | None
    span: tuple[float, float]
    strip: str


class Page(BaseModel):
    """One space, told from others of its folder by `made_from`. `seeds` are those of the strips' rows, as text: they
    have more digits than JavaScript keeps."""

    made_from: str
    prompt: str
    prompts: int
    model: str
    rows: list[Row]
    scales: list[float]
    seeds: list[str]
    presets: dict[str, Mix]
    hidden: tuple[int, ...]


def page_of(run: RunFolder) -> Page:
    """Raises BadInput where there is no finished space, DamagedFile where a file of it is broken."""
    labels = labels_of(run).sliders
    view = view_of(run)
    place = (run.whole_space() or {})["space"]
    space = SpaceFile.read(place)
    there = place == run.space and exists(run.measures) and not space.foreign(run)  # no publish was broken off
    measures = Measures.read(run.measures) if there else None
    strips = pictures_of(run, measures)[0][:, :SHOWN_SEEDS] if measures and exists(run.strips) else None
    rows = [
        _row(k, label, measures, entry.measures or SliderMeasures(), None if strips is None else strips[k])
        for k, (label, entry) in enumerate(zip(labels, space.sliders, strict=True))
    ]
    seeds = 0 if strips is None else strips.shape[1]
    seed, prompts = space.settings.seed, len(space.settings.prompts)
    return Page(
        made_from=space.made_from.sliders,
        prompt=shown(space.settings.prompts[0]),
        prompts=prompts,
        model=space.settings.backbone,
        rows=rows,
        scales=[] if measures is None else both_ways(measures.sizes).tolist(),
        seeds=[str(image_seed_for(seed, "measure", s, prompts)) for s in range(seeds)],
        presets=view.presets,
        hidden=view.hidden,
    )


def _row(k: int, label: Label, measures: Measures | None, own: SliderMeasures, strip: Images | None) -> Row:
    slider = measures.sliders[k] if measures else own
    return Row(
        index=k,
        name=label.name or "",
        sure=label.sure,
        sentence=label.sentence,
        low=label.low,
        high=label.high,
        measures=_in_words(slider),
        warnings=warnings_for(slider, measures.mean, measures.leakage[k]) if measures else warnings_for(slider),
        variance=number(slider.explained_variance_ratio),
        selectivity=number(slider.selectivity),
        span=limits(slider),
        strip="" if strip is None else sheet(strip),
    )


def _in_words(slider: SliderMeasures) -> str:
    """The measures that say whether a slider is worth turning, on one line."""
    values = {
        "variance": (slider.explained_variance_ratio, True),
        "alignment": (slider.alignment, False),
        "consistency": (slider.consistency, False),
        "selectivity": (slider.selectivity, False),
    }
    found = [f"{name} {written(v, share=share)}" for name, (v, share) in values.items() if number(v) is not None]
    return " · ".join(found)


def limits(slider: SliderMeasures) -> tuple[float, float]:
    """How far a slider is turned on the page, in natural units: its usable span, at least one unit either way."""
    found = span(slider)
    if found is None or found[1] <= found[0]:
        return -WIDEST, WIDEST
    low, high = min(found[0], -LEAST), max(found[1], LEAST)
    return max(low, -FARTHEST), min(high, FARTHEST)


def sheet(strip_SMHWC: Images) -> str:
    """All pictures of a slider as one `data:` address, without gaps."""
    seeds, scales = strip_SMHWC.shape[:2]
    return data_uri(grid(np.ascontiguousarray(strip_SMHWC).reshape(seeds * scales, *strip_SMHWC.shape[2:]), scales, 0))
