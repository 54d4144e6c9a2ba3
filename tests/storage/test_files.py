"""Whole files or none, clear errors for everything else, and fingerprints that tell inputs apart."""

import errno
import json
import re
import runpy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as plain_safetensors
from support.processes import child, finish

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.numbers import bytes_in_words
from sliderspace.storage import files
from sliderspace.storage.atomic import DISK_FULL, explained
from sliderspace.storage.files import (
    fingerprint,
    is_done,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
    stored_fingerprint,
)
from sliderspace.storage.stamps import FORMAT
from sliderspace.storage.tensors import METADATA_KEY, TensorFile, open_tensors

Load = Callable[[Path], object]


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# ---- round trips


def test_tensors_come_back_with_their_types_shapes_and_meta(tmp_path: Path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors: dict[str, Any] = {
        "f32": base,
        "view": base[:, 1],
        "same": base,
        "bf16": base.bfloat16(),
        "f64": np.arange(3.0),
    }
    tensors |= {"empty": torch.zeros(0, 2), "grad": torch.ones(2, requires_grad=True)}
    arrays: dict[str, Any] = {
        "reversed": np.arange(3.0)[::-1],
        "frozen": np.broadcast_to(np.float32(1), (2, 3)),
        "scalar": np.float64(2),
    }
    tensors.update({name: np.asarray(value) for name, value in arrays.items()})
    path = tmp_path / "a.safetensors"
    save_tensors(path, tensors, kind="directions", fingerprint="f", steps=(0, 1), encoder="clip", sigma=np.float32(0.5))
    loaded, meta = load_tensors(path, kind="directions")
    assert meta == {"steps": [0, 1], "encoder": "clip", "sigma": 0.5}
    for name, value in tensors.items():
        expected = value.detach() if isinstance(value, torch.Tensor) else torch.from_numpy(value.copy())
        torch.testing.assert_close(loaded[name], expected, rtol=0, atol=0)


def test_a_file_that_another_worker_writes_again_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.safetensors"

    def write() -> None:
        save_tensors(path, {"x": torch.arange(3.0)}, kind="base", fingerprint="f")

    def open_and_write_again(*args: Any, **options: Any) -> TensorFile:
        file = open_tensors(*args, **options)
        if left:
            left.pop()
            write()
        return file

    write()
    monkeypatch.setattr(files, "open_tensors", open_and_write_again)
    left = [1]
    assert load_tensors(path, kind="base")[0]["x"].tolist() == [0, 1, 2] and not left
    left = [1] * 9
    with pytest.raises(DamagedFile, match="changed while it was read"):
        load_tensors(path, kind="base")


def test_json_comes_back_and_is_valid_for_any_reader(tmp_path: Path):
    path = tmp_path / "m.json"
    save_json(
        path,
        {"mean": np.float64(0.5), "bad": float("nan"), "n": np.int64(3), "odd": "\udcff é"},
        kind="measures",
        fingerprint="f",
    )
    assert load_json(path, kind="measures") == {"mean": 0.5, "bad": None, "n": 3, "odd": "\udcff é"}
    stamp = json.loads(path.read_bytes(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (stamp["format"], stamp["kind"], stamp["fingerprint"]) == (FORMAT, "measures", "f")


def test_the_same_contents_give_the_same_bytes_in_another_process(tmp_path: Path):
    code = """if True:
        import sys, torch
        from sliderspace.storage.files import save_tensors
        tensors = {"b": torch.ones(2), "a": torch.zeros(3, dtype=torch.float64)}
        save_tensors(sys.argv[1], tensors, kind="k", fingerprint="f", one=1, two={"x": 2}, three=None)"""
    script = tmp_path / "script.py"
    script.write_text(code)
    finish(child(code, tmp_path / "there.safetensors"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["", str(tmp_path / "here.safetensors")])
        runpy.run_path(str(script))
    there, here = (tmp_path / f"{name}.safetensors" for name in ("there", "here"))
    assert there.read_bytes() == here.read_bytes()


def test_fingerprint_of_a_file_says_whether_a_stage_is_done(tmp_path: Path):
    for path in (tmp_path / "a.json", tmp_path / "a.safetensors"):
        assert stored_fingerprint(path) is None
        assert not is_done(path, "f")
    save_json(tmp_path / "a.json", {}, kind="k", fingerprint="f")
    save_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1)}, kind="k", fingerprint="f")
    for path in (tmp_path / "a.json", tmp_path / "a.safetensors"):
        assert is_done(path, "f")
        assert not is_done(path, "g")


def test_the_stamp_cannot_be_overwritten_by_data(tmp_path: Path):
    with pytest.raises(ValueError, match="kind"):
        save_json(tmp_path / "a.json", {"kind": "other"}, kind="k", fingerprint="f")


# ---- damage


def damaged_tensor_files(folder: Path) -> Iterator[Path]:
    good = folder / "good.safetensors"
    save_tensors(good, {"x": torch.ones(100), "y": torch.ones(7)}, kind="sliders", fingerprint="f")
    whole = good.read_bytes()
    wrong_format = whole.replace(FORMAT.encode(), b"sliderspace/9")
    foreign = plain_safetensors({"x": torch.ones(3)})
    stamp_is_not_ours = plain_safetensors({"x": torch.ones(3)}, metadata={METADATA_KEY: "[]"})
    stamp_is_not_json = plain_safetensors({"x": torch.ones(3)}, metadata={METADATA_KEY: "{"})
    stamp_is_deep = plain_safetensors({"x": torch.ones(3)}, metadata={METADATA_KEY: "[" * 100_000})
    stamp_of_numbers = plain_safetensors(
        {"x": torch.ones(3)}, metadata={METADATA_KEY: '{"format": 1, "kind": 2, "fingerprint": 3, "meta": {}}'}
    )
    contents = [whole[:n] for n in (0, 1, 8, 30, len(whole) // 2, len(whole) - 1)]
    contents += [
        whole + b"more",
        wrong_format,
        foreign,
        stamp_is_not_ours,
        stamp_is_not_json,
        stamp_is_deep,
        stamp_of_numbers,
    ]
    contents += [
        b"just some text, long enough to look like something",
        b"PK\x03\x04 pretend pickle" * 9,
        b"\x00" * 64,
        b"\xff" * 64,
    ]
    for index, content in enumerate(contents):
        path = folder / f"bad{index}.safetensors"
        path.write_bytes(content)
        yield path


def damaged_json_files(folder: Path) -> Iterator[Path]:
    good = folder / "good.json"
    save_json(good, {"a": list(range(50))}, kind="sliders", fingerprint="f")
    whole = good.read_bytes()
    contents = [whole[:n] for n in (0, 1, 30, len(whole) - 2)]
    contents += [b"[1, 2]", b"3", b"null", b"{}", b'{"format": "other"}', b"\xff\xfe\x00", b"not json", b"[" * 100_000]
    contents += [whole.replace(FORMAT.encode(), b"sliderspace/9"), whole.replace(b'"f"', b"7")]
    for index, content in enumerate(contents):
        path = folder / f"bad{index}.json"
        path.write_bytes(content)
        yield path


def check_damaged(path: Path, *loads: Load):
    for load in loads:
        with pytest.raises(DamagedFile) as caught:
            load(path)
        message = str(caught.value)
        assert path.name in message
        assert message.count("\n") == 1, "one line what, one line what to do"


def test_damaged_tensor_files_are_told_plainly(tmp_path: Path):
    for path in damaged_tensor_files(tmp_path):
        check_damaged(path, lambda p: load_tensors(p, kind="sliders"), stored_fingerprint)


def test_damaged_json_files_are_told_plainly(tmp_path: Path):
    for path in damaged_json_files(tmp_path):
        check_damaged(path, lambda p: load_json(p, kind="sliders"), stored_fingerprint)


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    save_json(tmp_path / "a.json", {}, kind="measures", fingerprint="f")
    save_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1)}, kind="measures", fingerprint="f")
    check_damaged(tmp_path / "a.json", lambda p: load_json(p, kind="space"))
    check_damaged(tmp_path / "a.safetensors", lambda p: load_tensors(p, kind="space"))


def test_missing_files_and_folders_in_their_place(tmp_path: Path):
    (tmp_path / "d.json").mkdir()
    (tmp_path / "d.safetensors").mkdir()
    (tmp_path / "file").write_text("x")
    for place in ("none", "d", "file/inside"):
        with pytest.raises(BadInput, match=place.split("/")[0]):
            load_json(tmp_path / f"{place}.json", kind="k")
        with pytest.raises(BadInput, match=place.split("/")[0]):
            load_tensors(tmp_path / f"{place}.safetensors", kind="k")


# ---- no room

LIMITED = """if True:
    import resource, sys, torch
    from sliderspace.core.errors import BadInput, SliderSpaceError
    from sliderspace.storage.files import load_tensors, save_tensors
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    save_tensors(sys.argv[1], {"x": torch.ones(10)}, kind="k", fingerprint="f")
    try:
        save_tensors(sys.argv[1], {"x": torch.ones(1_000_000)}, kind="k", fingerprint="g")
    except SliderSpaceError as error:
        print(type(error).__name__, error)
    print(len(load_tensors(sys.argv[1], kind="k")[0]["x"]))"""


def check_no_room(said: str, folder: Path):
    assert said.startswith("DiskFull no room to write")
    assert "4.0 MB" in said
    assert "goes on where it stopped" in said
    assert said.endswith("\n10\n"), "the old file is whole"
    assert names(folder) == {"a.safetensors"}


def test_a_file_larger_than_allowed_is_a_clear_failure(tmp_path: Path):
    check_no_room(finish(child(LIMITED, tmp_path / "a.safetensors", 100_000)), tmp_path)


def test_a_full_disk_is_a_clear_failure(tmp_path: Path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here; the test above covers the same path")
    try:
        check_no_room(finish(child(LIMITED, tmp_path / "a.safetensors", 10**9)), tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_room_that_is_missing_shows_in_its_unit(tmp_path: Path):
    said = str(explained(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "config.json", 312))
    assert re.search(r"it needs 312 B and [1-9]\S* \w+ are free", said), "of 60.0 GB, too"
    assert "needs" not in str(explained(OSError(errno.ENOSPC, ""), tmp_path)), "making a folder needs no number"
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 4_000_000: "4.0 MB", 1_900_000_000: "1.9 GB", 7e13: "70000.0 GB"}
    assert {size: bytes_in_words(size) for size in sizes} == sizes


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_way_of_having_no_room_counts(number: int):
    assert number in DISK_FULL


# ---- fingerprints

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=8
)


def shuffled(value: Any) -> Any:
    """The same value with every dictionary in another order."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: shuffled(inner) for key, inner in reversed(items)}
    return [shuffled(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


@given(values)
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value: Any):
    assert fingerprint(a=value, b=1) == fingerprint(b=1, a=shuffled(value))


@given(values, values)
def test_different_inputs_have_different_fingerprints(one: Any, two: Any):
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (fingerprint(a=one) == fingerprint(a=two)) == same


def test_a_fingerprint_is_the_same_for_ever_and_everywhere():
    assert (
        fingerprint(prompt="a portrait of a person é", steps=[1, 2], rate=2e-3, encoder=None) == "c7c538528a8fa60d9b7e"
    )
    assert fingerprint(a=(1, 2), b=np.float64(0.1), c=np.int64(3)) == fingerprint(a=[1, 2], b=0.1, c=3)


def test_look_alikes_are_told_apart():
    alike: list[dict[str, object]] = [
        {"a": 1},
        {"a": "1"},
        {"a": True},
        {"a": [1]},
        {"b": 1},
        {"a": None},
        {"a": {}},
        {"a": ""},
        {},
    ]
    assert len({fingerprint(**inputs) for inputs in alike}) == len(alike)


def test_what_has_no_stable_text_is_refused():
    with pytest.raises(BadInput):
        fingerprint(a=float("nan"))
    with pytest.raises(TypeError):
        fingerprint(a=object())
    with pytest.raises(TypeError):
        fingerprint(a={1: "x"})
