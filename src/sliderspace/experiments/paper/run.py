"""Runs the cells of an experiment: the discoveries they need, their pictures, and one stamped JSON a cell.

A cell whose file is there does nothing, so an experiment goes on where it stopped, and several processes may share a
folder: cells of one discovery are dealt to one process, and what another one holds is left to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sliderspace.core.settings import Settings
from sliderspace.engine.local import ALL, Share
from sliderspace.engine.progress import Progress
from sliderspace.engine.stages import is_measured
from sliderspace.experiments.paper.experiment import Asked, Cell, Experiment, Row
from sliderspace.experiments.paper.pictures import TAUGHT, Pictures, Shared, data_of
from sliderspace.experiments.runs import discovered
from sliderspace.storage.files import fingerprint, is_done, load_json, save_json

SCHEMA = 1  # raised when a cell's measures change
KIND = "cell"


@dataclass(frozen=True)
class Done:
    """A cell with what was measured of it."""

    cell: Cell
    row: Row


def run(experiment: Experiment, asked: Asked, shared: Shared, share: Share = ALL) -> Iterator[Progress]:
    """The cells dealt to worker i of n, each measured unless it is already."""
    todo = dealt(experiment.cells(asked), share)
    for place, cell in enumerate(todo):
        label = f"{cell.about} {cell.arm}, seed {cell.seed}".strip()
        yield Progress(experiment.name, place, len(todo), label)
        path, made_from = file_of(experiment, cell, shared)
        if is_done(path, made_from):
            continue
        for settings in cell.spaces:
            for progress in _discovered(settings, shared):
                yield Progress(experiment.name, place, len(todo), f"{label}: {progress.stage} {progress.done}")
        if all(is_measured(shared.run(settings)) for settings in cell.spaces):
            _measure(experiment, cell, shared, path, made_from)
    yield Progress(experiment.name, len(todo), len(todo))


def _discovered(settings: Settings, shared: Shared) -> Iterator[Progress]:
    models = shared.run(settings)
    if not is_measured(models):
        yield from discovered(models.settings, models.run, shared.out / "trajectories", shared.speed)


def _measure(experiment: Experiment, cell: Cell, shared: Shared, path: Path, made_from: str) -> None:
    row = experiment.measure(cell, {part: shared.seen(pictures) for part, pictures in cell.sets.items()}, shared)
    path.parent.mkdir(parents=True, exist_ok=True)
    sets = {part: shared.print_of(pictures) for part, pictures in cell.sets.items()}
    about: Mapping[str, object] = {"about": cell.about, "arm": cell.arm, "seed": cell.seed, "sets": sets, "row": row}
    save_json(path, about, kind=KIND, fingerprint=made_from)


def file_of(experiment: Experiment, cell: Cell, shared: Shared) -> tuple[Path, str]:
    """Where a cell's measures go, and what they are made from."""
    sets = {part: shared.print_of(pictures) for part, pictures in cell.sets.items()}
    made_from = fingerprint(stage=KIND, schema=SCHEMA, experiment=experiment.name, about=cell.about, sets=sets)
    return shared.out / "cells" / f"{made_from}.json", made_from


def dealt(cells: Sequence[Cell], share: Share) -> list[Cell]:
    """The cells of worker i of n: those that need the same discovery go together, the rest in turn."""
    worker, workers = share
    groups: dict[object, int] = {}
    for cell in cells:
        groups.setdefault(_group(cell), len(groups))
    return [cell for cell in cells if groups[_group(cell)] % workers == worker]


def _group(cell: Cell) -> object:
    return cell.spaces or (cell.about, cell.arm, cell.seed)


def done(experiment: Experiment, asked: Asked, shared: Shared) -> tuple[list[Done], int]:
    """The cells that are measured, and how many are missing."""
    found: list[Done] = []
    cells = experiment.cells(asked)
    for cell in cells:
        path, made_from = file_of(experiment, cell, shared)
        if is_done(path, made_from):
            found.append(Done(cell, load_json(path, kind=KIND)["row"]))
    return found, len(cells) - len(found)


# ---- before anything is run


@dataclass(frozen=True)
class Work:
    """What an experiment would do: its discoveries, and the sets of pictures, each once."""

    cells: int
    discoveries: tuple[Settings, ...]
    pictures: tuple[Pictures, ...]


def work_of(cells: Sequence[Cell], teacher: str = "") -> Work:
    spaces = dict.fromkeys(space for cell in cells for space in cell.spaces)
    sets = dict.fromkeys(pictures for cell in cells for pictures in cell.sets.values())
    sets |= dict.fromkeys(data_of(space, teacher) for space in spaces if space.images == TAUGHT)
    return Work(len(cells), tuple(spaces), tuple(sets))
