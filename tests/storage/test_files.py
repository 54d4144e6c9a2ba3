"""Whole files or none, clear errors for everything else, and fingerprints that tell inputs apart."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as plain_safetensors

from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.storage import files as store
from sliderspace.storage.files import (
    fingerprint,
    is_done,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
    stored_fingerprint,
)
from sliderspace.storage.run_folder import RunFolder

Load = Callable[[Path], object]


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A real second process running `code`, which sees `arguments` as sys.argv[1:]."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(store.__file__).parents[2])}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


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
    assert (stamp["format"], stamp["kind"], stamp["fingerprint"]) == (store.FORMAT, "measures", "f")


def test_the_same_contents_give_the_same_bytes_in_another_process(tmp_path: Path):
    code = """if True:
        import sys, torch
        from sliderspace.storage.files import save_tensors
        tensors = {"b": torch.ones(2), "a": torch.zeros(3, dtype=torch.float64)}
        save_tensors(sys.argv[1], tensors, kind="k", fingerprint="f", one=1, two={"x": 2}, three=None)"""
    for process in [child(code, tmp_path / f"{i}.safetensors") for i in range(3)]:
        finish(process)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


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
    wrong_format = whole.replace(b"sliderspace/1", b"sliderspace/9")
    foreign = plain_safetensors({"x": torch.ones(3)})
    stamp_is_not_ours = plain_safetensors({"x": torch.ones(3)}, metadata={store.METADATA_KEY: "[]"})
    stamp_is_not_json = plain_safetensors({"x": torch.ones(3)}, metadata={store.METADATA_KEY: "{"})
    stamp_is_deep = plain_safetensors({"x": torch.ones(3)}, metadata={store.METADATA_KEY: "[" * 100_000})
    stamp_of_numbers = plain_safetensors(
        {"x": torch.ones(3)}, metadata={store.METADATA_KEY: '{"format": 1, "kind": 2, "fingerprint": 3, "meta": {}}'}
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
    contents += [whole.replace(b"sliderspace/1", b"sliderspace/9"), whole.replace(b'"f"', b"7")]
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


@given(cut=st.integers(0, 10_000), flip=st.integers(0, 255))
def test_no_broken_header_gets_past_with_another_error(cut: int, flip: int):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save_tensors(path, {"x": torch.ones(4)}, kind="k", fingerprint="f")
        data = bytearray(path.read_bytes())
        data[cut % len(data)] ^= flip
        path.write_bytes(data)
        try:
            load_tensors(path, kind="k")
        except BadInput:
            return


def test_missing_files_and_folders_in_their_place(tmp_path: Path):
    (tmp_path / "d.json").mkdir()
    (tmp_path / "d.safetensors").mkdir()
    (tmp_path / "file").write_text("x")
    for place in ("none", "d", "file/inside"):
        with pytest.raises(BadInput, match=place.split("/")[0]):
            load_json(tmp_path / f"{place}.json", kind="k")
        with pytest.raises(BadInput, match=place.split("/")[0]):
            load_tensors(tmp_path / f"{place}.safetensors", kind="k")


# ---- interruption

WRITE_FOR_EVER = """if True:
    import itertools, sys, torch
    from sliderspace.storage.files import save_tensors
    print("ready", flush=True)
    for version in itertools.count(1):
        save_tensors(sys.argv[1], {"x": torch.full((4_000_000,), float(version))}, kind="k", fingerprint="f", version=version)"""


def kill_in_mid_write(path: Path) -> Path | None:
    """Start writing versions of `path` for ever, and kill the process while a temporary file is there. Returns what it
    left."""
    process = child(WRITE_FOR_EVER, path)
    assert process.stdout is not None
    process.stdout.readline()
    before, left = {path, *path.parent.glob(".*.partial")}, None
    deadline = time.monotonic() + 30
    while left is None and time.monotonic() < deadline:
        left = next((p for p in path.parent.glob(".*.partial") if p not in before and p.stat().st_size), None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return left if left is not None and left.exists() else None


def test_a_process_killed_in_mid_write_leaves_the_old_file_whole(tmp_path: Path):
    folder = RunFolder(tmp_path / "run").open_for_writing()
    folder.close()
    save_tensors(folder.sliders, {"x": torch.zeros(4_000_000)}, kind="k", fingerprint="f", version=0)
    for _ in range(20):
        left = kill_in_mid_write(folder.sliders)
        tensors, meta = load_tensors(folder.sliders, kind="k")
        assert (tensors["x"] == meta["version"]).all()
        if left is not None:
            break
    else:
        pytest.fail("never caught it writing")
    with folder.open_for_writing():
        assert not left.exists(), "the next run clears what the killed one left"
        assert folder.sliders.exists()


def test_temporary_files_of_a_living_process_and_other_names_are_left_alone(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    folder.open_for_writing().close()
    mine, foreign = folder.root / f".a.json.{os.getppid()}.partial", folder.root / ".notes.partial"
    mine.write_text("x")
    foreign.write_text("x")
    folder.open_for_writing().close()
    assert {mine.name, foreign.name} <= names(folder.root)


def test_ctrl_c_while_saving_leaves_nothing_behind(tmp_path: Path):
    code = """if True:
        import os, signal, sys, threading
        from sliderspace.storage.files import save_bytes
        save_bytes(sys.argv[1], b"old")
        data = bytes(64_000_000)
        try:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            for _ in range(200):
                save_bytes(sys.argv[1] + ".new", data)
        except KeyboardInterrupt:
            print("interrupted")"""
    assert finish(child(code, tmp_path / "a")) == "interrupted\n"
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not list(tmp_path.glob(".*"))


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
    assert said.startswith("SliderSpaceError no room to write")
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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_way_of_having_no_room_counts(number: int):
    assert number in store.DISK_FULL


# ---- the folder


@contextmanager
def as_nobody(folder: Path, mode: int) -> Generator[None]:
    """`folder` with rights that stop this process; root, whom no rights stop, steps down meanwhile."""
    root = os.geteuid() == 0
    folder.chmod(mode)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that others may reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        inner = Path(name) / "inner"
        inner.mkdir()
        yield inner


def test_a_folder_that_may_not_be_written(open_path: Path):
    for attempt in (
        lambda: RunFolder(open_path).open_for_writing(),
        lambda: RunFolder(open_path / "new").open_for_writing(),
        lambda: save_json(open_path / "a.json", {}, kind="k", fingerprint="f"),
    ):
        with as_nobody(open_path, 0o555), pytest.raises(BadInput, match=r"(?i)permission denied"):
            attempt()


def test_a_folder_that_may_not_be_entered(open_path: Path):
    for attempt in (
        lambda: RunFolder(open_path).open_for_writing(),
        lambda: RunFolder(open_path).check_exists(),
        lambda: load_json(open_path / "a.json", kind="k"),
        lambda: load_tensors(open_path / "a.safetensors", kind="k"),
    ):
        with as_nobody(open_path, 0o000), pytest.raises(BadInput, match="inner"):
            attempt()
    with as_nobody(open_path, 0o000):
        assert stored_fingerprint(open_path / "a.json") is None


def test_a_folder_that_is_a_file_or_below_one(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/run"):
        with pytest.raises(BadInput, match="file"):
            RunFolder(tmp_path / place).open_for_writing()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_names_no_system_takes(tmp_path: Path, name: str):
    for attempt in (
        lambda: RunFolder(tmp_path / name).open_for_writing(),
        lambda: store.save_text(tmp_path / name, "text"),
    ):
        with pytest.raises(BadInput, match="cannot write"):
            attempt()


def test_someone_elses_files_are_not_touched(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="already holds other files"):
        RunFolder(tmp_path).open_for_writing()
    assert names(tmp_path) == {"thesis.tex"}


def test_a_config_of_another_program_does_not_make_the_folder_ours(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model": "x"}')
    with pytest.raises(BadInput, match="already holds other files"):
        RunFolder(tmp_path).open_for_writing()
    with pytest.raises(BadInput, match="not the folder of a run"):
        RunFolder(tmp_path).check_exists()


def test_a_new_folder_is_made_and_known_again(tmp_path: Path):
    folder = RunFolder(tmp_path / "deep" / "run é")
    with pytest.raises(BadInput, match="sliderspace discover"):
        folder.check_exists()
    with folder.open_for_writing() as opened:
        assert opened is folder
        assert folder.trajectories.is_dir()
        assert folder.open_for_writing() is folder, "opening what is already held is no error"
    folder.check_exists()
    (folder.root / "picture.png").write_bytes(b"what `generate` put here")
    folder.open_for_writing().close()


def test_a_run_copied_without_hidden_files_is_still_ours(tmp_path: Path):
    save_json(tmp_path / "config.json", {"prompt": "p"}, kind="config", fingerprint="f")
    (tmp_path / "directions.safetensors").write_bytes(b"")
    RunFolder(tmp_path).check_exists()
    RunFolder(tmp_path).open_for_writing().close()


HOLD = """if True:
    import sys
    from sliderspace.storage.run_folder import RunFolder
    with RunFolder(sys.argv[1]).open_for_writing():
        print("held", flush=True)
        sys.stdin.readline()"""


def test_two_processes_cannot_write_one_folder(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    process = child(HOLD, folder.root)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(SliderSpaceError, match="another run is writing") as caught:
        folder.open_for_writing()
    assert not isinstance(caught.value, BadInput)
    folder.check_exists()  # reading needs no lock
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder.open_for_writing().close()  # a dead holder holds nothing


def test_the_lock_is_let_go_after_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError), RunFolder(tmp_path / "run").open_for_writing():
        raise RuntimeError
    RunFolder(tmp_path / "run").open_for_writing().close()


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
