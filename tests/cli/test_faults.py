"""Faults that were found by trying: each stood in a release before, and stands here so that it does not come back."""

import io
import json
import os
import re
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.language_server import serving
from test_cli import Call, call, copy, ok, refused, sampling, tiny_options  # noqa: F401

import sliderspace
from sliderspace.cli import main
from sliderspace.cli.common import answer_with, settings_of, warn_of_unknown_words
from sliderspace.cli.tables import COLUMNS
from sliderspace.core import text
from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings, settings_from
from sliderspace.measure.results import Measures
from sliderspace.models.backbones import PRESETS
from sliderspace.models.backbones.presets import Preset
from sliderspace.storage.run_folder import RunFolder

LONG = "a" * 300
STEERING = "a \x1b[31mred\x1b[0m \u202etobor\x00"


@pytest.mark.parametrize(
    "verb", ["fit", "train", "measure", "generate", "sweep", "info", "report", "evaluate", "export"]
)
def test_a_folder_of_three_hundred_letters_is_no_run(call: Call, verb: str) -> None:  # noqa: F811
    refused(call(verb, LONG, *(["0"] if verb == "sweep" else [])), "is not the folder of a run")


def test_a_run_in_a_folder_of_three_hundred_letters(call: Call, tiny_options: list[str]) -> None:  # noqa: F811
    refused(call("discover", "a robot", *tiny_options, "--out", LONG), "--out")
    refused(call("discover", "--out", LONG), "no prompt given")


@pytest.mark.parametrize("option", ["--backbone", "--encoder", "--decoder", "--images"])
@pytest.mark.parametrize("place", [LONG, "~nobody-of-this-name/models"])
def test_a_model_in_a_place_that_cannot_be(call: Call, tmp_path: Path, option: str, place: str) -> None:  # noqa: F811
    refused(call("discover", "a robot", option, place, "--out", tmp_path / "run"), option, "neither a folder")


def test_sampling_asks_for_no_sliders(call: Call, tiny_options: list[str], tmp_path: Path) -> None:  # noqa: F811
    """Ten trajectories carry no sixteen sliders, and sampling does not know of sliders."""
    run = tmp_path / "run"
    options = [o for o in sampling(tiny_options) if not o.startswith("--samples")]
    ok(call("sample", "a robot", *options, "--samples", 10, "--out", run))
    refused(call("fit", run, "--device", "cpu"), "at most 9 sliders", "16")
    ok(call("fit", run, "--sliders", 2, "--device", "cpu"))


def test_a_run_that_is_not_finished_says_how_to_go_on(call: Call, copy: Path) -> None:  # noqa: F811
    for name in ("directions.safetensors", "sliders.safetensors", "space.json", "measures.json"):
        (copy / name).unlink()
    for verb in (["generate", copy], ["sweep", copy, "0"], ["export", copy]):
        result = call(*verb)
        refused(result, "not finished", "still going", f"sliderspace discover --out {copy}")
        assert "sliderspace fit" not in result.stderr


@pytest.mark.parametrize(
    ("wrong", "words"), [("--device=warp", "--device"), ("--lr=9", "--lr"), ("--samples=5", "at most 4 sliders")]
)
def test_what_is_typed_is_checked_before_a_language_model_is_asked(
    call: Call,  # noqa: F811
    tmp_path: Path,
    wrong: str,
    words: str,
) -> None:
    """Nobody listens at that address: asking would say so."""
    asking = ["--expand", "openai:llama", "--base-url", "http://127.0.0.1:9/v1"]
    refused(call("discover", "a robot", *asking, wrong, "--out", tmp_path / "run"), words)


def test_a_language_model_is_asked_once_for_a_new_run(
    call: Call,  # noqa: F811
    tiny_options: list[str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asking(folder: str, verb: str = "sample", *more: str) -> Any:
        said = ["--expand", "openai:llama", "--expand-to", 2, "--base-url", server.url]
        return call(verb, "a robot", *said, *sampling(tiny_options), *more, "--out", tmp_path / folder)

    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").touch()
    with serving(monkeypatch) as server:
        ok(asking("new", "discover", "--dry-run"))
        refused(asking("theirs"), "already holds other files")
        assert not server.seen and not (tmp_path / "new").exists()
        server.replies = [json.dumps(["a red robot", "an old robot"])]
        ok(asking("new"))
        ok(asking("new"))
        assert len(server.seen) == 1
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["prompts"] == ["a red robot", "an old robot"]


def test_workers_that_begin_at_once_ask_a_language_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(worker: int) -> Settings:
        asking = {"expand": "openai:llama", "expand_to": 2, "base_url": server.url, "shard": f"{worker}/2"}
        return settings_of({"prompts": ["a robot"], "file": None, **asking}, RunFolder(tmp_path / "run"))

    def slowly(*request: Any) -> Any:
        time.sleep(0.3)
        return reply(*request)

    with serving(monkeypatch) as server:
        reply = server.reply
        monkeypatch.setattr(server, "reply", slowly)
        server.replies = [json.dumps([f"a {kind} robot", "an old robot"]) for kind in ("red", "blue")]
        with ThreadPoolExecutor(2) as threads:
            found = list(threads.map(settings, range(2)))
        assert len(server.seen) == 1
    assert [each.prompts for each in found] == [("a red robot", "an old robot")] * 2


# ---- what a terminal could take for a command


def steers(written: str) -> bool:
    return any(c in written for c in "\x1b\x00\x9b\u202e\u2066\u200f")


def test_names_and_prompts_cannot_steer_the_terminal(call: Call, copy: Path, tmp_path: Path) -> None:  # noqa: F811
    for arguments in (
        ["generate", copy, "--seeds", STEERING],
        ["generate", copy, "--set", f"{STEERING}=1"],
        ["fit", tmp_path / "no \x1b[2J run"],
        ["fit", copy, "--centring", STEERING],
        ["discover", "a robot", "--backbone", STEERING, "--out", tmp_path / "run"],
        ["discover", "a robot", "--expand", STEERING, "--out", tmp_path / "run"],
    ):
        result = call(*arguments)
        refused(result)
        assert not steers(result.stderr), result.stderr


def test_changes_are_named_without_their_control_characters(
    call: Call,  # noqa: F811
    copy: Path,  # noqa: F811
    small: dict[str, Any],
) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "images": "\x1b[2J\u202e"}))
    options = [
        f"--{name}={small[name]}" for name in ("backbone", "encoder", "steps", "guidance", "precision", "samples")
    ]
    result = ok(call("sample", *small["prompts"], *options, "--device", "cpu", "--out", copy))
    assert "changed since the last run: images: ␛[2J⟨U+202E⟩ → " in result.stderr
    assert not steers(result.output)


def test_answers_for_programs_read_back_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"prompt": STEERING, "list": ["é", "机器人", "\x9b2J", "a\nb", "\u2066"]}
    answer_with(values, True)
    written = capsys.readouterr().out
    assert json.loads(written) == values and not steers(written) and "机器人" in written
    answer_with(values, False)
    assert not steers(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("a robot", "a robot"),
        ("\x1b[31mred", "␛[31mred"),
        ("nul\x00", "nul␀"),
        ("\x9b2J\x7f", "⟨U+009B⟩2J␡"),
        ("\u202eright to left", "⟨U+202E⟩right to left"),
        ("\u2066\u200f\u061c\u2028\ufeff", "⟨U+2066⟩⟨U+200F⟩⟨U+061C⟩⟨U+2028⟩⟨U+FEFF⟩"),
        ("机器人 с очками, é, 👩\u200d🚀", "机器人 с очками, é, 👩\u200d🚀"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_is_shown_of_a_text(raw: str, safe: str) -> None:
    assert text.shown(raw) == safe


@pytest.mark.parametrize(
    ("raw", "blank"),
    [("", True), (" \t\n", True), ("\u200b", True), ("\u2060\ufeff\u3000", True), (" a\u200b", False), ("。", False)],
)
def test_a_text_of_which_nothing_can_be_seen_is_blank(raw: str, blank: bool) -> None:
    assert text.is_blank(raw) is blank


# ---- words the model does not know


class Robots(Preset):
    """A model that knows of robots only."""

    def unknown_words(self, prompt: str) -> tuple[str, ...]:
        return tuple(word for word in prompt.split() if word not in ("a", "robot"))


def test_words_the_model_does_not_know_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "mini-turbo", Robots(**vars(PRESETS["mini-turbo"])))
    warn_of_unknown_words(settings_from({"prompts": ("a robot",)}))
    assert capsys.readouterr().err == ""
    warn_of_unknown_words(
        settings_from({"prompts": ("a \x1bspaceship", "a spaceship robot", "one two three four five")})
    )
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("warning: mini-turbo does not know")
    assert '"␛spaceship", "spaceship", "one"' in said.err and "and 1 more" in said.err
    warn_of_unknown_words(settings_from({"prompts": ("a spaceship",), "backbone": "sdxl"}))
    assert capsys.readouterr().err == ""


# ---- where a run goes


@pytest.mark.parametrize(
    ("prompts", "name"),
    [
        (["a portrait of a person"], "a-portrait-of-a-person"),
        (["A robot, in style_of/…!", "another"], "a-robot-in-style-of-and-1-more"),
        (["机器人 с очками"], "机器人-с-очками"),
        (["../.."], "prompt"),
        (["é" * 300], "é" * 60),
    ],
)
def test_a_run_is_named_after_its_prompt(prompts: list[str], name: str) -> None:
    assert text.folder_name(prompts) == name


def test_where_a_run_goes_is_the_first_that_is_printed(
    call: Call,  # noqa: F811
    tiny_options: list[str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ok(call("sample", "a robot", *sampling(tiny_options)))
    assert result.stderr.splitlines()[0] == "folder: runs/a-robot" and "folder: runs/a-robot" in result.stdout
    assert (tmp_path / "runs" / "a-robot" / "config.json").is_file()
    (tmp_path / "faces.txt").write_text("a face\nan emoji face\n")
    ok(call("sample", "--prompts", "faces.txt", *sampling(tiny_options), "--json"))
    assert (tmp_path / "runs" / "faces" / "config.json").is_file()
    refused(call("discover"), "no prompt given")


@pytest.mark.usefixtures("least_measured")
def test_the_python_call_names_the_folder_too(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sliderspace import discover

    monkeypatch.chdir(tmp_path)
    chosen = {**small, "samples": 20, "updates": 2, "sliders": 2}
    del chosen["prompts"]
    near = {name: os.path.relpath(small[name]) for name in ("backbone", "encoder")}
    space = discover("a robot", **{**chosen, "backbone": near["backbone"], "encoder": Path(near["encoder"])})
    assert {name: getattr(space.settings, name) for name in near} == {
        name: str(Path(small[name]).resolve()) for name in near
    }, "stored whole, so that it is found from anywhere"
    assert (
        Path(space.folder).resolve() == (tmp_path / "runs/a-robot").resolve()
        and (tmp_path / "runs/a-robot/report.html").is_file()
    )
    assert capsys.readouterr().err.splitlines()[0] == "folder: runs/a-robot"


# ---- a terminal that cannot say it


def test_what_a_code_page_does_not_hold_is_written_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped output of Windows is of such a page, and help with a minus sign was a traceback. JSON stays JSON."""
    written, other = io.BytesIO(), io.BytesIO()
    for name, raw in (("stdout", written), ("stderr", other)):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding="cp1252", write_through=True))
    monkeypatch.setattr(sys, "argv", ["sliderspace", "discover", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0 and "\\u2212" in written.getvalue().decode("cp1252")
    written.truncate(written.seek(0))
    values = {"prompt": "mönster 😀 −机器人"}
    answer_with(values, True)
    assert json.loads(written.getvalue().decode("cp1252")) == values


# ---- figures


def test_the_list_of_models_has_the_figures_of_the_documents() -> None:
    measures = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")
    means = " ".join(measures[measures.index("The demo run's means") :].split("\n\n")[0].split())
    said = PRESETS["mini-turbo"].expected
    for measure in ("alignment", "consistency", "realism"):
        number = re.search(rf"{measure} ([\d.]+)", said)
        assert number and re.search(rf"{measure} \(?{number[1]}\b", means), (measure, said)


@pytest.mark.parametrize(
    "wrong", [["--encoder", "nosuch"], ["--lora", "nofile"], ["--resolution", "100"], ["--embed", "3,5,9"]]
)
def test_a_typing_error_leaves_no_folder_behind(call: Call, tmp_path: Path, wrong: list[str]) -> None:  # noqa: F811
    assert call("discover", "a toy", *wrong, "--device", "cpu", "--out", tmp_path / "run").exit_code == 2
    with pytest.raises(BadInput):
        sliderspace.discover("a toy", tmp_path / "run", **{wrong[0][2:]: wrong[1]})
    assert not (tmp_path / "run").exists()


def test_imported_sliders_are_named_and_not_measured(call: Call, copy: Path, tmp_path: Path) -> None:  # noqa: F811
    again = tmp_path / "again"
    ok(call("export", copy, "--out", tmp_path / "files"))
    ok(call("import", tmp_path / "files", "--out", again))
    for verb in ("evaluate", "report"):
        refused(call(verb, again), "holds imported sliders")
    ok(call("label", again, "--name", "1=wings"))
    assert "wings" in ok(call("info", again)).stdout


def test_a_command_that_is_advised_can_be_pasted(call: Call, copy: Path, tmp_path: Path) -> None:  # noqa: F811
    spaced = copy.rename(tmp_path / "my runs")
    (spaced / "sliders.safetensors").unlink()
    result = call("generate", spaced)
    refused(result, "not finished")
    advised = shlex.split(result.stderr.partition("sliderspace discover")[2].splitlines()[0])
    assert advised == ["--out", str(spaced)]
    assert f"`sliderspace measure '{spaced}'`" in Measures.mending(spaced / "measures.json")


def test_a_slider_is_set_once(call: Call, copy: Path) -> None:  # noqa: F811
    refused(call("generate", copy, "--set", "0=1", "--set", "0=2"), "slider 0 is set twice")


def test_measures_stand_in_eighty_columns_with_their_names(call: Call, copy: Path, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setenv("COLUMNS", "80")
    said = ok(call("info", copy)).stdout
    assert all(name in said for name in COLUMNS.values())


def test_words_without_a_prompt_are_answered_with_an_example_of_words(call: Call) -> None:  # noqa: F811
    refused(call("concept"), "sliderspace concept smiling sad")
    refused(call("concept", "--pairs", "nofile", "--prompt", "x"), "nofile: only .csv, .jsonl files are read")
