"""A discovery stage by stage, yielding `Progress`. Which process does the tasks is the engine's affair: this one, one
after the other, unless another is given.

`share` = (i, n) does the part of worker i of n: shards, groups of sliders and sliders are dealt out in turn. Whoever
finds the last part done gathers the stage.
"""

from collections.abc import Callable, Iterator, Sequence

from sliderspace.engine import stages, tasks
from sliderspace.engine.models import Models
from sliderspace.engine.progress import Progress
from sliderspace.engine.tasks import Engine, Task, in_turn

Share = tuple[int, int]
ALL: Share = (0, 1)


def sample(models: Models, share: Share = ALL, engine: Engine = in_turn) -> Iterator[Progress]:
    """trajectories/"""
    due = _dealt(tasks.sampling(models), share)
    total = _size(due)
    yield Progress("sample", 0, total)
    for done, note in engine(models, due):
        yield Progress("sample", done, total, note)


def fit(models: Models) -> Iterator[Progress]:
    """directions.safetensors"""
    yield Progress("fit", 0, 1)
    found = stages.fit(models)
    held = f"{len(found.components_KD)} directions hold {found.explained_variance_ratio_K.sum():.0%} of the variance"
    most = found.step_share_K.max()
    yield Progress("fit", 1, 1, f"{held}; {found.step_share:.1%} is only the step, at most {most:.0%} of one direction")


def train(models: Models, share: Share = ALL, engine: Engine = in_turn) -> Iterator[Progress]:
    """sliders.safetensors"""
    due = _dealt(tasks.training(models), share)
    total = _size(due)
    yield Progress("train", 0, total)
    if not stages.gather_sliders(models):
        for done, note in engine(models, due):
            yield Progress("train", done, total, note)
        stages.gather_sliders(models)
    yield Progress("train", total, total)


def measure(models: Models, share: Share = ALL, engine: Engine = in_turn) -> Iterator[Progress]:
    """measures.json, strips.safetensors and space.json"""
    due = _dealt(tasks.measuring(models), share)
    if stages.is_measured(models) and stages.gather_measures(models):
        yield Progress("measure", len(due), len(due))
        return
    yield Progress("measure", 0, len(due))
    stages.gather_sliders(models)  # other workers may have trained the last of them
    # Sliders are compared with the model alone, so that comes before them; mixes need the units of all.
    first = [Task("base"), *_dealt(tasks.judging(models), share)]
    for part in (first, due):
        for done, note in engine(models, part):
            yield Progress("measure", done, len(due), note)
    for _, note in engine(models, [Task("mixes")]):
        yield Progress("measure", len(due), len(due), note)
    stages.gather_measures(models)


def discover(models: Models, engine: Engine = in_turn) -> Iterator[Progress]:
    """The whole discovery."""
    yield from sample(models, engine=engine)
    yield from fit(models)
    yield from train(models, engine=engine)
    yield from measure(models, engine=engine)


def run(models: Models, names: Sequence[str], share: Share = ALL, engine: Engine = in_turn) -> Iterator[Progress]:
    """Stages by name, one after another: discover, sample, fit, train, measure."""
    stages: dict[str, Callable[[], Iterator[Progress]]] = {
        "discover": lambda: discover(models, engine),
        "sample": lambda: sample(models, share, engine),
        "fit": lambda: fit(models),
        "train": lambda: train(models, share, engine),
        "measure": lambda: measure(models, share, engine),
    }
    for name in names:
        yield from stages[name]()


def _dealt(due: Sequence[Task], share: Share) -> Sequence[Task]:
    """Every n-th task, from the i-th on."""
    worker, workers = share
    return due[worker::workers]


def _size(due: Sequence[Task]) -> int:
    return sum(task.size for task in due)
