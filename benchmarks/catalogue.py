"""How long a catalogue takes on machines that come and go, beside the hours that the planner says.

    python benchmarks/catalogue.py --concepts 1000 --workers 64

First one small discovery is really done, and every kind of task timed. Then the time of a whole catalogue is simulated:
each worker runs the real loop over concepts (`engine.catalogue.run`) and the real loop over tasks
(`engine.local.discover`), with every task replaced by the seconds that it took. Simulated are, too: the folders (which
task has left its file, and when), their locks, machines that are lost in the middle of a task, and slow ones. Printed:
the planned and the simulated hours, without and with faults; it fails where they are further apart than promised.
"""

import argparse
import json
import math
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from sliderspace.core.errors import Held
from sliderspace.core.settings import Settings, Speed
from sliderspace.engine import catalogue, local, stages
from sliderspace.engine.begin import begin
from sliderspace.engine.catalogue import Discovery
from sliderspace.engine.models import Models
from sliderspace.engine.overview import Stage
from sliderspace.engine.progress import Progress
from sliderspace.plan.catalogue import catalogue_plan
from sliderspace.plan.plan import plan_for
from sliderspace.report.from_run import report_run
from sliderspace.storage.run_folder import RunFolder

CHECKPOINT = 50  # updates of a training between two checkpoints
PROMISED = {"no faults": 0.10, "faults": 0.25}  # most that simulated hours may be above the planned ones


# ---- what tasks take


@dataclass(frozen=True)
class Seconds:
    """Of one task of each kind, on a worker of usual speed."""

    load: float  # what a new process does before its first task
    trajectory: float
    fit: float
    update: float  # of all sliders
    base: float  # what measuring does once
    slider: float  # and its share of the mixes
    report: float

    def hours(self, settings: Settings) -> dict[str, float]:
        """Of a whole concept, by the planner's stages."""
        sample = self.trajectory * (settings.samples + settings.held_out) + self.fit
        measured = self.base + self.slider * settings.sliders + self.report
        found = {"sample": sample, "train": self.update * settings.updates, "measure": measured}
        return {stage: seconds / 3600 for stage, seconds in found.items()}


def measured(settings: Settings, speed: Speed) -> Seconds:
    """One real discovery, with the time of each kind of task."""
    at: dict[str, float] = {}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place, RunFolder(Path(place) / "run").open_for_writing() as run:
        models, _ = begin(settings, speed, run)
        _ = (
            models.backbone.denoiser,
            models.backbone.decoder,
            models.encoder(  # loaded, and used once
                models.backbone.decode(models.backbone.noise([0]))
            ),
        )
        at["load"] = time.perf_counter()
        for stage in (local.sample, local.fit, local.train):
            for _ in stage(models):
                pass
            at[stage.__name__] = time.perf_counter()
        for j in range(len(models.shards)):
            stages.judge_shard(models, j)
        stages.measure_base(models)
        at["base"] = time.perf_counter()
        for _ in local.measure(models):
            pass
        at["slider"] = time.perf_counter()
        report_run(run)
        at["report"] = time.perf_counter()
    took = dict(zip(at, np.diff([start, *at.values()]).tolist(), strict=True))
    return Seconds(
        load=took["load"],
        trajectory=took["sample"] / (settings.samples + settings.held_out),
        fit=took["fit"],
        update=took["train"] / settings.updates,
        base=took["base"],
        slider=took["slider"] / settings.sliders,
        report=took["report"],
    )


# ---- a folder, a lock and a worker that are only told of


@dataclass
class Folder:
    """When each file of a concept is there, and since when nobody holds it; seconds from the start."""

    made: dict[str, float] = field(default_factory=dict[str, float])
    free: float = 0.0

    def has(self, name: str, now: float) -> bool:
        return self.made.get(name, math.inf) <= now


@dataclass
class Faults:
    """`lost` of the workers an hour, each with another in its place after `returns` seconds (None: never), and a share
    of workers that take `slower` times as long."""

    lost: float = 0.0
    returns: float | None = 600.0
    slow: float = 0.0
    slower: float = 3.0


class Worker:
    """One process on a machine of its own. `now` is its clock."""

    def __init__(self, world: "World", now: float) -> None:
        rng, faults = world.rng, world.faults
        self.world = world
        self.now = now
        self.slowness = faults.slower if rng.random() < faults.slow else 1.0
        rate = -math.log1p(-faults.lost) / 3600
        self.lost_at = now + rng.expovariate(rate) if rate else math.inf
        self.spend(world.seconds.load)
        self.folder = Folder()  # of the concept it is at
        self.events = self._events()

    def spend(self, seconds: float) -> None:
        self.now += seconds * self.slowness * self.world.jitter()

    def _events(self) -> Generator[catalogue.Event]:
        """What `discover --concepts` does in a process that begins now."""
        found = {concept: self.world.stage(concept, self.now) for concept in self.world.concepts}
        due = catalogue.furthest_first((concept for concept in found if found[concept] != "done"), found)
        yield from catalogue.run(due, self._work)

    def _work(self, concept: Discovery) -> Generator[Progress]:
        """As `discover_concept`."""
        folder = self.world.folders[concept]
        if folder.has("report", self.now):
            return
        if folder.free > self.now:
            raise Held("another worker has it")
        folder.free = math.inf
        self.folder = folder
        try:
            yield from local.discover(self)  # type: ignore[arg-type]
            self.make("report", self.world.seconds.report)
        finally:
            folder.free = self.now

    def make(self, name: str, seconds: float) -> None:
        """A task, unless its file is there."""
        if not self.folder.has(name, self.now):
            self.spend(seconds)
            self.folder.made[name] = self.now

    def end(self) -> None:
        """Lost in the middle of a task: what it had not finished is not there, and its lock is free."""
        self.events.close()
        folder = self.folder
        folder.made = {name: at for name, at in folder.made.items() if at <= self.lost_at}
        folder.free = min(folder.free, self.lost_at)

    # what `local.discover` reads of its models
    @property
    def settings(self) -> Settings:
        return self.world.models.settings

    @property
    def shards(self) -> Sequence[Any]:
        return self.world.models.shards

    @property
    def groups(self) -> list[range]:
        return self.world.models.groups


class Tasks:
    """In place of those of `engine.stages`: the same functions on a worker, taking the measured time and nothing
    else."""

    def sample(self, worker: Worker, index: int) -> Iterator[int]:
        shard, batch = worker.shards[index], worker.world.models.batch.size
        for first in range(shard.first, shard.last, batch):
            last = min(first + batch, shard.last)
            worker.make(f"trajectories {first}", worker.world.seconds.trajectory * (last - first))
            yield last - shard.first

    def fit(self, worker: Worker) -> Any:
        worker.make("directions", worker.world.seconds.fit)
        one = np.ones(1)
        return SimpleNamespace(components_KD=one, explained_variance_ratio_K=one, step_share_K=one, step_share=0.0)

    def train_group(self, worker: Worker, index: int) -> Iterator[Any]:
        updates, group = worker.settings.updates, worker.groups[index]
        share = len(group) / worker.settings.sliders
        for first in range(0, updates, CHECKPOINT):
            last = min(first + CHECKPOINT, updates)
            worker.make(f"group {index} to {last}", worker.world.seconds.update * share * (last - first))
            yield SimpleNamespace(index=last - 1, held_out_K=())

    def gather_sliders(self, worker: Worker) -> bool:
        last = worker.settings.updates
        return all(worker.folder.has(f"group {g} to {last}", worker.now) for g in range(len(worker.groups)))

    def is_measured(self, worker: Worker) -> bool:
        return worker.folder.has("measures", worker.now)

    def judge_shard(self, worker: Worker, index: int) -> None:
        worker.make(f"judged {index}", worker.world.seconds.base / 2 / len(worker.shards))

    def measure_base(self, worker: Worker) -> None:
        worker.make("base", worker.world.seconds.base / 2)

    def measure_slider(self, worker: Worker, slider: int) -> None:
        worker.make(f"slider {slider}", worker.world.seconds.slider)

    def measure_mixes(self, worker: Worker) -> None:
        worker.make("mixes", 0.0)  # timed among the sliders

    def gather_measures(self, worker: Worker) -> bool:
        worker.make("measures", 0.0)
        return True


# ---- all of them


@dataclass(frozen=True)
class Outcome:
    """Hours until the last concept that was done, workers lost, and concepts left to the same command again: those of
    workers that were lost when all others had ended."""

    hours: float
    lost: int
    left: int


@dataclass
class World:
    """A catalogue and those who work on it. `spread` is the standard deviation of a task's duration, as a share."""

    concepts: list[Discovery]
    models: Models
    seconds: Seconds
    faults: Faults
    spread: float
    rng: random.Random
    folders: dict[Discovery, Folder] = field(default_factory=lambda: defaultdict(Folder))
    losses: int = 0

    def jitter(self) -> float:
        return max(0.2, self.rng.gauss(1.0, self.spread)) if self.spread else 1.0

    def stage(self, concept: Discovery, now: float) -> Stage:
        folder = self.folders[concept]
        if folder.has("report", now):
            return "done"
        names = ("base", "measuring"), ("directions", "training"), ("trajectories 0", "sampling")
        return next((stage for name, stage in names if folder.has(name, now)), "new")  # type: ignore[return-value]

    def run(self, workers: int) -> "Outcome":
        """All of it, until no worker finds anything to do."""
        number = iter(range(10**9))  # of workers that are due at the same time, the first goes first
        queue: list[tuple[float, int, Worker]] = []

        def start(now: float) -> None:
            worker = Worker(self, now)
            heappush(queue, (worker.now, next(number), worker))

        for _ in range(workers):
            start(0.0)
        while queue:
            _, _, worker = heappop(queue)
            if next(worker.events, None) is None:
                continue  # it found nothing more to do
            if worker.now < worker.lost_at:
                heappush(queue, (worker.now, next(number), worker))
                continue
            worker.end()
            self.losses += 1
            if self.faults.returns is not None:
                start(worker.lost_at + self.faults.returns)
        ends = [self.folders[concept].made.get("report", math.inf) for concept in self.concepts]
        done = [end for end in ends if end < math.inf]
        return Outcome(max(done, default=math.inf) / 3600, self.losses, len(ends) - len(done))


def simulated(
    models: Models, seconds: Seconds, concepts: int, workers: int, faults: Faults, *, spread: float, seed: int
) -> Outcome:
    """What becomes of a catalogue of so many concepts."""
    due = [Discovery(models.settings, Path(f"{index:04d}")) for index in range(concepts)]
    world = World(due, models, seconds, faults, spread, random.Random(seed))
    replaced = [name for name in vars(Tasks) if not name.startswith("_")]
    with ExitStack() as stack:
        for name in replaced:
            stack.callback(setattr, stages, name, getattr(stages, name))
            setattr(stages, name, getattr(Tasks(), name))
        return world.run(workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--concepts", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--backbone", default="mini-turbo")
    parser.add_argument("--samples", type=int, default=64, help="of the discovery that is timed")
    parser.add_argument("--updates", type=int, default=10, help="of the discovery that is timed")
    parser.add_argument("--seconds", help="of a task, as an earlier run has printed them: nothing is timed then")
    parser.add_argument("--spread", type=float, default=0.1, help="standard deviation of a task's duration, a share")
    parser.add_argument("--longer", type=float, default=1.0, help="as if every task took so many times as long")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    speed = Speed(device="cpu")
    small = Settings(
        prompts=("a monster",), backbone=options.backbone, samples=options.samples, updates=options.updates, sliders=4
    )
    whole = Settings(prompts=("a monster",), backbone=options.backbone)
    if options.seconds:
        once = Seconds(**json.loads(options.seconds))
    else:
        once = measured(small, speed)
        once = replace(once, update=once.update * whole.sliders / small.sliders)  # of four sliders -> of all
    once = Seconds(**{name: value * options.longer for name, value in vars(once).items()})
    by_arithmetic = plan_for(whole, speed)
    hours = once.hours(whole)
    planned = catalogue_plan(replace(by_arithmetic, hours=hours), ["new"] * options.concepts)
    due = planned.hours_on(options.workers)
    print("seconds of a task:", json.dumps({name: round(value, 3) for name, value in vars(once).items()}))
    print(
        f"a concept: {sum(hours.values()):.3f} h as timed, {by_arithmetic.hours_on_cpu:.3f} h by the plan's arithmetic"
    )
    print(f"{options.concepts} concepts on {options.workers} workers: {due:.2f} h planned")
    scenarios = {
        "no faults": Faults(),
        "faults": Faults(lost=0.05, slow=0.05),
        "faults, nobody returns": Faults(lost=0.05, slow=0.05, returns=None),
    }
    with tempfile.TemporaryDirectory() as place:
        models = Models(whole, speed, RunFolder(Path(place) / "never made"))
        for name, faults in scenarios.items():
            about = (models, once, options.concepts, options.workers, faults)
            found = [simulated(*about, spread=options.spread, seed=seed) for seed in range(options.seeds)]
            took, left = max(one.hours for one in found), max(one.left for one in found)
            lost = sum(one.lost for one in found) / len(found)
            said = f"{took:.2f} h at most of {len(found)} seeds, {took / due - 1:+.1%}; {lost:.0f} workers lost"
            print(f"{name}: {said}" + f"; {left} concepts left to the same command again" * bool(left))
            if name in PROMISED and (left or took / due - 1 > PROMISED[name]):
                raise SystemExit(f"{name}: not done within {PROMISED[name]:.0%} of the planned hours")


if __name__ == "__main__":
    main()
