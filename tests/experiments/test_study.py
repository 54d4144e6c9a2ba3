"""A study on a toy model: the grid, what its cells share, going on where it stopped, and the page with the answer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from filelock import FileLock
from support.runs import measured_least
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput
from sliderspace.core.recipes import PAPER
from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine.begin import space_settings
from sliderspace.engine.models import Models
from sliderspace.engine.stages import is_measured
from sliderspace.experiments import oracle
from sliderspace.experiments.paper.pictures import Shared
from sliderspace.experiments.studies import study, tables, variance
from sliderspace.experiments.studies.questions import QUESTIONS, Question, Variant, question
from sliderspace.measure.results import Measures
from sliderspace.storage.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("least_measured")


@pytest.fixture(scope="session")
def asked(small: dict[str, Any]) -> Question:
    base = {**small, "samples": 20, "updates": 2, "sliders": 2}
    return Question("rank", "Is rank 1 enough?", (Variant("1", {}), Variant("2", {"rank": 2})), number=True, base=base)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, asked: Question) -> Path:
    """A finished study of two variants and one seed."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        measured_least(patch)
        list(study.run_cells(cells_of(asked), out, Speed(device="cpu")))
    return out


def cells_of(asked: Question, seeds: tuple[int, ...] = (0,)) -> list[study.Cell]:
    return study.cells(asked, seeds, str(asked.base["backbone"]))


def times(out: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(out.rglob("*")) if p.is_file() and not p.name.startswith(".")}


def test_every_question_asks_what_can_be_run() -> None:
    for q in QUESTIONS.values():
        made = study.cells(q, [0, 1], "mini")
        assert len(made) == 2 * len(q.variants) and len({v.label for v in q.variants}) == len(q.variants)
        assert len({cell.folder(Path("x")).root for cell in made}) == len(made), (
            f"two variants of {q.name} are the same run"
        )
        if q.number:
            assert all(float(v.label) > 0 for v in q.variants)


def test_the_published_recipe_is_among_the_questions_and_whole() -> None:
    papers = [c.settings for c in study.cells(question("recipe"), [0], "mini") if c.variant.label.endswith("paper")]
    assert len(papers) == 3
    assert all(getattr(s, key) == value for s in papers for key, value in PAPER.items())


def test_questions_share_the_runs_they_have_in_common() -> None:
    default = {
        c.folder(Path("x")).root
        for name in ("centring", "rank", "objective")
        for c in study.cells(question(name), [0], "mini-turbo")
        if c.settings == settings_from({**QUESTIONS["rank"].base, "seed": 0})
    }
    assert len(default) == 1


def test_a_study_stores_equal_trajectories_once_and_goes_on_where_it_stopped(done: Path, asked: Question) -> None:
    folders = [c.folder(done) for c in cells_of(asked)]
    assert len({f.trajectories.resolve() for f in folders}) == 1 and all(f.trajectories.is_symlink() for f in folders)
    before = times(done)
    list(study.run_cells(cells_of(asked), done, Speed(device="cpu")))
    assert times(done) == before
    folders[1].measures.unlink()
    list(study.run_cells(cells_of(asked), done, Speed(device="cpu")))
    changed = {Path(p).relative_to(done).parts[1] for p, t in times(done).items() if before.get(p) != t}
    assert changed == {folders[1].root.name}


def test_what_another_process_holds_is_left_to_it(tmp_path: Path, asked: Question) -> None:
    first = cells_of(asked)[:1]
    with first[0].folder(tmp_path).open_for_writing():
        list(study.run_cells(first, tmp_path, Speed(device="cpu")))
    assert study.row(first[0], tmp_path) is None


def test_of_two_processes_one_samples_and_the_other_waits(tmp_path: Path, asked: Question) -> None:
    """Sampling at once, each would put its files in the place of the other's, which reads them: to it they are
    damaged."""
    cell, speed = cells_of(asked)[0], Speed(device="cpu")
    common = tmp_path / "trajectories" / Models(cell.settings, speed, cell.folder(tmp_path)).prints.drawn[:16]
    common.parent.mkdir()
    with FileLock(common.with_suffix(".lock")):  # as one that samples holds it
        other = Thread(target=lambda: list(study.run_cells([cell], tmp_path, speed)))
        other.start()
        while not common.exists():
            assert other.is_alive()
        other.join(timeout=1.5)
        assert other.is_alive() and not any(common.iterdir())
    other.join()
    assert any(common.iterdir()) and study.row(cell, tmp_path) is not None


def test_measures_of_other_settings_are_no_result(tmp_path: Path, done: Path, asked: Question) -> None:
    out = Path(shutil.copytree(done, tmp_path / "study", symlinks=True))
    first, second = cells_of(asked)
    assert study.row(first, out) is not None
    for name in ("measures.json", "space.json"):
        shutil.copy(second.folder(out).root / name, first.folder(out).root / name)
    assert study.row(first, out) is None


def test_what_is_measured_is_found_on_a_machine_of_another_precision(
    tmp_path: Path, asked: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` became float32 where it was made, and is bfloat16 here."""
    (cell,) = cells_of(replace(asked, variants=asked.variants[:1], base={**asked.base, "precision": "auto"}))
    monkeypatch.setattr("sliderspace.models.device.computes_bf16", lambda device: False)
    list(study.run_cells([cell], tmp_path, Speed(device="cpu")))
    (tmp_path / "runs").symlink_to(tmp_path / "cells")
    monkeypatch.setattr("sliderspace.models.device.computes_bf16", lambda device: True)
    assert study.row(cell, tmp_path, Speed(device="cpu")) is not None
    shared = Shared(tmp_path, Speed(device="cpu"), "", "")
    assert is_measured(shared.run(cell.settings))


def test_rows_are_the_measures_of_the_cells(done: Path, asked: Question) -> None:
    found = study.rows(asked, [0], str(asked.base["backbone"]), done)
    measured = json.loads((cells_of(asked)[1].folder(done).root / "measures.json").read_text())
    assert found["2"][0]["alignment"] == measured["mean"]["alignment"] and set(found) == {"1", "2"}
    assert study.rows(asked, [5], str(asked.base["backbone"]), done) == {"1": [], "2": []}


def test_variants_are_compared_on_the_seeds_they_share(tmp_path: Path, done: Path, asked: Question) -> None:
    """A second seed of one variant alone says nothing yet; a variant that is not begun does not empty the others."""
    out, model = Path(shutil.copytree(done, tmp_path / "study", symlinks=True)), str(asked.base["backbone"])
    list(study.run_cells(cells_of(asked, (1,))[:1], out, Speed(device="cpu")))
    assert {label: len(r) for label, r in study.rows(asked, [0, 1], model, out).items()} == {"1": 1, "2": 1}
    assert {label: len(r) for label, r in study.rows(asked, [1], model, out).items()} == {"1": 1, "2": 0}


def test_the_page_has_table_plot_and_command_and_keeps_what_people_wrote(tmp_path: Path, asked: Question) -> None:
    rows = {"1": [{"alignment": 0.1}, {"alignment": 0.3}], "2": [{"alignment": 0.5}]}
    page = tables.write_page(asked, tables.answer(asked, rows), "sliderspace study rank", tmp_path)
    said = page.read_text()
    assert (
        "0.200 ± 0.141" in said
        and "`sliderspace study rank`" in said
        and (tmp_path / "rank.png").read_bytes().startswith(b"\x89PNG")
    )
    page.write_text(said.replace(tables.ADVICE, "**Advice.** Rank 1.") + "\nMore by hand.\n")
    tables.write_page(
        asked, tables.answer(asked, {**rows, "2": [{"alignment": 0.7}]}), "sliderspace study rank", tmp_path
    )
    said = page.read_text()
    assert (
        "**Advice.** Rank 1." in said and said.endswith("More by hand.\n") and "0.700" in said and "0.500" not in said
    )


def test_nothing_measured_makes_no_page(tmp_path: Path, asked: Question) -> None:
    with pytest.raises(BadInput, match="nothing is measured"):
        tables.answer(asked, {"1": [], "2": []})
    wrong = CliRunner().invoke(
        app, ["study", "rank", "--out", str(tmp_path / "none"), "--write", str(tmp_path / "docs")]
    )
    assert wrong.exit_code == 2 and not (tmp_path / "docs").exists()


def test_the_variance_question_correlates_within_runs() -> None:
    """Planted: alignment falls with the variance in one run, rises in the other, the factor gap always rises."""

    def run(sign: int) -> Measures:
        scores = {"monotone_share": 0.5, "consistency": 0.1, "selectivity": 1.0}
        rows = [{"explained_variance_ratio": 0.2 / (k + 1), "alignment": sign * k, **scores} for k in range(6)]
        table = [[0.0] * 6] * 6
        factors = {"names": ["hair"], "effects": [[k] for k in range(6)], "becomes": [[None]] * 6, "own_sliders": 0}
        return Measures.model_validate(
            {
                "sliders": rows,
                "mean": {},
                "leakage": table,
                "judge": {"encoder": "j", "sliders": rows, "mean": {}, "leakage": table},
                "factors": factors | {"gap": [6 - k for k in range(6)], "mean": {}, "single_factor": 0},
            }
        )

    told, drawn = variance.answer([run(1), run(-1)])
    said = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in told.splitlines()[2:]}
    assert (
        said["alignment"] == "+0.00" and said["factor gap"] == "+1.00" and said["largest effect on a factor"] == "-1.00"
    )
    assert said["monotone share"] == "+0.00" and drawn.startswith(b"\x89PNG")


def test_the_command_lists_and_refuses() -> None:
    listed = CliRunner().invoke(app, ["study", "--json"])
    assert list(json.loads(listed.stdout)) == list(QUESTIONS)
    wrong = CliRunner().invoke(app, ["study", "nonsense"])
    assert wrong.exit_code == 2 and "choose among" in wrong.stderr


def test_a_recipe_is_a_set_of_settings_and_options_beside_it_are_stronger(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    from sliderspace.cli.common import settings_of

    said = {
        "prompts": list(small["prompts"]),
        "updates": 7,
        "lr": None,
        "until": None,
        "objective": None,
        "targets": None,
    }
    values = {**small, **said, "recipe": "paper"}
    chosen = settings_of(values, RunFolder(tmp_path))
    assert chosen.updates == 7 and chosen.objective == "published" and not chosen.both_signs
    assert chosen.until == 1.0 and chosen.lr == PAPER["lr"]
    with pytest.raises(BadInput, match="no recipe"):
        settings_of({**values, "recipe": "best"}, RunFolder(tmp_path))


def test_the_yardsticks_are_measures_of_a_run(finished: Path) -> None:
    run = RunFolder(finished)
    models = Models(space_settings(run), Speed(device="cpu"), run)
    picking = oracle.picking(models)
    assert picking["pool"] == models.settings.samples and 0 < picking["random"] < picking["best_of_pool"] <= 1
    eyes = oracle.eyes_of(models)
    asking = oracle.asking(models, eyes, (" x", "y"))
    assert [oracle.said_of("a robot", words) for words in asking] == ["a robot x", "a y robot", "a mean robot"]
    assert set(asking) == {" x", "y", "mean"} and all(-1 <= m["consistency"] <= 1 for m in asking.values())
    assert eyes.realism(eyes.own_ND) > 0.5 and eyes.realism(eyes.own_ND + 9) == 0
    waiting = oracle.waiting(models, eyes, 64)
    assert 64 * models.settings.sliders > waiting["images"][1] > waiting["images"][2] >= waiting["images"][3]
    assert waiting["realism"].keys() == {unit for unit, count in waiting["images"].items() if count}
    assert 0.5 < waiting["realism"][1] < 1.5
