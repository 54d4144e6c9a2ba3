"""`sliderspace evaluate` on a small real run, judged by the shipped judge: what it writes, what it prints, and when it
is stale."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.runs import go
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Speed
from sliderspace.engine import protocols
from sliderspace.engine.evaluation import Evaluation
from sliderspace.measure.protocols.composition import composition_of
from sliderspace.models.encoders import Encoder, find_encoder, load_encoder
from sliderspace.models.encoders.unloaded import encoder_identity

JUDGE = "asset:mini/judge"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> tuple[Path, str]:
    """A copy of the small run after `evaluate`, and what that printed."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("evaluated") / "run"))
    said = CliRunner().invoke(app, ["evaluate", str(folder), "--seeds", "4", "--judge", JUDGE, "--device", "cpu"])
    assert said.exit_code == 0, said.output
    return folder, said.stdout


@pytest.fixture(scope="module")
def found(evaluated: tuple[Path, str]) -> dict[str, Any]:
    return json.loads((evaluated[0] / "evaluation.json").read_text())


def test_everything_promised_is_there(found: dict[str, Any]) -> None:
    assert found["seeds"] == 4
    for view in found["views"].values():
        assert len(view["sliders"]) == len(view["leakage"]) == 3
        for key in ("alignment", "consistency", "monotone_share", "realism", "realism_2"):
            value = view["mean"][key]
            assert value["low"] <= value["value"] <= value["high"], key
    assert np.array(found["by_step"]["alignment"]).shape == (3, len(found["by_step"]["steps"]))
    assert len(found["side_effects"]["retained"]) == len(found["side_effects"]["additivity"]) == 3
    assert np.array(found["orthogonality"]).shape == (3, 3)
    assert set(found["controls"]["judge"]) == {"random directions", "image differences"}


def test_the_factor_table_is_the_judges(found: dict[str, Any]) -> None:
    told = found["factors"]
    assert {"style", "body", "ground"} <= set(told["names"])
    assert np.array(told["effects"]).shape == (3, len(told["names"]))
    assert set(told["mean"]) == {"gap", "disentanglement", "disentanglement_of_shares", "completeness"}
    assert abs(told["controls"]["unrelated images"]["gap"]) < 0.2
    assert set(told["informativeness"]) == set(told["mutual_information_gap"]) == set(told["names"])


def test_protocols_stand_beside_chance(found: dict[str, Any]) -> None:
    told = found["protocols"]
    for name in ("training", "judge"):
        for key, chance in (("pairs", 1 / 4), ("triples", 1 / 8)):
            success = told[name][key]
            assert success["mean"]["low"] <= success["mean"]["value"] <= success["mean"]["high"]
            assert success["chance"] == chance and len(success["each"]) == 3  # none of three sliders is off
        assert told[name]["evenness"]["chance"] == pytest.approx(np.sqrt(5 / 7))
        assert all(0 < each < np.sqrt(5) for each in told[name]["evenness"]["each"])
    assert told["stability"]["mean"]["value"] > told["stability"]["chance"]
    assert len(told["observability"]["each"]) == 3


def test_sliders_compose_and_turned_round_they_undo(finished: Path, tmp_path: Path, make_models: Any) -> None:
    """The same mixes at −1 unit: what moved its own way moves the other, so both at once is rarer than by chance."""
    models, seeds = make_models(Path(shutil.copytree(finished, tmp_path / "run"))), 128
    found = Evaluation(models, seeds)
    chosen_SRA = protocols.random_mixes(models, 2, seeds)
    base_S1D = found.viewer.base(found.seeds)["z"].numpy()[:, None]
    share: list[float] = []
    for sign in (1, -1):
        seen = protocols.mixed(found.viewer, chosen_SRA, sign * found.unit_K, found.seeds)
        delta_SRD = seen["z"].numpy().reshape(seeds, 1, -1) - base_S1D
        share.append(composition_of(delta_SRD, chosen_SRA, models.directions.components_KD).mean.value or 0.0)
    assert share[0] > 0.35 > 0.15 > share[1], share


def test_it_prints_both_views_and_where_the_report_is(evaluated: tuple[Path, str]) -> None:
    folder, said = evaluated
    assert "training encoder" in said and "judge" in said and "alignment" in said and "random" in said
    assert all(word in said for word in ("pairs that both move", "evenness", "stability", "observability", "chance"))
    assert str(folder / "report.html") in said.replace("\n", "")


def test_the_file_says_who_judged(found: dict[str, Any]) -> None:
    assert found["views"]["judge"]["encoder"] == encoder_identity(JUDGE)
    assert found["views"]["training"]["encoder"] not in ("", encoder_identity(JUDGE))


def test_the_training_encoder_is_no_judge(finished: Path, tmp_path: Path, make_models: Any) -> None:
    models = make_models(Path(shutil.copytree(finished, tmp_path / "run")))
    with pytest.raises(BadInput, match="another encoder than"):
        Evaluation(models, 4, models.encoder)


def test_without_a_judge_only_the_encoder_speaks(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    said = CliRunner().invoke(app, ["evaluate", str(folder), "--seeds", "4", "--device", "cpu", "--json"])
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert found["views"]["judge"] is None and found["factors"] is None and found["controls"]["judge"] is None


def test_an_unmeasured_folder_is_refused(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / "measures.json").unlink()
    said = CliRunner().invoke(app, ["evaluate", str(folder), "--device", "cpu"])
    assert said.exit_code == 2 and "sliderspace measure" in said.stderr and not (folder / "evaluation.json").exists()


def test_stopped_it_goes_on_at_the_slider_where_it_was(
    evaluated: tuple[Path, str], finished: Path, tmp_path: Path, make_models: Any
) -> None:
    models = make_models(Path(shutil.copytree(finished, tmp_path / "run")))
    judge = models.encoder_at(JUDGE)
    with models.run.open_for_writing():
        stopped = Evaluation(models, 4, judge)()
        while next(stopped).done < 4:
            pass
        stopped.close()
        made = {path: path.stat().st_mtime_ns for path in (models.run.unfinished.root / "evaluation").iterdir()}
        again = Evaluation(models, 4, judge)
        for record in again():
            if record.done < 5:
                assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    assert models.run.evaluation.read_bytes() == (evaluated[0] / "evaluation.json").read_bytes()


@pytest.mark.usefixtures("least_measured")
@pytest.mark.parametrize(("samples", "sliders"), [(4, 3), (3, 2)])
def test_a_run_of_few_samples_is_evaluated_too(tmp_path: Path, make_models: Any, samples: int, sliders: int) -> None:
    """Fewer images than two a slider: the controls draw pairs of them for each. Of three there are no two pairs."""
    models = make_models(tmp_path / "run", samples=samples, sliders=sliders, updates=1)
    go(models)
    with models.run.open_for_writing():
        list(Evaluation(models, 4, models.encoder_at(JUDGE))())
    assert models.run.evaluation.exists()


def test_a_device_that_holds_four_pictures_suffices(
    evaluated: tuple[Path, str], finished: Path, tmp_path: Path, make_models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = Speed(device="cpu", batch=4)
    models = make_models(Path(shutil.copytree(finished, tmp_path / "run")), speed=speed)
    whole = models.backbone.decode

    def decode(z_BCHW: torch.Tensor) -> torch.Tensor:
        if len(z_BCHW) > 4:
            raise torch.OutOfMemoryError
        return whole(z_BCHW)

    monkeypatch.setattr(models.backbone, "decode", decode)
    with models.run.open_for_writing():
        list(Evaluation(models, 4)())
    own, other = (json.loads((folder / "evaluation.json").read_text()) for folder in (models.run.root, evaluated[0]))
    np.testing.assert_allclose(own["by_step"]["alignment"], other["by_step"]["alignment"], atol=1e-4)


# ---- the judge as an encoder


@pytest.fixture(scope="module")
def judge() -> Encoder:
    return load_encoder(find_encoder(JUDGE), identity="judge", device=torch.device("cpu"), dtype=torch.float32)


def test_the_judge_is_an_encoder_that_names_factors(judge: Encoder) -> None:
    images = torch.rand(3, 3, 128, 128)
    z, factors = judge.described(images)
    torch.testing.assert_close(z, judge(images))
    assert z.shape == (3, judge.dim) and set(factors) == set(judge.classes)
    for name, p in factors.items():
        assert p.shape == (3, len(judge.classes[name]))
        torch.testing.assert_close(p.sum(1), torch.ones(3))
    assert judge.numbers and set(judge.numbers) < set(judge.classes)
    for name, steps in judge.numbers.items():
        assert len(steps) == len(judge.classes[name]) and list(steps) == sorted(set(steps))


def test_the_judge_knows_what_the_model_was_asked_for(judge: Encoder) -> None:
    """Real prompts, the shipped model: a judge that guessed would be right one time in ten."""
    from sliderspace.method.denoise import render
    from sliderspace.models.load import load_backbone

    backbone = load_backbone("mini", device="cpu")
    colours = ("blue", "pink", "yellow", "red")
    condition = backbone.encode([f"a bunny, {colour} background" for colour in colours])
    images = torch.cat(list(render(backbone, None, condition, list(range(8)), [i % 4 for i in range(8)])))
    _, factors = judge.described(images)
    said = [judge.classes["ground"][i] for i in factors["ground"].argmax(1).tolist()]
    assert sum(a == colours[i % 4] for i, a in enumerate(said)) >= 7
    assert [judge.classes["kind"][i] for i in factors["kind"].argmax(1).tolist()].count("bunny") >= 7


def test_other_encoders_name_nothing(encoder: Encoder) -> None:
    assert encoder.classes == {} and encoder.described(torch.rand(1, 3, 32, 32))[1] == {}


def test_pixels_are_an_encoder_without_weights() -> None:
    pixels = load_encoder(
        find_encoder("asset:pixels"), identity="pixels", device=torch.device("cpu"), dtype=torch.float32
    )
    z = pixels(torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)]))
    assert z.shape == (2, 768) and float(z[0] @ z[1]) == pytest.approx(-1)
