"""The command line: every verb on a real folder, an answer a program can read, and two plain lines where something is
wrong."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from support.tiny import Tiny
from typer.testing import CliRunner

from sliderspace.cli import app
from sliderspace.storage.run_folder import RunFolder

Result = Any  # of typer, which brings its own click
Call = Callable[..., Result]

# The options of the small run that each stage takes.
SAMPLING = {
    *("--backbone", "--encoder", "--steps", "--guidance", "--precision", "--samples", "--device"),
}
TRAINING = {"--targets", "--objective", "--until", "--updates", "--lr", "--device"}


@pytest.fixture
def call() -> Call:
    """Runs the command line in this process; output and errors apart, as a shell has them."""
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def tiny_options(small: dict[str, Any], least_measured: None) -> list[str]:
    """The options of the shortest run there is."""
    values = {**small, "samples": 20, "updates": 3, "sliders": 2}
    return [f"--{name}={value}" for name, value in values.items() if name != "prompts"] + ["--device=cpu"]


def ok(result: Result) -> Result:
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


def refused(result: Result, *words: str, code: int = 2) -> None:
    """A plain refusal: the exit code, at most three lines, no traceback, nothing on stdout, and the words a user
    needs."""
    assert result.exit_code == code, f"{result.exit_code}: {result.output}\n{result.exception!r}"
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == "" and "Traceback" not in result.stderr
    said = result.stderr.strip().splitlines()
    about_the_refusal = [line for line in said if not re.match(r"changed since|folder: |\w+ \d+/\d+ \(", line)]
    assert said[-1] and (len(about_the_refusal) <= 3 or "Usage:" in said[0])
    assert all(word.lower() in result.stderr.lower() for word in words), result.stderr


# ---- the path of a run


def test_discover_then_all_that_can_be_done_with_it(call: Call, tiny_options: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    answer = json.loads(ok(call("discover", "a robot", "a person", *tiny_options, "--out", folder, "--json")).stdout)
    assert Path(answer["report"]).is_file() and answer["folder"] == str(folder)
    again = ok(call("discover", "a robot", "a person", *tiny_options, "--out", folder))
    assert str(folder / "report.html") in again.stdout and "changed" not in again.stderr
    told = json.loads(ok(call("info", folder, "--json")).stdout)
    assert told["settings"]["prompts"] == ["a robot", "a person"] and len(told["sliders"]) == 2


def test_the_stages_alone_make_what_discover_makes(call: Call, tiny_options: list[str], tmp_path: Path) -> None:
    ok(call("discover", "a robot", *tiny_options, "--out", tmp_path / "whole"))
    chosen = {o.split("=")[0]: o for o in tiny_options}
    staged = tmp_path / "staged"
    ok(call("sample", "a robot", *(chosen[o] for o in chosen if o in SAMPLING), "--out", staged))
    assert not (staged / "directions.safetensors").exists()
    ok(call("fit", staged, chosen["--sliders"]))
    assert not (staged / "sliders.safetensors").exists()
    ok(call("train", staged, *(chosen[o] for o in chosen if o in TRAINING)))
    for name in ("directions.safetensors", "sliders.safetensors", "measures.json", "space.json", "config.json"):
        assert (staged / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert (staged / "report.html").is_file()
    for name in ("measures.json", "space.json", "strips.safetensors", "report.html"):
        (staged / name).unlink()
    ok(call("measure", staged, "--device", "cpu"))
    for name in ("measures.json", "space.json", "strips.safetensors"):
        assert (staged / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert (staged / "report.html").is_file()


def test_discover_without_a_prompt_goes_on_with_the_folders_own(call: Call, copy: Path) -> None:
    (copy / "space.json").unlink()
    ok(call("discover", "--out", copy, "--device", "cpu"))
    assert (copy / "space.json").is_file()


def test_changed_settings_are_said(call: Call, copy: Path) -> None:
    result = ok(call("train", copy, "--updates", 4, "--device", "cpu"))
    assert "changed since the last run: updates: 15 → 4" in result.stderr


def pictures(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {p.name: np.asarray(Image.open(p)) for p in sorted(folder.glob("*.png"))}


def test_generate_writes_a_picture_a_seed_and_a_grid(call: Call, finished: Path, tmp_path: Path) -> None:
    answer = json.loads(
        ok(
            call(
                "generate",
                finished,
                "--set",
                "2=1.5",
                "--set",
                "0=-2",
                "--seeds",
                "3,17,40-41",
                "--out",
                tmp_path / "a",
                "--json",
            )
        ).stdout
    )
    made = pictures(tmp_path / "a")
    assert answer["images"] == 4 and Path(answer["grid"]).name in made
    assert set(made) == {"000003.png", "000017.png", "000040.png", "000041.png", "grid.png"}
    assert all(image.shape == (32, 32, 3) for name, image in made.items() if name != "grid.png")
    ok(call("generate", finished, "--seeds", "17", "--out", tmp_path / "b"))
    ok(call("generate", finished, "--seeds", "17", "--set", "2=1.5", "--set", "0=-2", "--out", tmp_path / "c"))
    base, alone = pictures(tmp_path / "b")["000017.png"], pictures(tmp_path / "c")["000017.png"]
    assert np.abs(made["000017.png"].astype(int) - base).max() > 5
    assert np.abs(made["000017.png"].astype(int) - alone).max() <= 1


def test_generate_takes_a_mix_a_prompt_a_later_start_and_another_model(
    call: Call, finished: Path, tiny: Tiny, tmp_path: Path
) -> None:
    runs = {
        "mix": ["--mix", 2],
        "mix late": ["--mix", 2, "--start-step", 2],
        "prompt": ["--prompt", "a face"],
        "base": [],
        "set": ["--set", "0=2"],
        "set late": ["--set", "0=2", "--start-step", 2],
        "set elsewhere": ["--set", "0=2", "--backbone", tiny.noise],
    }
    made = {}
    for name, options in runs.items():
        ok(call("generate", finished, "--seeds", "5", *options, "--out", tmp_path / name))
        made[name] = pictures(tmp_path / name)["000005.png"].astype(int)
    names = list(made)
    assert all(np.abs(made[a] - made[b]).max() > 0 for i, a in enumerate(names) for b in names[:i]), (
        "every option does something"
    )


def test_sweep_writes_one_picture(call: Call, copy: Path) -> None:
    answer = json.loads(ok(call("sweep", copy, 1, "--seeds", "0-2", "--scales=-1,0,2.5", "--json")).stdout)
    assert answer["scales"] == [-1, 0, 2.5]
    height, width, _ = np.asarray(Image.open(answer["image"])).shape
    assert Path(answer["image"]).parent == copy and height > 3 * 32 and width > 3 * 32


def test_info_is_a_table_for_people(call: Call, finished: Path) -> None:
    said = ok(call("info", finished)).stdout
    assert "a robot, a person" in said and "seed 0" in said and "mean" in said


def test_info_of_a_folder_half_done(call: Call, copy: Path) -> None:
    for name in ("sliders.safetensors", "measures.json", "space.json", "strips.safetensors"):
        (copy / name).unlink()
    assert "done: sample, fit" in ok(call("info", copy)).stdout
    assert json.loads(ok(call("info", copy, "--json")).stdout)["stages"]["train"] == "missing"
    sorted((copy / "trajectories").iterdir())[-1].unlink()
    assert json.loads(ok(call("info", copy, "--json")).stdout)["stages"]["sample"] == "missing"


def test_info_of_a_single_slider(call: Call, tiny_options: list[str], tmp_path: Path) -> None:
    """Alone, its selectivity is infinite and stored as null."""
    ok(call("discover", "a robot", *tiny_options, "--sliders", 1, "--out", tmp_path / "run"))
    ok(call("info", tmp_path / "run"))


def test_report_is_written_again(call: Call, copy: Path) -> None:
    (copy / "report.html").unlink()
    answer = json.loads(ok(call("report", copy, "--json")).stdout)
    assert "a robot" in Path(answer["report"]).read_text()


def test_backbones_say_what_they_know(call: Call) -> None:
    told = json.loads(ok(call("backbones", "--json")).stdout)
    assert told["mini"]["examples"] and told["mini"]["knows"] and told["mini"]["steps"] > 0
    said = ok(call("backbones")).stdout
    assert all(example in said for example in told["mini"]["examples"])


# ---- what a user may get wrong

WRONG: dict[str, tuple[list[str], list[str]]] = {  # arguments after DIR, and words of the answer
    "unknown slider": (["generate", "--set", "3=1"], ["no slider 3", "0 … 2"]),
    "strength is NaN": (["generate", "--set", "0=nan"], ["finite"]),
    "strength is infinite": (["generate", "--set", "0=inf"], ["finite"]),
    "strength is a word": (["generate", "--set", "0=much"], ["--set", "much"]),
    "set without a strength": (["generate", "--set", "3"], ["SLIDER=UNITS"]),
    "set without a slider": (["generate", "--set", "=3"], ["SLIDER=UNITS"]),
    "set of a negative slider": (["generate", "--set", "-1=3"], ["SLIDER=UNITS"]),
    "set of a slider in small raised digits": (["generate", "--set", "²=3"], ["SLIDER=UNITS"]),
    "seeds are words": (["generate", "--seeds", "many"], ["--seeds", "0-15"]),
    "seeds backwards": (["generate", "--seeds", "5-3"], ["5-3"]),
    "seeds empty": (["generate", "--seeds", ""], ["--seeds"]),
    "seeds with a gap": (["generate", "--seeds", "1,,2"], ["--seeds"]),
    "negative seed": (["generate", "--seeds=-1"], ["--seeds"]),
    "seed with a fraction": (["generate", "--seeds", "1.5"], ["--seeds"]),
    "seed in small raised digits": (["generate", "--seeds", "²"], ["--seeds"]),
    "seed beyond all numbers": (["generate", "--seeds", "99999999999999999999"], ["seed"]),
    "more seeds than atoms": (["generate", "--seeds", "0-9999999999999"], ["seeds"]),
    "model of another family": (["generate", "--backbone", "sdxl"], ["another model", "sdxl has no"]),
    "no such model": (["generate", "--backbone", "nonesuch"], ["no backbone 'nonesuch'"]),
    "empty prompt": (["generate", "--prompt", ""], ["prompt"]),
    "long prompt": (["generate", "--prompt", "much too long a prompt for this model"], ["tokens"]),
    "start beyond the end": (["generate", "--start-step", "3"], ["0 … 2"]),
    "negative start": (["generate", "--start-step", "-1"], ["0 … 2"]),
    "mix of too many": (["generate", "--mix", "4"], ["between 1 and 3"]),
    "mix and set": (["generate", "--mix", "2", "--set", "0=1"], ["--mix", "--set"]),
    "no such device": (["generate", "--device", "warp"], ["--device: 'warp'"]),
    "a device that holds no values": (["train", "--device", "meta"], ["--device"]),
    "no batch": (["generate", "--batch", "0"], ["--batch"]),
    "sweep of an unknown slider": (["sweep", "3"], ["no slider 3"]),
    "a slider beyond all numbers": (["sweep", str(2**64)], ["no slider"]),
    "a start beyond all numbers": (["generate", "--start-step", str(2**64)], ["0 … 2"]),
    "seeds without end": (["evaluate", "--seeds", str(2**64)], ["--seeds"]),
    "sweep of a word": (["sweep", "hair"], ["slider", "integer"]),
    "scales are words": (["sweep", "0", "--scales", "a,b"], ["--scales"]),
    "scales are NaN": (["sweep", "0", "--scales", "0,nan"], ["finite"]),
    "scales empty": (["sweep", "0", "--scales", ""], ["--scales"]),
    "fit of no sliders": (["fit", "--sliders", "0"], ["--sliders", "not 0"]),
    "fit of more than the samples carry": (["fit", "--sliders", "500"], ["sliders"]),
    "fit of more than the embedding holds": (["fit", "--sliders", "25"], ["24"]),
    "unknown centring": (["fit", "--centring", "left"], ["--centring", "step"]),
    "rank 0": (["train", "--rank", "0"], ["--rank"]),
    "a rank beyond all layers": (["train", "--rank", str(2**64)], ["--rank", "1024"]),
    "unknown targets": (["train", "--targets", "everything"], ["--targets", "cross-kv"]),
    "unknown objective": (["train", "--objective", "best"], ["--objective", "sized"]),
    "no learning rate": (["train", "--lr", "0"], ["--lr"]),
    "a learning rate that is no number": (["train", "--lr", "nan"], ["--lr", "finite"]),
    "an infinite learning rate": (["train", "--lr", "inf"], ["--lr", "finite"]),
    "a learning rate beyond all sense": (["train", "--lr", "1e99"], ["--lr", "1e+99"]),
    "two wrong numbers": (["train", "--lr", "2", "--rank", "0"], ["--lr", "--rank"]),
    "no target named": (["train", "--targets", ""], ["--targets is empty"]),
    "a part of the work beyond its parts": (["train", "--shard", "4/4"], ["--shard", "3/4"]),
    "a part of the work that is a word": (["measure", "--shard", "first"], ["--shard", "0/4"]),
    "an engine that is none": (["train", "--engine", "spark"], ["--engine", "ray://HOST:PORT"]),
    "a cluster without a port": (["measure", "--engine", "ray://head"], ["--engine", "ray://HOST:PORT"]),
    "work dealt out twice": (["train", "--engine", "ray", "--shard", "0/2"], ["--shard", "--engine"]),
    "no workers": (["train", "--engine", "ray", "--workers", "0"], ["--workers"]),
    "more than a GPU a worker": (["train", "--engine", "ray", "--gpus", "2"], ["--gpus"]),
    "no updates": (["train", "--updates", "0"], ["--updates"]),
    "training on no steps": (["train", "--until", "0"], ["--until"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_said_in_a_line(call: Call, finished: Path, tmp_path: Path, what: str) -> None:
    (verb, *options), words = WRONG[what]
    out = ["--out", tmp_path / "out"] if verb == "generate" else []
    before = (finished / "config.json").read_bytes()
    refused(call(verb, finished, *options, *out), *words)
    if verb != "fit":  # settings of a fit that its samples cannot carry are found out by fitting
        assert (finished / "config.json").read_bytes() == before
    (finished / "config.json").write_bytes(before)


WRONG_RUNS: dict[str, tuple[list[str], list[str]]] = {
    "no prompt": ([], ["no prompt"]),
    "empty prompt": ([""], ["prompt is empty"]),
    "a prompt of one space of no width": (["\u200b"], ["prompt is empty"]),
    "one of two prompts is empty": (["a robot", " "], ["prompt is empty"]),
    "long prompt": (["much too long a prompt for this model"], ["tokens"]),
    "unknown backbone": (["a robot", "--backbone", "nonesuch"], ["nonesuch", "mini"]),
    "a folder that holds no pipeline": (["a robot", "--backbone", "."], ["mini"]),
    "no such encoder": (["a robot", "--encoder", "nonesuch"], ["nonesuch", "CLIP"]),
    "an encoder of no name": (["a robot", "--encoder", ""], ["--encoder is empty"]),
    "a backbone of no name": (["a robot", "--backbone", ""], ["--backbone is empty"]),
    "a decoder of no name": (["a robot", "--decoder", ""], ["--decoder is empty"]),
    "pictures in no folder": (["a robot", "--images", ""], ["--images is empty"]),
    "an encoder that is none": (["a robot", "--encoder", "."], ["config.json"]),
    "negative seed": (["a robot", "--seed", "-1"], ["--seed"]),
    "a seed beyond all numbers": (["a robot", "--seed", str(2**64)], ["--seed"]),
    "pictures beyond all screens": (["a robot", "--resolution", str(2**64)], ["--resolution"]),
    "a seed that is a word": (["a robot", "--seed", "lucky"], ["--seed"]),
    "no samples": (["a robot", "--samples", "0"], ["--samples"]),
    "too few samples for the sliders asked": (["a robot", "--samples", "10", "--sliders", "10"], ["10"]),
    "more sliders than the embedding has dimensions": (["a robot", "--samples", "40", "--sliders", "30"], ["24"]),
    "steps to embed that are not there": (["a robot", "--embed", "0,9"], ["embed", "0 … 2"]),
    "steps to embed that are words": (["a robot", "--embed", "late"], ["--embed"]),
    "steps to embed that are no numbers": (["a robot", "--embed", "nan"], ["--embed"]),
    "steps to embed that are fractions": (["a robot", "--embed", "1.5"], ["--embed"]),
    "no steps": (["a robot", "--steps", "0"], ["--steps"]),
    "unknown precision": (["a robot", "--precision", "int3"], ["--precision", "bfloat16"]),
    "negative guidance": (["a robot", "--guidance=-1"], ["--guidance"]),
    "guidance that is no number": (["a robot", "--guidance", "nan"], ["--guidance", "finite"]),
    "guidance without end": (["a robot", "--guidance", "inf"], ["--guidance", "finite"]),
    "no such device": (["a robot", "--device", "warp"], ["--device"]),
    "an unknown option": (["a robot", "--slider", "3"], ["--slider"]),
}


@pytest.mark.parametrize("what", WRONG_RUNS)
def test_a_run_that_cannot_be_is_said_in_a_line(call: Call, tiny_options: list[str], tmp_path: Path, what: str) -> None:
    arguments, words = WRONG_RUNS[what]
    refused(call("discover", *tiny_options, "--out", tmp_path / "run", *arguments), *words)
    if any(word.startswith("--") for word in words):
        assert not (tmp_path / "run").exists(), "known before anything is made"


def test_a_pipeline_of_ones_own_needs_an_encoder_named(call: Call, small: dict[str, Any], tmp_path: Path) -> None:
    refused(
        call("discover", "a robot", "--backbone", small["backbone"], "--out", tmp_path / "run"), "clip", "local folder"
    )


@pytest.mark.parametrize("verb", ["fit", "train", "generate", "sweep", "info", "report"])
@pytest.mark.parametrize("kind", ["missing", "empty", "a file", "someone else's"])
def test_folders_that_are_no_runs(call: Call, tmp_path: Path, verb: str, kind: str) -> None:
    folder = tmp_path / "folder"
    if kind == "a file":
        folder.write_text("hello")
    elif kind != "missing":
        folder.mkdir()
    if kind == "someone else's":
        (folder / "thesis.txt").write_text("hello")
        (folder / "config.json").write_text('{"model_type": "clip"}')
    before = sorted(p.name for p in tmp_path.rglob("*"))
    result = call(verb, folder, *(["0"] if verb == "sweep" else []))
    refused(result, "is not the folder of a run")
    assert "prompt given" not in result.stderr, "these verbs take none"
    assert sorted(p.name for p in tmp_path.rglob("*")) == before, "and nothing was made or changed"


@pytest.mark.parametrize("place", ["below a file", "a file", "someone else's", "no such device"])
def test_places_that_cannot_be_written(call: Call, tiny_options: list[str], tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("hello")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("hello")
    out = {
        "below a file": tmp_path / "file" / "run",
        "a file": tmp_path / "file",
        "someone else's": tmp_path / "theirs",
        "no such device": "/proc/run",
    }[place]
    refused(call("discover", "a robot", *tiny_options, "--out", out), "--out")
    assert (tmp_path / "file").read_text() == "hello" and [p.name for p in (tmp_path / "theirs").iterdir()] == [
        "thesis.txt"
    ]


def test_pictures_that_cannot_be_written(call: Call, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    refused(call("generate", finished, "--seeds", "1", "--out", tmp_path / "file"), "--out")
    refused(call("sweep", finished, "0", "--seeds", "1", "--out", tmp_path / "file" / "a.png"), "--out")


def test_two_runs_do_not_write_one_folder(call: Call, copy: Path) -> None:
    with RunFolder(copy).open_for_writing():
        refused(call("fit", copy), "another run", code=1)


def test_a_model_that_fails_exits_with_one(call: Call, tiny_options: list[str], tiny: Tiny, tmp_path: Path) -> None:
    """One weight that is no number: no fault of what was typed."""
    spoiled = Path(shutil.copytree(tiny.velocity, tmp_path / "spoiled"))
    weights = next((spoiled / "unet").glob("*.safetensors"))
    tensors = load_file(weights)
    tensors["conv_out.bias"][0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    options = [o for o in tiny_options if not o.startswith("--backbone")]
    for _ in range(2):
        result = call("discover", "a robot", "--backbone", spoiled, *options, "--out", tmp_path / "run", "--json")
        refused(result, "not finite", code=1)


# ---- damaged folders

READERS = {  # which verbs read which file
    "config.json": ["discover", "fit", "train", "info", "report"],
    "trajectories/000000.safetensors": ["discover"],
    "directions.safetensors": ["discover", "fit", "train", "generate", "report"],
    "sliders.safetensors": ["discover", "train", "generate", "sweep", "report"],
    "space.json": ["discover", "generate", "report"],
    "measures.json": ["discover", "info", "report"],
    "strips.safetensors": ["discover", "report"],
}
MAKERS = {"discover", "fit", "train"}
DRAWERS = {"generate", "sweep"}
OTHER = {
    "config.json": "space.json",
    "trajectories/000000.safetensors": "directions.safetensors",
    "directions.safetensors": "sliders.safetensors",
    "sliders.safetensors": "directions.safetensors",
    "space.json": "measures.json",
    "measures.json": "config.json",
    "strips.safetensors": "sliders.safetensors",
}


def _truncated(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _foreign(path: Path, _: Path) -> None:
    path.write_text('{"model_type": "clip"}')


def _of_another_kind(path: Path, root: Path) -> None:
    path.write_bytes((root / OTHER[str(path.relative_to(root))]).read_bytes())


def _without_its_contents(path: Path, _: Path) -> None:
    """Our own stamp, and nothing behind it."""
    if path.suffix == ".json":
        path.write_text(
            json.dumps(
                {k: v for k, v in json.loads(path.read_text()).items() if k in {"format", "kind", "fingerprint"}}
            )
        )
        return
    from sliderspace.storage.files import load_tensors, save_tensors, stored_fingerprint

    stamp = stored_fingerprint(path)
    assert stamp
    kind = "trajectories" if path.parent.name == "trajectories" else path.stem
    load_tensors(path, kind=kind)
    save_tensors(path, {}, kind=kind, fingerprint=stamp)


@pytest.mark.parametrize(
    "damage", [_truncated, _foreign, _of_another_kind, _without_its_contents], ids=lambda f: f.__name__.strip("_")
)
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_told_by_every_verb_that_reads_them(
    call: Call, finished: Path, tmp_path: Path, name: str, damage: Callable[[Path, Path], None]
) -> None:
    """Told, with the name of the file. Never a traceback, never used. (A verb that makes the file replaces one of
    another kind; to one that draws, it is not the file of this space.)"""
    silent: list[str] = []
    for verb in READERS[name]:
        if verb in MAKERS and damage in (_of_another_kind, _without_its_contents):
            continue
        folder = Path(shutil.copytree(finished, tmp_path / verb))
        damage(folder / name, folder)
        result = call(verb, *_arguments(verb, folder), "--json")
        if result.exit_code == 0:
            silent.append(verb)
        else:
            absent = damage is _of_another_kind and verb in DRAWERS and name != "space.json"
            named = "not finished" if absent else Path(name).name
            refused(result, named if damage is not _without_its_contents else "")
    assert silent == []


def test_what_a_folder_is_to_become_does_not_matter_to_drawing(call: Call, copy: Path) -> None:
    _truncated(copy / "config.json", copy)
    ok(call("generate", copy, "--seeds", "1"))


def _arguments(verb: str, folder: Path) -> list[str]:
    given = {
        "discover": ["--out", str(folder), "--device", "cpu"],
        "sweep": [str(folder), "0", "--seeds", "1"],
        "generate": [str(folder), "--seeds", "1"],
    }
    return given.get(verb, [str(folder)])


def test_a_half_written_file_of_a_killed_run_is_no_damage(call: Call, copy: Path) -> None:
    (copy / f".sliders.safetensors.{'9' * 32}.partial").write_bytes(b"half")
    ok(call("discover", "--out", copy, "--device", "cpu"))
    assert not list(copy.glob(".*.partial"))


# ---- carrying sliders in and out, prompts, plans


def test_export_and_import(call: Call, copy: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    base = ("--backbone", small["backbone"])  # a folder here, and files name no folders
    told = json.loads(ok(call("export", copy, "--sliders", "0,2", "--out", tmp_path / "loras", "--json")).stdout)
    assert len(told["files"]) == 2 and all(Path(f).is_file() for f in told["files"])
    again = ok(call("import", tmp_path / "loras", "--out", tmp_path / "again", *base, "--json"))
    assert json.loads(again.stdout)["sliders"] == 2
    ok(call("sweep", tmp_path / "again", "1", "--seeds", "3", "--scales", "0,1"))
    mix = ("export", copy, "--set", "0=1.5", "--set", "2=-1", "--out", tmp_path / "mixes", "--json")
    [file] = json.loads(ok(call(*mix, "--name", "evening")).stdout)["files"]
    assert Path(file).name.endswith("-mix-evening.safetensors")
    ok(call("import", file, "--out", tmp_path / "mixed", *base))
    refused(call(*mix, "--sliders", "0"), "--sliders")
    refused(call("export", copy, "--name", "evening"), "--set")
    refused(call("export", copy, "--sliders", "0-x"), "--sliders")
    refused(call("export", copy, "--sliders", "99"), "sliders 0")
    refused(call("import", copy / "trajectories", "--out", tmp_path / "other"), "trajectories")


def test_push_and_pull_say_what_is_wrong(
    call: Call, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    refused(call("push", copy, "nobody/nothing"), "hf auth login")
    refused(call("pull", "not a name", "--out", tmp_path / "there"), "owner/name")


def test_prompts_from_a_file_and_from_templates(call: Call, tiny_options: list[str], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a robot\n# not this\n\na face\n")
    ok(
        call(
            "sample",
            "--prompts",
            tmp_path / "prompts.txt",
            *sampling(tiny_options),
            "--out",
            tmp_path / "file",
            "--json",
        )
    )
    assert json.loads((tmp_path / "file" / "config.json").read_text())["prompts"] == ["a robot", "a face"]
    refused(
        call("sample", "a robot", "--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "both"), "not from both"
    )
    refused(call("sample", "a robot", "--expand", "magic", "--out", tmp_path / "no"), "templates")
    ok(
        call(
            "sample",
            "a car",
            "--expand",
            "templates",
            "--expand-to",
            "1",
            *sampling(tiny_options),
            "--out",
            tmp_path / "made",
            "--json",
        )
    )
    assert json.loads((tmp_path / "made" / "config.json").read_text())["prompts"] == ["a car"]


def sampling(options: list[str]) -> list[str]:
    return [o for o in options if o.split("=")[0] in SAMPLING]


def test_a_dry_run_makes_and_fetches_nothing(call: Call, small: dict[str, Any], tmp_path: Path) -> None:
    told = json.loads(
        ok(
            call(
                "discover",
                "a robot",
                "--backbone",
                small["backbone"],
                "--encoder",
                small["encoder"],
                "--steps",
                "3",
                "--dry-run",
                "--memory",
                "8",
                "--out",
                tmp_path / "run",
                "--json",
            )
        ).stdout
    )
    assert told["card"]["gib"] == 8 and told["chosen"] and not (tmp_path / "run").exists()
    refused(call("discover", "--dry-run", "--out", tmp_path / "run"), "no prompt")
    for memory in ("nan", "inf", "0"):
        refused(call("discover", "a robot", "--dry-run", "--memory", memory), "--memory")


def test_folders_are_stored_whole(
    call: Call, tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a later verb finds the model from any folder."""
    backbone = next(o for o in tiny_options if o.startswith("--backbone")).partition("=")[2]
    monkeypatch.chdir(Path(backbone).parent)
    ok(
        call(
            "sample",
            "a robot",
            *sampling(tiny_options),
            f"--backbone={Path(backbone).name}",
            "--out",
            tmp_path / "run",
            "--json",
        )
    )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["backbone"] == str(Path(backbone).resolve())


def test_a_known_name_is_no_folder_that_is_called_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    told = json.loads(ok(call("discover", "a monster", "--backbone", "mini", "--dry-run", "--json")).stdout)
    assert told["model"]["source"] == "asset:mini/pipeline"
    refused(call("discover", "a monster", "--backbone", "./mini", "--dry-run"), "no backbone")
