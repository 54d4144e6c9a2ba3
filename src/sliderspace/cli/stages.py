"""The verbs that make a run: the whole discovery, or a stage of it."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from sliderspace.cli.app import verb
from sliderspace.cli.catalogue import discover_catalogue
from sliderspace.cli.common import Values, answer_with, guarded, memory_of, run_of, run_stages, settings_of, speed_of
from sliderspace.cli.options import ABOUT, DRAWING, ENGINE, FITTED, SAMPLED, TRAINED, UPDATING, WORDS
from sliderspace.core.errors import BadInput


@verb(
    *ABOUT,
    *("concepts", "shard", "recipe", "replace", "dry_run", "memory", "as_json"),
    *(*SAMPLED, *FITTED, *TRAINED, *UPDATING, *ENGINE),
    epilog='Example: sliderspace discover "a monster" --backbone mini-turbo --sliders 16 --out runs/monster',
)
def discover(**values: Any) -> None:
    """Discover sliders for a prompt: sample, fit, train, measure, and write a report. With --concepts FILE, for each of
    many: a folder a concept, models loaded once, and a gallery at the end."""
    if values["concepts"]:
        discover_catalogue(values)
    elif values["shard"]:
        guarded(_shard_of_one)
    else:
        show_plan(values) if values["dry_run"] else run_stages(values, "discover")


def _shard_of_one() -> None:
    raise BadInput(
        "--shard deals out the concepts of --concepts FILE.\n"
        "One discovery is shared stage by stage: sample, train and measure have a --shard of their own."
    )


def _asked_in_words() -> Values:
    from sliderspace.core.recipes import CONCEPT_RECIPES

    return CONCEPT_RECIPES["default"]


@verb(
    *("out", "recipe", "replace", "dry_run", "memory", "as_json"),
    *(*SAMPLED, *(name for name in TRAINED if name not in ("objective", "hold")), *WORDS, *UPDATING),
    epilog='Example: sliderspace concept smiling sad "wearing glasses" bald --prompt "a portrait of a person" '
    "--out runs/asked",
    usual=_asked_in_words,
)
def concept(
    words: Annotated[
        list[str] | None,
        Argument(
            metavar="MORE LESS ...",
            help="What each slider draws more of and less of, two texts a slider. They follow the prompt after a "
            "comma; {} in them stands for it; an empty one is the prompt alone.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[str | None, Option(help="The prompt that the words say something of.")] = None,
    pairs_file: Annotated[
        Path | None,
        Option("--pairs", metavar="FILE", help="Pairs from the columns plus, minus and name of a .csv or .jsonl."),
    ] = None,
    **values: Any,
) -> None:
    """Train sliders that are asked for in words, two texts a slider (Concept Sliders): named, in units, measured, with
    a report."""
    values |= {"prompts": [prompt] if prompt else None, "file": None}

    def body() -> None:
        from sliderspace.concepts.pairs import pairs_of

        if words or pairs_file:
            if not prompt:
                raise BadInput('--prompt: say what the words are about, for example --prompt "a portrait of a person"')
            chosen = pairs_of(words or [], pairs_file)
            values.update(pairs=chosen, sliders=len(chosen), recipe=values["recipe"] or "default")
        elif prompt or not values["out"]:
            raise BadInput(
                'say two texts for each slider. Example: sliderspace concept smiling sad --prompt "a person"'
            )
        show_plan(values) if values["dry_run"] else run_stages(values, "discover")

    guarded(body)


@verb(
    *ABOUT,
    *("replace", "shard", "as_json"),
    *(*SAMPLED, *DRAWING, *ENGINE),
    epilog='Example: sliderspace sample "a dragon" --samples 500 --out runs/dragon',
)
def sample(**values: Any) -> None:
    """Stage 1: draw trajectories of a prompt (or of DIR's own, with --out DIR) and embed their previews."""
    run_stages(values, "sample", report=False)


@verb("folder", "replace", "as_json", *FITTED, "device", epilog="Example: sliderspace fit runs/dragon --sliders 32")
def fit(**values: Any) -> None:
    """Stage 2: find the directions of a folder's trajectories. What is left out is as the folder has it."""
    run_stages(values, "fit", report=False)


@verb(
    *("folder", "replace", "shard", "as_json"),
    *(*TRAINED, *UPDATING, *ENGINE),
    epilog="Example: sliderspace train runs/dragon --updates 600 --lr 1e-3",
)
def train(**values: Any) -> None:
    """Stage 3: train a slider for each direction, set its natural unit, measure it, and write the report. What is left
    out is as the folder has it."""
    # A worker that trains its share may not find the others' sliders yet: then measuring is a verb of its own.
    run_stages(values, *(("train",) if values["shard"] else ("train", "measure")), report=not values["shard"])


@verb(
    *("folder", "replace", "shard", "as_json"),
    *(*(name for name in UPDATING if name != "compile"), *ENGINE),
    epilog="Example: sliderspace measure runs/dragon",
)
def measure(**values: Any) -> None:
    """Stage 4: set the natural unit of each trained slider, measure it, and write the report; `train` does it too."""
    run_stages(values, "measure")


def show_plan(values: Values) -> None:
    """The plan of a discovery, for a person or as JSON; nothing is written or fetched."""

    def body() -> None:
        from sliderspace.cli.plan_text import print_plan
        from sliderspace.plan.plan import plan_for

        run, speed = run_of(values), speed_of(**values)
        plan = plan_for(settings_of(values, run, dry=True), speed, memory_gb=memory_of(values))
        answer_with(plan.as_dict(), True) if values["as_json"] else print_plan(plan)

    guarded(body)
