"""Whole runs to object stores and back, on real file systems of fsspec: one in memory, and folders by URL."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from kills import contents
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.engine.status import describe_run
from sliderspace.explore.mix import Mix
from sliderspace.explore.view import change_view, view_of, with_preset
from sliderspace.share.stores import pull, push
from sliderspace.space.labels import labels_of, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_json, save_tensors
from sliderspace.storage.run_folder import RunFolder


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_run_comes_back_as_it_was(finished: Path, tmp_path: Path, memory: Any, kind: str) -> None:
    url = "memory://bucket/run" if kind == "memory" else f"file://{tmp_path}/store/run"
    sent = push(finished, url)
    fetched = pull(url, tmp_path / "back")
    ours, theirs = contents(tmp_path / "back"), contents(finished)
    assert "report.html" in theirs and theirs.pop("report.html") and ours == theirs
    assert (sent, fetched) == (len(theirs) + 1, len(theirs))
    stages = describe_run(tmp_path / "back").stages
    assert stages["measure"] == "done" and stages["report"] == "missing"
    assert pull(url, tmp_path / "back") == fetched, "again, onto itself"


def test_another_run_is_never_replaced(finished: Path, space: SliderSpace, tmp_path: Path, memory: Any) -> None:
    push(space.folder, "memory://bucket/dragons")
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    rename(RunFolder(folder), {0: "my own name"})
    for missing in ("labels.json", "space.json"):  # the second time its settings alone are there
        before = contents(folder)
        with pytest.raises(BadInput, match=r"run already holds another space\.\n.*nothing was changed"):
            pull("memory://bucket/dragons", folder)
        assert contents(folder) == before
        (folder / missing).unlink()


def test_a_second_pull_keeps_what_a_person_made(finished: Path, tmp_path: Path, memory: Any) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    rename(RunFolder(folder), {1: "a hat"})
    change_view(RunFolder(folder), lambda view: with_preset(view, "theirs", Mix()))
    push(folder, "memory://bucket/run")
    pull("memory://bucket/run", tmp_path / "back")
    own = RunFolder(tmp_path / "back")
    assert list(view_of(own).presets) == ["theirs"]
    rename(own, {0: "my own name"})
    change_view(own, lambda view: with_preset(view, "mine", Mix()))
    pull("memory://bucket/run", own.root)
    assert [label.name for label in labels_of(own).sliders] == ["my own name", "a hat", None]
    assert list(view_of(own).presets) == ["theirs", "mine"]


def test_hidden_folders_stay_here(finished: Path, tmp_path: Path, memory: Any) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    for name in (".cache/huggingface/download/config.json.metadata", "trajectories/.ipynb_checkpoints/000000.json"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("{}")
    push(folder, "memory://bucket/run")
    pull("memory://bucket/run", tmp_path / "back")
    assert not any("/." in name for name in memory.store)


@pytest.mark.parametrize("name", ["notes: today.txt", "monster-10:30.png", "a\\b.json", "trajectories/10:30.json"])
def test_a_persons_own_file_is_in_nobodys_way(finished: Path, tmp_path: Path, memory: Any, name: str) -> None:
    """Also where an earlier version pushed it."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / name).write_text("{}")
    sent = push(folder, f"file://{tmp_path}/store")
    assert sent == push(finished, "memory://bucket/run")
    if not name.endswith(".json"):
        shutil.copyfile(folder / name, tmp_path / "store" / name)
    pull(f"file://{tmp_path}/store", tmp_path / "back")
    assert not (tmp_path / "back" / name).exists() and (tmp_path / "back" / "space.json").is_file()


@pytest.mark.parametrize("name", ["../outside.json", "trajectories/../../outside.json", ".hidden.json", "a\\b.json"])
def test_no_name_leads_out_of_the_folder(finished: Path, tmp_path: Path, memory: Any, name: str) -> None:
    push(finished, "memory://bucket/run")
    memory.store[f"/bucket/run/{name}"] = memory.store["/bucket/run/config.json"]
    with pytest.raises(BadInput, match="nothing was fetched"):
        pull("memory://bucket/run", tmp_path / "deep" / "back")
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_could_run_is_taken(finished: Path, tmp_path: Path, memory: Any) -> None:
    push(finished, "memory://bucket/run")
    for name in ("run.sh", "model.pkl", "page.html", "trajectories/x.py"):
        memory.pipe_file(f"/bucket/run/{name}", b"import os")
    pull("memory://bucket/run", tmp_path / "back")
    assert {path.suffix for path in (tmp_path / "back").rglob("*") if path.is_file()} <= {
        ".json",
        ".safetensors",
        "",
        ".lock",
    }


def test_what_another_machine_was_publishing_is_not_published_here(finished: Path, tmp_path: Path, memory: Any) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    unfinished = folder / "unfinished"
    unfinished.mkdir(exist_ok=True)
    shutil.copyfile(folder / "measures.json", unfinished / "measures.json")
    save_json(unfinished / "publishing.json", {"names": ["measures.json"]}, kind="publishing", fingerprint="")
    push(folder, "memory://bucket/run")
    pull("memory://bucket/run", tmp_path / "back")
    assert [path.name for path in (tmp_path / "back" / "unfinished").rglob("*") if path.is_file()] == ["measures.json"]


def test_a_run_may_become_whole_while_it_is_pushed(
    finished: Path, tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new files have taken their places once the old sliders are sent, and a checkpoint is gone."""
    run = RunFolder(shutil.copytree(finished, tmp_path / "run"))
    new = [run.sliders.name, run.measures.name, run.space.name]
    run.unfinished.sliders_parts.mkdir(parents=True)
    for name in (*new, "sliders.partial/training-000.safetensors"):
        shutil.copyfile(run.sliders if "training" in name else run.root / name, run.unfinished.root / name)
    save_tensors(run.sliders, {}, kind="sliders", fingerprint="old")
    put, order = type(memory).put_file, list[str]()

    def publishing(self: Any, path: str, *rest: Any, **more: Any) -> None:
        put(self, path, *rest, **more)
        order.append(Path(path).name)
        if Path(path) == run.sliders and order.count(run.sliders.name) == 1:
            run.publish(new)

    monkeypatch.setattr(type(memory), "put_file", publishing)
    push(run.root, "memory://bucket/run")
    assert order[-3:] == ["space.json", "measures.json", "sliders.safetensors"], "and what is new is sent once more"
    pull("memory://bucket/run", tmp_path / "back")
    ours, theirs = contents(tmp_path / "back"), contents(finished)
    assert theirs.pop("report.html") and ours == theirs


def test_what_cannot_be_used(finished: Path, tmp_path: Path, memory: Any) -> None:
    with pytest.raises(BadInput, match="holds no run"):
        pull("memory://bucket/empty", tmp_path / "back")
    with pytest.raises(BadInput, match="nowhere"):
        push(finished, "nowhere://bucket/run")
    with pytest.raises(BadInput, match="is not the folder of a run"):
        push(tmp_path, "memory://bucket/run")
    (tmp_path / "store").write_text("a file, and no folder")
    with pytest.raises(SliderSpaceError):
        push(finished, f"file://{tmp_path}/store/run")
    push(finished, "memory://bucket/run")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds other files"):
        pull("memory://bucket/run", other)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "back").exists()


def test_the_verbs_take_urls(finished: Path, tmp_path: Path) -> None:
    copy, url = tmp_path / "copy", f"file://{tmp_path}/store"
    shutil.copytree(finished, copy)

    def call(*words: object) -> Any:
        return CliRunner().invoke(app, [str(word) for word in words])

    sent = call("push", copy, url)
    assert sent.exit_code == 0 and f"address: {url}" in sent.stdout
    back = call("pull", url, "--out", tmp_path / "back")
    assert back.exit_code == 0 and (tmp_path / "back" / "space.json").is_file()
    for words in (("push", copy, url, "--private"), ("pull", url, "--out", tmp_path / "b", "--revision", "main")):
        refused = call(*words)
        assert refused.exit_code == 2 and "are for the Hub" in refused.stderr
