"""Who does the work of a verb: this process, or the workers of a cluster."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from sliderspace.cli import parsing
from sliderspace.core.errors import BadInput

if TYPE_CHECKING:
    from sliderspace.core.settings import Settings, Speed
    from sliderspace.engine.tasks import Engine


@contextmanager
def engine_of(values: dict[str, Any]) -> "Generator[tuple[Engine, int]]":
    """The engine that was asked for, and of how many workers it is at most."""
    from sliderspace.engine.tasks import in_turn

    address = parsing.cluster(values.get("engine", "local"))
    if address is None:
        yield in_turn, 1
        return
    if values.get("shard"):
        raise BadInput("--shard and --engine both deal out the work: say one of them")
    from sliderspace.engine.ray import started

    about: dict[str, Any] = {"workers": values["workers"], "gpus": values["gpus"], "device": values["device"] or "auto"}
    with started(address, **about) as workers:
        yield workers, workers.count


def shared(settings: "Settings", speed: "Speed", workers: int) -> "Speed":
    """Lanes so few that every worker has sliders to train, and a line that says so where that is another number."""
    lanes = math.ceil(settings.sliders / workers)
    if workers == 1 or lanes >= speed.lanes:
        return speed
    typer.echo(f"to share the training among {workers} workers: --lanes {lanes}", err=True)
    return speed.model_copy(update={"lanes": lanes})
