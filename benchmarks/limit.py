"""How well could any edit that stays among the model's own pictures be aligned with a run's directions?

    python benchmarks/limit.py runs/person

For each held-out finished image and each direction it looks among the finished images of the run for the one that lies furthest along
the direction for the distance travelled, at least half a natural standard deviation away: the best "edit" by picking from a pool of real
outcomes. A slider that changes one thing at a time can beat it; one that keeps to what the model draws cannot by much. A random picture
is the floor.
"""

import argparse
import json

import numpy as np

from sliderspace.config import Speed
from sliderspace.engine import Engine, stored_settings
from sliderspace.store import RunFolder


def aligned(from_ND: np.ndarray, pool_MD: np.ndarray, direction_D: np.ndarray, least: float) -> tuple[float, float]:
    """Mean best and mean random cosine of (pool − from) with ±direction, over pairs that move at least `least` along it."""
    delta_NMD = pool_MD[None] - from_ND[:, None]
    along_NM = delta_NMD @ direction_D
    cosine_NM = along_NM / np.linalg.norm(delta_NMD, axis=2).clip(1e-9)
    best = [np.where(sign * along_NM >= least, sign * cosine_NM, -1).max(1) for sign in (1, -1)]
    reached = np.concatenate(best)
    return float(reached[reached > -1].mean()), float(np.abs(cosine_NM).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    run = RunFolder(parser.parse_args().folder)
    engine = Engine(stored_settings(run), Speed(), run)
    d, pool_MD, from_ND = engine.directions, engine.seen.z_NTD[:, -1].double().numpy(), engine.unseen.z_NTD[:, -1].double().numpy()
    found = [aligned(from_ND, pool_MD, v, 0.5 * s) for v, s in zip(d.components_KD, d.sigma_TK[-1], strict=True)]
    best, random = (float(np.mean(column)) for column in zip(*found, strict=True))
    print(json.dumps({"pool": len(pool_MD), "best_of_pool": best, "random": random, "by_direction": [round(b, 3) for b, _ in found]}))


if __name__ == "__main__":
    main()
