"""What is known of a run, as tables on a terminal."""

from typing import Any

import numpy as np

from sliderspace.core.numbers import number


def print_run(told: dict[str, Any]) -> None:
    """The same for a person, as a table."""
    from rich.console import Console
    from rich.table import Table

    console, settings = Console(), told["settings"]
    console.print(
        f"{told['folder']}: {', '.join(settings['prompts'])} on {settings['backbone']}, seed {settings['seed']}",
        markup=False,
    )
    console.print("done: " + ", ".join(s for s, done in told["stages"].items() if done))
    if "sliders" not in told:
        return
    columns = (
        "alignment",
        "consistency",
        "selectivity",
        "monotone_share",
        "realism",
        "explained_variance_ratio",
        "unit",
    )
    table = Table("slider", *(c.replace("_", " ") for c in columns))
    for s in told["sliders"]:
        table.add_row(str(s["index"]), *(_three_places(s[c]) for c in columns))
    table.add_row("mean", *(_three_places(told["mean"][c]) for c in columns))
    console.print(table)


def _three_places(value: object) -> str:
    """A measure that has no value (the selectivity of a slider that is alone) is a dash."""
    found = number(value)
    return "–" if found is None else f"{found:.3f}"


def print_evaluation(found: dict[str, Any]) -> None:
    """The means of an evaluation for a person, with their intervals."""
    from rich.console import Console
    from rich.table import Table

    views = {name: view for name, view in found["views"].items() if view}
    table = Table(f"mean over the sliders, {found['seeds']} seeds", *(f"seen by {name}" for name in views))
    for key in views["training"]["mean"]:
        table.add_row(key.replace("_", " "), *(_with_interval(view["mean"][key]) for view in views.values()))
    for other in found["controls"]["training"]:
        table.add_row(
            f"alignment with {other}", *(_number(found["controls"][name][other]["alignment"]) for name in views)
        )
    effects = found["side_effects"]
    if effects["active"] > 1:
        table.add_row(f"own effect left with {effects['active']} on", _number(float(np.nanmean(effects["retained"]))))
    Console().print(table)
    if found["factors"]:
        _print_factors(found["factors"])


def _print_factors(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("factors, by the judge", "sliders", *told["controls"])
    for key, value in told["mean"].items():
        table.add_row(key, _with_interval(value), *(_number(control[key]) for control in told["controls"].values()))
    for key in ("own_sliders", "single_factor"):
        table.add_row(
            key.replace("_", " "), str(told[key]), *(str(control[key]) for control in told["controls"].values())
        )
    Console().print(table)


def _with_interval(value: dict[str, Any]) -> str:
    return f"{_number(value['value'])}  {_number(value['low'])} … {_number(value['high'])}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
