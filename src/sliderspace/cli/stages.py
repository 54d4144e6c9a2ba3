"""The verbs that make a run: the whole discovery, or a stage of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from sliderspace.cli.app import app
from sliderspace.cli.common import Values, answer_with, check_begun, guarded, run_stages, settings_of, speed_of
from sliderspace.cli.options import (
    Backbone,
    BaseUrl,
    Batch,
    Centring,
    Checkpointing,
    Control,
    Count,
    Decoder,
    Device,
    DryRun,
    Embed,
    EncoderFolder,
    Expand,
    Folder,
    Guidance,
    Hold,
    Json,
    LaneCount,
    Memory,
    Objective,
    Out,
    OwnPictures,
    Precision,
    PromptFile,
    Prompts,
    Quantize,
    Rank,
    Rate,
    Recipe,
    Resolution,
    Rotation,
    Samples,
    Seed,
    Signs,
    Sliders,
    Steps,
    Targets,
    Until,
    Up,
    Updates,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sliderspace.engine.models import Models
    from sliderspace.engine.progress import Progress


@app.command(
    epilog='Example: sliderspace discover "a portrait of a person" --backbone mini --sliders 16 --out runs/person'
)
def discover(
    prompts: Prompts = None,
    out: Out = Path("runs/latest"),
    backbone: Backbone = None,
    encoder: EncoderFolder = None,
    steps: Steps = None,
    guidance: Guidance = None,
    precision: Precision = None,
    resolution: Resolution = None,
    decoder: Decoder = None,
    quantize: Quantize = None,
    seed: Seed = None,
    images: OwnPictures = None,
    file: PromptFile = None,
    expand: Expand = None,
    expand_to: Count = 50,
    base_url: BaseUrl = None,
    recipe: Recipe = None,
    samples: Samples = None,
    embed: Embed = None,
    sliders: Sliders = None,
    centring: Centring = None,
    rotation: Rotation = None,
    control: Control = None,
    rank: Rank = None,
    targets: Targets = None,
    up: Up = None,
    objective: Objective = None,
    both_signs: Signs = None,
    until: Until = None,
    hold: Hold = None,
    updates: Updates = None,
    lr: Rate = None,
    device: Device = "auto",
    batch: Batch = None,
    lanes: LaneCount = None,
    checkpointing: Checkpointing = False,
    dry_run: DryRun = False,
    memory: Memory = None,
    as_json: Json = False,
) -> None:
    """Discover sliders for a prompt: sample, fit, train, measure, and write a report."""
    values = dict(locals())
    show_plan(out, values) if dry_run else run_stages(out, values, _stages("discover"))


@app.command(epilog='Example: sliderspace sample "a robot" --samples 500 --out runs/robot')
def sample(
    prompts: Prompts = None,
    out: Out = Path("runs/latest"),
    backbone: Backbone = None,
    encoder: EncoderFolder = None,
    steps: Steps = None,
    guidance: Guidance = None,
    precision: Precision = None,
    resolution: Resolution = None,
    decoder: Decoder = None,
    quantize: Quantize = None,
    seed: Seed = None,
    images: OwnPictures = None,
    file: PromptFile = None,
    expand: Expand = None,
    expand_to: Count = 50,
    base_url: BaseUrl = None,
    samples: Samples = None,
    embed: Embed = None,
    device: Device = "auto",
    batch: Batch = None,
    as_json: Json = False,
) -> None:
    """Stage 1: draw trajectories of a prompt (or of DIR's own, with --out DIR) and embed their previews."""
    run_stages(out, dict(locals()), _stages("sample"), report=False)


@app.command(epilog="Example: sliderspace fit runs/robot --sliders 32")
def fit(
    folder: Folder,
    sliders: Sliders = None,
    centring: Centring = None,
    rotation: Rotation = None,
    control: Control = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Stage 2: find the principal directions of a folder's trajectories."""
    run_stages(folder, dict(locals()), _stages("fit"), report=False)


@app.command(epilog="Example: sliderspace train runs/robot --updates 600 --lr 1e-3")
def train(
    folder: Folder,
    rank: Rank = None,
    targets: Targets = None,
    up: Up = None,
    objective: Objective = None,
    both_signs: Signs = None,
    until: Until = None,
    hold: Hold = None,
    updates: Updates = None,
    lr: Rate = None,
    device: Device = "auto",
    batch: Batch = None,
    lanes: LaneCount = None,
    checkpointing: Checkpointing = False,
    as_json: Json = False,
) -> None:
    """Stage 3: train a slider for each direction, set its natural unit, measure it, and write the report."""

    run_stages(folder, dict(locals()), _stages("train", "measure"))


def _stages(*names: str) -> "Callable[[Models], Iterator[Progress]]":
    """Stages of the local engine, one after another."""

    def run(models: "Models") -> "Iterator[Progress]":
        from sliderspace.engine import local

        for name in names:
            yield from getattr(local, name)(models)

    return run


def show_plan(out: Path, values: Values) -> None:
    """The plan of a discovery, for a person or as JSON; nothing is written or fetched."""

    def body() -> None:
        from sliderspace.cli.plan_text import print_plan
        from sliderspace.plan.plan import plan_for
        from sliderspace.storage.run_folder import RunFolder

        check_begun(values, RunFolder(out))
        plan = plan_for(settings_of(values, RunFolder(out), dry=True), speed_of(**values), memory_gb=values["memory"])
        answer_with(plan.as_dict(), True) if values["as_json"] else print_plan(plan)

    guarded(body)
