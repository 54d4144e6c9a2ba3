"""A discovery in this process: loops over the tasks of each stage, yielding `Progress`.

`share` = (i, n) does the part of worker i of n: shards, groups of sliders and sliders are dealt out in turn. Whoever
finds the last part done gathers the stage.
"""

from collections.abc import Callable, Iterator, Sequence

from sliderspace.engine import stages
from sliderspace.engine.models import Models
from sliderspace.engine.progress import Progress

Share = tuple[int, int]
ALL: Share = (0, 1)


def sample(models: Models, share: Share = ALL) -> Iterator[Progress]:
    """trajectories/"""
    due = _dealt(range(len(models.shards)), share)
    total = sum(models.shards[j].last - models.shards[j].first for j in due)
    done = 0
    yield Progress("sample", done, total)
    for j in due:
        for part in stages.sample(models, j):
            yield Progress("sample", done + part, total)
        done += models.shards[j].last - models.shards[j].first


def fit(models: Models) -> Iterator[Progress]:
    """directions.safetensors"""
    yield Progress("fit", 0, 1)
    found = stages.fit(models)
    held = f"{len(found.components_KD)} directions hold {found.explained_variance_ratio_K.sum():.0%} of the variance"
    most = found.step_share_K.max()
    yield Progress("fit", 1, 1, f"{held}; {found.step_share:.1%} is only the step, at most {most:.0%} of one direction")


def train(models: Models, share: Share = ALL) -> Iterator[Progress]:
    """sliders.safetensors"""
    due = _dealt(range(len(models.groups)), share)
    updates = models.settings.updates
    total = updates * len(due)
    yield Progress("train", 0, total)
    if not stages.gather_sliders(models):
        yield from _train(models, due, total)
        stages.gather_sliders(models)
    yield Progress("train", total, total)


def _train(models: Models, due: Sequence[int], total: int) -> Iterator[Progress]:
    note = ""
    for place, g in enumerate(due):
        for update in stages.train_group(models, g):
            if update.held_out_K:
                note = f"held-out alignment {sum(update.held_out_K) / len(update.held_out_K):.3f}"
            yield Progress("train", place * models.settings.updates + update.index + 1, total, note)


def measure(models: Models, share: Share = ALL) -> Iterator[Progress]:
    """measures.json, strips.safetensors and space.json"""
    due = _dealt(range(models.settings.sliders), share)
    if stages.is_measured(models):
        yield Progress("measure", len(due), len(due))
        return
    yield Progress("measure", 0, len(due))
    stages.gather_sliders(models)  # other workers may have trained the last of them
    for j in _dealt(range(len(models.shards)), share):
        stages.judge_shard(models, j)
    stages.measure_base(models)
    for done, k in enumerate(due):
        stages.measure_slider(models, k)
        yield Progress("measure", done + 1, len(due))
    stages.gather_measures(models)


def discover(models: Models) -> Iterator[Progress]:
    """The whole discovery."""
    yield from sample(models)
    yield from fit(models)
    yield from train(models)
    yield from measure(models)


def run(models: Models, names: Sequence[str], share: Share = ALL) -> Iterator[Progress]:
    """Stages by name, one after another: discover, sample, fit, train, measure."""
    stages: dict[str, Callable[[], Iterator[Progress]]] = {
        "discover": lambda: discover(models),
        "sample": lambda: sample(models, share),
        "fit": lambda: fit(models),
        "train": lambda: train(models, share),
        "measure": lambda: measure(models, share),
    }
    for name in names:
        yield from stages[name]()


def _dealt(tasks: Sequence[int], share: Share) -> Sequence[int]:
    """Every n-th task, from the i-th on."""
    worker, workers = share
    return tasks[worker::workers]
