"""Discoveries that are started from the page: the command line in a process of its own."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from sliderspace.cli import app
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings
from sliderspace.explore.discovery import Asked, Discovery, State, folder_for, share_of
from sliderspace.explore.session import Session
from sliderspace.measure.results import SpaceFile
from sliderspace.storage.run_folder import RunFolder

TOY = {"sliders": 2, "samples": 24, "updates": 2}


def wait(discovery: Discovery, until: Callable[[State], bool], seconds: float = 600) -> State:
    end = time.monotonic() + seconds
    while not until(discovery.state()):
        assert time.monotonic() < end, discovery.state()
        time.sleep(0.05)
    return discovery.state()


@pytest.mark.parametrize("prompt", ["a monster", "--out /etc", "-h", '"; rm -rf ~ #', "a\nb\x00c"])
def test_whatever_the_prompt_says_it_is_a_prompt(tmp_path: Path, prompt: str) -> None:
    words = Asked(prompt=prompt, updates=5).command(tmp_path / "run")
    discover = typer.main.get_command(app).commands["discover"]  # type: ignore[attr-defined]
    values = discover.make_context("discover", words[words.index("discover") + 1 :]).params
    assert values["out"] == tmp_path / "run"
    assert values["prompts"] == [" ".join(prompt.replace("\x00", "").split())]
    assert (values["updates"], values["samples"]) == (5, 1000)


def test_a_model_is_used_as_it_was_in_its_run() -> None:
    like = Settings(prompts=("x",), backbone="mini", encoder="dinov2", guidance=2.0, precision="float32")
    words = Asked(prompt="a cat").command(Path("r"), like)
    assert words[words.index("--encoder") + 1] == "dinov2"
    assert words[words.index("--guidance") + 1] == "2.0"
    assert "--steps" not in words and "--resolution" not in words


def test_a_model_keeps_a_size_that_is_not_square() -> None:
    like = Settings(prompts=("x",), backbone="sdxl", resolution=(1216, 832))
    words = Asked(prompt="a cat").command(Path("r"), like)
    assert words[words.index("--resolution") + 1] == "1216x832"


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("sample 0/425 (0 %)", 0),
        ("sample 100/200 (50 %), 3 s left", 0.075),
        ("train 150/150 (100 %), took 3 min: held-out alignment 0.4", 0.77),
        ("measure 16/16 (100 %), took 11 min", 1),
        ('warning: mini does not know "x"', 0),
        ("train x/y", 0),
    ],
)
def test_the_log_says_how_far_it_is(line: str, due: float) -> None:
    assert share_of(line) == pytest.approx(due)


def test_a_failure_is_what_the_command_said_and_another_may_follow(tmp_path: Path) -> None:
    (tmp_path / "a-robot").mkdir()
    (tmp_path / "a-robot" / "letter.txt").write_text("mine")
    discovery = Discovery(tmp_path)
    discovery.start(Asked(prompt="a robot", **TOY))
    with pytest.raises(BadInput, match="is running"):
        discovery.start(Asked(prompt="a cat", **TOY))
    state = wait(discovery, lambda state: not state.running)
    assert "already holds other files" in state.said
    assert not state.finished and not state.stopped
    assert [path.name for path in (tmp_path / "a-robot").iterdir()] == ["letter.txt"]


def asks_for(folder: Path, prompt: str) -> None:
    """Let a run be of this prompt."""
    for name in ("config.json", "space.json"):
        if (folder / name).exists():
            stored = json.loads((folder / name).read_text())
            (stored if name == "config.json" else stored["settings"])["prompts"] = [prompt]
            (folder / name).write_text(json.dumps(stored))


def test_prompts_of_nearly_one_name_get_folders_of_their_own(run: Path) -> None:
    base = run.parent
    first, second = run.rename(base / "a-robot"), base / "a-robot-2"
    asks_for(first, "a robot")
    assert folder_for(base, "a robot") == first
    assert folder_for(base, "A robot!") == second
    shutil.copytree(first, second)
    (second / "space.json").unlink()  # begun, not finished
    asks_for(second, "A robot!")
    assert folder_for(base, "A robot!") == second
    assert folder_for(base, "a ROBOT") == base / "a-robot-3"
    (second / "config.json").write_text("{")
    assert folder_for(base, "a ROBOT") == second  # and the command says that it is damaged


@pytest.mark.slow
def test_paused_and_stopped_it_goes_on_and_the_page_gets_its_run(session: Session, run: Path) -> None:
    settings = SpaceFile.read(RunFolder(run).space).settings
    asked = {"action": "discover", "asked": {"prompt": "a red robot", "backbone": settings.backbone, **TOY}}
    assert session.act(asked)["running"]
    wait(session.discovery, lambda state: state.share > 0)
    paused = session.act({"action": "pause"})
    assert paused["paused"] and not paused["running"] and not paused["stopped"]
    assert session.act({"action": "go_on"})["running"]
    wait(session.discovery, lambda state: state.share > 0)
    session.act({"action": "pause"})
    stopped = session.act({"action": "stop"})
    assert stopped["stopped"] and not stopped["paused"]
    assert "no discovery is paused" in session.act({"action": "go_on"})["error"]
    assert (run.parent / "a-red-robot" / "config.json").is_file()
    assert session.act(asked)["running"]
    wait(session.discovery, lambda state: not state.running)
    found = session.act({"action": "progress"})
    assert found["finished"] and found["share"] == 1
    opened = session.act({"action": "open", "run": found["run"]})
    assert opened["prompt"] == "a red robot"
    assert len(opened["rows"]) == 2
    assert len(session.act({"action": "runs"})["runs"]) == 2
