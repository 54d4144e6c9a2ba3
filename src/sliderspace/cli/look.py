"""The verbs that look: at a run folder, and at the models known."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from sliderspace.cli.app import app
from sliderspace.cli.common import answer_with, guarded
from sliderspace.cli.options import Folder, Json


@app.command(epilog="Example: sliderspace info runs/monster --json")
def info(folder: Folder, as_json: Json = False) -> None:
    """Say what a run folder holds: the concept, the model, how far it got, and its sliders with their measures. Of a
    folder of runs, a line about each."""

    def body() -> None:
        from sliderspace.cli.tables import print_overview, print_run
        from sliderspace.engine.overview import overview
        from sliderspace.engine.status import describe_run
        from sliderspace.storage.run_folder import RunFolder

        if not RunFolder(folder).is_ours() and (rows := overview(folder)):
            answer_with({"runs": [row.plain() for row in rows]}, True) if as_json else print_overview(rows)
            return
        status = describe_run(folder)
        answer_with(status.plain(), True) if as_json else print_run(status)

    guarded(body)


@app.command(epilog="Example: sliderspace report runs/monster")
def report(folder: Folder, as_json: Json = False) -> None:
    """Write report.html of a finished run again."""

    def body() -> None:
        from sliderspace.report.from_run import report_run
        from sliderspace.storage.run_folder import RunFolder

        answer_with({"report": str(report_run(RunFolder(folder)))}, as_json)

    guarded(body)


@app.command(epilog="Example: sliderspace gallery runs")
def gallery(
    folder: Annotated[Path, Argument(metavar="DIR", help="The folder that the run folders are in.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Write gallery.html: one page of all runs in a folder, with links to their reports."""

    def body() -> None:
        from sliderspace.report.gallery import write_gallery

        page, shown, listed = write_gallery(folder)
        answer_with({"gallery": str(page), "runs": shown, "unshown": listed}, as_json)

    guarded(body)


@app.command(epilog="Example: sliderspace backbones")
def backbones(as_json: Json = False) -> None:
    """List the models known by name: what each can draw, with prompts to try."""

    def body() -> None:
        from sliderspace.models.backbones import PRESETS

        if as_json:
            answer_with(
                {
                    p.name: {"knows": p.knows, "examples": list(p.examples), "steps": p.steps, "expected": p.expected}
                    for p in PRESETS.values()
                },
                True,
            )
            return
        for preset in PRESETS.values():
            typer.echo(
                f"{preset.name}: {preset.knows}; {preset.steps} steps\n  try: "
                + "\n       ".join(f'"{e}"' for e in preset.examples)
            )
            typer.echo(f"  {preset.expected}" if preset.expected else "")

    guarded(body)
