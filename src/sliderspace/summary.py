"""From a run folder to words and to the report page: what `info` prints and `report.html` shows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sliderspace.charts import number
from sliderspace.config import settings_from
from sliderspace.directions import Directions
from sliderspace.errors import DamagedFile
from sliderspace.measure.evaluate import SCALES
from sliderspace.report import ReportData, SliderEntry, write_report
from sliderspace.store import RunFolder, load_json, load_tensors, stored_fingerprint
from sliderspace.trajectories import shards
from sliderspace.verdicts import warnings_for


def describe_run(folder: Path) -> dict[str, Any]:
    """What `info --json` prints: settings, the stages done, and the measures where they exist."""
    run = RunFolder(folder)
    run.check_exists()
    settings = settings_from(load_json(run.config, kind="config"))
    stages = {
        "sample": all(path.exists() for path, *_ in shards(run.trajectories, settings.samples + settings.held_out, "")),
        "fit": run.directions.exists(),
        "train": run.sliders.exists(),
        "measure": run.measures.exists(),
        "report": run.report.exists(),
    }
    told: dict[str, Any] = {"folder": str(folder), "settings": settings.model_dump(mode="json"), "stages": stages}
    if run.measures.exists():
        told |= _whole(run.measures, load_json(run.measures, kind="measures"), "sliders", "mean", "leakage")
    return told


def _whole(path: Path, values: Mapping[str, Any], *needed: str) -> Mapping[str, Any]:
    """The contents of a run's file, or DamagedFile where a part that every such file has is missing."""
    if missing := [name for name in needed if name not in values]:
        raise DamagedFile(f"{path} lacks {', '.join(missing)}.\nDelete it and run `sliderspace train {path.parent}` to make it again.")
    return values


def print_run(told: dict[str, Any]) -> None:
    """The same for a person, as a table."""
    from rich.console import Console
    from rich.table import Table

    console, settings = Console(), told["settings"]
    console.print(f"{told['folder']}: {', '.join(settings['prompts'])} on {settings['backbone']}, seed {settings['seed']}", markup=False)
    console.print("done: " + ", ".join(s for s, done in told["stages"].items() if done))
    if "sliders" not in told:
        return
    columns = ("alignment", "consistency", "selectivity", "monotone_share", "realism", "explained_variance_ratio", "unit")
    table = Table("slider", *(c.replace("_", " ") for c in columns))
    for s in told["sliders"]:
        table.add_row(str(s["index"]), *(_three_places(s[c]) for c in columns))
    table.add_row("mean", *(_three_places(told["mean"][c]) for c in columns))
    console.print(table)


def _three_places(value: object) -> str:
    """A measure that has no value (the selectivity of a slider that is alone) is a dash."""
    found = number(value)
    return "–" if found is None else f"{found:.3f}"


def report_run(run: RunFolder) -> Path:
    """Write `report.html` from the files of a finished run, and return its path. Raises BadInput when measures are missing."""
    run.check_exists()
    measured = _whole(run.measures, load_json(run.measures, kind="measures"), "sliders", "mean", "leakage")
    drawn = _whole(run.strips, load_tensors(run.strips, kind="strips")[0], "sliders", "base")
    settings, directions = settings_from(load_json(run.config, kind="config")), Directions.load(run.directions)
    leakage = measured["leakage"]
    names = [s["name"] for s in _whole(run.space, load_json(run.space, kind="space"), "sliders")["sliders"]]
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
    trained = _whole(run.sliders, load_tensors(run.sliders, kind="sliders")[1], "history")
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
