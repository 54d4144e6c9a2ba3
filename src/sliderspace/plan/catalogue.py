"""What a catalogue will cost: hours by how many cards share it, and disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from typing import Any

from sliderspace.engine.overview import STAGES, Stage
from sliderspace.plan.plan import Plan

CARDS = (1, 2, 4, 8, 16, 64)
LEFT: dict[Stage, tuple[str, ...]] = {  # what is yet to do; what is left of a stage that has begun counts whole
    "new": ("sample", "train", "measure"),
    "sampling": ("sample", "train", "measure"),
    "training": ("train", "measure"),
    "measuring": ("measure",),
    "done": (),
}


@dataclass(frozen=True)
class CataloguePlan:
    """`one` is the plan of a single concept, `hours` what is left of each on one card; `disk_gb` is of all."""

    one: Plan
    stages: dict[str, int]  # how many are in each
    hours: tuple[float, ...]
    hours_on_cpu: float  # of all that is left, one after another
    disk_gb: float

    @property
    def concepts(self) -> int:
        return len(self.hours)

    def hours_on(self, cards: int) -> float:
        """Until all is done, where so many cards share it."""
        return makespan(self.hours, cards)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        by_cards = {str(cards): self.hours_on(cards) for cards in CARDS}
        shown = {"concepts": self.concepts, "stages": self.stages, "hours_by_cards": by_cards}
        return shown | {"hours_on_cpu": self.hours_on_cpu, "disk_gb": self.disk_gb, "one": self.one.as_dict()}


def catalogue_plan(one: Plan, stages: Sequence[Stage]) -> CataloguePlan:
    """The plan of concepts that are in these stages, each as dear as `one`."""
    hours = [sum(one.hours[stage] for stage in LEFT[now]) for now in stages]
    share = one.hours_on_cpu / sum(one.hours.values())
    return CataloguePlan(
        one=one,
        stages={stage: stages.count(stage) for stage in STAGES if stage in stages},
        hours=tuple(hours),
        hours_on_cpu=sum(hours) * share,
        disk_gb=len(stages) * one.disk_gb,
    )


def makespan(hours: Iterable[float], workers: int) -> float:
    """Until the last of some concepts is done, each taken by the first of the workers that is free."""
    busy_until = [0.0] * workers
    for took in hours:
        heapreplace(busy_until, busy_until[0] + took)
    return max(busy_until)
