"""A run folder -> its report page, `report.html`."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import settings_from
from sliderspace.measure.results import Evaluation, Measures, SpaceFile
from sliderspace.method.directions import Directions
from sliderspace.report.page import MADE_FROM, ReportData, write_report
from sliderspace.space.labels import labels_of
from sliderspace.storage.files import load_json, load_tensors, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

HEAD = 4096  # bytes of a page that hold what it was made from


def report_run(run: RunFolder) -> Path:
    """Write `report.html` from the files of a finished run, and return its path.

    Raises BadInput when measures are missing, or are of other settings than the space.
    """
    run.check_exists()
    made_from = stored_fingerprint(run.measures) or ""  # first: a page of parts that were replaced is no page of these
    space = SpaceFile.read(run.space)
    if space.imported and not run.measures.exists():
        raise BadInput(f"{run.root} holds imported sliders, which nothing here can measure: there is nothing to report")
    if foreign := space.foreign(run):
        raise BadInput(
            f"{', '.join(path.name for path in foreign)} of {run.root} belong to other settings than its finished "
            f"space.\nRun `sliderspace discover --out {run.typed}` to finish, and the report is written too."
        )
    asked = settings_from(load_json(run.config, kind="config"))
    measured = Measures.read(run.measures)
    directions = Directions.load(run.directions)
    strips, base, mixes = pictures_of(run, measured)
    data = ReportData(
        settings=space.settings,
        measures=measured,
        evaluation=_evaluation(run, len(measured.sliders)),
        labels=labels_of(run).sliders,
        strips=strips,
        base_images=base,
        mixes=mixes,
        explained_variance_ratio_K=directions.explained_variance_ratio_K,
        step_share=directions.step_share,
        history=_history(run),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        folder=str(run.root),
        notes=_notes(space.changed(asked)),
        made_from=made_from,
    )
    _check_counts(run, data)
    write_report(run.report, data)
    return run.report


def reported_of(page: Path) -> str | None:
    """The fingerprint of the measures that a report shows; None if there is no page, "" if it does not say."""
    if not page.exists():
        return None
    with page.open("rb") as file:
        found = re.search(rf'name="{MADE_FROM}" content="(\w*)"'.encode(), file.read(HEAD))
    return found[1].decode() if found else ""


def _notes(changed: tuple[str, ...]) -> list[str]:
    if not changed:
        return []
    return [f"This page shows the finished space. The folder asks for other settings by now: {'; '.join(changed)}."]


def _evaluation(run: RunFolder, count: int) -> Evaluation | None:
    """What `evaluate` found of these very sliders; None where it was not run, or before they were last measured."""
    if not run.evaluation.exists():
        return None
    found = Evaluation.read(run.evaluation)
    if found.made_from != stored_fingerprint(run.measures):
        return None
    if len(found.views.training.sliders) != count:
        raise DamagedFile(f"{run.evaluation} is not of these {count} sliders.\n{found.mending(run.evaluation)}")
    return found


def pictures_of(run: RunFolder, measured: Measures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strips uint8 [K, S, M, H, W, 3], images of the base model [N, H, W, 3], and mixes of the first of these (none in
    a run of an older version). Raises DamagedFile where they are of other sliders or sizes than the measures."""
    drawn, _ = load_tensors(run.strips, kind="strips")
    due = (len(measured.sliders), 2 * len(measured.sizes) + 1)
    strips, base = (drawn[name].numpy() if name in drawn else np.zeros(0) for name in ("sliders", "base"))
    shape: tuple[int, ...] = strips.shape
    mixes = drawn["mixes"].numpy() if "mixes" in drawn else base[:0]
    fits = len(shape) == 6 and (shape[0], shape[2]) == due and base.ndim == 4 and min(strips.size, base.size) > 0
    fits = fits and mixes.shape[1:] == base.shape[1:] and len(mixes) <= len(base)
    if not fits or {strips.dtype, base.dtype, mixes.dtype} != {np.dtype(np.uint8)}:
        raise DamagedFile(f"{run.strips} does not hold the pictures of these sliders.\n{Measures.mending(run.strips)}")
    return strips, base, mixes


def _history(run: RunFolder) -> list[tuple[float, float]]:
    """Updates and held-out alignment, as training stored them."""
    _, about = load_tensors(run.sliders, kind="sliders")
    try:
        return [(float(update), float(found)) for update, found in about["history"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{run.sliders} holds no history of a training.\n{Measures.mending(run.sliders)}") from error


def _check_counts(run: RunFolder, data: ReportData) -> None:
    """DamagedFile where the files are of different numbers of sliders."""
    count = len(data.measures.sliders)
    for path, found in ((run.space, len(data.labels)), (run.directions, len(data.explained_variance_ratio_K))):
        if found != count:
            raise DamagedFile(f"{path} is not of the {count} sliders that were measured.\n{Measures.mending(path)}")
