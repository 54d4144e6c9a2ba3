"""What `info` says of a folder: every stage by what its file was made from, while it is redone and after."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sliderspace.core.errors import DamagedFile
from sliderspace.engine import local
from sliderspace.engine.begin import begin
from sliderspace.engine.models import Models
from sliderspace.engine.status import describe_run, is_measured
from sliderspace.measure.results import Evaluation
from sliderspace.storage.files import load_json, save_json, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

MakeModels = Callable[..., Models]
STAGES = ("sample", "fit", "train", "measure", "evaluate", "report")


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def states(folder: Path) -> dict[str, str]:
    return dict(describe_run(folder).stages)


def test_of_a_finished_run_all_is_done_and_measured(finished: Path) -> None:
    status = describe_run(finished)
    assert status.stages == dict.fromkeys(STAGES, "done") | {"evaluate": "missing"}
    assert status.measures and not status.earlier and status.changed == ()
    plain = status.plain()
    measured = json.loads((finished / "measures.json").read_text())
    assert (
        all(plain[key] == measured[key] for key in ("sliders", "mean", "leakage", "sizes")) and "earlier" not in plain
    )
    json.dumps(plain, allow_nan=False)


def test_during_a_redo_each_part_is_of_the_settings_it_was_made_with(copied: Path, make_models: MakeModels) -> None:
    """Other settings of sampling, stage by stage: what is old is said to be, and is never mixed with what is new."""
    older = "of other settings"
    asked = make_models(copied, seed=5, updates=3)
    with asked.run.open_for_writing():
        models, _ = begin(asked.settings, asked.speed, asked.run)
        assert states(copied) == dict.fromkeys(STAGES, older) | {"evaluate": "missing"}
        for done, stage in enumerate((local.sample, local.fit, local.train), start=1):
            status = describe_run(copied)
            assert status.measures and status.earlier, "the old space is whole until the new one is"
            assert status.changed == ("seed: 0 → 5", "updates: 15 → 3")
            earlier = status.plain()["earlier"]
            assert isinstance(earlier, dict) and len(earlier["sliders"]) == 3 and "sliders" not in status.plain()
            list(stage(models))
            assert list(states(copied).values())[:4] == ["done"] * done + [older] * (4 - done)
        list(local.measure(models))
    assert states(copied) == dict.fromkeys(STAGES, "done") | {"evaluate": "missing", "report": older}


def test_a_change_of_training_alone_leaves_sampling_and_fit_done(copied: Path, make_models: MakeModels) -> None:
    asked = make_models(copied, updates=7)
    with asked.run.open_for_writing():
        begin(asked.settings, asked.speed, asked.run)
    assert list(states(copied).values())[:4] == ["done", "done", "of other settings", "of other settings"]


def test_what_is_missing_is_said_to_be(copied: Path) -> None:
    run = RunFolder(copied)
    sorted(run.trajectories.iterdir())[-1].unlink()
    for path in (run.sliders, run.report):
        path.unlink()
    found = states(copied)
    assert (found["sample"], found["fit"], found["train"], found["report"]) == ("missing", "done", "missing", "missing")
    assert found["measure"] == "of other settings" and not is_measured(run), "it has no sliders to belong to"


def test_trajectories_of_two_settings_are_no_sampling(copied: Path, make_models: MakeModels) -> None:
    asked = make_models(copied, seed=5)
    with asked.run.open_for_writing():
        models, _ = begin(asked.settings, asked.speed, asked.run)
        stage = local.sample(models)
        while next(stage).done == 0:
            pass
        stage.close()
    assert states(copied)["sample"] == "of other settings"


def test_what_other_programs_leave_beside_trajectories_counts_for_nothing(copied: Path) -> None:
    """As a folder that is kept the same on two machines collects copies."""
    shutil.copy(copied / "trajectories/000000.safetensors", copied / "trajectories/000000 (conflict).safetensors")
    shutil.copy(copied / "sliders.safetensors", copied / "trajectories/000128.safetensors")
    (copied / "trajectories/._000000.safetensors").write_bytes(b"what a Mac keeps beside a file")
    assert states(copied)["sample"] == "done"


def test_an_evaluation_is_of_the_measures_it_names(copied: Path) -> None:
    run = RunFolder(copied)
    view = {"encoder": "", "sliders": [], "mean": {}, "leakage": []}
    by_step = {"steps": [], "alignment": [], "consistency": []}
    about = {"by_step": by_step, "side_effects": {"active": 1, "retained": [], "additivity": []}, "orthogonality": []}
    more = {"views": {"training": view, "judge": None}, "controls": {"training": {}, "judge": None}, "factors": None}
    for made_from, state in ((stored_fingerprint(run.measures), "done"), ("older", "of other settings")):
        Evaluation.model_validate(about | more | {"seeds": 4, "made_from": made_from}).write(run.evaluation, "f")
        assert states(copied)["evaluate"] == state


@pytest.mark.parametrize("name", ["measures", "space"])
def test_valid_json_with_wrong_contents_is_damage(copied: Path, name: str) -> None:
    path = copied / f"{name}.json"
    wrong = load_json(path, kind=name) | {"sliders": [[1], 2]}
    save_json(path, wrong, kind=name, fingerprint=str(stored_fingerprint(path)))
    with pytest.raises(DamagedFile, match=name):
        describe_run(copied)


def test_an_imported_space_is_fitted_and_trained(copied: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    from sliderspace.share.export import export
    from sliderspace.share.importing import import_space
    from sliderspace.space import SliderSpace

    export(SliderSpace.load(copied), tmp_path / "loras")
    import_space(tmp_path / "loras", tmp_path / "imported", backbone=small["backbone"])
    assert list(states(tmp_path / "imported").values()) == ["missing", "done", "done", *["missing"] * 3]
    own, imported = (SliderSpace.load(folder).settings for folder in (copied, tmp_path / "imported"))
    assert imported.model_copy(update={"encoder": own.encoder}) == own, "files name no folders"
