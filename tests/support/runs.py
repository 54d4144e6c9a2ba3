"""Discoveries in this process, for tests."""

from collections.abc import Callable, Iterator

from sliderspace.engine import local
from sliderspace.engine.begin import begin
from sliderspace.engine.models import Models
from sliderspace.engine.progress import Progress


def go(
    models: Models,
    stages: Callable[[Models], Iterator[Progress]] = local.discover,
    *,
    replace: bool = False,
    share: tuple[int, int] = (0, 1),
) -> list[str]:
    """Stages on the folder of some models, as the verbs run them; returns what changed since the last run."""
    with models.run.open_for_writing(share):
        begun, changes = begin(models.settings, models.speed, models.run, replace=replace)
        for _ in stages(begun):
            pass
    return changes
