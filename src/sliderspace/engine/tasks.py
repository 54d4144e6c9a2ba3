"""The tasks of each stage as data, so that any process can be asked for one; and how an engine does a list of them.

An engine is a function: (models, tasks) -> an iterator over how much of them is done. `in_turn` is the plain one;
`ray.Workers` gives the same tasks to the workers of a cluster.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sliderspace.engine import stages
from sliderspace.engine.models import Models

Step = tuple[int, str]  # how much is done, and what a reader would want to know now ("" for nothing new)


@dataclass(frozen=True)
class Task:
    """What to make, the how-manieth of its kind, and how much that is in the counts of progress."""

    kind: Literal["shard", "group", "judged", "base", "slider", "mixes"]
    index: int = 0
    size: int = 0


Engine = Callable[[Models, Sequence[Task]], Iterator[Step]]


def sampling(models: Models) -> list[Task]:
    """Shards of trajectories, counted in trajectories."""
    return [Task("shard", j, shard.last - shard.first) for j, shard in enumerate(models.shards)]


def training(models: Models) -> list[Task]:
    """Groups of sliders, counted in updates."""
    return [Task("group", g, models.settings.updates) for g in range(len(models.groups))]


def judging(models: Models) -> list[Task]:
    """What the judge sees in the shards' finished images; nothing that is counted."""
    return [Task("judged", j) for j in range(len(models.shards))]


def measuring(models: Models) -> list[Task]:
    """Sliders, once the model alone (`Task("base")`) is measured."""
    return [Task("slider", k, 1) for k in range(models.settings.sliders)]


def work(models: Models, task: Task) -> Iterator[Step]:
    """One task. One whose file is there already does nothing, and yields at most its end."""
    match task.kind:
        case "shard":
            yield from ((done, "") for done in stages.sample(models, task.index))
        case "group":
            for update in stages.train_group(models, task.index):
                held = update.held_out_K
                yield update.index + 1, f"held-out alignment {sum(held) / len(held):.3f}" if held else ""
        case "judged":
            stages.judge_shard(models, task.index)
        case "base":
            stages.measure_base(models)
        case "slider":
            stages.measure_slider(models, task.index)
        case "mixes":
            stages.measure_mixes(models)


def in_turn(models: Models, tasks: Sequence[Task]) -> Iterator[Step]:
    """All tasks in this process, one after the other."""
    before, note = 0, ""
    for task in tasks:
        for done, said in work(models, task):
            note = said or note
            yield before + done, note
        before += task.size
        yield before, note
