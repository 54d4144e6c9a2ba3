"""Names live in labels.json: they belong to the sliders, a person's stay, and no text of a stranger acts on anything."""

import errno
import fcntl
import json
import os
import shutil
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from support.spaces import make_space
from support.tiny import Tiny
from torch import nn

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.space.labels import MOST, Checks, Label, Labels, change, labels_of, propose, rename, write_labels
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import load_json, save_json
from sliderspace.storage.run_folder import RunFolder

FOUND = Label(
    proposed="grey ↔ orange", passed=True, by="vocabulary", confidence=0.97, checks=Checks(cosine=0.6, beaten=0.97)
)


@pytest.fixture
def run(tmp_path: Path, tiny: Tiny) -> RunFolder:
    """Three sliders of one layer that no model has; the second has a name."""
    return RunFolder(make_space(tmp_path / "run", {"a": nn.Linear(2, 2)}, backbone=str(tiny.velocity)).folder)


def again(run: RunFolder, identity: str) -> None:
    """The same folder with sliders that were trained anew."""
    made = run.root.with_name(identity)
    settings = SliderSpace.load(run.root).settings
    make_space(made, {"a": nn.Linear(2, 2)}, identity=identity, backbone=settings.backbone)
    for name in ("space.json", "sliders.safetensors"):
        shutil.copyfile(made / name, run.root / name)


def test_names_belong_to_the_sliders_and_not_to_their_measures(run: RunFolder) -> None:
    run.labels.unlink()
    assert [label.name for label in labels_of(run).sliders] == [None] * 3
    propose(run, {0: FOUND}, "")
    space = load_json(run.space, kind="space")
    save_json(run.space, space, kind="space", fingerprint="measured anew")
    assert labels_of(run).sliders[0].name == "grey ↔ orange"
    again(run, "trained anew")
    assert [label.name for label in labels_of(run).sliders] == [None] * 3
    again(run, "s")
    assert labels_of(run).sliders[0].name == "grey ↔ orange"


def test_a_machine_never_changes_a_name_that_a_person_chose(run: RunFolder) -> None:
    propose(run, dict.fromkeys(range(3), FOUND), "")
    rename(run, {1: "sunset"})
    edited = json.loads(run.labels.read_text())
    edited["sliders"][2]["name"] = "typed into the file"
    run.labels.write_text(json.dumps(edited))
    later = propose(run, dict.fromkeys(range(3), Label(proposed="horns", by="openai:m")), "").sliders
    assert [label.name for label in later] == ["horns", "sunset", "typed into the file"]
    assert [label.sure for label in later] == [False, True, True]
    assert [label.shown for label in later] == ["(horns)", "sunset", "typed into the file"]
    assert later[1].proposed == "horns", "what the machine says is kept beside it"
    rename(run, {1: " "})
    assert [label.name for label in labels_of(run).sliders[:2]] == ["horns", "horns"], "taken back"


def test_only_a_name_that_passed_is_sure() -> None:
    found = FOUND.after(Label())
    assert found.sure and found.sure_name == found.shown == "grey ↔ orange"
    failed = found.model_copy(update={"passed": False})
    assert not failed.sure and failed.sure_name is None and failed.shown == "(grey ↔ orange)"
    assert Label(by="openai:m", passed=True).after(Label()).shown is None, "unclear"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("<b>horns</b>", "<b>horns</b>"),
        ("\x1b[2Jhorns", "␛[2Jhorns"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\nb\t c", "a b c"),
        ("horns" * 2_000, ("horns" * 2_000)[: MOST - 1] + "…"),
        ("broken \udc80", "broken ⟨U+DC80⟩"),
        ("\u200b", None),
        ("", None),
    ],
)
def test_strangers_names_are_one_short_line_of_what_can_be_seen(run: RunFolder, typed: str, kept: str | None) -> None:
    stored = {"sliders": [{"name": typed}, {"name": "b", "sentence": typed, "by": typed}, {}]}
    save_json(run.labels, stored, kind="labels", fingerprint="s")
    first, second, _ = labels_of(run).sliders
    assert first.name == kept and len(second.sentence) <= 300 and "\x1b" not in second.sentence + second.by


def test_a_name_typed_is_refused_where_it_cannot_be_kept(run: RunFolder) -> None:
    with pytest.raises(BadInput, match="at most 60 characters, not 10000"):
        rename(run, {0: "x" * 10_000})
    with pytest.raises(BadInput, match="no slider 3"):
        rename(run, {0: "good", 3: "horns"})
    assert labels_of(run).sliders[0].name is None, "nothing was changed"


@pytest.mark.parametrize(
    "sliders", [[{}], [{"name": 7}, {}, {}], "three", [{"confidence": 2}, {}, {}], [{"checks": []}, {}, {}]]
)
def test_labels_that_cannot_be_are_damaged(run: RunFolder, sliders: object) -> None:
    save_json(run.labels, {"sliders": sliders}, kind="labels", fingerprint="s")
    with pytest.raises(DamagedFile, match=r"labels\.json .*\n.*sliderspace label"):
        labels_of(run)


def answered(key: str, labels: Labels) -> Labels:
    return labels.model_copy(update={"answers": {**labels.answers, key: "{}"}})


def test_two_writers_lose_nothing(run: RunFolder) -> None:
    def write(part: int) -> None:
        for key in (f"{part}/{i}" for i in range(10)):
            change(run, partial(answered, key))

    writers = [Thread(target=write, args=(part,)) for part in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(labels_of(run).answers) == 30


def test_a_name_needs_no_lock_and_says_what_stops_it(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(number: int) -> None:
        def lock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", lock)

    stops(errno.ENOLCK)  # as on a file system without locks
    rename(run, {0: "horns"})
    assert labels_of(run).sliders[0].name == "horns"
    stops(errno.EROFS)
    with pytest.raises(BadInput, match=r"cannot write .*: Read-only file system\.\n"):
        rename(run, {0: "hat"})


def test_an_unfinished_folder_has_nothing_to_name(run: RunFolder) -> None:
    run.sliders.unlink()
    with pytest.raises(BadInput, match="not finished"):
        rename(run, {0: "horns"})


def test_sliders_put_into_a_folder_again_keep_the_names_given_there(run: RunFolder) -> None:
    rename(run, {0: "mine"})
    write_labels(run, [Label(name="theirs")] * 3, "s")
    assert labels_of(run).sliders[0].name == "mine"
    run.labels.unlink()
    write_labels(run, [Label()] * 3, "s")
    assert not run.labels.exists(), "no names, no file"
    write_labels(run, [Label(name="theirs")] * 3, "s")
    assert Labels.read(run.labels).sliders[2].sure
