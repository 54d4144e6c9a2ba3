"""Discoveries in this process, for tests."""

from collections.abc import Callable, Iterator

import pytest

from sliderspace.engine import local
from sliderspace.engine.begin import begin
from sliderspace.engine.models import Models
from sliderspace.engine.progress import Progress
from sliderspace.method import measuring


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


def measured_least(patch: pytest.MonkeyPatch) -> None:
    """From now on discoveries of this process measure themselves on as little as they may."""
    patch.setattr(measuring, "CHEAP", 0.0)
    patch.setattr(measuring, "SHARE", 0.0)
