"""Every test starts from the same seeds and, in this process, one thread: results must not depend on either.

`tiny` is a folder of real models at toy size: pipelines of diffusers and image towers of transformers with random
weights, loaded by the code that loads large ones. A whole discovery on them takes seconds.
"""

import gc
import os
import random
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported, and by the processes that tests start

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that asks the network is a wrong test

import hypothesis
import numpy as np
import pytest
from support.hub import Hub, served
from support.tiny import Tiny, save_clip, save_dino, save_pipeline
from support.work_tree import changed, state

if TYPE_CHECKING:
    from sliderspace.engine.models import Models
    from sliderspace.models.backbones import Backbone
    from sliderspace.models.encoders import Encoder

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

hypothesis.settings.register_profile("house", deadline=None, derandomize=True)

hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:  # tests that do not need it should not wait for it
        sys.modules["torch"].set_num_threads(1)
        sys.modules["torch"].manual_seed(0)
        sys.modules["torch"].set_flush_denormal(False)  # a script of the miniature's sets it for its whole process


MANY = 300  # modules imported since the last time


@pytest.fixture(scope="session")
def _imported() -> list[int]:
    """How many modules there were, each time that they were set aside."""
    return [0]


@pytest.fixture(autouse=True)
def _set_imports_aside(_imported: list[int]) -> None:
    """Every encoding of prompts collects garbage, and every collection would look through all that was imported: half
    a second with torch and diffusers. What is alive after imports is set aside."""
    if len(sys.modules) - _imported[-1] > MANY:
        _imported.append(len(sys.modules))
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Generator[None]:
    """Nothing waits for the disk: what a power cut would take, no test can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    import torch

    torch.set_num_threads(1)  # session fixtures are made before any test's own seeds and threads
    root = tmp_path_factory.mktemp("tiny")
    folders = Tiny(root / "velocity", root / "noise", root / "clip", root / "dino")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_pipeline(
            folders.velocity, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
        )
        save_pipeline(folders.noise, prediction_type="epsilon", timestep_spacing="leading")
        save_clip(folders.clip)
        save_dino(folders.dino)
    return folders


# ---- what tests make of them


@pytest.fixture(scope="session")
def backbone(tiny: Tiny) -> "Backbone":
    """The velocity model in three steps, float32."""
    from sliderspace.models.load import load_backbone

    return load_backbone(str(tiny.velocity), steps=3, guidance=1.0, device="cpu", precision="float32")


@pytest.fixture(scope="session")
def encoder(tiny: Tiny) -> "Encoder":
    import torch

    from sliderspace.models.encoders import load_encoder

    return load_encoder(tiny.clip, identity="tiny", device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="session")
def small(tiny: Tiny) -> dict[str, Any]:
    """Settings of a discovery of seconds that still has every part: two prompts, two shards, a checkpoint."""
    return {
        "prompts": ("a robot", "a person"),
        "backbone": str(tiny.velocity),
        "encoder": str(tiny.clip),
        "steps": 3,
        "guidance": 1.0,
        "precision": "float32",
        "samples": 130,
        "sliders": 3,
        "targets": "attention",
        "objective": "sized",
        "until": 0.6,
        "updates": 15,  # three checkpoints
        "lr": 2e-2,
    }


@pytest.fixture(scope="session")
def make_models(small: dict[str, Any]) -> "Callable[..., Models]":
    """What the stages of a folder share: the small settings with some of them changed."""
    from sliderspace.core.settings import Speed, settings_from
    from sliderspace.engine.models import Models
    from sliderspace.storage.run_folder import RunFolder

    def make(folder: Path, *, speed: Speed | None = None, **changed: Any) -> Models:
        return Models(settings_from({**small, **changed}), speed or Speed(device="cpu"), RunFolder(folder))

    return make


@pytest.fixture
def least_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discoveries of this process measure themselves on as little as they may."""
    from support.runs import measured_least

    measured_least(monkeypatch)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, make_models: "Callable[..., Models]") -> Path:
    """The folder of a finished small run, never to be changed: copy it first."""
    from support.runs import go

    from sliderspace.report.from_run import report_run

    folder = tmp_path_factory.mktemp("finished") / "run"
    models = make_models(folder)
    go(models)
    report_run(models.run)
    return folder


# ---- the work tree


ROOT = Path(__file__).parents[1]
TREE = pytest.StashKey[dict[str, str]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.stash[TREE] = state(ROOT)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that leaves anything in the work tree fails."""
    if left := changed(session.stash[TREE], state(ROOT)):
        print(f"\nthe tests changed the work tree: {', '.join(left)}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def browser() -> Generator[Any]:
    """A Chromium of this machine without a window; one for all tests, since its driver keeps a loop running."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip("no Chromium on this machine: the page is not driven")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page is not driven")
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    """A stand-in for the Hub, empty."""
    yield from served(monkeypatch, tmp_path)
