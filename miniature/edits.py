"""How good an edit can be in this world: one factor changed in the renderer itself, nothing else, by the same measures
as the sliders and the labelled oracle of a run (`python -m sliderspace.experiments.oracle RUN`).

    python edits.py ../runs/monster
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from factors import CLAY, Creature, draw
from render import render

from sliderspace.core.settings import Speed
from sliderspace.engine.begin import space_settings
from sliderspace.engine.models import Models
from sliderspace.experiments.oracle import SEEDS, STEPS, by_eyes, eyes_of, one_factor
from sliderspace.method.sweeps import embedded
from sliderspace.storage.run_folder import RunFolder

HELD = 7_000_000  # the first creature looked at
TO = {  # factor -> where it is moved to, from wherever a creature has it
    "hue": 0.62,
    "light": 0.3,
    "width": 0.9,
    "size": -0.9,
    "head": 0.9,
    "horns": 1.0,
    "ears": 0.9,
    "eye_size": 0.9,
    "marks": 0.9,
    "tail": 0.9,
    "arms": 0.9,
    "yaw": -0.9,
    "lamp": 0.9,
    "open": 1.0,
    "ground_hue": 0.95,
    "ground_light": 0.3,
}


def creatures(kind: str, count: int) -> Iterator[Creature]:
    """Held-out creatures of one kind in clay."""
    found = (draw(HELD + i) for i in range(100 * count))
    return (c for c, _ in zip((c for c in found if c.kind == kind and c.style == CLAY), range(count), strict=False))


def pictures(c: Creature, factor: str) -> torch.Tensor:
    """images01 [STEPS + 1, 3, H, W] on the way to TO[factor]."""
    way = np.linspace(c[factor], TO[factor], STEPS + 1).tolist()
    drawn = [render(replace(c, values={**c.values, factor: value})) for value in way]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--kind", default="monster")
    o = parser.parse_args()
    torch.set_flush_denormal(True)
    run = RunFolder(o.run)
    models = Models(space_settings(run), Speed(), run)
    eyes, found = eyes_of(models), list[dict[str, float]]()
    chosen = list(creatures(o.kind, SEEDS))
    for factor in TO:
        seen = embedded((pictures(c, factor) for c in chosen), models.encoder, models.judge)
        steps = {name: part.numpy().reshape(len(chosen), STEPS + 1, -1) for name, part in seen.items()}
        found.append(by_eyes(steps, eyes) | one_factor(steps, models.judge.numbers if models.judge else {}))
        print(factor, {key: round(value, 3) for key, value in found[-1].items()}, flush=True)
    print("mean", {key: round(float(np.mean([f[key] for f in found])), 3) for key in found[0]})


if __name__ == "__main__":
    main()
