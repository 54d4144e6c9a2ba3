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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process that is forked must not have begun threads

import psutil
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
            tell(say, record.stage)
        for record in Evaluation(models, 4)():
            tell(say, record.stage)
        tell(say, "export")
        export(SliderSpace.load(folder), folder / "lora")
        tell(say, "report")
        report_run(run)


def tell(pipe: int | None, stage: str) -> None:
    if pipe is not None:
        os.write(pipe, f"{stage}\n".encode())


Work = Callable[[Path, dict[str, Any], int], None]
TITLES = {"worker": "ray::Worker", "head": "raylet"}  # what Ray's processes are called


@dataclass(frozen=True)
class Moment:
    """When to kill: some seconds after a stage has begun ("" is the start of the attempt); and what: the process of the
    attempt itself, or a process of its Ray cluster."""

    stage: str
    seconds: float
    victim: str = "driver"


def attempt(
    folder: Path, settings: dict[str, Any], kill: Moment | None, work: Work = work
) -> tuple[bool, Moment | None]:
    """Whether a process got done; and the moment, in the stage where it came: None where that was too late."""
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
    struck: Moment | None = None
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        for stage in _heard(heard):
            stages.append(stage)
            began.setdefault(stage, time.monotonic())
        due = kill and struck is None and kill.stage in began
        if kill and due and time.monotonic() - began[kill.stage] >= kill.seconds and strike(child, kill.victim):
            struck = replace(kill, stage=(stages or ["begin"])[-1])
        time.sleep(0.001)
    os.close(heard)
    code = os.waitstatus_to_exitcode(status[1])
    expected = {0} if kill is None or kill.victim == "worker" else {0, -signal.SIGKILL}
    if code not in expected and not (kill and kill.victim == "head" and struck):
        raise SystemExit(f"an attempt ended with {code}: {folder} is left as it was")
    return code == 0, struck


def strike(child: int, victim: str) -> bool:
    """Kill a process, or one of its cluster's; whether there was one. What is left of a cluster without its driver has
    to go by itself."""
    family = psutil.Process(child).children(recursive=True)
    if victim == "driver":
        os.kill(child, signal.SIGKILL)
        if psutil.wait_procs(family, timeout=60)[1]:
            raise SystemExit("a cluster outlives its driver")
        return True
    for process in family:
        with suppress(psutil.Error):
            if any(TITLES[victim] in word for word in process.cmdline()[:1]):
                process.kill()
                return True
    time.sleep(0.05)  # not yet
    return False


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


def disturbed(folder: Path, settings: dict[str, Any], moments: Sequence[Moment], work: Work = work) -> list[Moment]:
    """Kill at some moments, one an attempt, and let the run end; those that came. Raises SystemExit where a task that
    was done was done again."""
    killed: list[Moment] = []
    before: dict[str, int] = {}
    for moment in (*moments, None):
        done, struck = attempt(folder, settings, moment, work)
        after = tasks(folder)
        again = [name for name in before if name in after and after[name] != before[name] and _is_task(name)]
        if again:
            raise SystemExit(f"done again after {killed[-1]}: {', '.join(again)}")
        before = after
        killed += [struck] if struck else []
        if done:
            break
    return killed


def check_same(folder: Path, undisturbed: Path) -> None:
    """SystemExit where two runs differ in a byte."""
    ours, theirs = contents(folder), contents(undisturbed)
    if names := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
        raise SystemExit(f"unlike the undisturbed run: {', '.join(names)}")


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
        killed: list[Moment] = []
        runs = 0
        while len(killed) < options.kills:
            folder = root / f"run-{runs}"
            due = min(KILLS_A_RUN, options.kills - len(killed))
            killed += disturbed(folder, settings, list(islice(moments(rng, took), due)))
            runs += 1
            check_same(folder, root / "alone")
    by_stage = dict(Counter(kill.stage for kill in killed).most_common())
    print(json.dumps({"kills": len(killed), "runs": runs, "undisturbed_s": round(took, 1), "by_stage": by_stage}))
    print("every run ended with the bytes of the undisturbed one, and no task that was done was done again")


if __name__ == "__main__":
    main()
