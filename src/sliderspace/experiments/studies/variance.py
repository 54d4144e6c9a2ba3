"""Are the directions that hold more variance the more interesting ones? The question the paper leaves open, asked of
finished runs."""

from collections.abc import Mapping, Sequence

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.experiments.studies.tables import figure, png
from sliderspace.measure.control import spearman
from sliderspace.measure.results import Measures


def by_slider(measured: Measures) -> dict[str, Array]:
    """Measure -> [K], in the order of the directions' variance. Those of a judge where there was one."""
    judge, factors = measured.judge, measured.factors
    found = {
        "alignment": [s.alignment for s in measured.sliders],
        "monotone share": [s.monotone_share for s in measured.sliders],
    }
    if judge:
        keys = ("alignment", "consistency", "selectivity")
        found |= {f"{key} (judge)": [getattr(s, key) for s in judge.sliders] for key in keys}
    if factors:
        found["factor gap"] = list(factors.gap)
        found["largest effect on a factor"] = [max(e or 0.0 for e in row) for row in factors.effects]
    return {key: np.array(values, dtype=np.float64) for key, values in found.items()}


def answer(runs: Sequence[Measures]) -> tuple[str, bytes]:
    """Markdown table of Spearman's ρ between a direction's variance and what its slider does, within each run, and its
    scatter plot."""
    variance = [np.array([s.explained_variance_ratio for s in run.sliders], dtype=np.float64) for run in runs]
    tables = [by_slider(run) for run in runs]
    names = [name for name in tables[0] if all(name in t for t in tables)]
    rho = {name: [spearman(v, t[name]) for v, t in zip(variance, tables, strict=True)] for name in names}
    lines = [
        f"| Spearman's ρ of the variance with | mean over {len(runs)} runs | spread (standard deviation) | runs "
        f"above 0 |",
        "|---|---|---|---|",
    ]
    for name, values in rho.items():
        lines.append(
            f"| {name} | {np.mean(values):+.2f} | {np.std(values):.2f} | {sum(v > 0 for v in values)} of "
            f"{len(values)} |"
        )
    return "\n".join(lines), _scatter(variance, tables, names[-6:])


def _scatter(variance: Sequence[Array], tables: Sequence[Mapping[str, Array]], names: Sequence[str]) -> bytes:
    made = figure(
        "What a slider does, by the share of variance that its direction holds (a dot a slider, a shade a run)"
    )
    for axes, name in zip(made.subplots(2, 3).flat, names, strict=False):
        for shade, (v, table) in enumerate(zip(variance, tables, strict=True)):
            axes.plot(
                100 * v,
                table[name],
                "o",
                color=str(0.15 + 0.6 * shade / max(1, len(tables) - 1)),
                markersize=3.5,
                mec="none",
            )
        axes.set_title(name, fontsize=10)
        axes.set_xscale("log")
        axes.set_xticks([2, 4, 8, 16], ["2 %", "4 %", "8 %", "16 %"], fontsize=8)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    return png(made)
