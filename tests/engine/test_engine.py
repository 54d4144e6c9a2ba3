"""A run folder is the unit of work: stopped anywhere and started again it ends the same, and nothing stale is ever
used."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from support.runs import go, measured_least
from support.tiny import Tiny
from support.tiny_unet import save_small_decoder
from typer.testing import CliRunner

import sliderspace
from sliderspace.cli import app
from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.seeds import seed_for
from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine import fingerprints, local
from sliderspace.engine.begin import stored_settings
from sliderspace.engine.models import Models
from sliderspace.engine.progress import Progress
from sliderspace.measure.results import Measures
from sliderspace.method.trajectories import finished as finished_images
from sliderspace.models.backbones.presets import preset_for
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import load_tensors
from sliderspace.storage.run_folder import RunFolder

MakeModels = Callable[..., Models]
Stage = Callable[[Models], Iterator[Progress]]
MADE = (
    "config.json",
    "trajectories/000000.safetensors",
    "trajectories/000128-000138.safetensors",
    "directions.safetensors",
    "observability.json",
    "sliders.safetensors",
    "strips.safetensors",
    "measures.json",
    "space.json",
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run that holds results; the report says when it was made, so it is none."""
    return {name: (folder / name).read_bytes() for name in MADE}


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in MADE if name != "config.json"}


def redone(folder: Path, before: dict[str, int]) -> set[str]:
    now = times(folder)
    return {name.split("/")[0].split(".")[0] for name in before if now[name] != before[name]}


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A finished run to do harm to."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


# ---- killed

SERVER = """
import gc, json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine.begin import begin
from sliderspace.engine.local import discover
from sliderspace.engine.models import Models
from sliderspace.storage.run_folder import RunFolder

def warm(settings):
    "Much is imported when first used: do that once, and no backward pass, which a fork would not survive."
    models = Models(settings_from(settings), Speed(device="cpu"), RunFolder("."))
    models.prints, models.backbone.encode(models.settings.prompts)
    models.backbone.denoiser, models.backbone.vae, models.encoder
    value = torch.zeros(1, requires_grad=True)
    value.grad = torch.ones(1)
    torch.optim.Adam([value]).step()

def run(folder, settings, kill):
    real = os.replace
    def replace(source, target):
        if kill and kill[0] == "writing" and Path(target).name == kill[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)
    os.replace = replace
    run = RunFolder(folder)
    with run.open_for_writing():
        models, _ = begin(settings_from(settings), Speed(device="cpu"), run)
        for record in discover(models):
            if kill and kill[0] == record.stage and kill[1] <= record.done:
                os.kill(os.getpid(), signal.SIGKILL)

def typed(words):
    "The command line, whose answer nobody waits for."
    from sliderspace.cli import app
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    app(words)

warm(json.loads(sys.stdin.readline()))
gc.freeze()  # no child looks through what was imported
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            asked = json.loads(line)
            typed(asked) if isinstance(asked, list) else run(**asked)
            os._exit(0)
        finally:
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Kill = tuple[str, int | str]


class Processes:
    """Discoveries in processes of their own, one after another, forked from one that has done the imports and nothing
    else."""

    def __init__(self, server: "subprocess.Popen[str]", settings: dict[str, Any]) -> None:
        assert server.stdin and server.stdout
        self.ask, self.answer, self.settings = server.stdin, server.stdout, settings
        self._send(settings)

    def __call__(self, folder: Path, kill: Kill | None = None) -> int:
        """A discovery that kills itself (SIGKILL) where told; returns how it ended."""
        self._start({"folder": str(folder), "settings": self.settings, "kill": kill})
        return self.ended()

    def type(self, *words: str) -> int:
        """The command line with some words; returns its process as soon as it is there."""
        return self._start(words)

    def ended(self) -> int:
        """How the last one ended, once it has."""
        return int(self.answer.readline())

    def _start(self, asked: object) -> int:
        self._send(asked)
        return int(self.answer.readline())

    def _send(self, asked: object) -> None:
        self.ask.write(json.dumps(asked) + "\n")
        self.ask.flush()


@pytest.fixture(scope="module")
def process(small: dict[str, Any]) -> Iterator[Processes]:
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(sliderspace.__file__).parents[1])}
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    processes = Processes(server, small)
    yield processes
    processes.ask.close()
    server.wait(timeout=120)


KILLS: dict[str, Kill] = {  # in the order a run comes by
    "as the settings are written": ("writing", "config.json"),
    "within the first shard": ("sample", 64),
    "as the first shard is written": ("writing", "000000.safetensors"),
    "as the second shard is written": ("writing", "000128-000138.safetensors"),
    "before fitting": ("fit", 0),
    "as the directions are written": ("writing", "directions.safetensors"),
    "before a first checkpoint": ("train", 3),
    "as a checkpoint is written": ("writing", "training-000.safetensors"),
    "between two checkpoints": ("train", 8),
    "as the sliders are written": ("writing", "sliders.safetensors"),
    "before measuring": ("measure", 0),
    "as the model alone is measured": ("writing", "base.safetensors"),
    "as a slider is measured": ("writing", "001.safetensors"),
    "after two sliders are measured": ("measure", 2),
    "as the mixes are written": ("writing", "mixes.safetensors"),
    "as the strips are written": ("writing", "strips.safetensors"),
    "as the measures are written": ("writing", "measures.json"),
    "as the space is written": ("writing", "space.json"),
    "as it takes its place": ("writing", "publishing.json"),
}


# A file of sampling, of training and of measuring half done, and the space as it takes its place.
SOME = (3, 7, 12, 18)


@pytest.mark.parametrize("places", [SOME, pytest.param(range(len(KILLS)), marks=pytest.mark.slow)], ids=["some", "all"])
def test_killed_in_turn_it_ends_with_the_same_bytes(
    process: Processes, finished: Path, tmp_path: Path, places: Sequence[int]
) -> None:
    folder, kills = tmp_path / "run", list(KILLS.items())
    survived = [name for name, kill in (kills[i] for i in places) if process(folder, kill) != -signal.SIGKILL]
    assert survived == [], "a kill that never came proves nothing"
    assert process(folder) == 0
    assert contents(folder) == contents(finished)
    kept = {Path(name).name for name in MADE} | {"trajectories", "texts.safetensors", ".sliderspace.lock"}
    left = {p.name for p in folder.rglob("*") if not p.name.startswith(".")} - kept
    assert left == set(), "half-written files and checkpoints are gone"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["within the first shard", "between two checkpoints"])
def test_killed_once_it_ends_with_the_same_bytes(process: Processes, finished: Path, tmp_path: Path, name: str) -> None:
    assert process(tmp_path / "run", KILLS[name]) == -signal.SIGKILL
    assert process(tmp_path / "run") == 0
    assert contents(tmp_path / "run") == contents(finished)


def test_the_command_killed_from_outside_goes_on_when_given_again(
    process: Processes, finished: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    options = [f"--{name}={value}" for name, value in small.items() if name != "prompts"]
    command = ["discover", *small["prompts"], *options, "--out", str(folder), "--device", "cpu", "--json"]
    first = process.type(*command)
    deadline = time.monotonic() + 240
    made = folder / "unfinished" / "directions.safetensors"
    while not made.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(first, signal.SIGKILL)
    assert process.ended() == -signal.SIGKILL
    assert not (folder / "space.json").exists(), "killed too late to prove anything"
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["folder"] == str(folder)
    assert contents(folder) == contents(finished)


# ---- run again


def test_the_same_run_again_rewrites_nothing(copy: Path, make_models: MakeModels) -> None:
    before = times(copy)
    assert go(make_models(copy)) == []
    assert redone(copy, before) == set()


def test_what_changes_only_speed_rewrites_nothing(copy: Path, make_models: MakeModels) -> None:
    before = times(copy)
    go(make_models(copy, speed=Speed(device="cpu", batch=3, lanes=1)))
    assert redone(copy, before) == set()


FROM_FIT = {"directions", "sliders", "strips", "measures", "space"}
FROM_TRAIN = FROM_FIT - {"directions"}
CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "seed": ({"seed": 1}, FROM_FIT | {"trajectories"}),
    "prompt": ({"prompts": ("a robot", "a face")}, FROM_FIT | {"trajectories"}),
    "order of prompts": ({"prompts": ("a person", "a robot")}, FROM_FIT | {"trajectories"}),
    "steps": ({"steps": 2}, FROM_FIT | {"trajectories"}),
    "guidance": ({"guidance": 2.0}, FROM_FIT | {"trajectories"}),
    "embedded steps": ({"embed": "final"}, FROM_FIT | {"trajectories"}),
    "samples": ({"samples": 131}, FROM_FIT | {"trajectories"}),
    "precision": ({"precision": "bfloat16"}, FROM_FIT | {"trajectories"}),
    "resolution": ({"resolution": 64}, FROM_FIT | {"trajectories"}),
    "bits of the base": ({"quantize": "4bit"}, FROM_FIT | {"trajectories"}),
    "sliders": ({"sliders": 2}, FROM_FIT),
    "centring": ({"centring": "all"}, FROM_FIT),
    "rotation": ({"rotation": "none"}, FROM_FIT),
    "control": ({"control": "random"}, FROM_FIT),
    "rank": ({"rank": 2}, FROM_TRAIN),
    "targets": ({"targets": "cross-kv"}, FROM_TRAIN),
    "up": ({"up": "frozen"}, FROM_TRAIN),
    "objective": ({"objective": "published"}, FROM_TRAIN),
    "signs": ({"both_signs": False}, FROM_TRAIN),
    "until": ({"until": 0.3}, FROM_TRAIN),
    "hold": ({"hold": 0.1}, FROM_TRAIN),
    "updates": ({"updates": 5}, FROM_TRAIN),
    "learning rate": ({"lr": 1e-3}, FROM_TRAIN),
}


def stamps(models: Models) -> dict[str, str]:
    return {
        "trajectories": models.prints.sampled,
        "directions": models.prints.fitted,
        "sliders": models.prints.trained,
        "strips": models.prints.measured,
        "measures": models.prints.measured,
        "space": models.prints.measured,
    }


@pytest.mark.parametrize("what", CHANGES)
def test_each_setting_redoes_the_stages_it_decides_and_no_other(
    finished: Path, make_models: MakeModels, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    # Fingerprints only: nothing is computed in a precision, or with a library, that this machine may lack.
    monkeypatch.setattr("sliderspace.models.device.computes_bf16", lambda device: True)
    monkeypatch.setattr("sliderspace.models.working_point.find_spec", lambda name: name)
    changed, due = CHANGES[what]
    before, after = stamps(make_models(finished)), stamps(make_models(finished, **changed))
    assert {name for name in before if before[name] != after[name]} == due


def test_every_setting_is_in_some_fingerprint(small: dict[str, Any]) -> None:
    """Or it could change and the old result be taken for the new one."""
    tested = {key for changed, _ in CHANGES.values() for key in changed}
    elsewhere = {"backbone", "encoder", "decoder", "images", "pairs", "eta", "lora"}  # tested below, and in test_lora
    assert set(settings_from(small).model_dump()) - tested == elsewhere


def test_what_sliders_are_asked_for_in_words_is_in_the_fingerprints(small: dict[str, Any]) -> None:
    asked = small | {
        "prompts": ("a robot",),
        "objective": "concept",
        "sliders": 1,
        "pairs": ({"plus": "red", "minus": "blue"},),
    }
    other = asked | {"pairs": ({"plus": "red", "minus": "green"},)}
    one, two, far = (settings_from(s) for s in (asked, other, asked | {"eta": 2.0}))
    assert fingerprints.fitted(one, "") != fingerprints.fitted(two, "")
    assert fingerprints.trained(one, "") != fingerprints.trained(far, "")


@pytest.mark.usefixtures("least_measured")
def test_a_changed_seed_is_said_and_gives_what_a_new_run_gives(
    copy: Path, tmp_path: Path, make_models: MakeModels
) -> None:
    shorter = {"seed": 3, "updates": 5}
    changes = go(make_models(copy, **shorter))
    assert any("seed: 0 → 3" in line for line in changes) and len(changes) == 2
    go(make_models(tmp_path / "new", **shorter))
    assert contents(copy) == contents(tmp_path / "new")


@pytest.mark.usefixtures("least_measured")
def test_changed_updates_keep_the_trajectories_and_directions(copy: Path, make_models: MakeModels) -> None:
    before = times(copy)
    go(make_models(copy, updates=5))
    assert redone(copy, before) == FROM_TRAIN


def test_an_interrupted_training_of_other_settings_is_not_continued(
    tmp_path: Path, finished: Path, make_models: MakeModels
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt):
        go(make_models(folder, updates=30), interrupted_at(11))
    assert list((folder / "unfinished" / "sliders.partial").iterdir())
    (folder / "sliders.safetensors").unlink()
    go(make_models(folder))
    assert contents(folder) == contents(finished)


def interrupted_at(update: int) -> Callable[[Models], Iterator[Progress]]:
    def stages(models: Models) -> Iterator[Progress]:
        for record in local.train(models):
            if record.done == update:
                raise KeyboardInterrupt
            yield record

    return stages


def test_stopped_within_other_settings_the_last_whole_space_keeps_working(copy: Path, make_models: MakeModels) -> None:
    before = SliderSpace.load(copy).sweep(0, seeds=[5])
    with pytest.raises(KeyboardInterrupt):
        go(make_models(copy, updates=30), interrupted_at(11))
    assert np.array_equal(SliderSpace.load(copy).sweep(0, seeds=[5]), before)


def test_a_model_changed_in_place_is_noticed(tiny: Tiny, tmp_path: Path, make_models: MakeModels) -> None:
    model = Path(shutil.copytree(tiny.velocity, tmp_path / "model"))
    before = stamps(make_models(tmp_path / "run", backbone=str(model)))
    _nudge(model / "unet" / "diffusion_pytorch_model.safetensors")
    after = stamps(make_models(tmp_path / "run", backbone=str(model)))
    assert all(before[name] != after[name] for name in before)


def test_an_encoder_changed_in_place_is_noticed(tiny: Tiny, tmp_path: Path, make_models: MakeModels) -> None:
    folder = Path(shutil.copytree(tiny.clip, tmp_path / "encoder"))
    engines = [make_models(tmp_path / "run", encoder=str(folder)).prints.sampled]
    (folder / "preprocessor_config.json").write_text(
        (folder / "preprocessor_config.json").read_text().replace("0.48145466", "0.5")
    )
    engines.append(make_models(tmp_path / "run", encoder=str(folder)).prints.sampled)
    _nudge(folder / "model.safetensors")
    engines.append(make_models(tmp_path / "run", encoder=str(folder)).prints.sampled)
    assert len(set(engines)) == 3


def test_the_same_model_in_another_place_is_the_same(
    tiny: Tiny, tmp_path: Path, finished: Path, make_models: MakeModels
) -> None:
    model = shutil.copytree(tiny.velocity, tmp_path / "elsewhere")
    assert stamps(make_models(finished, backbone=str(model))) == stamps(make_models(finished))


def _nudge(weights: Path) -> None:
    """One value of one tensor, a little."""
    tensors = load_file(weights)
    next(iter(tensors.values())).view(-1)[0] += 1e-3
    save_file(tensors, weights, metadata={"format": "pt"})


# ---- stages alone, in and out of order


def test_stages_one_by_one_give_the_same_bytes(finished: Path, tmp_path: Path, make_models: MakeModels) -> None:
    for stage in (local.sample, local.fit, local.train, local.measure):
        go(make_models(tmp_path / "run"), stage)
    assert contents(tmp_path / "run") == contents(finished)


@pytest.mark.parametrize("stage", [local.fit, local.train, local.measure])
def test_a_stage_before_its_turn_says_what_is_missing(tmp_path: Path, make_models: MakeModels, stage: Stage) -> None:
    with pytest.raises(SliderSpaceError, match=r"sample|there is no|missing"):
        go(make_models(tmp_path / "run"), stage)


def test_directions_of_other_settings_are_not_trained_on(copy: Path, make_models: MakeModels) -> None:
    """Sample with another seed, forget to fit, train: the old directions must not pass for the new ones."""
    go(make_models(copy, seed=1), local.sample)
    with pytest.raises(SliderSpaceError, match="fit"):
        go(make_models(copy, seed=1), local.train)


def test_sliders_of_other_settings_are_not_measured(copy: Path, make_models: MakeModels) -> None:
    with pytest.raises(SliderSpaceError, match="train"):
        go(make_models(copy, updates=7), local.measure)


@pytest.mark.parametrize("stage", [local.sample, local.train])
def test_until_another_is_finished_the_whole_space_stays(copy: Path, make_models: MakeModels, stage: Stage) -> None:
    before = SliderSpace.load(copy)
    go(make_models(copy, updates=7, samples=130 if stage is local.train else 140), stage)
    after = SliderSpace.load(copy)
    assert after.settings == before.settings and after.units_K.tolist() == before.units_K.tolist()


@pytest.mark.usefixtures("least_measured")
def test_what_was_left_off_with_other_settings_is_no_part_of_the_next_space(
    copy: Path, make_models: MakeModels
) -> None:
    go(make_models(copy, sliders=2), local.fit)
    assert (copy / "unfinished" / "directions.safetensors").exists()
    go(make_models(copy, updates=5))  # with the directions that are there
    assert len(SliderSpace.load(copy)) == 3 and local.stages.is_measured(make_models(copy, updates=5))


@pytest.mark.usefixtures("least_measured")
def test_names_that_a_stop_left_out_are_written_by_the_next_run(tmp_path: Path, make_models: MakeModels) -> None:
    pairs = ({"plus": "red", "minus": "blue", "name": "redness"},)
    asked = {"prompts": ("a robot",), "objective": "concept", "sliders": 1, "pairs": pairs, "updates": 2}
    models = make_models(tmp_path / "run", **asked)
    go(models)
    models.run.labels.unlink()
    go(make_models(tmp_path / "run", **asked))
    assert [label.name for label in SliderSpace.load(tmp_path / "run").labels] == ["redness"]


@pytest.mark.usefixtures("least_measured")
def test_of_workers_that_end_together_one_draws_the_mixes(
    copy: Path, make_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = local.stages.shown_mixes
    kept_out: list[bool] = []

    def mixes(count: int, sliders: int) -> torch.Tensor:
        with pytest.raises(Timeout):
            FileLock(copy / ".gathering.lock", timeout=0).acquire()
        kept_out.append(True)
        return drawn(count, sliders)

    monkeypatch.setattr(local.stages, "shown_mixes", mixes)
    go(make_models(copy, updates=5))
    assert kept_out == [True]


@pytest.mark.usefixtures("least_measured")
def test_images_that_are_no_numbers_are_said_to_be_where_they_come_from(
    copy: Path, make_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no file holds them: it would be refused as damaged by the next stage."""
    models = make_models(copy, updates=5)
    for stage in (local.sample, local.fit, local.train):
        go(models, stage)
    kind = type(models.backbone)
    whole = kind.decode
    with monkeypatch.context() as patch:
        patch.setattr(kind, "decode", lambda self, z_BCHW: whole(self, z_BCHW) * float("nan"))
        with pytest.raises(SliderSpaceError, match="images that are not finite numbers"):
            go(models, local.measure)
    go(models, local.measure)
    assert SliderSpace.load(copy).settings.updates == 5


@pytest.mark.usefixtures("least_measured")
def test_another_prompt_replaces_a_space_only_when_asked(copy: Path, make_models: MakeModels) -> None:
    before, texts = contents(copy), (copy / "texts.safetensors").read_bytes()
    with pytest.raises(BadInput, match="--replace"):
        go(make_models(copy, prompts=("a face",)), local.sample)
    assert contents(copy) == before and (copy / "texts.safetensors").read_bytes() == texts
    go(make_models(copy, prompts=("a face",), updates=5), replace=True)
    assert SliderSpace.load(copy).settings.prompts == ("a face",)


# ---- a share of the work


FEW = {"samples": 130, "updates": 5, "speed": Speed(device="cpu", lanes=1)}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, make_models: MakeModels) -> Path:
    """One process's folder."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        measured_least(patch)
        go(make_models(folder, **FEW))
    return folder


@pytest.mark.usefixtures("least_measured")
@pytest.mark.parametrize("apart", [False, True])
def test_three_workers_leave_the_bytes_of_one(
    alone: Path, tmp_path: Path, make_models: MakeModels, apart: bool
) -> None:
    """On one folder, or each on its own and the folders copied together."""
    folders = [tmp_path / (f"worker-{i}" if apart else "shared") for i in range(3)]
    for stage in (local.sample, local.train, local.measure):
        for i, folder in enumerate(folders):
            go(make_models(folder, **FEW), partial(stage, share=(i, 3)), share=(i, 3))
        merge(folders)
        if stage is not local.measure:
            go(make_models(folders[0], **FEW), local.fit)
            merge(folders)
    if apart:
        go(make_models(folders[0], **FEW), local.measure)
    assert contents(folders[0]) == contents(alone)


def merge(folders: list[Path]) -> None:
    """Each gets the files that others have made."""
    for one in folders:
        for other in folders:
            if one != other:
                shutil.copytree(one, other, dirs_exist_ok=True)


def test_a_worker_and_a_whole_run_keep_out_of_each_others_way(tmp_path: Path) -> None:
    one, two = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    with one.open_for_writing((0, 2)):
        for share in ((0, 1), (0, 2), (1, 3)):
            with pytest.raises(SliderSpaceError, match="another run"):
                two.open_for_writing(share)
        with two.open_for_writing((1, 2)):
            pass
    with one.open_for_writing(), pytest.raises(SliderSpaceError, match="another run"):
        two.open_for_writing((0, 2))


def test_a_worker_that_asks_is_not_taken_for_a_run(tmp_path: Path) -> None:
    """Each that begins holds the lock of a whole run for a moment, to see that there is none."""
    from threading import Timer

    from sliderspace.storage.locks import take

    run = RunFolder(tmp_path / "run")
    with run.open_for_writing((0, 2)):
        asked = take(run.lock, timeout=0)
        Timer(0.3, asked.release).start()
        with RunFolder(tmp_path / "run").open_for_writing((1, 2)):
            assert not asked.is_locked


# ---- what cannot be done


def test_too_few_samples_for_the_sliders_asked_is_said_before_anything_is_drawn(
    tmp_path: Path, make_models: MakeModels
) -> None:
    asked = make_models(tmp_path / "run", samples=12, sliders=12)
    with pytest.raises(BadInput, match="12 samples carry at most 11 sliders"):
        sliderspace.discover(**{"prompt" if k == "prompts" else k: v for k, v in asked.settings}, out=asked.run.root)
    assert not asked.run.root.exists()


def test_what_was_sampled_for_nobodys_count_is_not_fitted_for_too_many(tmp_path: Path, make_models: MakeModels) -> None:
    """Sampling need not know how many sliders there will be; fitting does."""
    asked = make_models(tmp_path / "run", samples=12, sliders=12)
    go(asked, local.sample)
    with pytest.raises(BadInput, match="12 samples carry at most 11 sliders"):
        go(asked, local.fit)
    go(make_models(tmp_path / "run", samples=12, sliders=2), local.fit)


@pytest.mark.usefixtures("least_measured")
@pytest.mark.parametrize("samples", [2, 4])
def test_a_very_small_run_ends_well(tmp_path: Path, make_models: MakeModels, samples: int) -> None:
    """As a user's first try might be. Measures that need more images may be missing, the sliders may not."""
    folder = tmp_path / "run"
    go(make_models(folder, samples=samples, sliders=1, updates=2))
    assert len(SliderSpace.load(folder)) == 1


def test_wrong_settings_are_all_named() -> None:
    with pytest.raises(BadInput) as told:
        settings_from({"prompts": (), "samples": 1, "rank": 0, "nonsense": 3, "targets": "everything"})
    assert all(word in str(told.value) for word in ("prompts", "samples", "rank", "nonsense", "targets"))
    assert len(str(told.value).splitlines()) == 1


def test_settings_of_a_folder_come_back_with_changes(finished: Path, small: dict[str, Any]) -> None:
    assert stored_settings(RunFolder(finished)) == settings_from(small)
    assert stored_settings(RunFolder(finished), sliders=5, lr=None) == settings_from({**small, "sliders": 5})


def test_a_typing_error_never_replaces_good_settings(copy: Path, make_models: MakeModels) -> None:
    before = (copy / "config.json").read_bytes()
    for wrong in (
        {"backbone": "nonesuch"},
        {"encoder": "nonesuch"},
        {"prompts": ("much too long a prompt for this model",)},
    ):
        with pytest.raises(BadInput):
            go(make_models(copy, **wrong), replace=True)
    assert (copy / "config.json").read_bytes() == before


# ---- what is in the files


def test_held_out_trajectories_are_beyond_the_samples(finished: Path, make_models: MakeModels) -> None:
    models = make_models(finished)
    assert len(models.seen) == 130 and len(models.unseen) == models.settings.held_out >= 8
    assert models.directions.trajectories == 130 and models.directions.count == 130 * 3


def test_seeds_of_different_purposes_never_meet(finished: Path, make_models: MakeModels) -> None:
    models = make_models(finished)
    purposes = [models.seeds(p, 200) for p in ("trajectory", "calibration", "measure", "evaluate")]
    assert len({s for seeds in purposes for s in seeds}) == 800


def test_the_seed_of_an_image_tells_its_prompt(finished: Path, make_models: MakeModels) -> None:
    """Of one prompt seeds and measures stay what they were before several prompts were looked at."""
    one, three = (make_models(finished, prompts=p) for p in (("a face",), ("a face", "a robot", "a person")))
    assert [seed % 3 for seed in three.seeds("measure", 8)] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert one.seeds("measure", 8) == [seed_for(0, "measure", i) for i in range(8)]
    how = {"how": one.measuring.model_dump(), "judge": ""}
    before = {n: fingerprints.stamp("measure", after=m.prints.trained, **how) for n, m in ((1, one), (3, three))}
    assert one.prints.measured == before[1] and three.prints.measured != before[3]


def test_directions_lie_in_the_leading_pca_of_what_was_stored(finished: Path, make_models: MakeModels) -> None:
    """By scikit-learn, from the files: among twice as many axes as sliders, the default finds what varies by itself."""
    from sklearn.decomposition import PCA

    z = torch.cat([load_file(finished / name)["z"] for name in MADE if "trajectories" in name])[:130].double().numpy()
    pca = PCA(6).fit((z - z.mean(axis=0)).reshape(-1, z.shape[-1]))
    shared = np.linalg.svd(pca.components_ @ make_models(finished).directions.components_KD.T, compute_uv=False)
    np.testing.assert_allclose(shared, np.ones(3), atol=1e-3)


def test_measures_hold_what_readers_look_for(finished: Path) -> None:
    told = json.loads((finished / "measures.json").read_text())
    keys = {
        "index",
        "alignment",
        "consistency",
        "selectivity",
        "monotone_share",
        "realism",
        "explained_variance_ratio",
        "unit",
    }
    assert [s["index"] for s in told["sliders"]] == [0, 1, 2] and all(keys <= set(s) for s in told["sliders"])
    assert keys - {"index"} <= set(told["mean"])
    assert np.array(told["leakage"]).shape == (3, 3) and np.isfinite(told["leakage"]).all()
    for key in keys - {"index"}:
        assert told["mean"][key] == pytest.approx(np.mean([s[key] for s in told["sliders"]]))


def test_bytes_do_not_depend_on_where_a_run_lies(finished: Path) -> None:
    """Nobody's folder names travel with a space, but for those the settings name."""
    for name in MADE[1:]:
        assert str(finished.parent).encode() not in (finished / name).read_bytes()


# ---- a person's own pictures, and a small decoder


def own_pictures(folder: Path, *colours: str) -> Path:
    from PIL import Image

    folder.mkdir(parents=True)
    for n, colour in enumerate(colours):
        picture = Image.new("RGB", (48, 40), colour)
        picture.paste("black", (n, n, n + 9, n + 9))
        picture.save(folder / f"{n}.png")
    return folder


@pytest.mark.usefixtures("least_measured")
@pytest.mark.parametrize("captions", [False, True])
def test_a_discovery_in_own_pictures(tmp_path: Path, make_models: MakeModels, captions: bool) -> None:
    pictures = own_pictures(tmp_path / "pictures", "red", "blue", "green", "white")
    if captions:
        (pictures / "0.txt").write_text("a red robot")
    models = make_models(tmp_path / "run", images=str(pictures), samples=20, sliders=2, updates=3)
    go(models)
    assert len(models.shown) == (4 if captions else 1) and len(models.condition) == 2
    assert models.seen.prompt_N.tolist() == ([n % 4 for n in range(20)] if captions else [0] * 20)
    found = Measures.read(models.run.measures)
    assert found.mean.alignment is not None and found.mean.realism is None, "four pictures stand there five times each"
    before = models.prints.sampled
    own_pictures(tmp_path / "other", "red", "blue", "green", "black")
    assert make_models(tmp_path / "run", images=str(tmp_path / "other"), samples=20).prints.sampled != before, (
        "what is in the pictures counts"
    )
    (pictures / "1.txt").write_text("a blue robot")
    assert make_models(tmp_path / "run", images=str(pictures), samples=20).prints.sampled != before, (
        "and what is said of them"
    )


@pytest.mark.usefixtures("least_measured")
def test_a_presets_small_decoder_serves_encoders_and_the_full_one_people(
    tmp_path: Path, make_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Previews at half the size: the last one is still the finished image to every measure, and no picture that is
    seen comes from it."""
    folder, preset = (
        str(save_small_decoder(tmp_path / "half", levels=2)),
        preset_for(make_models(tmp_path).settings.backbone),
    )
    monkeypatch.setattr("sliderspace.models.working_point.preset_for", lambda _: replace(preset, decoder=folder))
    models = make_models(tmp_path / "run", samples=20, sliders=2, updates=3)
    go(models)
    backbone, data = models.backbone, models.seen.part(0, 2)
    (images01,) = finished_images(backbone, models.shown, data, 2)
    assert backbone.draws_apart and images01.shape[-1] * 2 == backbone.image_size
    torch.testing.assert_close(models.encoder(images01), data.z_NTD[:, -1])
    drawn = load_tensors(models.run.strips, kind="strips")[0]
    space = SliderSpace.load(tmp_path / "run", Speed(device="cpu"))
    assert drawn["sliders"].shape[3:] == (backbone.image_size, backbone.image_size, 3)
    difference = drawn["base"][:3].int() - torch.from_numpy(space.generate(range(3))).int()
    assert difference.abs().max() <= 1, "the report shows what `generate` draws"
    mixed = space.mix(range(len(drawn["mixes"])), active=2)
    assert len(mixed) > 0 and (drawn["mixes"].int() - torch.from_numpy(mixed).int()).abs().max() <= 1


def test_prompts_are_encoded_once_a_run(
    tmp_path: Path, make_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text encoders are often the largest part of a model."""
    first = make_models(tmp_path / "run")
    with first.run.open_for_writing():
        expected = first.condition
    again, other = make_models(tmp_path / "run"), make_models(tmp_path / "run", prompts=("a face",))
    for models in (again, other):
        monkeypatch.setattr(
            models.backbone, "encode", lambda prompts: (_ for _ in ()).throw(AssertionError("encoded again"))
        )
    assert all(torch.equal(again.condition.texts[name], t) for name, t in expected.texts.items())
    assert all(torch.equal(again.condition.empty[name], t) for name, t in expected.empty.items())
    with pytest.raises(AssertionError, match="again"):
        _ = other.condition


def test_more_samples_only_add_to_those_there(copy: Path, make_models: MakeModels) -> None:
    """Trajectory j is the same however many there are: whole shards stay, the last one is made again."""
    before = {p.name: p.read_bytes() for p in sorted((copy / "trajectories").glob("*"))}
    models = make_models(copy, samples=200)
    go(models, local.sample)
    assert (copy / "trajectories" / "000000.safetensors").read_bytes() == before["000000.safetensors"]
    assert len(models.seen) == 200 and torch.equal(latents(models, 138), stored_latents(before))


def latents(models: Models, count: int) -> torch.Tensor:
    """xₜ [N, T, C, H, W] of the first trajectories, as stored."""
    steps = len(models.point.embed_T)
    index_N = torch.arange(count).repeat_interleave(steps)
    return models.seen.x(index_N, torch.arange(steps).repeat(count)).half().unflatten(0, (count, steps))


def stored_latents(shards: dict[str, bytes]) -> torch.Tensor:
    from safetensors.torch import load

    return torch.cat([load(data)["x"] for data in shards.values()])


@pytest.mark.parametrize("control", ["random", "differences", "images"])
def test_control_axes_are_others_than_pcas_and_as_orthonormal(
    copy: Path, make_models: MakeModels, control: str
) -> None:
    found = make_models(copy).directions.components_KD
    models = make_models(copy, control=control)
    go(models, local.fit)
    other = models.directions.components_KD
    np.testing.assert_allclose(other @ other.T, np.eye(len(other)), atol=1e-9)
    assert np.abs(other @ found.T).max() < 0.999


def test_customised_sliders_learn_their_own_pictures(copy: Path, make_models: MakeModels) -> None:
    """Trained, each draws its picture better than before, and better than it draws another's."""
    from sliderspace.method.baselines.axes import chosen_images
    from sliderspace.method.baselines.customisation import Customisation
    from sliderspace.method.objective import Recipe, draw
    from sliderspace.method.training import train

    models = make_models(copy)
    recipe = Recipe(updates=60, lr=2e-2, objective="customised", both_signs=False)
    objective = Customisation(models.backbone, models.encoder, models.shown, models.bank(), models.directions, recipe)
    objective.of(models.seen, chosen_images(0, 130, 3))
    losses = [
        u.loss
        for u in train(
            objective, models.seen, models.unseen, seed=0, lanes=16, checkpoint=copy / "c.safetensors", fingerprint="f"
        )
    ]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    lanes = draw(recipe, range(3), 100, 3, 1, "look", 0)
    own = objective.descend(models.seen, lanes)[0].mean()
    objective.of(models.seen, chosen_images(0, 130, 3)[1:])
    assert own < objective.descend(models.seen, lanes)[0].mean()


def test_each_customised_slider_is_measured_along_its_own_picture(copy: Path, make_models: MakeModels) -> None:
    """Directions are sorted by their variance, pictures are not."""
    from sliderspace.engine.stages import objective_of
    from sliderspace.method.baselines.customisation import Customisation

    models = make_models(copy, control="images", objective="customised", both_signs=False, seed=5)
    go(models, local.sample)
    go(models, local.fit)
    objective = objective_of(models, range(3), models.bank())
    assert isinstance(objective, Customisation)
    drawn_KD = models.encoder(models.backbone.decode(objective.picture_KCHW)).double().numpy()
    from_mean_KD = drawn_KD - models.directions.mean_TD[-1]
    along_K = (from_mean_KD * models.directions.components_KD).sum(1)
    others_K = (from_mean_KD * np.roll(models.directions.components_KD, 1, axis=0)).sum(1)
    assert (along_K > 1e-4).all()
    assert not (others_K > 1e-4).all(), "along another's direction some have no part"


def test_customised_sliders_need_images_and_one_sign(small: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="one-sign"):
        settings_from({**small, "objective": "customised", "control": "images"})
