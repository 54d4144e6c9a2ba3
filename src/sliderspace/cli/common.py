"""What the verbs share: running stages on a folder, answers, and errors in two lines."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sliderspace.cli import parsing
from sliderspace.core.errors import BadInput, SliderSpaceError

if TYPE_CHECKING:
    from sliderspace.core.settings import Settings, Speed
    from sliderspace.engine.models import Models
    from sliderspace.engine.progress import Progress
    from sliderspace.storage.run_folder import RunFolder

Values = dict[str, Any]

SPEED = ("device", "batch", "lanes", "checkpointing")


def given(values: Values, names: Iterable[str]) -> Values:
    """Those of a verb's options that were said (None: not said)."""
    return {name: values[name] for name in names if values.get(name) is not None}


def speed_of(**values: Any) -> "Speed":
    from sliderspace.core.settings import Speed

    return Speed(**given(values, SPEED))


def settings_of(values: Values, run: "RunFolder", *, dry: bool = False) -> "Settings":
    """The settings a verb asks for: new ones where it says a prompt, else those stored in the folder, with what it
    changes.

    An expansion by a language model is kept in the folder; a dry run makes none, and plans for the concept as it is.
    """
    from sliderspace.concepts.prompts import prompts_for
    from sliderspace.core.settings import Settings, recipe, settings_from
    from sliderspace.engine.begin import stored_settings

    chosen: Values = given(values, Settings.model_fields)
    if "embed" in chosen:
        chosen["embed"] = parsing.embed(chosen["embed"])
    if values.get("recipe"):
        chosen = {**recipe(values["recipe"]), **chosen}
    for place in (
        "backbone",
        "encoder",
        "decoder",
        "images",
    ):  # a folder is stored whole, so that it is found from anywhere
        if place in chosen and Path(chosen[place]).expanduser().is_dir():
            chosen[place] = str(Path(chosen[place]).expanduser().resolve())
    about = given(values, ("file", "expand", "base_url"))
    if "prompts" not in chosen and "file" not in about:
        return stored_settings(run, **chosen)
    if dry:
        about.pop("expand", None)
    count = {"count": values["expand_to"]} if about.get("expand") else {}
    chosen["prompts"] = prompts_for(chosen.get("prompts", ()), cache=run.root / "prompts.json", **about, **count)
    return settings_from(chosen)


def fitted(values: Values, settings: "Settings", run: "RunFolder") -> "tuple[Settings, Speed]":
    """On a GPU, what was left open about memory is as the plan chooses. The bits of the base stay as they are once a
    run has begun."""
    from sliderspace.models.device import device_for
    from sliderspace.plan.plan import plan_for

    speed = speed_of(**values)
    if (
        device_for(speed.device).type != "cuda"
        or values.get("checkpointing")
        or given(values, ("lanes", "batch", "quantize"))
    ):
        return settings, speed
    plan = plan_for(settings, speed)
    if plan.chosen is None:
        raise BadInput("this model fits the card in no way that is known here; `--dry-run` says what it would take")
    typer.echo(f"to fit {plan.card.gib:.0f} GB: {' '.join(plan.flags())}", err=True)
    speed = speed.model_copy(
        update={"lanes": plan.lanes, "batch": plan.batch, "checkpointing": plan.chosen.checkpointing}
    )
    return (settings if run.config.exists() else settings.model_copy(update={"quantize": plan.chosen.quantize})), speed


def check_begun(values: Values, run: "RunFolder") -> None:
    """BadInput where neither the verb nor the folder says what to discover; before the folder is made or touched."""
    if not given(values, ("prompts", "file")) and not run.config.exists():
        raise BadInput(
            f'no prompt given and {run.root} holds no run. Example: sliderspace discover "a robot" --out {run.root}'
        )


def run_stages(
    place: Path, values: Values, stages: "Callable[[Models], Iterator[Progress]]", *, report: bool = True
) -> None:
    """Run stages on a folder with progress bars. New settings for an old folder are said aloud before anything is
    redone."""

    def body() -> None:
        from sliderspace.engine.bars import watch
        from sliderspace.engine.begin import begin
        from sliderspace.report.from_run import report_run
        from sliderspace.storage.run_folder import RunFolder

        run = RunFolder(place)
        check_begun(values, run)
        with run.open_for_writing():
            settings, speed = fitted(values, settings_of(values, run), run)
            models, changes = begin(settings, speed, run, replace=bool(values.get("replace")))
            for line in changes:
                typer.echo(f"changed since the last run: {line}", err=True)
            watch(stages(models), quiet=values["as_json"])
            answer: Values = {"folder": str(place)}
            if report:
                answer["report"] = str(report_run(run))
        answer_with(answer, values["as_json"])

    guarded(body)


def guarded(body: Callable[[], None]) -> None:
    """Run a verb; what a user can mend becomes two lines and an exit code, everything else stays a traceback."""
    try:
        body()
    except SliderSpaceError as error:
        typer.echo(f"sliderspace: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, BadInput) else 1) from error
    except KeyboardInterrupt:
        typer.echo("\nstopped; give the same command again to go on from here", err=True)
        raise typer.Exit(130) from None


def answer_with(values: dict[str, Any], as_json: bool) -> None:
    typer.echo(
        json.dumps(values, indent=1, ensure_ascii=False)
        if as_json
        else "\n".join(f"{k}: {v}" for k, v in values.items())
    )
