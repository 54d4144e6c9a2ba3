"""`sliderspace concept`: named sliders in a run folder like any other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import measured_least
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.concepts.pairs import pairs_of
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Pair
from sliderspace.share.importing import import_space
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import load_tensors


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def asked(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished space of two pairs: one typed, one from a file."""
    root = tmp_path_factory.mktemp("asked")
    (root / "pairs.csv").write_text("Name,plus,minus\nblueness,{} blue,\n")
    model = [f"--{k}={small[k]}" for k in ("backbone", "encoder", "steps", "guidance", "precision", "targets")]
    with pytest.MonkeyPatch.context() as patch:
        measured_least(patch)
        told = call(
            *("concept", "red", "zz", "--pairs", root / "pairs.csv", "--prompt", "a robot", "--out", root / "run"),
            *(*model, "--samples=12", "--updates=20", "--lr=2e-2", "--device=cpu"),
        )
    assert told.exit_code == 0, f"{told.output}\n{told.exception!r}"
    return root / "run"


def test_the_space_has_names_units_measures_and_a_report(asked: Path) -> None:
    labels = json.loads((asked / "labels.json").read_text())
    assert [label["name"] for label in labels["sliders"]] == ["red", "blueness"]
    space = json.loads((asked / "space.json").read_text())
    assert all(entry["unit"] > 0 for entry in space["sliders"]) and not space["imported"]
    assert space["settings"]["rank"] == 4 and space["settings"]["pairs"][1]["plus"] == "{} blue"
    assert "blueness" in (asked / "report.html").read_text()
    assert len(json.loads((asked / "measures.json").read_text())["sliders"]) == 2
    held = load_tensors(asked / "sliders.safetensors", kind="sliders")[1]["history"]
    assert held[-1][-1] > 0.1, "cosine with the move asked for; 0 is nothing learned"


def test_it_draws_and_is_carried_elsewhere_and_back(asked: Path, tmp_path: Path) -> None:
    space = SliderSpace.load(asked)
    moved = space.generate([3, 4], {0: 3.0}).astype(int)
    assert np.abs(moved - space.generate([3, 4])).max() > 2
    assert call("export", asked, "--out", tmp_path / "lora").exit_code == 0
    assert any("blueness" in path.name for path in (tmp_path / "lora").iterdir())
    again = import_space(tmp_path / "lora", tmp_path / "again", backbone=space.settings.backbone)
    assert np.abs(again.generate([3, 4], {0: 3.0}).astype(int) - moved).max() <= 1


def test_the_same_folder_goes_on_without_the_words(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_least(monkeypatch)
    before = (asked / "sliders.safetensors").stat().st_mtime_ns
    told = call("concept", "--out", asked, "--json")
    assert told.exit_code == 0, told.output
    assert (asked / "sliders.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["red"], "two for each slider"),
        (["red", "red", "--prompt", "a robot"], "two different texts"),
        (["red", "blue"], "--prompt: say what"),
        (["--prompt", "a robot"], "two texts for each slider"),
    ],
)
def test_what_is_no_pair_is_said(words: list[str], why: str, tmp_path: Path) -> None:
    told = call(
        "concept",
        *words,
        *([] if "--prompt" in words or len(words) == 2 else ["--prompt", "a robot"]),
        "--out",
        tmp_path / "x",
    )
    assert told.exit_code == 2 and why in " ".join(told.output.split()) and not (tmp_path / "x").exists()


def test_a_plan_counts_the_pictures_of_each_pair_and_three_predictions_a_target(tmp_path: Path) -> None:
    def hours(*words: str) -> dict[str, float]:
        told = call(
            *("concept", *words, "--prompt", "a toy", "--backbone=sdxl", "--dry-run", "--json"),
            *("--updates=100", "--memory=24", "--out", tmp_path / "x"),
        )
        return json.loads(told.stdout)["hours"]

    one, two, three = (hours(*pairs) for pairs in (("a", ""), ("a", "", "b", ""), ("a", "", "b", "", "c", "")))
    assert two["train"] == pytest.approx(2 * one["train"]) and one["train"] > 0
    assert (
        two["sample"] - one["sample"] == pytest.approx(three["sample"] - two["sample"])
        and two["sample"] > one["sample"]
    )


def test_pairs_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"plus": "old", "minus": "young", "name": "age"}\n\n{"plus": "tall"}\n')
    assert pairs_of(["a", "b"], tmp_path / "p.jsonl") == (
        Pair(plus="a", minus="b"), Pair(plus="old", minus="young", name="age"), Pair(plus="tall")
    )  # fmt: skip
    for name, text in (("p.csv", "plus,minus\n"), ("q.jsonl", "[1]\n"), ("r.txt", "old\n"), ("s.csv", "minus\nold\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInput):
            pairs_of([], tmp_path / name)
