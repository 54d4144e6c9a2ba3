"""The verbs that carry sliders in and out: LoRA files, and the Hub."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sliderspace.cli import parsing
from sliderspace.cli.app import app
from sliderspace.cli.common import answer_with, guarded
from sliderspace.cli.options import Folder, Json

BaseModel = Annotated[
    str | None,
    Option("--backbone", help="The base model: a preset, a Hub repository, or its folder on this machine."),
]
BaseLora = Annotated[
    str | None, Option("--lora", help="The LoRA under the base model, FILE or FILE:STRENGTH, where there was one.")
]
Repository = Annotated[str, Argument(metavar="OWNER/NAME", help="A repository of the Hugging Face Hub.")]


@app.command(epilog="Example: sliderspace export runs/monster --sliders 0,3,7-9 --out ~/ComfyUI/models/loras")
def export(
    folder: Folder,
    sliders: Annotated[str | None, Option(help="Which sliders, such as 0,3,7-9; default: all.")] = None,
    unit: Annotated[float, Option(help="Natural units that a strength of 1.0 shall be.")] = 1.0,
    out: Annotated[Path | None, Option(help="Where the files go; default DIR/lora.")] = None,
    as_json: Json = False,
) -> None:
    """Write each slider as a LoRA file that diffusers, ComfyUI, A1111 and Forge load, its natural unit baked in, with
    a picture and notes for their menus beside it."""

    def body() -> None:
        from sliderspace.share import export as files
        from sliderspace.share.modelspec import ONLY_DIFFUSERS
        from sliderspace.space.space import SliderSpace

        chosen = None if sliders is None else parsing.seeds(sliders, "--sliders")
        target = out or folder / "lora"
        space = SliderSpace.load(folder)
        paths = files.export(space, target, sliders=chosen, unit=unit)
        if not files.known_as(space).elsewhere:
            typer.echo(ONLY_DIFFUSERS, err=True)
        answer_with(
            {"files": [str(p) for p in paths], "folder": str(target)}
            if as_json
            else {"files": len(paths), "folder": target},
            as_json,
        )

    guarded(body)


@app.command("import", epilog="Example: sliderspace import loras --out runs/monster-again --backbone mini")
def import_(
    source: Annotated[
        Path, Argument(metavar="PATH", help="A LoRA file, or a folder of them: from `export`, or of other origin.")
    ],
    out: Annotated[Path, Option(help="The run folder to make.")],
    backbone: BaseModel = None,
    lora: BaseLora = None,
    prompt: Annotated[str | None, Option(help="What to draw, where no file says it.")] = None,
    as_json: Json = False,
) -> None:
    """Make LoRA files a space again: to draw with, sweep, export and share."""

    def body() -> None:
        from sliderspace.share.importing import load_files, make_space, notes_on

        files = load_files(source)
        space = make_space(files, out, backbone=backbone, lora=lora, prompt=prompt)
        for note in notes_on(files, space.settings):
            typer.echo(note, err=True)
        answer_with({"sliders": len(space), "folder": str(out)}, as_json)

    guarded(body)


@app.command(epilog="Example: sliderspace push runs/monster jane/monster-sliders --private")
def push(
    folder: Folder,
    repository: Repository,
    private: Annotated[bool, Option("--private", help="Only you can see it.")] = False,
    licence: Annotated[str, Option(help="Named on the card; default: that of the base model, where it is known.")] = "",
    base_model: Annotated[str, Option(help="The base model's Hub repository, named on the card.")] = "",
    as_json: Json = False,
) -> None:
    """Share a space on the Hub: the run, its LoRA files, and a card that shows every slider. Log in with `hf auth
    login` first."""

    def body() -> None:
        from sliderspace.share import hub

        answer_with(
            {"address": hub.push(folder, repository, private=private, licence=licence, base_model=base_model)}, as_json
        )

    guarded(body)


@app.command(epilog="Example: sliderspace pull jane/monster-sliders --out runs/monster")
def pull(
    repository: Repository,
    out: Annotated[Path, Option(help="The run folder to fill.")],
    backbone: BaseModel = None,
    lora: BaseLora = None,
    revision: Annotated[str | None, Option(help="A branch, tag or commit.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a space that somebody shared with `push`."""

    def body() -> None:
        from sliderspace.share import hub, places

        space = hub.pull(repository, out, backbone=backbone, lora=lora, revision=revision)
        if note := places.note_on(space.settings):
            typer.echo(note, err=True)
        answer_with({"sliders": len(space), "folder": str(out)}, as_json)

    guarded(body)
