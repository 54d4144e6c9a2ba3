"""The plan of a catalogue: what is left by stage, hours by cards; and the simulation that it is compared with."""

from dataclasses import replace
from pathlib import Path

import pytest
from catalogue import Faults, Outcome, Seconds, Worker, World, simulated

from sliderspace.core.settings import Settings, Speed
from sliderspace.engine import stages
from sliderspace.engine.models import Models
from sliderspace.plan.catalogue import catalogue_plan, makespan
from sliderspace.plan.plan import Plan, plan_for
from sliderspace.storage.run_folder import RunFolder

SECONDS = Seconds(load=10, trajectory=0.1, fit=1, update=0.5, base=10, slider=5, report=2)
SETTINGS = Settings(prompts=("a monster",))
CPU = Speed(device="cpu")


@pytest.fixture(scope="module")
def one() -> Plan:
    """A concept's plan, with hours that are easy to reckon with."""
    return replace(plan_for(SETTINGS, CPU), hours={"sample": 1.0, "train": 2.0, "measure": 0.5}, hours_on_cpu=35.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(SETTINGS, CPU, RunFolder(tmp_path_factory.mktemp("catalogue") / "never made"))


def test_what_is_left_follows_from_the_stages(one: Plan) -> None:
    plan = catalogue_plan(one, ["done", "new", "training", "measuring", "sampling"])
    assert plan.hours == (0.0, 3.5, 2.5, 0.5, 3.5) and plan.concepts == 5
    assert plan.hours_on(1) == pytest.approx(10.0) and plan.hours_on(64) == 3.5
    assert plan.hours_on_cpu == pytest.approx(100.0) and plan.disk_gb == pytest.approx(5 * one.disk_gb)
    assert plan.as_dict()["hours_by_cards"]["1"] == pytest.approx(10.0)


def test_the_makespan_of_equal_concepts_is_that_of_whole_rounds() -> None:
    assert makespan([2.0] * 10, 4) == 6.0 and makespan([], 4) == 0.0
    assert makespan([3.0, 1.0, 1.0, 1.0], 2) == 3.0


def outcome(models: Models, faults: Faults, *, spread: float = 0.1) -> Outcome:
    return simulated(models, SECONDS, 60, 8, faults, spread=spread, seed=0)


def planned(one: Plan) -> float:
    return catalogue_plan(replace(one, hours=SECONDS.hours(SETTINGS)), ["new"] * 60).hours_on(8)


def test_without_faults_the_simulation_takes_the_planned_hours(models: Models, one: Plan) -> None:
    alike = outcome(models, Faults(), spread=0.0)
    assert (alike.lost, alike.left) == (0, 0)
    assert alike.hours == pytest.approx(planned(one) + SECONDS.load / 3600, rel=1e-6), "the same arithmetic, exactly"
    assert outcome(models, Faults()).hours == pytest.approx(planned(one), rel=0.10)
    assert stages.fit.__module__ == stages.__name__, "the real tasks are back in their place"


def test_lost_and_slow_workers_cost_what_they_cost(models: Models, one: Plan) -> None:
    """Many more losses than promised, so that some happen in so small a catalogue: all of it is done in the end."""
    disturbed = outcome(models, Faults(lost=0.9, returns=60.0))
    assert disturbed.lost >= 3 and disturbed.left == 0 and planned(one) < disturbed.hours < 1.5 * planned(one)
    slow = outcome(models, Faults(slow=1.0, slower=3.0), spread=0.0)
    assert slow.hours == pytest.approx(3 * (planned(one) + SECONDS.load / 3600), rel=1e-6)
    nobody = outcome(models, Faults(lost=0.999999, returns=None))
    assert nobody.lost == 8 and nobody.left > 0


def test_a_lost_worker_loses_only_the_task_it_was_at(models: Models) -> None:
    """Nothing is done twice: the work done in all is that of the concepts, and at most a task a loss."""
    spent: list[float] = []
    spend = Worker.spend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "spend", lambda self, seconds: (spent.append(seconds), spend(self, seconds)))
        found = outcome(models, Faults(lost=0.9, returns=60.0), spread=0.0)
    work = sum(spent) - (8 + found.lost) * SECONDS.load
    due = 60 * 3600 * sum(SECONDS.hours(SETTINGS).values())
    # Between two records lie at most all tasks that measuring begins with.
    longest = max(64 * SECONDS.trajectory, 50 * SECONDS.update, SECONDS.slider, SECONDS.base + SECONDS.slider)
    assert found.lost >= 3 and due < work <= due + found.lost * longest + 1e-6


def test_a_world_knows_the_stage_of_each_concept(models: Models) -> None:
    import random

    from sliderspace.engine.catalogue import Discovery

    concept = Discovery(SETTINGS, Path("0"))
    world = World([concept], models, SECONDS, Faults(), 0.0, random.Random(0))
    made = world.folders[concept].made
    seen = [world.stage(concept, 1.0)]
    for name in ("trajectories 0", "directions", "base", "report"):
        made[name] = 1.0
        seen.append(world.stage(concept, 1.0))
    assert seen == ["new", "sampling", "training", "measuring", "done"] and world.stage(concept, 0.5) == "new"
