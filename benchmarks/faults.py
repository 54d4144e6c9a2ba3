"""Nothing is lost: discoveries on a Ray cluster of two workers while their processes are killed, and spoiled files.

    python benchmarks/faults.py --faults 200 --mutations 10000

A fault is a SIGKILL at a random moment, of a worker, of the driver, or of Ray itself. A lost worker is replaced; after
the others, and where three workers were lost over the same task, the same run is begun again, at once. Each run has to
end with the bytes of the plain engine, and no task that was done may be done again. A mutation spoils a file of a
finished run before one of its readers: that has to be an error of a few lines, or harmless. Models are tiny and random;
the code is the real one.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a process that is forked must not have begun threads

import kills
import mutations
import psutil
import torch
from kills import Moment, tell
from tiny_models import save_tiny

from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine.begin import begin
from sliderspace.engine.local import discover
from sliderspace.engine.models import Models
from sliderspace.engine.ray import started
from sliderspace.storage.run_folder import RunFolder

STAGES = ("sample", "train", "measure")
WORKERS_A_STAGE = 3  # killed at most in each
ATTEMPTS_A_RUN = 3
PATIENCE_S = 180  # Ray's helpers try for a minute to reach what is gone
ONE_LANE = Speed(device="cpu", lanes=1)


def on_workers(folder: Path, settings: dict[str, Any], say: int) -> None:
    """A discovery by two workers of a cluster of its own."""
    run = RunFolder(folder)
    with run.open_for_writing(), started(workers=2) as workers:
        models, _ = begin(settings_from(settings), ONE_LANE, run)
        for record in discover(models, workers):
            tell(say, record.stage)


def disturbed_runs(root: Path, settings: dict[str, Any], count: int, rng: random.Random) -> dict[str, Any]:
    """As many runs as it takes to meet so many faults. Raises SystemExit at the first byte that is another."""
    alone = RunFolder(root / "alone")
    with alone.open_for_writing():
        for _ in discover(begin(settings_from(settings), ONE_LANE, alone)[0]):
            pass
    start = time.monotonic()
    kills.attempt(root / "first", settings, [], on_workers)
    took = time.monotonic() - start
    kills.check_same(root / "first", alone.root)
    met: list[Moment] = []
    runs = 0
    while len(met) < count:
        attempts = [moments(rng, 0.2 * took) for _ in range(ATTEMPTS_A_RUN)]
        met += kills.disturbed(root / f"run-{runs}", settings, attempts, on_workers)
        kills.check_same(root / f"run-{runs}", alone.root)
        runs += 1
        print(f"{len(met)} faults in {runs} runs", file=sys.stderr, flush=True)
    left = [process for process in kills.ORPHANS if process.is_running()]  # some numbers are others' by now
    if psutil.wait_procs(left, timeout=PATIENCE_S)[1]:
        raise SystemExit("a cluster outlives its driver")
    counted = Counter(f"{fault.victim} in {fault.stage}" for fault in met)
    return {"faults": len(met), "runs": runs, "undisturbed_s": round(took, 1), **dict(sorted(counted.items()))}


def moments(rng: random.Random, longest: float) -> list[Moment]:
    """When to kill in one attempt, in seconds from the start of a stage: some workers in every stage, and, every other
    time, the driver or Ray itself."""
    drawn = [
        Moment(stage, rng.uniform(0, longest), "worker")
        for stage in STAGES
        for _ in range(rng.randint(0, WORKERS_A_STAGE))
    ]
    if rng.random() < 0.5:
        drawn.append(Moment(rng.choice(("", *STAGES)), rng.uniform(0, longest), rng.choice(("driver", "head"))))
    return drawn


def mutated_files(root: Path, settings: dict[str, Any], count: int, seed: int) -> int:
    """Spoil the files of a finished run so often, or a few more, dealt out to all cases; how often that was. Other
    seeds spoil them in other ways. Raises SystemExit where a reader breaks."""
    kills.work(root / "run", settings)
    mutations.make_whole(root / "run")
    each = -(-count // len(mutations.CASES))
    broken: list[str] = []
    for name, reader in mutations.CASES:
        found = mutations.faults(root / "run", name, reader, range(seed * each, (seed + 1) * each))
        broken += [f"{name}, {reader.__name__}: {line}" for line in found]
        print(f"{each} times {name}, {reader.__name__}: {len(found)} broke it", file=sys.stderr, flush=True)
    if broken:
        raise SystemExit("\n".join(broken))
    return each * len(mutations.CASES)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["RAY_TMPDIR"] = str(root / "ray")
        model, encoder = save_tiny(root / "models")
        settings = {"prompts": ("a robot", "a person"), "backbone": str(model), "encoder": str(encoder), **kills.SMALL}
        warm = Models(settings_from(settings), Speed(device="cpu"), RunFolder(root / "warm"))
        warm.backbone.encode(settings["prompts"])  # so that a forked process has its imports
        if options.faults:
            print(json.dumps(disturbed_runs(root, settings, options.faults, random.Random(options.seed))))
            print("every run ended with the bytes of the plain engine, and no task that was done was done again")
        if options.mutations:
            print(json.dumps({"mutations": mutated_files(root / "whole", settings, options.mutations, options.seed)}))
            print("no traceback, no hang, and nothing was read as something else")


if __name__ == "__main__":
    main()
