"""The verb that runs the paper's experiments."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from sliderspace.cli import parsing
from sliderspace.cli.app import verb
from sliderspace.cli.common import Values, answer_with, given, guarded, speed_of
from sliderspace.cli.options import UPDATING, Json, spelling
from sliderspace.core.errors import BadInput

if TYPE_CHECKING:
    from sliderspace.core.settings import Speed
    from sliderspace.experiments.paper.experiment import Asked, Experiment

COMMON = (
    *("encoder", "steps", "guidance", "precision", "resolution", "decoder", "quantize", "lora"),
    *("samples", "updates"),
)


@verb(
    *(*COMMON, *UPDATING),
    epilog="Example: sliderspace experiment art --backbone mini-turbo --out runs/paper --seeds 3",
)
def experiment(
    name: Annotated[
        str | None,
        Argument(metavar="NAME", help="concepts, art, data, transfer, start or diversity; none lists them."),
    ] = None,
    backbone: Annotated[
        str | None,
        Option(
            help="The model: a preset, a Hub repository, or its folder; left out: mini-turbo; of `start`, which "
            "needs more steps, mini.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        Option(help="The model that this one was distilled from; left out: the preset's.", show_default=False),
    ] = None,
    out: Annotated[
        Path,
        Option(help="Where everything goes, discoveries and all. The same command again goes on where it stopped."),
    ] = Path("runs/paper"),
    seeds: Annotated[int, Option(min=1, max=100, help="How many run seeds, each a discovery of its own.")] = 3,
    pictures: Annotated[
        int | None,
        Option(min=8, max=1_000_000, help="Pictures of each arm; left out: as many as the model's size allows."),
    ] = None,
    sliders: Annotated[
        str | None, Option(help="Sliders of a discovery, such as 32; of `art` several: 8,16,32.", show_default=False)
    ] = None,
    artists: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="Names of artists, a line each: the reference of `art`. Left out: some that are known."
        ),
    ] = None,
    prompts: Annotated[
        Path | None, Option(metavar="FILE", help="The list of prompts that `art` compares with, a line each.")
    ] = None,
    captions: Annotated[Path | None, Option(metavar="FILE", help="What `diversity` draws, a line each.")] = None,
    reference: Annotated[
        Path | None, Option(metavar="DIR", help="A folder of pictures as the reference of `art` and `diversity`.")
    ] = None,
    judge: Annotated[
        str | None,
        Option(
            help="Who judges: an encoder, inception (FID) or dreamsim; left out: the preset's judge, or dinov2.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be run, its hours and disk.")] = False,
    shard: Annotated[
        str | None,
        Option(metavar="I/N", help="Do only this part of the work: one process for each may share the folder."),
    ] = None,
    as_json: Json = False,
    **chosen: Any,
) -> None:
    """Run one of the paper's experiments: discoveries, pictures, measures, a table, charts and a page of pictures."""

    def body() -> None:
        from sliderspace.experiments.paper.catalogue import EXPERIMENTS
        from sliderspace.experiments.paper.catalogue import experiment as by_name

        if name is None:
            answer_with({e.name: e.asks for e in EXPERIMENTS.values()}, as_json)
            return
        found = by_name(name)
        files = {"artists": artists, "prompts": prompts, "captions": captions}
        model = backbone or found.backbone
        asked = _asked(model, teacher, seeds, judge, reference, files, pictures, sliders, given(chosen, COMMON))
        speed = speed_of(**given(chosen, UPDATING))
        if dry_run:
            from sliderspace.cli.experiment_plan import show_work

            show_work(found, asked, speed, as_json)
            return
        typed: Values = {"backbone": model, "teacher": teacher, **files, "reference": reference, "judge": judge}
        typed |= {"seeds": seeds, "pictures": pictures, "sliders": sliders, **given(chosen, COMMON), "out": out}
        _run(found, asked, out, speed, shard, command_of(name, typed), as_json)

    guarded(body)


def _asked(
    backbone: str,
    teacher: str | None,
    seeds: int,
    judge: str | None,
    reference: Path | None,
    files: dict[str, Path | None],
    pictures: int | None,
    sliders: str | None,
    common: Values,
) -> "Asked":
    from sliderspace.concepts.files import from_file
    from sliderspace.experiments.paper.experiment import Asked
    from sliderspace.experiments.paper.worlds import in_the_style_of, world_of
    from sliderspace.models.backbones import preset_for

    lists = {name: from_file(path) for name, path in files.items() if path is not None}
    changed: Values = {"captions": lists["captions"]} if "captions" in lists else {}
    if "artists" in lists:
        changed["styles"] = in_the_style_of(lists["artists"])
    if "prompts" in lists:
        changed |= {"listed": lists["prompts"], "about": lists["prompts"]}
    counts = parsing.seeds(sliders, "--sliders") if sliders else []
    if counts and min(counts) < 1:
        raise BadInput("--sliders: a discovery has at least one")
    changed |= {"sliders": counts[-1], "art_sliders": tuple(counts)} if counts else {}
    changed |= {"pictures": pictures, "transfer_seeds": min(16, pictures)} if pictures else {}
    if reference is not None and not reference.is_dir():
        raise BadInput(f"--reference: {reference} is no folder of pictures")
    place = str(reference.resolve()) if reference else ""
    world = replace(world_of(backbone), **changed)
    teacher = preset_for(backbone).teacher if teacher is None else teacher
    return Asked(_whole(backbone), world, seeds, _whole(teacher), judge or "", place, common)


def _whole(model: str) -> str:
    """A folder by its full path, so that a run finds it from anywhere."""
    return str(Path(model).expanduser().resolve()) if model and Path(model).expanduser().is_dir() else model


def _run(
    found: "Experiment",
    asked: "Asked",
    out: Path,
    speed: "Speed",
    shard: str | None,
    command: str,
    as_json: bool,
) -> None:
    from sliderspace.engine.bars import watch
    from sliderspace.engine.local import ALL
    from sliderspace.experiments.paper import answer
    from sliderspace.experiments.paper.pictures import Shared, checked_out
    from sliderspace.experiments.paper.run import done, run

    share = parsing.shard(shard) if shard else ALL
    shared = Shared(checked_out(out), speed, asked.judge_at, asked.encoder_location, asked.teacher)
    watch(run(found, asked, shared, share), quiet=as_json)
    measured, missing = done(found, asked, shared)
    if missing:
        typer.echo(
            f"{missing} cells are not measured yet: other processes have them, or give the command again", err=True
        )
        answer_with({"folder": str(out), "missing": missing}, as_json)
        return
    page = answer.write(found, asked, measured, shared, command)
    if not as_json:
        typer.echo((page.parent / "results.md").read_text(encoding="utf-8"))
    answer_with({"page": str(page), "results": str(page.parent / "results.json")}, as_json)


def command_of(name: str, typed: Values) -> str:
    """The command that makes the same again: what was typed, without what only changes its speed, and full paths by
    their last part, since the page that says it is shown to others."""
    from sliderspace.share.places import pathless

    words = ["sliderspace", "experiment", name]
    for option, value in typed.items():
        words += [spelling(option), pathless(str(value))] if value is not None else []
    return shlex.join(words)
