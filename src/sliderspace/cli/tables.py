"""What is known of a run, as tables on a terminal."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sliderspace.core.numbers import number
from sliderspace.core.text import shown

if TYPE_CHECKING:
    from rich.table import Table

    from sliderspace.engine.overview import Row
    from sliderspace.engine.status import Status
    from sliderspace.measure.protocols.records import Observability, Protocol, Protocols
    from sliderspace.measure.results import EvaluatedFactors, Evaluation, Interval, Measures
    from sliderspace.space.labels import Label

COLUMNS = {  # measure -> its heading: all fit beside each other in 80 columns
    "alignment": "alignment",
    "consistency": "consistency",
    "selectivity": "selectivity",
    "monotone_share": "monotone",
    "realism": "realism",
    "explained_variance_ratio": "variance",
    "unit": "unit",
}

MEANS = ("alignment", "consistency", "realism")

VIEWED = {  # what each encoder sees of sliders together and on the way
    "pairs": "pairs that both move",
    "triples": "triples that all move",
    "evenness": "evenness of steps (lower is better)",
}


def print_run(status: "Status") -> None:
    """The concept, the model, what is done and what is of other settings, and the measures of the finished space."""
    from rich.console import Console

    console, settings = Console(), status.settings
    about = f"{status.folder}: {', '.join(settings.prompts)} on {settings.backbone}, seed {settings.seed}"
    console.print(shown(about), markup=False)
    for state in ("done", "of other settings"):
        if stages := [stage for stage, found in status.stages.items() if found == state]:
            console.print(f"{state}: {', '.join(stages)}")
    if status.observability:
        console.print(_observability(status.observability), highlight=False)
    if status.earlier:
        console.print(
            shown("\n".join(["The sliders below were made with earlier settings:", *status.changed])), markup=False
        )
    if status.measures:
        _print_measures(status.measures)
    if any(label.name for label in status.labels):
        print_labels(status.labels)


def print_overview(rows: "Sequence[Row]") -> None:
    """A line a run: how far it is, and its means; then how many are in each stage."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("concept", "stage", *MEANS)
    for row in rows:
        stage = Text(shown(row.trouble) or row.stage)
        table.add_row(Text(shown(row.name)), stage, *(_number(row.means[name]) for name in MEANS))
    Console().print(table)
    counts = Counter(row.stage for row in rows)
    Console().print(f"{len(rows)} runs: " + ", ".join(f"{n} {stage}" for stage, n in counts.items()), highlight=False)


def _observability(seen: "Observability") -> str:
    """What is known of directions before sliders are trained for them."""
    mean, chance = _with_interval(seen.found.mean), _number(seen.found.chance)
    unseen = ", ".join(map(str, seen.unseen)) or "none"
    return (
        f"observability of the directions: {mean}; previews of other images: {chance}\n"
        f"directions that single previews do not show: {unseen}"
    )


def _print_measures(measures: "Measures") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("slider", *COLUMNS.values(), padding=(0, 0))
    for k, slider in enumerate(measures.sliders):
        table.add_row(str(k), *(_number(getattr(slider, name)) for name in COLUMNS))
    table.add_row("mean", *(_number(getattr(measures.mean, name)) for name in COLUMNS))
    Console().print(table)


def print_labels(labels: "Sequence[Label]") -> None:
    """A name a slider, who gave it, and what it was tested by."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("slider", "name", "by", "confidence", "told blind")
    for k, label in enumerate(labels):
        told = "–" if label.checks.right is None else f"{label.checks.right:.0%} of {label.checks.answers}"
        by, known = ("a person", "–") if label.by_person else (label.by, _number(label.confidence))
        table.add_row(str(k), *(Text(shown(text)) for text in (label.shown or "–", by, known, told)))
    Console().print(table)


def print_evaluation(found: "Evaluation") -> None:
    """The means of an evaluation for a person, with their intervals."""
    from rich.console import Console
    from rich.table import Table

    views = {"training encoder": found.views.training} | ({"judge": found.views.judge} if found.views.judge else {})
    table = Table(f"mean over the sliders, {found.seeds} seeds", *views)
    for key in type(found.views.training.mean).model_fields:
        table.add_row(key.replace("_", " "), *(_with_interval(getattr(view.mean, key)) for view in views.values()))
    for name, control in found.controls.training.items():
        judge = (found.controls.judge or {}).get(name)
        row = (control, judge) if judge else (control,)
        table.add_row(f"alignment with {name}", *(_number(c.alignment) for c in row))
    active = found.side_effects.active
    if active > 1:
        retained = np.array(found.side_effects.retained, dtype=float)
        left = None if np.isnan(retained).all() else float(np.nanmean(retained))
        table.add_row(f"own effect left with {active} on", _number(left))
    Console().print(table)
    if found.protocols:
        _print_protocols(found.protocols)
    if found.factors:
        _print_factors(found.factors)


def _print_protocols(found: "Protocols") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("protocols", "value", "chance")
    for view, seen in (("training encoder", found.training), ("judge", found.judge)):
        for name, heading in VIEWED.items() if seen else ():
            _protocol_row(table, f"{heading}, {view}", getattr(seen, name))
    _protocol_row(table, "stability of the axes", found.stability)
    _protocol_row(table, "observability in previews", found.observability)
    Console().print(table)


def _protocol_row(table: "Table", name: str, found: "Protocol | None") -> None:
    if found:
        table.add_row(name, _with_interval(found.mean), _number(found.chance))


def _print_factors(found: "EvaluatedFactors") -> None:
    from rich.console import Console
    from rich.table import Table

    controls = found.controls.values()
    table = Table("factors, by the judge", "sliders", *found.controls)
    for key in type(found.mean).model_fields:
        table.add_row(
            key.replace("_", " "),
            _with_interval(getattr(found.mean, key)),
            *(_number(getattr(c, key)) for c in controls),
        )
    for key in ("own_sliders", "single_factor"):
        counts = [getattr(found, key), *(getattr(c, key) for c in controls)]
        table.add_row(key.replace("_", " "), *("–" if n is None else str(n) for n in counts))
    Console().print(table)


def _with_interval(value: "Interval | None") -> str:
    return f"{_number(value.value)}  {_number(value.low)} … {_number(value.high)}" if value else "–"


def _number(value: object) -> str:
    """A measure that has no value (the selectivity of a slider that is alone) is a dash."""
    found = number(value)
    return "–" if found is None else f"{found:.3f}"
