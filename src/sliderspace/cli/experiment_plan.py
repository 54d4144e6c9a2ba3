"""What an experiment would do, its hours and its disk, for a person or as JSON."""

from typing import TYPE_CHECKING, Any

import typer

from sliderspace.cli.common import answer_with
from sliderspace.cli.options import SAMPLED
from sliderspace.plan.plan import Plan, plan_for

if TYPE_CHECKING:
    from sliderspace.core.settings import Settings, Speed
    from sliderspace.experiments.paper.experiment import Asked, Experiment

FEATURES_GB = 2e-5  # of a picture: two embeddings and a layout


def show_work(experiment: "Experiment", asked: "Asked", speed: "Speed", as_json: bool) -> None:
    """Print it. Nothing is loaded, fetched or written."""
    found = planned(experiment, asked, speed)
    if as_json:
        answer_with(found, True)
        return
    typer.echo(f"{experiment.name}: {experiment.asks}\n")
    for arm in found["arms"]:
        typer.echo(f"  {arm}")
    typer.echo(f"\n{found['cells']} cells over {asked.seeds} run seeds, judged by {asked.judge_at}")
    for discovery in found["discoveries"]:
        typer.echo(f"discovery: {discovery}")
    typer.echo(f"pictures: {found['pictures']:,}")
    typer.echo(f"time: {found['hours']:.3g} h on {found['card']}")
    if found["hours"] != found["hours_on_cpu"]:
        typer.echo(f"      {found['hours_on_cpu']:.3g} h on this machine's processor")
    typer.echo(f"disk: {found['disk_gb']:.2f} GB")


def planned(experiment: "Experiment", asked: "Asked", speed: "Speed") -> dict[str, Any]:
    """Every discovery and every set of pictures once, by the plan of `discover --dry-run`; trajectories that several
    discoveries share are counted with the first."""
    from sliderspace.experiments.paper.run import work_of

    cells = experiment.cells(asked)
    work = work_of(cells, asked.teacher)
    hours = on_cpu = disk = 0.0
    drawn: set[str] = set()
    for settings in work.discoveries:
        plan, trajectories = plan_for(settings, speed), settings.model_dump_json(include={*SAMPLED, "prompts"})
        own = {stage: h for stage, h in plan.hours.items() if stage != "sample" or trajectories not in drawn}
        hours += sum(own.values())
        on_cpu += plan.hours_on_cpu * sum(own.values()) / sum(plan.hours.values())
        disk += 0 if trajectories in drawn else plan.disk_gb
        drawn.add(trajectories)
    for pictures in work.pictures:
        each, each_on_cpu = _of_a_picture(_like(pictures.model), speed)
        hours += each * pictures.images
        on_cpu += each_on_cpu * pictures.images
    images = sum(pictures.images for pictures in work.pictures)
    return {
        "experiment": experiment.name,
        "cells": len(cells),
        "arms": [f"{cell.about}: {cell.arm}" if cell.about else cell.arm for cell in cells if cell.seed == 0],
        "discoveries": [_said(settings) for settings in work.discoveries],
        "pictures": images,
        "card": plan_for(asked.model("any"), speed).card.name,
        "hours": hours,
        "hours_on_cpu": on_cpu,
        "disk_gb": disk + FEATURES_GB * images,
    }


def _like(model: "Settings") -> "Settings":
    """The same model with one prompt: what a picture costs does not depend on the words."""
    return model.model_copy(update={"prompts": model.prompts[:1]})


_known: dict[str, tuple[float, float]] = {}


def _of_a_picture(model: "Settings", speed: "Speed") -> tuple[float, float]:
    """Hours of one picture on the card, and on this machine's processor."""
    key = model.model_dump_json() + speed.model_dump_json()
    if key not in _known:
        plan: Plan = plan_for(model, speed)
        each = plan.hours["measure"] / plan.work.images_measured
        _known[key] = each, each * plan.hours_on_cpu / sum(plan.hours.values())
    return _known[key]


def _said(settings: "Settings") -> str:
    kind = "customised sliders" if settings.objective == "customised" else f"{settings.control} directions"
    found = kind if settings.control != "none" else "sliders"
    what = f"{settings.sliders} {'Concept Sliders' if settings.pairs else found}"
    first, *others = settings.prompts
    more = f" and {len(others)} more prompts" if others else ""
    data = f" in {settings.images}" if settings.images else ""
    return f"{what} of “{first}”{more}{data} in {settings.backbone}, run seed {settings.seed}"
