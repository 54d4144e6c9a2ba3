"""What `fit` tells of directions before anything is trained for them, and what halves of the trajectories say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.runs import go
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.engine import local, protocols, seen
from sliderspace.engine.models import Models
from sliderspace.measure.protocols.observability import observability
from sliderspace.measure.protocols.records import Observability

MakeModels = Callable[..., Models]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


# ---- observability


def test_fit_says_how_its_directions_show_in_previews(finished: Path, make_models: MakeModels) -> None:
    models = make_models(finished)
    found = Observability.read(models.run.observability)
    z = models.seen.z_NTD.double().numpy()
    expected = observability(z @ models.directions.components_KD.T)
    assert found.found.each == pytest.approx(tuple(expected))
    assert found.steps == (0, 1) and len(found.by_step) == 2
    assert found.found.chance is not None and found.found.chance < min(expected)  # previews tell of their own image


def test_info_shows_it_before_training(copied: Path, make_models: MakeModels, tmp_path: Path) -> None:
    models = make_models(tmp_path / "fitted")
    shutil.copytree(copied / "trajectories", tmp_path / "fitted" / "trajectories")
    (tmp_path / "fitted" / ".sliderspace.lock").touch()
    go(models, local.fit)
    said = CliRunner().invoke(app, ["info", str(tmp_path / "fitted")])
    assert said.exit_code == 0 and "observability of the directions" in said.stdout, said.output
    told = json.loads(CliRunner().invoke(app, ["info", str(tmp_path / "fitted"), "--json"]).stdout)
    kept = Observability.read(copied / "observability.json")
    assert Observability.model_validate(told["observability"]) == kept


def test_a_redo_of_training_keeps_it_and_one_of_fitting_does_not(copied: Path, make_models: MakeModels) -> None:
    before = (copied / "observability.json").read_bytes()
    go(make_models(copied, updates=3), local.fit)
    assert not (copied / "unfinished" / "observability.json").exists()
    assert (copied / "observability.json").read_bytes() == before
    told = json.loads(CliRunner().invoke(app, ["info", str(copied), "--json"]).stdout)
    assert len(told["observability"]["found"]["each"]) == 3
    go(make_models(copied, sliders=2), local.fit)
    told = json.loads(CliRunner().invoke(app, ["info", str(copied), "--json"]).stdout)
    assert len(told["observability"]["found"]["each"]) == 2


def test_a_whole_run_that_lacks_it_gets_it_beside_its_directions(copied: Path, make_models: MakeModels) -> None:
    before = (copied / "observability.json").read_bytes()
    (copied / "observability.json").unlink()
    go(make_models(copied))
    assert (copied / "observability.json").read_bytes() == before and not (copied / "unfinished").exists()


def test_of_finished_images_alone_there_is_none(tmp_path: Path, make_models: MakeModels) -> None:
    models = make_models(tmp_path / "run", embed="final", samples=8)
    go(models, lambda m: local.run(m, ["sample", "fit"]))
    assert seen.observability(models) is None
    assert not list(tmp_path.rglob("observability.json"))


# ---- stability


def test_axes_of_halves_agree_more_than_turned_ones(finished: Path, make_models: MakeModels) -> None:
    models = make_models(finished)
    found = protocols.stability(models)
    assert found is not None and len(found.each) == 3
    assert found.mean.value is not None and found.chance is not None and found.mean.value > found.chance
    assert found == protocols.stability(make_models(finished)), "it follows from the run's seed"


def test_halves_have_no_image_in_common(finished: Path, make_models: MakeModels) -> None:
    """As many as there are, each once: the whole's scatter is that of the halves."""
    models = make_models(finished)
    for first, second in protocols.halves(len(models.seen), models.settings.seed):
        assert sorted([*first, *second]) == list(range(130)) and abs(len(first) - len(second)) <= 1
        assert not np.intersect1d(first, second).size


def test_axes_that_nobody_fitted_and_halves_too_small_have_none(tmp_path: Path, make_models: MakeModels) -> None:
    assert protocols.stability(make_models(tmp_path / "controls", control="random")) is None
    few = make_models(tmp_path / "few", samples=4, sliders=3)
    go(few, lambda m: local.run(m, ["sample", "fit"]))
    assert protocols.stability(few) is None
