"""A folder that is given other sliders while somebody reads it, holds a space of the earlier ones, or breaks off."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.runs import go

from sliderspace.core.errors import BadInput
from sliderspace.explore.stored import page_of
from sliderspace.method.directions import Directions
from sliderspace.report.from_run import report_run, reported_of
from sliderspace.share.export import export
from sliderspace.space.labels import Label, labels_of, propose, rename
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_json, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

Publish = Callable[[], None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, finished: Path, make_models: Any) -> tuple[Path, list[str]]:
    """A finished run beside which another training lies whole, but not published, and the names of its files."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("retrained") / "run"))
    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "publish", lambda _, due: names.extend(due))
        go(make_models(folder, updates=6, lr=5e-2))
    return folder, names


@pytest.fixture
def retrained(trained: tuple[Path, list[str]], tmp_path: Path) -> tuple[Path, Publish]:
    """A copy of it, and what publishes it."""
    folder = Path(shutil.copytree(trained[0], tmp_path / "run"))

    def publish() -> None:
        with RunFolder(folder).open_for_writing() as run:
            run.publish(trained[1])

    return folder, publish


def after(patch: pytest.MonkeyPatch, publish: Publish) -> None:
    """The directions are read, and then another process publishes."""
    load = Directions.load

    def meanwhile(path: Path) -> Directions:
        found = load(path)
        publish()
        return found

    patch.setattr(Directions, "load", meanwhile)


def test_what_is_loaded_while_another_space_is_published_is_one_of_the_two(
    retrained: tuple[Path, Publish], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, publish = retrained
    old = SliderSpace.load(folder)
    with monkeypatch.context() as patch:
        after(patch, publish)
        loaded = SliderSpace.load(folder)
    new = SliderSpace.load(folder)
    assert new.made_from == loaded.made_from != old.made_from
    assert np.array_equal(loaded.units_K, new.units_K) and not np.array_equal(loaded.units_K, old.units_K)
    assert all(torch.equal(loaded.values[name], value) for name, value in new.values.items())


def test_names_and_files_of_sliders_that_are_gone_are_not_the_new_ones(
    retrained: tuple[Path, Publish], tmp_path: Path
) -> None:
    folder, publish = retrained
    old = SliderSpace.load(folder)
    publish()
    rename(RunFolder(folder), {0: "wings"})
    assert [label.name for label in old.labels] == [None] * 3
    with pytest.raises(BadInput, match="other sliders by now"):
        export(old, tmp_path / "files")
    with pytest.raises(BadInput, match="nothing was named"):
        propose(RunFolder(folder), {1: Label(proposed="horns")}, old.made_from)
    assert labels_of(RunFolder(folder)).sliders[1].proposed is None
    assert len(export(SliderSpace.load(folder), tmp_path / "files")) == 3


def test_after_a_publish_that_was_broken_off_nothing_shows_the_old_measures(
    retrained: tuple[Path, Publish], trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, _ = retrained
    run = RunFolder(folder)
    save_json(run.unfinished.root / "publishing.json", {"names": trained[1]}, kind="publishing", fingerprint="")
    run.unfinished.sliders.replace(run.sliders)
    space, page = SliderSpace.load(folder), page_of(run)
    assert space.settings.updates == 6 and page.scales == [] and page.rows[0].strip == ""
    with pytest.raises(BadInput, match="broken off"):
        export(space, tmp_path / "files")


def test_a_report_of_measures_that_are_gone_does_not_pass_for_one_of_the_new(
    retrained: tuple[Path, Publish], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, publish = retrained
    run = RunFolder(folder)
    with monkeypatch.context() as patch:
        after(patch, publish)
        page = report_run(run)
    assert reported_of(page) != stored_fingerprint(run.measures)
    assert reported_of(report_run(run)) == stored_fingerprint(run.measures)
