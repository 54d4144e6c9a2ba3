"""What a kill costs: a whole run (discover, evaluate, export, report) is killed at random moments until it is done.

    python benchmarks/kills.py --kills 40

Each attempt is a process that is killed (SIGKILL), anywhere in the run or just after a random stage has begun, and
started again with the same arguments. In the
end the folder must hold the bytes of a run that nobody disturbed, and no task that was done may have been done again:
a file that an attempt finds is the very file that the next one finds. Models are tiny and random; the code is the real
one. Printed: kills by stage, and what they cost.
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process that is forked must not have begun threads

import torch
from tiny_models import save_tiny

from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine.begin import begin
from sliderspace.engine.evaluation import Evaluation
from sliderspace.engine.local import discover
from sliderspace.engine.models import Models
from sliderspace.report.from_run import report_run
from sliderspace.share.export import export
from sliderspace.space.space import SliderSpace
from sliderspace.storage.run_folder import RunFolder

SMALL: dict[str, Any] = {
    "steps": 3,
    "guidance": 1.0,
    "precision": "float32",
    "samples": 130,
    "sliders": 3,
    "updates": 60,
}
STAGES = ("sample", "fit", "train", "measure", "evaluate", "export", "report")
KILLS_A_RUN = 4
CHECKPOINTS = re.compile(r"training-\d+\.safetensors")  # written again and again, by design
CREATED = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC")  # when a page was made


def work(folder: Path, settings: dict[str, Any], say: int | None = None) -> None:
    """All that a user does with a run, from where it is. The stage is written to the pipe `say`."""
    run = RunFolder(folder)
    with run.open_for_writing():
        models, _ = begin(settings_from(settings), Speed(device="cpu"), run)
        for record in discover(models):
            _tell(say, record.stage)
        for record in Evaluation(models, 4)():
            _tell(say, record.stage)
        _tell(say, "export")
        export(SliderSpace.load(folder), folder / "lora")
        _tell(say, "report")
        report_run(run)


def _tell(pipe: int | None, stage: str) -> None:
    if pipe is not None:
        os.write(pipe, f"{stage}\n".encode())


@dataclass(frozen=True)
class Moment:
    """When to kill: some seconds after a stage has begun; "" is the start of the attempt."""

    stage: str
    seconds: float


def attempt(folder: Path, settings: dict[str, Any], kill: Moment | None) -> tuple[bool, str]:
    """Whether a process got done before its moment came; if not, it was killed, in the stage that is returned."""
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        try:
            work(folder, settings, said)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(said)
    os.set_blocking(heard, False)
    stages: list[str] = []
    began = {"": time.monotonic()}
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        for stage in _heard(heard):
            stages.append(stage)
            began.setdefault(stage, time.monotonic())
        if kill and kill.stage in began and time.monotonic() - began[kill.stage] >= kill.seconds:
            os.kill(child, signal.SIGKILL)
            kill = None
        time.sleep(0.001)
    stages += _heard(heard)
    os.close(heard)
    code = os.waitstatus_to_exitcode(status[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"an attempt ended with {code}: {folder} is left as it was")
    return code == 0, (stages or ["begin"])[-1]


def _heard(pipe: int) -> list[str]:
    """The stages that were told since."""
    with suppress(BlockingIOError):
        return os.read(pipe, 2**16).decode().split()
    return []


def tasks(folder: Path) -> dict[str, int]:
    """The files that tasks have left, and which file each is (its inode)."""
    found = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return {str(p.relative_to(folder)): p.stat().st_ino for p in found if not CHECKPOINTS.fullmatch(p.name)}


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file of a finished run, but for when a page was made, and where."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    data = {str(p.relative_to(folder)): CREATED.sub(b"", p.read_bytes()) for p in found}
    place = str(folder).encode()
    return {name: hashlib.sha256(content.replace(place, b"")).hexdigest() for name, content in data.items()}


def disturbed(folder: Path, settings: dict[str, Any], moments: Sequence[Moment]) -> list[str]:
    """Kill a run at some moments, one an attempt, and let it end; the stages it was killed in. Raises SystemExit where
    a task that was done was done again."""
    killed: list[str] = []
    before: dict[str, int] = {}
    for moment in (*moments, None):
        done, stage = attempt(folder, settings, moment)
        after = tasks(folder)
        again = [name for name in before if name in after and after[name] != before[name] and _is_task(name)]
        if again:
            raise SystemExit(f"done again after a kill in {killed[-1]}: {', '.join(again)}")
        before = after
        if done:
            break
        killed.append(stage)
    return killed


def moments(rng: random.Random, took: float) -> Iterator[Moment]:
    """Without end: by turns anywhere in the run, and soon after a random stage has begun, for some are very short."""
    while True:
        yield Moment("", rng.uniform(0, took))
        yield Moment(rng.choice(STAGES), rng.uniform(0, 0.05 * took))


def _is_task(name: str) -> bool:
    """What a task leaves; the page, the settings and exported files are written again by every run."""
    return name.endswith(".safetensors") and not name.startswith("lora")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        model, encoder = save_tiny(root / "models")
        settings = {"prompts": ("a robot", "a person"), "backbone": str(model), "encoder": str(encoder), **SMALL}
        warm = Models(settings_from(settings), Speed(device="cpu"), RunFolder(root / "warm"))
        warm.backbone.encode(settings["prompts"])  # so that a forked process has its imports
        start = time.monotonic()
        attempt(root / "alone", settings, None)
        took = time.monotonic() - start
        killed: list[str] = []
        runs = 0
        while len(killed) < options.kills:
            folder = root / f"run-{runs}"
            due = min(KILLS_A_RUN, options.kills - len(killed))
            killed += disturbed(folder, settings, list(islice(moments(rng, took), due)))
            runs += 1
            ours, theirs = contents(folder), contents(root / "alone")
            if ours != theirs:
                names = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
                raise SystemExit(f"unlike the undisturbed run: {', '.join(sorted(names))}")
    by_stage = dict(Counter(killed).most_common())
    print(json.dumps({"kills": len(killed), "runs": runs, "undisturbed_s": round(took, 1), "by_stage": by_stage}))
    print("every run ended with the bytes of the undisturbed one, and no task that was done was done again")


if __name__ == "__main__":
    main()
