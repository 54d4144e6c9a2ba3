"""What a second worker brings: sampling and training by one and by two workers of a Ray cluster, one thread each.

    python benchmarks/cluster.py

Efficiency is the time of one worker over twice the time of two, on a machine with two idle cores. Starting the cluster,
and the first shards, in which workers load the models, are not timed. Both must leave the same bytes. With --tiny the
models are tiny and random: then only the bytes mean something.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported, and by the workers

from kills import contents
from tiny_models import save_tiny

from sliderspace.core.settings import Speed, settings_from
from sliderspace.engine import stages, tasks
from sliderspace.engine.begin import begin
from sliderspace.engine.models import Models
from sliderspace.engine.ray import Workers, started
from sliderspace.storage.run_folder import RunFolder

SPEED = Speed(device="cpu", lanes=2)
SHORT: dict[str, Any] = {"prompts": ("a monster",), "sliders": 8}
TIMED = {"samples": 6 * 128 - 45, "updates": 100}  # with those held out, six whole shards
TINY = {"samples": 4 * 128 - 30, "updates": 10, "steps": 3, "guidance": 1.0, "precision": "float32"}


def seconds(models: Models, workers: Workers) -> dict[str, float]:
    """How long the workers take for the shards after the first two, and for the training of all sliders."""
    shards = tasks.sampling(models)
    list(workers(models, shards[:2]))
    sampling = timed(models, workers, shards[2:])
    stages.fit(models)
    return {"sampling": sampling, "training": timed(models, workers, tasks.training(models))}


def timed(models: Models, workers: Workers, due: list[tasks.Task]) -> float:
    start = time.perf_counter()
    for _ in workers(models, due):
        pass
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    took: dict[int, dict[str, float]] = {}
    left: dict[int, dict[str, str]] = {}
    tiny = parser.parse_args().tiny
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        settings = {**SHORT, **(TINY if tiny else TIMED)}
        if tiny:
            model, encoder = save_tiny(root / "models")
            settings |= {"backbone": str(model), "encoder": str(encoder)}
        for count in (1, 2):
            run = RunFolder(root / f"by {count}")
            with run.open_for_writing(), started(workers=count) as workers:
                models, _ = begin(settings_from(settings), SPEED, run)
                took[count] = seconds(models, workers)
            left[count] = contents(run.root)
    if left[1] != left[2]:
        raise SystemExit("two workers left other bytes than one")
    for stage, one in took[1].items():
        two = took[2][stage]
        figures = {"one_s": round(one, 1), "two_s": round(two, 1), "efficiency": round(one / two / 2, 3)}
        print(json.dumps({"stage": stage, **figures}))
    print("the bytes of one worker, by two")


if __name__ == "__main__":
    main()
