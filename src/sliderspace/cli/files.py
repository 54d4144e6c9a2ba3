"""The verbs that carry sliders in and out: LoRA files, and the Hub."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from sliderspace.cli import parsing
from sliderspace.cli.app import app
from sliderspace.cli.common import answer_with, guarded
from sliderspace.cli.options import Folder, Json

Repository = Annotated[str, Argument(metavar="OWNER/NAME", help="A repository of the Hugging Face Hub.")]


@app.command(epilog="Example: sliderspace export runs/person --format comfyui --sliders 0,3,7-9 --out loras")
def export(
    folder: Folder,
    format: Annotated[
        Literal["diffusers", "comfyui"], Option(help="diffusers: for load_lora_weights; comfyui: also A1111.")
    ] = "diffusers",
    sliders: Annotated[str | None, Option(help="Which sliders, such as 0,3,7-9; default: all.")] = None,
    unit: Annotated[float, Option(help="Natural units that a strength of 1.0 shall be.")] = 1.0,
    out: Annotated[Path | None, Option(help="Where the files go; default DIR/lora-<format>.")] = None,
    as_json: Json = False,
) -> None:
    """Write each slider as a LoRA file that other tools load, its natural unit baked in."""

    def body() -> None:
        from sliderspace.share import export as formats
        from sliderspace.space.space import SliderSpace

        chosen = None if sliders is None else parsing.seeds(sliders, "--sliders")
        target = out or folder / f"lora-{format}"
        paths = formats.export(SliderSpace.load(folder), target, format=format, sliders=chosen, unit=unit)
        answer_with(
            {"files": [str(p) for p in paths], "folder": str(target)}
            if as_json
            else {"files": len(paths), "folder": target},
            as_json,
        )

    guarded(body)


@app.command("import", epilog="Example: sliderspace import loras --out runs/person-again --backbone mini")
def import_(
    source: Annotated[
        Path, Argument(metavar="FOLDER", help="A folder of files that `export` wrote, of either format.")
    ],
    out: Annotated[Path, Option(help="The run folder to make.")],
    backbone: Annotated[str | None, Option(help="The base model, where it lies elsewhere on this machine.")] = None,
    as_json: Json = False,
) -> None:
    """Make a folder of exported LoRA files a space again: to draw with, sweep, export and share."""

    def body() -> None:
        from sliderspace.share.importing import import_space

        space = import_space(source, out, backbone=backbone)
        answer_with({"sliders": len(space), "folder": str(out)}, as_json)

    guarded(body)


@app.command(epilog="Example: sliderspace push runs/person jane/person-sliders --private")
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


@app.command(epilog="Example: sliderspace pull jane/person-sliders --out runs/person")
def pull(
    repository: Repository,
    out: Annotated[Path, Option(help="The run folder to fill.")],
    revision: Annotated[str | None, Option(help="A branch, tag or commit.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a space that somebody shared with `push`."""

    def body() -> None:
        from sliderspace.share import hub

        space = hub.pull(repository, out, revision=revision)
        answer_with({"sliders": len(space), "folder": str(out)}, as_json)

    guarded(body)
