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
import math
import os
import random
import re
import signal
import sys
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

from sliderspace.core.errors import SliderSpaceError
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
ORPHANS: list[psutil.Process] = []
GIVEN_UP = 3  # the exit code of an attempt that ended with an error of ours
MANY = 3  # workers lost in an attempt, after which it may
ALONE = 5  # attempts without a kill, of which one has to get done: on a busy machine Ray does not always start in time
HANGS_S = 1800  # after which an attempt counts as hanging


@dataclass(frozen=True)
class Moment:
    """When to kill: some seconds after a stage has begun ("" is the start of the attempt); and what: the process of the
    attempt itself, or a process of its Ray cluster."""

    stage: str
    seconds: float
    victim: str = "driver"


def attempt(
    folder: Path,
    settings: dict[str, Any],
    kills: Sequence[Moment],
    work: Work = work,
    look: Callable[[], None] = lambda: None,
) -> tuple[bool, list[Moment]]:
    """Whether a process got done; and the moments that came before its end, in the stage where they did. After each
    `look` is called."""
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        try:
            work(folder, settings, said)
        except SliderSpaceError as error:
            print(f"given up: {error}", file=sys.stderr, flush=True)
            os._exit(GIVEN_UP)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(said)
    os.set_blocking(heard, False)
    stages = ["begin"]
    began = {"": time.monotonic()}
    left = list(kills)
    struck: list[Moment] = []
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        for stage in _heard(heard):
            stages.append(stage)
            began.setdefault(stage, time.monotonic())
        for kill in [kill for kill in left if time.monotonic() - began.get(kill.stage, math.inf) >= kill.seconds]:
            if strike(child, kill.victim):
                left.remove(kill)
                struck.append(replace(kill, stage=stages[-1]))
                look()
                break  # the process itself may be gone
        if time.monotonic() - began[""] > HANGS_S:
            os.kill(child, signal.SIGKILL)
            raise SystemExit(f"an attempt hangs: {folder} is left as it was")
        time.sleep(0.005)
    os.close(heard)
    code = os.waitstatus_to_exitcode(status[1])
    victims = [kill.victim for kill in struck]
    expected = {0}
    if "driver" in victims:
        expected.add(-signal.SIGKILL)
    if not struck or victims.count("worker") >= MANY:
        expected.add(GIVEN_UP)
    if code not in expected and "head" not in victims:
        raise SystemExit(f"an attempt ended with {code}: {folder} is left as it was")
    return code == 0, struck


def strike(child: int, victim: str) -> bool:
    """Kill a process, or one of its cluster's; whether there was one. Workers without a driver have to end by
    themselves, and at once; what else is left of the cluster is in ORPHANS."""
    family = psutil.Process(child).children(recursive=True)
    if victim == "driver":
        workers = [process for process in family if _is(process, "worker")]
        ORPHANS.extend(family)
        os.kill(child, signal.SIGKILL)
        if psutil.wait_procs(workers, timeout=60)[1]:
            raise SystemExit("a worker outlives its driver")
        return True
    for process in family:
        if _is(process, victim):
            ORPHANS.extend(family if victim == "head" else ())
            process.kill()
            return True
    time.sleep(0.05)  # not yet
    return False


def _is(process: psutil.Process, victim: str) -> bool:
    with suppress(psutil.Error):  # it may have ended
        return any(TITLES[victim] in word for word in process.cmdline()[:1])
    return False


def _heard(pipe: int) -> list[str]:
    """The stages that were told since."""
    with suppress(BlockingIOError):
        return os.read(pipe, 2**16).decode().split()
    return []


def tasks(folder: Path) -> dict[str, int]:
    """The files that tasks have left, and which file each is (its inode)."""
    found: dict[str, int] = {}
    for place, _, names in os.walk(folder):  # unlike `rglob` it does not mind what goes away meanwhile
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            with suppress(FileNotFoundError):
                found[str(path.relative_to(folder))] = path.stat().st_ino
    return {name: inode for name, inode in found.items() if not CHECKPOINTS.fullmatch(Path(name).name)}


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file of a finished run, but for when a page was made, and where."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    data = {str(p.relative_to(folder)): CREATED.sub(b"", p.read_bytes()) for p in found}
    place = str(folder).encode()
    return {name: hashlib.sha256(content.replace(place, b"")).hexdigest() for name, content in data.items()}


def disturbed(
    folder: Path, settings: dict[str, Any], attempts: Sequence[Sequence[Moment]], work: Work = work
) -> list[Moment]:
    """Begin again and again, killing at the moments of each attempt, and let the run end; the moments that came. Raises
    SystemExit where a task that was done was done again, and where nothing is killed any more and it does not end."""
    killed: list[Moment] = []
    before: dict[str, int] = {}

    def look() -> None:
        after = tasks(folder)
        if again := [name for name in before if _is_task(name) and after.get(name, before[name]) != before[name]]:
            raise SystemExit(f"done again in {folder}: {', '.join(again)}")
        before.clear()
        before.update(after)

    for kills in (*attempts, *[()] * ALONE):
        done, struck = attempt(folder, settings, kills, work, look)
        look()
        killed += struck
        if done:
            return killed
    raise SystemExit(f"{folder.name} is not done after {ALONE} attempts that nobody disturbed")


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
        attempt(root / "alone", settings, [])
        took = time.monotonic() - start
        killed: list[Moment] = []
        runs = 0
        while len(killed) < options.kills:
            folder = root / f"run-{runs}"
            due = min(KILLS_A_RUN, options.kills - len(killed))
            killed += disturbed(folder, settings, [[moment] for moment in islice(moments(rng, took), due)])
            runs += 1
            check_same(folder, root / "alone")
    by_stage = dict(Counter(kill.stage for kill in killed).most_common())
    print(json.dumps({"kills": len(killed), "runs": runs, "undisturbed_s": round(took, 1), "by_stage": by_stage}))
    print("every run ended with the bytes of the undisturbed one, and no task that was done was done again")


if __name__ == "__main__":
    main()
