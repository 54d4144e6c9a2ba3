"""What a kill costs: a whole run (discover, evaluate, export, report) is killed at random moments until it is done.

    python benchmarks/kills.py --kills 40

Each attempt is a process that is killed (SIGKILL) after a random time and started again with the same arguments. In the
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


def attempt(folder: Path, settings: dict[str, Any], seconds: float) -> tuple[bool, str]:
    """Whether a process got done within some seconds; if not, it was killed, in the stage that is returned."""
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
    deadline = time.monotonic() + seconds
    status = (0, 0)
    while status[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.002)
        status = os.waitpid(child, os.WNOHANG)
    if status[0] == 0:
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)
    with os.fdopen(heard) as lines:
        stage = ([*lines] or ["begin"])[-1].strip()
    code = os.waitstatus_to_exitcode(status[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"an attempt ended with {code} in {stage}: {folder} is left as it was")
    return code == 0, stage


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


def disturbed(folder: Path, settings: dict[str, Any], longest: float, most: int, rng: random.Random) -> list[str]:
    """Kill a run at most `most` times, and let it end; the stages it was killed in. Raises SystemExit where a task
    that was done was done again."""
    killed: list[str] = []
    before: dict[str, int] = {}
    while True:
        done, stage = attempt(folder, settings, rng.uniform(0, longest) if len(killed) < most else 1e6)
        after = tasks(folder)
        again = [name for name in before if name in after and after[name] != before[name] and _is_task(name)]
        if again:
            raise SystemExit(f"done again after a kill in {killed[-1]}: {', '.join(again)}")
        before = after
        if done:
            return killed
        killed.append(stage)


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
        attempt(root / "alone", settings, 1e6)
        took = time.monotonic() - start
        killed: list[str] = []
        runs = 0
        while len(killed) < options.kills:
            folder = root / f"run-{runs}"
            killed += disturbed(folder, settings, took / 4, options.kills - len(killed), rng)
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
