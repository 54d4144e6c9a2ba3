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
    from sliderspace.engine.local import Engine, Progress
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
    from sliderspace.engine.local import stored_settings

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


def fitted(settings: "Settings", asked: "Speed") -> "Speed":
    """What was left open about memory as the card holds it, and a line that says so where that is another thing."""
    from sliderspace.plan.fit import fit_to_card

    speed = fit_to_card(settings, asked)
    if speed != asked:
        checkpointing = " --checkpointing" * speed.checkpointing
        typer.echo(f"to fit the card: --lanes {speed.lanes} --batch {speed.batch}{checkpointing}", err=True)
    return speed


def check_begun(values: Values, run: "RunFolder") -> None:
    """BadInput where neither the verb nor the folder says what to discover; before the folder is made or touched."""
    if not given(values, ("prompts", "file")) and not run.config.exists():
        raise BadInput(
            f'no prompt given and {run.root} holds no run. Example: sliderspace discover "a robot" --out {run.root}'
        )


def run_stages(
    place: Path, values: Values, stages: "Callable[[Engine], Iterator[Progress]]", *, report: bool = True
) -> None:
    """Run stages on a folder with progress bars. New settings for an old folder are said aloud before anything is
    redone."""

    def body() -> None:
        from sliderspace.engine.bars import watch
        from sliderspace.engine.local import Engine
        from sliderspace.report.from_run import report_run
        from sliderspace.storage.run_folder import RunFolder

        run = RunFolder(place)
        check_begun(values, run)
        with run.open_for_writing():
            settings = settings_of(values, run)
            engine = Engine(settings, fitted(settings, speed_of(**values)), run)
            for line in engine.write_config():
                typer.echo(f"changed since the last run: {line}", err=True)
            watch(stages(engine), quiet=values["as_json"])
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
