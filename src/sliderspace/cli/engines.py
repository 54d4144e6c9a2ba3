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


def address_of(values: dict[str, Any]) -> str | None:
    """Where the workers are that a verb asks for (see `parsing.cluster`); None where this process does the work."""
    address = parsing.cluster(values.get("engine", "local"))
    if address is not None and values.get("shard"):
        raise BadInput("--shard and --engine ray both deal out the work: say one of them")
    return address


@contextmanager
def engine_at(address: str | None, values: dict[str, Any]) -> "Generator[tuple[Engine, int]]":
    """An engine, and of how many workers it is at most."""
    if address is None:
        from sliderspace.engine.tasks import in_turn

        yield in_turn, 1
    else:
        from sliderspace.engine.ray import started

        about: dict[str, Any] = {name: values[name] for name in ("workers", "gpus")}
        with started(address, device=values["device"] or "auto", **about) as workers:
            yield workers, workers.count


def shared(settings: "Settings", speed: "Speed", workers: int) -> "Speed":
    """Lanes so few that every worker has sliders to train, and a line that says so where that is another number."""
    lanes = math.ceil(settings.sliders / workers)
    if workers == 1 or lanes >= speed.lanes:
        return speed
    typer.echo(f"to share the training among {workers} workers: --lanes {lanes}", err=True)
    return speed.model_copy(update={"lanes": lanes})
