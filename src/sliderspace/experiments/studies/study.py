"""Runs the grid of a question: a discovery for every variant and seed, each in a folder of its own, measured by the
judge too.

Folders are named by what was asked for, so that questions share what they have in common, and a study goes on where it
stopped; several processes may work on one study, each taking what no other holds. Trajectories that were sampled alike
are stored once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sliderspace.core.numbers import number
from sliderspace.core.settings import Settings, Speed, settings_from
from sliderspace.engine.begin import models_for
from sliderspace.engine.progress import Progress
from sliderspace.engine.stages import is_measured
from sliderspace.experiments.runs import discovered, folder_of
from sliderspace.experiments.studies.questions import Question, Variant
from sliderspace.measure.results import Measures
from sliderspace.storage.run_folder import RunFolder

Row = dict[str, float]
COLUMNS = {  # a short name -> where in the measures; those of the judge are what a question is decided by
    "alignment": ("mean", "alignment"),
    "consistency": ("mean", "consistency"),
    "selectivity": ("mean", "selectivity"),
    "monotone share": ("mean", "monotone_share"),
    "alignment (judge)": ("judge", "mean", "alignment"),
    "consistency (judge)": ("judge", "mean", "consistency"),
    "selectivity (judge)": ("judge", "mean", "selectivity"),
    "realism (judge)": ("judge", "mean", "realism"),
    "realism at 2 (judge)": ("judge", "mean", "realism_2"),
    "disentanglement": ("factors", "mean", "disentanglement"),
    "disentanglement of shares": ("factors", "mean", "disentanglement_of_shares"),
    "factor gap": ("factors", "mean", "gap"),
}


@dataclass(frozen=True)
class Cell:
    """One discovery of a question."""

    variant: Variant
    settings: Settings

    def folder(self, out: Path) -> RunFolder:
        return folder_of(self.settings, out / "cells")


def cells(question: Question, seeds: Sequence[int], backbone: str) -> list[Cell]:
    """Seed by seed, so that a study cut short has every variant at some seed."""
    chosen = [
        (v, {"backbone": backbone, **question.base, **v.changes, "seed": seed})
        for seed in seeds
        for v in question.variants
    ]
    return [Cell(variant, settings_from(values)) for variant, values in chosen]


def run_cells(todo: Sequence[Cell], out: Path, speed: Speed) -> Iterator[Progress]:
    """Discover and measure every cell that is not yet; those another process holds are left to it."""
    for place, cell in enumerate(todo):
        label = f"{cell.variant.label}, seed {cell.settings.seed}"
        if row(cell, out, speed) is None:
            for progress in discovered(cell.settings, cell.folder(out), out / "trajectories", speed):
                yield Progress("study", place, len(todo), f"{label}: {progress.stage}")
        yield Progress("study", place + 1, len(todo), cell.variant.label)


def row(cell: Cell, out: Path, speed: Speed = Speed()) -> Row | None:
    """The measures of a finished cell; None where it is not finished, or its files were made with other settings."""
    found = measured(cell, out, speed)
    if found is None:
        return None
    return {name: value for name, path in COLUMNS.items() if (value := _at(found, path)) is not None}


def measured(cell: Cell, out: Path, speed: Speed = Speed()) -> Measures | None:
    """The measures of a finished cell, made with its very settings."""
    run = cell.folder(out)
    if not run.measures.exists():  # asking for the fingerprint may hash a model
        return None
    return Measures.read(run.measures) if is_measured(models_for(cell.settings, speed, run)) else None


def _at(record: object, path: Sequence[str]) -> float | None:
    """The number at the end of a path of names; None where any of it is absent."""
    for name in path:
        record = getattr(record, name, None)
    return number(record)


def rows(
    question: Question, seeds: Sequence[int], backbone: str, out: Path, speed: Speed = Speed()
) -> dict[str, list[Row]]:
    """Variant -> its measures, a row a seed: of those seeds that every variant measured so far has, for seeds differ
    more than variants."""
    found: dict[str, dict[int, Row]] = {v.label: {} for v in question.variants}
    for cell in cells(question, seeds, backbone):
        if (told := row(cell, out, speed)) is not None:
            found[cell.variant.label][cell.settings.seed] = told
    begun = [set(by_seed) for by_seed in found.values() if by_seed]
    shared = sorted(set.intersection(*begun)) if begun else []
    return {label: [by_seed[seed] for seed in shared if seed in by_seed] for label, by_seed in found.items()}
