"""A whole mix as one file: it draws in plain diffusers what `generate` draws, and is a slider when it comes back."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from support.spaces import SEEDS, Pipelines, close, drawn, load_adapters, make_space, ours

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Speed
from sliderspace.share.export import export, export_mix
from sliderspace.share.importing import import_space, load_files
from sliderspace.share.lora_files import load_file
from sliderspace.space.labels import rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.images import to_uint8
from sliderspace.storage.run_folder import RunFolder

MIX = {0: 0.7, 1: -1.5, 2: 1.2}


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return file.metadata()


@pytest.mark.parametrize("mix", [{1: -1.5}, MIX], ids=["one slider", "three sliders"])
def test_one_file_draws_the_mix_in_diffusers(
    space: SliderSpace, unet_pipeline: Pipelines, tmp_path: Path, mix: dict[int, float]
) -> None:
    pipe, path = unet_pipeline(), export_mix(space, tmp_path, mix)
    base = drawn(pipe)
    load_adapters(pipe, {0: path}, {0: 1.0})
    found = drawn(pipe)
    close(found, ours(space, mix))
    assert (found - base).abs().max() > 0.05
    people_see = space.generate(SEEDS, mix).astype(int)
    assert np.abs(to_uint8(found).numpy() - people_see).max() <= 1
    pipe.set_adapters(["s0"], [0.5])
    close(drawn(pipe), ours(space, {k: s / 2 for k, s in mix.items()}))


def test_its_rank_is_the_sum_of_the_sliders(space: SliderSpace, tmp_path: Path) -> None:
    rank = load_file(export(space, tmp_path, sliders=[0])[0]).rank
    assert load_file(export_mix(space, tmp_path, {0: 1, 2: -1, 1: 0.0})).rank == 2 * rank
    assert load_file(export_mix(space, tmp_path, MIX)).about.rank == 3 * rank


def test_it_comes_back_as_a_slider(space: SliderSpace, tmp_path: Path) -> None:
    """Alone, and beside the sliders that it is made of, whose numbers stay."""
    path = export_mix(space, tmp_path / "mix", MIX, name="evening")
    again = import_space(path, tmp_path / "again", backbone=space.settings.backbone)
    assert len(again) == 1 and again.labels[0].shown == "evening"
    due = space.generate(SEEDS, MIX).astype(int)
    assert np.abs(again.generate(SEEDS, {0: 1.0}) - due).max() <= 1
    export(space, tmp_path / "mix")
    export_mix(space, tmp_path / "mix", {0: 1.0, 1: 1.0})
    assert [file.about.index for file in load_files(tmp_path / "mix")] == [0, 1, 2, None, None]
    all_of_them = import_space(tmp_path / "mix", tmp_path / "all", backbone=space.settings.backbone)
    evening = [label.shown for label in all_of_them.labels].index("evening")
    assert np.abs(all_of_them.generate(SEEDS, {evening: 1.0}) - due).max() <= 1
    assert np.abs(all_of_them.generate(SEEDS, {1: -1.5}) - space.generate(SEEDS, {1: -1.5}).astype(int)).max() <= 1


def test_mixes_of_two_spaces_are_not_imported_together(space: SliderSpace, tmp_path: Path) -> None:
    ends = {
        name: (down.shape[2], space.values[name.replace(".down", ".up")].shape[1])
        for name, down in space.values.items()
        if name.endswith(".down")
    }
    layers = {name.removesuffix(".down"): torch.nn.Linear(*widths) for name, widths in ends.items()}
    other = make_space(tmp_path / "other", layers, identity="t", backbone=space.settings.backbone)
    export_mix(space, tmp_path / "mixes", MIX)
    export_mix(other, tmp_path / "mixes", {0: 1.0}, name="theirs")
    with pytest.raises(BadInput, match="different spaces"):
        load_files(tmp_path / "mixes")


def test_it_says_what_it_is_made_of(space: SliderSpace, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (2, 2, 32, 32, 3), dtype=np.uint8)
    path = export_mix(space, tmp_path, MIX, pictures=pictures)
    said, notes = metadata_of(path), json.loads(path.with_suffix(".json").read_text())
    assert "slider 0 +0.7, red hair −1.5, slider 2 +1.2" in said["modelspec.description"]
    assert said["modelspec.title"] == "mix of 3 sliders of “a robot”, 1.0 = the mix as it was made"
    assert json.loads(said["sliderspace"])["mix"] == {"0": 0.7, "1": -1.5, "2": 1.2}
    assert notes["preferred weight"] == 1.0 and notes["activation text"] == "a robot"
    assert said["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    with Image.open(path.with_suffix(".png")) as beside:
        assert beside.width == 2 * 32 + 2, "without and with"


def test_another_mix_is_another_file_and_the_same_one_the_same_bytes(space: SliderSpace, tmp_path: Path) -> None:
    own = dataclasses.replace(space, folder=Path(shutil.copytree(space.folder, tmp_path / "run")))
    one, two = export_mix(own, tmp_path, MIX), export_mix(own, tmp_path, {**MIX, 0: 0.8})
    assert one != two and "-mix-" in one.name and "00-red-hair-02" in one.name
    first = one.read_bytes()
    assert export_mix(own, tmp_path, dict(reversed(MIX.items()))) == one and one.read_bytes() == first
    rename(RunFolder(own.folder), {1: "x" * 60})
    assert len(export_mix(own, tmp_path, MIX).name) < 100
    export(own, tmp_path)
    assert one.exists(), "sliders do not take its place"


def test_names_that_differ_in_signs_alone_are_files_of_their_own(space: SliderSpace, tmp_path: Path) -> None:
    """So do names that are the same for forty characters; and each name finds its own file again."""
    names = ("horns +2", "horns -2", "horns", "x" * 40 + "1", "x" * 40 + "2")
    first = {name: export_mix(space, tmp_path, {0: 1.5}, name=name) for name in names}
    assert first["horns +2"].name == "a-robot--velocity-mix-horns-2.safetensors"
    assert len(set(first.values())) == len(names)
    again = {name: export_mix(space, tmp_path, {0: -1.0}, name=name) for name in names}
    assert again == first and set(tmp_path.glob("*.safetensors")) == set(first.values())
    for name, path in first.items():
        about = load_file(path).about
        assert about is not None and about.name == name and about.mix == {0: -1.0}
    first["horns +2"].unlink()
    assert export_mix(space, tmp_path, {0: 2.0}, name="horns -2") == first["horns -2"], "also where it was moved away"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/root/x", "<b>\u202e\n", "C:\\x", "  ", "x" * 10_000])
def test_a_name_cannot_leave_the_folder(space: SliderSpace, tmp_path: Path, name: str) -> None:
    path = export_mix(space, tmp_path / "out", MIX, name=name)
    assert path.parent == tmp_path / "out" and len(path.name) < 120
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert "\u202e" not in "".join(metadata_of(path).values())


@pytest.mark.parametrize("mix", [{}, {0: 0.0}, {3: 1.0}, {-1: 1.0}, {0: float("nan")}, {0: float("inf")}], ids=str)
def test_mixes_that_cannot_be(space: SliderSpace, tmp_path: Path, mix: dict[int, float]) -> None:
    with pytest.raises(BadInput):
        export_mix(space, tmp_path / "out", mix)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_stays(space: SliderSpace, tmp_path: Path) -> None:
    path = export_mix(space, tmp_path, MIX, name="evening")
    path.write_bytes(b"mine")
    with pytest.raises(BadInput, match="delete that file"):
        export_mix(space, tmp_path, MIX, name="evening")
    assert path.read_bytes() == b"mine"


def test_a_run_of_its_own_is_exported(finished: Path, tmp_path: Path) -> None:
    space = SliderSpace.load(finished, Speed(device="cpu"))
    about = load_file(export_mix(space, tmp_path, {0: 1.0, 2: -2.0})).about
    assert about is not None and about.direction is None and about.measures is None
    assert about.prompts == list(space.settings.prompts)
