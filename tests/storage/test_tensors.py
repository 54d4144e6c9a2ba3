"""Stored tensors: what is read is what was written, all of it or the rows asked for, or a DamagedFile."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.processes import child, finish

from sliderspace.core.errors import DamagedFile
from sliderspace.storage import tensors as stored
from sliderspace.storage.files import load_tensors, save_tensors, stored_fingerprint
from sliderspace.storage.tensors import open_tensors

DATA: dict[str, Any] = {
    "x": torch.arange(2 * 3 * 4.0).reshape(2, 3, 4).half(),
    "z": torch.linspace(-1, 1, 12).reshape(2, 6),
    "prompt": torch.tensor([5, 7]),
    "flag": np.array([True, False, True]),
    "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
    "none": torch.zeros(0, 3),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "a.safetensors", DATA, kind="k", fingerprint="f", history=[[1, 0.25]], name="ü")
    return tmp_path / "a.safetensors"


def test_any_reader_of_safetensors_reads_them(path: Path):
    found = load_file(path)
    assert found.keys() == DATA.keys()
    for name, value in DATA.items():
        assert torch.equal(found[name], torch.as_tensor(value)), name


def test_no_flipped_bit_gets_past(path: Path):
    """Every bit of the head and of the values, one at a time: the same contents, or a DamagedFile."""
    whole, (expected, meta) = path.read_bytes(), load_tensors(path, kind="k")
    head = 8 + int.from_bytes(whole[:8], "little")
    harmless = 0
    for at in [*range(0, head, 23), *range(head, len(whole))]:
        for bit in range(8):
            data = bytearray(whole)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            try:
                found, found_meta = load_tensors(path, kind="k")
            except DamagedFile:
                continue
            assert found_meta == meta and found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
            harmless += 1
    assert harmless < 10, "spaces of the head that became other spaces"


def test_a_flipped_bit_in_the_stamp_is_damage_and_not_another_fingerprint(path: Path):
    path.write_bytes(path.read_bytes().replace(b'\\"fingerprint\\": \\"f\\"', b'\\"fingerprint\\": \\"g\\"'))
    with pytest.raises(DamagedFile):
        stored_fingerprint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_found_unless_they_are_meant(path: Path, value: float):
    spoiled = {**DATA, "z": torch.where(DATA["z"] == DATA["z"][1, 2], value, DATA["z"])}
    save_tensors(path, spoiled, kind="k", fingerprint="f")
    with pytest.raises(DamagedFile, match="values of z that are not finite"):
        load_tensors(path, kind="k")
    with pytest.raises(DamagedFile, match="values of z that are not finite"):
        open_tensors(path, kind="k").rows("z", [1])
    assert open_tensors(path, kind="k").rows("z", [0]).isfinite().all()
    assert not load_tensors(path, kind="k", finite=False)[0]["z"].isfinite().all()


FORMS = {"x": "float16 N 3 C", "z": "float32 N D", "prompt": "int64 N"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"lost": "float32 N"}, "lacks lost"),
        ({"prompt": "int32 N"}, "holds prompt as int64 2, not int32 2"),
        ({"flag": "bool N"}, "holds flag as bool 3, not bool 2"),
        ({"x": "float16 N 4 C"}, "holds x as float16 2 3 4, not float16 2 4"),
        ({"z": "float32 N"}, "holds z as float32 2 6, not float32 2"),
    ],
)
def test_another_type_or_shape_than_expected_is_one_error(path: Path, changed: dict[str, str], said: str | None):
    for read in (load_tensors, open_tensors):
        if said is None:
            read(path, kind="k", expect={**FORMS, **changed})
            continue
        with pytest.raises(DamagedFile, match=said):
            read(path, kind="k", expect={**FORMS, **changed})


def test_rows_are_those_of_the_whole(path: Path):
    file = open_tensors(path, kind="k")
    assert file.meta == {"history": [[1, 0.25]], "name": "ü"}
    assert file.shapes == {name: tuple(np.shape(value)) for name, value in DATA.items()}
    x = DATA["x"]
    for index in (slice(None), slice(1, 2), slice(0, 0), slice(None, None, 2), [1, 0, 1], np.array([1]), []):
        assert torch.equal(file.rows("x", index), x[index]), index
    assert torch.equal(file.rows("x", [(1, 2), (0, 0)]), torch.stack([x[1, 2], x[0, 0]]))
    assert torch.equal(file.rows("x", [(1, 2, 3)]), x[1, 2, 3:])
    assert torch.equal(file.rows("flag", slice(1, 3)), torch.tensor([False, True]))
    for outside in ([2], [-1], [(0, 3)]):
        with pytest.raises(ValueError, match=r"invalid entry|out of bounds"):
            file.rows("x", outside)


def test_damage_is_found_by_the_rows_that_it_touches_and_by_no_others(path: Path):
    data = bytearray(path.read_bytes())
    data[data.index(DATA["x"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    file = open_tensors(path, kind="k")
    assert torch.equal(file.rows("z", [1]), DATA["z"][1:])
    with pytest.raises(DamagedFile, match="values of x are not those that were written"):
        file.rows("x", [1])


def test_a_file_is_tested_once_and_again_when_it_has_changed(path: Path, monkeypatch: pytest.MonkeyPatch):
    tested: list[int] = []
    real = stored._digest
    monkeypatch.setattr(stored, "_digest", lambda chunks: tested.append(1) or real(chunks))
    for _ in range(3):
        open_tensors(path, kind="k").rows("x", [0])
    assert len(tested) == 1
    before = open_tensors(path, kind="k")
    os.utime(path, ns=(1, 1))
    open_tensors(path, kind="k").rows("x", [0])
    assert len(tested) == 2
    with pytest.raises(DamagedFile, match="changed while it was read"):
        before.rows("x", [0])


MEASURE = """if True:
    import random, resource, sys, time
    import torch
    from pathlib import Path
    from sliderspace.storage.files import save_tensors
    from sliderspace.storage.tensors import open_tensors
    def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    big = torch.rand(256, 2**16)
    before = most()
    save_tensors(sys.argv[1], {"x": big, "z": big[:, :8]}, kind="k", fingerprint="f")
    print("saved", most() - before)
    del big
    file = open_tensors(sys.argv[1], kind="k")
    file.rows("z", [0])  # what torch itself takes when it is first used
    status = lambda: {l.split(":")[0]: int(l.split()[1]) / 1024 for l in Path("/proc/self/status").read_text().splitlines() if "Rss" in l}
    start = sum(status().values())
    for _ in range(40):
        rows = file.rows("x", random.sample(range(256), 16))
    print("read", sum(status().values()) - start)"""


def test_a_large_file_is_neither_copied_to_be_written_nor_held_to_be_read(tmp_path: Path):
    """64 MiB of values: megabytes added while writing them, and while reading rows from all over the file."""
    said = dict(line.split() for line in finish(child(MEASURE, tmp_path / "a.safetensors")).splitlines())
    assert float(said["saved"]) < 20 and float(said["read"]) < 20, said
