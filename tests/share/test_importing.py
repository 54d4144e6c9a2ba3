"""LoRA files as a space: ours come back as they were, others as sliders that draw what diffusers draws with them."""

import dataclasses
import itertools
import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from support.spaces import DIM
from support.tiny import Tiny

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Pair
from sliderspace.share.export import export, export_mix
from sliderspace.share.importing import import_space, load_files
from sliderspace.share.lora_files import load_file
from sliderspace.space.space import SliderSpace

# ---- there and back


@pytest.mark.parametrize("unit", [1.0, 2.5])
def test_an_imported_space_is_the_one_that_was_exported(space: SliderSpace, tmp_path: Path, unit: float) -> None:
    export(space, tmp_path / "files", unit=unit)
    again = import_space(tmp_path / "files", tmp_path / "run", backbone=space.settings.backbone)
    assert again.settings == space.settings and again.values.keys() == space.values.keys()
    for name, value in space.values.items():
        effect = (
            again.values[name]
            if name.endswith(".down")
            else again.values[name] * torch.from_numpy(again.units_K)[:, None, None]
        )
        expected = value if name.endswith(".down") else value * torch.from_numpy(space.units_K)[:, None, None]
        torch.testing.assert_close(effect.float(), expected.float(), rtol=1e-6, atol=0)
    d, e = again.directions, space.directions
    assert np.array_equal(d.components_KD, e.components_KD) and np.array_equal(d.sigma_TK, e.sigma_TK)
    z = np.random.default_rng(1).normal(size=(5, DIM))
    for step in (None, [0, 1, 1, 0, 1]):
        np.testing.assert_allclose(d.project(z, step), e.project(z, step), atol=1e-12)
    assert d.describe() == e.describe() and again.describe()["prompts"] == space.describe()["prompts"]
    assert np.abs(again.generate([3], {1: 1.2}).astype(int) - space.generate([3], {1: 1.2})).max() <= 1


def test_directions_at_any_angle_keep_their_means(space: SliderSpace, tmp_path: Path) -> None:
    """Rows asked for in words: two of them lean on each other, and in the last folder two are the same."""
    rows_KD, there = space.directions.components_KD, space.settings.backbone
    for name, second in (("leaning", rows_KD[0] + rows_KD[1]), ("the same", rows_KD[0])):
        axes_KD = np.stack([rows_KD[0], second / np.linalg.norm(second), rows_KD[2]])
        asked = dataclasses.replace(space, directions=dataclasses.replace(space.directions, components_KD=axes_KD))
        export(asked, tmp_path / name)
        d = import_space(tmp_path / name, tmp_path / f"{name} again", backbone=there).directions
        assert np.array_equal(d.components_KD, axes_KD)
        np.testing.assert_allclose(d.step_share_K, asked.directions.step_share_K, rtol=1e-12)
        z = np.random.default_rng(1).normal(size=(5, DIM))
        for step in (None, [0, 1, 1, 0, 1]):
            np.testing.assert_allclose(d.project(z, step), asked.directions.project(z, step), atol=1e-12)


def test_sliders_asked_for_in_words_keep_their_words(space: SliderSpace, tmp_path: Path) -> None:
    """Those that are here, and where each has some; with a mix of them, or with other files, there are none."""
    pairs = tuple(Pair(plus=word, minus="plain") for word in ("red", "tall", "old"))
    update = {"pairs": pairs, "objective": "concept", "eta": 2.0}
    asked = dataclasses.replace(space, settings=space.settings.model_copy(update=update))
    there = {"backbone": space.settings.backbone}
    export(asked, tmp_path / "files", sliders=[0, 2])
    some = import_space(tmp_path / "files", tmp_path / "some", **there)
    assert some.settings.pairs == pairs[::2] and some.settings.eta == 2.0
    export(some, tmp_path / "last", sliders=[1])
    assert import_space(tmp_path / "last", tmp_path / "again", **there).settings.pairs == pairs[2:]
    export_mix(asked, tmp_path / "files", {1: 1.0})
    mixed = import_space(tmp_path / "files", tmp_path / "mixed", **there)
    assert mixed.settings.pairs == () and mixed.settings.objective == "sized" and mixed.directions is None


def test_the_side_files_of_macos_are_no_sliders(space: SliderSpace, tmp_path: Path) -> None:
    [path] = export(space, tmp_path, sliders=[0])
    path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert [file.path for file in load_files(tmp_path)] == [path]


def test_import_of_an_import_and_of_some(space: SliderSpace, tmp_path: Path) -> None:
    """Sliders 2 and 0 alone become 0 and 1 in their old order, names and measures stay, and a second export says the
    same."""
    export(space, tmp_path / "files", sliders=[2, 1])
    there = {"backbone": space.settings.backbone}
    some = import_space(tmp_path / "files", tmp_path / "run", **there)
    assert len(some) == 2 and np.array_equal(some.directions.components_KD, space.directions.components_KD[1:])
    assert np.abs(some.generate([3], {0: 1.0}).astype(int) - space.generate([3], {1: 1.0})).max() <= 1
    again = [load_file(path) for path in export(some, tmp_path / "again")]
    assert [file.about.name for file in again] == ["red hair", None]
    assert len(import_space(tmp_path / "again", tmp_path / "third")) == 2
    assert len(import_space(tmp_path / "files", tmp_path / "run", **there)) == 2, (
        "the same files into the same folder change nothing"
    )


def test_only_imported_sliders_have_no_directions(space: SliderSpace, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(space.folder, tmp_path / "run"))
    stored = json.loads((folder / "space.json").read_text())
    for imported in (True, False):
        told = {**stored, "made_from": {**stored["made_from"], "directions": None}, "imported": imported}
        (folder / "space.json").write_text(json.dumps(told))
        if imported:
            assert SliderSpace.load(folder).directions is None
        else:
            with pytest.raises(DamagedFile, match=r"made_from\.directions"):
                SliderSpace.load(folder)


# ---- files of the first version, which no later program may refuse


def safetensors_bytes(values: Mapping[str, list[list[float]]], metadata: Mapping[str, str]) -> bytes:
    """The format by its own description, so that this file does not follow what the package writes."""
    header: dict[str, Any] = {"__metadata__": metadata}
    data = b""
    for name, rows in values.items():
        flat = [number for row in rows for number in row]
        packed = struct.pack(f"<{len(flat)}f", *flat)
        header[name] = {
            "dtype": "F32",
            "shape": [len(rows), len(rows[0])],
            "data_offsets": [len(data), len(data) + len(packed)],
        }
        data += packed
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
VERSION_1: dict[str, Any] = {  # never to be edited: people have such files
    "format": "sliderspace-lora/1",
    "package": "0.1.0",
    "space": "5c1f",
    "index": 4,
    "name": "smile",
    "base_model": "mini",
    "prompts": ["a portrait"],
    "encoder": "abc",
    "explained_variance_ratio": 0.25,
    "unit": 2.0,
    "rank": 1,
    "targets": "cross-kv",
    "component": "unet",
    "layout": "diffusers",
    "layers": [LAYER],
    "measures": {"alignment": 0.5},
    "settings": {
        "prompts": ["a portrait"],
        "backbone": "mini",
        "samples": 100,
        "sliders": 8,
        "rank": 1,
        "targets": "cross-kv",
        "a_setting_that_was_dropped": 1,
    },
    "direction": {
        "vector": "AAAAAAAA8D8AAAAAAAAAAA==",
        "mean_T": [0.5],
        "sigma_T": [0.125],
        "explained_variance": 0.5,
        "explained_variance_ratio": 0.25,
        "total_variance": 2.0,
        "step_share": 0.0,
        "centring": "all",
        "encoder": "abc",
        "count": 100,
        "trajectories": 100,
        "step_indices": [7],
    },
}
KEYS = {  # the first version wrote either
    "diffusers": (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"),
    "comfyui": (
        f"lora_unet_{LAYER.replace('.', '_')}.lora_down.weight",
        f"lora_unet_{LAYER.replace('.', '_')}.lora_up.weight",
    ),
}


def write_version_1(path: Path, **changed: Any) -> Path:
    about = {**VERSION_1, **changed}
    down, up = KEYS[about["layout"]]
    path.write_bytes(
        safetensors_bytes({down: [[1, 2, 3]], up: [[4], [8]]}, {"format": "pt", "sliderspace": json.dumps(about)})
    )
    return path


@pytest.mark.parametrize("layout", KEYS)
def test_the_first_version_stays_readable(tmp_path: Path, layout: str) -> None:
    write_version_1(tmp_path / "a.safetensors", layout=layout, a_key_of_later="x")
    [file] = load_files(tmp_path)
    assert (
        file.down[LAYER].tolist() == [[1, 2, 3]]
        and file.up[LAYER].tolist() == [[4], [8]]
        and file.about.name == "smile"
    )
    space = import_space(tmp_path, tmp_path / "run")
    assert space.settings.prompts == ("a portrait",) and space.settings.samples == 100 and len(space) == 1
    assert space.units_K.tolist() == [0.5] and space.directions.components_KD.tolist() == [[1, 0]]
    assert space.values[f"{LAYER}.up"].tolist() == [[[4], [8]]] and space.directions.mean_TD.tolist() == [[0.5, 0]]


# ---- what cannot be used says so


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"format": "sliderspace-lora/2", "package": "9.0"}, BadInput, "newer sliderspace .9.0."),
        ({"unit": 0}, DamagedFile, "damaged"),
        ({"direction": {}}, DamagedFile, "damaged"),
        ({"unit": float("inf")}, DamagedFile, "damaged"),
        ({"measures": {"alignment": "high"}}, DamagedFile, "damaged"),
        ({"index": "x"}, DamagedFile, "damaged"),
    ],
    ids=str,
)
def test_metadata_that_cannot_be_used(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    path = tmp_path / "a.safetensors"
    write_version_1(path, **changed)
    with pytest.raises(error, match=said) as raised:
        load_file(path)
    assert len(str(raised.value).splitlines()) == 1 and str(path) in str(raised.value)


WRONG: list[Any] = [None, "x", -1, 0, 1e400, [], {}, [None], ["x"], {"x": 1}, True]


@pytest.mark.parametrize("within", [None, "direction", "settings"], ids=str)
def test_any_wrong_value_is_an_error_that_says_so(tmp_path: Path, within: str | None) -> None:
    """Each entry of the metadata replaced by each wrong value: a space, or a BadInput; never a traceback."""
    part = VERSION_1[within] if within else VERSION_1
    refused: list[str] = []
    for i, (key, wrong) in enumerate(itertools.product(part, WRONG)):
        changed = {within: {**part, key: wrong}} if within else {key: wrong}
        if (within, key) == (None, "layout"):  # files are read by their names, whatever they say of them
            continue
        write_version_1(tmp_path / "a.safetensors", **changed)
        try:
            import_space(tmp_path / "a.safetensors", tmp_path / str(i), backbone="mini", prompt="a robot")
        except BadInput as error:
            refused.append(str(error))
    assert len(refused) > len(part)
    assert within == "settings" or all("a.safetensors" in error for error in refused), refused


def test_a_flipped_bit_is_found(space: SliderSpace, tmp_path: Path) -> None:
    """Anywhere in what the file says of its slider, and in its values; notes of other programs are no damage."""
    [path] = export(space, tmp_path, sliders=[1])
    whole = bytearray(path.read_bytes())
    said = whole.index(b"sliderspace-lora")
    end = whole.index(b'"ss_base_model_version"')
    assert end - said > 1000
    for place in (*range(said, end, 117), *range(len(whole) - 500, len(whole), 61)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedFile):
            load_file(path)
    path.write_bytes(whole)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(tensors, path, {**metadata, "rating": "5"})
    assert load_file(path).about.name == "red hair"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    whole = write_version_1(tmp_path / "a.safetensors").read_bytes()
    for data in (b"", b"text", whole[:-4], whole[:60], b"\xff" * 100):
        (tmp_path / "a.safetensors").write_bytes(data)
        with pytest.raises(DamagedFile):
            load_file(tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="cannot read"):
        load_file(tmp_path / "nothing.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no \.safetensors file"):
        load_files(tmp_path / "empty")


@pytest.mark.parametrize(
    ("changed", "said"), [({"space": "other", "index": 5}, "different spaces"), ({}, "the same slider")], ids=str
)
def test_files_that_do_not_belong_together(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    write_version_1(tmp_path / "a.safetensors")
    write_version_1(tmp_path / "b.safetensors", **changed)
    with pytest.raises(BadInput, match=said):
        import_space(tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_directions_that_cannot_be(tmp_path: Path) -> None:
    for vector in ("AAAA", "", "AAAAAAAAAEA=", "AAAAAAAA+H8="):  # the last is no number
        write_version_1(tmp_path / "a.safetensors", direction={**VERSION_1["direction"], "vector": vector})
        with pytest.raises(DamagedFile):
            import_space(tmp_path, tmp_path / "run")


def test_an_import_never_overwrites_a_run(space: SliderSpace, finished: Path, tmp_path: Path) -> None:
    export(space, tmp_path / "files")
    before = (finished / "config.json").read_bytes()
    with pytest.raises(BadInput, match="another run"):
        import_space(tmp_path / "files", finished)
    assert (finished / "config.json").read_bytes() == before
    (tmp_path / "files" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="other files"):
        import_space(tmp_path / "files", tmp_path / "files")


def test_the_base_model_may_lie_elsewhere(space: SliderSpace, tiny: Tiny, tmp_path: Path) -> None:
    export(space, tmp_path / "files", sliders=[0])
    again = import_space(tmp_path / "files", tmp_path / "run", backbone=str(tiny.noise))
    assert again.settings.backbone == str(tiny.noise) and again.generate([1], {0: 1.0}).shape == (1, 32, 32, 3)
