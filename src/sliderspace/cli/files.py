"""The verbs that carry sliders in and out: LoRA files, and the Hub."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sliderspace.cli import parsing
from sliderspace.cli.app import app
from sliderspace.cli.common import answer_with, guarded
from sliderspace.cli.options import Folder, Json
from sliderspace.core.errors import BadInput

BaseModel = Annotated[
    str | None,
    Option("--backbone", help="The base model: a preset, a Hub repository, or its folder on this machine."),
]
Repository = Annotated[
    str,
    Argument(
        metavar="OWNER/NAME|URL",
        help="A repository of the Hugging Face Hub; or a folder of an object store, such as s3://bucket/monster.",
    ),
]
BaseLora = Annotated[
    str | None, Option("--lora", help="The LoRA under the base model, FILE or FILE:STRENGTH, where there was one.")
]


@app.command(epilog="Example: sliderspace export runs/monster --sliders 0,3,7-9 --out ~/ComfyUI/models/loras")
def export(
    folder: Folder,
    sliders: Annotated[str | None, Option(help="Which sliders, such as 0,3,7-9; default: all.")] = None,
    set_: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="SLIDER=UNITS",
            help="Instead: a slider of a mix that goes into one file, and its strength there; repeat for more.",
        ),
    ] = None,
    name: Annotated[str, Option(help="The name of that mix.")] = "",
    unit: Annotated[float, Option(help="Natural units that a strength of 1.0 shall be.")] = 1.0,
    out: Annotated[Path | None, Option(help="Where the files go; default DIR/lora.")] = None,
    as_json: Json = False,
) -> None:
    """Write each slider as a LoRA file that diffusers, ComfyUI, A1111 and Forge load, its natural unit baked in, with
    a picture and notes for their menus beside it; or with --set a whole mix as one such file."""

    def body() -> None:
        from sliderspace.share import export as files
        from sliderspace.share.modelspec import ONLY_DIFFUSERS
        from sliderspace.space.space import SliderSpace

        chosen = None if sliders is None else parsing.seeds(sliders, "--sliders")
        mix, target = parsing.strengths(set_ or []), out or folder / "lora"
        if (mix and (chosen is not None or unit != 1)) or (name and not mix):
            raise BadInput("--set and --name write one file of a whole mix: leave out --sliders and --unit, or those")
        space = SliderSpace.load(folder)
        if mix:
            paths = [files.export_mix(space, target, mix, name=name)]
        else:
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


@app.command("import", epilog="Example: sliderspace import loras --out runs/monster-again --backbone mini-turbo")
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
    login` first. To a URL of an object store (fsspec) the whole run is copied, to go on elsewhere."""

    def body() -> None:
        from sliderspace.share import hub, stores

        if stores.is_url(repository):
            if private or licence or base_model:
                raise BadInput("--private, --licence and --base-model are for the Hub: leave them out")
            answer_with({"address": repository, "files": stores.push(folder, repository)}, as_json)
            return
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
    """Fetch a space, or a whole run, that was shared with `push`."""

    def body() -> None:
        from sliderspace.share import hub, places, stores

        if stores.is_url(repository):
            if backbone or lora or revision:
                raise BadInput("--backbone, --lora and --revision are for the Hub: leave them out")
            answer_with({"files": stores.pull(repository, out), "folder": str(out)}, as_json)
            return
        space = hub.pull(repository, out, backbone=backbone, lora=lora, revision=revision)
        if note := places.note_on(space.settings):
            typer.echo(note, err=True)
        answer_with({"sliders": len(space), "folder": str(out)}, as_json)

    guarded(body)
