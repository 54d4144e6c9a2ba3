"""From a run folder to words and to the report page: what `info` prints and `report.html` shows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sliderspace.core.errors import DamagedFile
from sliderspace.core.settings import settings_from
from sliderspace.measure.views import SCALES
from sliderspace.method.directions import Directions
from sliderspace.report.page import ReportData, SliderEntry, write_report
from sliderspace.report.verdicts import warnings_for
from sliderspace.storage.files import load_json, load_tensors, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder


def whole(path: Path, values: Mapping[str, Any], *needed: str) -> Mapping[str, Any]:
    """The contents of a run's file, or DamagedFile where a part that every such file has is missing."""
    if missing := [name for name in needed if name not in values]:
        raise DamagedFile(
            f"{path} lacks {', '.join(missing)}.\nDelete it and run `sliderspace train {path.parent}` to make it again."
        )
    return values


def report_run(run: RunFolder) -> Path:
    """Write `report.html` from the files of a finished run, and return its path. Raises BadInput when measures are
    missing."""
    run.check_exists()
    measured = whole(run.measures, load_json(run.measures, kind="measures"), "sliders", "mean", "leakage")
    drawn = whole(run.strips, load_tensors(run.strips, kind="strips")[0], "sliders", "base")
    settings, directions = settings_from(load_json(run.config, kind="config")), Directions.load(run.directions)
    leakage = measured["leakage"]
    names = [s["name"] for s in whole(run.space, load_json(run.space, kind="space"), "sliders")["sliders"]]
    entries = [
        SliderEntry(
            index=m["index"],
            name=names[k],
            strips=drawn["sliders"][k].numpy(),
            scales=SCALES.tolist(),
            measures=m,
            warnings=warnings_for(m, measured["mean"], leakage[k]),
        )
        for k, m in enumerate(measured["sliders"])
    ]
    trained = whole(run.sliders, load_tensors(run.sliders, kind="sliders")[1], "history")
    write_report(
        run.report,
        ReportData(
            title=settings.prompts[0],
            prompts=settings.prompts,
            backbone=settings.backbone,
            encoder=settings.encoder or "the preset's own",
            created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            settings=list(settings.model_dump(mode="json", exclude={"prompts"}).items()),
            base_images=drawn["base"].numpy(),
            explained_variance_ratio=directions.explained_variance_ratio_K,
            step_share=directions.step_share,
            sliders=entries,
            leakage=leakage,
            mean=measured["mean"],
            history=trained["history"],
            folder=str(run.root),
            sizes=measured.get("sizes"),
            judge=measured.get("judge"),
            factors=measured.get("factors"),
            evaluation=_evaluation(run),
        ),
    )
    return run.report


def _evaluation(run: RunFolder) -> dict[str, Any] | None:
    """What `evaluate` found of these very sliders; None where it was not run, or before they were last measured."""
    if not run.evaluation.exists():
        return None
    found = load_json(run.evaluation, kind="evaluation")
    return found if found.get("made_from") == stored_fingerprint(run.measures) else None
