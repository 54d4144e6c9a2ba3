"""The command line. Heavy imports happen inside the verbs, so that --help answers at once."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from sliderspace import parsing
from sliderspace.errors import BadInput, SliderSpaceError

if TYPE_CHECKING:
    from sliderspace.engine import Engine, Progress

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Find what a text-to-image model can vary about a prompt, and turn each direction into a slider.\n\n"
    'Example: `sliderspace discover "a portrait of a person" --backbone mini --out runs/person`',
)

Folder = Annotated[Path, Argument(metavar="DIR", help="The folder of a run.")]
Prompts = Annotated[
    list[str] | None, Argument(metavar="PROMPT...", help="What to explore; several prompts describe one concept.", show_default=False)
]
Out = Annotated[Path, Option(help="The run folder. The same command again goes on where it stopped.")]
Json = Annotated[bool, Option("--json", help="Print the answer as JSON for a program.")]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:1, …")]
Batch = Annotated[int, Option(min=1, help="Images drawn at a time; changes nothing but speed and memory.")]
LaneCount = Annotated[int, Option("--lanes", min=1, help="Sliders trained at a time; changes nothing but speed and memory.")]
Seeds = Annotated[str, Option(help="Seeds: 0-15, or 3,17,40-43.")]
StartStep = Annotated[int, Option(help="Let sliders act from this sampler step on; later keeps more of the structure.")]

Backbone = Annotated[str | None, Option(help="A preset (see `sliderspace backbones`) or the folder of a diffusers pipeline.")]
EncoderFolder = Annotated[
    str | None, Option("--encoder", help="The folder of a transformers CLIP or DINOv2 model; default: the preset's own.")
]
Steps = Annotated[int | None, Option(help="Sampling steps.")]
Guidance = Annotated[float | None, Option(help="Classifier-free guidance; 1 is none.")]
Precision = Annotated[str | None, Option(help="auto, float32 or bfloat16.")]
Seed = Annotated[int | None, Option(help="The run's seed: everything random follows from it.")]
Samples = Annotated[int | None, Option(help="Trajectories to decompose.")]
Embed = Annotated[str | None, Option(help="Which steps' previews to embed: all (published), final, or a list such as 3,5,7.")]
Sliders = Annotated[int | None, Option(help="How many directions, and sliders.")]
Centring = Annotated[str | None, Option(help="step: PCA about each step's mean; all: about one mean (published).")]
Rank = Annotated[int | None, Option(help="Rank of each slider.")]
Targets = Annotated[str | None, Option(help="Layers sliders act on: cross-kv (published), cross, attention.")]
Up = Annotated[str | None, Option(help="Up-projection: trained, or frozen (published).")]
Objective = Annotated[str | None, Option(help="published: the cosine alone; sized: also holds the size of the move.")]
Signs = Annotated[bool | None, Option("--both-signs/--one-sign", help="Train strength −1 toward −v as well.")]
Until = Annotated[float | None, Option(help="Share of the embedded steps trained on, noisiest first; 1: all (published).")]
Updates = Annotated[int | None, Option(help="Optimiser steps; each moves every slider.")]
Rate = Annotated[float | None, Option("--lr", help="Learning rate.")]


@app.command(epilog='Example: sliderspace discover "a portrait of a person" --backbone mini --sliders 16 --samples 1000 --out runs/person')
def discover(
    prompts: Prompts = None,
    out: Out = Path("runs/latest"),
    backbone: Backbone = None,
    encoder: EncoderFolder = None,
    steps: Steps = None,
    guidance: Guidance = None,
    precision: Precision = None,
    seed: Seed = None,
    samples: Samples = None,
    embed: Embed = None,
    sliders: Sliders = None,
    centring: Centring = None,
    rank: Rank = None,
    targets: Targets = None,
    up: Up = None,
    objective: Objective = None,
    both_signs: Signs = None,
    until: Until = None,
    updates: Updates = None,
    lr: Rate = None,
    device: Device = "auto",
    batch: Batch = 64,
    lanes: LaneCount = 16,
    as_json: Json = False,
) -> None:
    """Discover sliders for a prompt: sample, fit, train, measure, and write a report."""
    chosen = _chosen(locals())
    _run(out, chosen, _speed(device, batch, lanes), lambda engine: engine.stages(), as_json)


@app.command(epilog='Example: sliderspace sample "a robot" --samples 500 --out runs/robot')
def sample(
    prompts: Prompts = None,
    out: Out = Path("runs/latest"),
    backbone: Backbone = None,
    encoder: EncoderFolder = None,
    steps: Steps = None,
    guidance: Guidance = None,
    precision: Precision = None,
    seed: Seed = None,
    samples: Samples = None,
    embed: Embed = None,
    device: Device = "auto",
    batch: Batch = 64,
    as_json: Json = False,
) -> None:
    """Stage 1: draw trajectories of a prompt (or of DIR's own, with --out DIR) and embed their previews."""
    _run(out, _chosen(locals()), _speed(device, batch, 16), lambda engine: engine.sample(), as_json, report=False)


@app.command(epilog="Example: sliderspace fit runs/robot --sliders 32")
def fit(folder: Folder, sliders: Sliders = None, centring: Centring = None, device: Device = "auto", as_json: Json = False) -> None:
    """Stage 2: find the principal directions of a folder's trajectories."""
    _run(folder, _chosen(locals()), _speed(device), lambda engine: engine.fit(), as_json, report=False)


@app.command(epilog="Example: sliderspace train runs/robot --updates 600 --lr 1e-3")
def train(
    folder: Folder,
    rank: Rank = None,
    targets: Targets = None,
    up: Up = None,
    objective: Objective = None,
    both_signs: Signs = None,
    until: Until = None,
    updates: Updates = None,
    lr: Rate = None,
    device: Device = "auto",
    batch: Batch = 64,
    lanes: LaneCount = 16,
    as_json: Json = False,
) -> None:
    """Stage 3: train a slider for each direction, set its natural unit, measure it, and write the report."""

    def stages(engine: "Engine") -> "Iterator[Progress]":
        yield from engine.train()
        yield from engine.measure()

    _run(folder, _chosen(locals()), _speed(device, batch, lanes), stages, as_json)


@app.command(epilog="Example: sliderspace generate runs/person --set 3=1.5 --set 7=-2 --seeds 0-15")
def generate(
    folder: Folder,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="SLIDER=UNITS", help="A slider and its strength in natural units; repeat for more.")
    ] = None,
    seeds: Seeds = "0-15",
    prompt: Annotated[str | None, Option(help="Another prompt than the one discovered on.")] = None,
    mix: Annotated[int, Option(min=0, help="Instead of --set: this many random sliders an image, at ±1 unit.")] = 0,
    start_step: StartStep = 0,
    out: Annotated[Path | None, Option(help="Where the images go; default DIR/generated.")] = None,
    device: Device = "auto",
    batch: Batch = 64,
    as_json: Json = False,
) -> None:
    """Draw images with sliders set: one PNG a seed, and all in one grid.png."""

    def body() -> None:
        from sliderspace.images import grid, save_png
        from sliderspace.space import SliderSpace

        listed, strengths = parsing.seeds(seeds), parsing.strengths(set_ or [])
        if mix and strengths:
            raise BadInput("--mix chooses the sliders itself: leave out --set, or --mix")
        space = SliderSpace.load(folder, _speed(device, batch))
        images = (
            space.mix(listed, active=mix, prompt=prompt, start_step=start_step)
            if mix
            else space.generate(listed, strengths, prompt=prompt, start_step=start_step)
        )
        target = _writable(out or folder / "generated")
        for seed, image in zip(listed, images, strict=True):
            save_png(target / f"{seed:06d}.png", image)
        save_png(target / "grid.png", grid(images, max(4, round(len(images) ** 0.5))))
        _answer({"images": len(images), "folder": str(target), "grid": str(target / "grid.png")}, as_json)

    _guarded(body)


@app.command(epilog="Example: sliderspace sweep runs/person 3 --seeds 0-7 --scales=-3,-1,0,1,3")
def sweep(
    folder: Folder,
    slider: Annotated[int, Argument(help="Which slider.")],
    seeds: Seeds = "0-3",
    scales: Annotated[str, Option(help="Strengths in natural units.")] = "-3,-2,-1,0,1,2,3",
    prompt: Annotated[str | None, Option(help="Another prompt than the one discovered on.")] = None,
    start_step: StartStep = 0,
    out: Annotated[Path | None, Option(help="The PNG to write; default DIR/sweep-<slider>.png.")] = None,
    device: Device = "auto",
    batch: Batch = 64,
    as_json: Json = False,
) -> None:
    """Draw one slider over a range of strengths: a row a seed, a column a strength."""

    def body() -> None:
        from sliderspace.images import labelled_strip, save_png, scale_label
        from sliderspace.space import SliderSpace

        values, listed = [parsing.number(v, "--scales") for v in scales.split(",")], parsing.seeds(seeds)
        images = SliderSpace.load(folder, _speed(device, batch)).sweep(slider, listed, values, prompt=prompt, start_step=start_step)
        path = out or folder / f"sweep-{slider:02d}.png"
        _writable(path.parent)
        save_png(path, labelled_strip(images, [scale_label(v) for v in values], [str(s) for s in listed]))
        _answer({"image": str(path), "scales": values}, as_json)

    _guarded(body)


@app.command(epilog="Example: sliderspace info runs/person --json")
def info(folder: Folder, as_json: Json = False) -> None:
    """Say what a run folder holds: the concept, the model, how far it got, and its sliders with their measures."""

    def body() -> None:
        from sliderspace.summary import describe_run, print_run

        told = describe_run(folder)
        _answer(told, True) if as_json else print_run(told)

    _guarded(body)


@app.command(epilog="Example: sliderspace report runs/person")
def report(folder: Folder, as_json: Json = False) -> None:
    """Write report.html of a finished run again."""

    def body() -> None:
        from sliderspace.store import RunFolder
        from sliderspace.summary import report_run

        _answer({"report": str(report_run(RunFolder(folder)))}, as_json)

    _guarded(body)


@app.command(epilog="Example: sliderspace backbones")
def backbones(as_json: Json = False) -> None:
    """List the models known by name: what each can draw, with prompts to try."""

    def body() -> None:
        from sliderspace.backbones import PRESETS

        if as_json:
            _answer(
                {
                    p.name: {"knows": p.knows, "examples": list(p.examples), "steps": p.steps, "expected": p.expected}
                    for p in PRESETS.values()
                },
                True,
            )
            return
        for preset in PRESETS.values():
            typer.echo(
                f"{preset.name}: {preset.knows}; {preset.steps} steps\n  try: " + "\n       ".join(f'"{e}"' for e in preset.examples)
            )
            typer.echo(f"  {preset.expected}" if preset.expected else "")

    _guarded(body)


# Helpers

SPEED_AND_PLACE = {"out", "folder", "device", "batch", "lanes", "as_json", "stages"}


def _chosen(values: dict[str, Any]) -> dict[str, Any]:
    """The settings among a verb's options that were given (None: not given)."""
    return {k: v for k, v in values.items() if k not in SPEED_AND_PLACE and not callable(v) and v is not None}


def _speed(device: str, batch: int = 64, lanes: int = 16) -> Any:
    from sliderspace.config import Speed

    return Speed(device=device, batch=batch, lanes=lanes)


def _run(
    out: Path, chosen: dict[str, Any], speed: Any, stages: "Callable[[Engine], Iterator[Progress]]", as_json: bool, *, report: bool = True
) -> None:
    """Run stages on a folder with progress bars. New settings for an old folder are said aloud before anything is redone."""

    def body() -> None:
        from sliderspace.config import settings_from
        from sliderspace.engine import Engine, stored_settings
        from sliderspace.progress import watch
        from sliderspace.store import RunFolder
        from sliderspace.summary import report_run

        run = RunFolder(out)
        if "embed" in chosen:
            chosen["embed"] = parsing.embed(chosen["embed"])
        fresh = "prompts" in chosen
        if not fresh and not run.config.exists():
            raise BadInput(f'no prompt given and {out} holds no run. Example: sliderspace discover "a robot" --out {out}')
        settings = settings_from(chosen) if fresh else stored_settings(run, **chosen)
        with run.open_for_writing():
            engine = Engine(settings, speed, run)
            for line in engine.write_config():
                typer.echo(f"changed since the last run: {line}", err=True)
            watch(stages(engine), quiet=as_json)
            answer: dict[str, Any] = {"folder": str(out)}
            if report:
                answer["report"] = str(report_run(run))
        _answer(answer, as_json)

    _guarded(body)


def _guarded(body: Callable[[], None]) -> None:
    """Run a verb; what a user can mend becomes two lines and an exit code, everything else stays a traceback."""
    try:
        body()
    except SliderSpaceError as error:
        typer.echo(f"sliderspace: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, BadInput) else 1) from error
    except KeyboardInterrupt:
        typer.echo("\nstopped; give the same command again to go on from here", err=True)
        raise typer.Exit(130) from None


def _answer(values: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(values, indent=1, ensure_ascii=False) if as_json else "\n".join(f"{k}: {v}" for k, v in values.items()))


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write to {folder}: {error.strerror}. Choose another place with --out.") from error
    return folder


def main() -> None:
    """Entry point of the `sliderspace` script."""
    app()


if __name__ == "__main__":
    sys.exit(main())
