"""A run folder -> how far it got, as plain data: what `info` prints."""

from pathlib import Path
from typing import Any

from sliderspace.core.settings import settings_from
from sliderspace.report.from_run import whole
from sliderspace.storage.files import load_json
from sliderspace.storage.run_folder import RunFolder


def describe_run(folder: Path) -> dict[str, Any]:
    """What `info --json` prints: settings, the stages done, and the measures where they exist."""
    run = RunFolder(folder)
    run.check_exists()
    settings = settings_from(load_json(run.config, kind="config"))
    stages = {
        "sample": all(path.exists() for path, *_ in ()),
        "fit": run.directions.exists(),
        "train": run.sliders.exists(),
        "measure": run.measures.exists(),
        "report": run.report.exists(),
    }
    told: dict[str, Any] = {"folder": str(folder), "settings": settings.model_dump(mode="json"), "stages": stages}
    if run.measures.exists():
        told |= whole(run.measures, load_json(run.measures, kind="measures"), "sliders", "mean", "leakage")
    return told
