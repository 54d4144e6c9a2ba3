"""Folders of settings by their full paths; names and repositories as they are."""

from pathlib import Path

import pytest

from sliderspace.core.errors import BadInput
from sliderspace.models.here import FOLDERS, with_whole_places


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipe", "mini", "clip", "jane/model"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "paint.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("typed", ["pipe", "./pipe", "~/pipe", Path("pipe"), "jane/model", Path("mini")])
def test_a_folder_is_told_by_its_full_path(typed: str | Path, tmp_path: Path) -> None:
    whole = str(tmp_path.resolve() / str(typed).removeprefix("~/"))
    for name in FOLDERS:
        assert with_whole_places({name: typed, "seed": 3}) == {name: whole, "seed": 3}


@pytest.mark.parametrize("typed", ["mini", "someone/else", "sdxl", "", "nowhere", 5, None])
def test_all_else_stays_as_it_is(typed: object) -> None:
    assert with_whole_places({"backbone": typed}) == {"backbone": typed}


def test_a_name_of_another_setting_is_a_folder_where_there_is_one(tmp_path: Path) -> None:
    assert with_whole_places({"encoder": "clip", "decoder": "clip"}) == {
        "encoder": "clip",
        "decoder": str(tmp_path.resolve() / "clip"),
    }


def test_a_lora_keeps_its_strength(tmp_path: Path) -> None:
    whole = str(tmp_path.resolve() / "paint.safetensors")
    for typed in ("paint.safetensors:0.8", Path("paint.safetensors:0.8")):
        assert with_whole_places({"lora": typed}) == {"lora": f"{whole}:0.8"}
    assert with_whole_places({"lora": "none:0.8"}) == {"lora": "none:0.8"}


def test_a_path_is_no_name_also_where_nothing_is(tmp_path: Path) -> None:
    assert with_whole_places({"backbone": Path("gone/model")}) == {"backbone": str(tmp_path.resolve() / "gone/model")}


def test_what_can_be_neither_is_told_by_the_users_name_for_it() -> None:
    with pytest.raises(BadInput, match=r"^--lora: 'aaa"):
        with_whole_places({"lora": "a" * 300}, lambda name: f"--{name}")
