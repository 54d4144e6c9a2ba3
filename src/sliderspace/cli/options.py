"""What the verbs can be told: every option once, with its help."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

Folder = Annotated[Path, Argument(metavar="DIR", help="The folder of a run.")]
Prompts = Annotated[
    list[str] | None,
    Argument(metavar="PROMPT...", help="What to explore; several prompts describe one concept.", show_default=False),
]
Out = Annotated[Path, Option(help="The run folder. The same command again goes on where it stopped.")]
Json = Annotated[bool, Option("--json", help="Print the answer as JSON for a program.")]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:1, …")]
Batch = Annotated[int | None, Option(min=1, help="Images drawn at a time; changes nothing but speed and memory.")]
LaneCount = Annotated[
    int | None, Option("--lanes", min=1, help="Sliders trained at a time; changes nothing but speed and memory.")
]
Seeds = Annotated[str, Option(help="Seeds: 0-15, or 3,17,40-43.")]
StartStep = Annotated[int, Option(help="Let sliders act from this sampler step on; later keeps more of the structure.")]

Backbone = Annotated[
    str | None,
    Option(help="A preset (see `sliderspace backbones`), a Hub repository, or the folder of a diffusers pipeline."),
]
EncoderFolder = Annotated[
    str | None,
    Option(
        "--encoder", help="clip, dinov2, siglip, facenet, a Hub repository, or a folder; default: the preset's own."
    ),
]
Steps = Annotated[int | None, Option(help="Sampling steps.")]
Guidance = Annotated[float | None, Option(help="Classifier-free guidance; 1 is none.")]
Precision = Annotated[str | None, Option(help="auto, float32 or bfloat16.")]
Resolution = Annotated[int | None, Option(help="Pixels of an image's side; default: the model's own.")]
Decoder = Annotated[
    str | None,
    Option(
        help="auto: the preset's small decoder in discovery, the full one for pictures; full; or an AutoencoderTiny."
    ),
]
Quantize = Annotated[str | None, Option(help="The base model in 8bit or 4bit (needs the extra `quantize`); none.")]
Checkpointing = Annotated[
    bool, Option("--checkpointing", help="Recompute activations: a third slower, several times less memory.")
]
OwnPictures = Annotated[
    Path | None,
    Option("--images", metavar="FOLDER", help="Discover in pictures of your own, captions in .txt beside them."),
]
PromptFile = Annotated[
    Path | None,
    Option("--prompts", metavar="FILE", help="Prompts from a file: a line each, or a column of .csv or .jsonl."),
]
Expand = Annotated[str | None, Option(help="Make many prompts of one: templates, anthropic:MODEL or openai:MODEL.")]
Count = Annotated[int, Option("--expand-to", min=1, help="How many prompts an expansion makes.")]
BaseUrl = Annotated[
    str | None, Option(help="The server of an OpenAI-compatible model, such as http://localhost:11434/v1.")
]
DryRun = Annotated[
    bool, Option("--dry-run", help="Only say what would be done: layers, memory, disk and time. Fetches nothing.")
]
Memory = Annotated[
    float | None, Option(min=1, help="For --dry-run: plan for a card of so many GB; default: the one here, or 24.")
]
Seed = Annotated[int | None, Option(help="The run's seed: everything random follows from it.")]
Samples = Annotated[int | None, Option(help="Trajectories to decompose.")]
Embed = Annotated[
    str | None, Option(help="Which steps' previews to embed: all (published), final, or a list such as 3,5,7.")
]
Sliders = Annotated[int | None, Option(help="How many directions, and sliders.")]
Centring = Annotated[str | None, Option(help="step: PCA about each step's mean; all: about one mean (published).")]
Rotation = Annotated[
    str | None, Option(help="none: the axes of PCA (published); varimax: turned so that each moves less at once.")
]
Recipe = Annotated[
    str | None,
    Option(
        help="paper: the published method in every setting; default: ours. Options said beside it are stronger.",
        show_default=False,
    ),
]
Control = Annotated[
    str | None,
    Option(
        help="random, differences or images: axes that nothing found in place of PCA's, to see what a score is worth."
    ),
]
Rank = Annotated[int | None, Option(help="Rank of each slider.")]
Targets = Annotated[str | None, Option(help="Layers sliders act on: cross-kv (published), cross, attention, linear.")]
Up = Annotated[str | None, Option(help="Up-projection: trained, or frozen (published).")]
Objective = Annotated[
    str | None,
    Option(
        help="published: the cosine alone; sized: also holds the size of the move; customised: each slider learns "
        "an image."
    ),
]
Signs = Annotated[bool | None, Option("--both-signs/--one-sign", help="Train strength −1 toward −v as well.")]
Until = Annotated[
    float | None, Option(help="Share of the embedded steps trained on, noisiest first; 1: all (published).")
]
Updates = Annotated[int | None, Option(help="Optimiser steps; each moves every slider.")]
Hold = Annotated[
    float | None,
    Option(help="Weight of holding the other directions still, with --objective sized; 0: none (published)."),
]
Rate = Annotated[float | None, Option("--lr", help="Learning rate.")]
