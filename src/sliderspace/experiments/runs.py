"""Many discoveries in one folder: each named by what was asked for, so that whoever asks the same shares it, and
trajectories that were sampled alike are stored once."""

import os
from collections.abc import Iterator
from pathlib import Path

from sliderspace.core.errors import Held
from sliderspace.core.settings import Settings, Speed
from sliderspace.engine.begin import begin
from sliderspace.engine.local import discover, sample
from sliderspace.engine.progress import Progress
from sliderspace.storage.files import fingerprint
from sliderspace.storage.locks import holding
from sliderspace.storage.run_folder import RunFolder


def folder_of(settings: Settings, folder: Path) -> RunFolder:
    """The place in `folder` of the discovery that these settings ask for."""
    return RunFolder(folder / fingerprint(stage="cell", **settings.model_dump(mode="json"))[:16])


def discovered(settings: Settings, run: RunFolder, trajectories: Path, speed: Speed) -> Iterator[Progress]:
    """Discover and measure in a folder, going on where it stopped. One that another process holds is left to it."""
    try:
        run.open_for_writing()
    except Held:
        return
    with run:
        models, _ = begin(settings, speed, run)
        common = trajectories / models.prints.drawn[:16]
        share(run.trajectories, common)
        # Two that sampled at once would each put its files in the place of the other's, while that reads them.
        with holding(common.with_suffix(".lock")):
            yield from sample(models)
        yield from discover(models)


def share(own: Path, common: Path) -> None:
    """Make a run's empty trajectories folder a link to one that runs with equal trajectories have in common."""
    common.mkdir(parents=True, exist_ok=True)
    if not own.is_symlink() and not any(own.iterdir()):
        own.rmdir()
        own.symlink_to(os.path.relpath(common, own.parent), target_is_directory=True)
