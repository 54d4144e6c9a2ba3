"""`discover --concepts`: many concepts in one folder; and what such a folder holds."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sliderspace.cli import parsing
from sliderspace.cli.common import Values, answer_with, fitted, guarded, memory_of, settings_of, speed_of
from sliderspace.cli.engines import address_of, engine_at, shared
from sliderspace.core.errors import BadInput

if TYPE_CHECKING:
    from sliderspace.engine.catalogue import Discovery, Ended
    from sliderspace.engine.overview import Stage


def discover_catalogue(values: Values) -> None:
    """Discover the concepts of a file, each in a folder of its own, or say what that would cost."""

    def body() -> None:
        from sliderspace.engine import catalogue
        from sliderspace.engine.board import watch
        from sliderspace.engine.models import Loaded

        address = address_of(values)
        asked, speed = discoveries_of(values), speed_of(**values)
        loaded = Loaded()
        stages: dict[Discovery, Stage] = {one: catalogue.stage_of(one, speed, loaded) for one in asked}
        if values["dry_run"]:
            show_catalogue_plan(values, asked, [stages[one] for one in asked])
            return
        said = ", ".join(f"{count} {stage}" for stage, count in Counter(stages.values()).items())
        typer.echo(f"{len(asked)} concepts: {said}", err=True)
        due = catalogue.furthest_first((one for one in asked if stages[one] != "done"), stages)
        ended: dict[str, Ended] = {}
        if due:
            speed = fitted(due[0].settings, speed)
            with engine_at(address, values) as (engine, workers):
                if values["lanes"] is None:
                    speed = shared(due[0].settings, speed, workers)
                events = catalogue.discover(due, speed, loaded, replace=bool(values["replace"]), engine=engine)
                ended = watch(events, len(asked) - len(due), len(asked), quiet=values["as_json"])
        _answer(values, asked, ended)

    guarded(body)


def discoveries_of(values: Values) -> "list[Discovery]":
    """The concepts of the file that are dealt to this process, each with its settings and folder. Raises BadInput for
    what does not go with a file of concepts."""
    from sliderspace.concepts.catalogue import concepts_from
    from sliderspace.engine.catalogue import Discovery
    from sliderspace.storage.files import exists
    from sliderspace.storage.run_folder import RunFolder

    if values["prompts"] or values["file"]:
        raise BadInput("prompts come from --concepts, or are typed for one discovery, not both: leave one out")
    if values["expand"] not in (None, "templates"):
        raise BadInput("--expand: with --concepts prompts are made by templates only")
    root = values["out"] or Path("runs") / values["concepts"].stem
    if exists(root) and (root.is_file() or RunFolder(root).is_ours()):
        raise BadInput(f"{root} is a {'file' if root.is_file() else 'run'}: give --out a folder for all concepts")
    worker, workers = parsing.shard(values["shard"]) if values["shard"] else (0, 1)
    found: list[Discovery] = []
    for concept in concepts_from(values["concepts"])[worker::workers]:
        folder = root / concept.name
        own = values | {"prompts": list(concept.prompts), "out": folder}
        found.append(Discovery(settings_of(own, RunFolder(folder), dry=values["dry_run"]), folder))
    if not found:
        raise BadInput(f"--shard {values['shard']}: there are fewer concepts than parts")
    return found


def _answer(values: Values, asked: "list[Discovery]", ended: "dict[str, Ended]") -> None:
    """Where everything is, and what was not done; exit code 1 where a concept failed."""
    from sliderspace.report.gallery import write_gallery

    held = [name for name, how in ended.items() if how.held]
    failed = {name: how.failed for name, how in ended.items() if how.failed}
    root = asked[0].folder.parent
    answer: Values = {"folder": str(root), "concepts": len(asked), "done": len(asked) - len(held) - len(failed)}
    if answer["done"]:
        answer["gallery"] = str(write_gallery(root)[0])
    answer |= {"held": held} if held else {}
    answer |= {"failed": failed} if failed else {}
    if values["as_json"]:
        answer_with(answer, True)
    else:
        answer_with(answer | {"held": len(held), "failed": len(failed)}, False)
        for name, reason in failed.items():
            typer.echo(f"  {name}: {reason}\n{ended[name].trace}".rstrip(), err=True)
    if failed:
        raise typer.Exit(1)


# ---- what it costs


def show_catalogue_plan(values: Values, asked: "list[Discovery]", stages: "list[Stage]") -> None:
    """Hours by cards and disk, for a person or as JSON; nothing is written or fetched."""
    from sliderspace.cli.plan_text import print_catalogue_plan
    from sliderspace.plan.catalogue import catalogue_plan
    from sliderspace.plan.plan import plan_for

    one = plan_for(asked[0].settings, speed_of(**values), memory_gb=memory_of(values))
    plan = catalogue_plan(one, stages)
    answer_with(plan.as_dict(), True) if values["as_json"] else print_catalogue_plan(plan)
