"""What one training update costs beside the least it could cost, on the shipped model. Run by `make bench`.

Update: one `next()` of `sliderspace.method.training.train`, the code that `discover` runs, on trajectories sampled and stored
just before: one lane a slider drawn, its stored (xₜ, φ) gathered, forward with the sliders on, loss, backward, check of
the gradients, Adam. Held-out checks and checkpoints fall outside: they come once in fifty updates.

Floor: forward and backward of denoiser, decoder and encoder on the same batch and nothing else: latents of the same
lanes, already gathered, which require a gradient; `predict` → `decode` → `encoder` → `sum().backward()`. No slider,
loss or optimiser. Same shapes, precision, memory layout and micro-batches. Its backward goes all the way to the
latents. An update's may stop at the first layer with a slider, so the "tight" floor stops there too: that layer's
output gets a leaf of zeros added, and the latents need no gradient.

Update, floor and tight floor take turns; a ratio is the median over rounds of the ratio within the round.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch

from sliderspace.core.settings import Settings, Speed, Targets
from sliderspace.engine.local import Engine
from sliderspace.method.objective import Lanes, Objective, Recipe, draw
from sliderspace.method.sliders import SliderBank
from sliderspace.method.training import train
from sliderspace.storage.run_folder import RunFolder

COUNTS = (1, 4, 16, 32)
TARGET = 1.15
SAMPLES = 64
WARM_UP = 3
NEVER = 10**9  # updates: no end, and no held-out check


def engine_for(folder: Path, lanes: int, **chosen: str) -> Engine:
    """The engine of a small run whose trajectories and directions are made and stored, as `discover` does it."""
    settings = Settings.model_validate(
        {"prompts": ("a portrait of a person",), "samples": SAMPLES, "sliders": max(COUNTS), "updates": NEVER, **chosen}
    )
    engine = Engine(settings, Speed(lanes=lanes), RunFolder(folder).open_for_writing())
    for stage in (engine.sample, engine.fit):
        for _ in stage():
            pass
    return engine


def objective_for(engine: Engine, count: int) -> Objective:
    """What `Engine.train` builds, with the first `count` sliders only."""
    s = engine.settings
    bank = SliderBank(
        engine.backbone.denoiser, count, rank=s.rank, pattern=engine.backbone.layers[s.targets], up=s.up, seed=s.seed
    )
    asked = {key: getattr(s, key) for key in ("objective", "both_signs", "until", "hold", "lr")}
    recipe = Recipe(updates=NEVER, lanes=engine.speed.lanes, check_every=NEVER, **asked)
    return Objective(engine.backbone, engine.encoder, engine.condition, bank, engine.directions, recipe)


def parts_of(lanes: Lanes, size: int) -> list[Lanes]:
    return [lanes.rows(slice(i, i + size)) for i in range(0, len(lanes.slider_B), size)]


def floor_of(engine: Engine, lanes: Lanes, *, tight_at: torch.nn.Linear | None = None) -> Callable[[], object]:
    """The floor over the micro-batches of `lanes`; their latents, steps and prompts are gathered here, outside the time
    taken."""
    data, backbone = engine.seen, engine.backbone
    batches = [
        (
            data.x_NTCHW[part.trajectory_B, part.step_B].float().to(backbone.device).requires_grad_(tight_at is None),
            data.steps_T[part.step_B].to(backbone.device),
            engine.condition.rows(data.prompt_N[part.trajectory_B].tolist()),
        )
        for part in parts_of(lanes, engine.speed.lanes)
    ]

    def run() -> None:
        with leaf_at(tight_at):
            for x, step, condition in batches:
                x.grad = None
                engine.encoder(backbone.decode(backbone.predict(x, step, condition))).sum().backward()

    return run


@contextmanager
def leaf_at(layer: torch.nn.Linear | None) -> Iterator[None]:
    """Make the gradient start at the output of `layer`, at the price of adding one row of zeros there."""
    if layer is None:
        yield
        return
    leaf = torch.zeros(layer.weight.shape[0], dtype=layer.weight.dtype, device=layer.weight.device, requires_grad=True)
    handle = layer.register_forward_hook(lambda _, __, out: out + leaf)
    try:
        yield
    finally:
        handle.remove()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    def settled() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start = settled()
    work()
    return settled() - start


def measure(engine: Engine, count: int, rounds: int, checkpoint: Path) -> dict[str, float]:
    """Times in milliseconds and their ratios at `count` sliders."""
    objective = objective_for(engine, count)
    updates = train(objective, engine.seen, engine.unseen, seed=0, checkpoint=checkpoint, fingerprint="bench")
    lanes = draw(objective.recipe, count, len(engine.seen), len(engine.seen.steps_T), 0, "lane", 0)
    floor, tight = floor_of(engine, lanes), floor_of(engine, lanes, tight_at=next(iter(objective.bank.layers.values())))
    turns = (lambda: next(updates), floor, tight)
    for _ in range(WARM_UP):
        for work in turns:
            work()
    times = [[seconds(work, engine.backbone.device) for work in turns] for _ in range(rounds)]
    update, below, lowest = (1000 * median(column) for column in zip(*times, strict=True))
    return {
        "sliders": count,
        "update_ms": update,
        "floor_ms": below,
        "ratio": median(a / b for a, b, _ in times),
        "tight_floor_ms": lowest,
        "tight_ratio": median(a / c for a, _, c in times),
        "updates_per_second": 1000 / update,
        "slider_updates_per_second": 1000 * count / update,
    }


COLUMNS = {
    "sliders": ("sliders", 0),
    "update_ms": ("update ms", 1),
    "floor_ms": ("floor ms", 1),
    "ratio": ("ratio", 2),
    "tight_floor_ms": ("tight floor ms", 1),
    "tight_ratio": ("ratio", 2),
    "updates_per_second": ("updates/s", 2),
    "slider_updates_per_second": ("slider updates/s", 1),
}


def shown(rows: list[dict[str, float]], about: dict[str, Any]) -> str:
    """The table for a person."""
    title = (
        f"one training update beside forward + backward of denoiser, decoder and encoder\n{about['where']}, "
        f"{about['precision']}, "
        f"{about['threads']} threads, sliders on {about['targets']}, {about['lanes']} lanes at a time, median of "
        f"{about['rounds']} rounds"
    )
    head = "   ".join(name for name, _ in COLUMNS.values())
    lines = ["   ".join(f"{r[key]:{len(name)}.{places}f}" for key, (name, places) in COLUMNS.items()) for r in rows]
    at = next((r for r in rows if r["sliders"] == 16), rows[-1])
    within = "within" if at["ratio"] <= TARGET else "above"
    costs = f"at {at['sliders']:.0f} sliders an update costs {at['ratio']:.2f} times the floor"
    verdict = f"{costs}: {within} the target of {TARGET}"
    return "\n".join([title, head, *lines, verdict])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="timed turns of each (default 25)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; default: torch's own choice")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    targets = Settings.model_fields["targets"].default
    parser.add_argument(
        "--targets", choices=get_args(Targets), default=targets, help=f"layers with sliders (default {targets})"
    )
    parser.add_argument(
        "--lanes", type=int, default=Speed().lanes, help="lanes a micro-batch, as --lanes of `discover`"
    )
    parser.add_argument(
        "--sliders", type=int, nargs="+", default=list(COUNTS), choices=range(1, max(COUNTS) + 1), metavar="K"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers for a program")
    options = parser.parse_args()
    if min(options.rounds, options.lanes, options.threads or 1) < 1:
        parser.error("--rounds, --lanes and --threads are at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_for(Path(folder) / "run", options.lanes, precision=options.precision, targets=options.targets)
        rows = [measure(engine, k, options.rounds, Path(folder) / "none.safetensors") for k in options.sliders]
        engine.run.close()
    device = engine.backbone.device
    about = {
        "where": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {os.cpu_count()} cores",
        "precision": engine.backbone.identity.rsplit("/", 1)[1],
        "threads": torch.get_num_threads(),
        "lanes": options.lanes,
        "targets": options.targets,
        "rounds": options.rounds,
        "torch": torch.__version__,
    }
    print(json.dumps({**about, "rows": rows}, indent=1) if options.json else shown(rows, about))


if __name__ == "__main__":
    main()
