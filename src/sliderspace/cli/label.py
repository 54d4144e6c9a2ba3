"""The verb that names sliders."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from sliderspace.cli import parsing
from sliderspace.cli.app import verb
from sliderspace.cli.common import answer_with, guarded, speed_of
from sliderspace.cli.options import DRAWING, Folder, Json
from sliderspace.core.errors import BadInput

if TYPE_CHECKING:
    from sliderspace.engine.progress import Progress
    from sliderspace.space.space import SliderSpace


@verb(
    *DRAWING,
    epilog='Example: sliderspace label runs/person --name 3="red hair"',
)
def label(
    folder: Folder,
    by: Annotated[
        str | None,
        Option(
            help="Who finds the names: vocabulary, which needs no service and is the default; anthropic:MODEL or "
            "openai:MODEL, a model that sees pictures."
        ),
    ] = None,
    base_url: Annotated[
        str | None, Option(help="The server of an OpenAI-compatible model, such as http://localhost:11434/v1.")
    ] = None,
    words: Annotated[
        Path | None, Option(metavar="FILE", help="A vocabulary of your own: a phrase a line, `#` begins a comment.")
    ] = None,
    name: Annotated[
        list[str] | None,
        Option(
            metavar="SLIDER=NAME",
            help="Name a slider yourself, which no later naming changes; an empty name takes it back. Repeat for more.",
        ),
    ] = None,
    again: Annotated[bool, Option("--again", help="Ask a service again what it has answered before.")] = False,
    as_json: Json = False,
    **speed: Any,
) -> None:
    """Name the sliders of a finished space, test whether the names hold, and write them into the report. Names that are
    unsure stand in parentheses.

    Offline: `sliderspace label DIR`. By a service: `sliderspace label DIR --by anthropic:MODEL`, or `--by openai:MODEL
    --base-url http://localhost:11434/v1`."""

    def body() -> None:
        from sliderspace.cli.tables import print_labels
        from sliderspace.engine.bars import watch
        from sliderspace.report.from_run import report_run
        from sliderspace.space.labels import labels_of, rename
        from sliderspace.space.space import SliderSpace
        from sliderspace.storage.run_folder import RunFolder

        run, own = RunFolder(folder), parsing.names(name or [])
        service = {"base_url": base_url, "words": words, "again": again}
        if own and by is None and any(service.values()):
            raise BadInput("--name alone asks nobody: leave the other options out, or say --by too")
        if own:
            rename(run, own)
        if by is not None or not own:
            watch(_named(SliderSpace.load(folder, speed_of(**speed)), by or "vocabulary", service), quiet=as_json)
        if run.report.exists():
            report_run(run)
        found = labels_of(run).sliders
        if as_json:
            answer_with({"sliders": [label.plain() for label in found]}, True)
        else:
            print_labels(found)

    guarded(body)


def _named(space: "SliderSpace", by: str, service: dict[str, Any]) -> "Iterator[Progress]":
    from sliderspace.engine.progress import Progress
    from sliderspace.label.naming import name_sliders

    for done, note in name_sliders(space, by, **service):
        yield Progress("label", done, len(space), note)
