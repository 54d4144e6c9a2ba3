"""A worker of a cluster, without the cluster: in the run folder, in a copy of it, with less memory, with another model."""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.runs import go

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Speed
from sliderspace.engine import local, tasks
from sliderspace.engine.models import Models
from sliderspace.engine.worker import Run, Worker, files_of
from sliderspace.storage.run_folder import RunFolder

MakeModels = Callable[..., Models]


def test_a_worker_that_does_not_see_the_folder_returns_the_files_it_made(
    make_models: MakeModels, tmp_path: Path
) -> None:
    models = make_models(tmp_path / "run")
    go(models, local.sample)
    unseen = Worker(threads=1)
    assert not unseen.begin(replace(Run.of(models), root=tmp_path / "elsewhere"))
    made = [unseen.do(task, {}) for task in tasks.sampling(models)]
    names = ["trajectories/000000.safetensors", "trajectories/000128-000138.safetensors"]
    assert [set(files) for files in made] == [{"texts.safetensors", names[0]}, {names[1]}]
    for files in made:
        for name, data in files.items():
            assert data == (tmp_path / "run" / name).read_bytes(), name
    copy = unseen.models.run.root
    unseen.leave()
    assert not copy.exists() and not (tmp_path / "elsewhere").exists()


def test_a_copy_follows_what_is_written_anew(
    make_models: MakeModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sliders that a stopped run left are replaced; what the worker made itself needs no fetching."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda reference: reference))
    models = make_models(tmp_path / "run", samples=20)
    unseen = Worker(threads=1)
    unseen.begin(replace(Run.of(models), root=tmp_path / "elsewhere"))
    (task,) = tasks.sampling(models)
    copy = unseen.models.run
    made = unseen.do(task, {"unfinished/sliders.safetensors": (1, b"old")})
    unseen.do(task, {"unfinished/sliders.safetensors": (2, b"new"), "texts.safetensors": (3, b"the driver's")})
    assert copy.unfinished.sliders.read_bytes() == b"new"
    assert copy.texts.read_bytes() == made["texts.safetensors"]
    unseen.leave()


def test_copies_that_killed_workers_left_are_removed(
    make_models: MakeModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither the copy of one that works, nor one that is just being made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = replace(Run.of(make_models(tmp_path / "run")), root=tmp_path / "elsewhere")
    working, next_one = Worker(threads=1), Worker(threads=1)
    working.begin(run)
    left, made_now = (RunFolder(tmp_path / f"sliderspace-copy-{name}") for name in ("left", "now"))
    for copy in (left, made_now):
        copy.open_for_writing().close()
    for copy in (left, working.models.run):
        os.utime(copy.lock, (1e9, 1e9))
    next_one.begin(run)
    assert not left.root.exists() and made_now.root.exists() and working.models.run.lock.exists()
    for worker in (working, next_one):
        worker.leave()
    assert [path.name for path in tmp_path.glob("sliderspace-*")] == [made_now.root.name]


def test_a_worker_that_sees_the_folder_writes_there(make_models: MakeModels, tmp_path: Path) -> None:
    models = make_models(tmp_path / "run")
    go(models, lambda models: iter(()))  # the settings alone
    worker = Worker(threads=1)
    assert worker.look() == (None, (0, ""))
    first = tasks.sampling(models)[0]
    assert worker.begin(Run.of(models)) and worker.do(first, {}) == {}
    assert worker.look() == (first, (128, ""))
    assert files_of(tmp_path / "run").keys() == {"config.json", "texts.safetensors", "trajectories/000000.safetensors"}


def test_a_worker_whose_memory_did_not_suffice_is_followed_by_one_with_half_the_lanes(
    make_models: MakeModels, tmp_path: Path
) -> None:
    models = make_models(tmp_path / "run", speed=Speed(device="cpu", lanes=3, batch=64))
    go(models, local.sample)
    worker = Worker(threads=1, halved=1)
    assert worker.begin(Run.of(models))
    assert (worker.models.lanes.size, worker.models.batch.size) == (1, 32)
    assert worker.models.groups == models.groups


def test_a_worker_with_another_model_is_refused(make_models: MakeModels, tmp_path: Path, tiny: Any) -> None:
    run = Run.of(make_models(tmp_path / "run"))
    other = Run(run.settings.model_copy(update={"backbone": str(tiny.noise)}), run.speed, run.root, run.prints)
    with pytest.raises(BadInput, match="are not the driver's"):
        Worker(threads=1).begin(other)


def test_a_training_goes_on_with_other_lanes(make_models: MakeModels, tmp_path: Path) -> None:
    """Its groups are others: the checkpoint of two sliders is none of the first one's."""
    few = {"samples": 20, "sliders": 2, "updates": 9}
    two, one = (make_models(tmp_path / "run", speed=Speed(device="cpu", lanes=lanes), **few) for lanes in (2, 1))
    go(two, lambda m: local.run(m, ["sample", "fit"]))
    with two.run.open_for_writing():
        for update in tasks.work(two, tasks.training(two)[0]):
            if update[0] > 3:  # after the first checkpoint
                break
    go(one, local.train)
    assert one.run.unfinished.sliders.exists()
