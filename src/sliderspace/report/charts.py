"""From numbers to the plain charts of the page, as SVG. A number that is missing (None) has no mark.

K sliders, T sampler steps.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from sliderspace.core.arrays import Array
from sliderspace.core.numbers import number, written
from sliderspace.measure.results import Interval, SliderMeasures, Table
from sliderspace.report.drawing import COLOURS, SHADES, drawing, page_svg
from sliderspace.storage.images import scale_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.26  # inches a slider, in charts with a row for each
PLUS = COLOURS["plus"]


def known(values: object) -> Array:
    """As floats, NaN for what is missing."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def variance(ratio_K: npt.ArrayLike) -> Markup:
    """Explained variance as bars over the slider numbers."""
    ratio = np.nan_to_num(known(ratio_K))
    with drawing() as (figure, axes):
        for k, share in enumerate(ratio):
            axes.bar(k, share, color=PLUS, width=0.8, clip_on=False, gid=f"bar{k}")
        _upright(axes, ratio, lambda v, _: f"{100 * v:.3g}%")
        _whole_numbers(axes, len(ratio))
        axes.set_xlabel("direction")
        tips = {f"bar{k}": [f"slider {k}: {share:.1%} of the variance"] for k, share in enumerate(ratio)}
        return page_svg(figure, f"Explained variance of {len(ratio)} directions", tips)


def training(history: Sequence[Sequence[float]]) -> Markup | None:
    """Held-out alignment over updates; None where there is nothing to draw."""
    points = [(x, y) for x, y in history if number(x) is not None and number(y) is not None]
    if len(points) < 2:
        return None
    x_N, y_N = np.array(points, dtype=float).T
    tips = [f"after {x:.0f} updates: {y:.3f}" for x, y in points]
    return _curve(x_N, y_N, [], tips, "updates", f"Held-out alignment over training, {written(y_N[-1])} at the end")


def by_step(name: str, steps: Sequence[int], values_KT: Table) -> Markup | None:
    """A measure [K, T] over sampler steps: a faint curve for each slider, and their mean. None where there is nothing
    to draw."""
    values = known(values_KT)
    some = ~np.isnan(values).all(axis=0) if values.ndim == 2 else np.zeros(0, dtype=bool)
    if some.sum() < 2:
        return None
    x_T = np.array(steps, dtype=float)[some]
    values = values[:, some]
    mean_T = np.nanmean(values, axis=0)
    tips = [f"step {x:g}: {written(y)} on average" for x, y in zip(x_T, mean_T, strict=True)]
    return _curve(
        x_T,
        mean_T,
        list(values),
        tips,
        "sampler step",
        f"{name} over the sampler steps, {written(mean_T[-1])} at the last",
    )


def _curve(x_N: Array, y_N: Array, others: Sequence[Array], tips: Sequence[str], along: str, label: str) -> Markup:
    with drawing() as (figure, axes):
        for other in others:
            axes.plot(x_N, other, color=PLUS, alpha=0.25, linewidth=0.8, clip_on=False)
        axes.plot(x_N, y_N, color=PLUS, clip_on=False)
        edge: dict[str, Any] = {"markeredgecolor": COLOURS["sheet"], "clip_on": False, "gid": "dots"}
        axes.plot(x_N, y_N, "o", color=PLUS, markersize=6 if len(x_N) <= 12 else 4, **edge)
        axes.annotate(written(y_N[-1]), (x_N[-1], y_N[-1]), (10, -3), textcoords="offset points", weight="bold")
        _upright(axes, np.concatenate([y_N, *others]), lambda v, _: f"{v:.3g}".replace("-", "−"))
        around = 0.02 * float(np.ptp(x_N))
        axes.set_xlim(float(x_N.min()) - around, float(x_N.max()) + around)
        axes.locator_params(axis="x", integer=True, nbins=6)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(along)
        return page_svg(figure, label, {"dots": tips})


def _upright(axes: "Axes", values: Array, form: Any) -> None:
    """A vertical axis that holds 0 and all values."""
    low, high = min(0.0, float(np.nanmin(values, initial=0))), max(float(np.nanmax(values, initial=0)), 1e-3)
    axes.set_ylim(low * 1.05, high * 1.05)
    axes.locator_params(axis="y", nbins=5)
    axes.yaxis.set_major_formatter(form)
    axes.axhline(0, color=COLOURS["soft"], linewidth=0.8, clip_on=False)


def _whole_numbers(axes: "Axes", count: int) -> None:
    """Of many directions only some are numbered."""
    axes.set_xticks(range(0, count, max(1, math.ceil(count / 16))))
    axes.grid(visible=False, axis="x")


# ---- a row for each slider


def consistency(sliders: Sequence[SliderMeasures], firsts: Sequence[Interval], sizes: Sequence[float]) -> Markup | None:
    """Consistency at each of `sizes` units, a row a slider; at the first one as `firsts` have it, with its interval.
    None where none was measured."""
    found_KM = [
        [first, *(Interval(value=v) for v in s.consistency_by_size[1:])]
        for s, first in zip(sliders, firsts, strict=True)
    ]
    if not any(s.consistency_by_size for s in sliders):
        return None
    tips: dict[str, list[str]] = {}
    with drawing(0.52 + ROW * len(sliders)) as (figure, axes):
        for k, found in enumerate(found_KM):
            for m, (size, value) in enumerate(zip(sizes, found, strict=False)):
                if value.value is None:
                    continue
                place = k + 0.24 * (m - (len(sizes) - 1) / 2)  # one below the other, so that none hides another
                colour = COLOURS[SHADES[m % len(SHADES)]]
                if value.low is not None and value.high is not None:
                    axes.plot([value.low, value.high], [place] * 2, color=colour, alpha=0.6)
                axes.plot(value.value, place, "o", color=colour, clip_on=False, gid=f"dot{k}.{m}")
                tips[f"dot{k}.{m}"] = [
                    f"slider {k} at {size:g} unit{'s' if size != 1 else ''}: consistency {_with_ends(value)}"
                ]
        axes.set_xlim(0, 1)
        _rows(axes, len(sliders))
        return page_svg(figure, f"Consistency of {len(sliders)} sliders", tips)


def spans(sliders: Sequence[SliderMeasures], sizes: Sequence[float]) -> Markup | None:
    """The usable span in units, a row a slider. None where none was measured."""
    found = {k: ends for k, s in enumerate(sliders) if (ends := span(s))}
    if not found:
        return None
    with drawing(0.52 + ROW * len(sliders)) as (figure, axes):
        for k, (low, high) in found.items():
            axes.barh(k, high - low, left=low, height=0.3, color=PLUS, clip_on=False, gid=f"span{k}")
        far = max(sizes)
        axes.set_xlim(-far, far)
        axes.set_xticks(sorted({0.0, *sizes, *(-s for s in sizes)}))
        axes.xaxis.set_major_formatter(lambda v, _: scale_label(v))
        axes.axvline(0, color=COLOURS["soft"], linewidth=0.8)
        _rows(axes, len(sliders))
        tips = {f"span{k}": [_span_tip(k, *ends)] for k, ends in found.items()}
        return page_svg(figure, f"Usable span of {len(sliders)} sliders", tips)


def _rows(axes: "Axes", count: int) -> None:
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count))
    axes.set_ylabel("slider")
    axes.spines["bottom"].set_visible(False)


def span(slider: SliderMeasures) -> tuple[float, float] | None:
    """The usable span of a slider in units, where it was measured."""
    low, high = slider.span or (None, None)
    return None if low is None or high is None else (low, high)


def _span_tip(k: int, low: float, high: float) -> str:
    if high <= low:
        return f"slider {k} has no usable span"
    return f"slider {k} is usable from {scale_label(low)} to {scale_label(high)} units"


def _with_ends(value: Interval) -> str:
    ends = ends_of(value)
    return f"{written(value.value)} ({ends})" if ends else written(value.value)


def ends_of(value: Interval, form: Any = written) -> str | None:
    """ "0.12–0.25"; a dash beside a minus would not be read, so there it is "−0.12 to 0.25"."""
    if value.low is None or value.high is None:
        return None
    return f"{form(value.low)}{'–' if value.low >= 0 else ' to '}{form(value.high)}"
