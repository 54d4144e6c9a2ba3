"""Memory that stages take beside the models, at 1024 pixels: tiny networks, real sizes.

    python benchmarks/memory.py                        all three, as the limits are meant
    python benchmarks/memory.py sample --trajectories 32

Pictures are 1024 × 1024 and latents 4 × 128 × 128, so every array that a stage handles is as large as SDXL's. The
networks are tiny, and where a stage would do nothing for an hour but run them they are replaced by arithmetic: the
decoder by enlarging the latents, in sampling the denoiser too. So what is measured is what stages hold, not what
networks take. Each stage runs in a process of its own; printed is how far its resident memory rises above what it was
when the models were loaded and one picture had been drawn.

sample   28 steps, all embedded                 1 GiB
train    from 5,000 stored trajectories         1 GiB, and far less than what is stored
measure  64 sliders calibrated, measured and evaluated, on four seeds at two strengths          2 GiB
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each thread would have workspaces of its own

import numpy as np
import torch
from tiny_models import save_tiny
from torch import Tensor
from torch.nn import functional

from sliderspace.core.settings import Measuring, Speed, settings_from
from sliderspace.engine import local, stages
from sliderspace.engine.begin import begin
from sliderspace.engine.evaluation import Evaluation
from sliderspace.engine.models import Models
from sliderspace.method.denoise import render
from sliderspace.storage.files import save_tensors
from sliderspace.storage.run_folder import RunFolder

PIXELS, LEVELS = 1024, 4
GIB = 2**30
LIMITS = {"sample": 1.0, "train": 1.0, "measure": 2.0}  # GiB
FEWER = Measuring(calibration_seeds=1, raw_sizes=(1.0,), seeds=4, sizes=(1.0, 2.0), base_images=8)


class Reduced(Models):
    """A run that is measured on few seeds: memory grows with sliders and sizes of pictures, not with seeds."""

    measuring = FEWER  # pyright: ignore[reportAssignmentType]


def models_for(root: Path, name: str, **chosen: Any) -> Models:
    """A run on the tiny models, its models loaded and used once."""
    model, encoder = root / "models" / "pipeline", root / "models" / "clip"
    settings = settings_from(
        {"prompts": ("a robot",), "backbone": str(model), "encoder": str(encoder), "guidance": 1.0, **chosen}
    )
    run = RunFolder(root / name).open_for_writing()
    begun, _ = begin(settings, Speed(device="cpu"), run)
    models = Reduced(begun.settings, begun.speed, run)
    models.backbone.decode = enlarged
    list(render(models.backbone, None, models.condition, [0], [0]))
    _ = models.encoder
    return models


def enlarged(z_BCHW: Tensor) -> Tensor:
    """Latents -> images01 of eight times their size."""
    return functional.interpolate(z_BCHW[:, :3], scale_factor=8, mode="bilinear").sigmoid()


def sample(root: Path, trajectories: int) -> Iterator[int]:
    """Trajectories of 28 steps."""
    models = models_for(root, "sample", steps=28, samples=trajectories - 16, sliders=2)
    models.backbone.predict = lambda x_BCHW, step_B, condition: x_BCHW * 0.9
    yield 0
    for record in local.sample(models):
        yield record.done


def train(root: Path, trajectories: int) -> Iterator[int]:
    """Updates from stored trajectories of four steps, which are made up and written first."""
    models = models_for(root, "train", steps=4, samples=trajectories - 64, sliders=16, updates=12)
    rng = np.random.default_rng(0)
    for shard in models.shards:
        count = shard.last - shard.first
        z = rng.standard_normal((count, 4, 96)).astype(np.float32)
        tensors = {
            "x": rng.standard_normal((count, 4, *models.point.latent_shape), dtype=np.float32).astype(np.float16),
            "z": z / np.linalg.norm(z, axis=-1, keepdims=True),
            "prompt": np.zeros(count, dtype=np.int64),
            "steps": np.arange(4),
        }
        save_tensors(shard.path, tensors, kind="trajectories", fingerprint=shard.stamp)
    del z, tensors
    yield 0
    stages.fit(models)
    for record in local.train(models):
        yield record.done


def measure(root: Path, sliders: int) -> Iterator[int]:
    """Sliders measured and evaluated; what comes before is done first, quickly."""
    models = models_for(root, "measure", steps=2, samples=sliders + 8, sliders=sliders, updates=1, embed="final")
    for stage in (local.sample, local.fit, local.train):
        for _ in stage(models):
            pass
    yield 0
    for record in local.measure(models):
        yield record.done
    for record in Evaluation(models, 4)():
        yield record.done


def peak(work: Iterator[int]) -> tuple[float, float]:
    """GiB that this process's resident memory rises above its start, and the seconds it took."""
    next(work)
    before, start = _status("VmRSS"), time.monotonic()
    _forget_peak()
    for _ in work:
        pass
    return (_status("VmHWM") - before) / GIB, time.monotonic() - start


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _forget_peak() -> None:
    """What came before a stage is no part of its peak (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


PARTS: dict[str, tuple[Callable[[Path, int], Iterator[int]], str, int]] = {
    "sample": (sample, "trajectories", 256),
    "train": (train, "trajectories", 5000),
    "measure": (measure, "sliders", 64),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "all"], default="all", help="which; default: all")
    parser.add_argument("--trajectories", type=int)
    parser.add_argument("--sliders", type=int)
    parser.add_argument("--folder", type=Path, help="where the models are already: do one part in this process")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.folder:
        name = options.parts[0]
        work, what, default = PARTS[name]
        count = getattr(options, what) or default
        gib, seconds = peak(work(options.folder, count))
        print(f"{name}: {count} {what}, {gib:.2f} GiB above the models (limit {LIMITS[name]:g}), {seconds:.0f} s")
        raise SystemExit(gib > LIMITS[name])
    with tempfile.TemporaryDirectory() as place:
        save_tiny(Path(place) / "models", pixels=PIXELS, levels=LEVELS)
        counts = [f"--{w}={n}" for w in ("trajectories", "sliders") if (n := getattr(options, w))]
        parts = PARTS if "all" in options.parts else options.parts
        alone = [[sys.executable, __file__, name, *counts, "--folder", place] for name in parts]
        over = [line[2] for line in alone if subprocess.run(line, check=False).returncode]
    if over:
        raise SystemExit(f"over the limit, or failed: {', '.join(over)}")


if __name__ == "__main__":
    main()
