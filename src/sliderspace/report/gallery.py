"""A folder of runs -> one page of all their concepts, `gallery.html`, with links to the report of each.

Like a report it stands alone, but for those links, and its texts may come from strangers. What cannot be shown is
listed with the reason.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.numbers import written
from sliderspace.core.settings import settings_from
from sliderspace.measure.results import Measures, SpaceFile
from sliderspace.method.sweeps import both_ways
from sliderspace.report import charts
from sliderspace.report.from_run import pictures_of
from sliderspace.report.page import environment, glance_columns
from sliderspace.space.labels import Label, labels_of
from sliderspace.storage.files import load_json, save_text
from sliderspace.storage.images import data_uri, scale_label, thumbnails
from sliderspace.storage.run_folder import RunFolder

NAME = "gallery.html"
MARK = '<meta name="generator" content="sliderspace gallery">'  # tells a page of ours from anybody else's
HEAD = 4096  # bytes of a page that hold it
SHOWN = 4  # sliders of a run that are shown: those that their own direction aligns with most
SIDE = 128  # pixels of a picture
MEANS = ("alignment", "consistency", "realism")


@dataclass(frozen=True)
class Entry:
    """One finished run."""

    folder: str
    prompts: tuple[str, ...]
    backbone: str
    labels: tuple[Label, ...]
    means: list[tuple[str, str]]
    rows: list["Row"]
    report: str  # address, relative to the page; empty where there is none


@dataclass(frozen=True)
class Row:
    """One slider at a glance: (picture, strength) from one end of its usable span to the other."""

    index: int
    label: Label
    pictures: list[tuple[str, str]]


@dataclass(frozen=True)
class Unshown:
    """A run folder that cannot be shown, and why."""

    folder: str
    prompt: str
    why: str


def write_gallery(root: str | Path) -> tuple[Path, int, int]:
    """Write `gallery.html` into the folder `root` of all run folders in it; returns its path, how many runs it shows,
    and how many it only lists.

    Raises BadInput where `root` is no folder or holds no run, or a file of that name is not ours.
    """
    root = Path(root)
    page = root / NAME
    folders = runs_in(root)
    if page.exists() and not _is_ours(page):
        raise BadInput(f"{page} is not a gallery of sliderspace, so it was not replaced.\nMove or delete that file.")
    found = [_entry(folder, root) for folder in folders]
    entries = [entry for entry in found if isinstance(entry, Entry)]
    unshown = [entry for entry in found if isinstance(entry, Unshown)]
    save_text(page, environment().get_template("gallery.html.j2").render(entries=entries, unshown=unshown, mark=MARK))
    return page, len(entries), len(unshown)


def runs_in(root: Path) -> list[Path]:
    """The run folders directly in `root`, by name."""
    if not root.is_dir():
        raise BadInput(f"{root} is not a folder.\nGive the folder that your runs are in, for example: runs")
    with suppress(OSError):
        folders = [path for path in sorted(root.iterdir()) if path.is_dir() and RunFolder(path).is_ours()]
        if folders:
            return folders
    own = f"\nIt is a run itself: give the folder it is in, {root.parent}." if RunFolder(root).is_ours() else ""
    raise BadInput(f"there is no run in {root}.{own or ' Make one with: sliderspace discover PROMPT'}")


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return MARK.encode() in file.read(HEAD)
    except OSError:
        return False


def _entry(folder: Path, root: Path) -> Entry | Unshown:
    run = RunFolder(folder)
    try:
        if run.whole_space() is None:
            return Unshown(folder.name, _prompt_of(run), "not finished yet")
        return _finished(run, root)
    except (SliderSpaceError, OSError) as error:
        return Unshown(folder.name, _prompt_of(run), str(error).splitlines()[0].replace(str(folder), folder.name))


def _prompt_of(run: RunFolder) -> str:
    """What a folder's settings ask for; empty where that cannot be read."""
    with suppress(SliderSpaceError, OSError):
        return settings_from(load_json(run.config, kind="config")).prompts[0]
    return ""


def _finished(run: RunFolder, root: Path) -> Entry:
    space = SpaceFile.read(run.space)
    labels = labels_of(run).sliders
    shown = run.measures.exists() and run.strips.exists() and not space.foreign(run)
    measured = Measures.read(run.measures) if shown else None
    relative = run.report.relative_to(root).as_posix()
    return Entry(
        folder=run.root.name,
        prompts=space.settings.prompts,
        backbone=space.settings.backbone,
        labels=labels,
        means=[(key, written(getattr(measured.mean, key))) for key in MEANS] if measured else [],
        rows=_rows(run, measured, labels) if measured else [],
        report=quote(relative) if run.report.is_file() else "",
    )


def _rows(run: RunFolder, measured: Measures, labels: tuple[Label, ...]) -> list[Row]:
    strips_KSMHWC = pictures_of(run, measured)[0]
    scales: list[float] = both_ways(measured.sizes).tolist()
    best = sorted(range(len(labels)), key=lambda k: -(measured.sliders[k].alignment or 0))[:SHOWN]
    return [
        Row(k, labels[k], _glance(strips_KSMHWC[k, 0], scales, charts.span(measured.sliders[k]))) for k in sorted(best)
    ]


def _glance(
    row_MHWC: npt.NDArray[np.uint8], scales: list[float], span: tuple[float, float] | None
) -> list[tuple[str, str]]:
    columns = glance_columns(scales, span)
    images = thumbnails(row_MHWC[columns], SIDE)
    return [(data_uri(image), scale_label(scales[m])) for m, image in zip(columns, images, strict=True)]
