"""Many concepts in one folder: each run has the bytes of a discovery of its own, whatever fails, is held or is broken
off on the way; models and text encoders are loaded once."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kills import contents
from support.runs import go

from sliderspace.core.errors import DiskFull, Held
from sliderspace.core.settings import Settings, Speed, settings_from
from sliderspace.engine import catalogue
from sliderspace.engine.catalogue import Discovery, Ended, discover, discover_concept, furthest_first, run, stage_of
from sliderspace.engine.models import Loaded, Models
from sliderspace.engine.overview import overview
from sliderspace.engine.progress import Progress
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.report.from_run import report_run
from sliderspace.storage.run_folder import RunFolder

MakeModels = Callable[..., Models]
CPU = Speed(device="cpu")
SHORT = {"samples": 20, "updates": 3, "sliders": 2}


@pytest.fixture
def concepts(small: dict[str, Any], least_measured: None, tmp_path: Path) -> list[Discovery]:
    """Three concepts of seconds."""
    prompts = {"robot": ("a robot",), "person": ("a person", "a robot"), "both": ("a robot and a person",)}
    return [
        Discovery(settings_from({**small, **SHORT, "prompts": said}), tmp_path / "catalogue" / name)
        for name, said in prompts.items()
    ]


def ends(events: Iterator[catalogue.Event]) -> dict[str, Ended]:
    return {concept.name: record for concept, record in events if isinstance(record, Ended)}


# ---- real discoveries


def test_a_catalogue_holds_the_bytes_of_discoveries_alone(
    concepts: list[Discovery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every part of the models is loaded once: of all concepts, text encoders before anything else."""
    parts: list[str] = []
    load = PipelineBackbone.part

    def counted(self: PipelineBackbone, name: str, subfolder: str, *rest: Any, **more: Any) -> Any:
        parts.append(subfolder)
        return load(self, name, subfolder, *rest, **more)

    monkeypatch.setattr(PipelineBackbone, "part", counted)
    loaded = Loaded()
    assert ends(discover(concepts, CPU, loaded)) == {concept.name: Ended() for concept in concepts}
    assert parts[0] == "text_encoder" and len(parts) == len(set(parts)) == 3, parts
    backbone = Models(concepts[0].settings, CPU, RunFolder(concepts[0].folder), loaded).backbone
    assert backbone.text_encoders == {}, "they are let go of before training"

    one = concepts[1]  # neither the first that was loaded for, nor the last
    alone = RunFolder(tmp_path / "alone" / one.name)
    go(Models(one.settings, CPU, alone))
    report_run(alone)
    assert contents(alone.root) == contents(one.folder)
    assert [row.stage for row in overview(tmp_path / "catalogue")] == ["done"] * 3

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "catalogue").rglob("*") if path.is_file()}
    assert ends(discover(concepts, CPU, Loaded())) == {concept.name: Ended() for concept in concepts}
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "catalogue").rglob("*") if p.is_file()}


def test_what_fails_is_told_of_and_the_rest_is_done(concepts: list[Discovery]) -> None:
    """One prompt is longer than the model reads: found before anything is drawn. One folder is somebody else's."""
    long = concepts[0].settings.model_copy(update={"prompts": ("a robot " * 200,)})
    broken = [Discovery(long, concepts[0].folder), concepts[1], concepts[2]]
    concepts[2].folder.mkdir(parents=True)
    (concepts[2].folder / "thesis.txt").write_text("mine")
    events = discover(broken, CPU, Loaded())
    first = next(events)
    assert first[0] is broken[0] and isinstance(first[1], Ended) and "tokens" in first[1].failed
    found = ends(events)
    assert found["person"] == Ended() and "holds other files" in found["both"].failed
    assert [path.name for path in concepts[2].folder.iterdir()] == ["thesis.txt"]


def test_a_file_that_cannot_be_read_is_told_of_and_the_rest_is_done(concepts: list[Discovery]) -> None:
    RunFolder(concepts[1].folder).open_for_writing().close()
    (concepts[1].folder / "config.json").mkdir()
    loaded, two = Loaded(), concepts[:2]
    assert [stage_of(concept, CPU, loaded) for concept in two] == ["new", "new"]
    found = ends(discover(two, CPU, loaded))
    assert (
        found["robot"] == Ended()
        and "cannot read" in found["person"].failed
        and "config.json" in found["person"].failed
    )


def test_what_another_process_holds_is_passed_over(concepts: list[Discovery]) -> None:
    loaded, two = Loaded(), concepts[:2]
    with RunFolder(two[0].folder).open_for_writing():
        assert ends(discover(two, CPU, loaded)) == {"robot": Ended(held=True), "person": Ended()}
    assert ends(discover(two, CPU, loaded))["robot"] == Ended()


def test_the_furthest_comes_first_and_goes_on(concepts: list[Discovery], tmp_path: Path) -> None:
    """Broken off while the second concept trains."""
    loaded = Loaded()
    events = discover(concepts[1:2], CPU, loaded)
    for _, record in events:
        if isinstance(record, Progress) and record.stage == "train" and record.done:
            break
    events.close()
    stages = {concept: stage_of(concept, CPU, loaded) for concept in concepts}
    assert list(stages.values()) == ["new", "training", "new"]
    assert [concept.name for concept in furthest_first(concepts, stages)] == ["person", "robot", "both"]
    sampled = [path.stat().st_mtime_ns for path in RunFolder(concepts[1].folder).trajectories.iterdir()]
    assert ends(discover(concepts[1:2], CPU, Loaded())) == {"person": Ended()}
    assert sampled == [path.stat().st_mtime_ns for path in RunFolder(concepts[1].folder).trajectories.iterdir()]
    assert stage_of(concepts[1], CPU, Loaded()) == "done"


def test_other_settings_make_a_concept_due_again(concepts: list[Discovery]) -> None:
    ends(discover(concepts[:1], CPU, loaded := Loaded()))
    assert stage_of(concepts[0], CPU, loaded) == "done"
    changed = Discovery(concepts[0].settings.model_copy(update={"updates": 4}), concepts[0].folder)
    assert stage_of(changed, CPU, loaded) == "training", "its directions serve again"
    assert list(discover_concept(changed, CPU, loaded))
    assert stage_of(changed, CPU, loaded) == "done" and stage_of(concepts[0], CPU, loaded) == "training"


# ---- the loop over them, with work that is only told of


def some(count: int, tmp_path: Path) -> list[Discovery]:
    settings = Settings(prompts=("a robot",))
    return [Discovery(settings, tmp_path / f"{index}") for index in range(count)]


def test_held_concepts_are_tried_again_after_the_last(tmp_path: Path) -> None:
    """The other process was lost meanwhile, and had done one of them."""
    tries: list[str] = []

    def work(concept: Discovery) -> Iterator[Progress]:
        tries.append(concept.name)
        if concept.name in ("0", "1") and len(tries) < 4:
            raise Held("another has it")
        yield Progress("sample", 0, 1)

    assert ends(run(some(4, tmp_path), work)) == {name: Ended() for name in ("0", "1", "2", "3")}
    assert tries == ["0", "1", "2", "3", "0", "1"]


def test_it_ends_where_all_that_is_left_is_held(tmp_path: Path) -> None:
    def work(concept: Discovery) -> Iterator[Progress]:
        if concept.name != "1":
            raise Held("another has it")
        yield Progress("sample", 0, 1)

    held = Ended(held=True)
    assert ends(run(some(3, tmp_path), work)) == {"0": held, "1": Ended(), "2": held}


@pytest.mark.parametrize("error", [DiskFull("no room"), KeyboardInterrupt()])
def test_a_full_disk_and_ctrl_c_end_it_all(tmp_path: Path, error: BaseException) -> None:
    def work(concept: Discovery) -> Iterator[Progress]:
        yield Progress("sample", 0, 1)
        raise error

    with pytest.raises(type(error)):
        list(run(some(2, tmp_path), work))


def test_a_failure_that_nobody_foresaw_keeps_its_trace_and_no_frames(tmp_path: Path) -> None:
    def work(concept: Discovery) -> Iterator[Progress]:
        if concept.name == "0":
            raise KeyError("unit")
        yield Progress("sample", 0, 1)

    found = ends(run(some(2, tmp_path), work))
    assert found["0"].failed == "KeyError: 'unit'" and "in work" in found["0"].trace and found["1"] == Ended()
    known = Ended.by(DiskFull("no room.\nMake \x1b[31mroom"))
    assert known == Ended("no room. Make ␛[31mroom")


# ---- what info says of a folder of runs


def test_the_overview_says_how_far_each_is(finished: Path, tmp_path: Path, make_models: MakeModels) -> None:
    for name in ("done", "fetched", "redone", "damaged"):
        shutil.copytree(finished, tmp_path / name)
    (tmp_path / "fetched" / "report.html").unlink()  # imported and fetched spaces have none
    (tmp_path / "damaged" / "config.json").write_text("{")
    (tmp_path / "no run").mkdir()
    again = make_models(tmp_path / "redone", updates=7)
    with again.run.open_for_writing():
        from sliderspace.engine.begin import begin

        begin(again.settings, again.speed, again.run)
    rows = {row.name: row for row in overview(tmp_path)}
    stages = {"done": "done", "fetched": "done", "redone": "sampling", "damaged": "new"}
    assert {name: row.stage for name, row in rows.items()} == stages
    assert rows["done"].prompts == ("a robot", "a person") and rows["done"].means["alignment"] is not None
    assert "config.json" in rows["damaged"].trouble and not rows["done"].trouble
    assert overview(tmp_path / "not there") == []
