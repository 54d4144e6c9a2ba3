"""The verbs that measure."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from sliderspace.cli import parsing
from sliderspace.cli.app import verb
from sliderspace.cli.common import answer_with, guarded, speed_of
from sliderspace.cli.options import DRAWING, Folder, Json


@verb(*DRAWING, epilog="Example: sliderspace evaluate runs/monster --seeds 32")
def evaluate(
    folder: Folder,
    seeds: Annotated[int, Option(min=4, max=100_000, help="Seeds to draw, used for nothing else before.")] = 32,
    judge: Annotated[
        str | None,
        Option(
            help="An encoder that judges in place of the model's own judge: clip, dinov2, siglip, a repository, or "
            "a folder."
        ),
    ] = None,
    as_json: Json = False,
    **speed: Any,
) -> None:
    """Measure a finished space thoroughly: every control measure with 95 % intervals, by step, several sliders at once,
    true factors."""

    def body() -> None:
        from sliderspace.cli.tables import print_evaluation
        from sliderspace.engine.bars import watch
        from sliderspace.engine.begin import discovered_settings
        from sliderspace.engine.evaluation import Evaluation
        from sliderspace.engine.models import Models
        from sliderspace.measure import results
        from sliderspace.report.from_run import report_run
        from sliderspace.storage.run_folder import RunFolder

        run = RunFolder(folder)
        run.check_exists()
        with run.open_for_writing():
            models = Models(discovered_settings(run), speed_of(**speed), run)
            asked = Evaluation(models, seeds, models.encoder_at(judge) if judge else None)
            watch(asked(), quiet=as_json)
            report = report_run(run)
            found = results.Evaluation.read(run.evaluation)
        answer_with(found.model_dump(mode="json"), True) if as_json else print_evaluation(found)
        answer_with({"report": str(report)}, False) if not as_json else None

    guarded(body)


@verb(
    *DRAWING,
    "lanes",
    epilog="Example: sliderspace study centring rank --out runs/study --seeds 0-2 --write docs/studies",
)
def study(
    questions: Annotated[
        list[str] | None,
        Argument(metavar="QUESTION...", help="What to ask; none lists the questions, `all` asks them all."),
    ] = None,
    out: Annotated[
        Path, Option(help="Where the discoveries go. The same command again goes on where it stopped.")
    ] = Path("runs/study"),
    seeds: Annotated[str, Option(help="Run seeds: 0-2, or 0,5.")] = "0",
    backbone: Annotated[str, Option(help="The model to ask; its preset should have a judge.")] = "mini-turbo",
    write: Annotated[
        Path | None, Option(help="Write tables and plots of what is measured so far here, and run nothing.")
    ] = None,
    as_json: Json = False,
    **chosen: Any,
) -> None:
    """Compare settings over run seeds, with everything else equal: the questions behind the defaults."""

    def body() -> None:
        from sliderspace.engine.bars import watch
        from sliderspace.experiments.studies import study as grid
        from sliderspace.experiments.studies import tables, variance
        from sliderspace.experiments.studies.questions import QUESTIONS, question

        if not questions:
            answer_with({name: q.asks for name, q in QUESTIONS.items()}, as_json)
            return
        asked = [question(name) for name in (QUESTIONS if questions == ["all"] else questions)]
        listed = parsing.seeds(seeds)
        speed = speed_of(**chosen)
        for q in asked:
            if write is None:
                watch(grid.run_cells(grid.cells(q, listed, backbone), out, speed), quiet=as_json)
                continue
            runs = [found for cell in grid.cells(q, listed, backbone) if (found := grid.measured(cell, out, speed))]
            told = (
                variance.answer(runs)
                if q.by_slider and runs
                else tables.answer(q, grid.rows(q, listed, backbone, out, speed))
            )
            again = f"sliderspace study {q.name} --backbone {backbone} --out {out} --seeds {seeds}"
            typer.echo(tables.write_page(q, told, again, write), err=True)
        if as_json:
            answer_with({q.name: grid.rows(q, listed, backbone, out, speed) for q in asked}, True)

    guarded(body)
