"""The verbs that draw with a finished space."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from sliderspace.cli import parsing
from sliderspace.cli.app import verb
from sliderspace.cli.common import answer_with, guarded, speed_of
from sliderspace.cli.options import DRAWING, EndStep, Folder, Json, OtherModel, Seeds, StartStep
from sliderspace.core.errors import BadInput

if TYPE_CHECKING:
    from sliderspace.space.space import SliderSpace


@verb(*DRAWING, epilog="Example: sliderspace generate runs/monster --set 3=1.5 --set 7=-2 --seeds 0-15")
def generate(
    folder: Folder,
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="SLIDER=UNITS", help="A slider and its strength in natural units; repeat for more."),
    ] = None,
    seeds: Seeds = "0-15",
    prompt: Annotated[str | None, Option(help="Another prompt than the one discovered on.")] = None,
    backbone: OtherModel = None,
    mix: Annotated[int, Option(min=0, help="Instead of --set: this many random sliders an image, at ±1 unit.")] = 0,
    start_step: StartStep = 0,
    end_step: EndStep = None,
    out: Annotated[Path | None, Option(help="Where the images go; default DIR/generated.")] = None,
    as_json: Json = False,
    **speed: Any,
) -> None:
    """Draw images with sliders set: one PNG a seed, and all in one grid.png."""

    def body() -> None:
        from sliderspace.space.space import SliderSpace
        from sliderspace.storage.images import grid, save_png, writable

        listed = parsing.seeds(seeds)
        strengths = parsing.strengths(set_ or [])
        if mix and strengths:
            raise BadInput("--mix chooses the sliders itself: leave out --set, or --mix")
        space = _on(SliderSpace.load(folder, speed_of(**speed)), backbone)
        images = (
            space.mix(listed, active=mix, prompt=prompt, start_step=start_step, end_step=end_step)
            if mix
            else space.generate(listed, strengths, prompt=prompt, start_step=start_step, end_step=end_step)
        )
        target = writable(out or folder / "generated")
        for seed, image in zip(listed, images, strict=True):
            save_png(target / f"{seed:06d}.png", image)
        save_png(target / "grid.png", grid(images, max(4, round(len(images) ** 0.5))))
        answer_with({"images": len(set(listed)), "folder": str(target), "grid": str(target / "grid.png")}, as_json)

    guarded(body)


@verb(*DRAWING, epilog="Example: sliderspace sweep runs/monster 3 --seeds 0-7 --scales=-3,-1,0,1,3")
def sweep(
    folder: Folder,
    slider: Annotated[int, Argument(help="Which slider.")],
    seeds: Seeds = "0-3",
    scales: Annotated[str, Option(help="Strengths in natural units.")] = "-3,-2,-1,0,1,2,3",
    prompt: Annotated[str | None, Option(help="Another prompt than the one discovered on.")] = None,
    backbone: OtherModel = None,
    start_step: StartStep = 0,
    end_step: EndStep = None,
    out: Annotated[Path | None, Option(help="The PNG to write; default DIR/sweep-NN.png.")] = None,
    as_json: Json = False,
    **speed: Any,
) -> None:
    """Draw one slider over a range of strengths: a row a seed, a column a strength."""

    def body() -> None:
        from sliderspace.space.space import SliderSpace
        from sliderspace.storage.images import labelled_strip, save_png, scale_label, writable

        values = [parsing.number(v, "--scales") for v in scales.split(",")]
        listed = parsing.seeds(seeds)
        space = _on(SliderSpace.load(folder, speed_of(**speed)), backbone)
        images = space.sweep(slider, listed, values, prompt=prompt, start_step=start_step, end_step=end_step)
        path = out or folder / f"sweep-{slider:02d}.png"
        writable(path.parent)
        save_png(path, labelled_strip(images, [scale_label(v) for v in values], [str(s) for s in listed]))
        answer_with({"image": str(path), "scales": values}, as_json)

    guarded(body)


def _on(space: "SliderSpace", backbone: str | None) -> "SliderSpace":
    return space.on(backbone) if backbone else space
