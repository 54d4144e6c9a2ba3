"""The measured cells of an experiment -> results.json, a Markdown table, charts, and a page of pictures."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sliderspace.core.numbers import number
from sliderspace.core.text import shown
from sliderspace.experiments.paper.experiment import Asked, Column, Experiment
from sliderspace.experiments.paper.pictures import Shared
from sliderspace.experiments.paper.run import Done
from sliderspace.measure.intervals import over_runs
from sliderspace.measure.results import Interval
from sliderspace.report.drawing import COLOURS, drawing, page_svg
from sliderspace.share.places import pathless
from sliderspace.storage.files import save_json, save_text
from sliderspace.storage.images import data_uri, thumbnails

Found = Mapping[str, Mapping[str, Mapping[str, Interval]]]  # subject -> arm -> measure -> mean and ends over run seeds
ROW = 0.3  # inches an arm
THUMBNAIL = 96
STANDALONE = {  # colours of a chart outside the page, by the names of its style sheet
    "ink": "#14171c",
    "soft": "#586170",
    "line": "#dde1e7",
    "sheet": "#ffffff",
    "plus": "#1c66cc",
    "plus-2": "#6f9fe2",
    "plus-3": "#a9c6ef",
}


def write(experiment: Experiment, asked: Asked, done: Sequence[Done], shared: Shared, command: str) -> Path:
    """Everything into the experiment's folder; returns the page."""
    folder = shared.out / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    found = over_seeds(experiment, done)
    models = {"backbone": asked.backbone, "teacher": asked.teacher, "judge": asked.judge_at}
    about = {"command": command, **{part: pathless(place) for part, place in models.items()}}
    amounts = {"seeds": asked.seeds, "pictures": asked.world.pictures, "encoder": pathless(asked.encoder_location)}
    told = {"experiment": experiment.name, **about, **amounts, "paper": experiment.paper, **_plain(found, done)}
    save_json(folder / "results.json", told, kind="experiment", fingerprint="")
    rows = [row for arms in found.values() for row in arms.values()]
    columns = [c for c in experiment.columns if any(c.name in row for row in rows)]
    save_text(folder / "results.md", "\n".join([table(found, columns), "", f"`{command}`", ""]))
    charts = {
        f"{c.name}{f', {shown(s)}' if s else ''}": chart(f"{c.name} {s}".strip(), arms, c)
        for s, arms in found.items()
        for c in columns
        if c.plotted
    }
    for name, drawn in charts.items():
        save_text(folder / f"{_file_name(name)}.svg", standalone(drawn))
    page = folder / "index.html"
    save_text(page, _page(experiment, {**about, **amounts}, found, columns, charts, _pictures(done, shared)))
    return page


def _plain(found: Found, done: Sequence[Done]) -> dict[str, object]:
    """Means with intervals, and the row of each cell, for JSON."""
    means = {
        subject: {arm: {name: interval.model_dump() for name, interval in row.items()} for arm, row in arms.items()}
        for subject, arms in found.items()
    }
    rows = [{"about": d.cell.about, "arm": d.cell.arm, "seed": d.cell.seed, **d.row} for d in done]
    return {"mean": means, "rows": rows}


def over_seeds(experiment: Experiment, done: Sequence[Done]) -> Found:
    """Mean and 95 % interval over the run seeds of each measure; one that no cell has is left out."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for one in done:
        row = values.setdefault(one.cell.about, {}).setdefault(one.cell.arm, {})
        for column in experiment.columns:
            if (value := number(one.row.get(column.name))) is not None:
                row.setdefault(column.name, []).append(value)
    return {s: {a: {c: _interval(v) for c, v in row.items()} for a, row in arms.items()} for s, arms in values.items()}


def _interval(values: Sequence[float]) -> Interval:
    mean, low, high = over_runs(values)
    return Interval(value=mean, low=low, high=high)


# ---- the table


def table(found: Found, columns: Sequence[Column]) -> str:
    """Markdown: a table a subject, a row an arm; ↑ and ↓ say what is better."""
    parts: list[str] = []
    for subject, arms in found.items():
        parts += [f"**{shown(subject)}**", ""] if subject else []
        parts.append("| | " + " | ".join(map(heading, columns)) + " |")
        parts.append("|---" * (len(columns) + 1) + "|")
        parts += [
            f"| {shown(a)} | " + " | ".join(said(row.get(c.name)) for c in columns) + " |" for a, row in arms.items()
        ]
        parts.append("")
    return "\n".join(parts).rstrip()


def heading(column: Column) -> str:
    return f"{column.name} {({'higher': '↑', 'lower': '↓'}).get(column.better, '')}".strip()


def said(interval: Interval | None) -> str:
    """0.431 (0.40 … 0.46); without ends where there was one run."""
    if interval is None or interval.value is None:
        return "–"
    if interval.low is None or interval.high is None:
        return _figures(interval.value)
    return f"{_figures(interval.value)} ({_figures(interval.low)} … {_figures(interval.high)})"


def _figures(value: float) -> str:
    return f"{value:.3g}".replace("-", "−") if abs(value) < 1000 else f"{value:.0f}"


# ---- charts


def chart(label: str, arms: Mapping[str, Mapping[str, Interval]], column: Column) -> Markup:
    """A dot an arm with its interval, on a row of its own."""
    rows = [(arm, row[column.name]) for arm, row in arms.items() if column.name in row]
    with drawing(height=0.75 + ROW * len(rows)) as (figure, axes):
        left = 0.42
        bottom = 0.45 / (0.75 + ROW * len(rows))
        axes.set_position((left, bottom, 0.96 - left, 0.93 - bottom))
        for place, (_, interval) in enumerate(rows):
            if interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [place, place], color=COLOURS["plus-2"], linewidth=3)
            axes.plot([interval.value or 0.0], [place], "o", color=COLOURS["plus"], markersize=6, gid=f"dot{place}")
        axes.set_yticks(range(len(rows)), [arm if len(arm) < 30 else f"{arm[:28]}…" for arm, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"{column.name}{f', {column.better} is better' if column.better else ''}")
        tips = {f"dot{place}": [f"{arm}: {said(interval)}"] for place, (arm, interval) in enumerate(rows)}
        return page_svg(figure, label, tips)


def standalone(drawn: Markup) -> str:
    """A chart of the page as a file by itself."""
    style = "".join(f"--{name}:{colour};" for name, colour in STANDALONE.items())
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opened = f'<svg {names} style="{style}font-family:sans-serif;background:#fff"'
    return str(drawn).replace("<svg", opened, 1) + "\n"


def _file_name(name: str) -> str:
    kept = "".join(c if c.isalnum() else "-" for c in name.lower())
    return "-".join(filter(None, kept.split("-")))[:80]


# ---- the page


def _pictures(done: Sequence[Done], shared: Shared) -> dict[str, dict[str, list[str]]]:
    """The first pictures of each arm with the first run seed; below them those of the sets it was compared with."""
    found: dict[str, dict[str, list[str]]] = {}
    first = [(one.cell, part) for one in done if one.cell.seed == 0 for part in one.cell.sets]
    for cell, part in sorted(first, key=lambda pair: pair[1] != "own"):
        sets, name = found.setdefault(cell.about, {}), cell.arm if part == "own" else part
        if name not in sets:
            small = thumbnails(shared.seen(cell.sets[part])["images"].numpy(), THUMBNAIL)
            sets[name] = [data_uri(image) for image in small]
    return found


@cache
def _template() -> Any:
    loader = ChoiceLoader(
        [PackageLoader("sliderspace.experiments.paper", "templates"), PackageLoader("sliderspace.report", "templates")]
    )
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template("experiment.html.j2")


def _page(
    experiment: Experiment,
    about: Mapping[str, object],
    found: Found,
    columns: Sequence[Column],
    charts: Mapping[str, Markup],
    pictures: Mapping[str, Mapping[str, Sequence[str]]],
) -> str:
    return _template().render(
        experiment=experiment,
        about=about,
        found=found,
        columns=columns,
        heading=heading,
        said=said,
        shown=shown,
        charts=charts,
        pictures=pictures,
    )
