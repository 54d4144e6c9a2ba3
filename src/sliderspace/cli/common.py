"""What the verbs share: running stages on a folder, answers, and errors in two lines."""

import json
import math
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sliderspace.cli import parsing
from sliderspace.cli.options import UPDATING, spelling
from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.text import folder_name, is_unsafe, shown

if TYPE_CHECKING:
    from sliderspace.core.settings import Settings, Speed
    from sliderspace.storage.run_folder import RunFolder

Values = dict[str, Any]
FEW = 6  # words named in a warning


def given(values: Values, names: Iterable[str]) -> Values:
    """Those of a verb's options that were typed (None: left out)."""
    return {name: values[name] for name in names if values.get(name) is not None}


@contextmanager
def naming_options(typed: Iterable[str]) -> Generator[None, None, None]:
    """Wrong values are reported by the name of the option where they were typed, else by that of the field."""
    from sliderspace.core.settings import WrongValues

    try:
        yield
    except WrongValues as error:
        names = {field: spelling(field) for field in typed} | {"prompts": ""}
        lines = [": ".join(filter(None, (names.get(field, field), why))) for field, why in error.wrong]
        raise BadInput("; ".join(lines)) from error


def speed_of(**values: Any) -> "Speed":
    from sliderspace.core.settings import Speed, checked

    with naming_options(UPDATING):
        return checked(Speed, given(values, UPDATING))


def run_of(values: Values) -> "RunFolder":
    """The run folder a verb works on: the one it names, or one named after the prompt. BadInput where neither the verb
    nor the folder says what to discover; before the folder is made or touched."""
    from sliderspace.storage.files import exists
    from sliderspace.storage.run_folder import RunFolder

    if "folder" in values:
        run = RunFolder(values["folder"])
        run.check_exists()
        return run
    concept = values["prompts"] or ([values["file"].stem] if values["file"] else [])
    place = values["out"] or (Path("runs") / folder_name(concept) if concept else None)
    if place is None or not (concept or exists(RunFolder(place).config)):
        where = f" and {place} holds no run" if place else ""
        raise BadInput(f'no prompt given{where}. Example: sliderspace discover "a dragon"')
    if values["out"] is None:
        typer.echo(f"folder: {place}", err=True)
    return RunFolder(place)


def settings_of(values: Values, run: "RunFolder", *, dry: bool = False) -> "Settings":
    """The settings a verb asks for: new ones where it says a prompt, else those stored in the folder, with what it
    changes.

    An expansion by a language model is kept in the folder, which is made for it; a dry run makes none, and plans for
    the concept as it is.
    """
    from sliderspace.core.recipes import CONCEPT_RECIPES, RECIPES, recipe
    from sliderspace.core.settings import Settings
    from sliderspace.models.here import with_whole_places

    typed = given(values, Settings.model_fields)
    if nothing := [name for name, value in typed.items() if value == ""]:
        raise BadInput(f"{spelling(nothing[0])} is empty: name something, or leave it out")
    typed = with_whole_places(typed, spelling)
    with naming_options(typed):
        among = CONCEPT_RECIPES if "pairs" in typed else RECIPES
        settings = _settings(recipe(values.get("recipe") or "", among) | typed, values, run, dry=dry)
    # Trajectories may be drawn before anybody asks how many directions they shall carry.
    return settings.check_carried() if "sliders" in values else settings


def _settings(chosen: Values, values: Values, run: "RunFolder", *, dry: bool) -> "Settings":
    from sliderspace.concepts.prompts import prompts_for
    from sliderspace.core.settings import settings_from
    from sliderspace.engine.begin import stored_settings
    from sliderspace.language.chat import SERVICES

    about = given(values, ("file", "expand", "base_url"))
    if "prompts" not in chosen and "file" not in about:
        return stored_settings(run, **chosen)
    trial = settings_from({"prompts": ("not read yet",), **chosen})  # before a language model is asked for prompts
    if "sliders" in values:
        trial.check_carried()
    if dry and about.pop("expand", None):
        about.pop("base_url", None)
    count = {"count": values["expand_to"]} if about.get("expand") else {}
    asks = about.get("expand", "").partition(":")[0] in SERVICES
    with _asking(run, values) if asks else nullcontext():
        chosen["prompts"] = prompts_for(chosen.get("prompts", ()), cache=run.root / "prompts.json", **about, **count)
    settings = settings_from(chosen)
    warn_of_unknown_words(settings)
    return settings


@contextmanager
def _asking(run: "RunFolder", values: Values) -> Generator[None, None, None]:
    """Within the block a language model is asked: its answer costs money, and is kept in the folder for the other
    workers, who wait for it."""
    with run.open_for_writing(share_of(values)), run.gathering():
        yield


def warn_of_unknown_words(settings: "Settings") -> None:
    """A line on stderr about words of the prompts that the model's preset does not know."""
    from sliderspace.models.backbones import PRESETS

    preset = PRESETS.get(settings.backbone)
    if preset is None:
        return
    if unknown := list(dict.fromkeys(word for prompt in settings.prompts for word in preset.unknown_words(prompt))):
        more = f" and {len(unknown) - FEW} more" if len(unknown) > FEW else ""
        words = ", ".join(f'"{shown(word)}"' for word in unknown[:FEW])
        typer.echo(f"warning: {preset.name} does not know {words}{more}; it draws {preset.knows}", err=True)


def share_of(values: Values) -> tuple[int, int]:
    """Which worker of how many this process is."""
    return parsing.shard(values["shard"]) if values.get("shard") else (0, 1)


def memory_of(values: Values) -> float | None:
    """The GB of the card to plan for, where they are said."""
    if not math.isfinite(values["memory"] or 0):
        raise BadInput("--memory: say how many GB, such as 24")
    return values["memory"]


def fitted(settings: "Settings", asked: "Speed") -> "Speed":
    """What was left open about memory as the card holds it, and a line that says so where that is another thing."""
    from sliderspace.plan.fit import fit_to_card

    speed = fit_to_card(settings, asked)
    if speed != asked:
        checkpointing = " --checkpointing" * speed.checkpointing
        typer.echo(f"to fit the card: --lanes {speed.lanes} --batch {speed.batch}{checkpointing}", err=True)
    return speed


def run_stages(values: Values, *stages: str, report: bool = True) -> None:
    """Run stages on a folder with progress bars. New settings for an old folder are named before anything is
    redone."""

    def body() -> None:
        from sliderspace.cli.engines import address_of, engine_at, shared
        from sliderspace.engine.bars import watch
        from sliderspace.engine.begin import begin
        from sliderspace.engine.local import run
        from sliderspace.models.working_point import check_settings
        from sliderspace.report.from_run import report_run

        share = share_of(values)
        address = address_of(values)
        folder, speed = run_of(values), speed_of(**values)
        settings = settings_of(values, folder)
        check_settings(settings)  # before a folder is made
        speed = fitted(settings, speed)
        with folder.open_for_writing(share), engine_at(address, values) as (engine, workers):
            if {"discover", "train"} & set(stages) and values["lanes"] is None:
                speed = shared(settings, speed, workers)
            models, changes = begin(settings, speed, folder, replace=bool(values.get("replace")))
            for line in changes:
                typer.echo(f"changed since the last run: {shown(line)}", err=True)
            if speed.compile:
                typer.echo("the first update compiles the networks, which takes minutes", err=True)
            watch(run(models, stages, share, engine), quiet=values["as_json"])
            answer: Values = {"folder": str(folder.root)}
            if report and folder.whole_space():
                answer["report"] = str(report_run(folder))
        answer_with(answer, values["as_json"])

    guarded(body)


def guarded(body: Callable[[], None]) -> None:
    """Run a verb; what a user can mend becomes two lines and an exit code, everything else stays a traceback."""
    try:
        body()
    except SliderSpaceError as error:
        typer.echo(shown(f"sliderspace: {error}"), err=True)
        raise typer.Exit(2 if isinstance(error, BadInput) else 1) from error
    except KeyboardInterrupt:
        typer.echo("\nstopped; give the same command again to go on from here", err=True)
        raise typer.Exit(130) from None


def answer_with(values: dict[str, Any], as_json: bool) -> None:
    typer.echo(_json(values) if as_json else "\n".join(f"{k}: {shown(str(v))}" for k, v in values.items()))


def _json(values: dict[str, Any]) -> str:
    """JSON in which whatever a terminal could obey is escaped, and what stdout may not hold; it reads back as the
    same."""
    whole = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(values, indent=1, ensure_ascii=not whole)
    return "".join(json.dumps(c)[1:-1] if is_unsafe(c) else c for c in text)
