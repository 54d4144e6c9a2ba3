"""What is stored of measuring comes back as it was, and what it cannot hold is refused in two lines."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Settings
from sliderspace.measure.results import Evaluation, MadeFrom, Measures, SpaceEntry, SpaceFile, Stored
from sliderspace.storage.files import load_json, save_json, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

SCORES = {"alignment": 0.5, "consistency": 0.25, "selectivity": float("inf"), "own_direction_largest": True}
INTERVALS = {"alignment": {"value": 0.5, "low": 0.25, "high": None}}
TABLE = [[0.5, None], [0.0, 1.0]]
FACTORS: dict[str, Any] = {
    "names": ["hair"], "effects": [[0.5], [None]], "becomes": [[["none", "red"]], [None]], "gap": [0.5, None],
    "mean": {"gap": 0.5}, "own_sliders": 1, "single_factor": 1,
}  # fmt: skip
TOLD: dict[str, Any] = {"informativeness": {"hair": 0.5}, "mutual_information_gap": {"hair": None}}
VIEW: dict[str, Any] = {
    "encoder": "e",
    "sliders": [{"index": k, **INTERVALS} for k in range(2)],
    "mean": INTERVALS,
    "leakage": TABLE,
}
WHOLE: dict[type[Stored], dict[str, Any]] = {
    Measures: {
        "sliders": [{"index": k, **SCORES, "unit": 0.5, "unit_reached": True, "span": [-2, 3]} for k in range(2)],
        "mean": SCORES | {"own_direction_largest": 0.5, "effective_rank": 2.0}, "leakage": TABLE, "sizes": [1, 2.5], "seeds": 16,
        "encoder": "e", "realism_encoder": "j", "factors": FACTORS,
        "judge": {"encoder": "j", "sliders": [SCORES, SCORES], "mean": SCORES, "leakage": TABLE},
    },
    Evaluation: {
        "seeds": 8, "views": {"training": VIEW, "judge": VIEW}, "orthogonality": TABLE,
        "by_step": {"steps": [0, 3], "alignment": TABLE, "consistency": TABLE},
        "side_effects": {"active": 2, "retained": [1.0, None], "additivity": [0.5, 0.5]},
        "controls": {"training": {"random": {"alignment": 0.0}}, "judge": None}, "made_from": "f",
        "factors": FACTORS | TOLD | {"mean": {"gap": {"value": 0.5}}, "controls": {"pairs": {"gap": 0.0}}, "told_by_random_directions": TOLD},
    },
    SpaceFile: {
        "made_from": {"directions": "d", "sliders": "s"}, "settings": Settings(prompts=("a robot",)).model_dump(),
        "sliders": [{"index": 0, "name": None, "unit": 0.5}, {"index": 1, "name": "a hat", "unit": 2, "measures": SCORES}],
    },
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.__name__)


@KINDS
def test_what_is_written_comes_back(kind: type[Stored], tmp_path: Path) -> None:
    path, whole = tmp_path / "a.json", kind.model_validate(WHOLE[kind])
    whole.write(path, "f")
    assert kind.read(path) == whole and stored_fingerprint(path) == "f"
    kind.read(path).write(tmp_path / "b.json", "f")
    assert (tmp_path / "b.json").read_bytes() == path.read_bytes()


@KINDS
def test_keys_of_later_versions_are_passed_over(kind: type[Stored], tmp_path: Path) -> None:
    later = WHOLE[kind] | {"of_a_later_version": [1]}
    save_json(tmp_path / "a.json", later, kind=kind.kind, fingerprint="f")
    assert kind.read(tmp_path / "a.json") == kind.model_validate(WHOLE[kind])


def test_a_number_without_a_value_is_none_and_null(tmp_path: Path) -> None:
    values = copy.deepcopy(WHOLE[Measures])
    values["mean"] |= {
        "alignment": np.float64("nan"),
        "realism": -np.inf,
        "consistency": np.float32(0.5),
        "unit": 10**400,
    }
    found = Measures.model_validate(values)
    assert (found.mean.alignment, found.mean.realism, found.mean.consistency, found.mean.unit) == (
        None,
        None,
        0.5,
        None,
    )
    found.write(tmp_path / "a.json", "f")
    assert json.loads((tmp_path / "a.json").read_text())["mean"]["alignment"] is None
    assert found.sliders[0].own_direction_largest is True and found.mean.own_direction_largest == 0.5


def places(values: Any, *path: str | int) -> list[tuple[str | int, ...]]:
    """The paths of all that lies in some JSON."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [path, *(place for key, value in inner for place in places(value, *path, key))]


def spoiled(values: dict[str, Any], place: tuple[str | int, ...], wrong: Any) -> dict[str, Any]:
    """The same with another value in one place."""
    whole: Any = copy.deepcopy(values)
    part = whole
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = wrong
    return whole


@KINDS
@hypothesis.settings(max_examples=150, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wrong_contents_are_damage_and_never_a_traceback(
    kind: type[Stored], tmp_path: Path, data: st.DataObject
) -> None:
    """Any value of JSON in any place: the file reads, or says what is wrong with it and what to do, in two lines."""
    values = json.loads(json.dumps(kind.model_validate(WHOLE[kind]).model_dump(mode="json")))
    json_value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    )
    place = data.draw(st.sampled_from(places(values)[1:]))
    stamp = {"format": "sliderspace/1", "kind": kind.kind, "fingerprint": "f"}
    (tmp_path / "a.json").write_text(json.dumps(stamp | spoiled(values, place, data.draw(json_value))))
    said = ""
    try:
        kind.read(tmp_path / "a.json")
    except DamagedFile as error:
        said = str(error)
    assert not said or (len(said.splitlines()) == 2 and "a.json" in said)


WRONG: list[tuple[type[Stored], tuple[str | int, ...], Any]] = [
    (Measures, ("sliders",), None),
    (Measures, ("sliders", 0, "alignment"), "0.5"),
    (Measures, ("sliders", 0, "alignment"), True),
    (Measures, ("sizes",), [None]),
    (Measures, ("leakage",), [[0.5]]),
    (Measures, ("judge", "leakage"), [[0.5, 0.5]]),
    (Measures, ("factors", "effects"), [[0.5]]),
    (Evaluation, ("views", "training", "sliders"), []),
    (Evaluation, ("by_step", "steps"), [0]),
    (Evaluation, ("orthogonality",), [[1.0]]),
    (SpaceFile, ("sliders", 0, "unit"), None),
    (SpaceFile, ("sliders", 0, "unit"), "one"),
    (SpaceFile, ("sliders", 1), "a hat"),
    (SpaceFile, ("made_from", "sliders"), None),
    (SpaceFile, ("settings", "sliders"), 0),
]


@pytest.mark.parametrize(("kind", "place", "wrong"), WRONG, ids=str)
def test_each_of_these_is_refused_by_name(
    kind: type[Stored], place: tuple[str | int, ...], wrong: Any, tmp_path: Path
) -> None:
    save_json(
        tmp_path / "a.json",
        spoiled(kind.model_validate(WHOLE[kind]).model_dump(mode="json"), place, wrong),
        kind=kind.kind,
        fingerprint="f",
    )
    with pytest.raises(DamagedFile, match=str(place[0])):
        kind.read(tmp_path / "a.json")


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no"):
        Measures.read(tmp_path / "measures.json")


# ---- what a space is made of


def test_a_space_knows_the_files_that_are_not_of_it(finished: Path, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(finished, tmp_path / "run"))
    space = SpaceFile.read(run.space)
    assert space.foreign(run) == []
    run.strips.unlink()
    save_json(run.measures, load_json(run.measures, kind="measures"), kind="measures", fingerprint="other")
    assert space.foreign(run) == [run.measures], "what is missing is not of another space"


def test_a_space_names_what_is_asked_for_in_place_of_its_settings() -> None:
    settings = Settings(prompts=("a robot",))
    space = SpaceFile(made_from=MadeFrom(directions="", sliders=""), settings=settings, sliders=(SpaceEntry(unit=1.0),))
    assert space.changed(settings) == ()
    assert space.changed(settings.model_copy(update={"updates": 7, "seed": 1})) == ("seed: 0 → 1", "updates: 200 → 7")
